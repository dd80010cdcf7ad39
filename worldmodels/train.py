"""Training a world model from recorded episodes: autoencoder, tracker, latents, denoiser, checkpoint."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from arena.contracts import Episode, InvalidInput
from arena.learned.optimise import LossOfStep, Schedule, optimise
from worldmodels.actions import ActionStatistics, measure_statistics
from worldmodels.autoencoder import ViewAutoencoder
from worldmodels.checkpoint import Checkpoint, load_denoiser, load_strict, save_checkpoint
from worldmodels.config import TextEncoding, WorldModelConfig
from worldmodels.contact import ExpectedChange
from worldmodels.ctrl_world import CtrlWorld, LossDraws, training_loss
from worldmodels.latents import EncodedEpisode, Progress, encode_episodes, frames_at
from worldmodels.tracking import SCHEDULE, Tracker, fit_tracker
from worldmodels.windows import Windows

EmbedText = Callable[[Sequence[str]], Tensor]


@dataclass(frozen=True)
class TrainConfig:
    """A training run. Zero autoencoder steps keep the autoencoder that the run starts from.

    `images` bounds how many frames the autoencoder is trained on (they are held in memory, uint8). `bfloat16`
    halves the precision of the products, as it is always on CUDA: 1.4 times as fast on a processor that has the
    instructions for it (AVX512-BF16), slower on one that has not.
    """

    autoencoder: Schedule
    denoiser: Schedule
    tracker: Schedule = SCHEDULE
    images: int = 20_000
    seed: int = 0
    device: str = "cpu"
    bfloat16: bool = False

    def precision(self) -> AbstractContextManager[object]:
        """What a stage computes its loss under."""
        kind = torch.device(self.device).type
        return torch.autocast(kind, torch.bfloat16) if kind == "cuda" or self.bfloat16 else nullcontext()


RECIPES: Mapping[str, TrainConfig] = {
    "tiny": TrainConfig(
        autoencoder=Schedule(steps=6500, batch=12, learning_rate=2e-3, ema=0.995),
        denoiser=Schedule(steps=10_000, batch=4, learning_rate=6e-4, warmup=150),
        images=40_000,
    ),
    "small": TrainConfig(
        autoencoder=Schedule(steps=9000, batch=12, learning_rate=2e-3, ema=0.995),
        denoiser=Schedule(steps=7000, batch=8, learning_rate=8e-4, warmup=200),
        images=60_000,
        bfloat16=True,
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

    Interrupted, the same call goes on where it was: state is kept in `training_folder(out)`.
    `start` fine-tunes an earlier checkpoint, whose config is then kept but for the frame rate, which is
    always the episodes'. `embed_text` embeds the instructions where the config wants CLIP. Raises
    `InvalidInput` for episodes that do not fit.
    """
    if config.text is TextEncoding.CLIP and embed_text is None:
        raise InvalidInput(
            f"{config.name} is conditioned on CLIP text: fine-tune (--start) an imported checkpoint with its encoder"
        )
    torch.manual_seed(run.seed)
    config = replace(start.config if start is not None else config, fps=common_rate(episodes))
    stages = _Stages(run, training_folder(out), _identity(config, episodes, start), start, progress)
    stages.folder.mkdir(parents=True, exist_ok=True)
    config, autoencoder = _train_autoencoder(config, episodes, stages)
    commanded = [episode for episode in episodes if episode.action is not None]
    tracker = None
    if commanded:
        tracker = fit_tracker(commanded, run.seed, stages.folder, stages.identity, progress, run.tracker)
    statistics = measure_statistics(episodes, config.action_representation)
    encoded = encode_episodes(autoencoder, episodes, stages.folder / "latents", progress)
    model = _train_denoiser(config, Windows(encoded, config, statistics), embed_text, stages)
    _save(out, config, (model, autoencoder, tracker), statistics, stages, encoded)
    return out


def training_folder(out: Path) -> Path:
    """Where the state of the training that makes `out` is kept, to go on from, and its latents."""
    return out.with_name(f"{out.name}.training")


@dataclass(frozen=True)
class _Stages:
    """What the stages of one training share. `identity` says what is trained on what."""

    run: TrainConfig
    folder: Path
    identity: str
    start: Checkpoint | None
    progress: Progress | None

    def optimise(self, stage: str, module: nn.Module, loss_of_step: LossOfStep, schedule: Schedule) -> None:
        optimise(stage, module, loss_of_step, schedule, self.run.seed, self.folder, self.identity, self.progress)


