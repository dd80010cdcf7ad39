"""How a cloned policy looks at one camera's image: three architectures behind one call.

Each takes images `(B, 3, H, W)` in [0, 1] and the wanted instruction's embedding `(B, W)`, and gives `(B, features)`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from arena.learned.network import CloningConfig


class Convolutions(nn.Module):
    """To a quarter of the size, and a finer look there.

    The instruction scales and shifts the features (FiLM, Perez et al., arXiv 1709.07871), so that what is looked for
    depends on what is wanted.
    """

    def __init__(self, config: CloningConfig) -> None:
        super().__init__()
        wide = config.channels
        # One large step to a quarter of the size: two smaller ones cost about twice as much on a CPU.
        self.coarse = nn.Sequential(nn.Conv2d(3, wide, 8, stride=4, padding=2), nn.GroupNorm(8, wide))
        self.film = nn.Linear(config.word_width, 2 * wide)
        self.fine = nn.Sequential(nn.Conv2d(wide, wide, 3, padding=1), nn.GroupNorm(8, wide), nn.ReLU())

    def maps(self, image: Tensor, wanted: Tensor) -> Tensor:
        """`(B, 3, H, W)` and `(B, W)` to `(B, channels, h, w)`."""
        scale, shift = self.film(wanted)[:, :, None, None].chunk(2, dim=1)
        features: Tensor = self.fine(F.relu(self.coarse(2.0 * image - 1.0) * (1.0 + scale) + shift))
        return features


class KeypointEncoder(Convolutions):
    """The places of features, and how strong they are on the whole.

    A spatial softmax (Levine et al., arXiv 1504.00702) turns features into places, which generalises from few
    demonstrations where a flattened map would learn them by heart.
    """

    def __init__(self, config: CloningConfig) -> None:
        super().__init__(config)
        self.attention = nn.Conv2d(config.channels, config.keypoints, 1)
        self.features = 2 * config.keypoints + config.channels

    def forward(self, image: Tensor, wanted: Tensor) -> Tensor:
        features = self.maps(image, wanted)
        return torch.cat([spatial_softmax(self.attention(features)), features.mean(dim=(2, 3))], dim=1)


class PooledEncoder(Convolutions):
    """Features averaged over a coarse grid: it knows what is there, and only roughly where."""

    GRID = (2, 3)

    def __init__(self, config: CloningConfig) -> None:
        super().__init__(config)
        self.features = config.channels * self.GRID[0] * self.GRID[1]

    def forward(self, image: Tensor, wanted: Tensor) -> Tensor:
        pooled: Tensor = F.adaptive_avg_pool2d(self.maps(image, wanted), self.GRID)
        return pooled.flatten(1)


class PatchEncoder(nn.Module):
    """A small vision transformer (Dosovitskiy et al., arXiv 2010.11929), read out where the instruction stands."""

    PATCH, HEADS, LAYERS = 8, 4, 2

    def __init__(self, config: CloningConfig) -> None:
        super().__init__()
        width = config.channels
        self.patches = nn.Conv2d(3, width, self.PATCH, stride=self.PATCH)
        count = (config.height // self.PATCH) * (config.width // self.PATCH)
        self.places = nn.Parameter(0.02 * torch.randn(1, count, width))
        self.wanted = nn.Linear(config.word_width, width)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, self.HEADS, 2 * width, 0.0, "gelu", batch_first=True, norm_first=True)
            for _ in range(self.LAYERS)
        )
        self.features = width

    def forward(self, image: Tensor, wanted: Tensor) -> Tensor:
        tokens = self.patches(2.0 * image - 1.0).flatten(2).transpose(1, 2) + self.places
        tokens = torch.cat([self.wanted(wanted)[:, None], tokens], dim=1)
        for layer in self.layers:
            tokens = layer(tokens)
        readout: Tensor = tokens[:, 0]
        return readout


Encoder = KeypointEncoder | PooledEncoder | PatchEncoder

ENCODERS: Mapping[str, Callable[[CloningConfig], Encoder]] = MappingProxyType(
    {"keypoints": KeypointEncoder, "pooled": PooledEncoder, "patches": PatchEncoder}
)


def spatial_softmax(maps: Tensor) -> Tensor:
    """`(B, K, h, w)` to `(B, 2 K)`: the expected x and y of each map's softmax, in [-1, 1]."""
    weights = maps.flatten(2).softmax(dim=2).view_as(maps)
    across = torch.linspace(-1.0, 1.0, maps.shape[3], dtype=maps.dtype, device=maps.device)
    down = torch.linspace(-1.0, 1.0, maps.shape[2], dtype=maps.dtype, device=maps.device)
    return torch.cat([weights.sum(2) @ across, weights.sum(3) @ down], dim=1)
