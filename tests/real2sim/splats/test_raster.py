"""The rasteriser against a slow one that reads like the paper, its gradients against differences, gsplat on a GPU."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from numba import njit

from arena.contracts import InvalidInput
from real2sim.camera import Camera
from real2sim.splats.gaussians import Gaussians, merge
from real2sim.splats.kernels import _exponential
from real2sim.splats.library import covariances, harmonic_bases, project
from real2sim.splats.raster import BLUR, NEAR, rasterize
from tests.real2sim.splats.scenes import cloud, disc, looking

CAMERAS = [looking((1.0, 0.2, 0.4)), looking((-0.3, 0.9, 0.3)), looking((0.2, 0.3, 0.1), at=(0.0, 0.0, 0.05))]
"""The last one stands among the Gaussians: some are behind it, some very large."""


def slow_rendering(gaussians: Gaussians, camera: Camera) -> torch.Tensor:
    """`(H, W, 5)`: colour, depth times alpha, and alpha. One Gaussian after the other, every pixel."""
    view, k = (gaussians.means.new_tensor(matrix) for matrix in (camera.base_to_camera, camera.intrinsics))
    in_front = gaussians.means @ view[2, :3] + view[2, 3] > NEAR
    gaussians = gaussians.subset(in_front)
    spread, _ = covariances(gaussians.quaternions, gaussians.scales, compute_preci=False)
    _, means, depths, conics, _ = project(
        gaussians.means, spread, view[None], k[None], camera.width, camera.height, eps2d=BLUR, near_plane=NEAR
    )
    directions = torch.nn.functional.normalize(
        gaussians.means - gaussians.means.new_tensor(camera.camera_to_base[:3, 3])
    )
    bases = harmonic_bases(gaussians.harmonics.shape[1], directions)
    colors = (torch.einsum("nk,nkc->nc", bases, gaussians.harmonics) + 0.5).clamp(min=0)
    across, down = (torch.arange(side, dtype=means.dtype) + 0.5 for side in (camera.width, camera.height))
    y, x = torch.meshgrid(down, across, indexing="ij")
    light, total = torch.ones_like(x), x.new_zeros(*x.shape, 5)
    finished = torch.zeros_like(x, dtype=torch.bool)
    for index in torch.argsort(depths[0], stable=True):
        dx, dy = x - means[0, index, 0], y - means[0, index, 1]
        a, b, c = conics[0, index]
        alpha = gaussians.opacities[index] * torch.exp(-0.5 * (a * dx**2 + c * dy**2) - b * dx * dy)
        alpha = alpha.clamp(max=0.999)
        finished = finished | ((alpha >= 1 / 255) & (light * (1 - alpha) <= 1e-4))
        alpha = torch.where((alpha < 1 / 255) | finished, 0.0, alpha)
        value = torch.cat([colors[index], depths[0, index, None], depths.new_ones(1)])
        total = total + (alpha * light)[..., None] * value
        light = light * (1 - alpha)
    return total


def all_channels(gaussians: Gaussians, cameras: list[Camera]) -> torch.Tensor:
    seen = rasterize(gaussians, cameras)
    return torch.cat([seen.color, (seen.depth * seen.alpha)[..., None], seen.alpha[..., None]], dim=-1)


@pytest.mark.parametrize("degree", [0, 1, 3])
def test_pictures_are_those_of_the_slow_rasteriser(degree: int) -> None:
    scene = cloud(degree=degree)
    expected = torch.stack([slow_rendering(scene, camera) for camera in CAMERAS])
    torch.testing.assert_close(all_channels(scene, CAMERAS), expected, atol=1e-9, rtol=1e-9)
    assert expected[..., 4].amax() > 0.999
    single = all_channels(scene.to(torch.float32), CAMERAS)
    # In float32 an alpha may fall on the other side of 1/255, so a pixel can differ by that much, seldom.
    assert (single - expected).abs().amax() < 1e-2
    assert ((single - expected).abs() > 1e-4).float().mean() < 1e-3


def test_gradients_are_those_of_the_slow_rasteriser() -> None:
    weights = torch.randn(3, 24, 40, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = []
    for pictures in (all_channels, lambda scene, cameras: torch.stack([slow_rendering(scene, c) for c in cameras])):
        scene = Gaussians(**{name: tensor.requires_grad_() for name, tensor in cloud().tensors().items()})
        (pictures(scene, CAMERAS) * weights).sum().backward()
        found.append({name: tensor.grad for name, tensor in scene.tensors().items()})
    for name, gradient in found[1].items():
        torch.testing.assert_close(found[0][name], gradient, atol=1e-8, rtol=1e-7, msg=name)


@pytest.mark.parametrize("name", [field.name for field in fields(Gaussians)])
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    """Central differences. The scene is drawn so that no alpha is near a threshold, where there is no derivative."""
    scene, camera = cloud(count=8, seed=3), looking((0.9, 0.3, 0.4))
    values = getattr(scene, name)
    weights = torch.randn(24, 40, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)

    def loss(changed: torch.Tensor) -> torch.Tensor:
        return (all_channels(replace(scene, **{name: changed}), [camera])[0] * weights).sum()

    changed = values.clone().requires_grad_()
    loss(changed).backward()
    generator = torch.Generator().manual_seed(4)
    for _ in range(4):
        direction, step = torch.randn(values.shape, generator=generator, dtype=torch.float64), 1e-7
        slope = (loss(values + step * direction) - loss(values - step * direction)) / (2 * step)
        torch.testing.assert_close((changed.grad * direction).sum(), slope, rtol=1e-4, atol=1e-4)


def test_gradients_in_single_precision_are_those_in_double() -> None:
    found = []
    for dtype in (torch.float64, torch.float32):
        scene = Gaussians(**{name: tensor.to(dtype).requires_grad_() for name, tensor in cloud().tensors().items()})
        all_channels(scene, CAMERAS[:2]).square().sum().backward()
        found.append({name: tensor.grad.double() for name, tensor in scene.tensors().items()})
    for name, gradient in found[0].items():
        off = (found[1][name] - gradient).norm() / gradient.norm()
        assert off < 1e-3, f"{name}: {off}"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scenes_of_none_of_one_and_of_what_is_behind_the_camera(dtype: torch.dtype) -> None:
    one, camera = disc((0.0, 0.0, 0.0), (1.0, 0.0, 0.0)).to(dtype), looking((1.0, 0.0, 0.01), cx=20.5)
    behind = looking((1.0, 0.0, 0.01), at=(2.0, 0.0, 0.01))
    none = one.subset(torch.zeros(1, dtype=torch.bool))
    for scene, eye in ((none, camera), (one, behind)):
        scene = Gaussians(**{name: tensor.clone().requires_grad_() for name, tensor in scene.tensors().items()})
        seen = rasterize(scene, [eye, eye], background=torch.full((3,), 0.25, dtype=dtype))
        assert seen.color.dtype == dtype
        assert (seen.color == 0.25).all()
        assert (seen.alpha.max(), seen.depth.max()) == (0, 0)
        (seen.color.sum() + seen.depth.sum()).backward()
        assert all(tensor.grad is None or (tensor.grad == 0).all() for tensor in scene.tensors().values())
    torch.testing.assert_close(all_channels(one, [camera])[0], slow_rendering(one, camera), atol=1e-5, rtol=1e-5)
    some = merge([one, disc((3.0, 0.0, 0.0), (0.0, 1.0, 0.0)).to(dtype)])  # the second is behind the camera
    assert torch.equal(all_channels(some, [camera]), all_channels(one, [camera]))


def test_numbers_that_are_not_finite_stay_where_they_are() -> None:
    scene = cloud(dtype=torch.float32)
    scene.means[3], scene.log_scales[5], scene.opacity_logits[7] = torch.nan, torch.inf, torch.nan
    scene.quaternions[9] = torch.nan
    assert rasterize(scene, CAMERAS).color.shape == (3, 24, 40, 3)


def test_any_number_of_threads_gives_the_same_to_the_last_bit() -> None:
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 5, 1):
            torch.set_num_threads(threads)
            source = cloud(count=400, dtype=torch.float32)
            scene = Gaussians(**{name: tensor.requires_grad_() for name, tensor in source.tensors().items()})
            pictures = all_channels(scene, CAMERAS)
            pictures.square().sum().backward()
            found.append([pictures.detach(), *(tensor.grad for tensor in scene.tensors().values())])
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


def test_the_exponential_of_single_precision_is_exact_to_its_last_digits() -> None:
    x = np.linspace(-6, 0, 10_001, dtype=np.float32)

    @njit
    def all_of(x):  # type: ignore[no-untyped-def]
        return np.array([_exponential(each) for each in x])

    np.testing.assert_allclose(all_of(x), np.exp(x.astype(np.float64)), rtol=2e-6)
    np.testing.assert_allclose(all_of(x.astype(np.float64)), np.exp(x.astype(np.float64)), rtol=1e-15)


def test_what_is_nearer_hides_what_is_behind() -> None:
    red, blue = disc((0.0, 0.0, 0.0), (1.0, 0.0, 0.0)), disc((-0.5, 0.0, 0.0), (0.0, 0.0, 1.0))
    front, back = looking((1.0, 0.0, 0.01), cx=20.5), looking((-1.5, 0.0, 0.01), cx=20.5)
    for scene in (merge([red, blue]), merge([blue, red])):
        seen = rasterize(scene, [front, back])
        assert seen.color[0, 12, 20, 0] > 0.95
        assert seen.color[1, 12, 20, 2] > 0.95
        assert seen.depth[:, 12, 20] == pytest.approx([1.0, 1.0], abs=0.01)


def test_a_background_shows_where_nothing_is() -> None:
    scene = disc((0.0, 0.0, 0.0), (1.0, 0.0, 0.0), size=0.02)
    seen = rasterize(scene, [looking((1.0, 0.0, 0.0))], background=torch.tensor([0.2, 0.4, 0.6]))
    torch.testing.assert_close(seen.color[0, 0, 0], torch.tensor([0.2, 0.4, 0.6]))
    behind = rasterize(scene, [looking((1.0, 0.0, 0.0), at=(2.0, 0.0, 0.0))])
    assert (behind.alpha.max(), behind.depth.max()) == (0, 0)


def test_moving_scene_and_camera_together_changes_nothing() -> None:
    from tests.real2sim.splats.test_gaussians import random_pose

    scene, pose = cloud(degree=3), random_pose(3)
    moved = [replace(camera, camera_to_base=pose.numpy() @ camera.camera_to_base) for camera in CAMERAS]
    torch.testing.assert_close(all_channels(scene.transformed(pose), moved), all_channels(scene, CAMERAS))


def test_cameras_of_several_sizes_and_none_are_refused() -> None:
    for cameras in ([], [looking((1.0, 0.0, 0.0)), looking((1.0, 0.0, 0.0), width=41)]):
        with pytest.raises(InvalidInput, match="need one size"):
            rasterize(cloud(), cameras)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="gsplat rasterises on CUDA only")
def test_pictures_and_gradients_are_those_of_gsplat_on_a_gpu() -> None:
    scene = cloud(count=2000, degree=3, dtype=torch.float32)
    found = []
    for device in ("cpu", "cuda"):
        there = Gaussians(**{name: tensor.to(device).requires_grad_() for name, tensor in scene.tensors().items()})
        pictures = all_channels(there, CAMERAS)
        pictures.square().sum().backward()
        found.append([pictures.detach().cpu(), *(tensor.grad.cpu() for tensor in there.tensors().values())])
    ours, gsplats = found
    # The same few pixels may differ where an alpha falls on the other side of 1/255; the rest within 1e-3.
    assert ((ours[0] - gsplats[0]).abs() > 1e-3).float().mean() < 1e-3
    for mine, theirs in zip(ours[1:], gsplats[1:], strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-2, atol=1e-2 * float(theirs.abs().max()))
