"""A static camera from features that ride on the robot, which are drawn from a camera whose truth is known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from arena.contracts import FloatArray
from real2sim.camera import Camera
from real2sim.cameras import features
from real2sim.cameras.exterior import LEAST_FEATURES, farthest
from real2sim.cameras.features import FeatureProblem
from real2sim.cameras.matching import Matches
from real2sim.silhouette import RobotSilhouette
from real2sim.truth import FAULTS, KnownTruth, make_truth
from tests.real2sim.cameras.test_exterior import errors, nudged

SEED, NAME, FRAMES, ON_ROBOT = 1, "exterior_1", 16, 60


@pytest.fixture(scope="module")
def truth() -> KnownTruth:
    return make_truth(SEED, 60)


@pytest.fixture(scope="module")
def rows(truth: KnownTruth) -> FloatArray:
    return np.sort(farthest(np.asarray(truth.episode.joint_position), FRAMES))


@pytest.fixture(scope="module")
def matches(truth: KnownTruth, rows: FloatArray) -> Matches:
    """What a matcher would find on the robot: points of its links in pairs of frames, a third of them wrong."""
    rng, camera = np.random.default_rng(0), truth.exterior[NAME]
    joints, gripper = np.asarray(truth.episode.joint_position)[rows], truth.episode.gripper_position[rows, 0]
    robot = RobotSilhouette(camera.width, camera.height)
    columns: list[list[FloatArray]] = [[], [], [], []]
    try:
        poses, views = [], []
        for q, g in zip(joints, gripper, strict=True):
            views.append(robot.links(camera, q, float(g)))
            poses.append((robot.data.xmat.reshape(-1, 3, 3).copy(), robot.data.xpos.copy()))
    finally:
        robot.close()
    for a, (depth, link) in enumerate(views):
        shown = np.argwhere(link > 0)
        picked = shown[rng.choice(len(shown), ON_ROBOT)]
        at = picked[:, ::-1] + 0.5
        local = np.c_[(at - [camera.cx, camera.cy]) / [camera.fx, camera.fy], np.ones(len(at))]
        local *= depth[picked[:, 0], picked[:, 1], None]
        point = local @ camera.camera_to_base[:3, :3].T + camera.camera_to_base[:3, 3]
        on = link[picked[:, 0], picked[:, 1]]
        for b in range(len(views)):
            if a == b:
                continue
            in_link = np.einsum("nji,nj->ni", poses[a][0][on], point - poses[a][1][on])
            there, _ = camera.project(np.einsum("nij,nj->ni", poses[b][0][on], in_link) + poses[b][1][on])
            there += rng.normal(0, 0.3, there.shape)
            wrong = rng.random(len(there)) < 0.33
            there[wrong] = rng.uniform(0, [camera.width, camera.height], (int(wrong.sum()), 2))
            numbers = np.arange(len(at))
            for column, values in zip(columns, (
                np.full(len(at), a), np.full(len(at), b), np.stack([at, there], axis=1),
                np.stack([numbers + a * 1000, numbers + b * 1000], axis=1),
            ), strict=True):  # fmt: skip
                column.append(values)
    return Matches(*(np.concatenate(column) for column in columns))


@pytest.fixture
def problem(
    truth: KnownTruth, rows: FloatArray, matches: Matches, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FeatureProblem]:
    made = a_problem(truth, rows, matches, monkeypatch)
    yield made
    made.close()


def a_problem(
    truth: KnownTruth,
    rows: FloatArray,
    matches: Matches,
    monkeypatch: pytest.MonkeyPatch,
    offset: float | FloatArray = 0.0,
) -> FeatureProblem:
    monkeypatch.setattr(features, "match_frames", lambda film: matches)
    joints = np.asarray(truth.episode.joint_position)[rows] + offset
    film = truth.episode.cameras[NAME].read()[rows]
    return FeatureProblem(film, joints, truth.episode.gripper_position[rows, 0])


def test_a_rough_camera_becomes_exact_with_its_focal_length(truth: KnownTruth, problem: FeatureProblem) -> None:
    true = truth.exterior[NAME]
    start = nudged(true, 0.08, 4.0)
    fit = problem.solve(replace(start, fx=1.15 * start.fx, fy=1.15 * start.fy), free_focal=True)
    assert fit is not None
    cm, degrees = errors(fit.camera, true)
    assert cm < 1.0
    assert degrees < 0.3
    assert fit.camera.fx == pytest.approx(true.fx, rel=0.01)
    assert fit.share > LEAST_FEATURES
    assert 0 < fit.position_error < 0.02


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_start_is_found_from_unlikely_ones(truth: KnownTruth, problem: FeatureProblem) -> None:
    true = truth.exterior[NAME]
    unlikely = nudged(true, 0.5, 40.0)
    starts = problem.starts([unlikely], 0, 2)
    fits = [problem.solve(start, free_focal=True) for start in starts]
    best = max((fit for fit in fits if fit is not None), key=lambda fit: fit.share)
    cm, degrees = errors(best.camera, true)
    assert cm < 1.5
    assert degrees < 0.5


def test_joints_of_other_times_are_not_borne_out(
    truth: KnownTruth, rows: FloatArray, matches: Matches, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = a_problem(truth, rows[::-1].copy(), matches, monkeypatch)
    try:
        fit = problem.solve(truth.exterior[NAME], free_focal=True)
        assert fit is None or fit.share < 0.5 * LEAST_FEATURES
    finally:
        problem.close()


def test_wrong_joint_zeros_are_not_borne_out(
    truth: KnownTruth, rows: FloatArray, matches: Matches, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoilt = FAULTS["wrong joint offsets"](truth.episode, 0)
    offset = (np.asarray(spoilt.joint_position) - np.asarray(truth.episode.joint_position))[0]
    problem = a_problem(truth, rows, matches, monkeypatch, offset)
    try:
        fit = problem.solve(truth.exterior[NAME], free_focal=True)
        assert fit is None or fit.share < 0.8 * LEAST_FEATURES
    finally:
        problem.close()


def test_a_robot_out_of_sight_is_no_camera(truth: KnownTruth, problem: FeatureProblem) -> None:
    true = truth.exterior[NAME]
    away = true.camera_to_base.copy()
    away[:3, :3] = away[:3, :3] @ np.diag([1.0, -1.0, -1.0])
    assert problem.solve(replace(true, camera_to_base=away), free_focal=True) is None


def test_the_slope_is_that_of_the_residuals(truth: KnownTruth, problem: FeatureProblem) -> None:
    """A step along the slope changes residuals as it says: the surface point slides along with the ray."""
    camera: Camera = nudged(truth.exterior[NAME], 0.01, 0.5)
    ridden = problem.ridden(camera)
    slope = features._slopes(camera, ridden, True)
    step = 1e-3 * np.array([1.0, -1, 0.5, 1, 0.5, -1, 1])
    said = np.einsum("nij,j->ni", slope, step)
    true = ridden.residuals(features._stepped(camera, step)) - ridden.residuals(camera)
    assert np.median(np.abs(said - true)) < 0.05 * np.median(np.abs(true))
