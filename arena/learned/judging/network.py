"""The judge's network: each frame of a trial, beside the trial's first, to how far the instruction is done in it.

No frame's reading depends on how many there are or on what comes after it, so that the length of a trial tells
nothing. A trial succeeded if the instruction was done in any frame: `smooth_maximum` over the readings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from arena.contracts import InvalidInput
from arena.learned.encoders import spatial_softmax
from arena.learned.network import word_ids
from arena.learned.ranges import check_cameras, check_ranges

POSITION = 3
TRACK = POSITION + 1
"""What is read of the hand in each frame: its position and the gripper."""
STRIDE = 8
"""Pixels between two places of the finest map that is flattened."""
GROUPS = 8

_RANGES: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "height": (16, 512),
        "width": (16, 512),
        "word_buckets": (2, 4096),
        "word_width": (1, 256),
        "channels": (8, 256),
        "squeezed": (1, 64),
        "keypoints": (1, 64),
        "hidden": (8, 1024),
        "features": (2, 256),
        "steps": (1, 10_000_000),
        "batch": (1, 4096),
        "frames": (2, 256),
        "learning_rate": (1e-7, 1.0),
        "weight_decay": (0.0, 1.0),
        "warmup": (0, 1_000_000),
        "ema": (0.0, 0.99999),
        "shift_pixels": (0, 64),
        "brightness": (0.0, 0.9),
        "blurred": (0.0, 1.0),
        "noise": (0.0, 1.0),
        "contrary": (0.0, 0.9),
        "still": (0.0, 0.9),
        "settled_frames": (0, 10_000),
    }
)


@dataclass(frozen=True)
class JudgingConfig:
    """The network, how it is trained, and with what augmentation. Raises `InvalidInput` for values out of range."""

    cameras: tuple[str, ...] = ("exterior_1", "wrist")
    height: int = 64
    width: int = 96
    word_buckets: int = 256
    word_width: int = 32
    channels: int = 32
    squeezed: int = 12
    """Channels of the map that is flattened: places matter, since success is often a matter of centimetres."""
    keypoints: int = 12
    """Per camera: where the hand and the things are, to a fraction of a pixel."""
    hidden: int = 128
    features: int = 48
    """Of a frame: what the heads read, and where strangeness is measured."""
    steps: int = 2500
    batch: int = 24
    """Trials."""
    frames: int = 6
    """Drawn from each trial of a batch, spread over it."""
    learning_rate: float = 2e-3
    weight_decay: float = 0.02
    warmup: int = 50
    ema: float = 0.99
    shift_pixels: int = 2
    """Largest shift of a trial's frames, all alike, each camera by itself."""
    brightness: float = 0.2
    """Largest relative change, all frames of a trial alike."""
    blurred: float = 0.5
    """Share of recorded trials whose frames after the first are blurred, as imagined ones are."""
    noise: float = 0.02
    """Largest deviation of the noise on frames after the first, in units of full brightness."""
    contrary: float = 0.2
    """Share of trials that are shown under an instruction that they certainly do not fulfil (`contrary.py`)."""
    still: float = 0.05
    """Share of trials of which only the first frame is shown: nothing was done."""
    settled_frames: int = 8
    """A recording of a success goes on for at most so many frames after it: what is earlier is not done yet."""

    def __post_init__(self) -> None:
        check_ranges(self, _RANGES, "judging")
        check_cameras(self.cameras, "judging")
        if self.channels % GROUPS:
            raise InvalidInput(f"judging: channels must be a multiple of {GROUPS}, not {self.channels}")
        if self.height % STRIDE or self.width % STRIDE:
            raise InvalidInput(f"judging: sides must be multiples of {STRIDE}, not {self.width}x{self.height}")


@dataclass(frozen=True)
class Readings:
    """What the network says of `F` frames of `B` trials.

    `success` `(B, F)` are log-odds that the instruction is done in the frame, `progress` `(B, F)` is in [0, 1],
    `track` `(B, F, TRACK)` the hand's position and the gripper in units of their deviation, `features` `(B, F, D)`.
    """

    success: Tensor
    progress: Tensor
    track: Tensor
    features: Tensor


