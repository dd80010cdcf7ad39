"""The stand-in reality keeps the `World` contract, and its units and frames of reference mean what they say."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from arena.contracts import ActionChunk, ActionSpace, InvalidInput, Scene, World
from real2sim.reality.cameras import CAMERAS, CameraRig
from real2sim.reality.metaworld import MetaWorldWorld, make_scene
from real2sim.reality.simulator import FPS, Simulation
from real2sim.reality.tasks import INSTRUCTIONS, instruction, task_names

TASK = "drawer-close-v3"


@pytest.fixture(scope="module")
def world() -> Iterator[MetaWorldWorld]:
    world = MetaWorldWorld()
    yield world
    world.close()


@pytest.fixture(scope="module")
def scene(world: MetaWorldWorld) -> Scene:
    return world.scene(TASK, 3)


def moving(scene: Scene, offset: tuple[float, float, float], actions: int = 6, grip: float = 0.0) -> ActionChunk:
    """Straight from the scene's first state by `offset` m."""
    way = np.linspace(0.0, 1.0, actions + 1)[1:, None] * np.array(offset)
    target = np.tile(np.append(scene.observation.cartesian_position, grip), (actions, 1))
    target[:, :3] += way
    return ActionChunk(target, ActionSpace.CARTESIAN_POSITION, FPS)


def test_is_a_world_that_knows_success(world: MetaWorldWorld) -> None:
    contract: World = world
    assert contract.card.knows_success
    assert contract.card.cameras == CAMERAS == ("exterior_1", "exterior_2", "wrist")
    assert contract.card.fps == 10.0
    assert len(contract.card.sha256) == 64
    assert MetaWorldWorld(48, 64).card.sha256 != contract.card.sha256


def test_same_scene_same_trial_whatever_the_batch(world: MetaWorldWorld, scene: Scene) -> None:
    other = world.scene("reach-v3", 1)
    chunk, away = moving(scene, (0.05, 0.1, -0.05)), moving(other, (-0.05, 0.0, 0.1))
    first = world.start([scene], [0])[0]
    alone = world.step([chunk])[0]
    batch = world.start([other, scene, scene], [1, 2, 3])
    together = world.step([away, chunk, chunk])
    for observation, step in zip(batch[1:], together[1:], strict=True):
        np.testing.assert_array_equal(observation.state, first.state)
        np.testing.assert_array_equal(step.state, alone.state)
        for camera in CAMERAS:
            np.testing.assert_array_equal(observation.cameras[camera], first.cameras[camera])
            np.testing.assert_array_equal(step.frames[camera], alone.frames[camera])
    assert not np.array_equal(together[0].frames["wrist"], alone.frames["wrist"])


def test_step_shapes_and_last_instant(world: MetaWorldWorld, scene: Scene) -> None:
    world.start([scene], [0])
    step = world.step([moving(scene, (0.0, 0.0, 0.05), actions=3)])[0]
    assert {name: frames.shape for name, frames in step.frames.items()} == dict.fromkeys(CAMERAS, (3, 64, 96, 3))
    assert step.state.shape == (3, 7)
    assert step.joint_position is not None
    assert step.joint_position.shape == (3, 7)
    assert step.success is False
    np.testing.assert_array_equal(step.observation.state, step.state[-1])
    for camera in CAMERAS:
        assert step.frames[camera].dtype == np.uint8
        np.testing.assert_array_equal(step.observation.cameras[camera], step.frames[camera][-1])


def test_the_hand_goes_where_it_is_told() -> None:
    """Command and state are of the same point in the same frame: a target is reached to 5 mm."""
    simulation = Simulation("reach-v3")
    simulation.reset(0)
    target = np.array([0.1, 0.7, 0.25, 0.0, 0.0, 0.0, 0.0])
    for _ in range(30):
        simulation.act(target)
    np.testing.assert_allclose(simulation.state[:3], target[:3], atol=5e-3)
    np.testing.assert_allclose(simulation.state[3:6], 0.0, atol=0.05)
    assert simulation.state[6] < 0.02
    for _ in range(15):
        simulation.act(np.append(target[:6], 1.0))
    assert simulation.state[6] > 0.98


def test_a_trial_does_not_end_by_itself() -> None:
    """Meta-World raises after 500 control steps; how long a trial lasts is the rollout's to say."""
    simulation = Simulation("reach-v3")
    simulation.reset(0)
    for _ in range(510):
        simulation.control(np.zeros(4))
    assert np.isfinite(simulation.state).all()


