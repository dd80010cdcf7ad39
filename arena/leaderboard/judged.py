"""The board by a judge's verdicts on stored rollouts: a ranking, and each policy's rates.

The command line, the pages and the report all call `build_leaderboard`, so that they cannot disagree.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from arena.contracts import InvalidInput, Ranking, Verdict
from arena.intervals import wilson
from arena.pairing import PROGRESS_MARGIN, JudgedRollout, pair_verdicts
from arena.ranking import Ballots, Board, make_board, ranking_of


class Trial(Protocol):
    """What is needed of a rollout here: a `Rollout` or a store's `RolloutRecord`."""

    @property
    def id(self) -> str: ...
    @property
    def policy(self) -> str: ...
    @property
    def world(self) -> str: ...
    @property
    def scene_id(self) -> str: ...
    @property
    def seed(self) -> int: ...
    @property
    def success(self) -> bool | None: ...


@dataclass(frozen=True)
class Rate:
    """Successes among trials, where both are known."""

    successes: int
    trials: int

    @property
    def share(self) -> float | None:
        """In [0, 1], or None without a trial."""
        return self.successes / self.trials if self.trials else None

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95% score interval; all of [0, 1] without a trial."""
        return (0.0, 1.0) if self.share is None else wilson(self.share, self.trials)


@dataclass(frozen=True)
class PolicySummary:
    """One policy's trials. `judged` leaves abstentions out; `progress` is the judge's mean, 0 to 100."""

    policy: str
    judged: Rate
    progress: float | None
    abstentions: int
    rollouts: int
    true: Rate | None = None
    """True successes, where some world knew them."""


@dataclass(frozen=True)
class Leaderboard:
    """`policies` are in the ranking's order; `board` is all that the judge's comparisons say."""

    ranking: Ranking
    policies: tuple[PolicySummary, ...]
    board: Board


def build_leaderboard(
    rollouts: Sequence[Trial],
    verdicts: Sequence[Verdict],
    *,
    truth: Sequence[Trial] = (),
    threshold: float = 0.5,
    margin: float = PROGRESS_MARGIN,
) -> Leaderboard:
    """Rank the policies of `rollouts` by one judge's `verdicts`, whose probability counts as success at `threshold`.

    A verdict that speaks of progress alone (a judge that could not be calibrated) counts in comparisons by its
    progress, and in no success rate. `truth` are trials in a world that knows success, of which those without an
    outcome are ignored. Verdicts on other rollouts are ignored. Raises `InvalidInput` for verdicts of several judges.
    """
    by_id = _verdicts_of_one_judge(rollouts, verdicts)
    judged = [_paired(trial, by_id[trial.id]) for trial in rollouts if trial.id in by_id]
    pairing = pair_verdicts(judged, threshold=threshold, margin=margin)
    names = sorted({trial.policy for trial in rollouts})
    judge = next((verdict.judge for verdict in by_id.values()), "")
    board = make_board(Ballots.of(pairing.votes, names), left_bias=False)
    ranking = ranking_of(board, judge)
    missing = _missing(len(rollouts) - len(judged), pairing.abstentions, pairing.missing)
    outcomes = _outcomes(truth)
    summaries = {name: _summary(name, rollouts, by_id, threshold, outcomes.get(name)) for name in names}
    return Leaderboard(
        replace(ranking, notes=(*ranking.notes, *missing)),
        tuple(summaries[place.policy] for place in ranking.policies),
        board,
    )


def headline(ranking: Ranking) -> str:
    """What a ranking says, in a sentence that claims no more than it does."""
    if len(ranking.policies) < 2 or not ranking.comparisons:
        return "Nothing was compared yet."
    if len(ranking.groups) > 1:
        return f"{len(ranking.groups)} groups of policies never met: there is no overall winner."
    best = ranking.policies[0]
    rivals = [place.policy for place in ranking.policies[1:] if place.rank_low == 1]
    if not rivals:
        return f"{best.policy} is the best of {len(ranking.policies)} policies."
    return f"{best.policy} leads, but is not told apart from {_listed(rivals)}."


def _listed(names: Sequence[str]) -> str:
    if len(names) > 3:
        return f"{names[0]}, {names[1]} and {len(names) - 2} others"
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)


def _verdicts_of_one_judge(rollouts: Sequence[Trial], verdicts: Sequence[Verdict]) -> dict[str, Verdict]:
    known = {trial.id for trial in rollouts}
    mine = [verdict for verdict in verdicts if verdict.rollout_id in known]
    judges = sorted({f"{verdict.judge} ({verdict.judge_sha256[:8]})" for verdict in mine})
    if len(judges) > 1:
        raise InvalidInput(f"a leaderboard rests on the verdicts of one judge, not of {', '.join(judges)}")
    return {verdict.rollout_id: verdict for verdict in mine}


def _paired(trial: Trial, verdict: Verdict) -> JudgedRollout:
    if verdict.success_probability is None and not verdict.abstained:
        # Nobody is claimed to have succeeded, so that the further progress wins.
        verdict = replace(verdict, success_probability=0.0)
    return JudgedRollout(trial.policy, trial.world, trial.scene_id, trial.seed, verdict)


def _missing(unjudged: int, abstentions: int, pairs: int) -> list[str]:
    notes = []
    if unjudged:
        notes.append(f"{unjudged} rollouts have no verdict yet")
    if abstentions:
        notes.append(f"the judge abstained on {abstentions} rollouts, which leaves out {pairs} comparisons")
    return notes


def _outcomes(truth: Sequence[Trial]) -> Mapping[str, Rate]:
    known: dict[str, list[bool]] = defaultdict(list)
    for trial in truth:
        if trial.success is not None:
            known[trial.policy].append(trial.success)
    return {policy: Rate(sum(outcomes), len(outcomes)) for policy, outcomes in known.items()}


def _summary(
    policy: str, rollouts: Sequence[Trial], verdicts: Mapping[str, Verdict], threshold: float, true: Rate | None
) -> PolicySummary:
    own = [trial for trial in rollouts if trial.policy == policy]
    said = [verdicts[trial.id] for trial in own if trial.id in verdicts]
    spoken = [verdict for verdict in said if not verdict.abstained]
    progress = [verdict.progress for verdict in spoken if verdict.progress is not None]
    chances = [verdict.success_probability for verdict in spoken if verdict.success_probability is not None]
    return PolicySummary(
        policy,
        Rate(sum(chance >= threshold for chance in chances), len(chances)),
        sum(progress) / len(progress) if progress else None,
        abstentions=len(said) - len(spoken),
        rollouts=len(own),
        true=true,
    )
