"""Gaussians under rigid transforms, subsets and merges."""

from __future__ import annotations

import pytest
import torch
from scipy.spatial.transform import Rotation

from arena.contracts import InvalidInput
from real2sim.splats.gaussians import Gaussians, matrix_to_quaternion, merge, rotate_harmonics
from real2sim.splats.library import covariances, harmonic_bases, quaternion_to_matrix
from tests.real2sim.splats.scenes import cloud


def random_pose(seed: int) -> torch.Tensor:
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3] = torch.from_numpy(Rotation.random(random_state=seed).as_matrix())
    pose[:3, 3] = torch.tensor([0.3, -1.2, 0.5])
    return pose


def colours(gaussians: Gaussians, directions: torch.Tensor) -> torch.Tensor:
    bases = harmonic_bases(gaussians.harmonics.shape[1], directions)
    return torch.einsum("nk,nkc->nc", bases, gaussians.harmonics)


@pytest.mark.parametrize("degree", [0, 1, 2, 3, 4])
def test_a_moved_gaussian_has_the_moved_shape_and_shows_the_same_colour(degree: int) -> None:
    before, pose = cloud(degree=degree), random_pose(degree)
    after, rotation = before.transformed(pose), pose[:3, :3]
    torch.testing.assert_close(after.means, before.means @ rotation.T + pose[:3, 3])
    old, _ = covariances(before.quaternions, before.scales, compute_preci=False)
    new, _ = covariances(after.quaternions, after.scales, compute_preci=False)
    torch.testing.assert_close(new, rotation @ old @ rotation.T)
    seen_along = torch.nn.functional.normalize(cloud(seed=9).means, dim=1)
    torch.testing.assert_close(colours(after, seen_along @ rotation.T), colours(before, seen_along))


def test_transforms_compose_and_invert() -> None:
    scene, first, second = cloud(count=20, degree=3), random_pose(1), random_pose(2)
    there = scene.transformed(first).transformed(second)
    for a, b in zip(there.tensors().values(), scene.transformed(second @ first).tensors().values(), strict=True):
        same_rotation = a.shape[-1:] == (4,) and torch.allclose(a, b, atol=1e-9)
        assert same_rotation or torch.allclose(a, b, atol=1e-9) or torch.allclose(a, -b, atol=1e-9)
    back = scene.transformed(first).transformed(torch.linalg.inv(first))
    torch.testing.assert_close(back.harmonics, scene.harmonics)


@pytest.mark.parametrize("angle", [0.0, 1e-7, 1.0, 3.141592653589793])
def test_quaternions_of_matrices_near_and_far_from_identity(angle: float) -> None:
    matrix = torch.from_numpy(Rotation.from_rotvec([0, angle * 0.6, angle * 0.8]).as_matrix())
    torch.testing.assert_close(quaternion_to_matrix(matrix_to_quaternion(matrix)), matrix)


def test_rotating_harmonics_keeps_their_energy() -> None:
    turn = rotate_harmonics(random_pose(4)[:3, :3], 3)
    torch.testing.assert_close(turn @ turn.T, torch.eye(16, dtype=torch.float64))


def test_subset_and_merge() -> None:
    scene, flat = cloud(count=20, degree=3), cloud(count=3, degree=0)
    both = merge([scene, flat])
    assert (len(both), both.degree) == (23, 3)
    chosen = both.subset(torch.arange(23) >= 20)
    torch.testing.assert_close(chosen.with_degree(0).harmonics, flat.harmonics)
    assert chosen.harmonics[:, 1:].abs().max() == 0
    with pytest.raises(InvalidInput, match="no Gaussians"):
        merge([])


def test_bad_shapes_and_poses_are_refused() -> None:
    scene = cloud(count=20, degree=3)
    with pytest.raises(InvalidInput, match=r"quaternions of 20 Gaussians must be \(20, 4\)"):
        Gaussians(scene.means, scene.means, scene.log_scales, scene.opacity_logits, scene.harmonics)
    with pytest.raises(InvalidInput, match="basis functions, not 5"):
        Gaussians(*list(scene.tensors().values())[:4], scene.harmonics[:, :5])
    for pose in (2 * torch.eye(4), torch.diag(torch.tensor([1.0, 1.0, -1.0, 1.0])), torch.eye(3)):
        with pytest.raises(InvalidInput, match="a pose must be"):
            scene.transformed(pose)
