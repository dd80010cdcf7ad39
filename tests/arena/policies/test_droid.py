"""What DROID policies see and what their actions mean, against openpi's own code and real recordings."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from arena.contracts import ActionSpace
from arena.policies.droid import (
    DROID_ACHIEVED_VELOCITY,
    DROID_COMMANDED_VELOCITY,
    resize_with_pad,
    to_contract_units,
)

DROID_HZ = 15.0


@pytest.mark.parametrize(
    "size", [(192, 320), (180, 320), (720, 1280), (224, 224), (300, 200), (4, 6), (480, 640), (223, 7)]
)
@pytest.mark.parametrize("target", [(224, 224), (64, 96)])
def test_images_are_those_of_openpi_client(size: tuple[int, int], target: tuple[int, int]) -> None:
    oracle = pytest.importorskip("openpi_client.image_tools", reason="openpi-client is not installed")
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    np.testing.assert_array_equal(resize_with_pad(image, *target), oracle.resize_with_pad(image, *target))


def test_a_wide_image_gets_black_bars_above_and_below() -> None:
    padded = resize_with_pad(np.full((192, 320, 3), 200, dtype=np.uint8), 224, 224)
    assert padded.shape == (224, 224, 3)
    assert not padded[:45].any()
    assert not padded[179:].any()
    assert (padded[45:179] == 200).all()


def test_normalised_velocities_are_clipped_and_scaled_and_si_ones_are_not() -> None:
    raw = np.array([[0.5, -3.0, 0, 0, 0, 0, 1.2, 1.4]])
    scaled = to_contract_units(raw, ActionSpace.JOINT_VELOCITY, 0.5)
    np.testing.assert_allclose(scaled, [[0.25, -0.5, 0, 0, 0, 0, 0.5, 1.0]])
    np.testing.assert_allclose(to_contract_units(raw, ActionSpace.JOINT_VELOCITY, None)[0, :7], raw[0, :7])
    np.testing.assert_allclose(to_contract_units(raw, ActionSpace.JOINT_POSITION, None)[0, :7], raw[0, :7])
    assert raw[0, 7] == 1.4


def recordings(shared: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Measured joints and normalised joint velocity actions, `(T, 7)` each at 15 Hz, of the seven DROID episodes."""
    files = sorted((shared / "data" / "droid" / "droid_subset" / "annotation").glob("*/*.json"))
    episodes = [json.loads(file.read_text()) for file in files]
    keys = ("observation.state.joint_position", "action.joint_velocity")
    return [tuple(np.array(episode[key]) for key in keys) for episode in episodes]  # type: ignore[misc]


def test_the_default_velocity_scale_is_what_droid_robots_achieve(shared: Path) -> None:
    """Least squares of the displacement over 1 s on the integrated actions; the commanded scale is four times off."""
    steps, pairs = int(DROID_HZ), []
    for joints, velocity in recordings(shared):
        path = np.vstack([np.zeros(7), np.cumsum(velocity, axis=0)])[: len(joints)] / DROID_HZ
        pairs.append((path[steps:] - path[:-steps], joints[steps:] - joints[:-steps]))
    assert len(pairs) == 7
    commanded, achieved = (np.concatenate(side) for side in zip(*pairs, strict=True))
    assert (commanded * achieved).sum() / (commanded**2).sum() == pytest.approx(DROID_ACHIEVED_VELOCITY, abs=0.01)

    def error(scale: float) -> float:
        return float(np.sqrt(((achieved - scale * commanded) ** 2).mean()))

    assert error(DROID_ACHIEVED_VELOCITY) < 0.4 * error(0.0)
    assert error(DROID_COMMANDED_VELOCITY) > 2.0 * error(0.0)
