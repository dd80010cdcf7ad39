"""`dreamarena judge audit`: what a judge's verdicts are worth, and its card."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from workers.cli.session import Answer, Session
from workers.settings import SAMPLER_STEPS

if TYPE_CHECKING:
    from workers.evaluation import Dataset, WorldSpec

PLANTED = ("hold", "noise")
"""Policies that do nothing, and nothing in particular."""


@dataclass(frozen=True)
class Audit:
    """Audit any judge on labelled episodes that it was not made from, and write its card. Exit code 3: it failed.

    Agreement with the labels and with people, blind floors, order swaps, repeats, planted failures, injected words and
    calibration; docs/judges.md has the rules.
    """

    judge: str
    """learned, learned:FOLDER, demonstrations, vlm:MODEL@URL, ensemble:A,B or a FILE.toml."""
    episodes: tuple[Path, ...]
    """Datasets whose episodes' success is known, successes and failures."""
    out: Path
    """A folder for `audit.html` and `audit.json`."""
    votes: Path | None = None
    """A CSV of what people said: trial,voter,success, or left,right,voter,choice."""
    world: Path | None = None
    """A world model's checkpoint folder: it imagines the episodes again, and the planted policies act in it."""
    demonstrations: Path | None = None
    """For the judge by demonstrations: the dataset that it is made from."""
    limit: int | None = None
    """Episodes at most, of each task's successes and failures equally many."""
    planted: int = 12
    """Scenes, at most, in which policies that cannot succeed act in the world."""
    steps: int = 20
    """Actions of these policies in each."""
    labelled: int = 48
    """Labelled episodes, at most, that a judge by demonstrations is calibrated on."""
    sampler_steps: int = SAMPLER_STEPS
    guidance: float = 1.0
    seed: int = 0
    json: bool = False
    """Print JSON and nothing else on stdout."""

    def run(self, session: Session) -> Answer:
        from arena.contracts import InvalidInput
        from arena.episodes.atomic import file_sha256
        from workers.content import fingerprint
        from workers.evaluation import Dataset, WorldSpec
        from workers.jobs import Request
        from workers.judge_specs import DEMONSTRATIONS, judge_spec
        from workers.steps.audit_judge import AuditJudgeInputs

        if self.limit is not None and self.limit < 2:
            raise InvalidInput(f"--limit must be at least 2, a success and a failure, not {self.limit}")
        if self.votes is not None and not self.votes.is_file():
            raise InvalidInput(f"--votes: {self.votes} is not a file")
        datasets = tuple(Dataset.at(path) for path in self.episodes)
        made_from = Dataset.at(self.demonstrations) if self.demonstrations else datasets[0]
        spec = judge_spec(self.judge, made_from, self.seed, self.labelled)
        if DEMONSTRATIONS in spec.name and made_from.path in {dataset.path for dataset in datasets}:
            raise InvalidInput("a judge is not audited on what it was made from: give other --demonstrations")
        world = None
        if self.world is not None:
            name = str(self.world.resolve())
            world = WorldSpec(name=name, sampler_steps=self.sampler_steps, guidance=self.guidance)
        inputs = AuditJudgeInputs(
            judge=spec,
            datasets=datasets,
            world=world,
            world_fingerprint=None if self.world is None else fingerprint(self.world),
            planted=() if world is None or self.planted < 1 else self._planted(session, world, datasets[0]),
            votes=None if self.votes is None else str(self.votes.resolve()),
            votes_sha256=None if self.votes is None else file_sha256(self.votes),
            limit=self.limit,
            seed=self.seed,
            out=str(self.out.resolve()),
        )
        [found] = session.run([Request("audit_judge", inputs)])
        return Answer(found, lambda console: show_audit(found, console), exit_code=0 if found["passed"] else 3)

    def _planted(self, session: Session, world: WorldSpec, dataset: Dataset) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """Rollouts of the policies that cannot succeed, run where they are not stored yet."""
        from arena.scenes import beginnings, choose_episodes
        from workers.evaluation import plan_rollouts
        from workers.jobs import Request

        begun = beginnings(choose_episodes(dataset.episodes(session.context)))[: self.planted]
        batches = plan_rollouts(session.context, world, PLANTED, dataset, begun, self.steps, self.seed, batch=8)
        session.run([Request("rollout", batch) for batch in batches])
        known = session.context.store.results.known_rollouts([t.rollout_id for b in batches for t in b.trials])
        return tuple(
            (kind, tuple(t.rollout_id for b in batches if b.policy == kind for t in b.trials if t.rollout_id in known))
            for kind in PLANTED
        )


def show_audit(found: dict[str, Any], console: Console) -> None:
    """The checks, and the numbers that decided."""
    table = Table("check", "outcome", "why", title=f"{found['judge']} {found['judge_sha256'][:8]}")
    for check in found["checks"]:
        table.add_row(check["name"], check["outcome"], check["reason"])
    console.print(table)
    measures = found["measures"]
    console.print(
        f"{found['trials']} {found['shown']} trials, {measures['abstained']} abstained from; "
        f"accuracy {_number(measures['accuracy'])}, AUC {_number(measures['auc'])}, "
        f"kappa {_number(found['labels']['kappa']['value'])}",
        markup=False,
    )
    console.print(f"{'passed' if found['passed'] else 'FAILED'}: {found['page']}", markup=False)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
