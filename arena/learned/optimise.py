"""One stage of a training: AdamW, seeded by step, resumable to the same loss curve; for policies and world models."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from arena.contracts import InvalidInput
from arena.episodes.atomic import atomic_file

Progress = Callable[[int, int, str], None]
LossOfStep = Callable[[int, torch.Generator], Tensor]


@dataclass(frozen=True)
class Schedule:
    """`steps` of `batch` samples; linear warm-up, then a cosine down to a twentieth of the learning rate.

    `ema` is the decay of the weights' moving average, which is what a training ends with; 0 means the weights
    themselves. Gradients longer than `clip_gradient` are shortened to it.
    """

    steps: int
    batch: int
    learning_rate: float
    warmup: int = 100
    ema: float = 0.998
    weight_decay: float = 0.01
    clip_gradient: float = 1.0
    save_seconds: float = 60.0

    def rate(self, step: int) -> float:
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        done = (step - self.warmup) / max(self.steps - self.warmup, 1)
        return self.learning_rate * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * min(done, 1.0))))


def step_generator(seed: int, stage: str, step: int) -> torch.Generator:
    """The source of every random number of one step: a resumed run needs no generator's state."""
    mixed = torch.Generator().manual_seed(seed)
    key = sum(ord(c) * 257**i for i, c in enumerate(stage)) % (1 << 31)
    base = int(torch.randint(1 << 31, (1,), generator=mixed))
    return torch.Generator().manual_seed((base ^ key) * (1 << 20) + step)


def optimise(
    stage: str,
    module: nn.Module,
    loss_of_step: LossOfStep,
    schedule: Schedule,
    seed: int,
    folder: Path,
    identity: str,
    progress: Progress | None = None,
    stop_after: int | None = None,
) -> float:
    """Train `module` in place and leave its averaged weights in it; losses go to `folder/STAGE.jsonl`.

    State is saved to `folder/STAGE.safetensors` every `save_seconds`; a run that finds it goes on from
    there and draws what an uninterrupted run would have drawn. `identity` says what is trained on what.
    `stop_after` ends early, for tests. Returns the smoothed loss. Raises `InvalidInput` where the loss is not
    finite, or the state on disk is damaged or of a run with another identity, schedule or seed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = _State(module, schedule, folder / f"{stage}.safetensors", _identity(schedule, seed, identity))
    log = _LossLog(folder / f"{stage}.jsonl", state.step)
    end = schedule.steps if stop_after is None else min(stop_after, schedule.steps)
    saved_at = time.monotonic()
    module.train()
    while state.step < end:
        loss = loss_of_step(state.step, step_generator(seed, stage, state.step))
        state.update(loss)
        log.add(state.step, float(loss.detach()))
        if progress is not None:
            progress(state.step, schedule.steps, f"training the {stage} (loss {log.average:.4f})")
        if time.monotonic() - saved_at > schedule.save_seconds:
            log.flush()
            state.save()
            saved_at = time.monotonic()
    log.flush()
    state.save()
    state.copy_ema_to_module()
    module.eval()
    return log.average


def _identity(schedule: Schedule, seed: int, of: str) -> str:
    """What a state on disk has to agree with. How often it is saved changes nothing."""
    return json.dumps([{k: v for k, v in asdict(schedule).items() if k != "save_seconds"}, seed, of])


class _State:
    """Weights, their moving average and AdamW's moments, as one safetensors file."""

    def __init__(self, module: nn.Module, schedule: Schedule, path: Path, identity: str) -> None:
        self.schedule, self.path, self.identity = schedule, path, identity
        self.named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
        self.parameters = [p for _, p in self.named]
        self.ema = [p.detach().clone() for p in self.parameters]
        self.optimiser = torch.optim.AdamW(
            self.parameters, lr=schedule.learning_rate, betas=(0.9, 0.99), weight_decay=schedule.weight_decay
        )
        self.step = 0
        if path.exists():
            try:
                self._load()
            except SafetensorError as error:
                raise InvalidInput(f"{path} is damaged ({error}): remove it to train from the beginning") from error

    def update(self, loss: Tensor) -> None:
        if not torch.isfinite(loss):
            raise InvalidInput(f"the loss became {float(loss.detach())} at step {self.step}: lower the learning rate")
        for group in self.optimiser.param_groups:
            group["lr"] = self.schedule.rate(self.step)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.parameters, self.schedule.clip_gradient)
        self.optimiser.step()
        # A short average at first, or the random start would linger in it.
        decay = min(self.schedule.ema, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(self.ema, [p.detach() for p in self.parameters], 1 - decay)
        self.step += 1

    def copy_ema_to_module(self) -> None:
        with torch.no_grad():
            for parameter, average in zip(self.parameters, self.ema, strict=True):
                parameter.copy_(average)

    def save(self) -> None:
        tensors: dict[str, Tensor] = {}
        for (name, parameter), average in zip(self.named, self.ema, strict=True):
            tensors[f"weight/{name}"], tensors[f"ema/{name}"] = parameter.detach(), average
            for key, value in self.optimiser.state.get(parameter, {}).items():
                tensors[f"{key}/{name}"] = value
        with atomic_file(self.path) as partial:
            save_file(
                {k: v.cpu().contiguous() for k, v in tensors.items()},
                partial,
                metadata={"step": str(self.step), "identity": self.identity},
            )

    def _load(self) -> None:
        with safe_open(self.path, framework="pt") as stored, torch.no_grad():
            metadata, keys = stored.metadata(), set(stored.keys())
            if metadata["identity"] != self.identity:
                raise InvalidInput(f"{self.path} is of a training with another config, seed or data: remove it first")
            self.step = int(metadata["step"])
            for (name, parameter), average in zip(self.named, self.ema, strict=True):
                parameter.copy_(stored.get_tensor(f"weight/{name}"))
                average.copy_(stored.get_tensor(f"ema/{name}"))
                moments = {k: f"{k}/{name}" for k in ("step", "exp_avg", "exp_avg_sq")}
                if moments["step"] in keys:
                    loaded = {k: stored.get_tensor(v) for k, v in moments.items()}
                    self.optimiser.state[parameter] = {
                        k: v if k == "step" else v.to(parameter.device) for k, v in loaded.items()
                    }


class _LossLog:
    """One JSON line a step, cut back on resuming to what the saved state knows."""

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        kept = [line for line in _lines(path) if json.loads(line)["step"] <= step]
        path.write_text("".join(kept))
        self.pending: list[str] = []
        self.average = math.nan
        for line in kept:
            self._smooth(json.loads(line)["loss"])

    def _smooth(self, loss: float) -> None:
        self.average = loss if math.isnan(self.average) else 0.98 * self.average + 0.02 * loss

    def add(self, step: int, loss: float) -> None:
        self._smooth(loss)
        self.pending.append(json.dumps({"step": step, "loss": loss}) + "\n")

    def flush(self) -> None:
        with self.path.open("a") as stream:
            stream.writelines(self.pending)
        self.pending = []


def _lines(path: Path) -> Iterable[str]:
    if not path.exists():
        return []
    # A kill may have left the last line unfinished.
    return [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
