"""Policies rolled out in digital twins, and what perturbations of the twins changed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from arena.contracts import Frames, Judge, Rollout
from arena.episodes.atomic import atomic_file
from arena.robustness import axis_changes, path_distance
from arena.rollout import FailedRollout
from workers.batches import Planned, run_trials
from workers.jobs import Context, Progress

if TYPE_CHECKING:
    from arena.policies.specs import PolicyFactory
    from real2sim.twin.suite import Partner
    from real2sim.twin.world import TwinWorld

RESULTS = "rollouts.json"


def roll_out(
    world: TwinWorld,
    policies: Sequence[PolicyFactory],
    seeds: Sequence[int],
    steps: int,
    batch: int,
    context: Context,
    progress: Progress,
) -> list[tuple[str, Rollout | FailedRollout]]:
    """Every policy in every twin with every seed: outcomes with their twins' keys."""
    scenes = [world.scene(key) for key in world.keys]
    trials = [(scene, seed) for scene in scenes for seed in seeds]
    outcomes: list[tuple[str, Rollout | FailedRollout]] = []
    for factory in policies:
        for start in range(0, len(trials), batch):
            part = trials[start : start + batch]
            planned = [Planned(scene, seed, factory.create) for scene, seed in part]
            found = run_trials(world, planned, steps, context)
            outcomes += [(scene.episode_id, each) for (scene, _), each in zip(part, found, strict=True)]
            progress(len(outcomes), len(policies) * len(trials), "rollouts")
    return outcomes


def save_films(out: Path, outcomes: Sequence[tuple[str, Rollout | FailedRollout]]) -> None:
    """An mp4 of each rollout, its cameras side by side, and `rollouts.json` with what each came from."""
    from arena.episodes.encode import write_video

    facts = []
    for key, each in outcomes:
        if isinstance(each, FailedRollout):
            facts.append({"twin": key, "policy": each.policy, "seed": each.seed, "failed": str(each.error)})
            continue
        film = f"{each.policy}-{key}-{each.seed}-{each.id[:8]}.mp4".replace("/", "_")
        write_video(out / film, side_by_side(each.frames), each.fps)
        facts.append({"twin": key, "film": film, **each.facts})
    out.mkdir(parents=True, exist_ok=True)
    with atomic_file(out / RESULTS) as partial:
        partial.write_text(json.dumps(facts, indent=1))


def side_by_side(frames: Mapping[str, Frames]) -> Frames:
    """Cameras `(T, H, W, 3)` in one film, cut to the least height, sides even as H.264 needs."""
    height = min(film.shape[1] for film in frames.values()) // 2 * 2
    whole = np.concatenate([film[:, :height] for film in frames.values()], axis=2)
    return np.asarray(whole[:, :, : whole.shape[2] // 2 * 2])


def judged(outcomes: Sequence[tuple[str, Rollout | FailedRollout]], judge: Judge) -> dict[tuple[str, str, int], float]:
    """Success probabilities by policy, twin and seed; what the judge abstains on is missing."""
    found = {}
    for key, each in outcomes:
        if isinstance(each, Rollout):
            verdict = judge.judge(each)
            if verdict.success_probability is not None and not verdict.abstained:
                found[each.policy, key, each.seed] = verdict.success_probability
    return found


def report_changes(
    outcomes: Sequence[tuple[str, Rollout | FailedRollout]],
    partners: Mapping[str, Partner],
    success: Mapping[tuple[str, str, int], float] | None,
) -> list[dict[str, Any]]:
    """By axis and policy: how far the flange's path moved from its partner's in cm, and what success changed by."""
    paths = {(each.policy, key, each.seed): each.state[:, :3] for key, each in outcomes if isinstance(each, Rollout)}
    moved = {
        trial: 100 * path_distance(path, paths[trial[0], partners[trial[1]].of, trial[2]])
        for trial, path in paths.items()
        if trial[1] in partners and (trial[0], partners[trial[1]].of, trial[2]) in paths
    }
    pairs = {key: (partner.axis, partner.of) for key, partner in partners.items()}
    still = {(policy, pairs[key][1], seed): 0.0 for policy, key, seed in moved}
    found = {(each.axis, each.policy): {"path_cm": asdict(each)} for each in axis_changes({**still, **moved}, pairs)}
    for each in axis_changes(success or {}, pairs):
        found.setdefault((each.axis, each.policy), {})["success"] = asdict(each)
    return [{"axis": axis, "policy": policy, **measures} for (axis, policy), measures in sorted(found.items())]
