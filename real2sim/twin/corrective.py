"""Corrective views: what a twin's cameras would see with the hand off its path, and the actions that lead back to it.

After SPARTN (Zhou et al., "NeRF in the Palm of Your Hand: Corrective Augmentation for Robotics via Novel-View
Synthesis", CVPR 2023, arXiv 2301.08556): around the poses of a demonstration others are drawn, a radiance field shows
what the wrist camera would see there, and the action is the one that takes the hand to the demonstration's next pose.
Nobody has to demonstrate the correction. As there, only what comes before the hand touches or grasps anything is
perturbed, because the scene has to be the one of the demonstration.

Three things are ours: the pictures are a twin's, in which the robot and what it casts itself in front of are drawn too;
the way back may take several frames (one is SPARTN's), with the offset shrinking evenly; and poses in which the arm
would touch something, or that it does not reach, are drawn anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.transform import Rotation

from arena.contracts import FloatArray, Frames, InvalidInput
from real2sim.robots import robot_named
from real2sim.twin.arm import PREFIX, Arm
from real2sim.twin.bundle import Twin
from real2sim.twin.physics import TwinPhysics
from real2sim.twin.pictures import Instant, TwinPictures, kinematics_of

STILL_METRES, STILL_GRIPPER = 0.002, 0.1
"""A thing that has moved, and a gripper that has changed, by more than this has been touched, or has grasped."""
TRIES = 40


@dataclass(frozen=True)
class Spread:
    """How far off the path: up to `metres` (evenly within a ball) and `degrees` (evenly, about any axis), in the
    flange's frame. `frames` is in how many the hand is back. Raises `InvalidInput` for what cannot be."""

    metres: float = 0.03
    degrees: float = 10.0
    frames: int = 4

    def __post_init__(self) -> None:
        if not (0 < self.metres <= 0.2 and 0 <= self.degrees <= 60):
            raise InvalidInput(f"a view is up to 0.2 m and 60 degrees off, not {self.metres:g} m, {self.degrees:g} deg")
        if self.frames < 1:
            raise InvalidInput(f"the way back takes at least one frame, not {self.frames}")


@dataclass(frozen=True)
class Correction:
    """The way back from one pose off the path, `K + 1` frames: the first is off, the last on frame `frame + K` of it.

    `frames` are of each camera; `action` `(K + 1, 7)`: row k is where the hand is told to be by the next frame, the
    last one the path's own command. `metres` and `degrees` `(K + 1,)` are how far off each frame is.
    """

    frame: int
    frames: dict[str, Frames]
    joint_position: FloatArray
    cartesian_position: FloatArray
    gripper_position: FloatArray
    action: FloatArray
    metres: FloatArray
    degrees: FloatArray


def free_frames(instants: Sequence[Instant]) -> int:
    """How many frames of a path pass before anything is touched or grasped."""
    first = instants[0]
    for number, instant in enumerate(instants):
        moved = [
            np.linalg.norm(pose[:3, 3] - first.body_to_base[name][:3, 3]) for name, pose in instant.body_to_base.items()
        ]
        if max(moved, default=0.0) > STILL_METRES:
            return number
        if abs(instant.gripper_position - first.gripper_position) > STILL_GRIPPER:
            return number
    return len(instants)


def corrections(
    twin: Twin,
    instants: Sequence[Instant],
    commanded: FloatArray,
    gripper: FloatArray,
    count: int,
    spread: Spread,
    seed: int,
) -> Iterator[Correction]:
    """`count` ways back to a path, from frames that are spread evenly over its free part.

    Of the path are its `instants`, at least `T`, and what the hand was told: poses `commanded` `(T, 6)` and `gripper`
    `(T,)`, row t at frame t.
    The same seed draws the same poses. Raises `InvalidInput` for a twin without a wrist camera, and for a path that is
    free for fewer frames than the way back takes, or around which the arm has no room.
    """
    if twin.wrist is None:
        raise InvalidInput(
            f"the twin of {twin.beginning.episode_id} has no wrist camera, so there is no view to correct"
        )
    if count < 1:
        raise InvalidInput(f"at least one view has to be wanted, not {count}")
    starts = min(free_frames(instants), len(commanded)) - spread.frames
    if starts < 1:
        raise InvalidInput(
            f"the path is free for {starts + spread.frames} frames only, and the way back takes {spread.frames}: "
            "give fewer, or an episode that begins further from what it touches"
        )
    return _drawn(_Drawing(twin, instants, commanded, gripper, spread), starts, count, seed)


def _drawn(drawing: _Drawing, starts: int, count: int, seed: int) -> Iterator[Correction]:
    try:
        for number, start in enumerate(np.linspace(0, starts - 1, count).round().astype(int)):
            yield drawing.correction(int(start), np.random.default_rng([seed, number, 0x5AA]))
    finally:
        drawing.close()