class CameraEncoder(nn.Module):
    """One camera's frames, each beside the trial's first, under an instruction."""

    def __init__(self, config: JudgingConfig) -> None:
        super().__init__()
        wide = config.channels
        # One large step to a quarter of the size: two smaller ones cost about twice as much on a CPU.
        self.now = nn.Conv2d(3, wide, 8, stride=4, padding=2)
        self.first = nn.Conv2d(3, wide, 8, stride=4, padding=2, bias=False)
        self.norm = nn.GroupNorm(GROUPS, wide)
        self.film = nn.Linear(config.word_width, 2 * wide)
        self.fine = _block(wide, wide, 1)
        self.attention = nn.Conv2d(wide, config.keypoints, 1)
        self.deep = nn.Sequential(_block(wide, 2 * wide, 2), _block(2 * wide, 2 * wide, 1))
        self.squeeze = nn.Conv2d(2 * wide, config.squeezed, 1)
        places = (config.height // STRIDE) * (config.width // STRIDE)
        self.out_features = config.squeezed * places + 2 * wide

    def forward(self, frames: Tensor, first: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """`(B, F, 3, H, W)` and `(B, 3, H, W)` in [0, 1], `(B, W)` to `(B * F, out_features)`, `(B * F, 2 K)`."""
        count = frames.shape[1]
        # A convolution of both on channels, without doing the first frame's part again for every frame.
        begun = self.first(2.0 * first - 1.0).repeat_interleave(count, dim=0)
        coarse = self.norm(self.now(2.0 * frames.flatten(0, 1) - 1.0) + begun)
        scale, shift = self.film(wanted).repeat_interleave(count, dim=0)[:, :, None, None].chunk(2, dim=1)
        fine = self.fine(F.relu(coarse * (1.0 + scale) + shift))
        deep = self.deep(fine)
        seen = torch.cat([self.squeeze(deep).flatten(1), deep.amax(dim=(2, 3))], dim=1)
        return seen, spatial_softmax(self.attention(fine))


class JudgingNetwork(nn.Module):
    """Reads success, progress and the hand's place from frames; the instruction says what is looked for."""

    def __init__(self, config: JudgingConfig) -> None:
        super().__init__()
        self.config = config
        self.words = nn.EmbeddingBag(config.word_buckets, config.word_width, mode="mean", padding_idx=0)
        self.encoders = nn.ModuleList(CameraEncoder(config) for _ in config.cameras)
        places = 2 * config.keypoints * len(config.cameras)
        seen = sum(encoder.out_features for encoder in self.encoders if isinstance(encoder, CameraEncoder)) + places
        self.trunk = nn.Sequential(
            nn.Linear(seen + config.word_width, config.hidden), nn.ReLU(), nn.Linear(config.hidden, config.features)
        )
        self.success = nn.Sequential(nn.ReLU(), nn.Linear(config.features, 1))
        self.progress = nn.Sequential(nn.ReLU(), nn.Linear(config.features, 1))
        # The hand's place follows from those of the keypoints, whatever is wanted.
        self.track = nn.Sequential(nn.Linear(places, config.hidden), nn.ReLU(), nn.Linear(config.hidden, TRACK))

    def forward(self, frames: Tensor, first: Tensor, words: Tensor) -> Readings:
        """`(B, F, V, 3, H, W)` and `(B, V, 3, H, W)` in [0, 1], `(B, L)` word ids; see `Readings`."""
        wanted = self.words(words)
        views = [encoder(frames[:, :, i], first[:, i], wanted) for i, encoder in enumerate(self.encoders)]
        places = torch.cat([keypoints for _, keypoints in views], dim=1)
        told = wanted.repeat_interleave(frames.shape[1], dim=0)
        features = self.trunk(torch.cat([*(seen for seen, _ in views), places, told], dim=1))
        found = (self.success(features)[:, 0], self.progress(features)[:, 0].sigmoid(), self.track(places), features)
        return Readings(*(each.unflatten(0, frames.shape[:2]) for each in found))


def smooth_maximum(values: Tensor, sharpness: float = 2.0) -> Tensor:
    """`(B, F)` to `(B,)`: mean weighted toward the largest, so that more than one frame learns, or decides."""
    weights = (sharpness * values).softmax(dim=1)
    return (weights * values).sum(dim=1)


def words_of(instructions: list[str], config: JudgingConfig) -> Tensor:
    """`(B, L)` int64 word ids."""
    return word_ids(instructions, config.word_buckets)


def _block(wide: int, out: int, stride: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(wide, out, 3, stride=stride, padding=1), nn.GroupNorm(GROUPS, out), nn.ReLU())
