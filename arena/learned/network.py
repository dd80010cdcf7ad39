"""The behaviour-cloning network: images, the robot's state and an instruction to a chunk of displacements.

Each camera's images go through an encoder of their own (`encoders.py`); what they give, the state and the
instruction go through a small perceptron.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from arena.contracts import InvalidInput
from arena.learned.encoders import ENCODERS
from arena.learned.ranges import check_cameras, check_ranges

POSITION = 3
TARGETS = POSITION + 1
"""What is predicted for each action: a displacement in the robot's base frame, and the gripper."""
STATE_FEATURES = POSITION + 2 * 3 + 1
"""Position, sines and cosines of the Euler angles (which would jump at pi), gripper."""

_RANGES: dict[str, tuple[float, float]] = {
    "height": (16, 512),
    "width": (16, 512),
    "chunk_length": (1, 100),
    "word_buckets": (2, 4096),
    "word_width": (1, 256),
    "channels": (8, 256),
    "keypoints": (1, 256),
    "hidden": (8, 1024),
    "steps": (1, 10_000_000),
    "batch": (1, 4096),
    "learning_rate": (1e-7, 1.0),
    "weight_decay": (0.0, 1.0),
    "warmup": (0, 1_000_000),
    "position_noise": (0.0, 1.0),
    "shift_pixels": (0, 64),
    "brightness": (0.0, 0.9),
}


@dataclass(frozen=True)
class CloningConfig:
    """The network, how it is trained, and with what augmentation. Raises `InvalidInput` for values out of range."""

    cameras: tuple[str, ...] = ("exterior_1", "wrist")
    height: int = 64
    width: int = 96
    chunk_length: int = 4
    """Actions predicted, and carried out, from one observation."""
    encoder: str = "keypoints"
    """A name of `encoders.ENCODERS`."""
    instructed: bool = True
    """False: the policy is never told what is wanted."""
    word_buckets: int = 256
    word_width: int = 16
    channels: int = 32
    keypoints: int = 32
    """Per camera."""
    hidden: int = 256
    steps: int = 3000
    batch: int = 32
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    warmup: int = 50
    position_noise: float = 0.005
    """Standard deviation in m of what is added to the position that the policy is told, with the targets left
    where they are: it learns to come back to the demonstrated path instead of drifting on beside it."""
    shift_pixels: int = 2
    """Largest shift of an image, each camera by itself."""
    brightness: float = 0.2
    """Largest relative change."""
    only_successes: bool = True

    def __post_init__(self) -> None:
        check_ranges(self, _RANGES, "cloning")
        check_cameras(self.cameras, "cloning")
        if self.channels % 8:
            raise InvalidInput(f"cloning: channels must be a multiple of 8, not {self.channels}")
        for name in ("only_successes", "instructed"):
            if not isinstance(getattr(self, name), bool):
                raise InvalidInput(f"cloning: {name} must be true or false, not {getattr(self, name)!r}")
        if self.encoder not in ENCODERS:
            raise InvalidInput(f"cloning: encoder must be one of {', '.join(ENCODERS)}, not {self.encoder!r}")
        if self.encoder == "patches" and (self.height % 8 or self.width % 8):
            raise InvalidInput(f"cloning: patches need sides that 8 divides, not {self.width}x{self.height}")


def word_ids(instructions: Sequence[str], buckets: int) -> Tensor:
    """`(B, L)` int64: each word's bucket by its hash, from 1 on; 0 fills up. No vocabulary has to be kept."""
    rows = [[1 + zlib.crc32(word.encode()) % (buckets - 1) for word in _words(text)] for text in instructions]
    longest = max(1, *(len(row) for row in rows)) if rows else 1
    return torch.tensor([row + [0] * (longest - len(row)) for row in rows], dtype=torch.int64)


def state_features(state: Tensor, position_mean: Tensor, position_scale: Tensor) -> Tensor:
    """`(B, 7)` states in m and rad to `(B, STATE_FEATURES)`."""
    position = (state[:, :POSITION] - position_mean) / position_scale
    return torch.cat([position, state[:, 3:6].sin(), state[:, 3:6].cos(), state[:, 6:]], dim=1)


class CloningNetwork(nn.Module):
    """Predicts `chunk_length` normalised displacements and gripper positions at once."""

    def __init__(self, config: CloningConfig) -> None:
        super().__init__()
        self.config = config
        self.words = nn.EmbeddingBag(config.word_buckets, config.word_width, mode="mean", padding_idx=0)
        encoders = [ENCODERS[config.encoder](config) for _ in config.cameras]
        self.encoders = nn.ModuleList(encoders)
        seen = sum(encoder.features for encoder in encoders)
        self.head = nn.Sequential(
            nn.Linear(seen + STATE_FEATURES + config.word_width, config.hidden),
            nn.ReLU(),
            nn.Linear(config.hidden, config.hidden),
            nn.ReLU(),
            nn.Linear(config.hidden, config.chunk_length * TARGETS),
        )

    def forward(self, images: Sequence[Tensor], state: Tensor, words: Tensor) -> Tensor:
        """Images `(B, 3, H, W)` in [0, 1] per camera, `(B, STATE_FEATURES)`, `(B, L)` word ids.

        Returns `(B, N, TARGETS)`: displacements from the current position, in units of their scale in the
        demonstrations, then the gripper position.
        """
        wanted = self.words(words)
        if not self.config.instructed:
            wanted = torch.zeros_like(wanted)
        seen = [encoder(image, wanted) for encoder, image in zip(self.encoders, images, strict=True)]
        chunk: Tensor = self.head(torch.cat([*seen, state, wanted], dim=1))
        return chunk.view(-1, self.config.chunk_length, TARGETS)


def _words(instruction: str) -> list[str]:
    return re.findall(r"\w+", instruction.lower())
