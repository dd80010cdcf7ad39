"""The contracts that everything in dreamarena passes through.

Numpy only, so that a policy's client or a page can import this file without torch.

Units are SI and radians. Positions and orientations are those of the end effector in the robot's
base frame (`end_effector_to_base`). Orientations are extrinsic-xyz Euler angles. A gripper position
is in [0, 1] with 0 open and 1 closed. Frames are RGB uint8. `T` counts frames, `N` counts actions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating[Any]]
Frames = NDArray[np.uint8]
"""`(T, H, W, 3)` uint8 RGB, or `(H, W, 3)` for a single frame."""


class DreamarenaError(Exception):
    """Base of every error that a user can cause and mend: one line, shown without a traceback."""


class InvalidInput(DreamarenaError):
    """Something that came from outside is not what it has to be."""


class ActionSpace(StrEnum):
    """What the numbers of an action mean. Declared with a policy or an episode, never guessed."""

    JOINT_VELOCITY = "joint_velocity"
    """`(N, 8)`: seven joint velocities in rad/s, then the absolute gripper position."""
    JOINT_POSITION = "joint_position"
    """`(N, 8)`: seven absolute joint positions in rad, then the absolute gripper position."""
    CARTESIAN_POSITION = "cartesian_position"
    """`(N, 7)`: absolute position in m and Euler angles in rad, then the absolute gripper position."""
    CARTESIAN_VELOCITY = "cartesian_velocity"
    """`(N, 7)`: linear velocity in m/s and Euler-angle rates in rad/s, then the absolute gripper position."""

    @property
    def width(self) -> int:
        """Numbers per action, the gripper included."""
        return 8 if self in (ActionSpace.JOINT_VELOCITY, ActionSpace.JOINT_POSITION) else 7


@dataclass(frozen=True)
class ActionChunk:
    """Consecutive actions of one robot. `values` is `(N, space.width)`; raises `InvalidInput` otherwise."""

    values: FloatArray
    space: ActionSpace
    control_hz: float

    def __post_init__(self) -> None:
        shape = np.shape(self.values)
        if len(shape) != 2 or shape[0] == 0 or shape[1] != self.space.width:
            raise InvalidInput(f"a {self.space} chunk must have shape (N, {self.space.width}) with N > 0, not {shape}")
        if not np.isfinite(self.values).all():
            raise InvalidInput(f"a {self.space} chunk holds NaN or infinite numbers")
        if not self.control_hz > 0:
            raise InvalidInput(f"control_hz must be positive, not {self.control_hz}")

    def __len__(self) -> int:
        return len(self.values)


@runtime_checkable
class FrameSource(Protocol):
    """Frames of one camera that are decoded when asked for."""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """`(T, H, W, 3)` without decoding."""
        ...

    def read(self, start: int = 0, stop: int | None = None) -> Frames:
        """Frames `start` to `stop` (exclusive), `(stop - start, H, W, 3)` uint8."""
        ...


@dataclass(frozen=True)
class Source:
    """Where an episode came from: `format` is `droid`, `lerobot-v3.0`, `lerobot-v2.1` or `clips`."""

    format: str
    path: str
    index: int = 0
    sha256: str = ""


@dataclass(frozen=True)
class Episode:
    """A recorded trial of a real (or stand-in) robot.

    `cameras` maps a name (`exterior_1`, `exterior_2`, `wrist`) to lazily decoded frames, all of `T`
    frames. `joint_position` is `(T, 7)` rad or None where the recording has none;
    `cartesian_position` `(T, 6)`; `gripper_position` `(T, 1)`. `action`, where recorded, has `T`
    rows: row `t` was commanded at frame `t`, and frame `t + 1` shows what came of it.
    `success` is None where it was not recorded. `task` groups episodes that want the same thing.
    """

    id: str
    cameras: Mapping[str, FrameSource]
    fps: float
    cartesian_position: FloatArray
    gripper_position: FloatArray
    instruction: str
    source: Source
    joint_position: FloatArray | None = None
    action: ActionChunk | None = None
    success: bool | None = None
    task: str = ""
    robot: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.cartesian_position)

    @property
    def state(self) -> FloatArray:
        """`(T, 7)`: Cartesian position, Euler angles and gripper position."""
        return np.concatenate([self.cartesian_position, self.gripper_position], axis=1)


@dataclass(frozen=True)
class Observation:
    """What a policy sees at one instant: `(H, W, 3)` per camera, the robot's state, the instruction."""

    cameras: Mapping[str, Frames]
    cartesian_position: FloatArray
    gripper_position: FloatArray
    instruction: str
    joint_position: FloatArray | None = None

    @property
    def state(self) -> FloatArray:
        """`(7,)`: Cartesian position, Euler angles and gripper position."""
        return np.concatenate([self.cartesian_position, self.gripper_position])


