"""How fast the shipped model records, trains and imagines, against a plain loop that follows the released procedure.

The plain loop imagines one scene at a time, with 50 denoising steps, guidance that rises to 2, and decodes every
frame of every view. Ours imagines a batch with the steps and views that an evaluation uses. Both replay the same
held-out episodes with the same weights; ratios come from one run on one machine.

    python benchmarks/imagination.py [--episodes 9] [--plain-episodes 9]
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from common import REPOSITORY, in_own_process, write
from ranking_tools import WORLD

TASKS = ("drawer-open-v3", "button-press-topdown-v3", "faucet-open-v3")
SEED = 77
"""Of the recording: no seed of `make train-demo`."""
SECONDS = 1.0
PLAIN_STEPS, PLAIN_GUIDANCE = 50, 2.0


@dataclass(frozen=True)
class Options:
    """`episodes` are replayed by ours, the first `plain_episodes` of them by the plain loop as well."""

    episodes: int = 9
    plain_episodes: int = 9
    steps: int = 2
    batch: int = 12
    views: tuple[str, ...] = ("exterior_1", "wrist")
    """The views that ours decodes while its speed is measured: those that the demo's policy looks at."""
    world: Path = WORLD
    data: Path = REPOSITORY / "out" / "benchmark" / "imagination"


