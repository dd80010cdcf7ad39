"""`dreamarena validate`: how far an evaluator's ranking can be trusted."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from workers.cli.session import Answer, Session

if TYPE_CHECKING:
    from arena.validation import Results

Side = Literal["evaluator", "real"]


@dataclass(frozen=True)
class Validate:
    """Compare an evaluator's results with reality's: correlations, rank violations, optimism, and what real trials add.

    A CSV has a row for each trial: policy,task,scene,seed,success. Trials of both sides are paired by task and scene.
    """

    evaluator: str
    """A CSV, whose `success` may be a probability, or the id of an evaluation in the store."""
    real: str
    """A CSV of real trials, whose `success` is 0 or 1, or the id of an evaluation in a world that knows success."""
    out: Path | None = None
    """A folder for `validation.html` and `validation.json`."""
    seed: int = 0
    """Of the bootstrap."""
    draws: int = 2000
    """Of the bootstrap."""
    json: bool = False
    """Print JSON and nothing else on stdout."""

    def run(self, session: Session) -> Answer:
        from arena.rollout import code_version
        from arena.validation import validate
        from workers.validation_page import write_validation

        found: dict[str, Any] = asdict(
            validate(
                evaluator=_results(session, "evaluator", self.evaluator),
                real=_results(session, "real", self.real),
                seed=self.seed,
                draws=self.draws,
            )
        )
        found["code"] = code_version()
        page = None if self.out is None else write_validation(found, self.out)

        def show(console: Console) -> None:
            show_validation(found, console)
            if page is not None:
                console.print(f"page: {page}", markup=False)

        return Answer(found, show)


def _results(session: Session, side: Side, given: str) -> Results:
    """A side's results from the CSV at a path or, where there is none, from the evaluation of that id."""
    from arena.contracts import InvalidInput
    from arena.validation import read_evaluator, read_real

    path = Path(given)
    if path.exists():
        return read_evaluator(path) if side == "evaluator" else read_real(path)
    if path.suffix or len(path.parts) != 1:
        raise InvalidInput(f"--{side}: {given} does not exist")
    return _stored(session, side, given)


def _stored(session: Session, side: Side, evaluation: str) -> Results:
    from arena.contracts import InvalidInput
    from arena.store import NotFound
    from arena.validation.stored import stored_evaluator, stored_real

    store = session.context.store
    try:
        return stored_evaluator(store, evaluation) if side == "evaluator" else stored_real(store, evaluation)
    except NotFound as error:
        raise InvalidInput(f"--{side} is neither a file nor a finished evaluation: {error}") from None


def show_validation(found: dict[str, Any], console: Console) -> None:
    """The measures, the policies, and what limits both."""
    from workers.validation_page import NAMES, estimate, rate

    for name, title in NAMES.items():
        console.print(f"{title:<11} {estimate(found[name], 3)}", highlight=False)
    low, high = found["drop_one"]["min"], found["drop_one"]["max"]
    if low is not None:
        console.print(f"Pearson r is {low:.3f} to {high:.3f} when one of the {found['policies']} policies is dropped")
    if found["calibration"]:
        said = estimate(found["calibration"]["error"], 3)
        console.print(f"calibration error {said} on {found['calibration']['pairs']} pairs", highlight=False)
    table = Table("policy", "evaluator", "real", "both together", "more*", box=SIMPLE)
    more = {row["better"]: _more(row) for row in found["separation"]}
    for row in found["scores"]:
        both = rate(row["corrected"]["rate"]) if row["corrected"] else "-"
        rates = [rate(row["evaluator"]), rate(row["real"]), both]
        table.add_row(escape(row["policy"]), *rates, more.get(row["policy"], ""))
    console.print(table)
    console.print("* real trials of each that it would take to tell this policy from the next", highlight=False)
    for note in found["notes"]:
        console.print(f"note: {note}", markup=False)


def _more(pair: dict[str, Any]) -> str:
    if pair["more"] is None:
        return "equal"
    return str(pair["more"]) if pair["more"] else "enough"
