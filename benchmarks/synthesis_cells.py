"""The pieces of the synthesis benchmark, each made once and kept in a folder, so that a run that was killed goes on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from synthesis_truth import reset_seeds, stage

from arena.contracts import ActionChunk, Episode, InvalidInput
from arena.episodes.atomic import atomic_write
from arena.synthesis.diversity import Diversity
from arena.synthesis.plan import Budget
from arena.synthesis.select import Rules

OLD, SCENES = 1000, 3000
"""Seeds of the recordings: what bases learn from, and where new data begins (plus the run's seed)."""
KINDS = {"expert": 24.0, "noisy": 18.0, "detour": 14.0}


@dataclass(frozen=True)
class Pair:
    """A task under certain wordings, which take turns. `kind` is `placement` where they are its own, else `wording`."""

    task: str
    wordings: tuple[str, ...]
    kind: str

    @property
    def name(self) -> str:
        return self.task if self.kind == "placement" else f"{self.task}-reworded"


@dataclass(frozen=True)
class Scale:
    """How much of everything. `trials` are of each arm, pair and seed."""

    demonstrations: int = 12
    base_steps: int = 1500
    scenes: int = 12
    wanted: int = 12
    attempts: int = 24
    noises: tuple[float, ...] = (0.0, 0.01, 0.02)
    finetune_steps: int = 200
    learning_rate: float = 1e-3
    screened: int = 8
    trials: int = 34


def quiet() -> None:
    """One thread each: two processes share two cores."""
    import torch

    torch.set_num_threads(1)


def record_old(data: Path, scale: Scale) -> Path:
    """Demonstrations of every task, for the bases: all placements their own."""
    from real2sim.reality.record import record
    from workers.lineup import HELD_OUT_TASKS, TASKS

    return record((*TASKS, *HELD_OUT_TASKS), scale.demonstrations, OLD, data / "old", kinds=KINDS).path


def record_scenes(data: Path, scale: Scale, seed: int, tasks: Sequence[str]) -> Path:
    """Experts at new placements of the weak tasks: their first frames are the scenes, their whole the real data."""
    from real2sim.reality.record import record

    return record(sorted(set(tasks)), scale.scenes, SCENES + seed, data / f"scenes-{seed}", kinds={"expert": 1.0}).path


def successes(folder: Path) -> list[Episode]:
    """The episodes of a recording that succeeded."""
    from arena.episodes.ingest import ingest

    return [episode for episode in ingest(folder).episodes if episode.success]


def base(data: Path, scale: Scale, seed: int) -> Path:
    """A policy cloned from the old demonstrations."""
    from arena.learned.cloning import train_cloning
    from arena.learned.network import CloningConfig

    quiet()
    out = data / f"base-{seed}"
    if not out.exists():
        train_cloning(successes(data / "old"), replace(CloningConfig(), steps=scale.base_steps), out, seed)
    return out


def true_trials(data: Path, policy: Path, name: str, pair: Pair, stream: str, count: int) -> list[bool]:
    """What `policy` did in the stand-in reality in the first `count` placements of `stream`."""
    from arena.learned.checkpoint import CloningModel

    path = data / "trials" / f"{name}-{pair.name}-{stream}.json"
    if path.is_file() and len(known := json.loads(path.read_text())) >= count:
        return [bool(each) for each in known[:count]]
    quiet()
    placements = reset_seeds(stream, pair.task, count)
    found = stage().successes(CloningModel.load(policy), pair.task, pair.wordings, placements)
    atomic_write(path, json.dumps(found).encode())
    return found


def synthesized(
    data: Path, scale: Scale, seed: int, pair: Pair, judged: bool, world: str | None = None
) -> list[Episode]:
    """The base's own imagined trials at new placements, kept under the pair's wordings; nothing where none was chosen.

    The policy is told the task's own words. `world` None is the world model that ships.
    """
    from arena.episodes.ingest import ingest

    quiet()
    name = f"{pair.name}-{'filtered' if judged else 'unfiltered'}{'-ideal' if world else ''}"
    out = data / f"synthetic-{seed}" / name
    if out.with_suffix(".none").is_file():
        return []
    if not (out / "manifest.json").is_file():
        try:
            _synthesize(data, scale, seed, pair, judged, out, world)
        except InvalidInput as error:
            if not str(error).startswith("no successes found"):
                raise
            atomic_write(out.with_suffix(".none"), str(error).encode())
            return []
    return list(ingest(out).episodes)


def _synthesize(
    data: Path, scale: Scale, seed: int, pair: Pair, judged: bool, out: Path, world: str | None
) -> dict[str, Any]:
    import sys

    from workers.cli.session import Session
    from workers.registry import WORLD, pretrained
    from workers.settings import Settings
    from workers.synthesis import synthesize
    from workers.synthesis_plan import SynthesisRequest

    request = SynthesisRequest(
        world=world or str(pretrained(WORLD)), policy=f"bc:{data / f'base-{seed}'}",
        episodes=data / f"scenes-{seed}", out=out, tasks=(pair.task,),
        instructions=pair.wordings if pair.kind == "wording" else (), scenes=scale.scenes,
        budget=Budget(scale.wanted, scale.attempts, None, per_scene=2), diversity=Diversity(scale.noises),
        rules=Rules(judged=judged), seed=seed, batch=scale.scenes,
    )  # fmt: skip
    session = Session(Settings()).at_home(data / "stores" / f"{seed}-{pair.task}")
    try:
        with redirect_stdout(sys.stderr):
            found = synthesize(session.context, request, session.run)
    finally:
        session.close()
    atomic_write(out.with_suffix(".json"), json.dumps(found).encode())
    return found


def real_episodes(data: Path, seed: int, pair: Pair, count: int) -> list[Episode]:
    """Experts at the same placements, as many as there are synthetic ones, under the pair's wordings."""
    own = [each for each in successes(data / f"scenes-{seed}") if each.task == pair.task][:count]
    return [replace(each, instruction=words) for each, words in zip(own, cycle(pair.wordings), strict=False)]


def with_shuffled_actions(episodes: Sequence[Episode]) -> list[Episode]:
    """What a world would show that carries out another trial's actions: each episode with the next one's motion.

    Positions are moved to the episode's own start, so that nothing but the motion is wrong.
    """
    shuffled = []
    for index, episode in enumerate(episodes):
        donor = episodes[(index + 1) % len(episodes)]
        assert donor.action is not None
        rows = np.minimum(np.arange(len(episode)), len(donor.action) - 1)
        values = np.array(donor.action.values[rows])
        values[:, :3] += episode.state[0, :3] - donor.state[0, :3]
        action = ActionChunk(values, donor.action.space, donor.action.control_hz)
        shuffled.append(replace(episode, id=f"{episode.id}-shuffled", action=action))
    return shuffled


def finetuned(data: Path, scale: Scale, seed: int, arm: str, new: Sequence[Episode]) -> Path:
    """The base after equally many steps, half of every batch from `new`, the other (all, without any) from the old."""
    from arena.learned.checkpoint import CloningModel
    from arena.learned.finetune import Finetuning, Part, finetune_cloning

    quiet()
    out = data / f"tuned-{seed}" / arm
    if out.exists():
        return out
    parts = [Part(successes(data / "old"))] + ([Part(new)] if new else [])
    options = Finetuning(scale.finetune_steps, learning_rate=scale.learning_rate, only_successes=False)
    return finetune_cloning(CloningModel.load(data / f"base-{seed}"), parts, out, options, seed)
