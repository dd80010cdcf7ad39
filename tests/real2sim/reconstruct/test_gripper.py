"""The gripper in the wrist camera's film, when its model is drawn a little beside it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from arena.contracts import FloatArray
from real2sim.frames import MemoryFrames
from real2sim.reconstruct import posed
from real2sim.reconstruct.gripper import GripperFilm, Handling
from real2sim.reconstruct.posed import Footage, gripper_overlap
from real2sim.truth import make_truth

WIDTH, HEIGHT, LENGTH = 160, 96, 40


def test_what_stays_in_the_picture_beside_the_drawn_gripper_is_the_gripper() -> None:
    rng = np.random.default_rng(0)
    wide = rng.uniform(0, 255, (HEIGHT, WIDTH + 20 * LENGTH, 3))
    film = np.stack([wide[:, 20 * t : 20 * t + WIDTH] for t in range(LENGTH)])
    opened = np.where(np.arange(LENGTH) < 25, 0.0, 1.0)
    fingers = np.zeros((2, HEIGHT, WIDTH), bool)
    fingers[0, 70:, 40:60] = True
    fingers[1, 70:, 70:90] = True
    for t in range(LENGTH):
        film[t][fingers[int(opened[t])]] = 20
    film = film.astype(np.uint8)
    shown = GripperFilm(film, opened)
    for t in (3, 30):
        true = fingers[int(opened[t])]
        found = shown.mask(t, np.roll(true, 10, axis=1))
        assert found[true].mean() > 0.98
        assert found[binary_dilation(true)].mean() > 0.98, "what is of the fingers in part is no scene"
        assert not found[:, 120:].any()
        assert not found[:40].any()
        right, aside = shown.overlap(t, true), shown.overlap(t, np.roll(true, 10, axis=1))
        assert right is not None
        assert aside is not None
        assert right > 0.95
        assert aside == pytest.approx(1 / 3, abs=0.05), "half of it lies beside what is filmed"
    assert shown.overlap(3, np.zeros((HEIGHT, WIDTH), bool)) is None
    other = shown.mask(3, np.roll(fingers[0], 10, axis=1))
    assert not other[75:, 85:90].any(), "where the fingers are when it is closed is scene while it is open"


class Drawn:
    """A robot whose fingers are drawn `aside` pixels beside those filmed, and a link that passes now and then."""

    aside = 0

    def __init__(self, *_: object) -> None:
        self.shots = 0

    def depth(self, *_: object) -> FloatArray:
        depth = np.full((HEIGHT, WIDTH), np.inf)
        depth[70:, 40 + self.aside : 60 + self.aside] = 0.1
        self.shots += 1
        depth[:40, 100:] = 0.1 if self.shots % 3 == 0 else np.inf
        return depth

    def close(self) -> None:
        pass


@pytest.mark.parametrize(("aside", "expected"), [(0, 1.0), (10, 1 / 3)])
def test_the_overlap_of_the_gripper_is_that_of_what_is_drawn_mostly(
    monkeypatch: pytest.MonkeyPatch, aside: int, expected: float
) -> None:
    rng = np.random.default_rng(0)
    film = rng.integers(0, 255, (LENGTH, HEIGHT, WIDTH, 3), np.uint8)
    film[:, 70:, 40:60] = 20
    truth = make_truth(0, LENGTH)
    episode = replace(truth.episode, cameras={"wrist": MemoryFrames(film)}, gripper_position=np.zeros((LENGTH, 1)))
    monkeypatch.setattr(posed, "RobotSilhouette", Drawn)
    monkeypatch.setattr(Drawn, "aside", aside)
    assert gripper_overlap(Footage(episode, {}, truth.wrist)) == pytest.approx(expected, abs=0.05)
    unlike = replace(episode, gripper_position=np.linspace(0, 1, LENGTH)[:, None])
    assert gripper_overlap(Footage(unlike, {}, truth.wrist)) is None


def test_where_too_few_frames_are_alike_the_drawn_gripper_has_to_do() -> None:
    film = np.random.default_rng(0).integers(0, 255, (5, HEIGHT, WIDTH, 3), np.uint8)
    drawn = np.zeros((HEIGHT, WIDTH), bool)
    drawn[80:, 60:80] = True
    found = GripperFilm(film, np.zeros(5)).mask(0, drawn)
    assert found[drawn].all()
    assert found.mean() < 3 * drawn.mean()
    assert GripperFilm(film, np.zeros(5)).overlap(0, drawn) is None


def test_what_was_taken_and_left_and_is_held_is_known_to_be_moved() -> None:
    tips = np.c_[np.linspace(0, 0.9, 10), np.zeros(10), np.full(10, 0.25)]
    gripper = np.where((np.arange(10) >= 3) & (np.arange(10) < 7), 0.6, 0.0)
    hand = Handling(tips, gripper)
    np.testing.assert_allclose(hand.taken, [[0.3, 0, 0.25]])
    assert hand.balls(2) == []
    held = hand.balls(5)
    np.testing.assert_allclose([middle for middle, _ in held], [[0.3, 0, 0.25], [0.5, 0, 0.25]])
    left = hand.balls(9)
    np.testing.assert_allclose([middle for middle, _ in left], [[0.3, 0, 0.25], [0.7, 0, 0.25]])


def test_a_turn_that_took_nothing_hides_nothing() -> None:
    tips = np.zeros((10, 3))
    gripper = np.where(np.arange(10) >= 3, 0.6, 0.0)
    hand = Handling(tips, gripper, idle=lambda turn: turn.frame == 3)
    assert len(hand.balls(5)) == 1, "what may be held is hidden all the same"
    assert hand.taken.shape == (0, 3)
    assert len(Handling(tips, gripper).balls(5)) == 2
