"""Making the judge that a spec names: the learned one is read, that by demonstrations is fitted once, others asked."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from arena.contracts import Episode, InvalidInput, Judge
from arena.judges.card import CardedJudge
from workers.artifacts import reference
from workers.content import content_address
from workers.evaluation import WorldSpec
from workers.jobs import Context, Json
from workers.judge_specs import (
    DEMONSTRATIONS,
    ENSEMBLE,
    LEARNED,
    TRUTH,
    VLM,
    JudgeSpec,
    kind_of,
    learned_fingerprint,
    learned_folder,
    members_of,
)
from workers.replays import imagined, replayable
from workers.replies import ArtifactReplies
from workers.truth import TruthJudge

if TYPE_CHECKING:
    from arena.judges.demonstration import DemonstrationJudge
    from arena.judges.trials import LabelledTrial
    from arena.judges.vlm.judge import VlmJudge
    from arena.learned.judging.judge import LearnedJudge
    from worldmodels.model import WorldModel

FILE = "judge.safetensors"
LEDGER = "judge-ledger.jsonl"
"""In the home: a line for every run of a judge that is asked over an endpoint. It is written to and never read."""


def make_judge(spec: JudgeSpec, world: WorldSpec | None, context: Context) -> Judge:
    """The judge of `spec`, for rollouts of `world` where that shapes it.

    Raises `InvalidInput` where there is none of that name, where it is not the one that was planned with, and for a
    judge by demonstrations without a world model.
    """
    kind = kind_of(spec.name)
    if kind == TRUTH:
        return TruthJudge()
    if kind == LEARNED:
        return _learned(spec)
    if kind == VLM:
        return _vlm(spec, context)
    if kind == DEMONSTRATIONS:
        if world is None:
            raise InvalidInput("the judge by demonstrations looks at a world model's latents: give its checkpoint")
        return _fitted(spec, world, context)
    if kind == ENSEMBLE:
        from arena.judges.ensemble import EnsembleJudge

        parts = [spec.model_copy(update={"name": name, "fingerprint": None}) for name in members_of(spec.name)]
        return EnsembleJudge([make_judge(part, world, context) for part in parts])
    raise InvalidInput(f"there is no judge {spec.name!r}")


def judge_card(judge: Judge) -> Json | None:
    """What is known of a judge, as JSON."""
    return asdict(judge.card) if isinstance(judge, CardedJudge) else None


def spent(judge: Judge) -> Json | None:
    """What its questions cost so far, by model; None for judges that ask nobody."""
    found = {f"{each.config.model} {each.sha256[:8]}": each.ledger.as_json() for each in _asking(judge)}
    return found or None


def spent_line(judge: Judge) -> str:
    """The same in a few words; nothing for judges that ask nobody."""
    return "; ".join(str(each.ledger) for each in _asking(judge))


@contextmanager
def ledger_kept(judge: Judge, context: Context, what: str) -> Iterator[None]:
    """Writes what a run cost into the home's ledger when it ends, also where a budget or an error ended it."""
    try:
        yield
    finally:
        if (costs := spent(judge)) is not None:
            line = {"time": time.time(), "what": what, "judge_sha256": judge.sha256, "spent": costs}
            context.settings.home.mkdir(parents=True, exist_ok=True)
            with (context.settings.home / LEDGER).open("a") as stream:
                stream.write(json.dumps(line) + "\n")


def _asking(judge: Judge) -> list[VlmJudge]:
    from arena.judges.ensemble import EnsembleJudge
    from arena.judges.vlm.judge import VlmJudge

    members = judge.members if isinstance(judge, EnsembleJudge) else (judge,)
    return [member for member in members if isinstance(member, VlmJudge)]


def _vlm(spec: JudgeSpec, context: Context) -> VlmJudge:
    from arena.judges.vlm.config import parse_vlm
    from arena.judges.vlm.judge import VlmJudge

    config = parse_vlm(spec.name)
    _check_planned(spec, config.sha256)
    return VlmJudge(config, ArtifactReplies(context.artifacts))


def _learned(spec: JudgeSpec) -> LearnedJudge:
    from arena.learned.judging.judge import LearnedJudge

    folder = learned_folder(spec.name)
    _check_planned(spec, learned_fingerprint(folder))
    return LearnedJudge.load(folder)


def _check_planned(spec: JudgeSpec, found: str) -> None:
    if spec.fingerprint not in (None, found):
        raise InvalidInput(f"the judge {spec.name} is not the one that this was planned with: start it again")


def _fitted(spec: JudgeSpec, world: WorldSpec, context: Context) -> DemonstrationJudge:
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
