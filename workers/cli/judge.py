"""`dreamarena judge`: train the learned success judge, measure it, and audit any judge."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from rich.console import Console
from rich.table import Table
from tyro.conf import subcommand

from workers.cli.audit import Audit
from workers.cli.session import Answer, Session
from workers.settings import SAMPLER_STEPS


@dataclass(frozen=True)
class Train:
    """Train a success judge on labelled episodes, failures included. Run again with the same arguments, it resumes."""

    episodes: tuple[Path, ...]
    """The datasets to learn from."""
    out: Path
    """Where the judge goes."""
    labelled: tuple[Path, ...] = ()
    """Datasets to calibrate and measure it on; by default a quarter of the episodes is kept for that."""
    world: Path | None = None
    """A world model's checkpoint folder, which imagines labelled episodes again: what the judge is to judge."""
    imagined: int = 440
    """Episodes to learn from, at most, that are imagined again."""
    steps: int | None = None
    """Training steps; the recipe's own number unless given."""
    sampler_steps: int = SAMPLER_STEPS
    guidance: float = 1.0
    seed: int = 0
    json: bool = False
    """Print JSON and nothing else on stdout."""

    def run(self, session: Session) -> Answer:
        from arena.contracts import InvalidInput
        from workers.evaluation import Dataset
        from workers.jobs import Request
        from workers.steps.train_judge import TrainJudgeInputs

        if self.imagined < 0 or (self.steps is not None and self.steps < 1) or self.sampler_steps < 1:
            raise InvalidInput("--imagined must not be negative, --steps and --sampler-steps at least 1")
        inputs = TrainJudgeInputs(
            datasets=tuple(Dataset.at(path) for path in self.episodes),
            labelled=tuple(Dataset.at(path) for path in self.labelled),
            **_world(self.world, self.sampler_steps, self.guidance),
            imagined=self.imagined,
            out=str(self.out.resolve()),
            seed=self.seed,
            steps=self.steps,
        )
        [found] = session.run([Request("train_judge", inputs)])

        def show(console: Console) -> None:
            card = found["card"]
            held = f"on {card['held_out']} held-out trials, {card['abstained']} of them abstained from"
            console.print(f"judge {found['sha256'][:12]} in {found['judge']}", markup=False)
            console.print(f"right on {card['accuracy']:.0%}, AUC {card['auc']:.3f} {held}", markup=False)

        return Answer(found, show)


@dataclass(frozen=True)
class Measure:
    """How good a judge is on a dataset that it was not made from, recorded and imagined, and how blind controls do."""

    episodes: Path
    """A dataset whose episodes' success is known."""
    judge: Path | None = None
    """A judge's folder; the one that ships by default."""
    world: Path | None = None
    """A world model's checkpoint folder, which imagines the episodes again."""
    limit: int | None = None
    """Episodes at most, of every task equally many."""
    sampler_steps: int = SAMPLER_STEPS
    guidance: float = 1.0
    seed: int = 0
    json: bool = False
    """Print JSON and nothing else on stdout."""

    def run(self, session: Session) -> Answer:
        from workers.content import fingerprint
        from workers.evaluation import Dataset
        from workers.jobs import Request
        from workers.registry import JUDGE, pretrained
        from workers.steps.measure_judge import MeasureJudgeInputs

        folder = (self.judge or pretrained(JUDGE)).resolve()
        inputs = MeasureJudgeInputs(
            judge=str(folder),
            judge_fingerprint=fingerprint(folder),
            dataset=Dataset.at(self.episodes),
            **_world(self.world, self.sampler_steps, self.guidance),
            limit=self.limit,
            seed=self.seed,
        )
        [found] = session.run([Request("measure_judge", inputs)])
        return Answer(found, lambda console: _show(found, console))


@dataclass(frozen=True)
class Judge:
    """Train the learned success judge, measure it, and audit any judge."""

    command: (
        Annotated[Train, subcommand("train")]
        | Annotated[Measure, subcommand("measure")]
        | Annotated[Audit, subcommand("audit")]
    )


def _world(folder: Path | None, sampler_steps: int, guidance: float) -> dict[str, Any]:
    from workers.content import fingerprint
    from workers.evaluation import WorldSpec

    if folder is None:
        return {"world": None, "world_fingerprint": None}
    spec = WorldSpec(name=str(folder.resolve()), sampler_steps=sampler_steps, guidance=guidance)
    return {"world": spec, "world_fingerprint": fingerprint(folder)}


def _show(found: dict[str, Any], console: Console) -> None:
    """The judge's own measures and those of the blind controls below them."""
    for kind in ("recorded", "imagined"):
        if kind not in found:
            continue
        table = Table("shown", *_COLUMNS, title=f"{kind} trials")
        for shown, row in {"everything": found[kind], **found[kind]["controls"]}.items():
            table.add_row(shown.replace("_", " "), *(_number(row[name]) for name in _COLUMNS.values()))
        console.print(table)
    if found["other"]:
        console.print(f"note: {found['other']} labelled episodes want what the judge has not learned")


_COLUMNS = {
    "n": "trials", "abst.": "abstained", "acc.": "accuracy", "bal.": "balanced_accuracy", "AUC": "auc",
    "task AUC": "task_auc", "ECE": "calibration_error", "false": "false_success",
}  # fmt: skip


def _number(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else "-" if value is None else str(value)