class _Drawing:
    """One twin's arm, its contacts and its pictures. Holds graphics memory until it is closed."""

    def __init__(
        self, twin: Twin, instants: Sequence[Instant], commanded: FloatArray, gripper: FloatArray, spread: Spread
    ) -> None:
        self._twin, self._instants, self._spread = twin, instants, spread
        self._commanded, self._gripper = commanded, gripper
        self._kinematics = kinematics_of(twin)
        self._pictures = TwinPictures(twin)
        self._touch = _Touch(twin)

    def close(self) -> None:
        self._pictures.close()

    def correction(self, start: int, random: np.random.Generator) -> Correction:
        """From an offset of frame `start` that the arm has room for all the way back."""
        for _ in range(TRIES):
            offset = _offset(self._spread, random)
            found = self._way_back(start, offset)
            if found is not None and self._has_room(start, found):
                return self._shown(start, found, offset)
        raise InvalidInput(f"around frame {start} of the path the arm has no room: {TRIES} poses were tried")

    def _way_back(self, start: int, offset: _Offset) -> list[Instant] | None:
        """The instants of the path with what is left of the offset; None where the arm does not reach one."""
        found = []
        for step in range(self._spread.frames + 1):
            instant = self._instants[start + step]
            left = offset.scaled(1 - step / self._spread.frames)
            pose = left.applied(self._kinematics.forward(instant.joint_position[None])[0])
            try:
                joints = self._kinematics.inverse(pose[None], instant.joint_position)[0]
            except InvalidInput:
                return None
            found.append(replace(instant, joint_position=joints))
        return found

    def _has_room(self, start: int, way: Sequence[Instant]) -> bool:
        """Whether the arm touches nothing that it does not touch on the path itself (a table that its foot is in)."""
        along = self._instants[start : start + len(way)]
        return all(self._touch.pairs(off) <= self._touch.pairs(on) for off, on in zip(way, along, strict=True))

    def _shown(self, start: int, way: Sequence[Instant], offset: _Offset) -> Correction:
        left = [offset.scaled(1 - step / self._spread.frames) for step in range(self._spread.frames + 1)]
        poses = self._kinematics.forward(np.stack([instant.joint_position for instant in way]))
        told = self._commanded[start : start + len(way)]
        # Told is what the path was told, with what shall be left of the offset a frame later: the controller's lag,
        # which the path's commands lead by, is that of the path.
        after = [*left[1:], left[-1]]
        action = np.stack([part.applied(pose) for part, pose in zip(after, told, strict=True)])
        return Correction(
            frame=start,
            frames=self._pictures.draw(way, self._twin.cameras),
            joint_position=np.stack([instant.joint_position for instant in way]),
            cartesian_position=poses,
            gripper_position=np.array([[instant.gripper_position] for instant in way]),
            action=np.concatenate([action, self._gripper[start : start + len(way), None]], axis=1),
            metres=np.array([np.linalg.norm(part.move) for part in left]),
            degrees=np.degrees([np.linalg.norm(part.turn) for part in left]),
        )


@dataclass(frozen=True)
class _Offset:
    """In the flange's frame: `move` `(3,)` m, `turn` `(3,)` a rotation vector in rad."""

    move: FloatArray
    turn: FloatArray

    def scaled(self, share: float) -> _Offset:
        return _Offset(share * self.move, share * self.turn)

    def applied(self, pose: FloatArray) -> FloatArray:
        """`(6,)`: position and Euler angles of `pose` `(6,)` with the offset. Without any, the pose itself."""
        if not (self.move.any() or self.turn.any()):
            return pose
        flange = Rotation.from_euler("xyz", pose[3:])
        turned = flange * Rotation.from_rotvec(self.turn)
        return np.concatenate([pose[:3] + flange.apply(self.move), turned.as_euler("xyz")])


def _offset(spread: Spread, random: np.random.Generator) -> _Offset:
    way, axis = (vector / np.linalg.norm(vector) for vector in random.normal(size=(2, 3)))
    metres, degrees = spread.metres * np.cbrt(random.uniform()), spread.degrees * random.uniform()
    return _Offset(metres * way, np.radians(degrees) * axis)


class _Touch:
    """What the arm, put somewhere at once, touches. Things stand where the instant has them."""

    def __init__(self, twin: Twin) -> None:
        robot = robot_named(twin.beginning.robot)
        self._physics = TwinPhysics(twin.plane, twin.objects, robot)
        self._arm = Arm(self._physics.model, self._physics.data, twin.servo, robot, twin.gripper)
        model = self._physics.model
        self._robot = np.array([model.body(body).name.startswith(PREFIX) for body in model.geom_bodyid])

    def pairs(self, instant: Instant) -> set[tuple[int, int]]:
        """Of geoms in contact, one of them the robot's."""
        data = self._physics.data
        self._physics.place(instant.body_to_base)
        self._arm.place(instant.joint_position, instant.gripper_position)
        geoms = data.contact.geom[: data.ncon][data.contact.dist[: data.ncon] <= 0]
        return {(int(one), int(other)) for one, other in geoms if self._robot[[one, other]].any()}
