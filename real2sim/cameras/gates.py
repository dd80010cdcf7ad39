"""What a camera has to show before a twin is built on it, and what is most likely wrong where it does not."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from arena.contracts import FloatArray, Frames, InvalidInput
from real2sim.cameras.exterior import (
    LEAST_CHANGED,
    LEAST_EDGES_SEEN,
    LEAST_FEATURES,
    LEAST_IOU,
    LEAST_MASK_IOU,
    MOST_EDGE_PIXELS,
    ExteriorFit,
    RobotUnseen,
)
from real2sim.cameras.free_joints import FreeJoints
from real2sim.cameras.handeye import HandEye
from real2sim.cameras.plate import Plate

LEAST_GIVEN_IOU = 0.55
MOST_POSITION_ERROR = 0.02
"""Metres: the error at which a camera counts as falsely accepted."""
MOST_MOVED = 1.0
"""Pixels."""
FILMED = "IoU of the robot as drawn and as the film shows it"
EPIPOLAR = "share of features at their epipolar lines"
LEAST_EPIPOLAR = 0.14
"""Of right cameras of known scenes the least is 0.26, of nine wrong recordings the most is 0.16: what other joints
would explain tells that one."""
LEAST_OF_BEST = 0.7
"""Of what the best camera near a given one explains. With exact features a camera 5 mm or 0.5 degrees off has 0.7."""
MOST_ROTATION_RESIDUAL = 1.2
"""Degrees. Right wrist cameras have 0.3 to 0.5 (known truth, 160 columns) and 0.5 to 0.9 (DROID); one that was wrong by
41 mm had 1.5, and the right one of that scene, in which most of what pairs share is moved, has 1.4."""
LEAST_OF_JOINTS = 0.7
"""Of what joints that fit best explain. Right known scenes have 0.99 and more; of a real one, whose film is some 50 ms
off, it is 0.73."""
NAMED_DEGREES, NAMED_SECONDS = 1.0, 0.01
"""Errors of joints' zeros and times that a reason names."""
MOST_HAND_EYE_ERROR = 0.005
"""Metres."""


@dataclass(frozen=True)
class Gate:
    """One stage's number against its threshold; `reason` says what is most likely wrong, empty where it passed."""

    stage: str
    metric: str
    value: float
    threshold: float
    passed: bool
    reason: str

    def facts(self) -> dict[str, Any]:
        """As JSON."""
        return {**asdict(self), "value": finite(self.value)}

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Gate:
        """The gate of `facts`."""
        return cls(**{**facts, "value": float("inf") if facts["value"] is None else facts["value"]})


def finite(value: float) -> float | None:
    """For JSON, which has no infinity: None stands for it."""
    return value if math.isfinite(value) else None


