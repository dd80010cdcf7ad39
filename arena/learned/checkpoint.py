"""Trained behaviour-cloning networks as folders: weights in fp16, a config, a card; whole or absent."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from arena.contracts import FloatArray, InvalidInput, Observation
from arena.episodes.atomic import atomic_directory, read_manifest
from arena.learned.demonstrations import Normalisation, to_images
from arena.learned.folders import check_finite, from_json, load_tensors, read_file
from arena.learned.network import POSITION, CloningConfig, CloningNetwork, state_features, word_ids

FORMAT = "dreamarena-cloning-1"
WHAT = "cloned policy"
WEIGHTS, CONFIG, CARD = "weights.safetensors", "config.json", "README.md"
MAX_CONFIG_BYTES, MAX_WEIGHT_BYTES = 1 << 20, 64 << 20


@dataclass(frozen=True)
class Training:
    """What the network was trained on, for its card."""

    seed: int
    episodes: int
    frames: int
    data_sha256: str
    loss: float
    """Smoothed, at the end: Huber on displacements in units of their deviation."""
    instructions: tuple[str, ...]


class CloningModel:
    """A network with what its numbers mean. Nothing in it changes after it was made: policies share it."""

    def __init__(
        self,
        network: CloningNetwork,
        normalisation: Normalisation,
        control_hz: float,
        training: Training,
        sha256: str = "",
    ) -> None:
        self.network, self.normalisation = network.eval(), normalisation
        self.config, self.control_hz, self.training, self.sha256 = network.config, control_hz, training, sha256

    def predict(self, observations: Sequence[Observation]) -> FloatArray:
        """`(B, N, 7)` absolute positions in m, the observed Euler angles in rad, and gripper positions in [0, 1].

        Raises `InvalidInput` for an observation without one of the cameras, or whose state is not finite.
        """
        for observation in observations:
            _check(observation, self.config)
        with torch.inference_mode():
            size = (self.config.height, self.config.width)
            images = [
                torch.cat([to_images(seen.cameras[camera][None], size) for seen in observations]).float() / 255.0
                for camera in self.config.cameras
            ]
            state = torch.from_numpy(np.stack([seen.state for seen in observations])).float()
            words = word_ids([seen.instruction for seen in observations], self.config.word_buckets)
            target = predict_targets(self.network, self.normalisation, images, state, words).double().numpy()
        poses = np.stack([seen.cartesian_position for seen in observations]).astype(np.float64)
        angles = np.broadcast_to(poses[:, None, POSITION:], (*target.shape[:2], 3))
        return np.concatenate([target[..., :POSITION], angles, target[..., POSITION:].clip(0.0, 1.0)], axis=-1)

    def save(self, folder: Path) -> None:
        """Write the folder, whole or not at all. Raises `InvalidInput` where it exists, or for weights beyond fp16."""
        weights = {name: value.half().contiguous() for name, value in self.network.state_dict().items()}
        check_finite(weights, str(folder))
        described = {
            "format": FORMAT,
            "control_hz": self.control_hz,
            "config": asdict(self.config),
            "normalisation": {name: value.tolist() for name, value in vars(self.normalisation).items()},
            "training": asdict(self.training),
        }
        with atomic_directory(folder) as partial:
            (partial / WEIGHTS).write_bytes(save(weights))
            (partial / CONFIG).write_text(json.dumps(described, indent=1))
            (partial / CARD).write_text(self._card())

    @classmethod
    def load(cls, folder: Path) -> CloningModel:
        """Read a folder, trusting nothing in it.

        Raises `InvalidInput` (or its subclass `DamagedArtifact`) for files that are missing or altered, a config out
        of range, weights whose names or shapes are not exactly the network's, and numbers that are not finite.
        """
        read_manifest(folder)
        config_bytes = read_file(folder / CONFIG, MAX_CONFIG_BYTES, WHAT)
        weight_bytes = read_file(folder / WEIGHTS, MAX_WEIGHT_BYTES, WHAT)
        config, normalisation, control_hz, training = _parse(folder / CONFIG, config_bytes)
        network = CloningNetwork(config)
        network.load_state_dict(_weights(folder / WEIGHTS, weight_bytes, network))
        sha256 = hashlib.sha256(config_bytes + weight_bytes).hexdigest()
        return cls(network, normalisation, control_hz, training, sha256)

    def _card(self) -> str:
        config, training = self.config, self.training
        parameters = sum(p.numel() for p in self.network.parameters())
        return (
            "# A behaviour-cloning policy\n\n"
            f"{parameters:,} parameters in fp16 (`{WEIGHTS}`), trained from nothing by `arena/learned/cloning.py` on\n"
            f"{training.episodes} episodes ({training.frames:,} frames), {config.steps:,} steps of {config.batch}.\n\n"
            f"- Sees {', '.join(config.cameras)} at {config.height}x{config.width}, the robot's state and the\n"
            "  instruction.\n"
            f"- Answers {config.chunk_length} actions at {self.control_hz:g} Hz: absolute positions in m in the\n"
            "  robot's base frame and the gripper's position; the orientation is kept as it is.\n"
            f"- Instructions: {'; '.join(training.instructions)}.\n"
            f"- Final loss {training.loss:.4f}, seed {training.seed}, data sha256 `{training.data_sha256}`.\n"
        )


def predict_targets(
    network: CloningNetwork, normalisation: Normalisation, images: Sequence[Tensor], state: Tensor, words: Tensor
) -> Tensor:
    """Images `(B, 3, H, W)` in [0, 1], states `(B, 7)`, words `(B, L)` to `(B, N, 4)` positions, gripper."""
    seen = state_features(state, normalisation.position_mean, normalisation.position_scale)
    chunk = network(images, seen, words)
    displacement = normalisation.displacement_mean + normalisation.displacement_scale * chunk[..., :POSITION]
    return torch.cat([state[:, None, :POSITION] + displacement, chunk[..., POSITION:]], dim=-1)


def _check(observation: Observation, config: CloningConfig) -> None:
    for camera in config.cameras:
        frame = observation.cameras.get(camera)
        if frame is None:
            known = ", ".join(sorted(observation.cameras)) or "none"
            raise InvalidInput(f"the cloned policy looks through camera {camera!r}; the observation has {known}")
        if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
            raise InvalidInput(f"camera {camera!r} must show (H, W, 3) uint8, not {frame.shape} {frame.dtype}")
    if observation.state.shape != (7,) or not np.isfinite(observation.state).all():
        raise InvalidInput(f"the robot's state must be 7 finite numbers, not {observation.state}")


def _weights(path: Path, data: bytes, network: CloningNetwork) -> dict[str, Tensor]:
    weights = load_tensors(path, data)
    wanted = network.state_dict()
    if different := sorted(wanted.keys() ^ weights.keys()):
        name = different[0]
        raise InvalidInput(f"{path}: the weights {name!r} are {'missing' if name in wanted else 'unexpected'}")
    for name, value in weights.items():
        if value.shape != wanted[name].shape or value.dtype != torch.float16:
            kind = f"{tuple(value.shape)} {value.dtype}"
            raise InvalidInput(f"{path}: the weights {name!r} are {kind}, not {tuple(wanted[name].shape)} float16")
    check_finite(weights, str(path))
    return {name: value.float() for name, value in weights.items()}


def _parse(path: Path, data: bytes) -> tuple[CloningConfig, Normalisation, float, Training]:
    try:
        described = json.loads(data)
        if described["format"] != FORMAT:
            raise InvalidInput(f"{path}: format {described['format']!r} is not {FORMAT!r}")
        config = from_json(CloningConfig, described["config"])
        training = from_json(Training, described["training"])
        control_hz = float(described["control_hz"])
        shapes = {"position": (POSITION,), "displacement": (config.chunk_length, POSITION)}
        stored: dict[str, Any] = described["normalisation"]
        numbers = {
            f"{kind}_{what}": _numbers(path, f"{kind}_{what}", stored, shape)
            for kind, shape in shapes.items()
            for what in ("mean", "scale")
        }
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidInput(f"{path} is not the config of a cloned policy: {error!r}") from None
    if not (math.isfinite(control_hz) and control_hz > 0):
        raise InvalidInput(f"{path}: control_hz must be positive, not {control_hz}")
    return config, Normalisation(**numbers), control_hz, training


def _numbers(path: Path, name: str, stored: Mapping[str, Any], shape: tuple[int, ...]) -> Tensor:
    values = torch.tensor(stored[name], dtype=torch.float32)
    positive = not name.endswith("_scale") or bool((values > 0).all())
    if values.shape != shape or not torch.isfinite(values).all() or not positive:
        raise InvalidInput(f"{path}: {name} must be {shape} finite numbers, scales above 0")
    return values
