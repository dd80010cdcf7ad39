"""Behaviour cloning: recorded successes to a policy, and that policy behind the `Policy` contract.

The policy answers absolute `cartesian_position` targets: the current position plus predicted displacements, the
orientation as it is, and the gripper's position. It looks again after each chunk and keeps no memory.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from arena.contracts import ActionChunk, ActionSpace, Episode, InvalidInput, Observation, PolicyCard, Scene
from arena.learned.checkpoint import CloningModel, Training, predict_targets
from arena.learned.demonstrations import Batch, Demonstrations, Normalisation, Progress
from arena.learned.network import POSITION, CloningConfig, CloningNetwork
from arena.learned.optimise import Schedule, optimise
from arena.policies.specs import PolicyFactory, parameters

SAVE_SECONDS = 20.0
GRIPPER_SCALE = 0.5
"""What counts as much in the loss as one deviation of a displacement: half the gripper's stroke."""


def train_cloning(
    episodes: Sequence[Episode],
    config: CloningConfig,
    out: Path,
    seed: int,
    progress: Progress | None = None,
    scratch: Path | None = None,
) -> Path:
    """Train on `episodes` and write the folder `out`, whole or not at all; returns it.

    The state of the training is kept in `scratch` (by default a hidden folder beside `out`) until it is done: a
    run that was killed goes on from there with the same config, seed and data, and ends with the same weights.
    Where `out` is what this very call has made before, there is nothing to do.
    Raises `InvalidInput` where `out` is anything else, the episodes are unsuitable, or the training diverges.
    """
    scratch = scratch or out.with_name(f".{out.name}.training")
    data = Demonstrations(episodes, config, progress)
    if out.exists():
        return made_before(out, config, seed, data.sha256)
    normalisation, network = data.normalisation(), _initial(config, seed)
    schedule = Schedule(
        config.steps, config.batch, config.learning_rate, config.warmup, ema=0.0,
        weight_decay=config.weight_decay, save_seconds=SAVE_SECONDS,
    )  # fmt: skip
    data_sha256 = data.sha256

    def loss_of_step(_: int, generator: torch.Generator) -> Tensor:
        return cloning_loss(network, normalisation, data.batch(generator))

    identity = json.dumps([asdict(config), data_sha256])
    loss = optimise("policy", network, loss_of_step, schedule, seed, scratch, identity, progress)
    training = Training(seed, data.episodes, len(data), data_sha256, loss, data.instructions)
    CloningModel(network, normalisation, data.control_hz, training).save(out)
    shutil.rmtree(scratch, ignore_errors=True)
    return out


def cloning_loss(network: CloningNetwork, normalisation: Normalisation, batch: Batch) -> Tensor:
    """Huber loss of the chunk, each displacement in units of its deviation over the demonstrations."""
    error = predict_targets(network, normalisation, batch.images, batch.state, batch.words) - batch.target
    units = torch.cat(
        [error[..., :POSITION] / normalisation.displacement_scale, error[..., POSITION:] / GRIPPER_SCALE], -1
    )
    return F.huber_loss(units, torch.zeros_like(units))


class CloningPolicy:
    """A trained network in one trial (`arena.contracts.Policy`). Deterministic: seeds change nothing."""

    def __init__(self, model: CloningModel, card: PolicyCard) -> None:
        self._model, self._card = model, card

    @classmethod
    def load(cls, folder: Path) -> CloningPolicy:
        """The policy in `folder`; raises `InvalidInput` as `CloningModel.load` does."""
        model = CloningModel.load(folder)
        return cls(model, card_of(model, folder.name, f"bc:{folder}"))

    @property
    def card(self) -> PolicyCard:
        return self._card

    def reset(self, scene: Scene, seed: int) -> None:
        """Nothing to forget."""

    def act(self, observation: Observation) -> ActionChunk:
        """`(chunk_length, 7)` in `cartesian_position`; raises `InvalidInput` for an unsuitable observation."""
        return ActionChunk(self._model.predict([observation])[0], self._card.action_space, self._card.control_hz)

    def close(self) -> None:
        """Nothing to release: the network is shared."""


def card_of(model: CloningModel, name: str, spec: str) -> PolicyCard:
    """The card of a policy with this network; its hash is that of config and weights."""
    return PolicyCard(
        name=name,
        spec=spec,
        sha256=model.sha256,
        action_space=ActionSpace.CARTESIAN_POSITION,
        control_hz=model.control_hz,
        chunk_length=model.config.chunk_length,
        cameras=model.config.cameras,
        resolution=(model.config.height, model.config.width),
    )


def parse_cloning(spec: str) -> PolicyFactory:
    """A parser for the registry: `bc:FOLDER` or `bc:FOLDER?name=NAME` to a factory whose policies share the weights.

    The name is the folder's by default. Raises `InvalidInput` for a folder that holds no cloned policy.
    """
    folder = spec.partition("?")[0].removeprefix("bc:")
    given = parameters(spec, {"name": "what to call it"})
    if not folder or not Path(folder).is_dir():
        raise InvalidInput(f"policy {spec!r}: there is no folder {folder!r}; write bc:FOLDER of a trained policy")
    model = CloningModel.load(Path(folder))
    card = card_of(model, given.get("name", Path(folder).resolve().name), spec)
    return PolicyFactory(card, lambda: CloningPolicy(model, card))


def made_before(out: Path, config: CloningConfig, seed: int, data_sha256: str) -> Path:
    """`out`, if it is of this config, seed and data: a kill may have come between the weights and the job's end."""
    try:
        model = CloningModel.load(out)
    except InvalidInput:
        model = None
    made = model and (model.config, model.training.seed, model.training.data_sha256)
    if made != (config, seed, data_sha256):
        raise InvalidInput(f"{out} already exists: choose another folder, or remove it")
    return out


def _initial(config: CloningConfig, seed: int) -> CloningNetwork:
    """The untrained network of a seed; the process's own generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return CloningNetwork(config)
