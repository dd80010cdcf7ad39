"""A scene of 3D Gaussians in metres, in the robot's base frame: the form that a twin's background and objects have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from arena.contracts import InvalidInput
from real2sim.splats.library import harmonic_bases, quaternion_to_matrix

ZEROTH_HARMONIC = 0.28209479177387814
"""The constant basis function: a colour is `0.5 + ZEROTH_HARMONIC * f_dc`."""
MAX_DEGREE = 4
"""The highest degree that gsplat evaluates."""


@dataclass(frozen=True)
class Gaussians:
    """`N` Gaussians as in 3D Gaussian splatting (Kerbl et al. 2023), before their activations.

    `means` `(N, 3)` m; `quaternions` `(N, 4)` wxyz, of any length; `log_scales` `(N, 3)` of standard deviations in m;
    `opacity_logits` `(N,)`; `harmonics` `(N, K, 3)` real spherical harmonics of RGB in [0, 1], `K` being 1, 4, 9, 16
    or 25. All float32 (or all float64) and on one device. Raises `InvalidInput` for other shapes or types.
    """

    means: Tensor
    quaternions: Tensor
    log_scales: Tensor
    opacity_logits: Tensor
    harmonics: Tensor

    def __post_init__(self) -> None:
        n, bases = len(self.means), self.harmonics.shape[1] if self.harmonics.ndim == 3 else 0
        shapes = {"means": (n, 3), "quaternions": (n, 4), "log_scales": (n, 3), "opacity_logits": (n,)}
        for name, shape in {**shapes, "harmonics": (n, bases, 3)}.items():
            tensor = getattr(self, name)
            if tuple(tensor.shape) != shape or not tensor.is_floating_point() or tensor.dtype != self.means.dtype:
                found = f"{tuple(tensor.shape)} {tensor.dtype}"
                raise InvalidInput(f"{name} of {n} Gaussians must be {shape} floats, not {found}")
        if bases not in [(degree + 1) ** 2 for degree in range(MAX_DEGREE + 1)]:
            raise InvalidInput(f"harmonics must have 1, 4, 9, 16 or 25 basis functions, not {bases}")

    def __len__(self) -> int:
        return len(self.means)

    @property
    def degree(self) -> int:
        """Of the spherical harmonics: 0 is a colour that is the same from everywhere."""
        return int(self.harmonics.shape[1] ** 0.5 + 0.5) - 1

    @property
    def opacities(self) -> Tensor:
        """`(N,)` in [0, 1]."""
        return torch.sigmoid(self.opacity_logits)

    @property
    def scales(self) -> Tensor:
        """`(N, 3)` standard deviations in m."""
        return torch.exp(self.log_scales)

    def tensors(self) -> dict[str, Tensor]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def to(self, *args: Any) -> Gaussians:
        """Moved to a device or type, as `Tensor.to`."""
        return Gaussians(**{name: tensor.to(*args) for name, tensor in self.tensors().items()})

    def detach(self) -> Gaussians:
        return Gaussians(**{name: tensor.detach() for name, tensor in self.tensors().items()})

    def subset(self, chosen: Tensor) -> Gaussians:
        """Those that a boolean mask `(N,)` or indices `(M,)` choose, in that order."""
        return Gaussians(**{name: tensor[chosen] for name, tensor in self.tensors().items()})

    def with_degree(self, degree: int) -> Gaussians:
        """The same with harmonics cut, or filled with zeros, to another degree."""
        bases = (degree + 1) ** 2
        kept = self.harmonics[:, :bases]
        missing = kept.new_zeros(len(self), bases - kept.shape[1], 3)
        return replace(self, harmonics=torch.cat([kept, missing], dim=1))

    def transformed(self, pose: Tensor) -> Gaussians:
        """Moved by a rigid `pose` `(4, 4)` (new from old coordinates): places, orientations and view dependence.

        Raises `InvalidInput` where the pose is not rigid: scales would change.
        """
        pose = check_rigid(pose).to(self.means)
        rotation = pose[:3, :3]
        return Gaussians(
            means=self.means @ rotation.T + pose[:3, 3],
            quaternions=multiply_quaternions(matrix_to_quaternion(rotation), self.quaternions),
            log_scales=self.log_scales,
            opacity_logits=self.opacity_logits,
            harmonics=torch.einsum("kj,njc->nkc", rotate_harmonics(rotation, self.degree), self.harmonics),
        )


def merge(scenes: Sequence[Gaussians]) -> Gaussians:
    """All Gaussians of several scenes, in order, with the highest degree among them. Raises `InvalidInput` for none."""
    if not scenes:
        raise InvalidInput("no Gaussians to merge")
    degree = max(scene.degree for scene in scenes)
    parts = [scene.with_degree(degree).tensors() for scene in scenes]
    return Gaussians(**{name: torch.cat([part[name] for part in parts]) for name in parts[0]})


def check_rigid(pose: Tensor) -> Tensor:
    """`pose` as float64; raises `InvalidInput` unless it is `(4, 4)`, finite and a rotation with a translation."""
    pose = torch.as_tensor(pose, dtype=torch.float64)
    if tuple(pose.shape) != (4, 4) or not torch.isfinite(pose).all():
        raise InvalidInput(f"a pose must be a finite (4, 4) matrix, not {tuple(pose.shape)}")
    rotation, last_row = pose[:3, :3], pose.new_tensor([0.0, 0.0, 0.0, 1.0])
    straight = torch.allclose(rotation @ rotation.T, torch.eye(3, dtype=pose.dtype, device=pose.device), atol=1e-5)
    if not straight or torch.det(rotation) < 0 or not torch.allclose(pose[3], last_row):
        raise InvalidInput("a pose must be rigid: a rotation, a translation and a last row 0 0 0 1")
    return pose


def rotate_harmonics(rotation: Tensor, degree: int) -> Tensor:
    """`(K, K)`: takes harmonics of a function f(d) to those of f(R^T d), the same light on a body that was turned.

    Every band of spherical harmonics is closed under rotation, so a least-squares fit at enough directions is exact.
    """
    directions = _spread_directions(4 * MAX_DEGREE**2).to(rotation.device)
    bases = (degree + 1) ** 2
    turned = harmonic_bases(bases, directions @ rotation.to(torch.float64))
    solved: Tensor = torch.linalg.lstsq(harmonic_bases(bases, directions), turned).solution
    return solved.to(rotation.dtype)


def _spread_directions(count: int) -> Tensor:
    """`(count, 3)` unit vectors on a Fibonacci spiral, float64."""
    index = torch.arange(count, dtype=torch.float64)
    z, angle = 1 - (2 * index + 1) / count, index * (torch.pi * (3 - 5**0.5))
    radius = torch.sqrt(1 - z**2)
    return torch.stack([radius * torch.cos(angle), radius * torch.sin(angle), z], dim=1)


def multiply_quaternions(a: Tensor, b: Tensor) -> Tensor:
    """Hamilton products of wxyz quaternions `(..., 4)`: first rotate by `b`, then by `a`."""
    aw, ax, ay, az = a.unbind(-1)
    bw, bx, by, bz = b.unbind(-1)
    return torch.stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ],
        dim=-1,
    )


def matrix_to_quaternion(rotation: Tensor) -> Tensor:
    """`(3, 3)` to a unit quaternion `(4,)` wxyz: the leading eigenvector of Bar-Itzhack's matrix (2000).

    Unlike formulas with a division it has no bad angles.
    """
    m = rotation.to(torch.float64)
    upper = torch.stack([
        torch.stack([m.trace(), m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1]]),
        torch.stack([m[2, 1] - m[1, 2], m[0, 0] - m[1, 1] - m[2, 2], m[1, 0] + m[0, 1], m[2, 0] + m[0, 2]]),
        torch.stack([m[0, 2] - m[2, 0], m[1, 0] + m[0, 1], m[1, 1] - m[0, 0] - m[2, 2], m[2, 1] + m[1, 2]]),
        torch.stack([m[1, 0] - m[0, 1], m[2, 0] + m[0, 2], m[2, 1] + m[1, 2], m[2, 2] - m[0, 0] - m[1, 1]]),
    ])  # fmt: skip
    quaternion: Tensor = torch.linalg.eigh(upper).eigenvectors[:, -1]
    return quaternion.to(rotation.dtype)


def rotations(gaussians: Gaussians) -> Tensor:
    """`(N, 3, 3)`: each Gaussian's axes as columns, in the base frame."""
    matrices: Tensor = quaternion_to_matrix(gaussians.quaternions)
    return matrices
