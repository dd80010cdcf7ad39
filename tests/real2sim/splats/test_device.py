"""Where Gaussians are fitted and drawn: a GPU where there is one that can, and the caller need not know."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from real2sim.camera import Camera
from real2sim.reconstruct import scene
from real2sim.silhouette import looking_at
from real2sim.splats.device import splat_device
from real2sim.splats.gaussians import Gaussians
from real2sim.splats.raster import Rendering
from real2sim.splats.start import start_from_points
from real2sim.twin import render

POINTS, COLORS = np.random.default_rng(0).random((2, 9, 3))


@pytest.fixture
def fresh() -> Iterator[None]:
    splat_device.cache_clear()
    yield
    splat_device.cache_clear()


@pytest.mark.usefixtures("fresh")
def test_a_gpu_is_used_where_gsplat_has_kernels_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setitem(sys.modules, "gsplat.cuda._backend", SimpleNamespace(_C=object()))
    assert splat_device() == "cuda"


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("backend", [None, SimpleNamespace(_C=None)], ids=["fails to compile", "has no compiler"])
def test_a_gpu_without_kernels_is_not_used(backend: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setitem(sys.modules, "gsplat.cuda._backend", backend)
    with pytest.warns(UserWarning, match="Install the CUDA toolkit"):
        assert splat_device() == "cpu"


def test_a_scene_is_fitted_on_the_device_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    begun = []

    def fit(views: Any, start: Gaussians, settings: Any, **rest: Any) -> Gaussians:
        begun.append((start.means.device.type, settings.seed))
        return start_from_points(POINTS, COLORS, degree=1)

    monkeypatch.setattr(scene, "fit", fit)
    monkeypatch.setattr(scene, "splat_device", lambda: "meta")
    prepared = scene.Prepared([], [], POINTS, COLORS, np.zeros(0))
    for device in (None, "cpu"):
        fitted = scene.fit_here(prepared, 1, Path("unused"), seed=4, device=device)
        assert fitted.means.device.type == "cpu"
    assert begun == [("meta", 4), ("cpu", 4)]


def test_a_twin_is_drawn_on_the_device_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []

    def rasterize(gaussians: Gaussians, cameras: Any, background: Any = None) -> Rendering:
        drawn.append(gaussians.means.device.type)
        size = len(cameras), cameras[0].height, cameras[0].width
        return Rendering(torch.zeros(*size, 3), torch.ones(size), torch.ones(size), {})

    monkeypatch.setattr(render, "rasterize", rasterize)
    monkeypatch.setattr(render, "splat_device", lambda: "meta")
    some = start_from_points(POINTS, COLORS, degree=1)
    camera = Camera(16, 12, 20.0, 20.0, 8.0, 6.0, looking_at(np.array([1.0, 1, 1]), np.zeros(3)))
    for device in (None, "cpu"):
        render.TwinRenderer(some, {"cup": some}, device=device).render("front", [camera], {"cup": np.eye(4)[None]})
    assert drawn == ["meta", "meta", "cpu", "cpu"]
