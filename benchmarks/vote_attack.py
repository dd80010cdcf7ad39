"""How many rigged votes move a policy up the ranking, with and without what the voting desk does against them?

The honest votes are real ones (8,931 votes of 124 workers on 59 language models, ../shared/data/votes). An attacker
wants one policy to rise. Without defences they vote on whatever pair they like and every vote counts one. With them,
they are shown the pairs that the desk draws, so that few of these are of their policy; elsewhere they vote as the
ranking foretells, so as not to be noticed. They hold `--accounts` accounts, each of which casts as many votes as the
others; a share `knows` of the times they recognise which side is theirs, and otherwise they answer by coin. The
votes then weigh what `arena.votes.reliability` says.

    python benchmarks/vote_attack.py [--votes FILE] [--accounts 1 10] [--knows 0.6 0.8 1.0]
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from common import REPOSITORY, as_json, write
from numpy.typing import NDArray
from scipy.special import expit

from arena.votes.reliability import Checks, Votes, as_votes, reliability
from arena.votes.standing import strengths, wins_table

SCORES = {"left": 1.0, "right": 0.0, "tie": 0.5}
MOST = 200_000
"""Rigged votes: where more are needed, the answer is null."""
STEP = 1.25


@dataclass(frozen=True)
class Options:
    """`targets` are places in the honest ranking (1 is the best); `rises` by how many places they want to rise."""

    votes: Path = REPOSITORY.parent / "shared" / "data" / "votes" / "llmfao.csv"
    targets: tuple[int, ...] = (10, 20, 30, 40, 50)
    rises: tuple[int, ...] = (1, 3, 5)
    knows: tuple[float, ...] = (0.6, 0.8, 1.0)
    accounts: tuple[int, ...] = (1, 10)
    seed: int = 0


@dataclass(frozen=True)
class Attack:
    """`target` is a policy's index."""

    target: int
    knows: float
    accounts: int
    chosen: bool
    """Whether the attacker picks the pairs, as on a board without tokens."""


def honest(path: Path) -> Votes:
    with path.open(newline="") as stream:
        rows = [(row["left"], row["right"], SCORES[row["winner"]], row["worker"]) for row in csv.DictReader(stream)]
    return as_votes(rows)


