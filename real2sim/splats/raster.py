"""Pictures, depths and alphas of Gaussian scenes, differentiable: gsplat on CUDA, our own compositing on a CPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from arena.contracts import InvalidInput
from real2sim.camera import Camera
from real2sim.splats.composite import composite
from real2sim.splats.gaussians import Gaussians
from real2sim.splats.kernels import may_be_seen
from real2sim.splats.library import covariances, harmonic_bases, project
from real2sim.splats.tiles import TileGrid, find_hits

NEAR = 0.01
"""Metres: what is nearer to a camera is not drawn."""
BLUR = 0.3
"""Square pixels added to every projected covariance, as in 3DGS and gsplat's default (`eps2d`)."""


@dataclass(frozen=True)
class Rendering:
    """Of `C` cameras: `color` `(C, H, W, 3)` in about [0, 1]; `depth` `(C, H, W)` m along the optical axis, the mean
    over what is seen (0 where nothing is); `alpha` `(C, H, W)`. `splats` is what gsplat's densification reads.
    """

    color: Tensor
    depth: Tensor
    alpha: Tensor
    splats: dict[str, Any]


def rasterize(gaussians: Gaussians, cameras: Sequence[Camera], background: Tensor | None = None) -> Rendering:
    """Render a scene for cameras of one size; `background` `(3,)` shows where nothing covers a pixel, else black.

    The device and the type are those of the Gaussians. Raises `InvalidInput` for no cameras, or several sizes.
    """
    size = {(camera.width, camera.height) for camera in cameras}
    if len(size) != 1:
        raise InvalidInput(f"cameras that are rendered together need one size, not {sorted(size) or 'none at all'}")
    width, height = size.pop()
    views = torch.stack([gaussians.means.new_tensor(camera.base_to_camera) for camera in cameras])
    intrinsics = torch.stack([gaussians.means.new_tensor(camera.intrinsics) for camera in cameras])
    draw = _draw_on_cuda if gaussians.means.is_cuda else _draw_on_cpu
    color, depth, alpha, splats = draw(gaussians, views, intrinsics, width, height)
    if background is not None:
        color = color + (1 - alpha)[..., None] * background
    return Rendering(color, depth, alpha, splats)


def _draw_on_cuda(
    gaussians: Gaussians, views: Tensor, intrinsics: Tensor, width: int, height: int
) -> tuple[Tensor, Tensor, Tensor, dict[str, Any]]:
    from gsplat import rasterization

    pictures, alpha, splats = rasterization(
        gaussians.means, gaussians.quaternions, gaussians.scales, gaussians.opacities, gaussians.harmonics,
        views, intrinsics, width, height,
        near_plane=NEAR, eps2d=BLUR, sh_degree=gaussians.degree, render_mode="RGB+ED", packed=True,
    )  # fmt: skip
    return pictures[..., :3], pictures[..., 3], alpha[..., 0], splats


def _draw_on_cpu(
    gaussians: Gaussians, views: Tensor, intrinsics: Tensor, width: int, height: int
) -> tuple[Tensor, Tensor, Tensor, dict[str, Any]]:
    """The same steps as gsplat's kernels: project, find tiles, sort by depth, composite."""
    grid = TileGrid(len(views), height, width)
    splats = _project(gaussians, views, intrinsics, width, height)
    columns = (splats[name] for name in ("conics", "means2d", "log_opacities", "colors", "depths"))
    rows = torch.cat([column if column.ndim == 2 else column[:, None] for column in columns], dim=1)
    pictures = composite(rows, find_hits(rows, splats["camera_ids"], grid), grid)
    alpha = pictures[..., 4]
    return pictures[..., :3], pictures[..., 3] / alpha.clamp(min=1e-10), alpha, splats


def _project(gaussians: Gaussians, views: Tensor, intrinsics: Tensor, width: int, height: int) -> dict[str, Any]:
    """What is seen of the Gaussians by all cameras, one after the other, as gsplat's packed results `(M, ...)`.

    Only Gaussians in front of a camera are projected: behind it the formulas divide by zero, and a gradient of zero
    times infinity is not a number.
    """
    spread, _ = covariances(gaussians.quaternions, gaussians.scales, compute_preci=False)
    log_opacities = torch.nn.functional.logsigmoid(gaussians.opacity_logits)
    parts: list[dict[str, Tensor]] = []
    for index, (view, k) in enumerate(zip(views, intrinsics, strict=True)):
        seen = _seen_from(gaussians, view, k, width, height)
        radii, means, depths, conics, _ = project(
            gaussians.means[seen], spread[seen], view[None], k[None], width, height, eps2d=BLUR, near_plane=NEAR
        )
        position = -view[:3, :3].T @ view[:3, 3]
        parts.append({
            "gaussian_ids": seen, "camera_ids": torch.full_like(seen, index), "radii": radii[0], "means2d": means[0],
            "depths": depths[0], "conics": conics[0], "log_opacities": log_opacities[seen],
            "colors": _colors(gaussians.means[seen] - position, gaussians.harmonics[seen]),
        })  # fmt: skip
    joined: dict[str, Any] = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    return {**joined, "width": width, "height": height, "n_cameras": len(views)}


@torch.no_grad()
def _seen_from(gaussians: Gaussians, view: Tensor, k: Tensor, width: int, height: int) -> Tensor:
    """Indices of Gaussians that a camera may see (`kernels.may_be_seen`)."""
    sizes, opacities = gaussians.scales.amax(dim=1), gaussians.opacities
    arrays = (tensor.detach().contiguous().numpy() for tensor in (gaussians.means, sizes, opacities, view, k))
    return torch.from_numpy(np.flatnonzero(may_be_seen(*arrays, width, height, NEAR)))


def _colors(directions: Tensor, harmonics: Tensor) -> Tensor:
    """RGB `(M, 3)` seen along `directions` `(M, 3)`, at least 0 as in 3DGS."""
    if harmonics.shape[1] == 1:
        colors: Tensor = harmonic_bases(1, directions) * harmonics[:, 0] + 0.5
        return colors.clamp(min=0)
    bases = harmonic_bases(harmonics.shape[1], torch.nn.functional.normalize(directions, dim=1))
    return (torch.bmm(bases[:, None], harmonics)[:, 0] + 0.5).clamp(min=0)
