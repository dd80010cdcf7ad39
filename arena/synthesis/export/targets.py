"""In what form trajectories are written, and what the training code that reads them expects.

openpi's names, action space and rate are those of its `examples/droid/convert_droid_data_to_lerobot.py` and of
`LeRobotDROIDDataConfig` in its `training/config.py`, which applies no delta transform to actions.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np

from arena.contracts import ActionSpace, FloatArray, InvalidInput
from arena.episodes import lerobot_layout as layout
from arena.policies.droid import DROID_ACHIEVED_VELOCITY
from arena.synthesis.export.trajectory import Blank, Trajectory

OPENPI_CAMERAS = MappingProxyType(
    {"exterior_1": "exterior_image_1_left", "exterior_2": "exterior_image_2_left", "wrist": "wrist_image_left"}
)
"""Our cameras' names to openpi's."""


@dataclass(frozen=True)
class Format:
    """A layout on disk: `version` is LeRobot's, `prefix` precedes cameras' names, `openpi` has names of its own."""

    name: str
    version: str
    prefix: str
    openpi: bool
    spaces: tuple[ActionSpace, ...]
    """Action spaces that it can hold."""


V30 = Format("lerobot-v3.0", layout.V30, layout.CAMERA, False, tuple(ActionSpace))
OPENPI = Format("openpi-v2.1", layout.V21, "", True, (ActionSpace.JOINT_VELOCITY, ActionSpace.JOINT_POSITION))
FORMATS: Mapping[str, Format] = MappingProxyType({each.name: each for each in (V30, OPENPI)})


@dataclass(frozen=True)
class Target:
    """A training config of someone else's: the format and the action space that it reads."""

    name: str
    format: str
    action_space: ActionSpace


TARGETS: Mapping[str, Target] = MappingProxyType(
    {
        name: Target(name, OPENPI.name, ActionSpace.JOINT_VELOCITY)
        for name in ("pi05_droid_finetune", "pi0_fast_droid_finetune")
    }
)
"""openpi's configs that read LeRobot datasets of DROID: both expect joint velocities, as DROID commands them."""


@dataclass(frozen=True)
class ExportSpec:
    """How trajectories are to be written. Raises `InvalidInput` for a format or a target that nobody knows.

    `velocity_scale` is what a joint velocity of 1 means in openpi's DROID data, in rad/s: ours are divided by it.
    `blank_cameras` writes black frames for cameras that openpi's config names and the robot lacks.
    """

    format: str = V30.name
    target: str | None = None
    velocity_scale: float = DROID_ACHIEVED_VELOCITY
    blank_cameras: bool = False
    crf: int = 18
    workers: int | None = None
    """Episodes that are encoded at once; the number of cores by default."""
    limits_mb: Mapping[str, float] = field(default_factory=lambda: {"data": 100, "video": 200})
    """From what size on a v3.0 file is followed by another, as in LeRobot."""

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise InvalidInput(
                f"there is no format {self.format!r}{_near(self.format, FORMATS)}, only {_listed(FORMATS)}"
            )
        if self.target is not None and self.target not in TARGETS:
            raise InvalidInput(
                f"there is no target {self.target!r}{_near(self.target, TARGETS)}, only {_listed(TARGETS)}"
            )
        if self.target is not None and TARGETS[self.target].format != self.format:
            raise InvalidInput(f"{self.target} reads {TARGETS[self.target].format}, not {self.format}")
        if not self.velocity_scale > 0 or (self.workers is not None and self.workers < 1):
            raise InvalidInput("velocity_scale and workers must be positive")

    @property
    def layout(self) -> Format:
        return FORMATS[self.format]

    def check_space(self, space: ActionSpace) -> None:
        """Raises `InvalidInput` where actions of `space` are not what the format holds or the target expects."""
        if self.target is not None and space is not TARGETS[self.target].action_space:
            raise InvalidInput(
                f"{self.target} expects {TARGETS[self.target].action_space} actions, but these are {space}: "
                "synthesize with a policy and a robot that act in it, or choose another target"
            )
        if space not in self.layout.spaces:
            raise InvalidInput(
                f"{self.format} holds {' or '.join(self.layout.spaces)} actions, but these are {space}: "
                f"export {V30.name} instead"
            )

    def prepared(self, trajectory: Trajectory) -> Trajectory:
        """The trajectory with the format's cameras. Raises `InvalidInput` where it does not fit the format."""
        self.check_space(trajectory.action.space)
        if not self.layout.openpi:
            return trajectory
        if trajectory.joint_position is None:
            raise InvalidInput(f"{self.format} needs joint positions, and trajectory {trajectory.id} has none")
        cameras = dict(trajectory.cameras)
        for name in OPENPI_CAMERAS:
            if name not in cameras and not self.blank_cameras:
                raise InvalidInput(
                    f"{self.format} needs the camera {name!r}, and trajectory {trajectory.id} has only "
                    f"{', '.join(sorted(cameras))}: blank cameras can be asked for"
                )
            cameras.setdefault(name, Blank(next(iter(trajectory.cameras.values())).shape))
        return replace(trajectory, cameras={openpi: cameras[name] for name, openpi in OPENPI_CAMERAS.items()})

    def columns(self, trajectory: Trajectory) -> dict[str, FloatArray]:
        """The numbers of a prepared trajectory by feature, `(T, D)` float32 each."""
        state, action = trajectory.state, trajectory.action.values
        if self.layout.openpi:
            assert trajectory.joint_position is not None, "prepared() checks this"
            if trajectory.action.space is ActionSpace.JOINT_VELOCITY:
                action = np.concatenate([action[:, :7] / self.velocity_scale, action[:, 7:]], axis=1)
            found = {"joint_position": trajectory.joint_position, "gripper_position": state[:, 6:]}
            found[layout.ACTIONS] = action
        else:
            found = {layout.STATE: state, layout.CARTESIAN: state[:, :6], layout.GRIPPER: state[:, 6:]}
            if trajectory.joint_position is not None:
                found[layout.JOINTS] = trajectory.joint_position
            found[layout.ACTION] = action
        return {name: np.asarray(values, dtype=np.float32) for name, values in found.items()}

    @property
    def identity(self) -> list[object]:
        """What shapes an episode's files besides the trajectory."""
        return [self.format, self.target, self.velocity_scale, self.blank_cameras, self.crf]


def _listed(known: Mapping[str, object]) -> str:
    return ", ".join(known)


def _near(word: str, known: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