def strength_of(votes: Votes, weight: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    return strengths(wins_table(len(votes.policies), votes.left, votes.right, votes.score, weight))[0]


def place_of(votes: Votes, weight: NDArray[np.floating[Any]], target: int) -> int:
    """1 is the best."""
    strength = strength_of(votes, weight)
    return 1 + int((strength > strength[target]).sum())


def rigged(votes: Votes, attack: Attack, count: int, seed: int) -> Votes:
    """The honest votes with `count` more by the attacker's accounts; a larger count begins with the smaller one's."""
    random = np.random.default_rng(seed)
    draws = random.random((MOST, 4))[:count]
    size, policies = len(votes.policies), np.arange(len(votes.policies))
    others = np.delete(policies, attack.target)
    left = (draws[:, 0] * size).astype(np.intp)
    right = (left + 1 + (draws[:, 1] * (size - 1)).astype(np.intp)) % size
    if attack.chosen:
        opponent = others[(draws[:, 0] * len(others)).astype(np.intp)]
        on_left = draws[:, 1] < 0.5
        left, right = np.where(on_left, attack.target, opponent), np.where(on_left, opponent, attack.target)
    mine = (left == attack.target) | (right == attack.target)
    strength = strength_of(votes, np.ones(len(votes.score)))
    usual = (draws[:, 2] < expit(strength[left] - strength[right])).astype(float)
    wanted = (left == attack.target).astype(float)
    coin = (draws[:, 2] < 0.5).astype(float)
    score = np.where(mine, np.where(draws[:, 3] < attack.knows, wanted, coin), usual)
    voter = len(votes.voters) + np.arange(count) % attack.accounts
    names = tuple(f"bot-{i}" for i in range(attack.accounts))
    return Votes(
        votes.policies, (*votes.voters, *names), np.concatenate([votes.left, left]),
        np.concatenate([votes.right, right]), np.concatenate([votes.score, score]),
        np.concatenate([votes.voter, voter]),
    )  # fmt: skip


def needed(votes: Votes, attack: Attack, rise: int, defended: bool, seed: int) -> int | None:
    """The fewest rigged votes, to within a quarter, after which the target has risen by `rise` places."""
    start = place_of(votes, _weights(votes, defended), attack.target)
    count = 4.0
    while count <= MOST:
        both = rigged(votes, attack, int(count), seed)
        if place_of(both, _weights(both, defended), attack.target) <= start - rise:
            return int(count)
        count *= STEP
    return None


def _weights(votes: Votes, defended: bool) -> NDArray[np.floating[Any]]:
    if not defended:
        return np.ones(len(votes.score))
    return reliability(votes, Checks.none(len(votes.voters))).weights


def caught(votes: Votes, attack: Attack, count: int, seed: int) -> float:
    """The share of the attacker's accounts that are flagged for the target."""
    known = reliability(rigged(votes, attack, count, seed), Checks.none(len(votes.voters) + attack.accounts))
    return float(known.flagged[len(votes.voters) :, attack.target].mean())


def false_flags(votes: Votes, seed: int) -> dict[str, Any]:
    """Flags among the real workers, and among as many simulated ones who vote as the ranking says."""
    real = reliability(votes, Checks.none(len(votes.voters))).flagged.any(axis=1)
    strength = strength_of(votes, np.ones(len(votes.score)))
    rates = []
    for turn in range(20):
        random = np.random.default_rng([seed, turn])
        score = (random.random(len(votes.score)) < expit(strength[votes.left] - strength[votes.right])).astype(float)
        drawn = Votes(votes.policies, votes.voters, votes.left, votes.right, score, votes.voter)
        rates.append(reliability(drawn, Checks.none(len(votes.voters))).flagged.any(axis=1).mean())
    return {"real_workers": int(real.sum()), "of": len(votes.voters), "simulated_share": float(np.mean(rates))}


def attacks(options: Options, target: int) -> Sequence[tuple[Attack, Attack]]:
    """Each as it is without defences, and as it has to be with them."""
    return [
        (Attack(target, knows, accounts, chosen=True), Attack(target, knows, accounts, chosen=False))
        for knows in options.knows
        for accounts in options.accounts
    ]


def main(options: Options) -> None:
    votes = honest(options.votes)
    order = np.argsort(-strength_of(votes, np.ones(len(votes.score))))
    rows = []
    for place in options.targets:
        target = int(order[place - 1])
        for free, drawn in attacks(options, target):
            without = [needed(votes, free, rise, False, options.seed) for rise in options.rises]
            blind = [needed(votes, drawn, rise, False, options.seed) for rise in options.rises]
            defended = [needed(votes, drawn, rise, True, options.seed) for rise in options.rises]
            rows.append(
                {"place": place, "knows": free.knows, "accounts": free.accounts, "without": without,
                 "blind_pairs_alone": blind, "with_defences": defended,
                 "flagged_after_100_on_target": caught(votes, free, 100 * free.accounts, options.seed)}
            )  # fmt: skip
            print(rows[-1], flush=True)
    figures = {
        "votes": len(votes.score),
        "summary": summary(rows, options),
        "false_flags": false_flags(votes, options.seed),
        "attacks": rows,
        "most_tried": MOST,
        "options": as_json(options),
    }
    print(write("vote_attack", figures))


def summary(rows: Sequence[dict[str, Any]], options: Options) -> list[dict[str, Any]]:
    """Medians over the targets, where a null counts as more than any number."""
    found = []
    for knows in options.knows:
        for accounts in options.accounts:
            these = [row for row in rows if row["knows"] == knows and row["accounts"] == accounts]
            medians = {
                kind: [_median([row[kind][i] for row in these]) for i in range(len(options.rises))]
                for kind in ("without", "blind_pairs_alone", "with_defences")
            }
            found.append({"knows": knows, "accounts": accounts, "rises": list(options.rises), **medians})
    return found


def _median(values: Sequence[int | None]) -> int | None:
    ordered = sorted(values, key=lambda value: MOST + 1 if value is None else value)
    return ordered[len(ordered) // 2]


if __name__ == "__main__":
    main(tyro.cli(Options))
