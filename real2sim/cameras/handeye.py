"""The wrist camera's pose on the flange, and its focal length, from features of the still scene and kinematics.

For a camera that is rigidly on the flange, every pair of frames has a relative pose that the arm's joints tell but for
one unknown transform, the same for all pairs. So thousands of matched features, most of a pair's possibly wrong, decide
over seven numbers: a global search over them, and robust least squares of the Sampson distance (Hartley and Zisserman
2004, section 11.4.3). The scale is the robot's own, since its flange moves by known metres.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from arena.contracts import FloatArray, InvalidInput
from real2sim.camera import Camera
from real2sim.cameras.certainty import clustered_errors
from real2sim.cameras.epipolar import FINAL_TOLERANCE, INLIER, LENS, NUMBERS, EpipolarProblem, explained
from real2sim.cameras.matching import Matches
from real2sim.robot_kind import Mount

Progress = Callable[[int, int, str], None]

STILL_PIXELS, STILL_SHARE = 1.5, 0.5
"""A feature that most of its partners show at the same pixel, though the camera moved, is of the gripper."""
MOVED_METRES, MOVED_RADIANS = 0.03, 0.1
"""What the flange moves at least between two frames that say something."""
LEAST_PAIRS, LEAST_MATCHES = 20, 200
SEARCH_MATCHES = 4000
WIDEST_TILT, LONGEST_ARM = np.radians(75.0), 0.25
"""Between the optical axis and the flange's z axis, which points to the fingers; metres from flange to camera."""
FOCALS = (0.4, 1.4)
"""In picture widths."""
FIRST_DRAW = 12_000
APART = 0.35
"""Rad between the random cameras that families begin with."""
STAGES = ((32, 5, 120, 1000), (12, 4, 250, 1000), (4, 5, 375, 4000))
"""Of the search: families that are kept, rounds, cameras drawn around each in a round, and matches that judge them.
Coarsely, wide lenses look best, so the right family must not be asked to be among the first few from the start."""
LEAST_KEPT, KEPT_SHARE = 12, 12
"""Of the cameras drawn in a round, the family's next ones are made of the best twelfth, and of no fewer than these."""
HOP = np.array([0.03, 0.03, 0.03, 0.012, 0.012, 0.012, 0.03])
"""Standard deviations of a jump: rad, m, and of the log focal length."""
HOP_MATCHES, MOST_HOPS, IDLE_HOPS = 3000, 24, 6
JUDGED = 2 * FINAL_TOLERANCE
"""Pixels at 160 columns, of the score that chooses between refined cameras."""
WORTH_A_HOP = 0.005
"""Of the score: less is no progress."""
TOLERANCES = (8.0, 0.6)
"""Pixels that a match may be off by in the search, first and last, at 160 columns."""


@dataclass(frozen=True)
class HandEye:
    """`camera_to_flange` `(4, 4)` and `focal` in pixels, by how many of the matches bear them out.

    `share` of the matches within a pixel at 160 columns of their epipolar lines; `median_pixels` is the
    distance of those; `explained` is what of the share is not chance (`epipolar.explained`). `position_error` in m and
    `rotation_error` in rad are standard errors. `inliers` `(M,)` are the matches that were counted.
    """

    camera_to_flange: FloatArray
    focal: float
    share: float
    median_pixels: float
    explained: float
    position_error: float
    rotation_error: float
    matches: Matches
    inliers: NDArray[np.bool_]


def without_gripper(matches: Matches, flange_to_base: FloatArray) -> Matches:
    """What is left where features that stay put in the picture are taken out, and pairs between which little moved.

    `flange_to_base` is `(T, 4, 4)`.
    """
    a, b = flange_to_base[matches.first], flange_to_base[matches.second]
    far = np.linalg.norm(a[:, :3, 3] - b[:, :3, 3], axis=1) > MOVED_METRES
    turned = Rotation.from_matrix(np.swapaxes(a[:, :3, :3], 1, 2) @ b[:, :3, :3]).magnitude() > MOVED_RADIANS
    moving = matches.subset(far | turned)
    if not len(moving):
        return moving
    still = np.linalg.norm(moving.pixels[:, 0] - moving.pixels[:, 1], axis=1) < STILL_PIXELS
    count = int(moving.feature.max()) + 1
    seen, stood = np.zeros(count), np.zeros(count)
    for side in range(2):
        np.add.at(seen, moving.feature[:, side], 1)
        np.add.at(stood, moving.feature[:, side], still)
    gripper = stood > np.maximum(1, STILL_SHARE * seen * 0.5)
    kept = ~(still | gripper[moving.feature[:, 0]] | gripper[moving.feature[:, 1]])
    return moving.subset(kept)


