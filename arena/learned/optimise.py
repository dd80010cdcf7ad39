"""A training loop whose every step depends on the seed and the step alone, so that it resumes exactly."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from arena.contracts import InvalidInput
from arena.episodes.atomic import atomic_file

Progress = Callable[[int, int, str], None]
LossOfStep = Callable[[torch.Generator], Tensor]

FINAL_RATE = 0.02
"""Of the learning rate, at the end of its cosine."""
SAVE_SECONDS = 20.0


@dataclass(frozen=True)
class Schedule:
    """Linear warm-up, then a cosine; gradients longer than `clip` are shortened to it."""

    steps: int
    learning_rate: float
    weight_decay: float
    warmup: int
    clip: float = 1.0

    def rate(self, step: int) -> float:
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        done = (step - self.warmup) / max(self.steps - self.warmup, 1)
        return self.learning_rate * (FINAL_RATE + (1 - FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * done)))


def step_generator(seed: int, step: int) -> torch.Generator:
    """The source of every random number of one step: a resumed training needs no generator's state."""
    digest = hashlib.sha256(f"{seed}/{step}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def optimise(
    module: nn.Module,
    loss_of_step: LossOfStep,
    schedule: Schedule,
    seed: int,
    state: Path,
    identity: str,
    progress: Progress | None = None,
) -> float:
    """Train `module` in place with AdamW; returns the smoothed loss.

    The state is saved to the file `state` every `SAVE_SECONDS` and found there by a later call; `identity` names
    what is trained on what, and another one's state is an `InvalidInput`, as is a loss that is not finite.
    The caller removes the file.
    """
    optimiser = torch.optim.AdamW(module.parameters(), lr=0.0, weight_decay=schedule.weight_decay, betas=(0.9, 0.99))
    step, average = _restore(state, module, optimiser, identity)
    saved_at = time.monotonic()
    module.train()
    while step < schedule.steps:
        for group in optimiser.param_groups:
            group["lr"] = schedule.rate(step)
        loss = loss_of_step(step_generator(seed, step))
        value = float(loss.detach())
        if not math.isfinite(value):
            raise InvalidInput(f"the loss became {value} at step {step}: lower the learning rate")
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(module.parameters(), schedule.clip)
        optimiser.step()
        step += 1
        average = value if step == 1 else 0.98 * average + 0.02 * value
        if progress is not None:
            progress(step, schedule.steps, f"cloning (loss {average:.4f})")
        if time.monotonic() - saved_at > SAVE_SECONDS:
            _save(state, module, optimiser, identity, step, average)
            saved_at = time.monotonic()
    module.eval()
    return average


def _save(
    path: Path, module: nn.Module, optimiser: torch.optim.Optimizer, identity: str, step: int, average: float
) -> None:
    tensors = {f"weight/{name}": parameter.detach() for name, parameter in module.named_parameters()}
    for name, parameter in module.named_parameters():
        tensors |= {f"{key}/{name}": value for key, value in optimiser.state[parameter].items()}
    with atomic_file(path) as partial:
        save_file(tensors, partial, metadata={"identity": identity, "step": str(step), "average": repr(average)})


def _restore(path: Path, module: nn.Module, optimiser: torch.optim.Optimizer, identity: str) -> tuple[int, float]:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        return 0, 0.0
    try:
        with safe_open(path, framework="pt") as stored:
            metadata = stored.metadata() or {}
            if metadata.get("identity") != identity:
                raise InvalidInput(f"{path} is of a training with another config, seed or data: remove it first")
            for name, parameter in module.named_parameters():
                parameter.data.copy_(stored.get_tensor(f"weight/{name}"))
                optimiser.state[parameter] = {
                    key: stored.get_tensor(f"{key}/{name}") for key in ("step", "exp_avg", "exp_avg_sq")
                }
            return int(metadata["step"]), float(metadata["average"])
    except SafetensorError as error:
        raise InvalidInput(f"{path} is damaged ({error}): remove it to train from the beginning") from error
