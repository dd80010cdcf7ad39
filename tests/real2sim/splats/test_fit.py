"""Fitting: it learns, it resumes where it was, it does not look at masked pixels, and a held-out photograph is met."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from arena.contracts import InvalidInput
from arena.metrics import ssim
from real2sim.splats.fit import FitSettings, Progress, fit, psnr_of
from real2sim.splats.gaussians import Gaussians
from real2sim.splats.losses import photometric_loss, roughness, ssim_map
from real2sim.splats.raster import rasterize
from real2sim.splats.start import random_points, start_from_points
from real2sim.splats.sweep import SweepSettings, sweep_depths, sweep_points
from real2sim.splats.views import View
from tests.real2sim.splats.scenes import cloud, looking
from tests.real2sim.splats.tabletop import exterior_cameras, photograph, wrist_cameras

QUICK = FitSettings(steps=60, degree=0, densify_every=10)


def small_views(count: int = 6) -> list[View]:
    """Photographs of a cloud of Gaussians, 40 x 24."""
    truth = cloud(count=40, degree=0, dtype=torch.float32)
    angles = np.linspace(0, 2, count)
    cameras = [looking((float(np.cos(a)), float(np.sin(a)), 0.4)) for a in angles]
    frames = (rasterize(truth, cameras).color.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    seen = np.ones(frames.shape[1:3], dtype=bool)
    return [View(camera, frame, seen, str(i)) for i, (camera, frame) in enumerate(zip(cameras, frames, strict=True))]


def start(views: list[View]) -> Gaussians:
    return start_from_points(*random_points(views, 200, 0.5, 2.0, seed=0), degree=0)


def same(a: Gaussians, b: Gaussians) -> bool:
    pairs = zip(a.tensors().values(), b.tensors().values(), strict=True)
    return all(x.shape == y.shape and bool(torch.equal(x, y)) for x, y in pairs)


def test_a_fit_learns_and_adds_gaussians() -> None:
    views, seen = small_views(), []
    fitted = fit(views, start(views), QUICK, report=seen.append)
    assert isinstance(seen[-1], Progress)
    assert (seen[-1].step, seen[-1].gaussians) == (60, len(fitted))
    assert len({progress.gaussians for progress in seen}) > 1
    assert np.median(psnr_of(fitted, views)) > np.median(psnr_of(start(views), views)) + 4


def test_a_fit_that_stops_resumes_exactly(tmp_path: Path) -> None:
    views, path = small_views(), tmp_path / "fit.safetensors"
    whole = fit(views, start(views), QUICK)

    class Stop(Exception):
        pass

    def stop(progress: Progress) -> None:
        if progress.step == 35:
            raise Stop

    with pytest.raises(Stop):
        fit(views, start(views), QUICK, checkpoint=path, checkpoint_every=15, report=stop)
    steps = []
    resumed = fit(views, start(views), QUICK, checkpoint=path, report=lambda progress: steps.append(progress.step))
    assert steps[0] == 31
    assert same(whole, resumed)
    assert same(whole, fit(views, start(views), QUICK, checkpoint=path))  # all steps are done
    assert not same(whole, fit(views, start(views), replace(QUICK, seed=1)))
    with pytest.raises(InvalidInput, match="other settings"):
        fit(views, start(views), replace(QUICK, steps=70), checkpoint=path)


@pytest.mark.parametrize("data", [b"", b"\x80\x04pickle", b"\xff" * 64])
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "fit.safetensors"
    path.write_bytes(data)
    views = small_views()
    with pytest.raises(InvalidInput, match="no checkpoint of a fit"):
        fit(views, start(views), QUICK, checkpoint=path)


def test_masked_pixels_have_no_say() -> None:
    views = small_views()
    masked = [replace(view, mask=np.tile(np.arange(40) < 20, (24, 1))) for view in views]
    noise = np.random.default_rng(0).integers(0, 256, (24, 20, 3), dtype=np.uint8)
    spoilt = [replace(view, image=np.concatenate([view.image[:, :20], noise], axis=1)) for view in masked]
    assert same(fit(masked, start(masked), QUICK), fit(spoilt, start(masked), QUICK))


def test_ssim_is_that_of_the_metrics_where_windows_are_whole() -> None:
    draw = np.random.default_rng(0)
    a, b = (draw.integers(0, 256, (1, 24, 40, 3), dtype=np.uint8) for _ in range(2))
    a[:] = (a // 4 + b // 2).astype(np.uint8)
    ours = ssim_map(*(torch.from_numpy(image[0] / 255) for image in (a, b)))
    assert float(ours[5:-5, 5:-5].mean()) == pytest.approx(float(ssim(a, b)[0]), abs=1e-5)
    image = torch.from_numpy(a[0] / 255)
    assert photometric_loss(image, image, torch.ones(24, 40, dtype=torch.bool), 0.2) == pytest.approx(0, abs=1e-9)


def test_a_plane_is_not_rough() -> None:
    flat, mask = torch.full((24, 40, 3), 0.5), torch.ones(24, 40, dtype=torch.bool)
    slant = 1 / torch.linspace(0.5, 2.0, 40).expand(24, 40)
    assert roughness(slant, flat, mask) < 1e-6
    assert roughness(slant + (torch.arange(40) == 20) * 0.1, flat, mask) > 1e-3


def test_a_sweep_finds_depths_that_mujoco_knows() -> None:
    cameras = wrist_cameras(32)[:8]
    frames, depths, _ = photograph(cameras)
    views = [View(camera, frame, np.ones(frame.shape[:2], bool)) for camera, frame in zip(cameras, frames, strict=True)]
    found = sweep_depths(views, SweepSettings(near=0.15, far=1.0, planes=32))
    known = found > 0
    assert known.mean() > 0.1
    assert np.median(np.abs(found - depths)[known]) < 0.01
    points, colors = sweep_points(views, found, 500, seed=0)
    assert points.shape == colors.shape == (500, 3)
    assert np.mean(np.abs(points[:, 2]) < 0.02) > 0.5  # most of what is seen is the table


def refused(make: Callable[[list[View]], object]) -> str:
    with pytest.raises(InvalidInput) as refusal:
        make(small_views())
    return str(refusal.value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda views: fit(views[:1], start(views), QUICK), "at least 2 posed frames"),
        (lambda views: fit([*views, replace(views[0], mask=np.zeros((24, 40), bool))], start(views), QUICK), "nothing"),
        (lambda views: replace(views[0], image=views[0].image[:-1]), "the image must be"),
        (lambda views: replace(views[0], mask=views[0].mask * 1), "the mask must be"),
        (lambda views: start_from_points(np.full((9, 3), np.nan), np.zeros((9, 3)), degree=0), "NaN"),
        (lambda views: replace(QUICK, steps=0), "at least one step"),
        (lambda views: random_points(views, 10, 2.0, 1.0, seed=0), "0 < near < far"),
        (lambda views: sweep_depths(views, SweepSettings(planes=2)), "three planes"),
    ],
)
def test_bad_input_is_refused_with_one_line(make: Callable[[list[View]], object], message: str) -> None:
    assert message in refused(make)
    assert "\n" not in refused(make)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_photographs_that_were_held_out_are_met_at_25_db() -> None:
    cameras = exterior_cameras() + wrist_cameras(40)
    frames, _, _ = photograph(cameras)
    views = [View(camera, frame, np.ones(frame.shape[:2], bool)) for camera, frame in zip(cameras, frames, strict=True)]
    held_out = views[2::5]
    kept = [view for index, view in enumerate(views) if index % 5 != 2]
    surface = sweep_points(kept, sweep_depths(kept, SweepSettings()), 4000, seed=0)
    anywhere = random_points(kept, 1000, 0.15, 3.0, seed=0)
    points, colors = (np.concatenate(pair) for pair in zip(surface, anywhere, strict=True))
    fitted = fit(kept, start_from_points(points, colors, degree=1), FitSettings(steps=600))
    assert np.median(psnr_of(fitted, held_out)) > 25
