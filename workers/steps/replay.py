"""The step `replay`: how well a world model shows what recorded actions did, and whether it follows them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from arena.episodes.cut import from_frame
from arena.scenes import beginnings
from workers.evaluation import Dataset, WorldSpec
from workers.jobs import Context, Inputs, Json, Queue, Step


class ReplayInputs(Inputs):
    """`world_fingerprint` tells one state of the checkpoint's files from another. `limit` caps the replays.

    Each episode is replayed from `beginnings` of its frames, evenly along it.
    """

    world: WorldSpec
    world_fingerprint: str
    dataset: Dataset
    seconds: tuple[float, ...]
    beginnings: int
    limit: int | None
    seed: int
    batch: int


def replay(inputs: ReplayInputs, context: Context) -> Json:
    """PSNR and SSIM per view and horizon: imagined, first frame copied, wrong actions, autoencoder's ceiling."""
    from worldmodels.replay import replay as replay_episodes
    from worldmodels.sampler import SamplerConfig

    begun = beginnings(inputs.dataset.episodes(context), inputs.beginnings)
    report = replay_episodes(
        context.workshop.model(Path(inputs.world.name)),
        [from_frame(episode, start) for episode, start in begun[: inputs.limit]],
        seconds=inputs.seconds,
        sampler=SamplerConfig(inputs.world.sampler_steps, inputs.world.guidance),
        seed=inputs.seed,
        batch=inputs.batch,
        progress=context.progress,
    )
    return asdict(report)


STEP = Step("replay", ReplayInputs, replay, needs=Queue.GPU)
