"""`dreamarena rank`: a ranking from a CSV of votes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from tyro.conf import Positional

from arena.intervals import closed_end
from workers.cli.session import Answer, Session

if TYPE_CHECKING:
    from arena.ranking import Agreement, Board, Measured, SuccessRate, Swap, VoteFile

LETTERS = 6
"""Shown of a policy; JSON has them all."""


@dataclass(frozen=True)
class Rank:
    """Rank policies from a CSV of votes: left,right,winner,worker, where winner is left, right, tie or both_bad.

    Scores are Bradley-Terry's with ties and a left-side bias; intervals hold when the votes of one worker belong
    together.
    """

    votes: Positional[Path]
    """The CSV. A column `scene` is read too; others are ignored unless `--covariates` names them."""
    beside: Path | None = None
    """A second CSV of votes on the same policies, e.g. a judge's: how far the two agree."""
    trials: Path | None = None
    """A CSV of trials (policy,task,scene,seed,success): success rates beside the ranking."""
    covariates: tuple[str, ...] = ()
    """Columns whose values may each have a left-side bias and a tie rate of their own, e.g. scene instruction
    source.
    """
    no_left_bias: bool = False
    """Nobody saw two sides, as with votes made from scores."""
    cluster: Literal["auto", "voter", "scene", "vote"] = "auto"
    """What was sampled, and so may be alike: `auto` is voters, or scenes where there are few voters and more scenes."""
    bootstrap: int = 0
    """Draws of a cluster bootstrap, whose intervals are shown beside; 0 is none."""
    seed: int = 0
    """Of every bootstrap."""
    quick: bool = False
    """Leave out how few votes would change each rank, which takes many fits."""
    json: bool = False
    """Print JSON and nothing else on stdout."""

    def run(self, session: Session) -> Answer:
        from arena.ranking import agreement, swaps
        from arena.rollout import code_version

        file, board = self._board(self.votes)
        found = board_json(file, board, [] if self.quick else swaps(board.fit))
        if self.bootstrap:
            _add_bootstrap(found, board, self.bootstrap, self.seed)
        if self.beside is not None:
            other_file, other = self._board(self.beside)
            agree = agreement(board, other, seed=self.seed)
            found["beside"] = board_json(other_file, other, [])
            found["agreement"] = agreement_json(agree)
        if self.trials is not None:
            found["success"] = [asdict(rate) for rate in _success(self.trials)]
        found["code"] = code_version()
        return Answer(found, lambda console: show_board(found, console))

    def _board(self, path: Path) -> tuple[VoteFile, Board]:
        from arena.ranking import make_board, read_votes

        names = tuple(name.lower() for name in self.covariates)
        file = read_votes(path, names)
        board = make_board(file.ballots, covariates=names, left_bias=not self.no_left_bias, cluster_by=self.cluster)
        return file, board


def board_json(file: VoteFile, board: Board, found: Sequence[Swap]) -> dict[str, Any]:
    """A board as JSON, best first. An interval's end that the votes leave open is null."""
    return {
        "policies": [
            {
                "name": item.name,
                "score": item.score,
                "low": closed_end(item.low),
                "high": closed_end(item.high),
                "rank_low": item.rank_low,
                "rank_high": item.rank_high,
                "votes": item.votes,
                "group": item.group,
                "error": item.error if item.votes else None,
                "letters": list(item.letters),
                "anytime": {name: closed_end(value) for name, value in asdict(item.anytime).items()},
                "to_change": _to_change(item.name, found),
                "note": item.note,
            }
            for item in board.policies
        ],
        "left_bias": _bias_json(board.left_bias),
        "ties": [asdict(item) for item in board.ties],
        "groups": [list(group) for group in board.groups],
        "swaps": [{**asdict(swap), "votes": swap.votes} for swap in found],
        "settled": {**asdict(board.settled), "stop": board.settled.stop},
        "votes": len(file.ballots),
        "choices": board.choices,
        "clustered_by": board.clustered_by,
        "clusters": board.clusters,
        "notes": list(board.notes),
        "file": file.name,
        "sha256": file.sha256,
    }


def _bias_json(measured: Sequence[Measured]) -> dict[str, Any]:
    """The mean over levels, and each level's; nulls where the votes cannot show a bias."""
    if not measured:
        return {"logits": None, "low": None, "high": None, "share": None, "levels": []}
    mean = {name: value for name, value in asdict(measured[0]).items() if name not in ("covariate", "value")}
    return {**mean, "levels": [asdict(item) for item in measured[1:]]}


def _to_change(name: str, found: Sequence[Swap]) -> dict[str, Any] | None:
    """What the weaker of a policy's two neighbourhoods takes to swap: votes, and a voter who alone does it."""
    own = [swap for swap in found if name in (swap.upper, swap.lower) and swap.votes is not None]
    if not own:
        return None
    least = min(own, key=lambda swap: swap.votes or 0)
    voter = next((swap.voter for swap in (least, *own) if swap.voter is not None), None)
    other = least.lower if name == least.upper else least.upper
    return {"votes": least.votes, "removed": least.removed, "added": least.added, "with": other, "voter": voter}


