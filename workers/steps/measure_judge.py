"""The step `measure_judge`: how good a learned judge is on recorded and imagined trials, beside blind controls."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from arena.contracts import InvalidInput
from workers.evaluation import Dataset, WorldSpec
from workers.jobs import Context, Inputs, Json, Queue, Step
from workers.replays import imagined_films
from workers.steps.train_judge import balanced

if TYPE_CHECKING:
    from collections.abc import Sequence

    from arena.learned.judging.films import Film
    from arena.learned.judging.judge import LearnedJudge


class MeasureJudgeInputs(Inputs):
    """`limit` caps the episodes; a `world` imagines them again. Fingerprints tell states of files from each other."""

    judge: str
    judge_fingerprint: str
    dataset: Dataset
    world: WorldSpec | None
    world_fingerprint: str | None
    limit: int | None
    seed: int


def measure_judge(inputs: MeasureJudgeInputs, context: Context) -> Json:
    """Measures and controls on `recorded` trials and, with a world model, on `imagined` ones.

    Episodes with other instructions than the judge has learned are counted and left out.
    """
    from arena.learned.judging.films import read_films
    from arena.learned.judging.judge import LearnedJudge

    judge = LearnedJudge.load(Path(inputs.judge))
    config = judge.fitted.config
    labelled = [e for e in inputs.dataset.episodes(context) if e.success is not None]
    known = [e for e in labelled if judge.card.covers({e.instruction}, {e.robot})]
    if not known:
        raise InvalidInput(f"{inputs.dataset.path} has no labelled episode of what {inputs.judge} has learned to judge")
    chosen = known if inputs.limit is None else balanced(known, inputs.limit, inputs.seed)
    found: Json = {"judge_sha256": judge.sha256, "threshold": judge.card.threshold, "other": len(labelled) - len(known)}
    found["recorded"] = _measured(judge, read_films(chosen, config, context.progress), inputs.seed, context)
    if inputs.world is not None:
        films = imagined_films(chosen, config, inputs.world, inputs.seed, context)
        found["imagined"] = _measured(judge, films, inputs.seed, context)
    return found


def _measured(judge: LearnedJudge, films: Sequence[Film], seed: int, context: Context) -> Json:
    from arena.learned.judging.measures import blind_controls, measure

    controls = blind_controls(judge, films, seed, context.progress)
    return {
        **measure(judge, films, context.progress).as_json(),
        "controls": {name: control.as_json() for name, control in controls.items()},
    }


STEP = Step("measure_judge", MeasureJudgeInputs, measure_judge, needs=Queue.JUDGE)
