"""Fitting the demonstration judge for a world model, once: it is kept as an artifact."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from arena.contracts import Episode, InvalidInput
from workers.artifacts import reference
from workers.content import content_address
from workers.evaluation import Dataset, WorldSpec
from workers.jobs import Context, Inputs, Json

if TYPE_CHECKING:
    from arena.judges.demonstration import DemonstrationJudge
    from arena.judges.trials import LabelledTrial
    from worldmodels.model import WorldModel

FILE = "judge.safetensors"
BATCH = 8
RATE_TOLERANCE = 0.01
"""An episode whose rate differs by more than this share cannot be replayed in a world model."""


class JudgeSpec(Inputs):
    """How a judge is made. `name` is `demonstrations`, or `truth` in worlds that know.

    At most `labelled` labelled episodes are replayed in the world model to calibrate it.
    """

    name: str
    dataset: Dataset
    seed: int
    labelled: int


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


def judge_card(judge: DemonstrationJudge) -> Json:
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
    from worldmodels.latents import frames_at
    from worldmodels.replay import imagine_episodes, recorded_actions
    from worldmodels.sampler import SamplerConfig

    usable = [e for e in episodes if abs(e.fps - model.config.fps) <= RATE_TOLERANCE * e.fps and len(e) > 1]
    sampler = SamplerConfig(world.sampler_steps, world.guidance)
    trials: list[LabelledTrial] = []
    for start in range(0, len(usable), BATCH):
        batch = usable[start : start + BATCH]
        actions = [recorded_actions(model, episode) for episode in batch]
        films = imagine_episodes(model, batch, actions, max(map(len, batch)) - 1, sampler, seed)
        for episode, film in zip(batch, films, strict=True):
            first = frames_at(episode, model.config, 0, 1)
            frames = {name: np.concatenate([first[name], video[: len(episode) - 1]]) for name, video in film.items()}
            trials.append(
                LabelledTrial(f"replay of {episode.id}", frames, episode.task, episode.instruction, episode.success)
            )
        context.progress(len(trials), len(usable), "imagining labelled episodes")
    return trials
