"""Do synthetic successes make a policy better in the stand-in reality? Arms with equal gradient steps, true trials.

Bases are cloned from a few demonstrations of every task. Weak are tasks that they do in 20% to 60% of new placements,
told in their own words or in others. Arms: `base` (no change), `real` (experts at new placements: an upper bound),
`synthetic` (the base's imagined successes there, `dreamarena synth`), `unfiltered` (the same without selection),
`control_world` (the synthetic ones with each other's actions, as a world would show that ignores its own), `longer`
(the old data only). Half of every batch is old data in all arms but the last.

    python benchmarks/synthesis.py [--seeds 0 1 2] [--trials 34]

Resumable: everything that `--data` holds already is not made again. Figures go to docs/benchmarks/synthesis.json.
"""

from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tyro
from common import REPOSITORY, as_json, write
from synthesis_cells import (
    Pair,
    Scale,
    base,
    finetuned,
    real_episodes,
    record_old,
    record_scenes,
    synthesized,
    true_trials,
    with_shuffled_actions,
)
from synthesis_figures import gain, rate, verdict

SCREENED = (
    "button-press-topdown-v3", "drawer-open-v3", "door-open-v3", "window-open-v3", "faucet-open-v3", "handle-press-v3",
    "plate-slide-v3", "drawer-close-v3",
)  # fmt: skip
ARMS = ("base", "longer", "real", "synthetic", "unfiltered", "control_world")
WEAK = (0.2, 0.6)
GOOD = 0.8
SCREENING = 2
"""Bases that choose the pairs: the first ones, so that more seeds do not change the choice."""


@dataclass(frozen=True)
class Options:
    """A task is told in `wordings` others; at most so many weak pairs of each kind, and good tasks, are measured."""

    seeds: tuple[int, ...] = (0, 1, 2)
    tasks: tuple[str, ...] = SCREENED
    wordings: int = 6
    weak_wordings: int = 2
    weak_placements: int = 1
    good: int = 2
    demonstrations: int = 12
    base_steps: int = 1500
    scenes: int = 12
    wanted: int = 12
    attempts: int = 24
    finetune_steps: int = 200
    learning_rate: float = 1e-3
    screened: int = 8
    trials: int = 34
    ideals: bool = False
    """Besides, swap the world for the stand-in reality (with its own word on success): where is the loss?"""
    workers: int = 2
    data: Path = REPOSITORY / "out" / "benchmark" / "synthesis"
    name: str = "synthesis"

    @property
    def scale(self) -> Scale:
        own = {name: getattr(self, name) for name in Scale.__dataclass_fields__ if hasattr(self, name)}
        return Scale(**own)


def main(options: Options) -> None:
    from real2sim.reality.record import end_with_parent

    options.data.mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.workers, mp_context=context, initializer=end_with_parent) as pool:
        figures = measure(options, options.data.resolve(), pool)
    print(write(options.name, figures).read_text())


def measure(options: Options, data: Path, pool: ProcessPoolExecutor) -> dict[str, Any]:
    """Everything, step by step; each is many cells, which the processes share."""
    began, scale = time.monotonic(), options.scale
    _cells(pool, record_old, [(data, scale)])
    _cells(pool, base, [(data, scale, seed) for seed in options.seeds])
    weak, good, screening = screened(options, data, pool)
    say(f"weak: {', '.join(pair.name for pair in weak)}; good: {', '.join(pair.name for pair in good)}")
    tasks = [pair.task for pair in weak]
    _cells(pool, record_scenes, [(data, scale, seed, tasks) for seed in options.seeds])
    seeded = [(data, scale, seed, pair) for seed in options.seeds for pair in weak]
    for judged in (True, False):  # one after the other: the second finds the first one's rollouts
        _cells(pool, made_synthetic, [(*cell, judged) for cell in seeded])
    arms = ARMS
    if options.ideals:
        arms = (*ARMS, "ideal_world")
        _cells(pool, made_synthetic, [(*cell, True, "metaworld") for cell in seeded])
    tuned = [(data, scale, seed, arm, weak) for arm in arms if arm != "base" for seed in options.seeds]
    _cells(pool, arm_policy, tuned)
    keys = [(arm, seed, pair) for pair in weak for arm in arms for seed in options.seeds]
    keys += [(arm, seed, pair) for pair in good for arm in ("base", "synthetic") for seed in options.seeds]
    figures = report(options, data, arms, weak, good, measured(options, data, keys, pool))
    return {**figures, "screening": screening, "hours": round((time.monotonic() - began) / 3600, 2)}


def say(text: str) -> None:
    print(time.strftime("%H:%M:%S"), text, flush=True)


