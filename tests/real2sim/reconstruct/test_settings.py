"""How a twin is built: what is refused, and the shape of a film's pixels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from arena.contracts import InvalidInput
from real2sim.reconstruct.naming import named_in
from real2sim.reconstruct.scene import scene_gate
from real2sim.reconstruct.settings import BuildSettings
from real2sim.truth import make_truth
from real2sim.twin.support import SupportPlane


def test_pixels_are_square_unless_a_film_was_squeezed() -> None:
    episode = make_truth(0, 12).episode  # 160x96
    assert BuildSettings().aspect(episode, "wrist") == 1.0
    droid = replace(episode, metadata={"filmed_as": 16 / 9})
    assert BuildSettings().aspect(droid, "wrist") == pytest.approx(16 / 9 * 96 / 160)
    assert BuildSettings(filmed_as=5 / 3).aspect(droid, "wrist") == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"engine": "none"}, "no engine 'none'"),
        ({"filmed_as": 16.0}, "16:9 is 1.778"),
        ({"steps": 0}, "at least 1 step"),
        ({"wrist_frames": 3}, "8 wrist frames"),
        ({"seed": -1}, "a seed of 0"),
        ({"generator": "blocks"}, "needs the masks of a segmenter"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        BuildSettings(**settings)  # type: ignore[arg-type]


def test_an_instruction_that_names_nothing_asks_no_segmenter() -> None:
    said: list[str] = []
    plane = SupportPlane(*(None,) * 5)  # type: ignore[arg-type]
    assert named_in("wave", [], plane, BuildSettings(segmenter="nowhere"), said.append) == []
    assert "names no thing" in said[0]
    assert named_in("take the cup", [], plane, BuildSettings()) == []


def test_a_segmenter_that_is_not_there_is_named() -> None:
    plane = SupportPlane(*(None,) * 5)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="nowhere/owlv2 has no"):
        named_in("take the cup", [], plane, BuildSettings(segmenter="nowhere"))


def test_a_scene_without_views_to_hold_out_proves_nothing() -> None:
    assert scene_gate(np.array([25.0, 21.0])).passed
    assert "cameras are wrong" in scene_gate(np.array([25.0, 15.0, 12.0])).reason
    empty = scene_gate(np.zeros(0))
    assert not empty.passed
    assert "leaves more of its scene alone" in empty.reason
