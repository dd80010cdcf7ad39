"""What benchmarks of a world model share: held-out recordings, results that are kept, and rankings against truth."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workers.lineup import LINEUP, TASKS
from workers.registry import WORLD as SHIPPED
from workers.registry import pretrained

if TYPE_CHECKING:
    from arena.contracts import Episode
    from workers.cli.session import Session

WORLD = pretrained(SHIPPED)
SCENES_SEED, JUDGE_SEED = 77, 78
"""Of the recordings: no seed that a world model or a policy was trained on."""
CONTROLS = ("replay", "reverse", "hold", "noise")
DEMONSTRATIONS = "demonstrations"
MEASURES = ("pearson", "spearman", "mmrv", "optimism")


def lineup() -> tuple[str, ...]:
    """The controls and every cloned policy that ships."""
    return (*CONTROLS, *(f"bc:{pretrained(name)}" for name in sorted(LINEUP)))


@dataclass(frozen=True)
class Recording:
    """A recording of the stand-in robot, `each` episodes of each task; equal ones are made once."""

    folder: Path
    tasks: tuple[str, ...]
    each: int
    seed: int

    def made(self) -> Path:
        """The dataset, recorded now where it is missing."""
        from real2sim.reality.record import record

        out = self.folder / f"{len(self.tasks)}x{self.each}-{_short([*self.tasks, self.seed])}"
        # Its index is written last. A recording that is touched again would count as another one.
        if not (out / "meta" / "info.json").is_file():
            record(self.tasks, self.each, self.seed, out, progress=say)
        return out

    def episodes(self) -> list[Episode]:
        from arena.episodes.ingest import ingest

        return list(ingest(self.made()).episodes)


@dataclass(frozen=True)
class Contest:
    """Policies, and what they are ranked on: up to `scenes` beginnings of recorded episodes, `actions` long each.

    `home` keeps the stores, so that what was run is not run again. `judge` is `learned`, `learned:FOLDER` or
    `demonstrations`, which is made from `judged_on`, `labelled` episodes of it imagined.
    """

    home: Path
    policies: tuple[str, ...]
    scenes: Recording
    judged_on: Recording
    count: int
    actions: int
    batch: int
    judge: str
    labelled: int
    seed: int = 0

    def agreement(self, world: Path, steps: int, guidance: float) -> dict[str, Any]:
        """How a world model's ranking agrees with that in the stand-in reality: `MEASURES` and each policy's rates.

        Measures are null where they are not defined; where nothing can be compared, a note says why.
        """
        from arena.contracts import InvalidInput
        from arena.validation import validate
        from arena.validation.stored import stored_evaluator, stored_real

        session = self._session()
        try:
            store = session.context.store
            imagined = self._evaluated(session, str(world.resolve()), steps, guidance)
            real = self._evaluated(session, "metaworld")
            try:
                found = validate(evaluator=stored_evaluator(store, imagined), real=stored_real(store, real))
            except InvalidInput as error:
                return {**dict.fromkeys(MEASURES), "notes": [str(error)]}
        finally:
            session.close()
        measures = {name: getattr(found, name) for name in MEASURES}
        return {
            **{name: estimate.value for name, estimate in measures.items()},
            "intervals": {name: [estimate.low, estimate.high] for name, estimate in measures.items()},
            "rates": {row.policy: {"imagined": row.evaluator.value, "real": row.real.value} for row in found.scores},
            "notes": list(found.notes),
        }

    def _session(self) -> Session:
        from workers.cli.session import Session
        from workers.settings import load_settings
        from worldmodels.sampler import FEW_STEP_SIGMA

        # A rollout is known by its steps and guidance: one with another lowest sigma would be taken for it.
        return Session(load_settings()).at_home(self.home / f"store-{FEW_STEP_SIGMA:g}")

    def _evaluated(self, session: Session, world: str, steps: int = 1, guidance: float = 1.0) -> str:
        from workers.orchestrate import EvaluationPlan, evaluate
        from workers.registry import STAND_IN

        judge = "truth" if world == STAND_IN else self.judge
        plan = EvaluationPlan(
            world=world, policies=self.policies, episodes=self.scenes.made(), scenes=self.count, steps=self.actions,
            seed=self.seed, judge=judge, batch=self.batch, sampler_steps=steps, guidance=guidance,
            labelled=self.labelled, demonstrations=self.judged_on.made() if judge == DEMONSTRATIONS else None,
        )  # fmt: skip
        return str(evaluate(session.context, plan, session.run)["evaluation"])


@dataclass(frozen=True, kw_only=True)
class RankingOptions:
    """Options of a benchmark that ranks `policies` on `scenes` scenes of `actions` actions.

    `policies` empty: the controls and every cloned policy that ships. `judge` as in `Contest`. `recorded` and
    `judged_on` are episodes of each task that scenes, and a judge by demonstrations, are made from.
    """

    policies: tuple[str, ...] = ()
    scenes: int = 22
    actions: int = 20
    judge: str = "learned"
    labelled: int = 66
    tasks: tuple[str, ...] = TASKS
    recorded: int = 8
    judged_on: int = 16
    evaluated_at_once: int = 12
    data: Path

    @property
    def held_out(self) -> Recording:
        return Recording(self.data / "recordings", self.tasks, self.recorded, SCENES_SEED)

    def contest(self) -> Contest:
        return Contest(
            home=self.data,
            policies=self.policies or lineup(),
            scenes=self.held_out,
            judged_on=Recording(self.data / "recordings", self.tasks, self.judged_on, JUDGE_SEED),
            count=self.scenes,
            actions=self.actions,
            batch=self.evaluated_at_once,
            judge=self.judge,
            labelled=self.labelled,
        )


def kept(folder: Path, name: str, about: Mapping[str, Any], measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `measure` gives, from `folder` where it was measured of the same things (`about`) before."""
    from arena.episodes.atomic import atomic_write

    path = folder / f"{name}-{_short(about)}.json"
    if path.is_file():
        return dict(json.loads(path.read_text()))
    found = measure()
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, (json.dumps(found, indent=1) + "\n").encode())
    return found


def world_sha256(world: Path) -> str:
    """Of a checkpoint's files."""
    from workers.content import fingerprint

    return str(fingerprint(world))


def say(done: int, total: int, stage: str) -> None:
    """Progress as a line, for the last one of a stage."""
    if done == total:
        print(f"  {stage}: {total}", flush=True)


def _short(about: Mapping[str, Any] | Sequence[Any]) -> str:
    from workers.content import content_address

    return str(content_address(json.loads(json.dumps(about, default=str))))[:12]
