"""The stage that finds the wrist camera: its pose on what it is fixed to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from arena.contracts import Episode, FloatArray, InvalidInput
from real2sim.camera import Camera, calibrated_camera, camera_facts
from real2sim.cameras.free_joints import FreeJoints, RecordedJoints, free_joints
from real2sim.cameras.gates import (
    Gate,
    epipolar_gate,
    finite,
    given_hand_eye_gate,
    hand_eye_gate,
    joints_gate,
    rotation_gate,
    unmatched_gate,
)
from real2sim.cameras.handeye import HandEye, check_hand_eye, solve_hand_eye
from real2sim.cameras.matching import Matches, match_frames
from real2sim.cameras.rotations import rotation_residuals
from real2sim.frames import spread_over
from real2sim.mount import WRIST, mount_poses
from real2sim.reconstruct.film_time import joint_velocity
from real2sim.reconstruct.settings import BuildSettings
from real2sim.robot import ArmKinematics
from real2sim.robots import robot_named

ATTEMPTS = 2
"""Searches for the wrist camera, at most."""
MOST_MATCHED = 200
"""Of the wrist camera's frames: each is matched with each other."""

LEAST_LAG, MOST_LAG_FRAMES = 0.01, 0.5
"""Between a film and the joints, in s and in times between two frames: less is not corrected, nor is more."""
LAG_GAIN = 1.03
"""How many times as much of a film the joints at its time have to explain, for a lag to be corrected."""

Found = tuple[dict[str, Any], list[Gate]]


def find_wrist(episode: Episode, settings: BuildSettings) -> Found:
    """The wrist camera's facts and gates: the dataset's where its film bears it out, else one that is searched for.

    Where joints a little earlier or later explain the film clearly better, and the camera passes with them, those are
    taken: `corrected_ms` of the facts is by how much the film is later than what was recorded, 0 where that stands.
    """
    seen = _Seen.of(episode)
    try:
        found = _answer(seen, episode, settings)
    except InvalidInput as error:
        return {"camera": None}, [unmatched_gate(error)]
    if LEAST_LAG <= abs(found.lag) <= MOST_LAG_FRAMES / episode.fps:
        found = _at_film_time(found, seen, episode, settings)
    return found.facts, found.gates


def _at_film_time(found: _Answer, seen: _Seen, episode: Episode, settings: BuildSettings) -> _Answer:
    """The answer with joints at the time that the film seems to be of, where it is better than the one `found`."""
    try:
        again = _answer(seen.later(found.lag), episode, settings)
    except InvalidInput:  # As the hand moves then, too little is shared by frames far enough apart.
        return found
    if not again.passed or again.explained < LAG_GAIN * found.explained:
        return found
    told = {"corrected_ms": 1000 * found.lag, "lag_ms": 1000 * (found.lag + again.lag)}
    return replace(again, facts={**again.facts, **told})


@dataclass(frozen=True)
class _Answer:
    """What is `explained` of the film by the joints that were taken, and by how many s they are before the film's."""

    facts: dict[str, Any]
    gates: list[Gate]
    explained: float
    lag: float

    @property
    def passed(self) -> bool:
        return all(gate.passed for gate in self.gates)


def _answer(seen: _Seen, episode: Episode, settings: BuildSettings) -> _Answer:
    known = calibrated_camera(episode, WRIST)
    if known is not None:
        given, near = check_hand_eye(seen.matches, seen.poses, known)
        if (gate := given_hand_eye_gate(given, near)).passed:
            free = seen.freed(known, near, lens_known=True)
            facts = {**seen.facts(known, given), **_told(free), "given": True}
            return _Answer(facts, [joints_gate(near, free), gate], near.explained, free.lag)
        # As of static cameras: one that its dataset is wrong about is looked for.
    return _searched(seen, episode, settings)


def _told(free: FreeJoints) -> dict[str, Any]:
    return {"joint_zeros_deg": np.degrees(free.offsets).tolist(), "lag_ms": 1000 * free.lag, "corrected_ms": 0.0}


@dataclass(frozen=True)
class _Seen:
    """A film's `matches` and the `joints` at its frames; `poses` `(T, 4, 4)` are those that these give what the camera
    is fixed to, in the base frame."""

    matches: Matches
    joints: RecordedJoints
    poses: FloatArray
    width: int
    height: int

    @classmethod
    def of(cls, episode: Episode) -> _Seen:
        rows = spread_over(len(episode), MOST_MATCHED)
        film = episode.cameras[WRIST].read()[rows]
        arm = ArmKinematics(robot_named(episode.robot))
        position = np.asarray(episode.joint_position, dtype=np.float64)
        joints = RecordedJoints(position[rows], joint_velocity(episode)[rows], lambda moved: mount_poses(moved, arm))
        return cls(match_frames(film), joints, joints.poses(), film.shape[2], film.shape[1])

    def facts(self, camera: Camera, fit: HandEye) -> dict[str, Any]:
        turns = rotation_residuals(fit, self.poses, self.width, self.height, camera.fy / camera.fx)
        return {
            "camera": camera_facts(camera),
            "rotation_residual_deg": float(np.degrees(np.median(turns))) if len(turns) else None,
            "share": fit.share,
            "median_pixels": fit.median_pixels,
            "position_error": finite(fit.position_error),
            "rotation_error": finite(fit.rotation_error),
        }

    def later(self, lag: float) -> _Seen:
        """With the joints `lag` s after those recorded."""
        joints = self.joints.later(lag)
        return replace(self, joints=joints, poses=joints.poses())

    def freed(self, camera: Camera, fit: HandEye, *, lens_known: bool) -> FreeJoints:
        """What the film says of the joints."""
        aspect = camera.fy / camera.fx
        return free_joints(fit, self.joints, self.width, self.height, aspect=aspect, lens_known=lens_known)


def _searched(seen: _Seen, episode: Episode, settings: BuildSettings) -> _Answer:
    """The wrist camera that a search finds. One that the film contradicts is searched for again with another seed,
    since a search can be lost, and the one that explains most is kept."""
    focal, aspect = settings.focal(WRIST), settings.aspect(episode, WRIST)
    width, height, poses = seen.width, seen.height, seen.poses
    tried: list[_Answer] = []
    for attempt in range(ATTEMPTS):
        fit = solve_hand_eye(
            seen.matches, poses, width, height, seed=settings.seed + attempt, focal=focal, aspect=aspect,
            mounts=robot_named(episode.robot).mounts,
        )  # fmt: skip
        camera = Camera(width, height, fit.focal, fit.focal * aspect, width / 2, height / 2, fit.camera_to_flange)
        free = seen.freed(camera, fit, lens_known=focal is not None)
        facts = {**seen.facts(camera, fit), **_told(free)}
        # Of the joints first: it says what is wrong where the others only say that something is.
        borne_out = [joints_gate(fit, free), epipolar_gate(fit), rotation_gate(facts["rotation_residual_deg"])]
        tried.append(_Answer(facts, [*borne_out, hand_eye_gate(fit)], fit.explained, free.lag))
        if all(gate.passed for gate in borne_out):
            break
    return max(tried, key=lambda each: each.explained)