def solve_hand_eye(
    matches: Matches,
    flange_to_base: FloatArray,
    width: int,
    height: int,
    *,
    seed: int = 0,
    focal: float | None = None,
    aspect: float = 1.0,
    mounts: Sequence[Mount] = (),
    progress: Progress | None = None,
) -> HandEye:
    """The camera on the flange from its film's matches and where the flange was, `flange_to_base` `(T, 4, 4)`.

    The principal point is the picture's middle; `focal` in pixels across, where it is known; `aspect` is that of its
    pixels, `fy / fx`. `mounts` are where such a robot's cameras mostly are: beginnings besides those that a global
    search finds, with no other advantage. Raises `InvalidInput` where too few features of the scene were matched.
    """  # fmt: skip
    problem = EpipolarProblem(_enough(matches, flange_to_base), flange_to_base, width, height, aspect)
    known = None if focal is None else np.log(focal / width)
    starts = _search(problem, np.random.default_rng([seed, 11]), known, progress)
    starts += [camera_numbers(mount, known) for mount in mounts]
    # Only the finest tolerance tells a family that is nearly right from the right one. All pairs have a like say: what
    # the hand dwells on, and perhaps moves, has most of the matches.
    found = np.stack([problem.refined(start, known) for start in starts])
    judges = problem.draw(np.random.default_rng([seed, 12]), len(problem.matches))
    best = found[int(problem.score(found, judges, JUDGED).argmax())]
    best = hopped(problem, best, np.random.default_rng([seed, 13]), known, judges)
    both = np.stack([best, problem.refined(best, known)])
    return _measured(problem, both[int(problem.score(both, judges, JUDGED).argmax())], known)


def check_hand_eye(matches: Matches, flange_to_base: FloatArray, camera: Camera) -> tuple[HandEye, HandEye]:
    """How the film bears out a `camera` whose pose on the flange the dataset gives, and the best one near it.

    Both keep its focal length. Raises `InvalidInput` as `solve_hand_eye` does.
    """
    usable, aspect = _enough(matches, flange_to_base), camera.fy / camera.fx
    aside = np.array([camera.cx - camera.width / 2, camera.cy - camera.height / 2])
    centred = replace(usable, pixels=usable.pixels - aside)
    problem = EpipolarProblem(centred, flange_to_base, camera.width, camera.height, aspect)
    known = float(np.log(camera.fx / camera.width))
    given = camera_numbers(Mount(camera.camera_to_base, camera.fx / camera.width))
    return _measured(problem, given, known), _measured(problem, problem.refined(given, known), known)


def _enough(matches: Matches, flange_to_base: FloatArray) -> Matches:
    usable = without_gripper(matches, flange_to_base)
    pairs = len({*zip(usable.first.tolist(), usable.second.tolist(), strict=True)})
    if len(usable) < LEAST_MATCHES or pairs < LEAST_PAIRS:
        raise InvalidInput(
            f"the wrist camera's frames share too little: {len(usable)} features in {pairs} pairs, {LEAST_MATCHES} in "
            f"{LEAST_PAIRS} are needed; give an episode that moves over a textured scene"
        )
    return usable


def camera_numbers(mount: Mount, known: float | None = None) -> FloatArray:
    """`(7,)`: a camera as `EpipolarProblem` takes it, with a `known` log focal length in widths or the mount's."""
    turn = Rotation.from_matrix(mount.camera_to_flange[:3, :3]).as_rotvec()
    focal = np.log(mount.focal_widths) if known is None else known
    return np.concatenate([turn, mount.camera_to_flange[:3, 3], [focal]])


def _measured(problem: EpipolarProblem, camera: FloatArray, known: float | None) -> HandEye:
    """The hand-eye of a camera's seven numbers, by all matches."""
    off, slope = problem.linear(camera, problem.everything)
    inliers = np.abs(off) < INLIER
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_rotvec(camera[:3]).as_matrix()
    pose[:3, 3] = camera[3:6]
    error = _standard_errors(problem.matches, off, slope, inliers, known)
    return HandEye(
        camera_to_flange=pose,
        focal=float(np.exp(camera[LENS]) * problem.width),
        share=float(inliers.mean()),
        median_pixels=float(np.median(np.abs(off[inliers]))) * problem.width / 160 if inliers.any() else float("inf"),
        explained=explained(off),
        position_error=float(np.linalg.norm(error[3:6])),
        rotation_error=float(np.linalg.norm(error[:3])),
        matches=problem.matches,
        inliers=inliers,
    )


def _standard_errors(
    matches: Matches, off: FloatArray, slope: FloatArray, inliers: NDArray[np.bool_], known: float | None
) -> FloatArray:
    free = slice(0, NUMBERS if known is None else LENS)
    frames = np.stack([matches.first, matches.second], axis=1)[inliers]
    error = clustered_errors(slope[inliers][:, None, free], off[inliers][:, None], frames)
    return np.pad(error, (0, NUMBERS - len(error)))


