"""Suites: a twin, its perturbed partners, and who belongs to whom."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from arena.contracts import InvalidInput
from real2sim.twin.bundle import Twin
from real2sim.twin.render import Backdrop
from real2sim.twin.suite import partners, write_suite
from real2sim.twin.world import TwinWorld


def test_a_suite_is_one_world_whose_twins_know_their_partner(tmp_path: Path, small_twin: Twin) -> None:
    keys, left_out = write_suite(small_twin, tmp_path, ["camera", "object_pose"], each=2, seed=5, strength=1.0)
    assert not left_out
    assert sorted(TwinWorld.load(tmp_path).keys) == sorted(keys)
    with pytest.raises(InvalidInput, match="holds twins already"):
        write_suite(small_twin, tmp_path, ["camera"], each=1, seed=0, strength=1.0)
    found = partners(tmp_path)
    assert set(found) == set(keys) - {"episode-1"}
    assert {partner.of for partner in found.values()} == {"episode-1"}
    assert sorted(partner.axis for partner in found.values()) == ["camera", "camera", "object_pose", "object_pose"]


def test_axes_that_a_twin_has_nothing_for_are_left_out_and_named(tmp_path: Path, small_twin: Twin) -> None:
    bare = replace(small_twin, objects=(), splats={})
    keys, left_out = write_suite(bare, tmp_path, ["object_pose", "lighting"], each=1, seed=0, strength=1.0)
    assert keys == ["episode-1", "episode-1+lighting-0"]
    assert "0 things" in left_out["object_pose"]
    with pytest.raises(InvalidInput, match="nothing of this twin"):
        write_suite(bare, tmp_path / "b", ["object_pose"], each=1, seed=0, strength=1.0)
    image = np.zeros((30, 40, 3), np.uint8)
    before_film = replace(small_twin, backdrops={"exterior_1": Backdrop(image, np.full((30, 40), np.inf))})
    axes = ["background", "table_color", "camera", "lighting"]
    _, left_out = write_suite(before_film, tmp_path / "d", axes, each=1, seed=0, strength=1.0)
    assert sorted(left_out) == ["background", "camera", "table_color"]
    with pytest.raises(InvalidInput, match="no axis 'light'"):
        write_suite(bare, tmp_path / "c", ["lighting", "light"], each=1, seed=0, strength=1.0)
    for refused in ("b", "c"):
        assert not (tmp_path / refused).exists()  # What is put right can be written there.