def recording(options: Options) -> dict[str, Any]:
    """Frames (one camera, one instant) recorded per second and core, and the same with MuJoCo's default rendering."""

    from real2sim.engine import mujoco
    from real2sim.reality.plans import plan
    from real2sim.reality.record import episodes
    from real2sim.reality.simulator import Simulation

    plans = plan(TASKS, max(1, -(-options.episodes // len(TASKS))), SEED, {"expert": 1.0})
    frames, began = 0, time.perf_counter()
    for episode in episodes(plans):
        frames += sum(len(video) for video in episode.frames.values())
    ours = frames / (time.perf_counter() - began)

    simulation = Simulation(TASKS[0])
    simulation.reset(0)
    renderer, camera = mujoco.Renderer(simulation.model, 64, 96), mujoco.MjvCamera()
    camera.lookat[:], camera.distance, camera.azimuth, camera.elevation = (0, 0.74, 0.09), 0.8, -50, -38
    began = time.perf_counter()
    for _ in range(30):
        simulation.act(np.append(simulation.target, 0.0))
        for _ in range(3):
            renderer.update_scene(simulation.data, camera)
            renderer.render()
    plain = 90 / (time.perf_counter() - began)
    return {
        "recorded_fps": round(ours, 1),
        "recorded_fps_plain": round(plain, 1),
        "recording_ratio": round(ours / plain, 2),
    }


def training(options: Options) -> dict[str, Any]:
    """Training windows per second from cached latents in batches of four, and encoding one window at a time."""
    import torch

    from worldmodels.ctrl_world import LossDraws, training_loss
    from worldmodels.latents import encode_episodes, frames_at
    from worldmodels.model import WorldModel
    from worldmodels.windows import Windows

    model = WorldModel.load(options.world)
    episodes = held_out(options)
    encoded = encode_episodes(model.autoencoder, episodes, options.data / "latents")
    windows = Windows(encoded, model.config, model.statistics)
    generator = torch.Generator().manual_seed(0)
    model.denoiser.train()

    def step(size: int, encode: bool) -> None:
        batch = windows.batch(size, generator)
        latents = batch.latents
        if encode:
            views = frames_at(episodes[0], model.config, 0, model.config.window)
            latents = model.autoencoder.encode(views)[None]
        draws = LossDraws.draw(latents, model.config.num_history, generator)
        tokens = model.denoiser.tokens(batch.actions, batch.instructions)
        training_loss(model.denoiser, latents, tokens, draws).backward()

    ours = 4 / seconds_each(lambda: step(4, False), 8)
    plain = 1 / seconds_each(lambda: step(1, True), 8)
    return {
        "training_samples_per_second": round(ours, 2),
        "training_samples_per_second_plain": round(plain, 2),
        "training_ratio": round(ours / plain, 2),
    }


def imagining(options: Options) -> dict[str, Any]:
    """New frames (all views of one instant) per second of ours: a batch, few steps, only the views asked for."""
    from worldmodels.model import WorldModel
    from worldmodels.replay import imagine_episodes
    from worldmodels.sampler import SamplerConfig

    model = WorldModel.load(options.world)
    episodes = (held_out(options) * options.batch)[: options.batch]
    sampler, frames = SamplerConfig(options.steps), 2 * model.config.frames_per_call
    actions = [motion(model, episode) for episode in episodes]

    def run() -> None:
        imagine_episodes(model, episodes, actions, frames, sampler, views=options.views)

    return {"imagined_fps": round(len(episodes) * frames / seconds_each(run, 2), 2)}


def imagining_plain(options: Options) -> dict[str, Any]:
    """The same by the plain loop, and what both loops' frames are worth one second ahead."""
    from arena.metrics import psnr
    from worldmodels.latents import frames_at
    from worldmodels.model import WorldModel
    from worldmodels.replay import imagine_episodes, replay
    from worldmodels.sampler import SamplerConfig

    model = WorldModel.load(options.world)
    horizon = round(SECONDS * model.config.fps)
    chosen = [e for e in held_out(options) if len(e) > horizon]
    fidelity = replay(model, chosen, (SECONDS,), SamplerConfig(options.steps), batch=options.batch).at(SECONDS)
    scores: dict[str, list[float]] = {"plain": [], "ours": []}
    spent, imagined = 0.0, 0
    for episode in chosen[: options.plain_episodes]:
        began = time.perf_counter()
        plain = imagine_episodes(
            model, [episode], [motion(model, episode)], horizon, SamplerConfig(PLAIN_STEPS, PLAIN_GUIDANCE)
        )
        spent, imagined = spent + time.perf_counter() - began, imagined + horizon
        ours = imagine_episodes(model, [episode], [motion(model, episode)], horizon, SamplerConfig(options.steps))
        true = frames_at(episode, model.config, horizon, horizon + 1)
        for name, film in (("plain", plain[0]), ("ours", ours[0])):
            scores[name].append(float(np.mean([psnr(film[view][-1:], true[view])[0] for view in true])))
    return {
        "imagined_fps_plain": round(imagined / spent, 3),
        "psnr_ours": round(float(np.mean(scores["ours"])), 2),
        "psnr_plain": round(float(np.mean(scores["plain"])), 2),
        "psnr_episodes": len(scores["plain"]),
        "psnr_ours_all": fidelity.psnr["model"],
        "psnr_copy": fidelity.psnr["copy"],
        "psnr_wrong_action": fidelity.psnr["wrong_action"],
        "psnr_ceiling": fidelity.psnr["ceiling"],
        "psnr_all_episodes": fidelity.episodes,
    }


def seconds_each(work: Any, times: int) -> float:
    work()  # the first call pays for allocation
    began = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - began) / times


def held_out(options: Options) -> Sequence[Any]:
    from arena.episodes.ingest import ingest

    return list(ingest(options.data / "episodes").episodes)


def motion(model: Any, episode: Any) -> Any:
    from worldmodels.replay import recorded_actions

    return recorded_actions(model, episode)


def record_held_out(options: Options) -> dict[str, Any]:
    from real2sim.reality.record import record

    each = max(1, -(-options.episodes // len(TASKS)))
    record(TASKS, each, SEED, options.data / "episodes", kinds={"expert": 0.5, "noisy": 0.25, "wrong_goal": 0.25})
    return {}


def main(options: Options) -> None:
    in_own_process(record_held_out, options)
    figures: dict[str, Any] = {"options": {"steps": options.steps, "batch": options.batch, "views": options.views}}
    memory = {}
    for measure in (recording, training, imagining, imagining_plain):
        print(f"measuring {measure.__name__} ...", flush=True)
        result = in_own_process(measure, options)
        memory[measure.__name__] = result.pop("peak_memory_mb")
        figures |= result
    figures["speedup"] = round(figures["imagined_fps"] / figures["imagined_fps_plain"], 1)
    figures["peak_memory_mb"] = memory
    path = write("imagination", figures)
    print(path.read_text())


if __name__ == "__main__":
    main(tyro.cli(Options))
