"""What each change to the released recipe gives: the same data, autoencoder, steps and seed, one change after another.

Every variant is a training of its own, from nothing, for the same few steps on the same latents: those of a finished
world model (`--world`), whose autoencoder and tracker all variants share. Each replays the same held-out episodes with
the same sampler. Run again after an interruption, it goes on where it was.

    python benchmarks/ablation.py --recording DATASET [--world CHECKPOINT] [--steps 1500] [--rank]
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro
from common import REPOSITORY, as_json, in_own_process, write
from ranking_tools import WORLD, RankingOptions, kept, world_sha256

from workers.settings import SAMPLER_STEPS

if TYPE_CHECKING:
    from worldmodels.autoencoder import ViewAutoencoder
    from worldmodels.checkpoint import Checkpoint
    from worldmodels.config import WorldModelConfig
    from worldmodels.latents import EncodedEpisode


def _released(config: WorldModelConfig) -> WorldModelConfig:
    """Without what was added; size, views, rate and representation of actions stay."""
    from worldmodels.config import NoiseConfig

    unet = {**config.unet, "in_channels": config.unet["in_channels"] - config.pose_map_channels}
    return replace(
        config, unet=unet, pose_map_channels=0, pose_history=0.0, contact_weight=0.0, noise=NoiseConfig()
    )  # fmt: skip


CHANGES: Mapping[str, Callable[[WorldModelConfig, WorldModelConfig], WorldModelConfig]] = {
    "released": lambda _, final: _released(final),
    "+pose_map": lambda config, final: replace(config, unet=final.unet, pose_map_channels=final.pose_map_channels),
    "+pose_history": lambda config, final: replace(config, pose_history=final.pose_history),
    "+contact_weight": lambda config, final: replace(config, contact_weight=final.contact_weight),
    "+few_step_noise": lambda config, final: replace(config, noise=final.noise),
}
"""Each from the variant before it and from the finished model's config; the last one is the finished model's."""


@dataclass(frozen=True, kw_only=True)
class Options(RankingOptions):
    """`steps` of `batch` windows for each of `variants`; `replays` held-out episodes at each of `seconds`.

    `--rank` adds rankings.
    """

    recording: Path
    world: Path = WORLD
    steps: int = 1500
    batch: int = 8
    learning_rate: float = 8e-4
    variants: tuple[str, ...] = tuple(CHANGES)
    seed: int = 0
    bfloat16: bool = True
    sampler_steps: int = SAMPLER_STEPS
    replays: int = 44
    seconds: tuple[float, ...] = (0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2)
    rank: bool = False
    data: Path = REPOSITORY / "out" / "benchmark" / "ablation"

    @property
    def trained_as(self) -> dict[str, Any]:
        """What a variant's weights depend on besides its config."""
        names = ("steps", "batch", "learning_rate", "seed", "bfloat16")
        given = {name: getattr(self, name) for name in names}
        return given | {"recording": str(self.recording.resolve()), "world": world_sha256(self.world)}

    @property
    def replayed_as(self) -> dict[str, Any]:
        """What a variant's fidelity depends on besides its weights."""
        from worldmodels.sampler import SamplerConfig

        sampler = asdict(SamplerConfig(self.sampler_steps).for_rollout())
        return {"episodes": as_json(self.held_out), "replays": self.replays, "seconds": self.seconds} | sampler

    def checkpoint(self, variant: str) -> Path:
        digest = hashlib.sha256(json.dumps(self.trained_as).encode()).hexdigest()[:8]
        return self.data / digest / variant.removeprefix("+")


def variant_configs(final: WorldModelConfig) -> dict[str, WorldModelConfig]:
    """The config of each variant, given the finished model's."""
    configs: dict[str, WorldModelConfig] = {}
    config = final
    for name, change in CHANGES.items():
        config = configs[name] = change(config, final)
    return configs


@dataclass(frozen=True)
class Shared:
    """What all variants have in common."""

    checkpoint: Checkpoint
    autoencoder: ViewAutoencoder
    encoded: Sequence[EncodedEpisode] = field(repr=False)


def share(options: Options) -> Shared:
    """The finished model's parts and its latents of the recording, encoding what its training's cache lacks."""
    from arena.episodes.ingest import ingest
    from worldmodels.autoencoder import ViewAutoencoder
    from worldmodels.checkpoint import load_checkpoint, load_strict
    from worldmodels.latents import encode_episodes
    from worldmodels.train import training_folder

    checkpoint = load_checkpoint(options.world)
    autoencoder = ViewAutoencoder(checkpoint.config)
    training = training_folder(options.world)
    state = training / "autoencoder.safetensors"
    if state.is_file():
        # The cache is of these weights; a checkpoint's are rounded to half precision.
        load_strict(autoencoder, _averaged(state), "ema/", str(state))
    else:
        load_strict(autoencoder.vae, checkpoint.tensors, "vae.")
    cache = (training if state.is_file() else options.data) / "latents"
    encoded = encode_episodes(autoencoder.eval(), ingest(options.recording).episodes, cache)
    return Shared(checkpoint, autoencoder, encoded)


