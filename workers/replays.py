"""Labelled episodes imagined again: what judges are taught and calibrated with, because what they judge is imagined."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from arena.contracts import Episode, Frames, InvalidInput
from arena.episodes.encode import write_video
from arena.episodes.video import VideoFrames
from workers.artifacts import reference
from workers.content import content_address
from workers.evaluation import WorldSpec
from workers.jobs import Context
from workers.rollouts import CRF, video_path

if TYPE_CHECKING:
    from arena.learned.judging.films import Film
    from arena.learned.judging.network import JudgingConfig
    from worldmodels.model import WorldModel

BATCH = 8
"""Episodes that are imagined together, and that one artifact holds: what a kill can lose."""
RATE_TOLERANCE = 0.01
"""An episode whose rate differs by more than this share cannot be replayed in a world model."""


def replayable(model: WorldModel, episodes: Sequence[Episode]) -> list[Episode]:
    """Those that the model can imagine: at its rate, and with something to imagine."""
    return [e for e in episodes if abs(e.fps - model.config.fps) <= RATE_TOLERANCE * e.fps and len(e) > 1]


def imagined(
    model: WorldModel, episodes: Sequence[Episode], world: WorldSpec, seed: int, views: Sequence[str] | None = None
) -> Iterator[tuple[Episode, dict[str, Frames]]]:
    """Each episode with `(T, H, W, 3)` a view: its first frame, and what its own actions did from there on."""
    from worldmodels.latents import frames_at
    from worldmodels.replay import imagine_episodes, recorded_actions
    from worldmodels.sampler import SamplerConfig

    sampler = SamplerConfig(world.sampler_steps, world.guidance)
    for start in range(0, len(episodes), BATCH):
        batch = episodes[start : start + BATCH]
        actions = [recorded_actions(model, episode) for episode in batch]
        films = imagine_episodes(model, batch, actions, max(map(len, batch)) - 1, sampler, seed, views)
        for episode, film in zip(batch, films, strict=True):
            first = frames_at(episode, model.config, 0, 1)
            yield episode, {n: np.concatenate([first[n], video[: len(episode) - 1]]) for n, video in film.items()}


def imagined_films(
    episodes: Sequence[Episode], config: JudgingConfig, world: WorldSpec, seed: int, context: Context
) -> list[Film]:
    """Labelled episodes as the judge will see a world model's rollouts, encoded like them; kept as artifacts.

    Episodes at another rate than the model's are left out. Raises `InvalidInput` where none is left.
    """
    from arena.learned.judging.films import Film, stacked, track_of

    found = []
    for e, videos in imagined_videos(episodes, config.cameras, world, seed, context):
        film = stacked({name: video.read() for name, video in videos.items()}, config)
        found.append(
            Film(f"replay of {e.id}", film, track_of(e.state), e.task, e.instruction, e.success, imagined=True)
        )
    return found


def imagined_videos(
    episodes: Sequence[Episode], views: Sequence[str], world: WorldSpec, seed: int, context: Context
) -> Iterator[tuple[Episode, dict[str, VideoFrames]]]:
    """Episodes imagined again by a world model, each with a video a view that is decoded when asked for.

    Encoded as rollouts are, and kept as artifacts. Episodes at another rate than the model's are left out. Raises
    `InvalidInput` where none is left.
    """
    model = context.workshop.model(Path(world.name))
    usable = replayable(model, episodes)
    if episodes and not usable:
        raise InvalidInput(f"{world.name} imagines at {model.config.fps:g} Hz; no labelled episode is at that rate")
    # Batches of episodes of one length waste nothing on frames after the end.
    ordered = sorted(usable, key=lambda episode: (len(episode), episode.id))
    for start in range(0, len(ordered), BATCH):
        batch = ordered[start : start + BATCH]
        made_from = [model.sha256, world.config_sha256, seed, list(views), [_sha256(e) for e in batch]]
        ref = reference("replays", content_address(made_from))
        folder = context.artifacts.put(ref, _writer(model, batch, world, seed, views))
        for index, e in enumerate(batch):
            yield e, {name: VideoFrames(video_path(folder / str(index), name)) for name in views}
        context.progress(start + len(batch), len(ordered), "imagining labelled episodes")


def _writer(
    model: WorldModel, batch: Sequence[Episode], world: WorldSpec, seed: int, views: Sequence[str]
) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        for index, (episode, film) in enumerate(imagined(model, batch, world, seed, views)):
            for name, frames in film.items():
                write_video(video_path(folder / str(index), name), frames, episode.fps, crf=CRF)

    return write


def _sha256(episode: Episode) -> str:
    """Of what a replay comes from, beside the world: the first frame and the motion."""
    digest = hashlib.sha256(json.dumps([episode.id, episode.fps]).encode())
    for name in sorted(episode.cameras):
        digest.update(episode.cameras[name].read(0, 1).tobytes())
    digest.update(np.ascontiguousarray(episode.state).tobytes())
    if episode.action is not None:
        digest.update(np.ascontiguousarray(episode.action.values).tobytes())
    return digest.hexdigest()
