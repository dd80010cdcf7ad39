"""Does a long rollout hold, and what does a history chosen by pose give it next to fixed offsets?

Held-out recordings of 20 s (ten times as long as any episode trained on) are imagined from their first frame with
their own commands. The same weights imagine them with the history that lies nearest in pose and with the released
fixed offsets. Each second's frames are compared with the recorded ones; so are the first frame again (`copy`), what is
imagined with another episode's motion (`wrong_action`) and the recorded frame through the autoencoder (`ceiling`).

    python benchmarks/horizon.py [--world CHECKPOINT] [--seconds 20] [--each 4] [--sampler-steps 2]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tyro
from common import REPOSITORY, as_json, in_own_process, write
from ranking_tools import WORLD, kept, say, world_sha256

from workers.settings import SAMPLER_STEPS

if TYPE_CHECKING:
    from arena.contracts import FloatArray
    from worldmodels.replay import ReplayScores
    from worldmodels.sampler import SamplerConfig

TASKS = (
    "push-v3", "pick-place-v3", "button-press-topdown-v3", "drawer-open-v3", "door-open-v3", "window-open-v3",
)  # fmt: skip
"""Where random motion seldom succeeds, which would end a recording."""
KINDS = {"random": 1.0}
"""Everything else succeeds, or stands still once it has failed."""
SEED = 79
"""Of the recording: no seed that a world model was trained on."""
SHORTEST = 0.6
"""Recordings of failures last this share of the longest at least: see `real2sim.reality.record`."""
CAP = 60.0
"""dB: two frames that are equal by chance would make a mean infinite."""
HISTORIES = {"by_pose": 1.0, "fixed": 0.0}
"""What `WorldModelConfig.pose_history` is set to."""


@dataclass(frozen=True)
class Options:
    """`each` recordings of each task are made; those that succeed by chance are too short and left out."""

    world: Path = WORLD
    seconds: int = 20
    each: int = 4
    tasks: tuple[str, ...] = TASKS
    sampler_steps: int = SAMPLER_STEPS
    guidance: float = 1.0
    batch: int = 12
    data: Path = REPOSITORY / "out" / "benchmark" / "horizon"

    @property
    def sampler(self) -> SamplerConfig:
        from worldmodels.sampler import SamplerConfig

        return SamplerConfig(self.sampler_steps, self.guidance).for_rollout()

    @property
    def episodes(self) -> Path:
        return self.data / f"episodes-{len(self.tasks)}x{self.each}-{self.seconds}s"


def record(options: Options) -> dict[str, Any]:
    """Record what is missing; returns how many of the recordings are long enough."""
    from arena.episodes.ingest import ingest
    from real2sim.reality.record import record as record_episodes
    from real2sim.reality.simulator import FPS

    needed = round(options.seconds * FPS) + 1
    longest = int(np.ceil(needed / SHORTEST)) + 1
    if not (options.episodes / "meta" / "info.json").is_file():
        record_episodes(
            options.tasks, options.each, SEED, options.episodes, kinds=KINDS, max_frames=longest, progress=say
        )
    lengths = [len(episode) for episode in ingest(options.episodes).episodes]
    return {"recorded": len(lengths), "long_enough": sum(length >= needed for length in lengths)}


def imagine(options: Options, history: str) -> dict[str, Any]:
    """The curves of one kind of history."""
    from arena.episodes.ingest import ingest
    from worldmodels.model import WorldModel
    from worldmodels.replay import score_replays

    model = WorldModel.load(options.world)
    config = replace(model.config, pose_history=HISTORIES[history])
    frames = range(1, round(options.seconds * config.fps) + 1)
    episodes = [each for each in ingest(options.episodes).episodes if len(each) > frames[-1]]
    model = replace(model, config=config)
    scores = score_replays(model, episodes, frames, options.sampler, batch=options.batch, progress=say)
    views = {view: curves(scores, view, round(config.fps)) for view in scores[0].psnr}
    return {
        "episodes": len(episodes),
        "lowest_sigma": options.sampler.lowest_sigma,
        **summary(views["all"]),
        "seconds": views["all"],
        "views": {view: summary(rows) | {"seconds": rows} for view, rows in views.items() if view != "all"},
        **frame_by_frame(scores),
    }


def curves(scores: Sequence[ReplayScores], view: str, fps: int) -> list[dict[str, Any]]:
    """PSNR and SSIM of each second: means over its frames and the episodes."""
    psnr, ssim = (_means(scores, measure, view) for measure in ("psnr", "ssim"))
    count = len(next(iter(psnr.values()))) // fps

    def means(of: Mapping[str, FloatArray], second: int, digits: int) -> dict[str, float]:
        return {name: round(float(row[second * fps : (second + 1) * fps].mean()), digits) for name, row in of.items()}

    return [{"second": s + 1, "psnr": means(psnr, s, 3), "ssim": means(ssim, s, 4)} for s in range(count)]


def summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """`collapsed_at` is the first second in which the first frame again is nearer to the truth, null where none is."""
    below = [row["second"] for row in rows if row["psnr"]["model"] < row["psnr"]["copy"]]
    last = rows[-1]["psnr"]
    return {
        "collapsed_at": below[0] if below else None,
        "mean_psnr": round(float(np.mean([row["psnr"]["model"] for row in rows])), 3),
        "last_second_above_copy": round(last["model"] - last["copy"], 3),
        "last_second_above_wrong_action": round(last["model"] - last["wrong_action"], 3),
    }


def frame_by_frame(scores: Sequence[ReplayScores]) -> dict[str, Any]:
    """The strict reading: frames whose mean over the episodes is below the copy's, and single ones that are."""
    psnr = _means(scores, "psnr", "all")
    below = np.flatnonzero(psnr["model"] < psnr["copy"]) + 1
    single = np.mean([each.psnr["all"]["model"] < each.psnr["all"]["copy"] for each in scores])
    return {"frames_below_copy": below.tolist(), "share_of_single_frames_below_copy": round(float(single), 4)}


