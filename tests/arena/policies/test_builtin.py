"""The built-in controls do what their names say, from the start pose on, for any seed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from arena.contracts import ActionChunk, ActionSpace, InvalidInput, Policy, Scene
from arena.policies.registry import parse_spec

STATE = np.array([0.4, 0.1, 0.3, 3.1, 0.1, -0.2, 0.5])


def recorded(scene: Scene, length: int = 20, hz: float = 5.0) -> Scene:
    path = STATE + 0.01 * np.random.default_rng(0).standard_normal((length, 7)).cumsum(axis=0)
    return replace(scene, recorded=ActionChunk(path, ActionSpace.CARTESIAN_POSITION, hz))


def run(spec: str, scene: Scene, seed: int = 0, chunks: int = 4) -> np.ndarray:
    policy: Policy = parse_spec(spec).create()
    policy.reset(scene, seed)
    return np.concatenate([policy.act(scene.observation).values for _ in range(chunks)])


@pytest.mark.parametrize("spec", ["hold", "noise", "replay", "reverse"])
def test_every_builtin_is_a_policy(spec: str, scene: Scene) -> None:
    policy = parse_spec(spec).create()
    policy.reset(recorded(scene), 0)
    chunk = policy.act(scene.observation)
    assert chunk.space is policy.card.action_space is ActionSpace.CARTESIAN_POSITION
    assert len(chunk) == policy.card.chunk_length
    assert np.isfinite(chunk.values).all()
    assert ((chunk.values[:, 6] >= 0) & (chunk.values[:, 6] <= 1)).all()
    policy.close()


def test_hold_stays(scene: Scene) -> None:
    np.testing.assert_array_equal(run("hold", scene), np.tile(STATE, (60, 1)))


def test_replay_plays_the_recording_and_then_holds(scene: Scene) -> None:
    scene = recorded(scene)
    values = run("replay", scene)
    np.testing.assert_array_equal(values[:20], scene.recorded.values)
    np.testing.assert_array_equal(values[20:], np.tile(scene.recorded.values[-1], (40, 1)))


def test_reset_begins_again(scene: Scene) -> None:
    policy = parse_spec("replay").create()
    policy.reset(recorded(scene), 0)
    first = policy.act(scene.observation).values
    policy.act(scene.observation)
    policy.reset(recorded(scene), 0)
    np.testing.assert_array_equal(policy.act(scene.observation).values, first)


def test_reverse_mirrors_displacements(scene: Scene) -> None:
    scene = recorded(scene)
    mirrored, forward = run("reverse", scene)[:20], scene.recorded.values
    np.testing.assert_allclose(mirrored[:, :3] - STATE[:3], STATE[:3] - forward[:, :3], atol=1e-12)
    start = Rotation.from_euler("xyz", STATE[3:6])
    turn = Rotation.from_euler("xyz", forward[:, 3:6]) * start.inv()
    back = Rotation.from_euler("xyz", mirrored[:, 3:6]) * start.inv()
    np.testing.assert_allclose((turn * back).magnitude(), 0.0, atol=1e-9)
    np.testing.assert_allclose(mirrored[:, 6], np.clip(2 * STATE[6] - forward[:, 6], 0, 1))


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_noise_is_bounded_smooth_and_moves(scene: Scene, seed: int) -> None:
    speed, turn_speed, gripper_speed, hz = 0.2, 0.5, 0.4, 15.0
    spec = f"noise?speed={speed}&turn_speed={turn_speed}&gripper_speed={gripper_speed}"
    path = np.vstack([STATE, run(spec, scene, seed, chunks=20)])
    rotation = Rotation.from_euler("xyz", path[:, 3:6])
    assert np.linalg.norm(np.diff(path[:, :3], axis=0), axis=1).max() * hz <= speed + 1e-9
    assert (rotation[1:] * rotation[:-1].inv()).magnitude().max() * hz <= turn_speed + 1e-9
    assert np.abs(np.diff(path[:, 6])).max() * hz <= gripper_speed + 1e-9
    assert np.ptp(path[:, :3], axis=0).min() > 0.01


def test_noise_depends_on_the_seed_alone_so_that_perturbed_scenes_have_partners(scene: Scene) -> None:
    np.testing.assert_array_equal(run("noise", scene, 3), run("noise", scene, 3))
    assert not np.allclose(run("noise", scene, 3), run("noise", scene, 4))
    np.testing.assert_array_equal(run("noise", scene, 3), run("noise", replace(scene, id="other"), 3))


@pytest.mark.parametrize("spec", ["replay", "reverse"])
def test_a_scene_without_a_recording_is_named(spec: str, scene: Scene) -> None:
    with pytest.raises(InvalidInput, match=f"{spec}.*scene-1"):
        run(spec, scene)
    joints = ActionChunk(np.zeros((3, 8)), ActionSpace.JOINT_POSITION, 5.0)
    with pytest.raises(InvalidInput, match="joint_position"):
        run(spec, replace(scene, recorded=joints))
