"""The robot inside a twin's physics: how it is put in, and how its joints follow what they are told.

The arm is torque controlled: its servo asks for an acceleration, and inverse dynamics turn that into torques within the
motors' limits. In free space the joints then move exactly as the identified servo; in contact they push no harder than
their motors. The gripper's motors, of limited force, go where the gripper's own response says; joints of a linkage
are coupled to them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from arena.contracts import FloatArray
from real2sim.engine import mujoco
from real2sim.joints import JointSetter
from real2sim.robot_files import load_robot
from real2sim.robot_kind import Gripper, Robot
from real2sim.robots import PANDA
from real2sim.twin.control import GripperServo, Servo

PREFIX = "robot/"
"""What names of the robot's parts begin with in a twin."""
ROBOT_BITS, OTHER_BITS = 2, 3
"""The robot touches everything but itself: its links' hulls overlap at the joints."""


def attach_robot(spec: Any, robot: Robot) -> None:
    """Put a robot into a scene's spec, its base at the origin. Its links weigh nothing, because its controller holds
    them: gravity is for what it handles. Raises `InvalidInput` for files that cannot be read.
    """
    model = load_robot(robot.files())
    for body in model.bodies:
        body.gravcomp = 1.0
    for geom in model.geoms:
        if geom.contype or geom.conaffinity:
            geom.contype, geom.conaffinity = ROBOT_BITS, 0
    if model.joint(robot.gripper.motors[0]) is not None:
        _motorise(model, robot.gripper)
    # MuJoCo reads an attached model's angles by the whole's unit, so the whole takes the robot's.
    spec.compiler.degree = model.compiler.degree
    spec.attach(model, prefix=PREFIX, frame=spec.worldbody.add_frame())


def _motorise(model: Any, gripper: Gripper) -> None:
    """Give a robot's spec the gripper's motors, and couple the joints that have none to the first of them."""
    first = gripper.motors[0]
    for name, closed in gripper.closed.items():
        joint = model.joint(name)
        joint.armature, joint.damping = gripper.armature, gripper.friction
        if name not in gripper.motors:
            data = np.zeros(11)
            data[1] = closed / gripper.closed[first]
            model.add_equality(
                type=mujoco.mjtEq.mjEQ_JOINT, objtype=mujoco.mjtObj.mjOBJ_JOINT, name1=name, name2=first, data=data
            )
    for name in gripper.motors:
        gain, bias = np.zeros(10), np.zeros(10)
        gain[0], bias[1], bias[2] = gripper.stiffness, -gripper.stiffness, -gripper.damping
        model.add_actuator(
            name=name, target=name, trntype=mujoco.mjtTrn.mjTRN_JOINT, gainprm=gain,
            biastype=mujoco.mjtBias.mjBIAS_AFFINE, biasprm=bias, forcerange=[-gripper.force, gripper.force],
            forcelimited=True,
        )  # fmt: skip


class Arm:
    """Drives the robot of one simulation. Not to be shared between simulations: it remembers what it was told."""

    def __init__(
        self, model: Any, data: Any, servo: Servo, robot: Robot = PANDA, gripper: GripperServo | None = None
    ) -> None:
        self._model, self._data, self._servo = model, data, servo
        self._limit, self._grip = robot.torque, gripper or GripperServo()
        joints = [model.joint(PREFIX + name) for name in robot.joints]
        self._places = np.array([joint.qposadr[0] for joint in joints])
        self._dofs = np.array([joint.dofadr[0] for joint in joints])
        self._set = JointSetter(model, robot, PREFIX)
        self._driven = np.array([model.joint(PREFIX + name).qposadr[0] for name in robot.gripper.motors])
        self._motors = np.array([model.actuator(PREFIX + name).id for name in robot.gripper.motors])
        self._closed = np.array([robot.gripper.closed[name] for name in robot.gripper.motors])
        self._closing: FloatArray = np.zeros(2)
        self._wait = round(servo.delay / model.opt.timestep)
        self._torque, self._wanted = np.zeros(model.nv), np.zeros(model.nv)
        self._told: list[FloatArray] = []
        self._owed = 0.0

    @property
    def joint_position(self) -> FloatArray:
        """`(7,)` rad."""
        return np.array(self._data.qpos[self._places])

    @property
    def gripper_position(self) -> float:
        """0 open to 1 closed."""
        sense = np.sign(self._closed)
        return float(np.clip((sense * self._data.qpos[self._driven]).sum() / (sense * self._closed).sum(), 0, 1))

    def place(self, joint_position: FloatArray, gripper_position: float) -> None:
        """Put the arm somewhere at once, at rest, told to stay there. `(7,)` rad, and 0 open to 1 closed."""
        self._set(self._data, joint_position, gripper_position)
        self._data.ctrl[self._motors] = gripper_position * self._closed
        self._closing = np.array([gripper_position, 0.0])
        self._told, self._owed = [np.array(joint_position)], 0.0
        mujoco.mj_forward(self._model, self._data)

    def follow(self, joint_position: FloatArray, gripper_position: float, seconds: float) -> None:
        """Let `seconds` pass while the arm is told `(7,)` rad and a gripper position. What is left of them after whole
        time steps passes in the next call: few rates divide MuJoCo's."""
        timestep = self._model.opt.timestep
        steps = round((seconds + self._owed) / timestep)
        self._owed += seconds - steps * timestep
        told = float(np.clip(gripper_position, 0, 1))
        queue = [*self._told, *[np.asarray(joint_position, dtype=np.float64)] * steps]
        queue = queue[-(steps + self._wait) :]
        queue = [queue[0]] * (steps + self._wait - len(queue)) + queue
        for step in range(steps):
            self._closing = self._grip.after(self._closing, told, timestep)
            self._data.ctrl[self._motors] = self._closing[0] * self._closed
            self._act(queue[step])
        self._told = queue[steps:] or [queue[-1]]

    def _act(self, target: FloatArray) -> None:
        """One time step towards `target` `(7,)` rad."""
        model, data, servo = self._model, self._data, self._servo
        mujoco.mj_step1(model, data)
        error, speed = target - data.qpos[self._places], data.qvel[self._dofs]
        self._wanted[self._dofs] = servo.frequency**2 * error - 2 * servo.damping * servo.frequency * speed
        mujoco.mj_mulM(model, data, self._torque, self._wanted)
        torque = np.clip(self._torque[self._dofs], -self._limit, self._limit)
        held = data.qfrc_bias[self._dofs] - data.qfrc_passive[self._dofs]
        data.qfrc_applied[self._dofs] = torque + held
        mujoco.mj_step2(model, data)
