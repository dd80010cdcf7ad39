"""A loaded world model: denoiser, autoencoder, statistics and text in one place, ready to imagine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from arena.contracts import FloatArray, Frames
from worldmodels.actions import ActionStatistics, action_tokens
from worldmodels.autoencoder import ViewAutoencoder
from worldmodels.checkpoint import Checkpoint, load_checkpoint, load_denoiser, load_strict
from worldmodels.config import WorldModelConfig
from worldmodels.ctrl_world import CtrlWorld
from worldmodels.latents import resize
from worldmodels.sampler import SamplerConfig, sample
from worldmodels.text import load_clip_text
from worldmodels.tracking import Tracker
from worldmodels.train import EmbedText
from worldmodels.windows import history_by_pose, history_indices


@dataclass(frozen=True)
class WorldModel:
    """Everything that imagination needs. `sha256` is the checkpoint's."""

    config: WorldModelConfig
    denoiser: CtrlWorld
    autoencoder: ViewAutoencoder
    statistics: ActionStatistics
    sha256: str
    tracker: Tracker | None = None
    """None where the training episodes recorded no commands: a command is then taken to be reached at once."""
    embed_text: EmbedText | None = None

    @classmethod
    def load(cls, folder: Path, device: str = "cpu", embed_text: EmbedText | None = None) -> WorldModel:
        """Read a checkpoint folder, with its own text encoder unless `embed_text` is given.

        Raises `InvalidInput` in one line where it is not whole or not ours.
        """
        checkpoint = load_checkpoint(folder)
        text = load_clip_text(folder, checkpoint) if embed_text is None else None
        return cls.from_checkpoint(checkpoint, device, text.embed if text is not None else embed_text)

    @classmethod
    def from_checkpoint(
        cls, checkpoint: Checkpoint, device: str = "cpu", embed_text: EmbedText | None = None
    ) -> WorldModel:
        with torch.device("meta"):
            denoiser, autoencoder = CtrlWorld(checkpoint.config), ViewAutoencoder(checkpoint.config)
        load_denoiser(denoiser, checkpoint.tensors)
        load_strict(autoencoder.vae, checkpoint.tensors, "vae.")
        tracker = None
        if any(name.startswith("tracker.") for name in checkpoint.tensors):
            tracker = Tracker().eval()
            load_strict(tracker, checkpoint.tensors, "tracker.")
        statistics = ActionStatistics.from_dict(checkpoint.statistics)
        denoiser, autoencoder = denoiser.to(device).eval(), autoencoder.to(device).eval()
        return cls(checkpoint.config, denoiser, autoencoder, statistics, checkpoint.sha256, tracker, embed_text)

    @property
    def device(self) -> torch.device:
        return self.denoiser.unet.conv_in.weight.device

    def reached(self, states: FloatArray, commands: FloatArray) -> FloatArray:
        """`(n, 7)` states after new commands: see `Tracker.follow`."""
        if self.tracker is None:
            return np.asarray(commands[len(states) - 1 :], dtype=np.float64)
        return self.tracker.follow(states, commands)

    def resized(self, views: Mapping[str, Frames]) -> dict[str, Frames]:
        """The model's views of a recording, at the model's size."""
        size = (self.config.view_height, self.config.view_width)
        return {name: resize(frames, size) for name, frames in views.items() if name in self.config.views}

    @torch.no_grad()
    def imagine(
        self,
        latents: Sequence[Tensor],
        poses: Sequence[FloatArray],
        instructions: Sequence[str],
        noise: Tensor,
        sampler: SamplerConfig,
    ) -> Tensor:
        """The next frames of a batch of trials.

        latents: per trial `(t + 1, C, h, w)`, all frames so far, the last one being now. poses: per
        trial `(t + 1 + n, 7)`, the state in each of those frames and in the `n = frames_per_call` to come.
        noise: `(B, n + 1, C, h, w)`. Returns `(B, n, C, h, w)`: the frames after now.
        """
        history, current, actions = [], [], []
        for trial_latents, trial_poses in zip(latents, poses, strict=True):
            now = len(trial_latents) - 1
            past = self._history(now, trial_poses)
            ahead = list(range(now, now + self.config.num_frames))
            tokens = action_tokens(trial_poses, self.config.action_representation, self.statistics)
            history.append(trial_latents[past])
            current.append(trial_latents[now])
            actions.append(torch.from_numpy(np.ascontiguousarray(tokens[past + ahead])))
        tokens_batch = self.denoiser.tokens(torch.stack(actions).to(self.device), instructions, self.embed_text)
        imagined = sample(
            self.denoiser, noise.to(self.device), torch.stack(current), torch.stack(history), tokens_batch, sampler
        )
        return imagined[:, 1:]

    def _history(self, now: int, poses: FloatArray) -> list[int]:
        if self.config.pose_history:
            return history_by_pose(now, poses[:, :3], self.config)
        return history_indices(now, self.config)


@dataclass(frozen=True)
class LatentEncoder:
    """A world model's latent space as a `FrameEncoder` for judges: `(T, D)` with `D = C * V * h * w`."""

    model: WorldModel

    @property
    def sha256(self) -> str:
        return self.model.sha256

    def encode(self, frames: Mapping[str, Frames]) -> FloatArray:
        latents = self.model.autoencoder.encode(self.model.resized(frames))
        return latents.flatten(1).float().cpu().numpy()
