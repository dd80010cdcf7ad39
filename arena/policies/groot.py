"""What GR00T's policy servers (Isaac-GR00T N1.5 and later) are sent and answer, on the DROID robot.

A ZeroMQ request names an `endpoint`: `get_modality_config` says which images, states and actions the policy knows by
which names, `reset` begins a trial, `get_action` takes a batch of observations, B of them, and answers a map of
`(B, N, D)` arrays and a map of no interest. As in its DROID example, images are padded to 180 x 320 and the gripper
is made binary.

N1.5 has the same wire format and another layout: its keys say of what modality they are (`video.NAME`), an observation
is one flat map of them, the answer is the map of actions alone, and there is no `reset`. What is not batched there is
batched by the server and answered without the dimension; ours always is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from arena.contracts import FloatArray, Frames, InvalidInput, Observation, PolicyCard, Scene
from arena.policies import groot_wire
from arena.policies.droid import MAX_CHUNK, binarised, camera, joint_position, resize_with_pad
from arena.policies.remote import Batches
from arena.policies.server import Dialect, PolicyServer
from arena.policies.transport import one_line

CONTROL_HZ = 15.0
"""Of DROID."""
IMAGE_SIZE = (180, 320)
"""(H, W) of Isaac-GR00T's `examples/DROID/main_gr00t.py`."""
MAX_INSTANTS = 16
"""Images of one camera in one request that a server may ask for."""
EPSILON = 1e-6
"""Seconds by which two instants may differ and count as one."""
_EEF_CORRECTION = np.array([[0, 0, -1], [-1, 0, 0], [0, 1, 0]], dtype=np.float64)
"""`end_effector` axes of the same example to those of DROID's recordings."""
_GRIPPER = "gripper_position"


def groot_dialect(api_key: str | None) -> Dialect:
    """What GR00T's servers speak; a key travels in each request as `api_token`."""

    def encode(request: Any) -> bytes:
        return groot_wire.encode({**request, **({} if api_key is None else {"api_token": api_key})})

    return Dialect(encode, groot_wire.decode, greets=False)


@dataclass(frozen=True)
class Modalities:
    """What a server wants to be shown: keys of images, and when they were taken, in control steps (0 is now)."""

    video: tuple[str, ...]
    instants: tuple[int, ...]
    state: tuple[str, ...]
    action: tuple[str, ...]
    language: str
    flat: bool = False
    """Whether it is N1.5's layout; the keys above are without their prefixes."""


def read_modalities(answer: Any) -> Modalities:
    """The answer to `get_modality_config`; raises `InvalidInput` where it is none or asks for what is not kept."""
    if not isinstance(answer, dict):
        raise InvalidInput(f"the server's modality config is a {type(answer).__name__} and not a map")
    configs = {name: _modality(answer, name) for name in ("video", "state", "action", "language")}
    instants = configs["video"][1]
    if not 0 < len(instants) <= MAX_INSTANTS or max(instants) > 0:
        raise InvalidInput(f"the server wants images of instants {str(instants)[:80]}; none is later than 0, now")
    if configs["state"][1] != (0,):
        raise InvalidInput(f"the server wants states of instants {str(configs['state'][1])[:80]}; only 0, now, is kept")
    if len(configs["language"][0]) != 1:
        raise InvalidInput(f"the server wants {len(configs['language'][0])} texts; there is one instruction")
    keys = {name: keys for name, (keys, _) in configs.items()}
    flat = all(key.startswith("video.") for key in keys["video"]) and bool(keys["video"])
    if flat:
        keys = {name: tuple(key.removeprefix(f"{name}.") for key in those) for name, those in keys.items()}
    return Modalities(keys["video"], instants, keys["state"], keys["action"], keys["language"][0], flat)


