"""A world model that imagines one task too well: the judge learns to discount it, and no other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from arena.learned.judging.films import Film
from arena.learned.judging.fitting import calibrated
from arena.learned.judging.judge import LearnedJudge
from tests.arena.learned.test_judge import BLUE, RED, films, folder, judge  # noqa: F401


@pytest.fixture
def wary(judge: LearnedJudge) -> LearnedJudge:  # noqa: F811
    """Calibrated where every second trial that looks like a success under `RED` was none in truth."""
    shown = films(192, 2000, imagined=True)
    return calibrated(judge.fitted, judge.card, [_in_truth(film, n) for n, film in enumerate(shown)], seed=0)


def _in_truth(film: Film, number: int) -> Film:
    hallucinated = film.instruction == RED and bool(film.success) and (number // 4) % 2 == 0
    return replace(film, success=False) if hallucinated else film


def mean_probability(judge: LearnedJudge, instruction: str) -> float:  # noqa: F811
    """Of trials that look like successes."""
    tried = [film for film in films(96, 7000, imagined=True) if film.instruction == instruction and film.success]
    said = [judge.judge_film(film).success_probability for film in tried]
    return float(np.mean([probability for probability in said if probability is not None]))


def test_what_is_imagined_too_well_is_discounted_by_instruction(wary: LearnedJudge) -> None:
    assert 0.35 < mean_probability(wary, RED) < 0.7
    assert mean_probability(wary, BLUE) > 0.8


def test_a_judges_folder_keeps_every_instructions_calibration(wary: LearnedJudge, tmp_path: Path) -> None:
    wary.save(tmp_path / "wary")
    loaded = LearnedJudge.load(tmp_path / "wary")
    assert loaded.sha256 == wary.sha256
    assert loaded.fitted.logistic.own.keys() == {RED, BLUE}
    assert mean_probability(loaded, RED) == pytest.approx(mean_probability(wary, RED), abs=1e-6)