def _means(scores: Sequence[ReplayScores], measure: str, view: str) -> dict[str, FloatArray]:
    """What is compared, `(F,)` each: means over episodes."""
    rows = [getattr(each, measure)[view] for each in scores]
    return {name: np.mean([np.minimum(row[name], CAP) for row in rows], axis=0) for name in rows[0]}


def main(options: Options) -> None:
    print("recording ...", flush=True)
    recorded = in_own_process(record, options)
    print(f"{recorded['long_enough']} of {recorded['recorded']} recordings are long enough", flush=True)
    about = as_json(options) | {"world_sha256": world_sha256(options.world), "sampler": asdict(options.sampler)}
    found = {}
    for history in HISTORIES:
        print(f"imagining {options.seconds} s with history {history} ...", flush=True)
        found[history] = kept(
            options.data / "curves", history, about, lambda history=history: in_own_process(imagine, options, history)
        )
    ours, fixed = found["by_pose"], found["fixed"]
    figures = {
        "collapsed_at": ours["collapsed_at"],
        "collapsed_at_fixed": fixed["collapsed_at"],
        "mean_psnr_gain_by_pose": round(ours["mean_psnr"] - fixed["mean_psnr"], 3),
        "histories": found,
        "recorded": recorded["recorded"],
        "options": as_json(options),
    }
    path = write("horizon", figures)
    show(found)
    print(path)


def show(found: Mapping[str, Any]) -> None:
    """The curves as a table."""
    for history, curve in found.items():
        print(f"history {history}: collapsed at {curve['collapsed_at']}, {curve['episodes']} episodes")
        for row in curve["seconds"]:
            print(f"  {row['second']:>3} s  " + "  ".join(f"{name} {value:.2f}" for name, value in row["psnr"].items()))


if __name__ == "__main__":
    main(tyro.cli(Options))
