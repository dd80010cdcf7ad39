"""Scenes cut from episodes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from arena.contracts import ActionChunk, ActionSpace, Episode, InvalidInput, Source
from arena.episodes.video import ArrayFrames
from arena.scenes import beginnings, choose_episodes, scene_from_episode


def episode(id: str = "e", length: int = 10, task: str = "reach", success: bool | None = None) -> Episode:
    frames = np.arange(length, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 6, 3), np.uint8)
    steps = np.arange(length, dtype=float)[:, None]
    return Episode(
        id=id,
        cameras={"wrist": ArrayFrames(frames)},
        fps=10.0,
        cartesian_position=steps * np.ones((1, 6)),
        gripper_position=steps / length,
        joint_position=steps * np.ones((1, 7)),
        instruction="reach the cup",
        source=Source("droid", "nowhere"),
        task=task,
        success=success,
        metadata={"reset_seed": 5},
    )


def test_a_scene_shows_its_first_frame_and_what_came_before() -> None:
    scene = scene_from_episode(episode(), start=4, history=3)
    assert scene.history["wrist"][:, 0, 0, 0].tolist() == [2, 3, 4]
    assert scene.history_state[:, 0].tolist() == [2, 3, 4]
    assert scene.observation.cameras["wrist"][0, 0, 0] == 4
    assert scene.observation.cartesian_position[0] == 4
    assert scene.observation.joint_position is not None
    assert scene.observation.joint_position[0] == 4
    assert (scene.fps, scene.task, scene.episode_id) == (10.0, "reach", "e")


def test_before_the_beginning_the_first_frame_repeats() -> None:
    scene = scene_from_episode(episode(), start=1, history=4)
    assert scene.history["wrist"][:, 0, 0, 0].tolist() == [0, 0, 0, 1]


def test_history_is_taken_at_the_worlds_rate() -> None:
    scene = scene_from_episode(episode(), start=8, history=3, fps=5.0)
    assert scene.history["wrist"][:, 0, 0, 0].tolist() == [4, 6, 8]
    assert scene.fps == 5.0
    assert scene.recorded is not None
    assert scene.recorded.control_hz == 10.0


def test_without_commands_the_states_are_shifted_by_one() -> None:
    scene = scene_from_episode(episode(), start=4)
    assert scene.recorded is not None
    assert scene.recorded.space is ActionSpace.CARTESIAN_POSITION
    np.testing.assert_array_equal(scene.recorded.values, episode().state[5:])


def test_recorded_commands_are_kept_as_they_are() -> None:
    action = ActionChunk(np.arange(80, dtype=float).reshape(10, 8), ActionSpace.JOINT_VELOCITY, 10.0)
    scene = scene_from_episode(replace(episode(), action=action), start=3)
    assert scene.recorded is not None
    assert scene.recorded.space is ActionSpace.JOINT_VELOCITY
    np.testing.assert_array_equal(scene.recorded.values, action.values[3:])


def test_only_the_beginning_can_be_recreated_in_a_simulator() -> None:
    assert scene_from_episode(episode()).reset_seed == 5
    assert scene_from_episode(episode(), start=1).reset_seed is None


def test_other_content_is_another_scene() -> None:
    first = scene_from_episode(episode())
    assert first.id == scene_from_episode(episode()).id
    assert first.id.startswith("e@0-")
    other = replace(episode(), instruction="push the cup")
    assert len({first.id, scene_from_episode(other).id, scene_from_episode(episode(), start=1).id}) == 3


@pytest.mark.parametrize(("start", "history"), [(-1, 1), (9, 1), (10, 1), (0, 0)])
def test_a_start_that_leaves_nothing_to_do_is_refused(start: int, history: int) -> None:
    with pytest.raises(InvalidInput, match="scene"):
        scene_from_episode(episode(), start, history)


def test_tasks_take_turns_and_failures_are_left_out() -> None:
    episodes = [
        episode("a2", task="a"),
        episode("a1", task="a"),
        episode("b1", task="b", success=True),
        episode("b0", task="b", success=False),
        episode("short", length=1),
    ]
    assert [item.id for item in choose_episodes(episodes)] == ["a1", "b1", "a2"]
    assert [item.id for item in choose_episodes(episodes, 2)] == ["a1", "b1"]
    assert [item.id for item in choose_episodes(episodes[3:])] == ["b0"]
    with pytest.raises(InvalidInput, match="two frames"):
        choose_episodes(episodes[4:])


def test_beginnings_are_even_along_episodes_and_first_frames_come_first() -> None:
    long, short = episode("long", length=10), episode("short", length=2)
    assert [(e.id, start) for e, start in beginnings([long, short], each=3)] == [
        ("long", 0), ("short", 0), ("long", 3), ("long", 6),
    ]  # fmt: skip
    assert beginnings([long]) == [(long, 0)]
    with pytest.raises(InvalidInput, match="at least once"):
        beginnings([long], 0)
