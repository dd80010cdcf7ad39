"""Frames to latents and back, view by view, with the views stacked on height in latent space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import diffusers
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from arena.contracts import Frames, InvalidInput
from worldmodels.config import WorldModelConfig


class ViewAutoencoder(nn.Module):
    """A diffusers autoencoder applied to each camera view.

    `patch` folds pixels into channels first, which spares a small autoencoder the costly full
    resolution. Latents are multiplied by the scaling factor, as Stable Video Diffusion's are.
    """

    def __init__(self, config: WorldModelConfig) -> None:
        super().__init__()
        self.config = config
        arguments = dict(config.autoencoder)
        kind = getattr(diffusers, arguments.pop("class"))
        if config.patch > 1:
            arguments["in_channels"] = arguments["out_channels"] = 3 * config.patch**2
        self.vae = kind(**arguments)
        self.scaling = float(config.autoencoder["scaling_factor"])

    def moments(self, images: Tensor) -> Tensor:
        """`(N, 3, H, W)` in [-1, 1] to the posterior's mean, `(N, C, h, w)`, scaled."""
        folded = functional.pixel_unshuffle(images, self.config.patch) if self.config.patch > 1 else images
        mean: Tensor = self.vae.encode(folded).latent_dist.mean
        return mean * self.scaling

    def images(self, latents: Tensor) -> Tensor:
        """`(N, C, h, w)` scaled latents to `(N, 3, H, W)` in about [-1, 1]."""
        if isinstance(self.vae, diffusers.AutoencoderKLTemporalDecoder):
            decoded: Tensor = self.vae.decode(latents / self.scaling, num_frames=1).sample
        else:
            decoded = self.vae.decode(latents / self.scaling).sample
        return functional.pixel_shuffle(decoded, self.config.patch) if self.config.patch > 1 else decoded

    @torch.no_grad()
    def encode(self, views: Mapping[str, Frames], batch: int = 64) -> Tensor:
        """Cameras of `(T, H, W, 3)` uint8 to `(T, C, V * h, w)` float32, views stacked on height.

        Raises `InvalidInput` where a view is missing or has another size than the model's.
        """
        stacked = []
        for name in self.config.views:
            if name not in views:
                raise InvalidInput(f"camera {name!r} is missing: the model wants {', '.join(self.config.views)}")
            frames = views[name]
            size = (self.config.view_height, self.config.view_width)
            if frames.shape[1:] != (*size, 3):
                raise InvalidInput(f"camera {name!r} has frames of {frames.shape[1:]}, the model wants {(*size, 3)}")
            pieces = [self.moments(self._to_tensor(frames[i : i + batch])) for i in range(0, len(frames), batch)]
            stacked.append(torch.cat(pieces))
        return torch.cat(stacked, dim=2)

    @torch.no_grad()
    def decode(self, latents: Tensor, views: Sequence[str] | None = None, batch: int = 64) -> dict[str, Frames]:
        """`(T, C, V * h, w)` to cameras of `(T, H, W, 3)` uint8; only the named views are decoded."""
        wanted = self.config.views if views is None else tuple(views)
        chunks = latents.chunk(len(self.config.views), dim=2)
        decoded = {}
        for name in wanted:
            chunk = chunks[self.config.views.index(name)]
            pieces = [self.images(chunk[i : i + batch]) for i in range(0, len(chunk), batch)]
            pixels = ((torch.cat(pieces) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
            decoded[name] = pixels.permute(0, 2, 3, 1).cpu().numpy()
        return decoded

    def _to_tensor(self, frames: Frames) -> Tensor:
        parameter = next(self.vae.parameters())
        tensor = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2)
        return tensor.to(parameter.device, parameter.dtype) / 127.5 - 1
