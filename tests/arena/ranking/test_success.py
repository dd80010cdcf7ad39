"""Beta posteriors of success rates, and letters."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import beta

from arena.contracts import InvalidInput
from arena.ranking import success_rates
from arena.ranking.letters import letters
from arena.ranking.success import probability_better


@settings(max_examples=100, deadline=None)
@given(
    st.integers(1, 9).flatmap(lambda k: st.tuples(st.just(k), st.lists(st.booleans(), min_size=k * k, max_size=k * k)))
)
def test_sharing_a_letter_is_not_being_told_apart(given_: tuple[int, list[bool]]) -> None:
    size, flags = given_
    apart = np.triu(np.array(flags).reshape(size, size), 1)
    found = letters(apart, range(size))
    assert all(found)
    for i in range(size):
        for j in range(i + 1, size):
            assert bool(set(found[i]) & set(found[j])) != bool(apart[i, j])


def test_letters_of_a_ladder() -> None:
    apart = np.array([[0, 0, 1, 1], [0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0]], dtype=bool)
    assert letters(apart, range(4)) == [("a",), ("a", "b"), ("b", "c"), ("c",)]
    assert letters(np.triu(np.ones((60, 60), dtype=bool), 1), range(60))[53] == ("b1",)


@pytest.mark.parametrize(
    "counts", [((8, 10), (5, 10)), ((0, 20), (20, 20)), ((500, 1000), (540, 1000)), ((0, 0), (3, 4))]
)
def test_the_probability_of_being_better_is_the_integral(counts: tuple[tuple[int, int], tuple[int, int]]) -> None:
    a = np.array([won + 0.5 for won, _ in counts])
    b = np.array([tried - won + 0.5 for won, tried in counts])
    value, _ = quad(lambda u: beta.cdf(beta.ppf(u, a[0], b[0]), a[1], b[1]), 0, 1, epsabs=1e-9, limit=500)
    found = probability_better(a, b)
    assert found[0, 1] == pytest.approx(value, abs=2e-6)
    assert found[0, 1] + found[1, 0] == pytest.approx(1, abs=1e-5)


def test_rates_best_first_with_honest_ends() -> None:
    found = success_rates({"never": (0, 10), "always": (10, 10), "half": (50, 100), "untried": (0, 0)})
    by_name = {rate.policy: rate for rate in found}
    assert found[0].policy == "always"
    assert (by_name["always"].high, by_name["never"].low) == (1.0, 0.0)
    assert by_name["always"].low < 0.85
    assert (by_name["untried"].low, by_name["untried"].high) == (0.0, 1.0)
    assert set(by_name["untried"].letters) & set(by_name["always"].letters)
    assert not set(by_name["never"].letters) & set(by_name["always"].letters)


def test_intervals_cover_and_equal_rates_are_not_told_apart() -> None:
    rng = np.random.default_rng(0)
    held, wrong = [], []
    for _ in range(100):
        found = success_rates({f"p{i}": (int(rng.binomial(40, 0.6)), 40) for i in range(5)})
        held += [rate.low <= 0.6 <= rate.high for rate in found]
        wrong.append(len({letter for rate in found for letter in rate.letters}) > 1)
    assert 0.93 <= np.mean(held) <= 0.98
    assert np.mean(wrong) <= 0.06


@pytest.mark.parametrize("counts", [(3, 2), (-1, 2)])
def test_impossible_counts_are_refused(counts: tuple[int, int]) -> None:
    with pytest.raises(InvalidInput, match="between 0 and"):
        success_rates({"a": counts})
