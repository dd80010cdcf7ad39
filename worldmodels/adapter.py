"""Ctrl-World's released action adapter: where the arm will be while it is told joint velocities.

Policies of DROID command normalised joint velocities, which the arm follows with a lag. Guo et al. (Ctrl-World, arXiv
2510.10125) release a small network that was trained on DROID's recordings to tell the joint positions that come of
them. Integrating the velocities at a fixed scale (`arena.actions`) is what is done without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from arena.contracts import FloatArray
from arena.episodes.atomic import file_sha256
from worldmodels.checkpoint import check_finite, check_keys, shapes_of
from worldmodels.weights import read_weights

STEPS, JOINTS, HIDDEN = 15, 7, 512
CONTROL_HZ = 15.0
_LAYERS = {"net.0": (HIDDEN, JOINTS * (STEPS + 1)), "net.2": (HIDDEN, HIDDEN), "net.4": (JOINTS * STEPS, HIDDEN)}
# 1st and 99th percentiles of DROID that the released network was trained with; its file does not hold them.
_VELOCITY = np.array(
    [[-0.4077107, -0.79047304, -0.47850373, -0.8666644, -0.6729502, -0.5602032, -0.692411],
     [0.4900636, 0.7259861, 0.45910007, 0.79220384, 0.69864315, 0.648198, 0.810115]]
)  # fmt: skip
_CHANGE = np.array(
    [[-0.2801219, -0.397792, -0.22935797, -0.3351759, -0.42025003, -0.36825255, -0.450706],
     [0.2827909, 0.42184818, 0.33529875, 0.35958457, 0.375613, 0.44463825, 0.4697690]]
)  # fmt: skip


@dataclass(frozen=True)
class JointAdapter:
    """`layers` are the weights and biases of three linear layers with SiLU between them."""

    layers: tuple[tuple[NDArray[np.float32], NDArray[np.float32]], ...]
    sha256: str
    steps: int = STEPS
    control_hz: float = CONTROL_HZ

    def __call__(self, joint_position: FloatArray, velocities: FloatArray) -> FloatArray:
        """`(15, 7)` rad: the joints after each of 15 steps of 1/15 s, from where they are `(7,)` rad and the velocities
        `(15, 7)` that they are told, in DROID's normalised units as a policy answers them."""
        low, high = _VELOCITY
        told = 2 * (velocities - low) / (high - low + 1e-8) - 1
        x = np.concatenate([joint_position, told.ravel()]).astype(np.float32)
        for index, (weight, bias) in enumerate(self.layers):
            x = weight @ x + bias
            if index < len(self.layers) - 1:
                x = x / (1 + np.exp(-np.clip(x, -80, 80)))
        low, high = _CHANGE
        return np.asarray(joint_position + (x.reshape(STEPS, JOINTS) + 1) / 2 * (high - low) + low, dtype=np.float64)


def load_adapter(path: Path) -> JointAdapter:
    """The adapter of a `.pth` as released (read without unpickling objects) or of a `.safetensors` with the same names.

    Raises `InvalidInput` for what is neither, or not finite, and `KeyMismatch` for other weights.
    """
    tensors = read_weights(path)
    wanted = {f"{name}.weight": shape for name, shape in _LAYERS.items()}
    wanted |= {f"{name}.bias": shape[:1] for name, shape in _LAYERS.items()}
    check_keys(shapes_of(tensors), wanted, str(path))
    check_finite(tensors, str(path))
    arrays = {name: tensor.float().numpy() for name, tensor in tensors.items()}
    layers = tuple((arrays[f"{name}.weight"], arrays[f"{name}.bias"]) for name in _LAYERS)
    return JointAdapter(layers, file_sha256(path))
