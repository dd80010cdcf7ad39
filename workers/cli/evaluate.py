"""`dreamarena evaluate` and `dreamarena leaderboard`: policies in a world, judged and ranked."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from tyro.conf import Positional

from workers.cli.session import Answer, Session
from workers.settings import SAMPLER_STEPS

if TYPE_CHECKING:
    from arena.store import EvaluationRecord


@dataclass(frozen=True)
class Evaluate:
    """Run policies in a world from the starts of recorded episodes, judge what happened, and rank them.

    Run again with the same arguments, it does only what is missing.
    """

    world: str
    """A world model's checkpoint folder, a folder of digital twins, or `metaworld`, the stand-in reality."""
    policies: tuple[str, ...]
    """E.g. replay hold noise reverse bc:FOLDER openpi://HOST:PORT?action_space=joint_velocity&control_hz=15&chunk=8."""
    episodes: Path
    """The dataset that scenes are cut from, and that judges take demonstrations from unless told otherwise."""
    layout: Path | None = None
    """A TOML that declares the dataset's columns, where it does not do so itself."""
    scenes: int | None = None
    """How many scenes at most; all by default."""
    beginnings: int = 1
    """From how many frames of each episode a scene is cut, evenly along it. The stand-in reality knows the first."""
    steps: int = 20
    """Actions in each trial, at the world's rate."""
    seed: int = 0
    judge: str = "auto"
    """`learned` (or learned:FOLDER) looks at pixels, `demonstrations` compares with recordings, `truth` asks a world
    that knows; `vlm:MODEL@URL` or a FILE.toml asks a vision-language model, `ensemble:A,B` several judges; `auto` picks
    what fits the world and the scenes."""
    batch: int = 8
    """Scenes that are run together; workers share an evaluation by batches."""
    sampler_steps: int = SAMPLER_STEPS
    """Denoising steps of a world model."""
    guidance: float = 1.0
    """Guidance of a world model on the last predicted frame; 1 is none."""
    demonstrations: Path | None = None
    """A dataset of its own for the judge, so that it is not made from the scenes that it judges."""
    labelled: int = 48
    """Labelled episodes, at most, that a judge by demonstrations is calibrated on."""
    json: bool = False
    """Print JSON and nothing else on stdout."""

    def run(self, session: Session) -> Answer:
        from workers.orchestrate import evaluate
        from workers.plans import EvaluationPlan

        plan = EvaluationPlan(**{name: value for name, value in asdict(self).items() if name != "json"})
        found = _with_audit(evaluate(session.context, plan, session.run), session)
        return Answer(found, lambda console: show_ranking(found, console))


@dataclass(frozen=True)
class Leaderboard:
    """Show the ranking of an evaluation."""

    evaluation: Positional[str | None] = None
    """Its id; the newest finished one by default."""
    server: str | None = None
    """Ask the API at this address, e.g. https://HOST, with the token in DREAMARENA_TOKEN."""
    json: bool = False
    """Print JSON and nothing else on stdout."""

    def run(self, session: Session) -> Answer:
        if self.server is not None:
            from workers.client import connect

            board = connect(self.server).leaderboard(self.evaluation)
            return Answer(board, lambda console: show_ranking(board, console))
        found = _with_audit(dict(finished_evaluation(session, self.evaluation).result or {}), session)
        return Answer(found, lambda console: show_ranking(found, console))


def finished_evaluation(session: Session, id: str | None) -> EvaluationRecord:
    """An evaluation by id, or the newest finished one. Raises `NotFound` where there is none, or it is not finished."""
    from arena.store import EvaluationStatus, NotFound

    results = session.context.store.results
    if id is not None:
        return results.finished_evaluation(id)
    finished = [item for item in results.evaluations() if item.status is EvaluationStatus.DONE]
    if not finished:
        raise NotFound("there is no finished evaluation in the store: run `dreamarena evaluate` first")
    return finished[0]


def show_ranking(found: dict[str, Any], console: Console) -> None:
    """A ranking as a table, with what limits it below."""
    table = Table("rank", "policy", "score", "95% interval", "success", "progress", "comparisons", "note")
    for policy in found["policies"]:
        table.add_row(*_row(policy))
    console.print(table)
    card = found["judge"]["card"]
    if card and card["accuracy"] is not None:
        console.print(
            f"judge {found['judge']['name']}: right on {card['accuracy']:.0%} of {card['held_out']} held-out labelled "
            f"trials (always saying what is commoner: {card['base_rate']:.0%})"
        )
    for model, cost in (found["judge"].get("spent") or {}).items():
        console.print(f"{model}: {cost['calls']} calls, {cost['replayed']} answered from the cache", markup=False)
    if "audit" in found["judge"]:
        console.print(_audit_line(found["judge"]["audit"]), markup=False, soft_wrap=True)
    for note in found["notes"]:
        console.print(f"note: {note}", markup=False)
    console.print(f"evaluation {found['evaluation']}")


def _with_audit(found: dict[str, Any], session: Session) -> dict[str, Any]:
    """A ranking with what the newest audit of its judge says; null where it was never audited."""
    from workers.steps.audit_judge import audit_of

    judge = found["judge"]
    return {**found, "judge": {**judge, "audit": audit_of(session.context.store, judge["sha256"])}}


def _audit_line(audit: dict[str, Any] | None) -> str:
    if audit is None:
        return "the judge was not audited: see `dreamarena judge audit --help`"
    return f"the judge {'passed' if audit['passed'] else 'FAILED'} its audit: {audit['page'] or 'its card was moved'}"


def _row(policy: dict[str, Any]) -> tuple[str, ...]:
    low, high = policy["rank"]
    ends = [" open " if end is None else f"{end:+.2f}" for end in policy["interval"]]
    success = f"{policy['successes']}/{policy['judged']}" if policy["judged"] else "-"
    return (
        f"{low}" if low == high else f"{low}-{high}",
        policy["policy"],
        "-" if policy["score"] is None else f"{policy['score']:+.2f}",
        f"{ends[0]} to {ends[1]}",
        success,
        "-" if policy["progress"] is None else f"{policy['progress']:.0f}",
        str(policy["comparisons"]),
        policy["note"],
    )