def _modality(answer: Mapping[Any, Any], name: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Keys and instants of one modality, which may come as a map, as the JSON of one, or wrapped as either."""
    config = answer.get(name)
    if isinstance(config, dict) and "as_json" in config:
        config = config["as_json"]
    if isinstance(config, str):
        try:
            config = json.loads(config)
        except (ValueError, RecursionError) as error:
            raise InvalidInput(f"the server's modality config of {name} is no JSON") from error
    parts = config if isinstance(config, dict) else {}
    keys, instants = parts.get("modality_keys"), parts.get("delta_indices")
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise InvalidInput(f"the server's modality config does not list the modality_keys of {name}")
    if not isinstance(instants, list) or not all(type(instant) is int for instant in instants):
        raise InvalidInput(f"the server's modality config does not list the delta_indices of {name}")
    return tuple(keys), tuple(instants)


@dataclass
class GrootForm:
    """`arena.policies.remote.Form`. Of each answer the first `card.chunk_length` actions are carried out.

    `cameras` maps a server's name for a view to ours. Images of earlier instants are the last ones that were seen at
    or before them (a policy sees one for each of its answers), from the scene's history at the beginning.
    """

    card: PolicyCard
    cameras: Mapping[str, str]
    image_size: tuple[int, int] = IMAGE_SIZE
    _modalities: Modalities | None = field(default=None, init=False, repr=False)
    _seen: list[tuple[float, dict[str, Frames]]] = field(default_factory=list, init=False, repr=False)
    _elapsed: float = field(default=0.0, init=False)

    def begin(self, server: PolicyServer, scene: Scene) -> None:
        """Ask what the server wants to see, and have it begin anew; raises `InvalidInput` for what is not known."""
        self._modalities = read_modalities(server.ask({"endpoint": "get_modality_config"}, "the handshake"))
        self._check(self._modalities)
        if not self._modalities.flat:
            server.ask({"endpoint": "reset", "data": {"options": None}}, "the reset")
        self._elapsed, self._seen = 0.0, []
        before = len(next(iter(scene.history.values()), ())) - 1
        for index in range(max(0, before)):
            views = {name: frames[index] for name, frames in scene.history.items()}
            self._remember((index - before) / scene.fps, views)

    def request(self, observation: Observation) -> Mapping[str, Any]:
        wanted = self._wanted
        self._remember(self._elapsed, observation.cameras)
        video: dict[str, NDArray[Any]] = {key: self._video(key)[None] for key in wanted.video}
        state: dict[str, NDArray[Any]] = {key: _STATES[key](observation)[None, None] for key in wanted.state}
        said = observation.instruction
        if wanted.flat:
            named: dict[str, NDArray[Any]] = {f"video.{key}": images for key, images in video.items()}
            named |= {f"state.{key}": numbers for key, numbers in state.items()}
            return {"endpoint": "get_action", "data": {**named, wanted.language: [said]}}
        now = {"video": video, "state": state, "language": {wanted.language: [[said]]}}
        return {"endpoint": "get_action", "data": {"observation": now, "options": None}}

    def raw(self, answer: Any) -> NDArray[Any]:
        """The arm, under the name of its action space, and the gripper, as far as both go."""
        arm, gripper = self._parts(answer)
        count = min(len(arm), len(gripper))
        return np.concatenate([arm[:count], gripper[:count]], axis=1)

    def actions(self, answer: Any) -> FloatArray:
        """Of the arm and the gripper, the latter made binary."""
        arm, gripper = self._parts(answer)
        length = self.card.chunk_length
        if len(arm) != len(gripper) or len(arm) < length:
            raise InvalidInput(
                f"the server answered {len(arm)} actions of the arm and {len(gripper)} of the gripper "
                f"where chunk={length} was declared"
            )
        for values in (arm, gripper):
            if not np.isfinite(values).all():
                raise InvalidInput("the server's actions hold NaN or infinite numbers")
        self._elapsed += length / self.card.control_hz
        return binarised(np.concatenate([arm, gripper], axis=1)[:length])

    def _parts(self, answer: Any) -> tuple[FloatArray, FloatArray]:
        parts = _actions_of(answer)
        named = {str(key).removeprefix("action."): value for key, value in parts.items()}
        space = self.card.action_space
        return _part(named, str(space), space.width - 1), _part(named, _GRIPPER, 1)

    @property
    def _wanted(self) -> Modalities:
        if self._modalities is None:
            raise RuntimeError(f"policy {self.card.name!r}: act before reset")
        return self._modalities

    def _check(self, wanted: Modalities) -> None:
        for key in wanted.video:
            if key not in self.cameras:
                known = ", ".join(self.cameras)
                raise InvalidInput(
                    f"the server's view {one_line(key, 40)!r} is not known ({known}): cameras=VIEW:CAMERA,..."
                )
        for key in wanted.state:
            if key not in _STATES:
                raise InvalidInput(f"the server's state {one_line(key, 40)!r} is none of {', '.join(_STATES)}")
        for key in (str(self.card.action_space), _GRIPPER):
            if key not in wanted.action:
                answered = one_line(", ".join(wanted.action), 120)
                raise InvalidInput(
                    f"the policy was submitted with {key}, which the server does not answer ({answered})"
                )

    def _remember(self, when: float, views: Mapping[str, Frames]) -> None:
        needed = {self.cameras[key] for key in self._wanted.video}
        images = {name: resize_with_pad(view, *self.image_size) for name, view in views.items() if name in needed}
        self._seen.append((when, images))
        oldest = self._elapsed + min(self._wanted.instants) / self.card.control_hz
        while len(self._seen) > 1 and self._seen[1][0] <= oldest + EPSILON:
            self._seen.pop(0)

    def _video(self, key: str) -> Frames:
        """`(T, H, W, 3)` of one view, at the instants that the server wants."""
        name = self.cameras[key]
        frames = []
        for instant in self._wanted.instants:
            due = self._elapsed + instant / self.card.control_hz
            known = [images for when, images in self._seen if when <= due + EPSILON]
            images = known[-1] if known else self._seen[0][1]
            frames.append(camera(images, name))
        return np.stack(frames)


def _actions_of(answer: Any) -> dict[Any, Any]:
    """The map of actions in an answer, which may be followed by one of no interest."""
    parts = answer[0] if isinstance(answer, list) and answer else answer
    if not isinstance(parts, dict):
        raise InvalidInput(f"the server answered a {type(parts).__name__} where a map of actions was due")
    return parts


def merged(requests: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """One request about all that each is about: arrays and texts are put behind one another."""
    first: Mapping[str, Any] = requests[0]
    return {key: _joined([request[key] for request in requests]) for key in first}


def _joined(values: Sequence[Any]) -> Any:
    first = values[0]
    if isinstance(first, np.ndarray):
        return np.concatenate(values)
    if isinstance(first, Mapping):
        return {key: _joined([value[key] for value in values]) for key in first}
    return [item for value in values for item in value] if isinstance(first, list) else first


def split(answer: Any, count: int) -> list[Any]:
    """The answers to each of `count` merged requests; raises `InvalidInput` where there are not so many."""
    parts = _actions_of(answer)
    for key, values in parts.items():
        if not isinstance(values, np.ndarray) or values.ndim != 3 or len(values) != count:
            found = values.shape if isinstance(values, np.ndarray) else type(values).__name__
            raise InvalidInput(f"the server's {one_line(str(key), 40)!r} is {found} for {count} observations")
    return [{key: values[index : index + 1] for key, values in parts.items()} for index in range(count)]


BATCHES = Batches(merged, split)


def _part(named: Mapping[str, Any], key: str, width: int) -> FloatArray:
    """`(N, width)` numbers of the first of a batch."""
    values = named.get(key)
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "iuf":
        known = one_line(", ".join(named), 120)
        raise InvalidInput(f"the server's {key!r} must be an array of numbers (it answered {known})")
    if values.ndim != 3 or values.shape[0] != 1 or values.shape[2] != width or not 0 < values.shape[1] <= MAX_CHUNK:
        raise InvalidInput(f"the server's {key!r} has the shape {values.shape} where (1, N, {width}) was due")
    first: FloatArray = values[0].astype(np.float64)
    return first


def _eef_9d(observation: Observation) -> NDArray[np.float32]:
    """`(9,)`: position in m, and the first two rows of the corrected rotation matrix."""
    turn = Rotation.from_euler("xyz", observation.cartesian_position[3:]).as_matrix() @ _EEF_CORRECTION
    return np.concatenate([observation.cartesian_position[:3], turn[:2].reshape(6)]).astype(np.float32)


_STATES: Mapping[str, Callable[[Observation], NDArray[np.float32]]] = {
    "joint_position": joint_position,
    _GRIPPER: lambda observation: np.asarray(observation.gripper_position, dtype=np.float32),
    "cartesian_position": lambda observation: np.asarray(observation.cartesian_position, dtype=np.float32),
    "eef_9d": _eef_9d,
}
"""States by the names that servers have for them, each `(D,)` float32."""
