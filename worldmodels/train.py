"""Training a world model from recorded episodes: autoencoder, tracker, latents, denoiser, checkpoint."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from arena.contracts import Episode, InvalidInput
from worldmodels.actions import ActionStatistics, measure_statistics
from worldmodels.autoencoder import ViewAutoencoder
from worldmodels.checkpoint import Checkpoint, load_denoiser, load_strict, save_checkpoint
from worldmodels.config import TextEncoding, WorldModelConfig
from worldmodels.ctrl_world import CtrlWorld, LossDraws, training_loss
from worldmodels.latents import EncodedEpisode, Progress, encode_episodes, frames_at
from worldmodels.optimise import Schedule, optimise
from worldmodels.tracking import SCHEDULE, Tracker, fit_tracker
from worldmodels.windows import Windows

EmbedText = Callable[[Sequence[str]], Tensor]


@dataclass(frozen=True)
class TrainConfig:
    """A training run. Zero autoencoder steps keep the autoencoder that the run starts from.

    `images` bounds how many frames the autoencoder is trained on (they are held in memory, uint8).
    """

    autoencoder: Schedule
    denoiser: Schedule
    tracker: Schedule = SCHEDULE
    images: int = 20_000
    seed: int = 0
    device: str = "cpu"


RECIPES: Mapping[str, TrainConfig] = {
    "tiny": TrainConfig(
        autoencoder=Schedule(steps=6500, batch=12, learning_rate=2e-3, ema=0.995),
        denoiser=Schedule(steps=10_000, batch=4, learning_rate=6e-4, warmup=150),
        images=40_000,
    ),
    "ctrl-world": TrainConfig(
        autoencoder=Schedule(steps=0, batch=1, learning_rate=1e-5),
        denoiser=Schedule(steps=100_000, batch=8, learning_rate=1e-5, warmup=500),
    ),
}
"""How each preset is trained unless told otherwise."""


def train(
    config: WorldModelConfig,
    episodes: Sequence[Episode],
    out: Path,
    run: TrainConfig,
    start: Checkpoint | None = None,
    embed_text: EmbedText | None = None,
    progress: Progress | None = None,
) -> Path:
    """Train `config` on episodes and write the checkpoint to `out`; returns `out`.

    Interrupted, the same call goes on where it was: state is kept in `out.with_suffix('.training')`.
    `start` fine-tunes an earlier checkpoint, whose config is then kept but for the frame rate, which is
    always the episodes'. `embed_text` embeds the instructions where the config wants CLIP. Raises
    `InvalidInput` for episodes that do not fit.
    """
    if config.text is TextEncoding.CLIP and embed_text is None:
        raise InvalidInput(
            f"{config.name} is conditioned on CLIP text: fine-tune (--start) an imported checkpoint with its encoder"
        )
    torch.manual_seed(run.seed)
    work = out.with_suffix(".training")
    work.mkdir(parents=True, exist_ok=True)
    config = replace(start.config if start is not None else config, fps=common_rate(episodes))
    config, autoencoder = train_autoencoder(config, episodes, work, run, start, progress)
    commanded = [episode for episode in episodes if episode.action is not None]
    tracker = fit_tracker(commanded, run.seed, work, progress, run.tracker) if commanded else None
    statistics = measure_statistics(episodes, config.action_representation)
    encoded = encode_episodes(autoencoder, episodes, work / "latents", progress)
    model = train_denoiser(config, encoded, statistics, work, run, start, embed_text, progress)
    _save(out, config, (model, autoencoder, tracker), statistics, run, encoded)
    return out


def common_rate(episodes: Sequence[Episode]) -> float:
    """The one frame rate of all episodes: a model has one time step. Raises `InvalidInput` where there are several."""
    rates = Counter(round(episode.fps, 3) for episode in episodes)
    if not rates:
        raise InvalidInput("no episodes to train on")
    if len(rates) > 1:
        counts = ", ".join(f"{count} at {rate:g} Hz" for rate, count in rates.most_common())
        raise InvalidInput(f"a world model has one frame rate, these episodes have several ({counts}): choose one")
    return next(iter(rates))


def train_autoencoder(
    config: WorldModelConfig,
    episodes: Sequence[Episode],
    work: Path,
    run: TrainConfig,
    start: Checkpoint | None,
    progress: Progress | None,
) -> tuple[WorldModelConfig, ViewAutoencoder]:
    """The autoencoder and the config with its measured scaling factor, which gives latents unit variance."""
    autoencoder = ViewAutoencoder(config).to(run.device)
    if start is not None:
        load_strict(autoencoder.vae, start.tensors, "vae.")
    elif run.autoencoder.steps == 0:
        raise InvalidInput("no autoencoder to keep: start from a checkpoint or give it training steps")
    if run.autoencoder.steps == 0:
        return config, autoencoder.eval()
    pool = _image_pool(config, episodes, run, progress)

    def loss(_: int, generator: torch.Generator) -> Tensor:
        picks = torch.randint(len(pool), (run.autoencoder.batch,), generator=generator)
        images = pool[picks].to(run.device).float() / 127.5 - 1
        return _autoencoder_loss(autoencoder, images, generator)

    optimise("autoencoder", autoencoder, loss, run.autoencoder, run.seed, work, progress)
    if start is not None:
        # The denoiser that goes with it knows latents of this scale.
        return config, autoencoder
    with torch.no_grad():
        sample = pool[torch.linspace(0, len(pool) - 1, min(512, len(pool))).long()].to(run.device)
        spread = float(autoencoder.moments(sample.float() / 127.5 - 1).std()) / autoencoder.scaling
    config = replace(config, autoencoder={**config.autoencoder, "scaling_factor": round(1 / spread, 6)})
    scaled = ViewAutoencoder(config).to(run.device)
    scaled.load_state_dict(autoencoder.state_dict())
    return config, scaled.eval()


def train_denoiser(
    config: WorldModelConfig,
    encoded: Sequence[EncodedEpisode],
    statistics: ActionStatistics,
    work: Path,
    run: TrainConfig,
    start: Checkpoint | None,
    embed_text: EmbedText | None,
    progress: Progress | None,
) -> CtrlWorld:
    """The denoiser, trained on windows of encoded episodes; bfloat16 on CUDA."""
    windows = Windows(encoded, config, statistics)
    model = CtrlWorld(config).to(run.device)
    if start is not None:
        load_denoiser(model, start.tensors)
    cuda = torch.device(run.device).type == "cuda"
    precision = torch.autocast("cuda", torch.bfloat16) if cuda else nullcontext()

    def loss(_: int, generator: torch.Generator) -> Tensor:
        batch = windows.batch(run.denoiser.batch, generator)
        latents = batch.latents.to(run.device)
        draws = LossDraws.draw(latents, config.num_history, generator)
        with precision:
            tokens = model.tokens(batch.actions.to(run.device), batch.instructions, embed_text)
            return training_loss(model, latents, tokens, draws)

    optimise("denoiser", model, loss, run.denoiser, run.seed, work, progress)
    return model


def _autoencoder_loss(autoencoder: ViewAutoencoder, images: Tensor, generator: torch.Generator) -> Tensor:
    """Squared and absolute error, with a little noise on the latents so that near ones decode alike."""
    latents = autoencoder.moments(images)
    noise = torch.randn(latents.shape, generator=generator).to(latents)
    decoded = autoencoder.images(latents + 0.05 * latents.detach().std() * noise)
    error = decoded - images
    return error.square().mean() + 0.1 * error.abs().mean() + 1e-5 * latents.square().mean()


def _image_pool(
    config: WorldModelConfig, episodes: Sequence[Episode], run: TrainConfig, progress: Progress | None
) -> Tensor:
    """`(N, 3, H, W)` uint8: frames of all views, evenly over the episodes, at most `run.images`."""
    each = max(1, run.images // (len(episodes) * len(config.views)))
    pool = []
    for done, episode in enumerate(episodes):
        keep = torch.linspace(0, len(episode) - 1, min(each, len(episode))).long()
        pool += [torch.from_numpy(view)[keep].permute(0, 3, 1, 2) for view in frames_at(episode, config).values()]
        if progress is not None:
            progress(done + 1, len(episodes), "reading frames")
    return torch.cat(pool)


def _save(
    out: Path,
    config: WorldModelConfig,
    parts: tuple[CtrlWorld, ViewAutoencoder, Tracker | None],
    statistics: ActionStatistics,
    run: TrainConfig,
    encoded: Sequence[EncodedEpisode],
) -> None:
    model, autoencoder, tracker = parts
    tensors = {**model.state_dict(), **{f"vae.{k}": v for k, v in autoencoder.vae.state_dict().items()}}
    if tracker is not None:
        tensors |= {f"tracker.{k}": v for k, v in tracker.state_dict().items()}
    facts = {
        "preset": config.name,
        "parameters": sum(p.numel() for p in model.parameters()),
        "autoencoder_parameters": sum(p.numel() for p in autoencoder.parameters()),
        "episodes": len(encoded),
        "frames": sum(len(e) for e in encoded),
        "instructions": sorted({e.instruction for e in encoded})[:50],
        "training": asdict(run),
    }
    card = f"# World model `{config.name}`\n\nTrained by `dreamarena worldmodel train`.\n\n```json\n"
    card += json.dumps(facts, indent=2) + "\n```\n"
    save_checkpoint(out, config, tensors, statistics.to_dict(), card, dtype=torch.float16, replace=True)
