"""How much faster a few-step sampler imagines than the released procedure, and what that costs.

The released procedure imagines one scene at a time with 50 denoising steps and guidance that rises to 2, and decodes
every frame of every view. Ours imagines a batch with few steps that end at a useful noise level. Both have the same
weights, replay the same held-out episodes and rank the same policies on the same scenes; both decode everything. Run
again after an interruption, it goes on where it was; speeds are always measured anew, in turns.

    python benchmarks/sampler.py [--world CHECKPOINT] [--no-rank] [--steps 1 2 3 5 8] [--ours 2]
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import tyro
from common import REPOSITORY, as_json, in_own_process, write
from ranking_tools import WORLD, RankingOptions, kept, world_sha256

from workers.settings import SAMPLER_STEPS

RELEASED_STEPS, RELEASED_GUIDANCE = 50, 2.0
RELEASED_SIGMA = 0.002


@dataclass(frozen=True, kw_only=True)
class Options(RankingOptions):
    """`steps` are the frontier, `ours` the number of steps that is held against the released procedure.

    `sigmas` are lowest ones, tried with `ours` steps and without a ranking. Fidelity is of `episodes` replays at the
    last of `seconds`. `batch` scenes are imagined together where speed is measured.
    """

    world: Path = WORLD
    ours: int = SAMPLER_STEPS
    steps: tuple[int, ...] = (1, 2, 3, 5, 8)
    guidances: tuple[float, ...] = (1.0,)
    sigmas: tuple[float, ...] = (RELEASED_SIGMA, 0.03, 0.3, 1.0)
    batch: int = 12
    rounds: int = 3
    episodes: int = 22
    seconds: tuple[float, ...] = (0.5, 1.0)
    rank: bool = True
    data: Path = REPOSITORY / "out" / "benchmark" / "sampler"


@dataclass(frozen=True)
class Point:
    """One way to imagine. `lowest_sigma` None is a rollout's default; `ranked` says whether policies are ranked."""

    steps: int
    guidance: float = 1.0
    lowest_sigma: float | None = None
    batch: int = 1
    ranked: bool = False

    def sampler(self) -> Any:
        from worldmodels.sampler import SamplerConfig

        return SamplerConfig(self.steps, self.guidance, self.lowest_sigma).for_rollout()


def points(options: Options) -> tuple[Point, Point, list[Point]]:
    """The released procedure, ours, and the frontier with both."""
    released = Point(RELEASED_STEPS, RELEASED_GUIDANCE, batch=1, ranked=options.rank)
    ours = Point(options.ours, batch=options.batch, ranked=options.rank)
    line = [Point(n, g, batch=options.batch, ranked=options.rank) for g in options.guidances for n in options.steps]
    varied = [Point(options.ours, lowest_sigma=sigma, batch=options.batch) for sigma in options.sigmas]
    return released, ours, list(dict.fromkeys([released, ours, *line, *varied]))


def record(options: Options) -> dict[str, Any]:
    options.held_out.made()
    return {}


def speeds(options: Options, frontier: Sequence[Point]) -> dict[str, Any]:
    """New frames (all views of one instant) per second at each point; the points take turns, the median counts."""
    from worldmodels.model import WorldModel
    from worldmodels.replay import imagine_episodes, recorded_actions

    model, recorded = WorldModel.load(options.world), options.held_out.episodes()
    found: list[list[float]] = [[] for _ in frontier]
    for turn in range(options.rounds + 1):
        for point, measured in zip(frontier, found, strict=True):
            episodes = (recorded * point.batch)[: point.batch]
            actions = [recorded_actions(model, episode) for episode in episodes]
            frames = model.config.frames_per_call * (2 if point.batch > 1 else 1)
            began = time.perf_counter()
            imagine_episodes(model, episodes, actions, frames, point.sampler())
            if turn:  # the first pays for allocation
                measured.append(len(episodes) * frames / (time.perf_counter() - began))
    return {"imagined_fps": [round(median(measured), 3) for measured in found]}


def fidelity(options: Options, point: Point) -> dict[str, Any]:
    """PSNR of replays at the last horizon, and how much worse they are with another episode's actions."""
    from worldmodels.model import WorldModel
    from worldmodels.replay import replay

    recorded = options.held_out.episodes()
    chosen = recorded[:: max(1, len(recorded) // options.episodes)][: options.episodes]
    model = WorldModel.load(options.world)
    report = replay(model, chosen, options.seconds, point.sampler(), batch=options.batch)
    last = report.at(max(options.seconds))
    return {
        "lowest_sigma": report.sampler.lowest_sigma,
        "psnr": last.psnr["model"],
        "ssim": last.ssim["model"],
        "wrong_action_gap": round(last.psnr["model"] - last.psnr["wrong_action"], 3),
        "episodes": last.episodes,
        "horizons": [asdict(row) for row in report.fidelity if row.view == "all"],
    }


def ranking(options: Options, point: Point) -> dict[str, Any]:
    """How the ranking of the policies in imagination agrees with the one in the stand-in reality."""
    return options.contest().agreement(options.world, point.steps, point.guidance)


def measure(options: Options, point: Point, memory: dict[str, int]) -> dict[str, Any]:
    """One row of the frontier, its speed aside."""

    def alone(measurement: Any) -> dict[str, Any]:
        found = in_own_process(measurement, options, point)
        peak = found.pop("peak_memory_mb")
        memory[measurement.__name__] = max(peak, memory.get(measurement.__name__, 0))
        return found

    about = {"world": world_sha256(options.world), "sampler": asdict(point.sampler())}
    about |= {"recording": asdict(options.held_out), "episodes": options.episodes, "seconds": options.seconds}
    print(f"replaying with {point} ...", flush=True)
    row = asdict(point) | kept(options.data / "fidelity", f"{point.steps}", about, lambda: alone(fidelity))
    row |= dict.fromkeys(("pearson", "mmrv"))
    if point.ranked:
        print(f"ranking with {point} ...", flush=True)
        row |= alone(ranking)
    return row


def main(options: Options) -> None:
    released, ours, frontier = points(options)
    in_own_process(record, options)
    memory: dict[str, int] = {}
    rows = [measure(options, point, memory) for point in frontier]
    print("measuring speeds ...", flush=True)
    timed = in_own_process(speeds, options, frontier)
    memory["speeds"] = timed["peak_memory_mb"]
    rows = [row | {"imagined_fps": fps} for row, fps in zip(rows, timed["imagined_fps"], strict=True)]
    slow, fast = rows[frontier.index(released)], rows[frontier.index(ours)]
    known = slow["pearson"] is not None and fast["pearson"] is not None
    figures = {
        "speedup": round(fast["imagined_fps"] / slow["imagined_fps"], 1),
        "psnr_loss": round(slow["psnr"] - fast["psnr"], 3),
        "r_loss": round(slow["pearson"] - fast["pearson"], 4) if known else None,
        "ours": fast,
        "released": slow,
        "frontier": rows,
        "options": as_json(options),
        "peak_memory_mb": memory,
    }
    print(write("sampler", figures).read_text())


if __name__ == "__main__":
    main(tyro.cli(Options))
