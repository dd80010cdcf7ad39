"""Compositing by depth: who hides whom, moving bodies, batches, and colours that a camera changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from arena.contracts import InvalidInput
from real2sim.splats.gaussians import Gaussians, merge
from real2sim.splats.raster import rasterize
from real2sim.twin.color import ColorResponse, fit_color_response, to_uint8
from real2sim.twin.render import Layer, Look, RobotImages, TwinRenderer, over_by_depth
from tests.real2sim.splats.scenes import cloud, disc, looking
from tests.real2sim.splats.test_gaussians import random_pose

FRONT = looking((1.0, 0.0, 0.01), cx=20.5)
WALL = disc((-1.0, 0.0, 0.0), (0.0, 1.0, 0.0), size=5.0)
RED, BLUE = (disc((0.0, 0.0, 0.0), color, size=0.1) for color in ((1.0, 0.0, 0.0), (0.0, 0.0, 1.0)))
MIDDLE = (12, 20)


def at(x: float, y: float = 0.0, z: float = 0.0) -> np.ndarray:
    pose = np.eye(4)
    pose[:3, 3] = x, y, z
    return pose


def robot(depth: float, scenes: int = 1) -> RobotImages:
    """White, over the left half of the picture and its middle column."""
    mask = np.tile(np.arange(40) < 22, (scenes, 24, 1))
    return RobotImages(np.full((scenes, 24, 40, 3), 255, np.uint8), np.full((scenes, 24, 40), depth), mask)


@pytest.mark.parametrize(
    ("red", "blue", "robot_depth", "shown", "depth"),
    [
        (0.2, 0.0, 1.5, (255, 0, 0), 0.8),
        (0.0, 0.2, 1.5, (0, 0, 255), 0.8),
        (0.2, 0.0, 0.5, (255, 255, 255), 0.5),
        (-1.5, 0.0, 1.5, (0, 0, 255), 1.0),
        (-1.5, -2.0, 1.5, (255, 255, 255), 1.5),
        (-1.5, -2.0, 2.5, (0, 255, 0), 2.0),
    ],
)
def test_the_nearest_is_shown(
    red: float, blue: float, robot_depth: float, shown: tuple[int, ...], depth: float
) -> None:
    renderer = TwinRenderer(WALL, {"red": RED, "blue": BLUE})
    poses = {"red": at(red)[None], "blue": at(blue)[None]}
    frames, depths = renderer.render("front", [FRONT], poses, robot(robot_depth))
    np.testing.assert_allclose(frames[0, *MIDDLE].astype(int), shown, atol=12)
    assert depths[0, *MIDDLE] == pytest.approx(depth, abs=0.02)


def test_a_moved_body_is_the_picture_of_moved_gaussians() -> None:
    """View dependence included: the camera goes to the body, or the body's Gaussians to the camera."""
    body, pose = cloud(count=30, degree=3, seed=5), random_pose(7)
    pose[:3, 3] *= 0.1
    nothing = disc((0.0, 0.0, 99.0), (0.0, 0.0, 0.0), size=1e-3).to(torch.float64)
    frames, _ = TwinRenderer(nothing, {"body": body}).render("front", [FRONT], {"body": pose[None].numpy()})
    expected = rasterize(body.transformed(pose), [FRONT])
    clipped = (expected.color / expected.alpha.clamp(min=1e-6)[..., None]).clamp(0, 1) * expected.alpha[..., None]
    np.testing.assert_allclose(frames.astype(int), to_uint8(clipped).astype(int), atol=1)


def test_a_picture_does_not_depend_on_what_was_drawn_before() -> None:
    """What lies still within the last decimal is not drawn again, and is where a new renderer draws it."""
    body, nothing = cloud(count=30, degree=0, seed=5), disc((0.0, 0.0, 99.0), (0.0, 0.0, 0.0), size=1e-3)
    here, near = at(0.123449), at(0.123446)
    used = TwinRenderer(nothing, {"body": body})
    used.render("front", [FRONT], {"body": here[None]})
    again, anew = (
        each.render("front", [FRONT], {"body": near[None]}) for each in (used, TwinRenderer(nothing, {"body": body}))
    )
    np.testing.assert_array_equal(again[0], anew[0])
    np.testing.assert_array_equal(again[1], anew[1])


def test_a_body_may_be_turned_in_any_way() -> None:
    body, nothing = cloud(count=30, degree=0, seed=5), disc((0.0, 0.0, 99.0), (0.0, 0.0, 0.0), size=1e-3)
    poses = np.stack([random_pose(seed).numpy() for seed in range(40)])
    poses[:, :3, 3] *= 0.1
    frames, _ = TwinRenderer(nothing, {"body": body}).render("front", [FRONT] * 40, {"body": poses})
    assert frames.reshape(40, -1).any(axis=1).all()


def test_a_coat_is_drawn_finer_so_that_its_blur_makes_it_no_larger() -> None:
    """A thing of two pixels: half a pixel of blur around it doubles what it covers."""
    coat, pose = disc((0.0, 0.0, 0.0), (1.0, 0.0, 0.0), size=0.01), at(0.0)[None]
    nothing = disc((0.0, 0.0, 99.0), (0.0, 0.0, 0.0), size=1e-3)
    plain, fine = (
        TwinRenderer(nothing, {"coat": coat}, finer=finer).render("front", [FRONT], {"coat": pose})[0]
        for finer in (1, 3)
    )
    assert 0 < fine.astype(int).sum() < 0.8 * plain.astype(int).sum()


