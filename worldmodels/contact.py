"""Where the picture is about to change, as far as the robot's poses tell: the loss may count more there.

The weights are a function of what the model is told (the poses), never of what then happened. A loss that counted
more where things did move would teach that they always move.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from worldmodels.windows import Windows

SAMPLES = 4096
RIDGE = 1e-3
LEAST = 0.05
"""Of the mean change: no place is taken to be quite still."""


@dataclass(frozen=True)
class ExpectedChange:
    """A regression from the pose now and a pose to come to the mean change of each latent position.

    `weights` is `(features, h * w)`; `mean` and `deviation` `(4,)` normalise position in m and gripper.
    """

    weights: Tensor
    mean: Tensor
    deviation: Tensor
    shape: tuple[int, int]

    @classmethod
    def fit(cls, windows: Windows, seed: int) -> ExpectedChange:
        """Ridge regression over windows drawn from `seed`."""
        batch = windows.batch(min(SAMPLES, len(windows)), torch.Generator().manual_seed(seed))
        ahead = batch.latents[:, windows.config.num_history :]
        change = (ahead[:, 1:] - ahead[:, :1]).abs().mean(dim=2)
        poses = batch.poses[:, windows.config.num_history :]
        flat = poses.flatten(0, 1)
        mean, deviation = flat.mean(0), flat.std(0).clamp(min=1e-2)
        features = _features((poses - mean) / deviation).flatten(0, 1)
        gram = features.T @ features + RIDGE * len(features) * torch.eye(features.shape[1])
        weights = torch.linalg.solve(gram, features.T @ change.flatten(2).flatten(0, 1))
        return cls(weights, mean, deviation, (change.shape[2], change.shape[3]))

    def loss_weights(self, poses: Tensor, strength: float) -> Tensor:
        """`(B, P, 4)` poses from now on to `(B, P, 1, h, w)` weights of mean 1: equal where `strength` is 0."""
        expected = _features((poses - self.mean) / self.deviation) @ self.weights
        expected = expected.clamp(min=LEAST * float(expected.mean().clamp(min=1e-6)))
        # Now itself is given: it counts as the calmest place does.
        expected = torch.cat([expected.amin(dim=(1, 2), keepdim=True).expand(-1, 1, expected.shape[2]), expected], 1)
        weight = 1 + strength * expected / expected.mean()
        return (weight / weight.mean()).unflatten(2, self.shape)[:, :, None]


def _features(poses: Tensor) -> Tensor:
    """`(B, P, 4)` normalised poses to `(B, P - 1, F)`: all products of two numbers of the pose now and the one then."""
    pair = torch.cat([poses[:, :1].expand(-1, poses.shape[1] - 1, -1), poses[:, 1:]], dim=-1)
    pair = torch.cat([torch.ones_like(pair[..., :1]), pair], dim=-1)
    upper = torch.triu_indices(pair.shape[-1], pair.shape[-1])
    return pair[..., upper[0]] * pair[..., upper[1]]
