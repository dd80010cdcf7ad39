"""Which static cameras are tried again, and with what."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arena.contracts import InvalidInput
from real2sim.camera import CALIBRATION, Camera, calibrated, camera_facts
from real2sim.cameras.exterior import ExteriorFit, RobotUnseen
from real2sim.cameras.gates import Gate, certainty_gate, given_gate, silhouette_gate
from real2sim.reconstruct import posing
from real2sim.reconstruct.ledger import Ledger, Refused
from real2sim.reconstruct.posing import CameraStages
from real2sim.reconstruct.settings import BuildSettings
from real2sim.truth import make_truth

NAMES = ["exterior_1", "exterior_2"]


def a_fit(focal: float, iou: float, error: float = 0.001) -> ExteriorFit:
    return ExteriorFit(Camera(160, 96, focal, focal, 80, 48, np.eye(4)), iou, 0.1, 0.9, error)


def stages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fits: dict[tuple[str, float | None], ExteriorFit]
) -> tuple[CameraStages, list[tuple[str, float | None]]]:
    """Stages whose solver answers with `fits`, by a camera's name and the lens that its search begins with."""
    asked: list[tuple[str, float | None]] = []

    def solve(episode: Any, name: str, *, lens: float | None, **rest: Any) -> ExteriorFit:
        asked.append((name, lens))
        if (name, lens) not in fits:
            raise RobotUnseen(f"camera {name} does not show the robot move: choose another camera", 0.001)
        return fits[name, lens]

    monkeypatch.setattr(posing, "solve_exterior", solve)
    episode = make_truth(0, 12).episode
    return CameraStages(episode, BuildSettings(), Ledger(tmp_path, "key", lambda line: None)), asked


def test_a_camera_that_is_not_found_is_tried_with_the_lens_of_one_that_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fits = {
        ("exterior_1", None): a_fit(120.0, 0.1),
        ("exterior_2", None): a_fit(66.0, 0.9),
        ("exterior_1", 66.0): a_fit(67.0, 0.8),
    }
    cameras, asked = stages(tmp_path, monkeypatch, fits)
    found = cameras.exteriors(NAMES)
    assert found["exterior_1"].fx == 67.0
    assert cameras.left_out == []
    assert asked == list(fits)


@pytest.mark.parametrize(("again", "focal"), [(0.7, 67.0), (0.4, 120.0)])
def test_of_two_lenses_the_one_that_shows_the_robot_worse_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, again: float, focal: float
) -> None:
    """One rig's cameras are mostly of one kind; the second search counts only where it is better."""
    fits = {
        ("exterior_1", None): replace(a_fit(120.0, 0.9), mask_iou=0.5),
        ("exterior_2", None): replace(a_fit(66.0, 0.9), mask_iou=0.8),
        ("exterior_1", 66.0): replace(a_fit(67.0, 0.9), mask_iou=again),
    }
    cameras, asked = stages(tmp_path, monkeypatch, fits)
    assert cameras.exteriors(NAMES)["exterior_1"].fx == focal
    assert asked == list(fits)
    assert cameras.measures["exterior_1"] == {"robot_mask_iou": max(0.5, again)}


def test_lenses_that_are_alike_are_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fits = {("exterior_1", None): a_fit(68.0, 0.9), ("exterior_2", None): a_fit(66.0, 0.9)}
    cameras, asked = stages(tmp_path, monkeypatch, fits)
    assert set(cameras.exteriors(NAMES)) == set(NAMES)
    assert asked == list(fits)


def test_one_that_stays_lost_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fits = {
        ("exterior_1", None): a_fit(120.0, 0.1),
        ("exterior_2", None): a_fit(66.0, 0.9),
        ("exterior_1", 66.0): a_fit(120.0, 0.2),
    }
    cameras, _ = stages(tmp_path, monkeypatch, fits)
    assert set(cameras.exteriors(NAMES)) == {"exterior_2"}
    assert cameras.left_out == ["exterior_1"]