def test_a_batch_is_its_scenes_one_by_one() -> None:
    renderer = TwinRenderer(WALL, {"red": RED, "blue": BLUE}, {"front": Look(robot=ColorResponse((0.5, 0.5, 0.5)))})
    other = looking((1.0, 0.3, 0.2))
    cameras = [FRONT, other, FRONT, other]
    poses = {
        "red": np.stack([at(0.1 * i, 0.1 * i) for i in range(4)]),
        "blue": np.stack([at(0.2, -0.1 * i) for i in range(4)]),
    }
    frames, depths = renderer.render("front", cameras, poses, robot(0.9, 4))
    for i in range(4):
        fresh = TwinRenderer(WALL, {"red": RED, "blue": BLUE}, {"front": Look(robot=ColorResponse((0.5, 0.5, 0.5)))})
        alone, alone_depth = fresh.render(
            "front", [cameras[i]], {k: v[i : i + 1] for k, v in poses.items()}, robot(0.9)
        )
        np.testing.assert_array_equal(frames[i], alone[0])
        np.testing.assert_allclose(depths[i], alone_depth[0])
    again, _ = renderer.render("front", cameras, poses, robot(0.9, 4))
    np.testing.assert_array_equal(again, frames)


def test_separate_parts_make_the_picture_of_one_scene() -> None:
    """Where parts do not interleave, compositing layers is what rasterising all at once gives.

    The wall is not quite opaque: gsplat's rule drops the Gaussian that would leave a pixel 1e-4 of its light, so
    behind a nearly opaque one it would lose what it should have shown.
    """
    wall = replace(WALL, opacity_logits=torch.tensor([3.0]))
    near = merge([disc((0.3, 0.05 * i, 0.02), (0.2 * i, 0.5, 0.3), size=0.03) for i in range(4)])
    frames, _ = TwinRenderer(wall, {"near": near}).render("front", [FRONT], {"near": at(0.0)[None]})
    whole = to_uint8(rasterize(merge([wall, near]), [FRONT]).color)
    assert np.abs(frames.astype(int) - whole).max() <= 2


def test_equal_depths_keep_their_order_and_half_covered_pixels_mix() -> None:
    def layer(value: float, alpha: float, depth: float) -> Layer:
        ones = torch.ones(1, 1, 1)
        return Layer(value * alpha * torch.ones(1, 1, 1, 3), depth * ones, alpha * ones)

    mixed = over_by_depth([layer(1.0, 1.0, 2.0), layer(0.5, 0.25, 1.0)])
    assert mixed.color[0, 0, 0, 0] == pytest.approx(0.25 * 0.5 + 0.75 * 1.0)
    assert (float(mixed.depth), float(mixed.alpha)) == (2.0, 1.0)
    assert over_by_depth([layer(1.0, 1.0, 1.0), layer(0.0, 1.0, 1.0)]).color[0, 0, 0, 0] == 1


def test_a_response_is_found_among_outliers() -> None:
    draw = np.random.default_rng(0)
    truth = ColorResponse((0.8, 1.1, 0.6), (0.05, -0.03, 0.2))
    rendered = draw.uniform(0, 1, (4, 24, 40, 3))
    photographed = truth.apply(torch.from_numpy(rendered)).numpy() + draw.normal(0, 0.01, rendered.shape)
    elsewhere = draw.uniform(size=rendered.shape[:-1]) < 0.2
    photographed[elsewhere] = draw.uniform(0, 0.3, (elsewhere.sum(), 3))
    mask = np.ones(rendered.shape[:-1], bool)
    found = fit_color_response(rendered, photographed, mask)
    np.testing.assert_allclose(found.gain, truth.gain, atol=0.03)
    np.testing.assert_allclose(found.offset, truth.offset, atol=0.02)
    plain = np.polyfit(rendered[..., 0].ravel(), photographed[..., 0].ravel(), 1)
    assert abs(plain[0] - 0.8) > 0.1  # what least squares would have said
    flat = fit_color_response(np.full_like(rendered, 0.4), np.full_like(rendered, 0.5), mask)
    assert flat == ColorResponse((1.0, 1.0, 1.0), pytest.approx((0.1, 0.1, 0.1)))


def test_bad_input_is_refused() -> None:
    renderer = TwinRenderer(WALL, {"red": RED})
    with pytest.raises(InvalidInput, match="'red' has no poses"):
        renderer.render("front", [FRONT], {"rod": at(0)[None]})
    with pytest.raises(InvalidInput, match=r"must be \(1, 4, 4\)"):
        renderer.render("front", [FRONT], {"red": at(0)})
    with pytest.raises(InvalidInput, match="rigid"):
        renderer.render("front", [FRONT], {"red": np.diag([2.0, 2.0, 2.0, 1.0])[None]})
    with pytest.raises(InvalidInput, match="the cameras'"):
        renderer.render("front", [FRONT], {"red": at(0)[None]}, robot(1.0, scenes=2))
    with pytest.raises(InvalidInput, match="disagree"):
        RobotImages(np.zeros((1, 2, 2, 3), np.uint8), np.zeros((1, 2, 2)), np.zeros((1, 2, 3), bool))
    with pytest.raises(InvalidInput, match="50 unsaturated pixels"):
        fit_color_response(np.ones((5, 5, 3)), np.ones((5, 5, 3)), np.ones((5, 5), bool))


def test_gaussians_are_not_changed_by_drawing() -> None:
    before = {name: tensor.clone() for name, tensor in RED.tensors().items()}
    TwinRenderer(WALL, {"red": RED}).render("front", [FRONT], {"red": at(0.1)[None]})
    assert all(torch.equal(before[name], tensor) for name, tensor in Gaussians(**RED.tensors()).tensors().items())