def _identity(config: WorldModelConfig, episodes: Sequence[Episode], start: Checkpoint | None) -> str:
    content = [config.to_json(), start.sha256 if start is not None else None]
    content += [f"{episode.id} {episode.source.sha256}" for episode in episodes]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def common_rate(episodes: Sequence[Episode]) -> float:
    """The one frame rate of all episodes: a model has one time step. Raises `InvalidInput` where there are several."""
    rates = Counter(round(episode.fps, 3) for episode in episodes)
    if not rates:
        raise InvalidInput("no episodes to train on")
    if len(rates) > 1:
        counts = ", ".join(f"{count} at {rate:g} Hz" for rate, count in rates.most_common())
        raise InvalidInput(f"a world model has one frame rate, these episodes have several ({counts}): choose one")
    return next(iter(rates))


def _train_autoencoder(
    config: WorldModelConfig, episodes: Sequence[Episode], stages: _Stages
) -> tuple[WorldModelConfig, ViewAutoencoder]:
    """The autoencoder and the config with its measured scaling factor, which gives latents unit variance."""
    run, start = stages.run, stages.start
    autoencoder = ViewAutoencoder(config).to(run.device)
    if start is not None:
        load_strict(autoencoder.vae, start.tensors, "vae.")
    elif run.autoencoder.steps == 0:
        raise InvalidInput("no autoencoder to keep: start from a checkpoint or give it training steps")
    if run.autoencoder.steps == 0:
        return config, autoencoder.eval()
    pool = _image_pool(config, episodes, run.images, stages.progress)

    def loss(_: int, generator: torch.Generator) -> Tensor:
        picks = torch.randint(len(pool), (run.autoencoder.batch,), generator=generator)
        images = pool[picks].to(run.device).float() / 127.5 - 1
        with run.precision():
            return _autoencoder_loss(autoencoder, images, generator)

    stages.optimise("autoencoder", autoencoder, loss, run.autoencoder)
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


def _train_denoiser(
    config: WorldModelConfig, windows: Windows, embed_text: EmbedText | None, stages: _Stages
) -> CtrlWorld:
    """The denoiser, trained on windows of encoded episodes; bfloat16 on CUDA."""
    run = stages.run
    model = CtrlWorld(config).to(run.device)
    if stages.start is not None:
        load_denoiser(model, stages.start.tensors)
    strength = config.contact_weight
    expected = ExpectedChange.fit(windows, run.seed) if strength else None

    def loss(_: int, generator: torch.Generator) -> Tensor:
        batch = windows.batch(run.denoiser.batch, generator)
        latents = batch.latents.to(run.device)
        draws = LossDraws.draw(latents, config.num_history, generator)
        place = None
        if expected is not None:
            place = expected.loss_weights(batch.poses[:, config.num_history :], strength).to(run.device)
        with run.precision():
            tokens = model.tokens(batch.actions.to(run.device), batch.instructions, embed_text)
            return training_loss(model, latents, tokens, draws, place)

    stages.optimise("denoiser", model, loss, run.denoiser)
    return model


def _autoencoder_loss(autoencoder: ViewAutoencoder, images: Tensor, generator: torch.Generator) -> Tensor:
    """Squared and absolute error, with a little noise on the latents so that near ones decode alike."""
    latents = autoencoder.moments(images)
    noise = torch.randn(latents.shape, generator=generator).to(latents)
    decoded = autoencoder.images(latents + 0.05 * latents.detach().std() * noise)
    error = decoded - images
    return error.square().mean() + 0.1 * error.abs().mean() + 1e-5 * latents.square().mean()


def _image_pool(
    config: WorldModelConfig, episodes: Sequence[Episode], images: int, progress: Progress | None
) -> Tensor:
    """`(N, 3, H, W)` uint8: frames of all views, evenly over the episodes, about `images` at most."""
    each = max(1, images // (len(episodes) * len(config.views)))
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
    stages: _Stages,
    encoded: Sequence[EncodedEpisode],
) -> None:
    (model, autoencoder, tracker), start = parts, stages.start
    tensors = {**model.state_dict(), **{f"vae.{k}": v for k, v in autoencoder.vae.state_dict().items()}}
    if tracker is not None:
        tensors |= {f"tracker.{k}": v for k, v in tracker.state_dict().items()}
    if start is not None:
        tensors |= start.text_encoder
    facts = {
        "preset": config.name,
        "parameters": sum(p.numel() for p in model.parameters()),
        "autoencoder_parameters": sum(p.numel() for p in autoencoder.parameters()),
        "episodes": len(encoded),
        "frames": sum(len(e) for e in encoded),
        "instructions": sorted({e.instruction for e in encoded})[:50],
        "training": asdict(stages.run),
        "started_from": start.sha256 if start is not None else None,
    }
    card = f"# World model `{config.name}`\n\nTrained by `dreamarena worldmodel train`.\n\n```json\n"
    card += json.dumps(facts, indent=2) + "\n```\n"
    files = start.text_files if start is not None else {}
    save_checkpoint(
        out, config, tensors, statistics.to_dict(), card, torch.float16, extra_files=files, replace=True
    )  # fmt: skip
