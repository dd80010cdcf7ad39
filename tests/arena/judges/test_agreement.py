"""Kappa and alpha against published worked examples and another library."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from statsmodels.stats.inter_rater import cohens_kappa

from arena.contracts import InvalidInput
from arena.judges.agreement import bootstrapped, cohen_kappa, krippendorff_alpha

QUICK = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def from_table(table: list[list[int]]) -> tuple[list[int], list[int]]:
    cells = [(row, column) for row, counts in enumerate(table) for column, n in enumerate(counts) for _ in range(n)]
    return [row for row, _ in cells], [column for _, column in cells]


@pytest.mark.parametrize(
    ("table", "kappa"),
    [
        # Fleiss, Cohen and Everitt (1969), Psychol. Bull. 72, table 1: 200 cases, kappa = 0.429.
        ([[106, 10, 4], [22, 28, 10], [2, 12, 6]], 0.429),
        # Two tables with the same agreement and other margins (after Smeeton 1985): 0.1304 and 0.2593.
        ([[45, 15], [25, 15]], 0.1304),
        ([[25, 35], [5, 35]], 0.2593),
        ([[20, 5], [10, 15]], 0.4),
    ],
)
def test_kappa_on_published_tables(table: list[list[int]], kappa: float) -> None:
    first, second = from_table(table)
    assert cohen_kappa(first, second) == pytest.approx(kappa, abs=5e-4)
    assert cohen_kappa(first, second) == pytest.approx(cohens_kappa(np.array(table)).kappa)


def row(text: str) -> list[int | None]:
    return [None if letter == "." else int(letter) for letter in text]


# Krippendorff (2011), Computing Krippendorff's Alpha-Reliability.
OBSERVERS = [row("1233214 12...".replace(" ", "")), row("1233224125.3"), row(".33323422 51.".replace(" ", "")),
             row("12332441251.")]  # fmt: skip


@pytest.mark.parametrize(("metric", "alpha"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_alpha_on_the_example_with_four_observers_and_gaps(metric: str, alpha: float) -> None:
    assert krippendorff_alpha(OBSERVERS, metric) == pytest.approx(alpha, abs=5e-4)


def test_alpha_on_the_examples_with_two_observers() -> None:
    binary = [row("0100000010"), row("1110010000")]
    assert krippendorff_alpha(binary) == pytest.approx(0.095, abs=5e-4)
    letters = [list("aabbdcccedda"), list("babbbcccedd d".replace(" ", ""))]
    assert krippendorff_alpha(letters) == pytest.approx(0.692, abs=5e-4)


def test_alpha_with_three_coders_and_gaps() -> None:
    # Three coders on 15 units, of which three have at most one rating (Wikipedia, "Krippendorff's alpha").
    coders = [row(".....34121133.3"), row("1.213343......."), row("..21344.21133.4")]
    assert krippendorff_alpha(coders) == pytest.approx(0.691, abs=5e-4)
    assert krippendorff_alpha(coders, "interval") == pytest.approx(0.811, abs=5e-4)


@QUICK
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=2, max_size=30))
def test_who_is_first_makes_no_difference(pairs: list[tuple[int, int]]) -> None:
    first, second = [list(side) for side in zip(*pairs, strict=True)]
    for measure in (cohen_kappa, lambda one, other: krippendorff_alpha([one, other])):
        np.testing.assert_allclose(measure(first, second), measure(second, first))
    if first == second and len({*first}) > 1:
        assert cohen_kappa(first, second) == krippendorff_alpha([first, second]) == 1


def test_what_is_not_defined_is_nan_or_refused() -> None:
    assert np.isnan(cohen_kappa([], []))
    assert np.isnan(cohen_kappa([1, 1], [1, 1]))
    assert np.isnan(krippendorff_alpha([[1, None], [None, 1]]))
    assert np.isnan(krippendorff_alpha([]))
    with pytest.raises(InvalidInput, match="not 1 and 2"):
        cohen_kappa([1], [1, 2])
    with pytest.raises(InvalidInput, match="for every unit"):
        krippendorff_alpha([[1], [1, 2]])
    with pytest.raises(InvalidInput, match="nominal, ordinal"):
        krippendorff_alpha([[1], [1]], "ratio")


def test_an_interval_covers_about_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("arena.judges.agreement.DRAWS", 200)
    random = np.random.default_rng(0)
    inside = 0
    for trial in range(40):
        truth = random.random(60) < 0.5
        said = np.where(random.random(60) < 0.85, truth, ~truth)

        def kappa(units: NDArray[np.intp], said: NDArray[np.bool_] = said, truth: NDArray[np.bool_] = truth) -> float:
            return cohen_kappa(said[units].tolist(), truth[units].tolist())

        found = bootstrapped(kappa, 60, trial)
        assert found.low is not None
        assert found.high is not None
        inside += found.low <= 0.7 <= found.high
    assert inside >= 34
