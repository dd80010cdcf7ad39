"""Digital twins as a `World`: policies act in their physics and see their splats, wrist camera included."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from arena.contracts import (
    ActionChunk,
    FloatArray,
    Frames,
    InvalidInput,
    Observation,
    Scene,
    WorldCard,
    WorldStep,
)
from real2sim.robot import ArmKinematics
from real2sim.robots import robot_named
from real2sim.twin.arm import Arm
from real2sim.twin.bundle import MANIFEST, Twin, load_twin, read_manifest, twin_sha256
from real2sim.twin.physics import TwinPhysics
from real2sim.twin.pictures import Instant, TwinPictures

SECONDS_PER_STEP = 1.0
"""What one `step` may last: a policy sees nothing new within it."""
BEGINS_WITHIN = 0.02
"""Rad between the joints of a scene and those that its twin begins with."""
VERSION = 2
"""Of what this file and those it uses make of a twin: it is part of the world's hash."""


@dataclass
class _Trial:
    """One simulation, and the joints `(7,)` rad that the arm was last told: inverse kinematics go on from there."""

    key: str
    instruction: str
    physics: TwinPhysics
    arm: Arm
    told: FloatArray
    succeeded: bool = False

    @property
    def instant(self) -> Instant:
        return Instant(self.arm.joint_position, self.arm.gripper_position, self.physics.body_to_base())


class TwinWorld:
    """Twins by key (the id of the episode that each was made of), all of one rate and with the same cameras.

    What no picture shows, the mass and friction of things, is drawn from its range by a trial's seed, so a ranking
    does not hang on one guess. Actions are where the flange shall be; inverse kinematics and the identified servo turn
    them into torques. Twins whose episodes showed what they were after tell a success, by their own things' places and
    once it has been one; others do not. Raises `InvalidInput` for twins that do not go together.
    """

    def __init__(self, twins: Mapping[str, Twin], name: str = "twin", sha256: str = "") -> None:
        self._twins = dict(twins)
        self._card = _card(self._twins, name, sha256)
        self._robot = robot_named(self._card.robot)
        self._kinematics = ArmKinematics(self._robot)
        self._built: dict[str, TwinPhysics] = {}
        self._pictures: dict[str, TwinPictures] = {}
        self._trials: list[_Trial] = []

    @classmethod
    def load(cls, folder: Path) -> TwinWorld:
        """The twin in `folder`, or every twin in the folders within it. Raises `InvalidInput` where there is none."""
        folders = twin_folders(folder)
        twins = {key: load_twin(path) for key, path in folders.items()}
        digest = hashlib.sha256(
            json.dumps([VERSION, {key: twin_sha256(path) for key, path in folders.items()}]).encode()
        )
        return cls(twins, folder.name, digest.hexdigest())

    @property
    def card(self) -> WorldCard:
        return self._card

    @property
    def keys(self) -> tuple[str, ...]:
        """Of the twins: what a scene's `episode_id` has to be."""
        return tuple(self._twins)

    def start(self, scenes: Sequence[Scene], seeds: Sequence[int]) -> list[Observation]:
        """Begin a batch of trials as the twins' episodes began. Raises `InvalidInput` for a scene without a twin, or
        that begins elsewhere than its episode."""
        if len(scenes) != len(seeds):
            raise InvalidInput(f"{len(scenes)} scenes need as many seeds, not {len(seeds)}")
        for scene in scenes:
            self._check_scene(scene)
        self._trials = [self._begin(scene, seed) for scene, seed in zip(scenes, seeds, strict=True)]
        return [seen[0] for seen in self._observations([[trial.instant] for trial in self._trials])]

    def step(self, chunks: Sequence[ActionChunk]) -> list[WorldStep]:
        """Act in every trial, one chunk each. Raises `InvalidInput` for chunks that are not this world's."""
        self._check_chunks(chunks)
        passed: list[list[Instant]] = []
        for index, (trial, chunk) in enumerate(zip(self._trials, chunks, strict=True)):
            instants = []
            for action in np.asarray(chunk.values, dtype=np.float64):
                trial.told = self._kinematics.nearest(action[:6], trial.told)
                trial.arm.follow(trial.told, float(action[6]), 1 / self.card.fps)
                instants.append(trial.instant)
                goal = self._twins[trial.key].goal
                trial.succeeded |= goal is not None and self.distance(index) <= goal.within
            passed.append(instants)
        told = [trial.succeeded if self.card.knows_success else None for trial in self._trials]
        seen = self._observations(passed)
        return [_world_step(each, self.card.cameras, success) for each, success in zip(seen, told, strict=True)]

    def distance(self, index: int) -> float:
        """Metres that a running trial is from its goal, infinite where its twin has none."""
        trial = self._trials[index]
        goal = self._twins[trial.key].goal
        tool = self._kinematics.forward_matrix(trial.arm.joint_position[None])[0][0]
        return float("inf") if goal is None else goal.distance(tool, trial.physics.body_to_base())

    def scene(self, key: str) -> Scene:
        """How a twin begins, as the twin itself shows it. Drops the trials that were running."""
        beginning = self._twin(key).beginning
        blank = Observation({}, np.zeros(6), np.zeros(1), beginning.instruction)
        first = self.start([_scene(key, blank, self._twins[key])], [0])[0]
        return _scene(key, first, self._twins[key])

    def close(self) -> None:
        """Free the simulations and the graphics memory."""
        for pictures in self._pictures.values():
            pictures.close()
        self._pictures, self._built, self._trials = {}, {}, []

    def _twin(self, key: str) -> Twin:
        if key not in self._twins:
            known = ", ".join(list(self._twins)[:5])
            raise InvalidInput(f"{self.card.name} has no twin of episode {key!r}, only of {known}")
        return self._twins[key]

    def _check_scene(self, scene: Scene) -> None:
        beginning = self._twin(scene.episode_id).beginning
        joints = scene.observation.joint_position
        if joints is not None and np.abs(joints - beginning.joint_position).max() > BEGINS_WITHIN:
            raise InvalidInput(
                f"scene {scene.id} does not begin where its episode does: a twin knows where things stood at the "
                "episode's first frame only, so cut scenes there (--beginnings 1)"
            )

    def _begin(self, scene: Scene, seed: int) -> _Trial:
        key, twin = scene.episode_id, self._twins[scene.episode_id]
        if key not in self._built:
            self._built[key] = TwinPhysics(twin.plane, twin.objects, self._robot)
        physics = self._built[key].drawn(seed)
        arm = Arm(physics.model, physics.data, twin.servo, self._robot, twin.gripper)
        arm.place(twin.beginning.joint_position, twin.beginning.gripper_position)
        return _Trial(key, scene.instruction, physics, arm, np.array(twin.beginning.joint_position))

    def _observations(self, passed: Sequence[Sequence[Instant]]) -> list[list[Observation]]:
        """What is seen at each instant of each trial. Trials of one twin are drawn together."""
        seen: list[list[Observation]] = [[] for _ in passed]
        for key in dict.fromkeys(trial.key for trial in self._trials):
            rows = [i for i, trial in enumerate(self._trials) if trial.key == key]
            if key not in self._pictures:
                self._pictures[key] = TwinPictures(self._twins[key])
            for time in range(len(passed[rows[0]])):
                instants = [passed[row][time] for row in rows]
                frames = self._pictures[key].draw(instants)
                for index, (row, instant) in enumerate(zip(rows, instants, strict=True)):
                    cameras = {name: frames[name][index] for name in self.card.cameras}
                    seen[row].append(self._observation(instant, cameras, self._trials[row].instruction))
        return seen

    def _observation(self, instant: Instant, cameras: Mapping[str, Frames], words: str) -> Observation:
        flange = self._kinematics.forward(instant.joint_position[None])[0]
        return Observation(cameras, flange, np.array([instant.gripper_position]), words, instant.joint_position)

    def _check_chunks(self, chunks: Sequence[ActionChunk]) -> None:
        card = self.card
        if len(chunks) != len(self._trials):
            raise InvalidInput(f"{len(self._trials)} trials are running, so {len(chunks)} chunks cannot be stepped")
        for chunk in chunks:
            if chunk.space != card.action_space or abs(chunk.control_hz - card.fps) > 0.01 * card.fps:
                wanted, got = f"{card.action_space} at {card.fps:g} Hz", f"{chunk.space} at {chunk.control_hz:g} Hz"
                raise InvalidInput(f"{card.name} takes {wanted}, not {got}")
            if len(chunk) != len(chunks[0]) or len(chunk) > card.frames_per_step:
                raise InvalidInput(
                    f"{card.name} takes chunks of one length, at most {card.frames_per_step} actions, "
                    f"not of {len(chunks[0])} and {len(chunk)}"
                )


