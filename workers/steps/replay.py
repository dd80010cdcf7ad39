"""The step `replay`: how well a world model shows what recorded actions did, and whether it follows them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from workers.evaluation import Dataset, WorldSpec
from workers.jobs import Context, Inputs, Json, Step


class ReplayInputs(Inputs):
    """`world_fingerprint` tells one state of the checkpoint's files from another. `limit` caps the episodes."""

    world: WorldSpec
    world_fingerprint: str
    dataset: Dataset
    seconds: tuple[float, ...]
    limit: int | None
    seed: int
    batch: int


def replay(inputs: ReplayInputs, context: Context) -> Json:
    """PSNR and SSIM per view and horizon: imagined, first frame copied, wrong actions, autoencoder's ceiling."""
    from worldmodels.replay import replay as replay_episodes
    from worldmodels.sampler import SamplerConfig

    report = replay_episodes(
        context.workshop.model(Path(inputs.world.name)),
        inputs.dataset.episodes(context)[: inputs.limit],
        seconds=inputs.seconds,
        sampler=SamplerConfig(inputs.world.sampler_steps, inputs.world.guidance),
        seed=inputs.seed,
        batch=inputs.batch,
        progress=context.progress,
    )
    return asdict(report)


STEP = Step("replay", ReplayInputs, replay)
