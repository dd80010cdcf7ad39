"""The robot that a film shows, with an arm that hovers: in films whose truth is painted."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from arena.contracts import Frames
from real2sim.cameras.masks import EmptyScene, mask_iou
from real2sim.cameras.plate import Plate

HEIGHT, WIDTH, LENGTH = 48, 80, 30


@pytest.fixture
def film() -> tuple[Frames, NDArray[np.bool_]]:
    """A dark robot that stands in one place for most of the time, before a coloured scene."""
    rng = np.random.default_rng(0)
    scene = 120 + 100 * gaussian_filter(rng.normal(0, 1, (HEIGHT, WIDTH, 3)), (3, 3, 0))
    drawn = np.zeros((LENGTH, HEIGHT, WIDTH), bool)
    for t in range(LENGTH):
        column = 30 if t < 20 else 30 + 4 * (t - 19)
        drawn[t, 10:40, column : column + 10] = True
    frames = scene + rng.normal(0, 1.5, (LENGTH, HEIGHT, WIDTH, 3))
    frames[drawn] = 20
    return frames.clip(0, 255).astype(np.uint8), drawn


def test_a_robot_that_hovers_is_seen_where_it_is(film: tuple[Frames, NDArray[np.bool_]]) -> None:
    frames, drawn = film
    assert not Plate.of(frames).changed(frames[:5])[:, 15:35, 32:38].any(), "the median over time shows the robot"
    scene = EmptyScene.of(frames, drawn)
    assert scene.known.all()
    assert mask_iou(scene, frames[::3], drawn[::3], near=6) > 0.97


def test_a_robot_that_is_drawn_elsewhere_is_not_borne_out(film: tuple[Frames, NDArray[np.bool_]]) -> None:
    frames, drawn = film
    aside = np.roll(drawn, 12, axis=2)
    assert mask_iou(EmptyScene.of(frames, aside), frames[::3], aside[::3], near=6) < 0.3
    later = np.roll(drawn, 8, axis=0)
    assert mask_iou(EmptyScene.of(frames, later), frames[::3], later[::3], near=6) < 0.6


def test_what_the_robot_always_hides_is_not_known(film: tuple[Frames, NDArray[np.bool_]]) -> None:
    frames, drawn = film
    scene = EmptyScene.of(frames[:20], drawn[:20])
    assert not scene.known[15:35, 32:38].any()
    assert mask_iou(scene, frames[:20], drawn[:20], near=0) == 0.0