def _cells(pool: ProcessPoolExecutor, work: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Every cell in some process; what raises ends the run, and what is done stays."""
    say(f"{work.__name__}: {len(arguments)} cells")
    return list(pool.map(_apply, [work] * len(arguments), arguments))


def _apply(work: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    return work(*arguments)


def made_synthetic(*arguments: Any) -> int:
    """How many episodes there are: they themselves are read again where they are wanted."""
    return len(synthesized(*arguments))


def screened(
    options: Options, data: Path, pool: ProcessPoolExecutor
) -> tuple[list[Pair], list[Pair], dict[str, float]]:
    """Weak pairs nearest to the middle of the range, and the best tasks, by placements that serve nothing else."""
    from arena.synthesis.phrasing import paraphrases
    from real2sim.reality.tasks import instruction

    screening = options.seeds[:SCREENING]
    pairs = []
    for task in options.tasks:
        words = instruction(task)
        reworded = paraphrases(words, options.wordings, seed=0)
        pairs += [Pair(task, (words,), "placement"), Pair(task, reworded, "wording")]
    cells = [
        (data, data / f"base-{seed}", f"base-{seed}", pair, "screen", options.screened)
        for pair in pairs for seed in screening
    ]  # fmt: skip
    found = _cells(pool, true_trials, cells)
    each = len(screening)
    rates = {
        pair: sum(map(sum, found[i * each : (i + 1) * each])) / (each * options.screened)
        for i, pair in enumerate(pairs)
    }
    near = sorted(
        (pair for pair in pairs if WEAK[0] <= rates[pair] <= WEAK[1]), key=lambda pair: abs(rates[pair] - 0.4)
    )
    weak: list[Pair] = []
    for kind, most in (("wording", options.weak_wordings), ("placement", options.weak_placements)):
        chosen = [pair for pair in near if pair.kind == kind and pair.task not in {each.task for each in weak}]
        weak += chosen[:most]
    able = [pair for pair in pairs if pair.kind == "placement" and rates[pair] >= GOOD]
    good = sorted(able, key=lambda pair: -rates[pair])[: options.good]
    return weak, good, {pair.name: round(rates[pair], 2) for pair in pairs}


def arm_policy(data: Path, scale: Scale, seed: int, arm: str, weak: Sequence[Pair]) -> str:
    """The fine-tuned policy of an arm: one for all weak pairs together."""
    new = []
    for pair in weak:
        chosen = synthesized(data, scale, seed, pair, judged=True)
        if arm == "real":
            new += real_episodes(data, seed, pair, max(len(chosen), 1))
        elif arm == "synthetic":
            new += chosen
        elif arm == "unfiltered":
            new += synthesized(data, scale, seed, pair, judged=False)[: max(len(chosen), 1)]
        elif arm == "control_world":
            new += with_shuffled_actions(chosen)
        elif arm == "ideal_world":
            new += synthesized(data, scale, seed, pair, judged=True, world="metaworld")[: max(len(chosen), 1)]
    return str(finetuned(data, scale, seed, arm, new))


def measured(
    options: Options, data: Path, keys: Sequence[tuple[str, int, Pair]], pool: ProcessPoolExecutor
) -> dict[str, dict[tuple[int, str], list[bool]]]:
    """True trials of every arm, seed and pair asked for, in the same placements."""
    cells = []
    for arm, seed, pair in keys:
        policy = data / f"base-{seed}" if arm == "base" else data / f"tuned-{seed}" / arm
        cells.append((data, policy, f"{arm}-{seed}", pair, "test", options.trials))
    found = _cells(pool, true_trials, cells)
    trials: dict[str, dict[tuple[int, str], list[bool]]] = {arm: {} for arm, _, _ in keys}
    for (arm, seed, pair), each in zip(keys, found, strict=True):
        trials[arm][seed, pair.name] = each
    return trials


def report(
    options: Options, data: Path, arms: Sequence[str], weak: Sequence[Pair], good: Sequence[Pair],
    trials: dict[str, dict[tuple[int, str], list[bool]]],
) -> dict[str, Any]:  # fmt: skip
    """Gains over the base, synthetic against each other arm, and each pair's rates."""
    names, kinds = [pair.name for pair in weak], sorted({pair.kind for pair in weak})
    gains = {arm: gain(trials[arm], trials["base"], names) for arm in arms}
    versus = {arm: gain(trials["synthetic"], trials[arm], names) for arm in arms if arm not in ("synthetic", "base")}
    losses = {pair.name: gain(trials["synthetic"], trials["base"], [pair.name]) for pair in good}
    worst = min((loss["gain"] for loss in losses.values()), default=0.0)
    return {
        "arms": gains,
        "synthetic_minus": versus,
        "by_kind": {
            kind: {arm: gain(trials[arm], trials["base"], [p.name for p in weak if p.kind == kind]) for arm in arms}
            for kind in kinds
        },
        "success": success(trials, (*weak, *good)),
        "good_tasks_change": losses,
        "verdict": verdict(gains, versus, worst),
        "made": made(data),
        "pairs": {"weak": [asdict(pair) for pair in weak], "good": [asdict(pair) for pair in good]},
        "trials_per_arm_and_task": options.trials * len(options.seeds),
        "options": as_json(options),
    }


def success(trials: dict[str, dict[tuple[int, str], list[bool]]], pairs: Sequence[Pair]) -> dict[str, dict[str, float]]:
    """True success by pair and arm, where it was measured: good tasks of the base and of `synthetic` only."""
    return {
        pair.name: {
            arm: round(rate(found, pair.name), 3)
            for arm, found in trials.items()
            if pair.name in {name for _, name in found}
        }
        for pair in pairs
    }


def made(data: Path) -> dict[str, Any]:
    """What `dreamarena synth` reported of each dataset."""
    found = {}
    for path in sorted(data.glob("synthetic-*/*.json")):
        told = json.loads(path.read_text())
        keep = ("synthetic", "attempts", "judged_successes", "dropped", "scenes", "seconds")
        found[f"{path.parent.name}/{path.stem}"] = {name: told[name] for name in keep}
    return found | {f"{path.parent.name}/{path.stem}": path.read_text() for path in data.glob("synthetic-*/*.none")}


if __name__ == "__main__":
    main(tyro.cli(Options))
