"""Posed photographs: what a Gaussian scene is fitted to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from arena.contracts import FloatArray, Frames, InvalidInput
from real2sim.camera import Camera


@dataclass(frozen=True)
class View:
    """One frame of one camera. `image` is `(H, W, 3)` uint8; `mask` `(H, W)` is true where the picture shows the scene
    that is fitted, false on the robot and on what moves. Raises `InvalidInput` for sizes that disagree.
    """

    camera: Camera
    image: Frames
    mask: NDArray[np.bool_]
    name: str = ""

    def __post_init__(self) -> None:
        height, width = self.camera.height, self.camera.width
        if self.image.shape != (height, width, 3) or self.image.dtype != np.uint8:
            found = f"{self.image.shape} {self.image.dtype}"
            raise InvalidInput(f"view {self.name!r}: the image must be ({height}, {width}, 3) uint8, not {found}")
        if self.mask.shape != (height, width) or self.mask.dtype != np.bool_:
            found = f"{self.mask.shape} {self.mask.dtype}"
            raise InvalidInput(f"view {self.name!r}: the mask must be ({height}, {width}) bool, not {found}")


def check_views(views: Sequence[View], at_least: int) -> None:
    """Raises `InvalidInput` for too few views, and for masks that leave nothing to see."""
    if len(views) < at_least:
        raise InvalidInput(f"a scene needs at least {at_least} posed frames, not {len(views)}")
    if empty := [view.name for view in views if not view.mask.any()]:
        raise InvalidInput(f"view {empty[0]!r} shows nothing of the scene: its mask is false everywhere")


def colors_of(view: View) -> Tensor:
    """`(H, W, 3)` float32 in [0, 1]."""
    return torch.from_numpy(view.image.astype(np.float32) / 255)


def unproject(camera: Camera, pixels: FloatArray, depths: FloatArray) -> FloatArray:
    """Points `(N, 3)` of the base frame from pixels `(N, 2)` and depths `(N,)` in m along the optical axis."""
    x = (pixels[:, 0] - camera.cx) / camera.fx
    y = (pixels[:, 1] - camera.cy) / camera.fy
    in_camera = np.stack([x, y, np.ones_like(x)], axis=1) * depths[:, None]
    return np.asarray(in_camera @ camera.camera_to_base[:3, :3].T + camera.camera_to_base[:3, 3])
