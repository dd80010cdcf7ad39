"""Latents of episodes, computed once and kept on disk, one shard per episode."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from arena.contracts import Episode, FloatArray, Frames, InvalidInput
from arena.episodes.atomic import atomic_file
from worldmodels.autoencoder import ViewAutoencoder
from worldmodels.config import WorldModelConfig

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class EncodedEpisode:
    """An episode as the denoiser's training sees it: `(T, C, V * h, w)` float16 latents and `(T, 7)` poses."""

    id: str
    instruction: str
    latents: Tensor
    poses: FloatArray

    def __len__(self) -> int:
        return len(self.poses)


def frames_at(episode: Episode, config: WorldModelConfig, start: int = 0, stop: int | None = None) -> dict[str, Frames]:
    """The model's views of an episode at the model's size, `(T, H, W, 3)` each.

    Raises `InvalidInput` naming the episode and the camera that it lacks.
    """
    missing = [name for name in config.views if name not in episode.cameras]
    if missing:
        raise InvalidInput(
            f"episode {episode.id} has no camera {missing[0]!r}: it has {', '.join(sorted(episode.cameras))}, "
            f"the model wants {', '.join(config.views)}"
        )
    size = (config.view_height, config.view_width)
    return {name: resize(episode.cameras[name].read(start, stop), size) for name in config.views}


def resize(frames: Frames, size: tuple[int, int]) -> Frames:
    """`(T, H, W, 3)` to `(T, *size, 3)`, by area when shrinking."""
    if frames.shape[1:3] == size:
        return frames
    tensor = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float()
    resized = torch.nn.functional.interpolate(tensor, size, mode="bilinear", antialias=True, align_corners=False)
    return resized.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()


def encode_episodes(
    autoencoder: ViewAutoencoder,
    episodes: Sequence[Episode],
    cache: Path,
    progress: Progress | None = None,
) -> list[EncodedEpisode]:
    """Encode episodes, taking from `cache` what an earlier run with the same autoencoder encoded.

    Shards are named by a hash of the autoencoder and the episode, so a changed one is never mistaken
    for another. Decoding the next video overlaps with encoding this one.
    """
    cache.mkdir(parents=True, exist_ok=True)
    fingerprint = _fingerprint(autoencoder)
    shards = [cache / f"{_shard_key(fingerprint, episode)}.safetensors" for episode in episodes]
    todo = [i for i, shard in enumerate(shards) if not shard.exists()]
    with ThreadPoolExecutor(1) as decoder:
        for done, (index, frames) in enumerate(_prefetched(decoder, autoencoder.config, episodes, todo)):
            _write_shard(shards[index], autoencoder.encode(frames), episodes[index].state)
            if progress is not None:
                progress(len(episodes) - len(todo) + done + 1, len(episodes), "encoding episodes")
    return [_read_shard(shard, episode) for shard, episode in zip(shards, episodes, strict=True)]


def _prefetched(
    decoder: ThreadPoolExecutor, config: WorldModelConfig, episodes: Sequence[Episode], todo: Sequence[int]
) -> Iterator[tuple[int, dict[str, Frames]]]:
    pending = None
    for position, index in enumerate(todo):
        current = pending if pending is not None else decoder.submit(frames_at, episodes[index], config)
        following = todo[position + 1] if position + 1 < len(todo) else None
        pending = None if following is None else decoder.submit(frames_at, episodes[following], config)
        yield index, current.result()


def _fingerprint(autoencoder: ViewAutoencoder) -> str:
    digest = hashlib.sha256(autoencoder.config.to_json().encode())
    for name, value in autoencoder.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().float().numpy().tobytes())
    return digest.hexdigest()


def _shard_key(fingerprint: str, episode: Episode) -> str:
    identity = json.dumps([fingerprint, episode.id, len(episode), episode.source.sha256])
    return hashlib.sha256(identity.encode()).hexdigest()[:32]


def _write_shard(path: Path, latents: Tensor, poses: FloatArray) -> None:
    states = torch.from_numpy(np.ascontiguousarray(poses))
    tensors = {"latents": latents.to(torch.float16).contiguous(), "poses": states}
    with atomic_file(path) as partial:
        save_file(tensors, partial)


def _read_shard(path: Path, episode: Episode) -> EncodedEpisode:
    with safe_open(path, framework="pt") as shard:
        latents, poses = shard.get_tensor("latents"), shard.get_tensor("poses").numpy()
    return EncodedEpisode(episode.id, episode.instruction, latents, poses)
