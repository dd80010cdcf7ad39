"""One Meta-World trial in MuJoCo, in our units and frames of reference.

The robot is a Sawyer whose hand is welded to a mocap body: an action moves the mocap body, and the
hand follows it as a spring would. Both share one frame, so the commanded target is the mocap body's position
and the state is the hand's. World and robot base are the same frame here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from arena.contracts import FloatArray
from real2sim.engine import mujoco
from real2sim.reality.tasks import check_task
from real2sim.robots import SAWYER

from metaworld.env_dict import ALL_V3_ENVIRONMENTS  # isort: skip

ROBOT = SAWYER.name
CONTROL_STEPS = 8
"""Control steps (80 Hz) per recorded frame and action."""
FPS = 10.0
CONTROL_STEP_METRES = 0.01
"""How far an effort of 1 moves the mocap body in one control step."""
FINGERS_OPEN, FINGERS_CLOSED = 0.100, 0.030
"""Measured distances between the claws in metres, at rest, with nothing between them."""

_UNLIMITED = 2**62


class Simulation:
    """One environment of one task. A trial is a function of `reset`'s seed and of the actions alone."""

    def __init__(self, task: str) -> None:
        self.task = check_task(task)
        self._env = ALL_V3_ENVIRONMENTS[task]()
        # What Meta-World's own goal-observable environments set: experts need to be told where the goal is.
        self._env._partially_observable = False
        del self._env.sawyer_observation_space
        self._env._freeze_rand_vec, self._env.seeded_rand_vec = False, True
        self._env._set_task_called = True
        self._env.max_path_length = _UNLIMITED  # how long a trial lasts is for the caller to say
        self.succeeded = False

    @property
    def model(self) -> Any:
        """MuJoCo's model."""
        return self._env.model

    @property
    def data(self) -> Any:
        """MuJoCo's state."""
        return self._env.data

    def reset(self, seed: int) -> None:
        """Begin a trial: the placement is drawn from the seed, in Meta-World's own range for the task."""
        self._env.seed(seed)
        self._env.reset()
        # Some tasks move bodies at the end of their reset; without this the first frame shows the previous trial's.
        mujoco.mj_forward(self.model, self.data)
        self._env._prev_obs = self._env._get_curr_obs_combined_no_goal()
        self.observation: FloatArray = self._env._get_obs()
        self.succeeded = False

    def control(self, effort: FloatArray) -> None:
        """One control step of 1/80 s: `(4,)` in [-1, 1], Meta-World's displacement and gripper effort."""
        self.observation, _, _, _, info = self._env.step(np.clip(effort, -1.0, 1.0))
        self.succeeded = self.succeeded or bool(info["success"])

    def act(self, action: FloatArray) -> None:
        """One action of 1/10 s: `(7,)` absolute target in m, Euler angles (ignored) and gripper in [0, 1].

        The way to the target is spread evenly over the control steps that are left, at most 1 cm each.
        """
        grip = 2.0 * float(np.clip(action[6], 0.0, 1.0)) - 1.0
        for steps_left in range(CONTROL_STEPS, 0, -1):
            way = action[:3] - self.data.mocap_pos[0]
            self.control(np.append(way / (steps_left * CONTROL_STEP_METRES), grip))

    @property
    def target(self) -> FloatArray:
        """`(6,)`: where the hand is commanded to be, in the frame of `state`. The orientation is constant."""
        return np.concatenate([self.data.mocap_pos[0], np.zeros(3)])

    @property
    def state(self) -> FloatArray:
        """`(7,)`: the hand's measured position in m, Euler angles in rad (0 when the gripper points straight
        down, where the hand body's own angles would be singular) and gripper position in [0, 1]."""
        hand = self.data.body("hand")
        tool_to_base = Rotation.from_matrix(hand.xmat.reshape(3, 3) @ SAWYER.tool[:3, :3])
        opening = np.linalg.norm(self.data.body("rightclaw").xpos - self.data.body("leftclaw").xpos)
        closed = np.clip((FINGERS_OPEN - opening) / (FINGERS_OPEN - FINGERS_CLOSED), 0.0, 1.0)
        return np.concatenate([hand.xpos, tool_to_base.as_euler("xyz"), [closed]])

    @property
    def joint_position(self) -> FloatArray:
        """`(7,)` rad: the Sawyer's joints."""
        return np.array([self.data.joint(f"right_j{i}").qpos[0] for i in range(7)])