@pytest.mark.parametrize(("focal", "again"), [(68.0, False), (120.0, True)])
def test_one_that_is_only_uncertain_is_tried_again_where_its_lens_is_unlike_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, focal: float, again: bool
) -> None:
    fits = {("exterior_1", None): a_fit(focal, 0.9, error=0.05), ("exterior_2", None): a_fit(66.0, 0.9)}
    if again:
        fits["exterior_1", 66.0] = a_fit(67.0, 0.9)
    cameras, asked = stages(tmp_path, monkeypatch, fits)
    assert set(cameras.exteriors(NAMES)) == ({"exterior_1", "exterior_2"} if again else {"exterior_2"})
    assert asked == list(fits)


def test_one_that_never_shows_the_robot_move_is_left_out_and_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cameras, asked = stages(tmp_path, monkeypatch, {("exterior_2", None): a_fit(66.0, 0.9)})
    assert set(cameras.exteriors(NAMES)) == {"exterior_2"}
    assert cameras.left_out == ["exterior_1"]
    assert asked == [(name, None) for name in NAMES]
    assert set(cameras.measures) == {"exterior_2"}
    cameras, _ = stages(tmp_path / "none", monkeypatch, {})
    with pytest.raises(Refused, match="choose another camera"):
        cameras.exteriors(NAMES)


def test_a_gate_says_which_of_its_conditions_failed() -> None:
    camera = a_fit(66.0, 0.9).camera
    blurred, hidden = ExteriorFit(camera, 0.9, 2.0, 0.9, 0.001), ExteriorFit(camera, 0.9, 0.1, 0.4, 0.001)
    assert silhouette_gate(a_fit(66.0, 0.9), "one").passed
    assert (silhouette_gate(blurred, "one").value, silhouette_gate(hidden, "one").value) == (2.0, 0.4)
    assert not silhouette_gate(blurred, "one").passed
    endless = certainty_gate(a_fit(66.0, 0.9, error=float("inf")), "one")
    assert Gate.of(json.loads(json.dumps(endless.facts(), allow_nan=False))) == endless


def test_a_robot_that_hovers_is_believed_by_what_the_film_shows_before_the_scene_without_it() -> None:
    hovering = replace(a_fit(66.0, 0.49), mask_iou=0.78)
    gate = silhouette_gate(hovering, "one")
    assert gate.passed
    assert gate.value == 0.78
    assert "as the film shows it" in gate.metric
    turned = silhouette_gate(replace(hovering, mask_iou=0.66), "one")
    assert not turned.passed
    assert "not where its joints say" in turned.reason
    followed = silhouette_gate(replace(hovering, feature_share=0.6), "one")
    assert followed.passed
    assert followed.value == 0.6
    assert given_gate(hovering, "one").value == 0.78
    assert not given_gate(replace(hovering, mask_iou=0.66), "one").passed
    assert given_gate(replace(hovering, iou=0.6), "one").value == 0.6


def test_without_any_camera_the_first_ones_gate_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fits = {("exterior_1", None): a_fit(120.0, 0.1), ("exterior_2", None): a_fit(66.0, 0.2)}
    cameras, asked = stages(tmp_path, monkeypatch, fits)
    with pytest.raises(Refused, match="exterior_1"):
        cameras.exteriors(NAMES)
    assert asked == list(fits)


def test_a_camera_that_the_dataset_gives_is_checked_and_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    truth = make_truth(1, 30)
    given = {name: camera_facts(camera) for name, camera in truth.exterior.items()}
    cameras, asked = stages(tmp_path, monkeypatch, {})
    cameras.episode = replace(truth.episode, metadata={CALIBRATION: given})
    found = cameras.exteriors(sorted(truth.exterior))
    assert asked == []
    assert all(np.allclose(found[name].camera_to_base, truth.exterior[name].camera_to_base) for name in found)
    assert set(found) == set(truth.exterior)


def test_a_camera_that_the_dataset_is_wrong_about_is_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = make_truth(1, 30)
    elsewhere = replace(truth.exterior["exterior_1"], camera_to_base=truth.exterior["exterior_2"].camera_to_base)
    cameras, asked = stages(tmp_path, monkeypatch, {("exterior_1", None): a_fit(120.0, 0.9)})
    cameras.episode = replace(truth.episode, metadata={CALIBRATION: {"exterior_1": camera_facts(elsewhere)}})
    assert cameras.exteriors(["exterior_1"])["exterior_1"].fx == 120.0
    assert asked == [("exterior_1", None)]


def test_a_calibration_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidInput, match="are no cameras"):
        calibrated({CALIBRATION: {"exterior_1": {"width": 3}}})
