"""An episode from some frame on: the same rows, frames decoded from where they are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from arena.contracts import ActionChunk, ActionSpace, Episode, InvalidInput, Source
from arena.episodes.cut import from_frame
from arena.episodes.video import ArrayFrames

LENGTH = 6


@pytest.fixture
def episode() -> Episode:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (LENGTH, 4, 6, 3)).astype(np.uint8)
    return Episode(
        id="whole",
        cameras={"wrist": ArrayFrames(frames)},
        fps=5.0,
        cartesian_position=rng.normal(size=(LENGTH, 6)),
        gripper_position=rng.random((LENGTH, 1)),
        joint_position=rng.normal(size=(LENGTH, 7)),
        action=ActionChunk(rng.normal(size=(LENGTH, 7)), ActionSpace.CARTESIAN_POSITION, 5.0),
        instruction="go",
        source=Source("test", "memory", 0, "sha"),
        metadata={"reset_seed": 3, "kind": "expert"},
    )


def test_rows_and_frames_are_those_of_the_whole(episode: Episode) -> None:
    later = from_frame(episode, 2)
    assert len(later) == LENGTH - 2
    assert later.id == "whole@2"
    assert later.metadata == {"kind": "expert"}
    assert later.action is not None
    assert episode.action is not None
    assert later.joint_position is not None
    assert episode.joint_position is not None
    np.testing.assert_array_equal(later.state, episode.state[2:])
    np.testing.assert_array_equal(later.joint_position, episode.joint_position[2:])
    np.testing.assert_array_equal(later.action.values, episode.action.values[2:])
    whole, part = episode.cameras["wrist"], later.cameras["wrist"]
    assert part.shape == (LENGTH - 2, 4, 6, 3)
    np.testing.assert_array_equal(part.read(), whole.read()[2:])
    np.testing.assert_array_equal(part.read(1, 3), whole.read()[3:5])


def test_what_was_not_recorded_stays_absent(episode: Episode) -> None:
    later = from_frame(replace(episode, action=None, joint_position=None), 5)
    assert (len(later), later.action, later.joint_position) == (1, None, None)


def test_the_first_frame_changes_nothing_and_others_must_exist(episode: Episode) -> None:
    assert from_frame(episode, 0) is episode
    for start in (-1, LENGTH):
        with pytest.raises(InvalidInput, match="has frames 0 to 5"):
            from_frame(episode, start)
