from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arena.contracts import InvalidInput
from tests.worldmodels.factories import moving_square
from worldmodels.actions import (
    ActionStatistics,
    action_tokens,
    measure_statistics,
    normalise,
)
from worldmodels.config import ActionRepresentation

EPISODES = [moving_square(seed) for seed in range(6)]


@pytest.mark.parametrize("representation", list(ActionRepresentation))
def test_tokens_of_a_turning_wrist_never_jump(representation: ActionRepresentation) -> None:
    statistics = measure_statistics(EPISODES, representation)
    poses = np.zeros((200, 7))
    # One and a half turns about x, recorded in (-pi, pi] as robots do: it wraps on the way.
    poses[:, 3] = (np.linspace(0, 3 * np.pi, 200) + np.pi) % (2 * np.pi) - np.pi
    assert np.abs(np.diff(poses[:, 3])).max() > 6
    wide = ActionStatistics(
        low=(-10.0,) * representation.width,
        high=(10.0,) * representation.width,
        euler_reference=statistics.euler_reference,
        clip=2.0,
    )
    tokens = action_tokens(poses, representation, wide)
    assert tokens.shape == (200, representation.width)
    assert np.abs(np.diff(tokens, axis=0)).max() < 0.02


def test_euler_angles_start_on_the_branch_of_the_training_data() -> None:
    statistics = measure_statistics(EPISODES, ActionRepresentation.EULER)
    below, above = np.zeros((2, 7)), np.zeros((2, 7))
    below[:, 3], above[:, 3] = np.pi - 0.01, -np.pi + 0.01
    a = action_tokens(below, ActionRepresentation.EULER, statistics)
    b = action_tokens(above, ActionRepresentation.EULER, statistics)
    span = statistics.high[3] - statistics.low[3]
    # The same pose but for 0.02 rad, on either side of the wrap.
    np.testing.assert_allclose(np.abs(a - b).max(), 2 * 0.02 / span, rtol=0.01)


@given(st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_normalisation_maps_the_percentiles_to_one_and_clips(length: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    low = rng.normal(size=10)
    high = low + rng.uniform(0.1, 3, 10)
    statistics = ActionStatistics(tuple(low), tuple(high), (0.0,) * 3, clip=1.25)
    np.testing.assert_allclose(normalise(low, statistics), -1, atol=1e-6)
    np.testing.assert_allclose(normalise(high, statistics), 1, atol=1e-6)
    far = normalise(rng.normal(0, 100, (length, 10)), statistics)
    assert np.abs(far).max() <= 1.25


def test_a_number_that_never_varies_is_not_blown_up() -> None:
    statistics = measure_statistics(EPISODES, ActionRepresentation.ROTATION_6D)
    poses = moving_square(99).state
    poses[:, 2] += 1e-6  # z never moved in training
    assert np.abs(action_tokens(poses, ActionRepresentation.ROTATION_6D, statistics)[:, 2]).max() < 1e-4


def test_statistics_survive_json_and_name_what_is_wrong() -> None:
    statistics = measure_statistics(EPISODES, ActionRepresentation.ROTATION_6D)
    assert ActionStatistics.from_dict(statistics.to_dict()) == statistics
    with pytest.raises(InvalidInput, match="high"):
        ActionStatistics.from_dict({"low": [0.0]})