def _averaged(state: Path) -> dict[str, Any]:
    """The moving averages in a stage's state, which a training ends with."""
    from safetensors import safe_open

    with safe_open(state, framework="pt") as stored:
        return {name: stored.get_tensor(name) for name in stored.keys() if name.startswith("ema/")}  # noqa: SIM118


def train(options: Options, variant: str) -> dict[str, Any]:
    """Train a variant's denoiser and write its checkpoint, with the shared autoencoder and tracker."""
    import torch

    from arena.learned.optimise import Schedule
    from worldmodels.actions import ActionStatistics
    from worldmodels.checkpoint import load_strict
    from worldmodels.tracking import Tracker

    # The stage of `train` alone: a whole training would learn an autoencoder of its own.
    from worldmodels.train import TrainConfig, _save, _Stages, _train_denoiser, training_folder
    from worldmodels.windows import Windows

    shared, out = share(options), options.checkpoint(variant)
    config = variant_configs(shared.checkpoint.config)[variant]
    schedule = Schedule(options.steps, options.batch, options.learning_rate, warmup=min(200, options.steps // 5))
    run = TrainConfig(schedule, schedule, seed=options.seed, bfloat16=options.bfloat16)
    identity = hashlib.sha256(json.dumps([config.to_json(), options.trained_as]).encode()).hexdigest()
    stages = _Stages(run, training_folder(out), identity, None, _every(options.steps // 20))
    stages.folder.mkdir(parents=True, exist_ok=True)
    statistics = ActionStatistics.from_dict(shared.checkpoint.statistics)
    torch.manual_seed(options.seed)
    denoiser = _train_denoiser(config, Windows(shared.encoded, config, statistics), None, stages)
    tracker = None
    if any(name.startswith("tracker.") for name in shared.checkpoint.tensors):
        tracker = Tracker()
        load_strict(tracker, shared.checkpoint.tensors, "tracker.")
    _save(out, config, (denoiser, shared.autoencoder, tracker), statistics, stages, shared.encoded)
    losses = [json.loads(line)["loss"] for line in (stages.folder / "denoiser.jsonl").read_text().splitlines()]
    last = losses[-max(1, len(losses) // 10) :]
    # Of its own noise levels and weights: only comparable between variants that share these.
    return {"loss": round(sum(last) / len(last), 5), "parameters": sum(p.numel() for p in denoiser.parameters())}


def _every(steps: int) -> Callable[[int, int, str], None]:
    def show(done: int, total: int, stage: str) -> None:
        if done % max(1, steps) == 0:
            print(f"  {stage}: {done}/{total}", flush=True)

    return show


def replays(options: Options, variant: str) -> dict[str, Any]:
    """PSNR and SSIM at each horizon, and at one second how much worse another episode's actions are."""
    from worldmodels.model import WorldModel
    from worldmodels.replay import replay
    from worldmodels.sampler import SamplerConfig

    recorded = options.held_out.episodes()
    chosen = recorded[:: max(1, len(recorded) // options.replays)][: options.replays]
    model = WorldModel.load(options.checkpoint(variant))
    report = replay(model, chosen, options.seconds, SamplerConfig(options.sampler_steps), batch=12)
    curve = [asdict(row) for row in report.fidelity if row.view == "all"]
    headline = min(curve, key=lambda row: abs(row["seconds"] - 1.0))
    return {
        "psnr": headline["psnr"]["model"],
        "ssim": headline["ssim"]["model"],
        "wrong_action_gap": round(headline["psnr"]["model"] - headline["psnr"]["wrong_action"], 3),
        "at_seconds": headline["seconds"],
        "episodes": headline["episodes"],
        "curve": curve,
    }


def ranking(options: Options, variant: str) -> dict[str, Any]:
    """Agreement with the stand-in reality."""
    return options.contest().agreement(options.checkpoint(variant), options.sampler_steps, 1.0)


def record(options: Options) -> dict[str, Any]:
    options.held_out.made()
    return {}


def main(options: Options) -> None:
    if unknown := sorted(set(options.variants) - set(CHANGES)):
        raise SystemExit(f"no variant {unknown[0]!r}: there are {', '.join(CHANGES)}")
    in_own_process(record, options)
    rows = []
    for variant in options.variants:
        print(f"{variant} ...", flush=True)
        about = options.trained_as | {"variant": variant}
        row = {"variant": variant} | kept(
            options.data / "kept", "training", about, lambda variant=variant: in_own_process(train, options, variant)
        )
        about |= options.replayed_as
        row |= kept(
            options.data / "kept", "replays", about, lambda variant=variant: in_own_process(replays, options, variant)
        )
        if options.rank:
            row |= in_own_process(ranking, options, variant)
        rows.append(row)
    path = write("ablation", {"variants": rows, "options": as_json(options)})
    show(rows)
    print(path)


def show(rows: Sequence[Mapping[str, Any]]) -> None:
    """The table."""
    columns = ("psnr", "ssim", "wrong_action_gap", "pearson", "mmrv", "optimism")
    print(f"{'variant':<18}" + "".join(f"{name:>18}" for name in columns))
    for row in rows:
        said = ["" if row.get(name) is None else f"{row[name]:.3f}" for name in columns]
        print(f"{row['variant']:<18}" + "".join(f"{value:>18}" for value in said))


if __name__ == "__main__":
    main(tyro.cli(Options))
