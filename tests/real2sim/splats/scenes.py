"""Cameras and small Gaussian scenes for tests."""

from __future__ import annotations

import numpy as np
import torch

from real2sim.camera import Camera
from real2sim.splats.gaussians import ZEROTH_HARMONIC, Gaussians


def looking(
    eye: tuple[float, float, float], at: tuple[float, float, float] = (0.0, 0.0, 0.0), **changes: float
) -> Camera:
    """A camera at `eye` that looks at a point, its x axis level."""
    forward = np.subtract(at, eye) / np.linalg.norm(np.subtract(at, eye))
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, np.cross(forward, right), forward], axis=1)
    pose[:3, 3] = eye
    size = {"width": 40, "height": 24, "fx": 30.0, "fy": 31.0, "cx": 19.0, "cy": 12.5} | changes
    return Camera(**size, camera_to_base=pose)


def cloud(count: int = 60, degree: int = 1, seed: int = 0, dtype: torch.dtype = torch.float64) -> Gaussians:
    """Gaussians of a few pixels around the origin, opaque and faint ones mixed."""
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=draw, dtype=dtype)

    return Gaussians(
        means=0.25 * normal(count, 3),
        quaternions=normal(count, 4),
        log_scales=-3.0 + 0.6 * normal(count, 3),
        opacity_logits=2.5 * normal(count),
        harmonics=0.4 * normal(count, (degree + 1) ** 2, 3),
    )


def disc(place: tuple[float, float, float], color: tuple[float, float, float], size: float = 0.2) -> Gaussians:
    """One round, opaque Gaussian of a colour in [0, 1]."""
    return Gaussians(
        means=torch.tensor([place]),
        quaternions=torch.tensor([[1.0, 0.0, 0.0, 0.0]]),
        log_scales=torch.full((1, 3), float(np.log(size))),
        opacity_logits=torch.tensor([12.0]),
        harmonics=((torch.tensor(color) - 0.5) / ZEROTH_HARMONIC)[None, None],
    )
