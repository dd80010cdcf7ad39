"""The stage of the wrist camera: a given one, a searched one, and a film that contradicts it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.interpolate import CubicSpline
from scipy.spatial.transform import Rotation

from arena.contracts import Episode, FloatArray, InvalidInput
from real2sim.camera import CALIBRATION, Camera, camera_facts
from real2sim.cameras.handeye import HandEye, check_hand_eye
from real2sim.cameras.matching import Matches
from real2sim.frames import MemoryFrames
from real2sim.mount import flange_poses
from real2sim.reconstruct import wrist
from real2sim.reconstruct.film_time import at_film_time
from real2sim.reconstruct.ledger import Ledger, Refused
from real2sim.reconstruct.posing import CameraStages
from real2sim.reconstruct.settings import BuildSettings
from real2sim.robot import PandaKinematics
from real2sim.truth import make_truth
from real2sim.truth.motion import HOME
from tests.real2sim.cameras.test_handeye import FOCAL, FRAMES, flange_path, given, hand_eye, seen


def stages(tmp_path: Path, episode: Episode) -> CameraStages:
    return CameraStages(episode, BuildSettings(), Ledger(tmp_path, "key", lambda line: None))


def test_a_wrist_film_whose_frames_share_nothing_refuses_the_twin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def match(film: Any) -> Matches:
        asked.append(len(film))
        none = np.zeros(0, int)
        return Matches(none, none, np.zeros((0, 2, 2)), np.zeros((0, 2), int))

    monkeypatch.setattr(wrist, "match_frames", match)
    episode = make_truth(0, 12).episode
    rows = np.linspace(0, 11, 300).astype(int)
    longer = replace(
        episode, cameras={"wrist": MemoryFrames(episode.cameras["wrist"].read()[rows])},
        joint_position=np.asarray(episode.joint_position)[rows],
        cartesian_position=np.asarray(episode.cartesian_position)[rows],
        gripper_position=np.asarray(episode.gripper_position)[rows],
    )  # fmt: skip
    cameras = stages(tmp_path, longer)
    with pytest.raises(Refused, match="camera wrist"):
        cameras.wrist()
    assert asked == [wrist.MOST_MATCHED]  # of three hundred


@pytest.mark.parametrize("millimetres", [0.0, 30.0])
def test_a_wrist_camera_that_the_dataset_gives_is_used_where_the_film_bears_it_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, millimetres: float
) -> None:
    flange = flange_path(np.random.default_rng(0))
    matches = seen(flange)
    monkeypatch.setattr(wrist, "match_frames", lambda film: matches)
    monkeypatch.setattr(wrist, "mount_poses", lambda *_: flange)
    searched = check_hand_eye(matches, flange, given())[1]
    monkeypatch.setattr(wrist, "solve_hand_eye", lambda *_, **__: searched)
    pose = hand_eye()
    pose[0, 3] += millimetres / 1000
    told = {"wrist": camera_facts(Camera(160, 96, FOCAL, FOCAL, 80, 48, pose))}
    found = stages(tmp_path, replace(make_truth(0, 12).episode, metadata={CALIBRATION: told})).wrist()
    away = np.linalg.norm(found.camera_to_base[:3, 3] - hand_eye()[:3, 3])
    assert (away == 0) if millimetres == 0 else (0 < away < 0.001), "a wrong one is looked for"


@pytest.mark.parametrize("found_at", [0, 1, 2])
def test_a_wrist_camera_that_pairs_of_frames_contradict_is_searched_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found_at: int
) -> None:
    """As many of its features may be at their lines, where the search was lost."""
    flange = flange_path(np.random.default_rng(0))
    matches = seen(flange)
    right = check_hand_eye(matches, flange, given())[1]
    pose = hand_eye()
    pose[:3, :3] = pose[:3, :3] @ Rotation.from_rotvec([0.0, 0.2, 0.0]).as_matrix()
    wrong = replace(right, camera_to_flange=pose, explained=0.9 * right.explained)
    asked: list[int] = []

    def solve(*_: Any, seed: int, **__: Any) -> HandEye:
        asked.append(seed)
        return right if seed == found_at else wrong

    monkeypatch.setattr(wrist, "match_frames", lambda film: matches)
    monkeypatch.setattr(wrist, "mount_poses", lambda *_: flange)
    monkeypatch.setattr(wrist, "solve_hand_eye", solve)
    cameras = stages(tmp_path, make_truth(0, 12).episode)
    if found_at == wrist.ATTEMPTS:
        with pytest.raises(Refused, match="turns otherwise"):
            cameras.wrist()
    else:
        np.testing.assert_allclose(cameras.wrist().camera_to_base, right.camera_to_flange)
    assert asked == list(range(min(found_at + 1, wrist.ATTEMPTS)))


@pytest.mark.parametrize(("offset", "refused"), [(0.0, False), (0.15, True)])
def test_a_joint_that_is_recorded_with_a_wrong_zero_refuses_the_twin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offset: float, refused: bool
) -> None:
    true = HOME + np.random.default_rng(0).uniform(-0.3, 0.3, (FRAMES, 7))
    told = true + offset * np.eye(7)[3]
    matches = seen(flange_poses(true, PandaKinematics()))
    near = check_hand_eye(matches, flange_poses(told, PandaKinematics()), given())[1]
    monkeypatch.setattr(wrist, "match_frames", lambda film: matches)
    monkeypatch.setattr(wrist, "solve_hand_eye", lambda *_, **__: near)
    cameras = stages(tmp_path, replace(make_truth(0, FRAMES).episode, joint_position=told))
    if refused:
        with pytest.raises(Refused, match=r"joint 4 of 7 is recorded \+8\.6 degrees off"):
            cameras.wrist()
    else:
        np.testing.assert_allclose(cameras.wrist().camera_to_base, near.camera_to_flange)


def later(lag: float) -> tuple[FloatArray, FloatArray]:
    """Joints `(FRAMES, 7)` at a film's frames, two a second, and as they are recorded `lag` s too early."""
    frames = np.arange(FRAMES) / 2
    path = CubicSpline(np.linspace(0, frames[-1], 7), HOME + np.random.default_rng(0).uniform(-0.3, 0.3, (7, 7)))
    return path(frames), path(frames - lag)