def steadiness(film: Frames, name: str) -> Gate:
    """Whether a camera stood still: by how far the scene's edges are displaced from the film's first third to its last.

    By phase correlation (Kuglin and Hines 1975): what most of the picture did counts, not the robot's part of it.
    """
    third = max(1, len(film) // 3)
    first, last = (_edges(Plate.of(part).background) for part in (film[:third], film[-third:]))
    spectrum = np.fft.rfft2(first) * np.conj(np.fft.rfft2(last))
    peaks = np.fft.irfft2(spectrum / np.maximum(np.abs(spectrum), 1e-9), first.shape)
    at = np.array(np.unravel_index(int(peaks.argmax()), peaks.shape))
    size = np.array(peaks.shape)
    moved = float(np.linalg.norm((at + size // 2) % size - size // 2))
    reason = "" if moved <= MOST_MOVED else f"{name} moved during the episode"
    return Gate(f"camera {name}", "pixels that the scene is displaced by", moved, MOST_MOVED, not reason, reason)


def _edges(picture: FloatArray) -> FloatArray:
    """Gradient magnitudes, faded out towards the border."""
    down, across = np.gradient(picture.mean(-1))
    fade = np.hanning(picture.shape[0])[:, None] * np.hanning(picture.shape[1])[None]
    return np.asarray(np.hypot(down, across) * fade)


def silhouette_gate(fit: ExteriorFit, name: str) -> Gate:
    """Whether frames that the camera was not fitted to show the robot where it is drawn."""
    stage, reason = f"camera {name}", ""
    if not (fit.outlined or fit.followed or fit.masked):
        reason = (
            f"the robot in {name} is not where its joints say: too little of it is seen, joint zeros or units are "
            f"wrong, pictures and joints are of different times, the picture is mirrored, or this is another robot"
        )
    if fit.feature_share is not None and fit.followed:
        metric = "share of the features on the robot that move with it"
        return Gate(stage, metric, fit.feature_share, LEAST_FEATURES, not reason, reason)
    if fit.masked and not fit.outlined:
        return Gate(stage, FILMED, fit.mask_iou, LEAST_MASK_IOU, not reason, reason)
    if fit.iou >= LEAST_IOU and fit.edges_seen < LEAST_EDGES_SEEN:
        return Gate(stage, "share of the robot's outline that is seen", fit.edges_seen, LEAST_EDGES_SEEN, False, reason)
    if fit.iou >= LEAST_IOU and fit.edge_pixels > MOST_EDGE_PIXELS:
        return Gate(stage, "pixels that its outline is off by", fit.edge_pixels, MOST_EDGE_PIXELS, False, reason)
    return Gate(stage, "robot mask IoU on held-out frames", fit.iou, LEAST_IOU, not reason, reason)


def unseen_gate(unseen: RobotUnseen, name: str) -> Gate:
    """That of a camera whose film does not show the robot move."""
    metric = "share of the film that changes as the robot moves"
    return Gate(f"camera {name}", metric, unseen.share, LEAST_CHANGED, False, str(unseen))


def given_gate(fit: ExteriorFit, name: str) -> Gate:
    """Whether the films bear out a camera that the dataset gave. It was not fitted to them, and things that lie about
    in pooled episodes count against it, so less is asked."""
    stage = f"camera {name}"
    if fit.masked and fit.iou < LEAST_GIVEN_IOU:
        return Gate(stage, FILMED, fit.mask_iou, LEAST_MASK_IOU, True, "")
    reason = "" if fit.iou >= LEAST_GIVEN_IOU else f"the robot in {name} is not where the dataset's camera sees it"
    return Gate(stage, "robot mask IoU of the given camera", fit.iou, LEAST_GIVEN_IOU, not reason, reason)


def certainty_gate(fit: ExteriorFit, name: str) -> Gate:
    """Whether the frames say clearly enough where the camera stands."""
    reason = ""
    if fit.position_error > MOST_POSITION_ERROR:
        reason = (
            f"{name} may stand nearer or further away: give its focal length, or an episode that moves the arm more"
        )
    value = fit.position_error
    return Gate(f"camera {name}", "standard error of its position, m", value, MOST_POSITION_ERROR, not reason, reason)


def epipolar_gate(fit: HandEye) -> Gate:
    """Whether the scene's features move as the arm's joints say that a camera on the flange sees them move."""
    value, reason = fit.explained, ""
    if value < LEAST_EPIPOLAR:
        reason = (
            "the wrist camera does not move as the joints say: joint zeros or units are wrong, pictures and joints are "
            "of different times, the picture is mirrored, the camera is not fixed to the flange, this is another "
            "robot, or most of what it sees is moved"
        )
    return Gate("camera wrist", EPIPOLAR, value, LEAST_EPIPOLAR, not reason, reason)


def joints_gate(fit: HandEye, free: FreeJoints) -> Gate:
    """Whether joints with other zeros or at other times explain clearly more of the wrist film than those recorded.

    Then something is wrong even where the camera passes for right. They are six numbers more to fit with, so a little
    more counts for nothing.
    """
    clear = free.explained >= LEAST_EPIPOLAR
    value, reason = min(1.0, fit.explained / free.explained) if clear else 1.0, ""
    if value < LEAST_OF_JOINTS:
        named = [
            f"joint {at + 1} of {len(free.offsets)} is recorded {-degrees:+.1f} degrees off"
            for at, degrees in enumerate(np.degrees(free.offsets))
            if abs(degrees) > NAMED_DEGREES
        ]
        if abs(free.lag) > NAMED_SECONDS:
            named.append(f"the film is {1000 * free.lag:+.0f} ms later than the joints")
        told = " and ".join(named) or "the search for the wrist camera was lost"
        reason = f"{free.explained:.2f} of the film would be explained, {fit.explained:.2f} is: {told}"
    metric = "of what joints that fit best explain of the film, the share that those taken do"
    return Gate("camera wrist", metric, value, LEAST_OF_JOINTS, not reason, reason)


def given_hand_eye_gate(given: HandEye, near: HandEye) -> Gate:
    """Whether the film bears out a wrist camera that the dataset gave, and not clearly better the best one `near` it.

    Where on the hand it is cannot be asked to be clear: of a hand that never turns only the dataset can tell.
    """
    gate, best = epipolar_gate(given), epipolar_gate(near).value
    if gate.value < LEAST_OF_BEST * best:
        reason = f"the wrist camera is not where the dataset says: one near there explains {best:.2f} of the features"
        gate = replace(gate, threshold=max(LEAST_EPIPOLAR, LEAST_OF_BEST * best), passed=False, reason=reason)
    return gate


def unmatched_gate(error: InvalidInput) -> Gate:
    """That of a wrist film whose frames share too little."""
    return Gate("camera wrist", EPIPOLAR, 0.0, LEAST_EPIPOLAR, False, str(error))


def rotation_gate(degrees: float | None) -> Gate:
    """Whether pairs of frames, each by itself, turned as a wrist camera there does; None where no pair tells.

    A wrong one may have as many features at its epipolar lines as the right one, where most of what it sees is moved.
    """
    value = 0.0 if degrees is None else degrees
    reason = "" if value <= MOST_ROTATION_RESIDUAL else "the film turns otherwise than the wrist camera that was found"
    metric = "rotation residual of pairs of frames, degrees"
    return Gate("camera wrist", metric, value, MOST_ROTATION_RESIDUAL, not reason, reason)


def hand_eye_gate(fit: HandEye) -> Gate:
    """Whether the frames say clearly enough where on the flange the camera is."""
    value, reason = fit.position_error, ""
    if value > MOST_HAND_EYE_ERROR:
        reason = "where the wrist camera is fixed stays unclear: give an episode that turns the hand more"
    return Gate("camera wrist", "standard error of its position, m", value, MOST_HAND_EYE_ERROR, not reason, reason)
