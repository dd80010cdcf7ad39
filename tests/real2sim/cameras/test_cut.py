"""A minimum cut: against every part of a small picture, and what it does with holes and threads."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from arena.contracts import FloatArray
from real2sim.cameras.cut import minimum_cut


def gain(evidence: FloatArray, inside: NDArray[np.bool_], smoothness: float) -> float:
    border = (inside[1:] != inside[:-1]).sum() + (inside[:, 1:] != inside[:, :-1]).sum()
    return float(evidence[inside].sum() - smoothness * border)


@pytest.mark.parametrize("seed", range(6))
def test_no_other_part_is_better(seed: int) -> None:
    rng = np.random.default_rng(seed)
    evidence = rng.normal(0, 2, (3, 4)).round(2)
    smoothness = round(float(rng.uniform(0, 2)), 2)
    parts = (np.array(part).reshape(3, 4) for part in product([False, True], repeat=12))
    best = max(gain(evidence, part, smoothness) for part in parts)
    assert gain(evidence, minimum_cut(evidence, smoothness), smoothness) == pytest.approx(best)


def test_holes_are_filled_and_threads_go() -> None:
    evidence = np.full((30, 40), -1.0)
    evidence[5:25, 5:25] = 3
    evidence[12:15, 12:15] = -1
    evidence[3, 25:38] = 3
    square = np.zeros((30, 40), bool)
    square[5:25, 5:25] = True
    assert (minimum_cut(evidence, 3.0) ^ square).sum() <= 4, "but for its corners"
    assert (minimum_cut(evidence, 0.0) == (evidence > 0)).all()


def test_a_picture_without_evidence_has_no_part() -> None:
    assert not minimum_cut(np.full((4, 5), -1.0), 1.0).any()
    assert minimum_cut(np.full((4, 5), 1.0), 1.0).all()
