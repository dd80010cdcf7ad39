"""Who votes for one policy only is found out, on real votes, and moves nothing; honest voters are left alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from arena.votes.reliability import Checks, Votes, as_votes, reliability
from arena.votes.standing import strengths, wins_table

SCORES = {"left": 1.0, "right": 0.0, "tie": 0.5}
RIGGED = 100


@pytest.fixture(scope="module")
def honest(shared: Path) -> Votes:
    import csv

    with (shared / "data" / "votes" / "llmfao.csv").open(newline="") as stream:
        rows = [(row["left"], row["right"], SCORES[row["winner"]], row["worker"]) for row in csv.DictReader(stream)]
    return as_votes(rows)


def places(votes: Votes, weights: np.ndarray) -> np.ndarray:
    """`(K,)` ranks from 1."""
    strength, _ = strengths(wins_table(len(votes.policies), votes.left, votes.right, votes.score, weights))
    return 1 + (strength[None, :] > strength[:, None]).sum(axis=1)


def rigged(votes: Votes, target: int, seed: int) -> Votes:
    """One more voter, for whom `target` wins against whomever it meets."""
    random = np.random.default_rng(seed)
    others = np.delete(np.arange(len(votes.policies)), target)
    opponent, on_left = random.choice(others, RIGGED), random.random(RIGGED) < 0.5
    return Votes(
        votes.policies, (*votes.voters, "rigger"),
        np.concatenate([votes.left, np.where(on_left, target, opponent)]),
        np.concatenate([votes.right, np.where(on_left, opponent, target)]),
        np.concatenate([votes.score, on_left.astype(float)]),
        np.concatenate([votes.voter, np.full(RIGGED, len(votes.voters))]),
    )  # fmt: skip


@pytest.mark.parametrize("place", [10, 20, 30, 40, 50])
def test_a_hundred_votes_for_one_target_are_flagged_and_move_no_rank(honest: Votes, place: int) -> None:
    """Row 15 of docs/reliability.md. Without weights the same votes do move it."""
    before = reliability(honest, Checks.none(len(honest.voters)))
    ranks = places(honest, before.weights)
    target = int(np.flatnonzero(ranks == place)[0])
    attacked = rigged(honest, target, seed=place)
    found = reliability(attacked, Checks.none(len(attacked.voters)))
    assert found.flagged[-1, target]
    assert (found.weights[-RIGGED:] == 0).all()
    assert places(attacked, found.weights)[target] == place
    assert places(attacked, np.ones(len(attacked.score)))[target] < place
    assert "favours or disfavours" in " ".join(found.reasons(attacked, len(attacked.voters) - 1))


def test_few_of_the_real_voters_are_flagged(honest: Votes) -> None:
    found = reliability(honest, Checks.none(len(honest.voters)))
    assert found.flagged.any(axis=1).mean() < 0.05
