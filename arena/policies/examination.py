"""The questions that a probe asks a server: the same one again, and others that differ in one thing each."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arena.contracts import ActionChunk, InvalidInput, Observation, Scene
from arena.policies.droid import WRIST_CAMERA
from arena.policies.errors import named
from arena.policies.mistakes import Sample
from arena.policies.remote import Form, as_chunk
from arena.policies.served import EXTERIOR_CAMERAS, Served
from arena.policies.server import PolicyServer

Progress = Callable[[int, int, str], None]
IMAGE_SIZE = (180, 320)
CAMERAS = (*EXTERIOR_CAMERAS, WRIST_CAMERA)
PLACES = (
    ((0.0, -0.6283, 0.0, -2.5133, 0.0, 1.885, 0.0), (0.3597, 0.0, 0.4899, 3.1416, 0.0, 0.0)),
    ((0.3, -0.4, 0.1, -2.2, -0.2, 2.1, 0.2), (0.427, 0.1764, 0.5734, 2.9599, -0.326, 0.3033)),
    ((-0.3, -0.1, -0.15, -2.5, 0.15, 2.3, -0.4), (0.4049, -0.1914, 0.3127, -2.9925, 0.054, -0.1502)),
)
"""A Panda's joints in rad and where its flange is then, `flange_to_base` in m and rad: first the pose that DROID's
robots reset to, then two others above a table."""


def made_up_scenes() -> list[Scene]:
    """Three scenes of a Panda above nothing that exists: blurred colours, an open gripper."""
    return [_made_up(index) for index in range(len(PLACES))]


def _made_up(index: int) -> Scene:
    joints, pose = PLACES[index]
    cameras = {name: picture(10 * index + number) for number, name in enumerate(CAMERAS)}
    observation = Observation(
        cameras=cameras,
        cartesian_position=np.array(pose),
        gripper_position=np.zeros(1),
        instruction="pick up the cube",
        joint_position=np.array(joints),
    )
    history = {name: image[None] for name, image in cameras.items()}
    return Scene(f"made-up-{index}", observation, history, observation.state[None], observation.instruction, fps=5.0)


def picture(seed: int) -> NDArray[np.uint8]:
    """`(H, W, 3)` of `IMAGE_SIZE`: patches of colour, another for each seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 16, 3), dtype=np.uint8)
    return np.kron(coarse, np.ones((IMAGE_SIZE[0] // 9, IMAGE_SIZE[1] // 16, 1), np.uint8))


@dataclass
class Examiner:
    """Asks one server, each question in a trial of its own. Keeps the seconds that answers took."""

    served: Served
    server: PolicyServer
    seconds: list[float] = field(default_factory=list)

    def ask(self, scene: Scene) -> NDArray[Any]:
        """The first answer in a new trial, `(N, D)` as the server has it. Raises `PolicyError`."""
        form = self.begin(scene, self.server)
        return self.next(form, scene.observation, self.server)

    def begin(self, scene: Scene, server: PolicyServer) -> Form:
        form = self.served.form()
        with named(self.served.card.name, "the reset"):
            form.begin(server, scene)
        return form

    def next(self, form: Form, observation: Observation, server: PolicyServer) -> NDArray[Any]:
        return self._asked(form, observation, server)[0]

    def try_out(self, scene: Scene) -> tuple[Sample, ActionChunk]:
        """Two answers in a scene; returns the first, as it is and as it would be carried out. Raises `PolicyError`."""
        form = self.begin(scene, self.server)
        found = []
        for _ in range(2):
            raw, answer = self._asked(form, scene.observation, self.server)
            with named(self.served.card.name, "a trial"):
                chunk = as_chunk(self.served.card, form.actions(answer), self.served.velocity_scale)
            found.append((Sample(scene.observation, raw), chunk))
        return found[0]

    def used_cameras(self, scene: Scene) -> list[str]:
        """Those whose image is part of what is sent."""
        sent = self._sent(scene)
        return [name for name in scene.observation.cameras if self._sent(shown_otherwise(scene, name)) != sent]

    def _sent(self, scene: Scene) -> bytes:
        form = self.begin(scene, self.server)
        request = form.request(scene.observation)
        return self.served.dialect.encode({key: value for key, value in request.items() if key != "session_id"})

    def _asked(self, form: Form, observation: Observation, server: PolicyServer) -> tuple[NDArray[Any], Any]:
        with named(self.served.card.name, "a trial"):
            request = form.request(observation)
        started = time.perf_counter()
        answer = server.ask(request, f"call {len(self.seconds)}")
        self.seconds.append(time.perf_counter() - started)
        with named(self.served.card.name, f"call {len(self.seconds) - 1}"):
            return form.raw(answer), answer


def shown_otherwise(scene: Scene, camera: str) -> Scene:
    """The same scene, but for what one camera shows."""
    upside_down = np.ascontiguousarray(255 - scene.observation.cameras[camera][::-1])
    return seen_as(scene, cameras={**scene.observation.cameras, camera: upside_down})


def seen_as(scene: Scene, **changes: Any) -> Scene:
    """The same scene with another first observation, and its history's last frame with it."""
    observation = replace(scene.observation, **changes)
    history = {
        name: np.concatenate([frames[:-1], observation.cameras[name][None]]) if name in observation.cameras else frames
        for name, frames in scene.history.items()
    }
    return replace(scene, observation=observation, history=history, instruction=observation.instruction)


@dataclass(frozen=True)
class Answers:
    """What was answered. All are `(N, D)` of one shape and finite, in the server's units.

    `repeated` is the answer to one observation, again and again; `moved` those with the robot elsewhere; `closed` that
    with a closed gripper; `cameras` those with another picture, by camera; `told` that with another instruction.
    """

    scene: Scene
    repeated: Sequence[NDArray[Any]]
    moved: Sequence[Sample]
    closed: Sample
    cameras: Mapping[str, NDArray[Any]]
    told: NDArray[Any]

    @property
    def noise(self) -> float:
        """How much answers to the same observation differ, at most."""
        return max((difference(self.repeated[0], other) for other in self.repeated[1:]), default=0.0)


def difference(one: NDArray[Any], other: NDArray[Any]) -> float:
    """The largest of a number, over the actions that both have."""
    count = min(len(one), len(other))
    return float(np.abs(one[:count].astype(np.float64) - other[:count].astype(np.float64)).max())


def vary(examiner: Examiner, repeated: Sequence[NDArray[Any]], progress: Progress) -> Answers:
    """Ask what differs from the scene of `repeated` in one thing each. Raises `PolicyError`."""
    scene, *others = made_up_scenes()
    cameras = examiner.used_cameras(scene)
    total = len(others) + 2 + len(cameras)
    done = 0

    def asked(changed: Scene) -> NDArray[Any]:
        nonlocal done
        progress(done, total, "variations")
        done += 1
        answer = examiner.ask(changed)
        if answer.ndim != 2 or answer.shape[1] != repeated[0].shape[1] or not np.isfinite(answer).all():
            raise InvalidInput(f"an answer of shape {answer.shape} is not finite, or unlike the others")
        return answer

    with named(examiner.served.card.name, "the variations"):
        moved = []
        for other in others:
            place = other.observation
            elsewhere = seen_as(scene, joint_position=place.joint_position, cartesian_position=place.cartesian_position)
            moved.append(Sample(elsewhere.observation, asked(elsewhere)))
        shut = seen_as(scene, gripper_position=np.ones(1))
        return Answers(
            scene=scene,
            repeated=repeated,
            moved=moved,
            closed=Sample(shut.observation, asked(shut)),
            cameras={name: asked(shown_otherwise(scene, name)) for name in cameras},
            told=asked(seen_as(scene, instruction="put the cup upside down into the drawer")),
        )


def mixes_up(examiner: Examiner, other: Scene) -> bool:
    """Whether a trial is answered otherwise while another one is on. Only for servers that repeat themselves.

    Raises `PolicyError`.
    """
    scene = made_up_scenes()[0]
    alone = _two_answers(examiner, [scene])[0]
    return any(
        difference(one, two) > 1e-6 for one, two in zip(alone, _two_answers(examiner, [scene, other])[0], strict=True)
    )


def _two_answers(examiner: Examiner, scenes: Sequence[Scene]) -> list[list[NDArray[Any]]]:
    """Two answers in each scene, the scenes taking turns, each on a connection of its own."""
    servers = [examiner.served.server() for _ in scenes]
    try:
        forms = [examiner.begin(scene, server) for scene, server in zip(scenes, servers, strict=True)]
        rounds = [
            [examiner.next(form, scene.observation, server)
             for form, scene, server in zip(forms, scenes, servers, strict=True)]
            for _ in range(2)
        ]  # fmt: skip
    finally:
        for server in servers:
            server.close()
    return [list(answers) for answers in zip(*rounds, strict=True)]
