"""The robot inside a twin's physics: how it is put in, and how its joints follow what they are told.

The arm is torque controlled as the Panda is: its servo asks for an acceleration, and inverse dynamics turn that into
torques within the motors' limits. In free space the joints then move exactly as the identified servo; in contact they
push no harder than their motors. The gripper closes by one motor of limited torque, its linkage coupled to it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from arena.contracts import FloatArray
from real2sim.engine import mujoco
from real2sim.panda import CLOSED_RADIANS, FINGERS, JOINTS
from real2sim.robot_files import RobotFiles, load_robot
from real2sim.twin.control import Servo

PREFIX = "robot/"
"""What names of the robot's parts begin with in a twin."""
DRIVER, MOTOR = "finger_joint", "gripper"
TORQUE = np.array([87.0, 87.0, 87.0, 87.0, 12.0, 12.0, 12.0])
"""Nm, the Panda's limits (Franka Emika's data sheet)."""
GRIPPER_STIFFNESS, GRIPPER_DAMPING, GRIPPER_TORQUE = 20.0, 1.0, 5.0
"""Nm/rad, Nm s/rad and Nm: about 40 N at the pads, the lower end of what a 2F-85 presses with."""
FINGER_ARMATURE, FINGER_DAMPING = 0.002, 0.05
"""kg m^2 and Nm s/rad of each joint of the linkage, whose own inertia is too small for contacts' steps."""
CLOSING_SECONDS = 0.6
"""Of the 2F-85 from open to closed at its greatest speed."""
ROBOT_BITS, OTHER_BITS = 2, 3
"""The robot touches everything but itself: its links' hulls overlap at the joints."""


def attach_robot(spec: Any, files: RobotFiles) -> None:
    """Put a robot into a scene's spec, its base at the origin. Its links weigh nothing, because its controller holds
    them: gravity is for what it handles. Raises `InvalidInput` for files that cannot be read.
    """
    robot = load_robot(files)
    for body in robot.bodies:
        body.gravcomp = 1.0
    for geom in robot.geoms:
        if geom.contype or geom.conaffinity:
            geom.contype, geom.conaffinity = ROBOT_BITS, 0
    if robot.joint(DRIVER) is not None:
        _couple_gripper(robot)
    # MuJoCo reads an attached model's angles by the whole's unit, so the whole takes the robot's.
    spec.compiler.degree = robot.compiler.degree
    spec.attach(robot, prefix=PREFIX, frame=spec.worldbody.add_frame())


def _couple_gripper(robot: Any) -> None:
    for name, ratio in FINGERS.items():
        joint = robot.joint(name)
        joint.armature, joint.damping = FINGER_ARMATURE, FINGER_DAMPING
        if name != DRIVER:
            data = np.zeros(11)
            data[1] = ratio
            robot.add_equality(
                type=mujoco.mjtEq.mjEQ_JOINT, objtype=mujoco.mjtObj.mjOBJ_JOINT, name1=name, name2=DRIVER, data=data
            )
    gain, bias = np.zeros(10), np.zeros(10)
    gain[0], bias[1], bias[2] = GRIPPER_STIFFNESS, -GRIPPER_STIFFNESS, -GRIPPER_DAMPING
    robot.add_actuator(
        name=MOTOR, target=DRIVER, trntype=mujoco.mjtTrn.mjTRN_JOINT, gainprm=gain,
        biastype=mujoco.mjtBias.mjBIAS_AFFINE, biasprm=bias, forcerange=[-GRIPPER_TORQUE, GRIPPER_TORQUE],
        forcelimited=True,
    )  # fmt: skip


class Arm:
    """Drives the Panda of one simulation. Not to be shared between simulations: it remembers what it was told."""

    def __init__(self, model: Any, data: Any, servo: Servo) -> None:
        self._model, self._data, self._servo = model, data, servo
        joints = [model.joint(PREFIX + name) for name in JOINTS]
        self._places = np.array([joint.qposadr[0] for joint in joints])
        self._dofs = np.array([joint.dofadr[0] for joint in joints])
        self._driver = model.joint(PREFIX + DRIVER).qposadr[0]
        self._fingers = [model.joint(PREFIX + name).qposadr[0] for name in FINGERS]
        self._motor = model.actuator(PREFIX + MOTOR).id
        self._wait = round(servo.delay / model.opt.timestep)
        self._torque, self._wanted = np.zeros(model.nv), np.zeros(model.nv)
        self._told: list[FloatArray] = []

    @property
    def joint_position(self) -> FloatArray:
        """`(7,)` rad."""
        return np.array(self._data.qpos[self._places])

    @property
    def gripper_position(self) -> float:
        """0 open to 1 closed."""
        return float(np.clip(self._data.qpos[self._driver] / CLOSED_RADIANS, 0, 1))

    def place(self, joint_position: FloatArray, gripper_position: float) -> None:
        """Put the arm somewhere at once, at rest, told to stay there. `(7,)` rad, and 0 open to 1 closed."""
        self._data.qpos[self._places] = joint_position
        angle = CLOSED_RADIANS * gripper_position
        self._data.qpos[self._fingers] = angle * np.array(list(FINGERS.values()))
        self._data.ctrl[self._motor] = angle
        self._told = [np.array(joint_position)]
        mujoco.mj_forward(self._model, self._data)

    def follow(self, joint_position: FloatArray, gripper_position: float, seconds: float) -> None:
        """Let `seconds` pass while the arm is told `(7,)` rad and a gripper position."""
        steps = round(seconds / self._model.opt.timestep)
        closing = CLOSED_RADIANS / CLOSING_SECONDS * self._model.opt.timestep
        goal = CLOSED_RADIANS * float(np.clip(gripper_position, 0, 1))
        queue = [*self._told, *[np.asarray(joint_position, dtype=np.float64)] * steps]
        queue = queue[-(steps + self._wait) :]
        queue = [queue[0]] * (steps + self._wait - len(queue)) + queue
        for step in range(steps):
            self._data.ctrl[self._motor] += np.clip(goal - self._data.ctrl[self._motor], -closing, closing)
            self._act(queue[step])
        self._told = queue[steps:] or [queue[-1]]

    def _act(self, target: FloatArray) -> None:
        """One time step towards `target` `(7,)` rad."""
        model, data, servo = self._model, self._data, self._servo
        mujoco.mj_step1(model, data)
        error, speed = target - data.qpos[self._places], data.qvel[self._dofs]
        self._wanted[self._dofs] = servo.frequency**2 * error - 2 * servo.damping * servo.frequency * speed
        mujoco.mj_mulM(model, data, self._torque, self._wanted)
        torque = np.clip(self._torque[self._dofs], -TORQUE, TORQUE)
        held = data.qfrc_bias[self._dofs] - data.qfrc_passive[self._dofs]
        data.qfrc_applied[self._dofs] = torque + held
        mujoco.mj_step2(model, data)
