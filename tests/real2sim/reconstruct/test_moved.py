"""What moved besides the robot: in films whose truth is painted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from arena.contracts import FloatArray, Frames
from real2sim.camera import Camera
from real2sim.reconstruct.moved import Changes, Moved
from real2sim.silhouette import looking_at

WIDTH, HEIGHT, LENGTH = 96, 64, 30
BEFORE, AFTER = (slice(40, 48), slice(20, 30)), (slice(10, 18), slice(60, 70))
PICKED, PLACED = 12, 18


def camera() -> Camera:
    pose = looking_at(np.array([0.5, 0.0, 1.2]), np.array([0.5, 0.01, 0.0]))
    return Camera(WIDTH, HEIGHT, 90.0, 90.0, WIDTH / 2, HEIGHT / 2, pose)


@pytest.fixture
def film() -> tuple[Frames, NDArray[np.bool_]]:
    """A robot that comes from the right with a shadow, a thing that it takes from one place to another."""
    rng = np.random.default_rng(0)
    scene = np.full((HEIGHT, WIDTH, 3), 180.0)
    frames, drawn = [], []
    for t in range(LENGTH):
        picture, robot = scene.copy(), np.zeros((HEIGHT, WIDTH), bool)
        column = 34 + (t - PICKED if PICKED < t < PLACED else 0) + (t > PLACED) * 2 * (t - PLACED)
        robot[20:44, column : column + 5] = True
        shadow = (slice(50, 60), slice(2 * t, 2 * t + 5))
        picture[shadow] -= 60
        if t < PICKED:
            picture[BEFORE] = [200, 40, 40]
        elif t >= PLACED:
            picture[AFTER] = [200, 40, 40]
        else:
            picture[40:46, column : column + 9] = [200, 40, 40]  # it hangs from the robot
        picture[robot] = 20
        frames.append(picture + rng.normal(0, 1.5, picture.shape))
        drawn.append(robot)
    return np.stack(frames).clip(0, 255).astype(np.uint8), np.stack(drawn)


def test_where_a_thing_stood_before_and_after_has_moved_and_the_robot_with_what_it_holds_has_not(
    film: tuple[Frames, NDArray[np.bool_]],
) -> None:
    frames, drawn = film
    seen = Changes.of(camera(), frames, np.arange(LENGTH), drawn)
    assert seen.moved[BEFORE].mean() > 0.9
    assert seen.moved[AFTER].mean() > 0.9
    assert seen.moved.mean() < 0.1
    assert not seen.moved[50:60, 34:].any(), "a shadow that passes is nothing that moved"
    held = frames[PICKED + 2, 43, 43:45]
    assert (held[:, 0] > 150).all()
    assert seen.robot[PICKED + 2, 43, 43:45].all(), "what it holds is hidden with it"
    assert seen.moved_from_start[BEFORE].mean() > 0.9
    assert not seen.moved_from_start[AFTER].any()


def test_the_frame_by_which_nothing_had_moved_is_found(film: tuple[Frames, NDArray[np.bool_]]) -> None:
    frames, drawn = film
    since = Changes.of(camera(), frames, np.arange(LENGTH), drawn).since
    assert PICKED - 2 <= since <= PICKED
    still = np.repeat(frames[:1], LENGTH, axis=0)
    assert Changes.of(camera(), still, np.arange(LENGTH), drawn).since == LENGTH - 1


def test_another_camera_is_told_where_things_moved(film: tuple[Frames, NDArray[np.bool_]]) -> None:
    frames, drawn = film
    above = Changes.of(camera(), frames, np.arange(LENGTH), drawn)
    on_table = points_of(above.camera, BEFORE)
    never = np.zeros(len(on_table), bool)
    moved = Moved([above], on_table, never)
    hand = replace(above.camera, camera_to_base=looking_at(np.array([0.53, 0.0, 1.0]), on_table.mean(0)))
    masked = moved.seen_by(hand)
    row, column, depth = hand.cells(on_table)
    assert (depth > 0).all()
    assert masked[row, column].mean() > 0.9
    assert masked.mean() < 0.6
    assert not Moved([], on_table, never).seen_by(hand).any()
    # One camera alone does not say how far away, but nothing moves that no hand came to; two need no such help.
    aside = on_table + np.array([0.0, 0.8, 0.0])
    assert not Moved([above], aside, never).seen_by(hand).any()
    path = np.concatenate([aside, on_table + np.array([0, 0, 0.5])])
    held = np.arange(len(path)) == len(aside)
    assert not Moved([above], path, held & False).seen_by(hand).any()
    assert Moved([above], path, held).seen_by(hand)[row, column].mean() > 0.9, "what was let go of falls"
    assert Moved([above, above], aside, never).seen_by(hand)[row, column].mean() > 0.9
    far_above = aside + np.array([0.0, 0.0, 0.3])
    assert not Moved([above, above], far_above, never).there(on_table).any(), "nothing stands so far below the hand"


def test_a_place_that_is_seen_before_and_after_and_stays_the_same_is_still(
    film: tuple[Frames, NDArray[np.bool_]],
) -> None:
    frames, drawn = film
    seen = Changes.of(camera(), frames, np.arange(LENGTH), drawn)
    taken = points_of(seen.camera, BEFORE).mean(0)
    aside = points_of(seen.camera, (slice(4, 12), slice(8, 16))).mean(0)
    assert not seen.still_in(taken, 0.05, PICKED)
    assert seen.still_in(aside, 0.05, PICKED)
    assert not seen.still_in(aside, 0.05, 0), "nothing is known of before the film"
    assert not seen.still_in(aside + np.array([0, 0, 5.0]), 0.05, PICKED), "behind the camera"
    far = replace(seen, camera=replace(seen.camera, fx=20.0, fy=20.0))
    assert not far.still_in(points_of(far.camera, (slice(4, 12), slice(8, 16))).mean(0), 0.05, PICKED), "too small"


def points_of(above: Camera, patch: tuple[slice, slice]) -> FloatArray:
    """Where the table, at height 0, shows in a patch of a camera's picture."""
    rows, columns = np.mgrid[patch]
    ray = np.stack([(columns + 0.5 - above.cx) / above.fx, (rows + 0.5 - above.cy) / above.fy, np.ones(rows.shape)], -1)
    ray = ray.reshape(-1, 3) @ above.camera_to_base[:3, :3].T
    origin = above.camera_to_base[:3, 3]
    return np.asarray(origin - ray * (origin[2] / ray[:, 2])[:, None])