def hopped(
    problem: EpipolarProblem,
    best: FloatArray,
    rng: np.random.Generator,
    known: float | None,
    judges: NDArray[np.int64],
) -> FloatArray:
    """The best camera in reach of `best` by short jumps, each refined (basin hopping; Wales and Doye 1997): beside the
    deepest, the robust distances of many wrong matches have dips some centimetres away, where least squares stay."""
    most, idle = problem.score(best[None], judges, JUDGED)[0], 0
    for _ in range(MOST_HOPS):
        near = best + HOP * rng.standard_normal(len(best))
        if known is not None:
            near[LENS] = known
        found = problem.refined(near, known, HOP_MATCHES)
        score = problem.score(found[None], judges, JUDGED)[0]
        idle = 0 if score > most * (1 + WORTH_A_HOP) else idle + 1
        best, most = (found, score) if score > most else (best, most)
        if idle == IDLE_HOPS:
            break
    return best


def _search(
    problem: EpipolarProblem, rng: np.random.Generator, known: float | None, progress: Progress | None
) -> list[FloatArray]:
    """The best camera of each of the last families (cross-entropy method, successive halving)."""
    chosen = problem.draw(rng, SEARCH_MATCHES)
    cameras = _random_cameras(rng, FIRST_DRAW, known)
    few = chosen[: STAGES[0][3]]
    families = _apart(cameras, problem.score(cameras, few, TOLERANCES[0]), STAGES[0][0])
    wide = np.array([0.25, 0.25, 0.25, 0.07, 0.07, 0.07, 0.25 if known is None else 0.0])
    spreads = [wide] * len(families)
    rounds, done = sum(stage[1] for stage in STAGES), 0
    for count, more, draws, judges in STAGES:
        scores = problem.score(np.stack(families), chosen, _tolerance(done / rounds))
        kept = np.argsort(scores)[::-1][:count]
        families, spreads = [families[index] for index in kept], [spreads[index] for index in kept]
        for step in range(done, done + more):
            if progress is not None:
                progress(step, rounds, "searching")
            tolerance = _tolerance(step / (rounds - 1))
            for index, (middle, spread) in enumerate(zip(families, spreads, strict=True)):
                drawn = _near(rng, middle, spread, draws)
                order = np.argsort(problem.score(drawn, chosen[:judges], tolerance))[::-1]
                best = drawn[order[: max(LEAST_KEPT, draws // KEPT_SHARE)]]
                families[index], spreads[index] = best.mean(0), np.maximum(best.std(0), 0.4 * spread)
        done += more
    return families


def _tolerance(share: float) -> float:
    """Pixels at 160 columns when `share` of the search is done."""
    return float(TOLERANCES[0] * (TOLERANCES[1] / TOLERANCES[0]) ** share)


def _apart(cameras: FloatArray, scores: FloatArray, count: int) -> list[FloatArray]:
    """The best cameras of which no two look alike, at most `count`."""
    found: list[FloatArray] = []
    for index in np.argsort(scores)[::-1]:
        if all(_angle(cameras[index], other) > APART for other in found):
            found.append(cameras[index])
        if len(found) == count:
            break
    return found


def _random_cameras(rng: np.random.Generator, count: int, known: float | None) -> FloatArray:
    tilt = np.arccos(rng.uniform(np.cos(WIDEST_TILT), 1, count))
    toward, roll = rng.uniform(-np.pi, np.pi, (2, count))
    turn = Rotation.from_rotvec(np.stack([tilt * np.cos(toward), tilt * np.sin(toward), np.zeros(count)], axis=1))
    position = rng.uniform(-0.12, 0.12, (count, 3))
    focal = np.log(rng.uniform(*FOCALS, count)) if known is None else np.full(count, known)
    return np.concatenate(
        [(turn * Rotation.from_euler("z", roll[:, None])).as_rotvec(), position, focal[:, None]], axis=1
    )


def _near(rng: np.random.Generator, middle: FloatArray, spread: FloatArray, count: int) -> FloatArray:
    drawn = middle + spread * rng.standard_normal((count, NUMBERS))
    drawn[0] = middle
    drawn[:, 3:6] = drawn[:, 3:6].clip(-LONGEST_ARM, LONGEST_ARM)
    drawn[:, LENS] = drawn[:, LENS].clip(*np.log(FOCALS))
    return drawn


def _angle(a: FloatArray, b: FloatArray) -> float:
    return float((Rotation.from_rotvec(a[:3]).inv() * Rotation.from_rotvec(b[:3])).magnitude())
