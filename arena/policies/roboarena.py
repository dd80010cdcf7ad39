"""What RoboArena's policy servers are sent and answer.

A websocket as openpi's, and besides: the server declares what it wants to see, each request names an `endpoint`
(`infer` or `reset`) and, where it is wanted, the `session_id` of its trial; all actions of an answer are carried out
before the server is asked again. Its text answer to a reset is an acknowledgement. As RoboArena's own client does,
images are stretched and not padded, the gripper is made binary, and cameras are numbered from 0.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arena.contracts import ActionSpace, FloatArray, InvalidInput, Observation, PolicyCard, Scene
from arena.policies.droid import (
    WRIST_CAMERA,
    binarised,
    camera,
    checked_actions,
    joint_position,
    raw_actions,
    stretched,
)
from arena.policies.server import PolicyServer
from arena.policies.transport import one_line

CONTROL_HZ = 15.0
"""Of every policy in RoboArena."""
MAX_SIDE = 2048
"""Pixels of an image that a server may ask for."""
_FIELDS = ("image_resolution", "n_external_cameras", "needs_wrist_camera", "needs_session_id", "action_space")


@dataclass(frozen=True)
class ServerConfig:
    """What a server declares. `image_resolution` (H, W) is None where images are sent as they are."""

    image_resolution: tuple[int, int] | None
    external_cameras: int
    wrist_camera: bool
    session_id: bool
    action_space: ActionSpace


def read_config(metadata: Mapping[str, Any]) -> ServerConfig:
    """What a server's metadata declares; what it leaves out is as RoboArena's server has it by default.

    Raises `InvalidInput` for metadata of another kind of server, values that are none, and stereo images.
    """
    if not any(name in metadata for name in _FIELDS):
        keys = ", ".join(one_line(str(key), 40) for key in list(metadata)[:8]) or "nothing"
        raise InvalidInput(f"its metadata ({keys}) is not that of a RoboArena server; is it openpi://?")
    if _flag(metadata, "needs_stereo_camera", False):
        raise InvalidInput("the server needs stereo images, and no world here shows the right eye's")
    count = metadata.get("n_external_cameras", 1)
    if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= 2:
        raise InvalidInput(f"the server's n_external_cameras must be 0, 1 or 2, not {one_line(str(count), 40)}")
    space = metadata.get("action_space", ActionSpace.JOINT_POSITION)
    if space not in [str(known) for known in ActionSpace]:
        raise InvalidInput(
            f"the server's action_space {one_line(str(space), 40)!r} is none of {', '.join(ActionSpace)}"
        )
    return ServerConfig(
        image_resolution=_resolution(metadata.get("image_resolution", (224, 224))),
        external_cameras=count,
        wrist_camera=_flag(metadata, "needs_wrist_camera", True),
        session_id=_flag(metadata, "needs_session_id", False),
        action_space=ActionSpace(space),
    )


def _flag(metadata: Mapping[str, Any], name: str, default: bool) -> bool:
    value = metadata.get(name, default)
    if not isinstance(value, bool):
        raise InvalidInput(f"the server's {name} must be true or false, not {one_line(str(value), 40)}")
    return value


def _resolution(value: Any) -> tuple[int, int] | None:
    if value is None:
        return None
    sides = list(value) if isinstance(value, (list, tuple)) else []
    if len(sides) != 2 or not all(isinstance(side, int) and 0 < side <= MAX_SIDE for side in sides):
        raise InvalidInput(
            f"the server's image_resolution must be (H, W) of at most {MAX_SIDE}, not {one_line(str(value), 40)}"
        )
    return sides[0], sides[1]


def _new_session() -> str:
    return str(uuid.uuid4())


@dataclass
class RoboArenaForm:
    """`arena.policies.remote.Form` of one trial, which is a session of its own: many may act on one server at once.

    The first exterior camera that the server wants is `exterior_cameras[0]`, the second `[1]`; they are numbered from
    `first_camera`. `new_session` names sessions. Raises `InvalidInput` where `card` declares another action space
    than the server does, or more actions than it answers.
    """

    card: PolicyCard
    exterior_cameras: tuple[str, str] = ("exterior_1", "exterior_2")
    first_camera: int = 0
    new_session: Callable[[], str] = field(default=_new_session, repr=False)
    _config: ServerConfig | None = field(default=None, init=False, repr=False)
    _session: str = field(default="", init=False, repr=False)

    def begin(self, server: PolicyServer, scene: Scene) -> None:
        """Read what the server declares, and have it begin a new session, with the first observation at hand."""
        self._config = read_config(server.metadata())
        if self._config.action_space is not self.card.action_space:
            raise InvalidInput(
                f"the server declares {self._config.action_space}, and the policy was submitted with "
                f"action_space={self.card.action_space}"
            )
        self._session = self.new_session()
        server.tell({**self._observed(scene.observation), "endpoint": "reset"}, "the reset")

    def request(self, observation: Observation) -> Mapping[str, Any]:
        return {**self._observed(observation), "endpoint": "infer"}

    def raw(self, answer: Any) -> NDArray[Any]:
        """What was answered need not be in a map, nor a single action be in a chunk."""
        values = raw_actions({"actions": answer} if isinstance(answer, np.ndarray) else answer)
        return values[None] if values.ndim == 1 else values

    def actions(self, answer: Any) -> FloatArray:
        """All that the server answered, the gripper made binary."""
        values = checked_actions({"actions": self.raw(answer)}, self.card.action_space)
        if len(values) < self.card.chunk_length:
            raise InvalidInput(
                f"the server answered {len(values)} actions where chunk={self.card.chunk_length} was declared; "
                "declare the fewest that it answers: all of them are carried out"
            )
        return binarised(values)

    def _observed(self, observation: Observation) -> dict[str, Any]:
        """The keys and types that the server wants, in the order in which RoboArena's client has them."""
        config = self._config
        if config is None:
            raise RuntimeError(f"policy {self.card.name!r}: act before reset")
        found: dict[str, Any] = {}
        for number, name in enumerate(self.exterior_cameras[: config.external_cameras], self.first_camera):
            found[f"observation/exterior_image_{number}_left"] = self._image(observation, name)
        if config.wrist_camera:
            found["observation/wrist_image_left"] = self._image(observation, WRIST_CAMERA)
        found["observation/joint_position"] = joint_position(observation)
        found["observation/gripper_position"] = np.asarray(observation.gripper_position, dtype="<f4")
        found["observation/cartesian_position"] = np.asarray(observation.cartesian_position, dtype="<f4")
        if config.session_id:
            found["session_id"] = self._session
        found["prompt"] = observation.instruction
        return found

    def _image(self, observation: Observation, name: str) -> Any:
        image, size = camera(observation.cameras, name), self._config.image_resolution if self._config else None
        return image if size is None else stretched(image, *size)