@dataclass(frozen=True)
class Scene:
    """How a trial begins.

    `history` maps each camera to `(K, H, W, 3)`, oldest first, its last frame being the first
    observation's; `history_state` is `(K, 7)`. `recorded` holds the actions of the episode that the
    scene was cut from, for the built-in policies that replay; no other policy is shown it.
    `reset_seed` recreates the same start in a simulator, where the recording came from one.
    """

    id: str
    observation: Observation
    history: Mapping[str, Frames]
    history_state: FloatArray
    instruction: str
    fps: float
    robot: str = ""
    task: str = ""
    recorded: ActionChunk | None = None
    reset_seed: int | None = None
    episode_id: str = ""


@dataclass(frozen=True)
class WorldCard:
    """What a world is and needs: the name and content hash go into every rollout's provenance."""

    name: str
    sha256: str
    fps: float
    frames_per_step: int
    """How many actions one `step` takes at most, at `fps`."""
    cameras: tuple[str, ...]
    action_space: ActionSpace = ActionSpace.CARTESIAN_POSITION
    robot: str = ""
    knows_success: bool = False
    """True where `WorldStep.success` is the truth (a simulator), False where a judge is needed."""


@dataclass(frozen=True)
class WorldStep:
    """What came of one chunk of `n` actions in one scene.

    `frames` maps each decoded camera to `(n, H, W, 3)`; `state` is `(n, 7)`; `observation` is the
    last instant. `success` is None where the world cannot tell.
    """

    frames: Mapping[str, Frames]
    state: FloatArray
    observation: Observation
    joint_position: FloatArray | None = None
    success: bool | None = None


class World(Protocol):
    """Something that a policy can act in: a video model, a digital twin, the stand-in reality.

    Batched, because that is where a GPU's speed is: one chunk per started scene, in order.
    """

    @property
    def card(self) -> WorldCard: ...

    def start(self, scenes: Sequence[Scene], seeds: Sequence[int]) -> list[Observation]:
        """Begin a batch of trials, dropping the one before. Same scene and seed: same trial, whatever the batch."""
        ...

    def step(self, chunks: Sequence[ActionChunk]) -> list[WorldStep]:
        """Act: every chunk in `card.action_space` at `card.fps`, all of one length, at most `card.frames_per_step`."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class PolicyCard:
    """What a policy is and needs. `spec` is the text it was submitted under, e.g. `noise` or `openpi://host:8000`."""

    name: str
    spec: str
    sha256: str
    action_space: ActionSpace
    control_hz: float
    chunk_length: int
    cameras: tuple[str, ...] = ()
    resolution: tuple[int, int] | None = None
    """(H, W) that it wants, or None for any."""


class Policy(Protocol):
    """One policy in one trial. `reset` is called before the first `act` of a trial."""

    @property
    def card(self) -> PolicyCard: ...

    def reset(self, scene: Scene, seed: int) -> None: ...

    def act(self, observation: Observation) -> ActionChunk: ...

    def close(self) -> None: ...


class PolicyGroup(Protocol):
    """What policies of several trials have in common that can be asked in one request (their attribute `group`)."""

    def foresee(self, asked: Sequence[tuple[Policy, Observation]]) -> None:
        """Ask about all of them at once. Each will be asked by `act` about its observation next, and has the answer
        then. Never raises: what could not be asked together is asked by `act`.
        """
        ...


class Kinematics(Protocol):
    """A robot's geometry, for action spaces that a world does not take itself."""

    def forward(self, joint_position: FloatArray) -> FloatArray:
        """`(N, 7)` rad to `(N, 6)` Cartesian position (`end_effector_to_base`)."""
        ...


