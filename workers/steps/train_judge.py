"""The step `train_judge`: a learned success judge from labelled episodes, recorded and imagined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from arena.contracts import Episode, InvalidInput
from workers.evaluation import Dataset, WorldSpec
from workers.jobs import Context, Inputs, Json, Queue, Step
from workers.replays import imagined_films
from workers.steps.record_policies import KIND

if TYPE_CHECKING:
    from arena.learned.judging.films import Film

CALIBRATION = 4
"""Where no other episodes are given, one in so many calibrates and measures the judge instead of teaching it."""


class TrainJudgeInputs(Inputs):
    """`labelled` calibrate and measure the judge; without any, some of `datasets` do.

    `world` imagines at most `imagined` of `datasets` again to teach the judge, and all of `labelled`; without one the
    judge knows recordings only. `steps` None is the recipe's own number.
    """

    datasets: tuple[Dataset, ...]
    labelled: tuple[Dataset, ...]
    world: WorldSpec | None
    world_fingerprint: str | None
    imagined: int
    out: str
    seed: int
    steps: int | None = None


def train_judge(inputs: TrainJudgeInputs, context: Context) -> Json:
    """Train, calibrate and measure, or go on where an interrupted run was. Returns where the judge is, and its card."""
    from arena.learned.judging import fitting
    from arena.learned.judging.films import read_films
    from arena.learned.judging.judge import LearnedJudge
    from arena.learned.judging.network import JudgingConfig

    config = JudgingConfig() if inputs.steps is None else replace(JudgingConfig(), steps=inputs.steps)
    episodes, labelled = _episodes(inputs, context)
    training = read_films(episodes, config, context.progress)
    world = ""
    if inputs.world is None:
        calibration: Sequence[Film] = read_films(labelled, config, context.progress)
    else:
        world = context.workshop.model(Path(inputs.world.name)).sha256
        again = balanced(episodes, inputs.imagined, inputs.seed)
        training += tuple(imagined_films(again, config, inputs.world, inputs.seed, context))
        calibration = imagined_films(labelled, config, inputs.world, inputs.seed, context)
    robots = tuple(sorted({episode.robot for episode in episodes}))
    lessons = fitting.Lessons(training, tuple(calibration), robots, world)
    out = fitting.train_judge(lessons, config, Path(inputs.out), inputs.seed, context.progress)
    judge = LearnedJudge.load(out)
    return {"judge": str(out), "sha256": judge.sha256, "card": asdict(judge.card)}


def intact(inputs: TrainJudgeInputs, context: Context) -> bool:
    """The manifest is written last."""
    return (Path(inputs.out) / "manifest.json").is_file()


def balanced(episodes: Sequence[Episode], count: int, seed: int) -> list[Episode]:
    """`count` labelled episodes at most: of every instruction, and of its successes and failures, equally many.

    What policies did comes first, for that is what will be judged.
    """
    strata: dict[tuple[str, bool], list[Episode]] = {}
    for episode in episodes:
        if episode.success is not None:
            strata.setdefault((episode.instruction, episode.success), []).append(episode)
    random = np.random.default_rng(seed)
    shuffled = [[strata[key][i] for i in random.permutation(len(strata[key]))] for key in sorted(strata)]
    shuffled = [sorted(each, key=lambda episode: episode.metadata.get("kind") != KIND) for each in shuffled]
    turns = [each[turn] for turn in range(max(map(len, shuffled), default=0)) for each in shuffled if turn < len(each)]
    return turns[:count]


def _episodes(inputs: TrainJudgeInputs, context: Context) -> tuple[list[Episode], list[Episode]]:
    """To learn from, and to calibrate on; only those whose outcome is known."""
    known = [e for dataset in inputs.datasets for e in dataset.episodes(context) if e.success is not None]
    labelled = [e for dataset in inputs.labelled for e in dataset.episodes(context) if e.success is not None]
    if not known:
        raise InvalidInput("a judge learns from episodes whose success is known; these have none")
    if inputs.labelled:
        return known, labelled
    kept = balanced(known, -(-len(known) // CALIBRATION), inputs.seed)
    apart = {episode.id for episode in kept}
    return [episode for episode in known if episode.id not in apart], kept


STEP = Step("train_judge", TrainJudgeInputs, train_judge, intact, needs=Queue.GPU)
