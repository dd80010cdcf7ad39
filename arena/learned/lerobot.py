"""`lerobot:FOLDER`: a checkpoint of LeRobot, run by an interpreter of its own in a process with few rights.

LeRobot's own policy server unpickles what it is sent and is never spoken to. A checkpoint is a `config.json` and
safetensors; a folder with anything that could be unpickled is refused unopened.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arena.contracts import FloatArray, InvalidInput, Observation, PolicyCard, Scene
from arena.learned.folders import read_file
from arena.policies.child import ChildProcess
from arena.policies.droid import (
    WRIST_CAMERA,
    camera,
    checked_actions,
    joint_position,
    raw_actions,
    resize_with_pad,
)
from arena.policies.remote import RemotePolicy
from arena.policies.served import EXTERIOR_CAMERAS
from arena.policies.server import OPENPI, Access, Channel, PolicyServer
from arena.policies.specs import (
    ACTS_HELP,
    PolicyFactory,
    declaration_sha256,
    declared_acts,
    must_declare,
    named_cameras,
    parameters,
)

CHILD = Path(__file__).with_name("lerobot_child.py")
MAX_CONFIG_BYTES = 1 << 20
ALLOWED = ("", ".json", ".safetensors", ".md", ".txt", ".gitattributes")
"""Suffixes of files in a checkpoint's folder."""
EXAMPLE = "lerobot:FOLDER?action_space=joint_position&control_hz=15&chunk=8"
DECLARES = ("action_space", "control_hz", "chunk")
_HELP = {
    **ACTS_HELP,
    "state": "what its state is made of, e.g. joint_position+gripper_position",
    "cameras": "VIEW:CAMERA,..., where its images are not named as ours",
}
_STATES: Mapping[str, Callable[[Observation], FloatArray]] = {
    "joint_position": joint_position,
    "gripper_position": lambda observation: observation.gripper_position,
    "cartesian_position": lambda observation: observation.cartesian_position,
}
_USUAL_STATES = {8: "joint_position+gripper_position", 7: "cartesian_position+gripper_position"}
_USUAL_VIEWS = {
    **{name: name for name in (*EXTERIOR_CAMERAS, WRIST_CAMERA)},
    "exterior_1_left": "exterior_1", "exterior_2_left": "exterior_2", "wrist_left": WRIST_CAMERA,
}  # fmt: skip
"""Ours, and those of LeRobot's DROID."""


@dataclass(frozen=True)
class _Features:
    """What a checkpoint's config says that it sees: images by key, (H, W) each, and how wide its state is."""

    images: Mapping[str, tuple[int, int]]
    state: int


@dataclass(frozen=True)
class LeRobotForm:
    """`arena.policies.remote.Form`. Of each answer the first `card.chunk_length` actions are carried out."""

    card: PolicyCard
    images: Mapping[str, tuple[int, int]]
    cameras: Mapping[str, str]
    state: tuple[str, ...]

    def begin(self, server: PolicyServer, scene: Scene) -> None:
        server.ask({"endpoint": "reset"}, "the reset")

    def request(self, observation: Observation) -> Mapping[str, Any]:
        images = {
            key: resize_with_pad(camera(observation.cameras, self.cameras[key]), *size)
            for key, size in self.images.items()
        }
        parts = [np.asarray(_STATES[name](observation), dtype=np.float32) for name in self.state]
        return {"endpoint": "act", "images": images, "state": np.concatenate(parts), "task": observation.instruction}

    def raw(self, answer: Any) -> NDArray[Any]:
        return raw_actions(answer)

    def actions(self, answer: Any) -> FloatArray:
        values, length = checked_actions(answer, self.card.action_space), self.card.chunk_length
        if len(values) < length:
            raise InvalidInput(f"the checkpoint answered {len(values)} actions where chunk={length} was declared")
        return values[:length]


@dataclass(frozen=True)
class _Started:
    """`arena.policies.server.Route`: by starting the child."""

    folder: Path
    python: str

    @property
    def address(self) -> str:
        return f"lerobot:{self.folder}"

    def open(self, seconds: float) -> Channel:
        return ChildProcess([self.python, "-I", str(CHILD)], [str(self.folder)])


