"""Results to compare: made up, and simulated from success rates that are known."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from arena.validation import Results, TrialResult

HEADER = ("policy", "task", "scene", "seed", "success")


def results(rows: Iterable[tuple[str, str, str, float | None]], name: str = "results") -> Results:
    """Results from (policy, task, scene, success); what is repeated gets another seed."""
    count: dict[tuple[str, str, str], int] = {}
    trials = []
    for policy, task, scene, success in rows:
        seed = count[policy, task, scene] = count.get((policy, task, scene), -1) + 1
        trials.append(TrialResult(policy, task, scene, seed, success))
    return Results(tuple(trials), {"file": name, "sha256": name})


def rates(scores: Mapping[str, float], name: str, scenes: int = 1000, task: str = "task") -> Results:
    """Trials of 0 and 1 in which each policy has exactly its score, which is a multiple of 1 / scenes."""
    return results(
        (
            (policy, task, str(scene), float(scene < round(score * scenes)))
            for policy, score in scores.items()
            for scene in range(scenes)
        ),
        name,
    )


def simulate(
    seed: int, *, policies: int = 8, tasks: Sequence[str] = ("a", "b"), scenes: int = 30, real_scenes: int = 30
) -> tuple[Results, Results]:
    """Evaluator and reality, alike but for chance: policies of rising skill in scenes of unlike difficulty."""
    random = np.random.default_rng(seed)
    skill = np.linspace(-1.5, 1.5, policies)
    sides: list[list[tuple[str, str, str, float]]] = [[], []]
    for task in tasks:
        ease = random.normal(0, 1.5, scenes)
        chance = 1 / (1 + np.exp(-(skill[:, None] + ease)))
        for side, count in ((0, scenes), (1, real_scenes)):
            success = random.random(chance.shape) < chance
            sides[side] += [
                (f"policy-{policy}", task, f"scene-{scene}", float(success[policy, scene]))
                for policy in range(policies)
                for scene in range(count)
            ]
    return results(sides[0], "evaluator"), results(sides[1], "real")


def write_csv(path: Path, rows: Iterable[Sequence[object]], header: Sequence[str] = HEADER) -> Path:
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])
    return path


def as_rows(side: Results) -> list[list[object]]:
    return [[t.policy, t.task, t.scene, t.seed, "" if t.success is None else t.success] for t in side.trials]
