"""Which judge an evaluation has, and making it: the learned one is read, that by demonstrations is fitted once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from arena.contracts import Episode, InvalidInput
from arena.episodes.atomic import MANIFEST, file_sha256
from workers.artifacts import reference
from workers.content import content_address
from workers.evaluation import Dataset, WorldSpec
from workers.jobs import Context, Inputs, Json
from workers.registry import JUDGE, pretrained
from workers.replays import imagined, replayable

if TYPE_CHECKING:
    from arena.judges.demonstration import DemonstrationJudge
    from arena.judges.trials import LabelledTrial
    from arena.learned.judging.judge import LearnedJudge
    from worldmodels.model import WorldModel

FILE = "judge.safetensors"
LEARNED = "learned"


class JudgeSpec(Inputs):
    """How a judge is made. `name` is `learned`, `learned:FOLDER`, `demonstrations`, or `truth` in worlds that know.

    At most `labelled` labelled episodes are replayed in the world model to calibrate a judge by demonstrations.
    `fingerprint` is that of a learned judge's files (`learned_fingerprint`).
    """

    name: str
    dataset: Dataset
    seed: int
    labelled: int
    fingerprint: str | None = None


def fitted_judge(spec: JudgeSpec, world: WorldSpec, context: Context) -> DemonstrationJudge:
    """The judge of `spec` for rollouts of `world`: read where it was fitted before, else fitted and kept.

    Demonstrations are the recordings; the trials that calibrate it are imagined replays of others with known
    outcome, because rollouts are imagined too and look alike. Raises `InvalidInput` where `world` is no model.
    """
    from arena.judges.demonstration import DemonstrationJudge
    from worldmodels.model import LatentEncoder

    model = context.workshop.model(Path(world.name))
    encoder = LatentEncoder(model)
    made_from = {"spec": spec.model_dump(mode="json"), "world": model.sha256, "config": world.config_sha256}
    ref = reference("judges", content_address(made_from))

    def fit(folder: Path) -> None:
        demonstrations, others = part_episodes(spec.dataset.episodes(context), spec.seed)
        labelled = _replays(model, _sample(others, spec.labelled, spec.seed), world, spec.seed, context)
        judge = DemonstrationJudge.fit(encoder, demonstrations, labelled, spec.seed, context.progress)
        judge.save(folder / FILE)

    return DemonstrationJudge.load(context.artifacts.put(ref, fit) / FILE, encoder)


def learned_judge(spec: JudgeSpec) -> LearnedJudge:
    """The judge that `spec` names. Raises `InvalidInput` where there is none, or not the one that was planned with."""
    from arena.learned.judging.judge import LearnedJudge

    folder = learned_folder(spec.name)
    if spec.fingerprint not in (None, learned_fingerprint(folder)):
        raise InvalidInput(
            f"the judge in {folder} is not the one that this evaluation was planned with: start it again"
        )
    return LearnedJudge.load(folder)


def learned_folder(name: str) -> Path:
    """Of `learned` the judge that ships, of `learned:FOLDER` the folder. Raises `InvalidInput` where there is none."""
    folder = name.partition(":")[2]
    if not folder:
        return pretrained(JUDGE)
    if not Path(folder).is_dir():
        raise InvalidInput(f"there is no judge in {folder!r}: `dreamarena judge train` makes one")
    return Path(folder).resolve()


def learned_fingerprint(folder: Path) -> str:
    """The same for the same judge wherever it lies: its manifest has the hash of every file."""
    if not (folder / MANIFEST).is_file():
        raise InvalidInput(f"{folder} has no {MANIFEST}: it holds no judge, or one that was never finished")
    return file_sha256(folder / MANIFEST)


def shipped_judge_covers(episodes: Sequence[Episode]) -> bool:
    """Whether the judge that ships has learned everything that these episodes want, and seen their robots."""
    from arena.learned.judging.folder import read_card

    try:
        card = read_card(pretrained(JUDGE))
    except InvalidInput:
        return False
    return card.covers({episode.instruction for episode in episodes}, {episode.robot for episode in episodes})


def judge_card(judge: DemonstrationJudge | LearnedJudge) -> Json:
    """What is known of a judge, as JSON."""
    return asdict(judge.card)


def part_episodes(episodes: Sequence[Episode], seed: int) -> tuple[list[Episode], list[Episode]]:
    """Demonstrations, and the labelled episodes that are left to calibrate on.

    Of a task with labels, half of the successes demonstrate it. A task whose recordings have no labels at
    all is demonstrated by every one of them: teleoperated recordings are kept because they worked.
    """
    from arena.judges.trials import split_demonstrations, task_key

    labelled_tasks = {task_key(episode) for episode in episodes if episode.success is not None}
    unlabelled = [episode for episode in episodes if task_key(episode) not in labelled_tasks]
    labelled = [episode for episode in episodes if episode.success is not None]
    if not any(episode.success for episode in labelled):
        if not unlabelled:
            raise InvalidInput("no episode is known to have succeeded, so there is nothing to compare rollouts with")
        return unlabelled, labelled
    demonstrations, others = split_demonstrations(labelled, seed)
    kept = [trial for trial in demonstrations if isinstance(trial, Episode)]
    return [*kept, *unlabelled], [trial for trial in others if isinstance(trial, Episode)]


def _sample(episodes: Sequence[Episode], count: int, seed: int) -> list[Episode]:
    order = np.random.default_rng(seed).permutation(len(episodes))[:count]
    return [episodes[index] for index in sorted(order)]


def _replays(
    model: WorldModel, episodes: Sequence[Episode], world: WorldSpec, seed: int, context: Context
) -> list[LabelledTrial]:
    """What the world model imagines of labelled episodes from their first frame with their own actions."""
    from arena.judges.trials import LabelledTrial

    usable = replayable(model, episodes)
    trials: list[LabelledTrial] = []
    for episode, frames in imagined(model, usable, world, seed):
        trials.append(
            LabelledTrial(f"replay of {episode.id}", frames, episode.task, episode.instruction, episode.success)
        )
        context.progress(len(trials), len(usable), "imagining labelled episodes")
    return trials