def parse_lerobot(spec: str, access: Access, python: str | None = None) -> PolicyFactory:
    """A parser for the registry. `python` is an interpreter with lerobot and msgpack, by default this one.

    Trials of one factory share a process, and with it the weights. Raises `InvalidInput` for a folder that holds no
    checkpoint that may be loaded, or one that remembers earlier observations, and for what is not declared.
    """
    path = spec.partition("?")[0].removeprefix("lerobot:")
    given, folder = parameters(spec, _HELP), Path(path).resolve()
    must_declare(spec, given, DECLARES, EXAMPLE)
    if not path:
        raise InvalidInput(f"policy {spec!r} must declare a folder, for instance {EXAMPLE}")
    features = _features(folder)
    state = tuple(given.get("state", _USUAL_STATES.get(features.state, "")).split("+"))
    if unknown := [name for name in state if name not in _STATES]:
        raise InvalidInput(
            f"policy {spec!r}: say what its {features.state} numbers of state are, of {', '.join(_STATES)} joined by +"
            + (f", not {unknown[0]!r}" if unknown[0] else "")
        )
    cameras = _cameras(spec, features.images, given.get("cameras", ""))
    acts = declared_acts(spec, given)
    weights = _content_sha256(folder, _fingerprint(folder))
    declared = {"weights": weights, "acts": acts.declared, "sees": [sorted(cameras.items()), state]}
    card = PolicyCard(
        name=given.get("name", folder.name),
        spec=spec,
        sha256=declaration_sha256(declared),
        action_space=acts.space,
        control_hz=acts.control_hz,
        chunk_length=acts.chunk,
        cameras=tuple(sorted(set(cameras.values()))),
        resolution=next(iter(features.images.values()), None),
    )
    form = LeRobotForm(card, features.images, cameras, state)
    server = PolicyServer(card.name, _Started(folder, python or sys.executable), access, OPENPI)
    return PolicyFactory(card, lambda: RemotePolicy(card, server, form, acts.scale))


def _features(folder: Path) -> _Features:
    """Raises `InvalidInput` for a folder that is no checkpoint, or that holds what could be unpickled."""
    if not folder.is_dir():
        raise InvalidInput(f"there is no folder {str(folder)!r}; write lerobot:FOLDER of a checkpoint")
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix.lower() not in ALLOWED:
            raise InvalidInput(
                f"{path} is refused: a checkpoint holds files of {', '.join(filter(None, ALLOWED))} only"
            )
    if not (folder / "model.safetensors").is_file():
        raise InvalidInput(f"{folder} holds no model.safetensors: it is no checkpoint of lerobot")
    try:
        config = json.loads(read_file(folder / "config.json", MAX_CONFIG_BYTES, "checkpoint of lerobot"))
        inputs = dict(config["input_features"])
        images = {key: (int(each["shape"][1]), int(each["shape"][2])) for key, each in inputs.items()
                  if each["type"] == "VISUAL"}  # fmt: skip
        state = next((int(each["shape"][0]) for each in inputs.values() if each["type"] == "STATE"), 0)
        remembers = int(config.get("n_obs_steps", 1))
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise InvalidInput(f"{folder / 'config.json'} is not the config of a policy of lerobot: {error}") from error
    if remembers != 1:
        raise InvalidInput(
            f"the checkpoint looks at {remembers} observations at a time; those that look at 1 can be run"
        )
    if not all(0 < side <= 2048 for size in images.values() for side in size):
        raise InvalidInput(f"{folder / 'config.json'} has images of no size, or of more than 2048 pixels")
    return _Features(images, state)


def _cameras(spec: str, images: Mapping[str, Any], text: str) -> dict[str, str]:
    """Our camera for each of its images."""
    said = named_cameras(spec, text)
    found = {}
    for key in images:
        view = key.rpartition(".")[2]
        name = said.get(key) or said.get(view) or _USUAL_VIEWS.get(view)
        if name is None:
            raise InvalidInput(f"policy {spec!r}: say which camera its image {view!r} is with cameras={view}:CAMERA")
        found[key] = name
    return found


def _fingerprint(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Name, bytes and time of each file: that what was hashed need not be hashed again."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return tuple((str(path.relative_to(folder)), path.stat().st_size, path.stat().st_mtime_ns) for path in files)


@lru_cache(maxsize=64)
def _content_sha256(folder: Path, files: tuple[tuple[str, int, int], ...]) -> str:
    digest = hashlib.sha256()
    for name, _, _ in files:
        with (folder / name).open("rb") as file:
            digest.update(f"{name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()
