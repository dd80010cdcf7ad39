"""Conversions between action spaces and rates: exact where they can be, without drift, and named errors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from arena.actions import ActionBuffer, to_world_chunk
from arena.contracts import (
    ActionChunk,
    ActionSpace,
    FloatArray,
    InvalidInput,
    Observation,
    PolicyCard,
    Scene,
    WorldCard,
)

JOINTS = np.array([0.1, -0.6, 0.2, -2.4, 0.05, 1.9, 0.3])
RATES = st.sampled_from([3.0, 4.0, 5.0, 7.5, 10.0, 15.0, 20.0, 29.97, 50.0])


class PlanarArm:
    """An analytic stand-in for the Panda: three links in a plane, a lift, and a wrist of three Euler angles."""

    def __init__(self) -> None:
        self.calls = 0

    def forward(self, joint_position: FloatArray) -> FloatArray:
        self.calls += 1
        angle = np.cumsum(joint_position[:, :3], axis=1)
        x = (np.cos(angle) * [0.4, 0.3, 0.1]).sum(axis=1)
        y = (np.sin(angle) * [0.4, 0.3, 0.1]).sum(axis=1)
        return np.column_stack([x, y, joint_position[:, 3] * 0.1, joint_position[:, 4:7]])


def world(fps: float, frames_per_step: int = 4, space: ActionSpace = ActionSpace.CARTESIAN_POSITION) -> WorldCard:
    return WorldCard("test-world", "0" * 64, fps, frames_per_step, ("exterior_1",), space)


def observation(joints: FloatArray | None = JOINTS) -> Observation:
    pose = PlanarArm().forward(JOINTS[None])[0]
    return Observation({}, pose, np.array([0.25]), "", joints)


def chunk(space: ActionSpace, hz: float, length: int, seed: int = 0, scale: float = 0.3) -> ActionChunk:
    """Smooth random actions near the observation."""
    random = np.random.default_rng(seed)
    values = scale * random.standard_normal((length, space.width))
    if space is ActionSpace.JOINT_POSITION:
        values[:, :7] = JOINTS + values[:, :7].cumsum(axis=0) / hz
    if space is ActionSpace.CARTESIAN_POSITION:
        values[:, :6] = observation().cartesian_position + values[:, :6].cumsum(axis=0) / hz
    values[:, -1] = random.uniform(0, 1, length)
    return ActionChunk(values, space, hz)


def same_rotation(a: FloatArray, b: FloatArray, tolerance: float = 1e-7) -> bool:
    turn = Rotation.from_euler("xyz", a) * Rotation.from_euler("xyz", b).inv()
    return bool((turn.magnitude() < tolerance).all())


def test_what_the_world_takes_already_passes_through_untouched() -> None:
    given_chunk = chunk(ActionSpace.CARTESIAN_POSITION, 5.0, 8)
    given_chunk.values[3, 3:6] = [3.5, 2.0, -4.0]  # no Euler angles that a rotation would give back
    got = to_world_chunk(given_chunk, observation(None), world(5.0), None)
    np.testing.assert_array_equal(got.values, given_chunk.values)
    assert got.control_hz == 5.0


@given(st.sampled_from(list(ActionSpace)), RATES, RATES, st.integers(1, 40), st.integers(0, 100))
@settings(deadline=None, max_examples=25)
def test_covers_the_whole_frames_of_the_chunk(space: ActionSpace, hz: float, fps: float, n: int, seed: int) -> None:
    frames = int(n / hz * fps + 1e-6)
    if frames == 0:
        with pytest.raises(InvalidInput, match="less than one frame"):
            to_world_chunk(chunk(space, hz, n, seed), observation(), world(fps), PlanarArm())
        return
    got = to_world_chunk(chunk(space, hz, n, seed), observation(), world(fps), PlanarArm())
    assert got.space is ActionSpace.CARTESIAN_POSITION
    assert got.control_hz == fps
    assert got.values.shape == (frames, 7)
    assert ((got.values[:, 6] >= 0) & (got.values[:, 6] <= 1)).all()


@given(RATES, st.integers(1, 30), st.integers(0, 100))
@settings(deadline=None, max_examples=25)
def test_constant_joint_velocity_is_integrated_exactly(hz: float, n: int, seed: int) -> None:
    velocity = np.random.default_rng(seed).uniform(-0.5, 0.5, 7)
    actions = ActionChunk(np.tile([*velocity, 0.5], (n, 1)), ActionSpace.JOINT_VELOCITY, hz)
    fps = 50.0
    got = to_world_chunk(actions, observation(), world(fps), PlanarArm())
    times = np.arange(1, len(got) + 1) / fps
    np.testing.assert_allclose(got.values[:, :6], PlanarArm().forward(JOINTS + velocity * times[:, None]), atol=1e-9)


@given(st.integers(1, 6), st.integers(1, 8), st.integers(0, 100))
@settings(deadline=None, max_examples=25)
def test_joint_velocity_equals_the_joint_positions_it_integrates_to(ratio: int, frames: int, seed: int) -> None:
    fps = 5.0
    velocities = chunk(ActionSpace.JOINT_VELOCITY, fps * ratio, frames * ratio, seed)
    targets = JOINTS + np.cumsum(velocities.values[:, :7], axis=0) / velocities.control_hz
    positions = replace(
        velocities, values=np.column_stack([targets, velocities.values[:, 7]]), space=ActionSpace.JOINT_POSITION
    )
    a = to_world_chunk(velocities, observation(), world(fps), PlanarArm())
    b = to_world_chunk(positions, observation(), world(fps), PlanarArm())
    np.testing.assert_allclose(a.values, b.values, atol=1e-9)
    np.testing.assert_allclose(a.values[-1, :6], PlanarArm().forward(targets[-1:])[0], atol=1e-9)


@given(RATES, st.integers(2, 30), st.integers(0, 100))
@settings(deadline=None, max_examples=25)
def test_cartesian_velocity_is_integrated_from_the_observed_pose(hz: float, n: int, seed: int) -> None:
    rates = np.random.default_rng(seed).uniform(-1, 1, 6)
    actions = ActionChunk(np.tile([*rates, 0.5], (n, 1)), ActionSpace.CARTESIAN_VELOCITY, hz)
    got = to_world_chunk(actions, observation(None), world(50.0), None)
    expected = observation().cartesian_position + rates * np.arange(1, len(got) + 1)[:, None] / 50.0
    np.testing.assert_allclose(got.values[:, :3], expected[:, :3], atol=1e-9)
    assert same_rotation(got.values[:, 3:6], expected[:, 3:])
    assert (np.abs(got.values[:, 3:6]) <= np.pi).all()


def test_rotations_take_the_short_way_across_the_wrap() -> None:
    """From roll 3.1 to roll -3.1: 0.083 rad through pi, not 6.2 rad through 0."""
    start = replace(observation(None), cartesian_position=np.array([0, 0, 0, 3.1, 0, 0]))
    actions = ActionChunk(np.array([[0, 0, 0, -3.1, 0, 0, 0.5]]), ActionSpace.CARTESIAN_POSITION, 5.0)
    got = to_world_chunk(actions, start, world(10.0), None)
    assert same_rotation(got.values[:, 3:6], np.array([[np.pi, 0, 0], [-3.1, 0, 0]]))
    np.testing.assert_array_equal(got.values[1, 3:6], [-3.1, 0, 0])


def test_a_faster_world_sees_positions_between_the_policys() -> None:
    actions = ActionChunk(np.array([[1.0, 0, 0, 0, 0, 0, 1.0]]), ActionSpace.CARTESIAN_POSITION, 1.0)
    start = replace(observation(None), cartesian_position=np.zeros(6), gripper_position=np.zeros(1))
    got = to_world_chunk(actions, start, world(4.0), None)
    np.testing.assert_allclose(got.values[:, 0], [0.25, 0.5, 0.75, 1.0])
    np.testing.assert_allclose(got.values[:, 6], [0.25, 0.5, 0.75, 1.0])


@pytest.mark.parametrize("space", [ActionSpace.JOINT_VELOCITY, ActionSpace.JOINT_POSITION])
def test_joint_spaces_name_what_they_lack(space: ActionSpace) -> None:
    with pytest.raises(InvalidInput, match=f"{space} actions need the robot's joint_position"):
        to_world_chunk(chunk(space, 15, 15), observation(None), world(5.0), PlanarArm())
    with pytest.raises(InvalidInput, match=f"{space} actions need the robot's kinematics"):
        to_world_chunk(chunk(space, 15, 15), observation(), world(5.0), None)


def test_a_world_with_another_action_space_is_refused() -> None:
    with pytest.raises(InvalidInput, match="takes joint_position"):
        to_world_chunk(
            chunk(ActionSpace.JOINT_POSITION, 5, 5), observation(), world(5.0, space=ActionSpace.JOINT_POSITION), None
        )


class Scripted:
    """A policy that answers with slices of one long stretch of actions, or a function of what it sees."""

    def __init__(self, stretch: ActionChunk, length: int, answer: Callable[[Observation], ActionChunk] | None = None):
        self.card = PolicyCard("scripted", "scripted", "", stretch.space, stretch.control_hz, length)
        self.seen: list[Observation] = []
        self._stretch, self._answer, self._done = stretch, answer, 0

    def reset(self, scene: Scene, seed: int) -> None:
        self._done = 0

    def act(self, observation: Observation) -> ActionChunk:
        self.seen.append(observation)
        if self._answer is not None:
            return self._answer(observation)
        values = self._stretch.values[self._done : self._done + self.card.chunk_length]
        self._done += self.card.chunk_length
        return replace(self._stretch, values=values)

    def close(self) -> None:
        pass


def follow(action: FloatArray) -> Observation:
    """What an imagined world shows after `action`: exactly that state, and no joints."""
    return Observation({}, action[:6], action[6:], "", None)


@given(st.sampled_from(list(ActionSpace)), RATES, RATES, st.integers(1, 12), st.integers(1, 6), st.integers(0, 50))
@settings(deadline=None, max_examples=30)
def test_the_buffer_gives_what_one_long_chunk_gives(
    space: ActionSpace, hz: float, fps: float, length: int, n: int, seed: int
) -> None:
    """However the policy's and the world's chunks divide the time, the motion is that of the whole stretch."""
    stretch = chunk(space, hz, 36, seed)
    card = world(fps, n)
    whole = to_world_chunk(stretch, observation(), card, PlanarArm()).values
    buffer = ActionBuffer(Scripted(stretch, length), card, PlanarArm())
    now, rows = observation(), []
    for _ in range(min(40, int((36 - length) / hz * fps)) // n):
        rows.append(buffer.next(now, n).values)
        now = follow(rows[-1][-1])
    if rows:
        got = np.concatenate(rows)
        np.testing.assert_allclose(got[:, :3], whole[: len(got), :3], atol=1e-7)
        np.testing.assert_allclose(got[:, 6], whole[: len(got), 6], atol=1e-9)
        assert same_rotation(got[:, 3:6], whole[: len(got), 3:6], 1e-6)


def test_joints_are_carried_through_a_world_that_knows_none() -> None:
    velocity = np.array([0.1, -0.2, 0.3, 0.1, 0.0, 0.2, -0.1])
    stretch = ActionChunk(np.tile([*velocity, 0.5], (300, 1)), ActionSpace.JOINT_VELOCITY, 15.0)
    policy = Scripted(stretch, 8)
    card = world(5.0)
    buffer = ActionBuffer(policy, card, PlanarArm())
    now = observation()
    for _ in range(10):
        actions = buffer.next(now, 4).values
        now = follow(actions[-1])
    np.testing.assert_allclose(actions[-1, :6], PlanarArm().forward((JOINTS + velocity * 8.0)[None])[0], atol=1e-9)
    for call, seen in enumerate(policy.seen):
        np.testing.assert_allclose(seen.joint_position, JOINTS + velocity * call * 8 / 15, atol=1e-9)


def test_a_world_that_reports_joints_is_believed() -> None:
    stretch = ActionChunk(np.zeros((300, 8)), ActionSpace.JOINT_VELOCITY, 5.0)
    policy = Scripted(stretch, 4)
    buffer = ActionBuffer(policy, world(5.0), PlanarArm())
    buffer.next(observation(), 4)
    buffer.next(replace(observation(), joint_position=JOINTS + 0.5), 4)
    np.testing.assert_allclose(policy.seen[1].joint_position, JOINTS + 0.5)


def test_the_policy_is_asked_once_per_chunk_with_the_latest_observation() -> None:
    policy = Scripted(chunk(ActionSpace.CARTESIAN_POSITION, 5.0, 64), 8)
    buffer = ActionBuffer(policy, world(5.0), None)
    shown = [replace(observation(None), instruction=str(step)) for step in range(4)]
    for now in shown:
        buffer.next(now, 4)
    assert [seen.instruction for seen in policy.seen] == ["0", "2"]
    assert buffer.frames_per_answer == 8


def test_execute_cuts_every_chunk() -> None:
    def answer(seen: Observation) -> ActionChunk:
        return ActionChunk(np.tile([*seen.cartesian_position + 1.0, 0.5], (15, 1)), ActionSpace.CARTESIAN_POSITION, 5.0)

    policy = Scripted(chunk(ActionSpace.CARTESIAN_POSITION, 5.0, 15), 15, answer)
    buffer = ActionBuffer(policy, world(5.0), None, execute=2)
    assert buffer.frames_per_answer == 2
    got = buffer.next(replace(observation(None), cartesian_position=np.zeros(6)), 6)
    np.testing.assert_allclose(got.values[:, 0], [1, 1, 2, 2, 3, 3])
    with pytest.raises(InvalidInput, match="execute must be at least 1"):
        ActionBuffer(policy, world(5.0), None, execute=0)


def test_an_answer_in_another_space_than_declared_is_named() -> None:
    policy = Scripted(
        chunk(ActionSpace.JOINT_VELOCITY, 5.0, 8), 8, lambda seen: chunk(ActionSpace.CARTESIAN_POSITION, 5.0, 8)
    )
    with pytest.raises(InvalidInput, match="'scripted' declares joint_velocity and answered a cartesian_position"):
        ActionBuffer(policy, world(5.0), PlanarArm()).next(observation(), 4)


def test_a_rate_that_is_not_finite_is_refused() -> None:
    endless = ActionChunk(np.zeros((4, 7)), ActionSpace.CARTESIAN_POSITION, float("inf"))
    with pytest.raises(InvalidInput, match="finite"):
        ActionBuffer(Scripted(endless, 4, lambda seen: endless), world(5.0), None).next(observation(None), 4)
