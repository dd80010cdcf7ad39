"""The stand-in reality: Meta-World as a `World`, whose word on success is the truth."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version

import numpy as np

from arena.contracts import (
    ActionChunk,
    ActionSpace,
    FloatArray,
    Frames,
    InvalidInput,
    Observation,
    Scene,
    WorldCard,
    WorldStep,
)
from real2sim.reality.cameras import CAMERAS, DETAIL_PIXELS, CameraRig, mounts
from real2sim.reality.simulator import CONTROL_STEPS, FPS, ROBOT, Simulation
from real2sim.reality.tasks import check_task, instruction

SIZE = (64, 96)
"""Height and width of the pictures, unless told otherwise."""


class MetaWorldWorld:
    """Meta-World's tasks behind arena's `World` contract, at 10 Hz (every eighth control step).

    Actions are `cartesian_position`: the absolute target of the hand in m (world = robot base), Euler angles
    (the robot has no rotation to command: they are ignored) and the gripper in [0, 1]. A target can be reached at
    up to 0.8 m/s. Success is Meta-World's own, and counts once it has been true at any control step of the trial.
    The simulation has no noise: the scene's `task` and `reset_seed` decide the trial, and `start`'s seed is not used.
    """

    def __init__(self, height: int = SIZE[0], width: int = SIZE[1], frames_per_step: int = 20) -> None:
        self._size = (height, width)
        self.card = WorldCard(
            name="metaworld",
            sha256=_fingerprint(height, width),
            fps=FPS,
            frames_per_step=frames_per_step,
            cameras=CAMERAS,
            action_space=ActionSpace.CARTESIAN_POSITION,
            robot=ROBOT,
            knows_success=True,
        )
        self._rigs: dict[str, CameraRig] = {}
        self._spare: dict[str, list[Simulation]] = {}
        self._trials: list[Simulation] = []
        self._instructions: list[str] = []

    def start(self, scenes: Sequence[Scene], seeds: Sequence[int]) -> list[Observation]:
        """Begin each scene's trial. Raises `InvalidInput` for a scene without `reset_seed`, or of an unknown task."""
        if len(scenes) != len(seeds):
            raise InvalidInput(f"{len(scenes)} scenes need as many seeds, not {len(seeds)}")
        starts = [(check_task(scene.task), _reset_seed(scene)) for scene in scenes]
        self._release()
        self._trials = [self._simulation(task) for task, _ in starts]
        self._instructions = [scene.instruction for scene in scenes]
        for trial, (_, seed) in zip(self._trials, starts, strict=True):
            trial.reset(seed)
        return [self._observe(trial, words) for trial, words in zip(self._trials, self._instructions, strict=True)]

    def step(self, chunks: Sequence[ActionChunk]) -> list[WorldStep]:
        """Act in every trial, one chunk each. Raises `InvalidInput` for chunks that are not this world's."""
        self._check(chunks)
        return [
            self._advance(trial, chunk, words)
            for trial, chunk, words in zip(self._trials, chunks, self._instructions, strict=True)
        ]

    def close(self) -> None:
        """Free the simulations and the graphics memory."""
        for rig in self._rigs.values():
            rig.close()
        self._rigs, self._spare, self._trials = {}, {}, []

    def scene(self, task: str, reset_seed: int) -> Scene:
        """A scene that needs no recording. Drops the trials that were running."""
        blank = Observation({}, np.zeros(6), np.zeros(1), instruction(task))
        name = f"{task}-{reset_seed}"
        seed_of_start = Scene(name, blank, {}, np.zeros((1, 7)), blank.instruction, FPS, ROBOT, task, None, reset_seed)
        first = self.start([seed_of_start], [0])[0]
        history = {camera: frame[None] for camera, frame in first.cameras.items()}
        return Scene(
            id=name,
            observation=first,
            history=history,
            history_state=first.state[None],
            instruction=first.instruction,
            fps=FPS,
            robot=ROBOT,
            task=task,
            reset_seed=reset_seed,
        )

    def _advance(self, trial: Simulation, chunk: ActionChunk, words: str) -> WorldStep:
        seen = []
        for action in np.asarray(chunk.values, dtype=np.float64):
            trial.act(action)
            seen.append(self._observe(trial, words))
        return WorldStep(
            frames={name: np.stack([each.cameras[name] for each in seen]) for name in CAMERAS},
            state=np.stack([each.state for each in seen]),
            observation=seen[-1],
            joint_position=np.stack([_joints(each) for each in seen]),
            success=trial.succeeded,
        )

    def _observe(self, trial: Simulation, words: str) -> Observation:
        state = trial.state
        return Observation(
            cameras=self._render(trial),
            cartesian_position=state[:6],
            gripper_position=state[6:],
            instruction=words,
            joint_position=trial.joint_position,
        )

    def _render(self, trial: Simulation) -> Mapping[str, Frames]:
        if trial.task not in self._rigs:
            self._rigs[trial.task] = CameraRig(trial.model, *self._size)
        return self._rigs[trial.task].render(trial.model, trial.data)

    def _simulation(self, task: str) -> Simulation:
        spare = self._spare.get(task)
        return spare.pop() if spare else Simulation(task)

    def _release(self) -> None:
        """Building a simulation takes as long as fifteen pictures, so the next batch gets this one's."""
        for trial in self._trials:
            self._spare.setdefault(trial.task, []).append(trial)
        self._trials = []

    def _check(self, chunks: Sequence[ActionChunk]) -> None:
        if len(chunks) != len(self._trials):
            raise InvalidInput(f"{len(self._trials)} trials are running, so {len(chunks)} chunks cannot be stepped")
        for chunk in chunks:
            if chunk.space != self.card.action_space or chunk.control_hz != FPS:
                wanted, got = f"{self.card.action_space} at {FPS:g} Hz", f"{chunk.space} at {chunk.control_hz:g} Hz"
                raise InvalidInput(f"metaworld takes {wanted}, not {got}")
            if len(chunk) != len(chunks[0]) or len(chunk) > self.card.frames_per_step:
                raise InvalidInput(
                    f"metaworld takes chunks of one length, at most {self.card.frames_per_step} actions, "
                    f"not of {len(chunks[0])} and {len(chunk)}"
                )


def make_scene(task: str, reset_seed: int, height: int = 64, width: int = 96) -> Scene:
    """A scene of the stand-in reality that needs no recording: the first frame of the trial, and no history before it.

    Raises `InvalidInput` with the nearest names for a task that Meta-World does not have.
    """
    world = MetaWorldWorld(height, width)
    try:
        return world.scene(task, reset_seed)
    finally:
        world.close()


def _reset_seed(scene: Scene) -> int:
    if scene.reset_seed is None:
        raise InvalidInput(
            f"scene {scene.id!r} has no reset_seed, so metaworld cannot begin it: record it in metaworld"
        )
    return scene.reset_seed


def _joints(observation: Observation) -> FloatArray:
    assert observation.joint_position is not None
    return observation.joint_position


def _fingerprint(height: int, width: int) -> str:
    """sha256 of everything that shapes a trial and its pictures."""
    parts = {
        "metaworld": version("metaworld"),
        "mujoco": version("mujoco"),
        "size": [height, width],
        "control_steps": CONTROL_STEPS,
        "cameras": dict(mounts()),
        "detail": DETAIL_PIXELS,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