def twin_folders(folder: Path) -> dict[str, Path]:
    """The twins in and right below `folder`, by key. Raises `InvalidInput` where there is none, or two have one key."""
    found: dict[str, Path] = {}
    places = [folder] if (folder / MANIFEST).is_file() else sorted(path.parent for path in folder.glob(f"*/{MANIFEST}"))
    for place in places:
        try:
            key = str(read_manifest(place)["beginning"]["episode_id"])
        except (KeyError, TypeError) as error:
            raise InvalidInput(f"{place / MANIFEST} cannot be read: build the twin again") from error
        if key in found:
            raise InvalidInput(f"{found[key]} and {place} are both twins of {key}: keep one of them")
        found[key] = place
    if not found:
        raise InvalidInput(f"{folder} holds no twin: `dreamarena twin build EPISODES --out {folder}` makes one")
    return found


def _card(twins: Mapping[str, Twin], name: str, sha256: str) -> WorldCard:
    if not twins:
        raise InvalidInput("a world of twins needs at least one")
    first = next(iter(twins.values()))
    fps = first.beginning.fps
    for key, twin in twins.items():
        if twin.beginning.fps != fps or twin.beginning.robot != first.beginning.robot:
            raise InvalidInput(
                f"the twin of {key} is at {twin.beginning.fps:g} Hz of a {twin.beginning.robot}, others are at "
                f"{fps:g} Hz of a {first.beginning.robot}: put them into folders of their own"
            )
    shared = [camera for camera in first.cameras if all(camera in twin.cameras for twin in twins.values())]
    if not shared:
        raise InvalidInput("the twins have no camera in common: put them into folders of their own")
    steps = max(1, round(SECONDS_PER_STEP * fps))
    knows = all(twin.goal is not None for twin in twins.values())
    return WorldCard(name, sha256, fps, steps, tuple(shared), robot=first.beginning.robot, knows_success=knows)


def _scene(key: str, first: Observation, twin: Twin) -> Scene:
    beginning = twin.beginning
    history = {camera: frame[None] for camera, frame in first.cameras.items()}
    return Scene(
        key, first, history, first.state[None], beginning.instruction, beginning.fps, beginning.robot, beginning.task,
        episode_id=key,
    )  # fmt: skip


def _world_step(seen: Sequence[Observation], cameras: Sequence[str], success: bool | None) -> WorldStep:
    return WorldStep(
        frames={name: np.stack([each.cameras[name] for each in seen]) for name in cameras},
        state=np.stack([each.state for each in seen]),
        observation=seen[-1],
        joint_position=np.stack([np.asarray(each.joint_position) for each in seen]),
        success=success,
    )