def agreement_json(found: Agreement) -> dict[str, Any]:
    """An agreement as JSON; what is not defined is null."""
    data = asdict(found)
    for name in ("pearson", "spearman", "kendall"):
        data[name] = {key: closed_end(value) for key, value in data[name].items()}
    return data


def _add_bootstrap(found: dict[str, Any], board: Board, draws: int, seed: int) -> None:
    from arena.ranking import bootstrap

    drawn = bootstrap(board.fit, draws, seed)
    low, high = drawn.interval(0.05)
    first = drawn.first_place()
    place = {name: i for i, name in enumerate(board.fit.data.ballots.policies)}
    for policy in found["policies"]:
        i = place[policy["name"]]
        policy["bootstrap"] = {"low": float(low[i]), "high": float(high[i]), "first": float(first[i])}
    found["bootstrap"] = {"draws": draws, "seed": seed}


def _success(path: Path) -> list[SuccessRate]:
    from arena.ranking import success_rates
    from arena.validation import read_real

    counts: dict[str, tuple[int, int]] = {}
    for trial in read_real(path).trials:
        if trial.success is not None:
            won, tried = counts.get(trial.policy, (0, 0))
            counts[trial.policy] = (won + int(trial.success), tried + 1)
    return success_rates(counts)


def show_board(found: dict[str, Any], console: Console) -> None:
    """The ranking as a table, and below it what limits and what else was asked."""
    beside = {policy["name"]: policy for policy in found.get("beside", {}).get("policies", [])}
    noted = len(found["groups"]) > 1 or any(policy["note"] for policy in found["policies"])
    titles = ["rank", "policy", "score", "95%", "letters", "votes", "flips*"]
    table = Table(*titles, *(["beside"] if beside else []), *(["note"] if noted else []), box=SIMPLE)
    for policy in found["policies"]:
        other = beside.get(policy["name"])
        more = ["-" if other is None else f"{_rank(other)}: {other['score']:+.2f}"] if beside else []
        group = f"group {policy['group']} " if len(found["groups"]) > 1 else ""
        table.add_row(*_row(policy), *more, *([f"{group}{policy['note']}".strip()] if noted else []))
    console.print(table)
    if found["swaps"]:
        console.print("* votes, taken away or added, that swap it with a neighbour; v: one voter's alone do")
    if "agreement" in found:
        _show_agreement(found["agreement"], console)
    if "success" in found:
        _show_success(found["success"], console)
    settled = found["settled"]
    if settled["too_early"]:
        console.print("too early to stop: wait for more voters", highlight=False)
    else:
        said = "the order is settled" if settled["stop"] else f"{len(settled['undecided'])} neighbours are undecided"
        console.print(f"for those who look while votes come in: {said}", highlight=False)
    for note in found["notes"]:
        console.print(f"note: {note}", markup=False, highlight=False)


def _row(policy: dict[str, Any]) -> tuple[str, ...]:
    ends = ["open" if policy[end] is None else f"{policy[end]:+.2f}" for end in ("low", "high")]
    change, shared = policy["to_change"], "".join(policy["letters"])
    return (
        _rank(policy),
        escape(policy["name"]),
        f"{policy['score']:+.2f}",
        f"{ends[0]} to {ends[1]}",
        shared if len(shared) <= LETTERS else f"{shared[:LETTERS]}…",
        str(policy["votes"]),
        "-" if change is None else f"{change['votes']}{' v' if change['voter'] else ''}",
    )


def _rank(policy: dict[str, Any]) -> str:
    low, high = policy["rank_low"], policy["rank_high"]
    return f"{low}" if low == high else f"{low}-{high}"


def _show_agreement(found: dict[str, Any], console: Console) -> None:
    for name, title in (("pearson", "Pearson r"), ("spearman", "Spearman ρ"), ("kendall", "Kendall τ")):
        value = found[name]
        said = "-" if value["value"] is None else f"{value['value']:.3f} ({value['low']:.3f} to {value['high']:.3f})"
        console.print(f"{title:<11} {said}", highlight=False)
    count = len(found["contradictions"])
    console.print(f"{found['told_apart_by_both']} pairs are told apart by both, {count} of them in opposite order")
    votes = found["votes"]
    if votes is not None:
        kappa = "-" if votes["kappa"] is None else f"{votes['kappa']:.2f}"
        console.print(f"same scene and policies: {votes['share']:.0%} of {votes['compared']} agree, kappa {kappa}")


def _show_success(rates: Sequence[dict[str, Any]], console: Console) -> None:
    table = Table("policy", "success", "rate", "95% interval", "letters", box=SIMPLE)
    for rate in rates:
        interval = f"{rate['low']:.2f} to {rate['high']:.2f}"
        shown = (f"{rate['successes']}/{rate['trials']}", f"{rate['mean']:.2f}", interval, "".join(rate["letters"]))
        table.add_row(escape(rate["policy"]), *shown)
    console.print(table)
