"""The arm in a twin: it follows as its servo says, and moves things by touching them alone."""

from __future__ import annotations

import numpy as np
import pytest

from real2sim.robot import PandaKinematics
from real2sim.robots import PANDA
from real2sim.twin.arm import Arm
from real2sim.twin.bundle import Twin
from real2sim.twin.control import Servo, respond
from real2sim.twin.physics import TwinPhysics
from real2sim.twin.solid_fit import FittedSolid
from real2sim.twin.solids import Shape, Solid
from real2sim.twin.things import twin_object

HOME = np.array([0.0, -0.3, 0.0, -2.2, 0.0, 1.9, 0.8])
DOWN = [np.pi, 0.0, np.pi / 4]


@pytest.fixture(scope="module")
def physics(small_twin: Twin) -> TwinPhysics:
    return TwinPhysics(small_twin.plane, small_twin.objects, PANDA)


@pytest.mark.parametrize("servo", [Servo(15.0, 1.0, 0.0), Servo(8.0, 0.7, 0.12)])
def test_in_free_space_the_arm_moves_as_its_servo(physics: TwinPhysics, servo: Servo) -> None:
    physics.reset()
    arm = Arm(physics.model, physics.data, servo)
    arm.place(HOME, 0.0)
    told = HOME + np.cumsum(np.random.default_rng(0).normal(0, 0.02, (15, 7)), axis=0)
    reached = []
    for row in told:
        reached.append(arm.joint_position)
        arm.follow(row, 0.0, 0.2)
    np.testing.assert_allclose(reached, respond(servo, told, HOME, 5.0), atol=0.005)


@pytest.mark.parametrize("fps", [15.0, 60.0])
def test_frames_last_as_long_as_they_do_at_any_rate(physics: TwinPhysics, fps: float) -> None:
    physics.reset()
    arm, began = Arm(physics.model, physics.data, Servo()), physics.data.time
    arm.place(HOME, 0.0)
    for _ in range(30):
        arm.follow(HOME, 0.0, 1 / fps)
    assert physics.data.time - began == pytest.approx(30 / fps, abs=physics.model.opt.timestep)


@pytest.mark.parametrize("shape", ["box", "cylinder"])
def test_a_thing_is_lifted_by_friction_alone(small_twin: Twin, shape: Shape) -> None:
    """Grasp, lift, hold for two seconds, let go: nothing is welded to the gripper."""
    thing = twin_object("object_1", FittedSolid(Solid(shape, 0.5, 0.1, 0.0, 0.05, 0.05, 0.06), np.eye(4), 1.0, 3))
    physics = TwinPhysics(small_twin.plane, [thing], PANDA)
    arm, kinematics, joints = Arm(physics.model, physics.data, Servo()), PandaKinematics(), HOME
    arm.place(HOME, 0.0)
    heights = []
    for z, grip, seconds in ((0.4, 0, 1.5), (0.185, 0, 1.5), (0.185, 1, 1.2), (0.4, 1, 1.5), (0.4, 1, 2), (0.4, 0, 1)):
        joints = kinematics.nearest(np.array([0.5, 0.1, z, *DOWN]), joints)
        arm.follow(joints, grip, seconds)
        heights.append(physics.body_to_base()["object_1"][2, 3])
    assert heights[2] == pytest.approx(0.03, abs=0.01)
    assert heights[3] > 0.2
    assert heights[4] == pytest.approx(heights[3], abs=0.01)
    assert heights[5] < 0.05
    assert arm.gripper_position < 0.05


def test_the_gripper_takes_its_time_and_stops_at_what_it_holds(physics: TwinPhysics) -> None:
    physics.reset()
    arm = Arm(physics.model, physics.data, Servo())
    arm.place(HOME, 0.0)
    arm.follow(HOME, 1.0, 0.3)
    assert 0.2 < arm.gripper_position < 0.7
    arm.follow(HOME, 1.0, 1.0)
    assert arm.gripper_position > 0.97


def test_masses_and_frictions_are_drawn_within_their_ranges(physics: TwinPhysics, small_twin: Twin) -> None:
    thing = small_twin.objects[0]
    drawn = [physics.drawn(seed) for seed in range(8)]
    masses = [each.model.body(thing.name).mass[0] for each in drawn]
    frictions = [each.model.geom(f"{thing.name}/part_0").friction[0] for each in drawn]
    assert thing.mass.low <= min(masses) < max(masses) <= thing.mass.high
    assert thing.friction.low <= min(frictions) < max(frictions) <= thing.friction.high
    assert len(set(masses)) == len(masses)
    assert physics.model.body(thing.name).mass[0] == pytest.approx(thing.mass.value)
    again = physics.drawn(3).model.body(thing.name)
    assert again.mass[0] == masses[3]
    assert again.inertia[0] / physics.model.body(thing.name).inertia[0] == pytest.approx(masses[3] / thing.mass.value)
