"""A twin is a `World`: batched, seeded, and what happens in it is what its pictures show."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from arena.contracts import ActionChunk, ActionSpace, FloatArray, InvalidInput, Rollout, World
from arena.policies.registry import parse_spec
from arena.rollout import run_rollouts
from real2sim.twin.bundle import Twin, save_twin
from real2sim.twin.world import TwinWorld


@pytest.fixture(scope="module")
def world(small_twin: Twin) -> Iterator[TwinWorld]:
    world = TwinWorld({"episode-1": small_twin})
    yield world
    world.close()


def towards(state: FloatArray, target: list[float], grip: float, steps: int = 5) -> ActionChunk:
    goal = np.array([*target, np.pi, 0.0, 0.0, grip])
    share = np.linspace(1 / steps, 1, steps)[:, None]
    rows = np.tile(goal, (steps, 1))
    rows[:, :3] = state[:3] * (1 - share) + goal[:3] * share
    return ActionChunk(rows, ActionSpace.CARTESIAN_POSITION, 5.0)


def test_a_thing_that_is_picked_up_is_seen_to_be(world: TwinWorld) -> None:
    _: World = world
    scene = world.scene("episode-1")
    (first,) = world.start([scene], [0])
    state = first.state
    for target, grip in (([0.5, 0.1, 0.4], 0), ([0.5, 0.1, 0.185], 0), ([0.5, 0.1, 0.185], 1), ([0.5, 0.1, 0.45], 1)):
        for _again in range(2):
            (step,) = world.step([towards(state, target, grip)])
            state = step.state[-1]
    np.testing.assert_allclose(state[:3], [0.5, 0.1, 0.45], atol=0.01)
    assert 0.3 < state[6] < 0.9
    assert step.frames["wrist"].shape == (5, 30, 40, 3)
    assert step.joint_position is not None
    assert step.success is None
    # The red block left its place on the table, and went with the wrist.
    pictures = first.cameras["exterior_1"], step.frames["exterior_1"][-1]
    rows = [np.nonzero(each[..., 0].astype(int) - each[..., 1] > 60)[0].mean() for each in pictures]
    assert rows[1] < rows[0] - 2


def test_a_trial_does_not_depend_on_its_batch(world: TwinWorld) -> None:
    scene = world.scene("episode-1")
    chunk = towards(scene.observation.state, [0.5, 0.1, 0.1], 0.0)
    world.start([scene, scene, scene], [4, 9, 4])
    together = world.step([chunk] * 3)
    world.start([scene], [9])
    (alone,) = world.step([chunk])
    np.testing.assert_array_equal(together[0].frames["wrist"], together[2].frames["wrist"])
    np.testing.assert_array_equal(together[1].frames["exterior_1"], alone.frames["exterior_1"])
    np.testing.assert_array_equal(together[1].state, alone.state)


def test_policies_roll_out_in_it(world: TwinWorld) -> None:
    scene = world.scene("episode-1")
    (rollout,) = run_rollouts(world, [parse_spec("hold").create()], [scene], [0], steps=6)
    assert isinstance(rollout, Rollout)
    assert rollout.frames["exterior_1"].shape == (7, 30, 40, 3)
    np.testing.assert_allclose(rollout.state[-1], rollout.state[0], atol=0.01)


def test_folders_of_twins_are_one_world(tmp_path: Path, small_twin: Twin) -> None:
    save_twin(tmp_path / "a", small_twin)
    other = replace(small_twin, beginning=replace(small_twin.beginning, episode_id="episode-2"))
    save_twin(tmp_path / "b", other)
    one, both = TwinWorld.load(tmp_path / "a"), TwinWorld.load(tmp_path)
    assert one.keys == ("episode-1",)
    assert both.keys == ("episode-1", "episode-2")
    assert one.card.sha256 != both.card.sha256
    save_twin(tmp_path / "c", small_twin)
    with pytest.raises(InvalidInput, match="both twins of episode-1"):
        TwinWorld.load(tmp_path)
    with pytest.raises(InvalidInput, match="holds no twin"):
        TwinWorld.load(tmp_path / "nowhere")


def test_what_is_not_the_worlds_is_refused(world: TwinWorld, small_twin: Twin) -> None:
    scene = world.scene("episode-1")
    with pytest.raises(InvalidInput, match="no twin of episode 'other', only of episode-1"):
        world.start([replace(scene, episode_id="other")], [0])
    later = replace(scene.observation, joint_position=small_twin.beginning.joint_position + 0.1)
    with pytest.raises(InvalidInput, match="does not begin where its episode does"):
        world.start([replace(scene, observation=later)], [0])
    world.start([scene], [0])
    chunk = towards(scene.observation.state, [0.5, 0.1, 0.3], 0.0)
    with pytest.raises(InvalidInput, match="at most 5 actions"):
        world.step([ActionChunk(np.tile(chunk.values, (2, 1)), chunk.space, 5.0)])
    with pytest.raises(InvalidInput, match="takes cartesian_position at 5 Hz"):
        world.step([replace(chunk, control_hz=15.0)])
    with pytest.raises(InvalidInput, match="1 trials are running"):
        world.step([chunk, chunk])
    slow = replace(small_twin, beginning=replace(small_twin.beginning, fps=15.0))
    with pytest.raises(InvalidInput, match="at 15 Hz of a panda, others are at 5 Hz"):
        TwinWorld({"a": small_twin, "b": slow})
