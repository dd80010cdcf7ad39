"""Episodes as training samples of behaviour cloning, held in memory, drawn and augmented per step."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from arena.contracts import ActionSpace, Episode, FloatArray, Frames, InvalidInput
from arena.learned.network import POSITION, CloningConfig, word_ids

Progress = Callable[[int, int, str], None]

MIN_POSITION_SCALE, MIN_DISPLACEMENT_SCALE = 1e-2, 1e-3
"""In m: an axis along which nothing moves is not to be blown up."""


@dataclass(frozen=True)
class Normalisation:
    """Positions' mean and deviation `(3,)`, and displacements' mean and deviation `(N, 3)`, all in m."""

    position_mean: Tensor
    position_scale: Tensor
    displacement_mean: Tensor
    displacement_scale: Tensor


@dataclass(frozen=True)
class Batch:
    """Images `(B, 3, H, W)` in [0, 1] per camera, states `(B, 7)`, word ids `(B, L)`.

    `target` is `(B, N, 4)`: absolute positions in m, and gripper positions.
    """

    images: list[Tensor]
    state: Tensor
    words: Tensor
    target: Tensor


class Demonstrations:
    """Every frame of the chosen episodes with the actions that followed, `len(self)` samples.

    Images are held as uint8, at the network's size: 18 kB a frame and camera at 64 x 96.
    Raises `InvalidInput` where no episode is left, a camera is missing, or the episodes' rates differ.
    """

    def __init__(self, episodes: Sequence[Episode], config: CloningConfig, progress: Progress | None = None) -> None:
        chosen = _choose(episodes, config)
        self.config = config
        self.control_hz = chosen[0].fps
        self.instructions = tuple(sorted({episode.instruction for episode in chosen}))
        self.episodes = len(chosen)
        images: list[list[Tensor]] = [[] for _ in config.cameras]
        for done, episode in enumerate(chosen, start=1):
            for camera, stacks in zip(config.cameras, images, strict=True):
                stacks.append(to_images(episode.cameras[camera].read(), (config.height, config.width)))
            if progress is not None:
                progress(done, len(chosen), "reading demonstrations")
        self._frames = [torch.cat(stacks) for stacks in images]
        self.state = torch.from_numpy(np.concatenate([episode.state for episode in chosen])).float()
        self.target = torch.from_numpy(
            np.concatenate([target_chunks(episode, config.chunk_length) for episode in chosen])
        ).float()
        lengths = torch.tensor([len(episode) for episode in chosen])
        words = word_ids([episode.instruction for episode in chosen], config.word_buckets)
        self.words = words.repeat_interleave(lengths, dim=0)

    def __len__(self) -> int:
        return len(self.state)

    @property
    def sha256(self) -> str:
        """Of what is learned from, so that training is never resumed on something else."""
        digest = hashlib.sha256()
        for tensor in (*self._frames, self.state, self.target, self.words):
            digest.update(tensor.contiguous().numpy().data)
        return digest.hexdigest()

    def normalisation(self) -> Normalisation:
        """Over all samples, without augmentation."""
        position = self.state[:, :POSITION]
        displacement = self.target[:, :, :POSITION] - position[:, None]
        return Normalisation(
            position.mean(0),
            position.std(0, correction=0).clamp(min=MIN_POSITION_SCALE),
            displacement.mean(0),
            displacement.std(0, correction=0).clamp(min=MIN_DISPLACEMENT_SCALE),
        )

    def batch(self, generator: torch.Generator) -> Batch:
        """`config.batch` samples drawn uniformly, augmented. What is drawn depends on the generator alone."""
        config = self.config
        picks = torch.randint(len(self), (config.batch,), generator=generator)
        state = self.state[picks]
        state[:, :POSITION] += config.position_noise * torch.randn((len(picks), POSITION), generator=generator)
        images = [
            _brightened(_shifted(frames, picks, config.shift_pixels, generator), config.brightness, generator)
            for frames in self._frames
        ]
        return Batch(images, state, self.words[picks], self.target[picks])


def target_chunks(episode: Episode, length: int) -> FloatArray:
    """`(T, length, 4)`: the absolute positions in m and gripper positions commanded at each frame and after it.

    Where the episode has no `cartesian_position` actions, a command is the state one frame later. After the end
    the last command stays.
    """
    action = episode.action
    if action is not None and action.space is ActionSpace.CARTESIAN_POSITION:
        commands = np.asarray(action.values)
    else:
        commands = episode.state[1:]
    rows = np.arange(len(episode))[:, None] + np.arange(length)
    chosen = commands[np.minimum(rows, len(commands) - 1)]
    return np.concatenate([chosen[..., :POSITION], chosen[..., 6:]], axis=-1)


def to_images(frames: Frames, size: tuple[int, int]) -> Tensor:
    """`(T, H, W, 3)` uint8 of any size to `(T, 3, *size)` uint8, averaged over what a pixel covers."""
    images = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2)
    if images.shape[2:] != size and len(images):
        resized = F.interpolate(images.float(), size, mode="bilinear", antialias=True, align_corners=False)
        images = resized.round().clamp(0, 255).to(torch.uint8)
    return images.contiguous()


def _choose(episodes: Sequence[Episode], config: CloningConfig) -> list[Episode]:
    chosen = [episode for episode in episodes if len(episode) > 1 and (episode.success or not config.only_successes)]
    if not chosen:
        kind, way = ("successful ", ", or only_successes=False") if config.only_successes else ("", "")
        raise InvalidInput(f"cloning needs a {kind}episode of two frames or more among the {len(episodes)}{way}")
    for episode in chosen:
        if missing := [camera for camera in config.cameras if camera not in episode.cameras]:
            raise InvalidInput(
                f"episode {episode.id} has no camera {missing[0]!r}: it has {', '.join(sorted(episode.cameras))}"
            )
        if episode.fps != chosen[0].fps:
            raise InvalidInput(
                f"cloning needs episodes of one rate: {chosen[0].id} has {chosen[0].fps:g} frames per second, "
                f"{episode.id} has {episode.fps:g}"
            )
    return chosen


def _shifted(frames: Tensor, picks: Tensor, pixels: int, generator: torch.Generator) -> Tensor:
    """The picked images, each moved by up to `pixels` both ways; the border is repeated."""
    height, width = frames.shape[2:]
    moves = torch.randint(-pixels, pixels + 1, (2, len(picks), 1), generator=generator)
    rows = (torch.arange(height) + moves[0]).clamp(0, height - 1)
    columns = (torch.arange(width) + moves[1]).clamp(0, width - 1)
    return frames[
        picks[:, None, None, None], torch.arange(3)[:, None, None], rows[:, None, :, None], columns[:, None, None]
    ]


def _brightened(images: Tensor, most: float, generator: torch.Generator) -> Tensor:
    """uint8 to floats in [0, 1]."""
    gain = 1.0 + most * (2.0 * torch.rand((len(images), 1, 1, 1), generator=generator) - 1.0)
    return (images.float() * (gain / 255.0)).clamp_(max=1.0)