@pytest.mark.parametrize(("lag", "corrected"), [(0.03, 30), (-0.06, -60), (0.004, 0), (0.4, 0)])
def test_joints_that_lag_by_less_than_half_a_frame_are_taken_at_the_films_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lag: float, corrected: float
) -> None:
    filmed, told = later(lag)
    matches = seen(flange_poses(filmed, PandaKinematics()))
    monkeypatch.setattr(wrist, "match_frames", lambda film: matches)
    monkeypatch.setattr(
        wrist, "solve_hand_eye", lambda found, poses, *_, **__: check_hand_eye(found, poses, given())[1]
    )
    cameras = stages(tmp_path, replace(make_truth(0, FRAMES).episode, joint_position=told, fps=2.0))
    if lag > 0.25:
        with pytest.raises(Refused, match=r"of different times|later than the joints"):
            cameras.wrist()
        return
    found = cameras.wrist()
    away = np.linalg.norm(found.camera_to_base[:3, 3] - hand_eye()[:3, 3])
    assert cameras.measures["wrist"]["lag_ms"] == pytest.approx(1000 * lag, abs=3)
    assert cameras.measures["wrist"]["corrected_ms"] == pytest.approx(corrected, abs=3)
    if not corrected:
        np.testing.assert_array_equal(cameras.episode.joint_position, told)
        return
    assert away < 0.004  # 24 mm with joints as they were recorded
    off = np.abs(np.asarray(cameras.episode.joint_position) - filmed)
    assert np.median(off) < 0.3 * np.median(np.abs(told - filmed))


def test_an_answer_stands_where_joints_at_the_films_time_give_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filmed, told = later(0.006)
    monkeypatch.setattr(wrist, "LEAST_LAG", 0.003)
    matches = seen(flange_poses(filmed, PandaKinematics()))
    asked: list[FloatArray] = []

    def solve(found: Matches, poses: FloatArray, *_: Any, **__: Any) -> HandEye:
        asked.append(poses)
        if not np.array_equal(poses, asked[0]):
            raise InvalidInput("the wrist camera's frames share too little")
        return check_hand_eye(found, poses, given())[1]

    monkeypatch.setattr(wrist, "match_frames", lambda film: matches)
    monkeypatch.setattr(wrist, "solve_hand_eye", solve)
    cameras = stages(tmp_path, replace(make_truth(0, FRAMES).episode, joint_position=told, fps=2.0))
    assert np.linalg.norm(cameras.wrist().camera_to_base[:3, 3] - hand_eye()[:3, 3]) < 0.02
    assert len(asked) == 2
    assert cameras.measures["wrist"]["corrected_ms"] == 0
    np.testing.assert_array_equal(cameras.episode.joint_position, told)


def test_an_episode_at_its_films_time_keeps_what_was_recorded_besides() -> None:
    episode = make_truth(0, 12).episode
    assert at_film_time(episode, 0.0) is episode
    ramp = np.arange(12.0)[:, None] * np.ones(7) / episode.fps
    moved = at_film_time(replace(episode, joint_position=ramp, gripper_position=ramp[:, :1]), 0.05)
    np.testing.assert_allclose(moved.joint_position, ramp + 0.05)
    np.testing.assert_allclose(np.asarray(moved.gripper_position)[:-1, 0], ramp[:-1, 0] + 0.05)
    assert moved.gripper_position[-1, 0] == ramp[-1, 0], "of after the last frame nothing is known"
    np.testing.assert_array_equal(moved.cartesian_position, episode.cartesian_position)