def test_success_stays_once_it_was_true() -> None:
    simulation = Simulation("reach-v3")
    simulation.reset(0)
    goal = np.append(simulation.observation[36:39], np.zeros(4))
    for _ in range(15):
        simulation.act(goal)
    assert simulation.succeeded
    for _ in range(15):
        simulation.act(np.array([0.0, 0.5, 0.4, 0.0, 0.0, 0.0, 0.0]))
    assert simulation.succeeded
    simulation.reset(0)
    assert not simulation.succeeded


def test_first_frame_shows_this_trial_not_the_one_before() -> None:
    """Meta-World's reset moves the drawer without telling MuJoCo."""
    simulation = Simulation("drawer-open-v3")
    simulation.reset(1)
    simulation.reset(2)
    before = simulation.data.body("drawer_link").xpos.copy()
    simulation.control(np.zeros(4))
    np.testing.assert_allclose(simulation.data.body("drawer_link").xpos, before, atol=1e-3)
    np.testing.assert_allclose(simulation.observation[4:7], before + np.array([0.0, -0.16, 0.0]), atol=1e-3)


@pytest.mark.parametrize("task", task_names())
def test_every_task_resets_to_the_same_start(task: str) -> None:
    assert instruction(task)
    assert "-" not in instruction(task)
    simulation = Simulation(task)
    simulation.reset(5)
    first, observation = simulation.state, simulation.observation.copy()
    simulation.reset(6)
    assert not np.array_equal(observation, simulation.observation)
    simulation.act(np.append(simulation.target + 0.05, 1.0))
    simulation.reset(5)
    np.testing.assert_array_equal(simulation.state, first)
    np.testing.assert_array_equal(simulation.observation, observation)


def test_instructions_are_of_known_tasks() -> None:
    assert set(INSTRUCTIONS) <= set(task_names())


def test_simplified_meshes_look_the_same() -> None:
    """Leaving out what is smaller than a pixel may not be seen: 1% of the pixels at most change visibly."""
    simulation = Simulation("coffee-button-v3")
    simulation.reset(0)
    pictures = []
    for detail in (0.0, 0.3):
        rig = CameraRig(simulation.model, 64, 96, detail)
        pictures.append(np.stack(list(rig.render(simulation.model, simulation.data).values())).astype(int))
        rig.close()
    changed = np.abs(pictures[0] - pictures[1]).max(axis=-1) > 20
    assert 0 < changed.mean() < 0.01


def test_make_scene_needs_no_recording(world: MetaWorldWorld, scene: Scene) -> None:
    made = make_scene(TASK, 3)
    np.testing.assert_array_equal(made.history_state, scene.observation.state[None])
    for camera in CAMERAS:
        np.testing.assert_array_equal(made.history[camera][-1], world.start([made], [0])[0].cameras[camera])
    assert (made.instruction, made.task, made.reset_seed) == ("close the drawer", TASK, 3)


def test_scenes_that_cannot_be_begun_are_refused(world: MetaWorldWorld, scene: Scene) -> None:
    with pytest.raises(InvalidInput, match="did you mean drawer-close-v3"):
        world.start([replace(scene, task="drawer-closed-v3")], [0])
    with pytest.raises(InvalidInput, match="no reset_seed"):
        world.start([replace(scene, reset_seed=None)], [0])
    with pytest.raises(InvalidInput, match="as many seeds"):
        world.start([scene], [])


def test_chunks_that_are_not_this_worlds_are_refused(world: MetaWorldWorld, scene: Scene) -> None:
    chunk = moving(scene, (0.0, 0.0, 0.05))
    world.start([scene], [0])
    with pytest.raises(InvalidInput, match="1 trials are running, so 2 chunks"):
        world.step([chunk, chunk])
    with pytest.raises(InvalidInput, match="at 10 Hz, not cartesian_position at 15 Hz"):
        world.step([replace(chunk, control_hz=15.0)])
    with pytest.raises(InvalidInput, match="not joint_position"):
        world.step([ActionChunk(np.zeros((2, 8)), ActionSpace.JOINT_POSITION, FPS)])
    with pytest.raises(InvalidInput, match="at most 20 actions"):
        world.step([moving(scene, (0.0, 0.0, 0.05), actions=21)])


def test_missing_opengl_is_named() -> None:
    """In a process of its own, because MuJoCo chooses its OpenGL once."""
    program = "from real2sim import engine"
    hidden = os.environ | {"MUJOCO_GL": "egl", "PYOPENGL_PLATFORM": "no-such-platform"}
    done = subprocess.run([sys.executable, "-c", program], env=hidden, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert "InvalidInput" in last
    assert "libegl1 libgles2 libgl1-mesa-dri" in last