class FrameEncoder(Protocol):
    """Images to vectors in a world model's latent space, for judges."""

    @property
    def sha256(self) -> str: ...

    def encode(self, frames: Mapping[str, Frames]) -> FloatArray:
        """Cameras of `(T, H, W, 3)` to `(T, D)` float32."""
        ...


@dataclass(frozen=True)
class Provenance:
    """What a result came from: sha256 of each ingredient, so that every score can be traced."""

    policy: str
    world: str
    scene: str
    config: str
    code: str


@dataclass(frozen=True)
class Rollout:
    """One trial of one policy in one world.

    `frames` maps each camera to `(T, H, W, 3)`, first observation included; `state` is `(T, 7)`;
    `action` has `T - 1` rows in the world's action space. `step_seconds` are wall times per world step.
    """

    id: str
    policy: str
    world: str
    scene_id: str
    task: str
    instruction: str
    seed: int
    fps: float
    frames: Mapping[str, Frames]
    state: FloatArray
    action: ActionChunk
    step_seconds: tuple[float, ...]
    provenance: Provenance
    success: bool | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """Everything but frames, states and actions, as JSON: by these names it is stored, and read back."""
        bulk = ("frames", "state", "action")
        facts = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in bulk}
        return facts | {"provenance": asdict(self.provenance), "step_seconds": list(self.step_seconds)}


@dataclass(frozen=True)
class Verdict:
    """A judge's word on a rollout. An abstention is missing, never a failure."""

    rollout_id: str
    judge: str
    judge_sha256: str
    success_probability: float | None
    progress: float | None
    """0 to 100."""
    reason: str = ""
    abstained: bool = False


class Judge(Protocol):
    """Scores rollouts. `name` and `sha256` (of everything that shapes its verdicts) go into each verdict."""

    @property
    def name(self) -> str: ...

    @property
    def sha256(self) -> str: ...

    def judge(self, rollout: Rollout) -> Verdict: ...


class Choice(StrEnum):
    """What a voter, or a comparison of two verdicts, said of a blind pair."""

    LEFT = "left"
    RIGHT = "right"
    TIE = "tie"
    BOTH_BAD = "both_bad"

    @property
    def swapped(self) -> Choice:
        """The same of the pair with its sides swapped."""
        return {Choice.LEFT: Choice.RIGHT, Choice.RIGHT: Choice.LEFT}.get(self, self)


@dataclass(frozen=True)
class Vote:
    """One comparison of two policies' rollouts of the same scene."""

    left: str
    right: str
    choice: Choice
    voter: str
    scene_id: str = ""
    seconds: float | None = None


@dataclass(frozen=True)
class RankedPolicy:
    """A policy's place. `score` is a Bradley-Terry log-strength (mean 0 in its group), with a 95% interval."""

    policy: str
    rank_low: int
    rank_high: int
    score: float
    low: float
    high: float
    comparisons: int
    note: str = ""
    """What limits the claim, e.g. `never lost`."""


@dataclass(frozen=True)
class Ranking:
    """Policies from best to worst. `groups` lists which of them can be compared with each other at all."""

    policies: tuple[RankedPolicy, ...]
    groups: tuple[tuple[str, ...], ...]
    comparisons: int
    judge: str = ""
    notes: tuple[str, ...] = ()
