"""What openpi's policy servers are sent and answer, on the DROID robot.

The protocol: on connection the server sends its metadata, then answers each observation with a map that
holds `actions`; a text frame is a traceback. Both sides speak `arena.policies.wire`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from arena.contracts import FloatArray, InvalidInput, Observation, PolicyCard, Scene
from arena.policies.droid import IMAGE_SIZE, WRIST_CAMERA, checked_actions, droid_request, raw_actions
from arena.policies.server import PolicyServer


@dataclass(frozen=True)
class OpenPiForm:
    """`arena.policies.remote.Form`. Of each answer the first `card.chunk_length` actions are carried out.

    Needs the cameras `exterior_camera` and `wrist` and the joint positions; sends images of `image_size` (H, W).
    """

    card: PolicyCard
    exterior_camera: str = "exterior_1"
    image_size: tuple[int, int] = IMAGE_SIZE

    def begin(self, server: PolicyServer, scene: Scene) -> None:
        """openpi's servers keep no state, so nothing is sent."""

    def request(self, observation: Observation) -> Mapping[str, Any]:
        return droid_request(observation, self.exterior_camera, self.image_size)

    def raw(self, answer: Any) -> NDArray[Any]:
        return raw_actions(answer)

    def actions(self, answer: Any) -> FloatArray:
        values, length = checked_actions(answer, self.card.action_space), self.card.chunk_length
        if len(values) < length:
            raise InvalidInput(f"the server answered {len(values)} actions where chunk={length} was declared")
        return values[:length]


def openpi_cameras(exterior_camera: str) -> tuple[str, str]:
    """The cameras that a DROID policy of openpi needs."""
    return exterior_camera, WRIST_CAMERA
