"""Parity with numbers computed by the Ctrl-World authors' code, for any golden file of that form.

A golden file is `PREFIX.safetensors` (inputs `in.*`, outputs `out.*`) and `PREFIX.json` (UNet, scheduler,
VAE, names and shapes of all weights). It stores no weights: they are a function of their names.
"""

from __future__ import annotations

import dataclasses
import json
import re
import zlib
from collections.abc import Callable, Mapping
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import EulerDiscreteScheduler
from torch import Tensor

from arena.contracts import InvalidInput
from worldmodels.checkpoint import Shape, check_keys, denoiser_shapes, shapes_of
from worldmodels.config import CTRL_WORLD, SVD_AUTOENCODER, NoiseConfig, TextEncoding, WorldModelConfig
from worldmodels.ctrl_world import ActionEncoder, CtrlWorld, LossDraws, training_loss
from worldmodels.sampler import SamplerConfig, sample
from worldmodels.weights import read_safetensors

# What the released sampler tells the UNet of its noise augmentation; in training it tells 0.
RELEASED_AUGMENTATION = 0.02
TRACE_GUIDANCE = 2.0

Progress = Callable[[int, int, str], None]


def parity(prefix: Path, progress: Progress | None = None) -> dict[str, Any]:
    """Recompute every output of a golden file in float32 on the CPU.

    Returns `{"outputs": {name: error}, "max_error": ...}` with errors as `relative_error` has them.
    Raises `InvalidInput` where a file is missing or malformed, where it has outputs that are not known here
    (none is skipped in silence), or lacks an input that an output needs.
    """
    golden = Golden.read(prefix)
    outputs: dict[str, float] = {}
    names = sorted(name for name in golden.tensors if name.startswith("out."))
    for done, name in enumerate(names):
        if progress is not None:
            progress(done, len(names), name)
        outputs[name] = golden.error(name)
    if progress is not None:
        progress(len(names), len(names), "parity")
    return {"outputs": outputs, "max_error": max(outputs.values())}


def full_size_key_check(path: Path) -> dict[str, int]:
    """Compare a JSON of names and shapes with the full-size model, on the meta device.

    Returns how many weights (`keys`) and numbers (`parameters`) agree. Raises `KeyMismatch` naming every difference.
    """
    published = _shapes(_read_json(path), str(path))
    check_keys(published, denoiser_shapes(CTRL_WORLD), str(path))
    return {"keys": len(published), "parameters": sum(prod(shape) for shape in published.values())}


def relative_error(ours: Tensor, golden: Tensor) -> float:
    """The largest distance between an element of ours and golden's, over the largest golden element.

    An element is a number, but for tensors of four or more axes an image (the last three axes, Euclidean norm).
    The reason: at sigma 700 the released Euler step computes `x - (x - denoised)` in float32 with |x| around
    2000, so golden's single pixels carry rounding of up to 2.4e-4 that no other build of torch repeats.
    A pixel that is wrong by more than 0.3% of an image's norm still exceeds 1e-4 by far.
    """
    if ours.shape != golden.shape:
        raise InvalidInput(f"golden shape {tuple(golden.shape)} where the model gives {tuple(ours.shape)}")
    ours, golden = ours.double(), golden.double()
    if golden.ndim >= 4:
        distance = (ours - golden).flatten(-3).norm(dim=-1)
        size = golden.flatten(-3).norm(dim=-1)
    else:
        distance, size = (ours - golden).abs(), golden.abs()
    # Where golden is all zeros there is nothing to be relative to.
    scale = float(size.max()) or 1.0
    return float(distance.max()) / scale


def named_weight(name: str, shape: Shape) -> Tensor:
    """A golden file's weight, float32: a function of its name with prefix, as golden/README.md defines it."""
    draws = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode()))).standard_normal(shape)
    if len(shape) >= 2:
        draws = draws / np.sqrt(np.prod(shape[1:]))
    elif name.endswith(".weight"):
        draws = 1 + 0.1 * draws
    else:
        draws = 0.1 * draws
    return torch.from_numpy(draws.astype(np.float32))


@dataclasses.dataclass(frozen=True)
class Golden:
    """One golden file with the model that it describes, its weights filled in."""

    prefix: Path
    tensors: Mapping[str, Tensor]
    model: CtrlWorld
    runs: dict[tuple[int, float], Tensor] = dataclasses.field(default_factory=dict)
    """Trajectories sampled so far: a trace belongs to a run that another output may have taken."""

    @classmethod
    def read(cls, prefix: Path) -> Golden:
        """Read and check `PREFIX.json` and `PREFIX.safetensors`; a suffix given by mistake is dropped."""
        if prefix.suffix in (".json", ".safetensors"):
            prefix = prefix.with_suffix("")
        json_path, tensors_path = Path(f"{prefix}.json"), Path(f"{prefix}.safetensors")
        described = _read_json(json_path)
        tensors = read_safetensors(tensors_path)
        golden = cls(prefix, tensors, _build_model(described, tensors, json_path))
        golden._check_tensors(tensors_path)
        return golden

    def error(self, name: str) -> float:
        """The `relative_error` of one output; a trace counts as its worst step."""
        ours, golden = self.compute(name).detach(), self.tensors[name]
        if not bool(ours.isfinite().all()):
            raise InvalidInput(f"{self.prefix}: the model gives NaN or infinite numbers for {name}")
        try:
            if name == "out.sample_trace":
                return max(relative_error(*step) for step in zip(ours, golden, strict=True))
            return relative_error(ours, golden)
        except ValueError as error:
            raise InvalidInput(f"{self.prefix}: {name} has another number of steps: {error}") from error
        except InvalidInput as error:
            raise InvalidInput(f"{self.prefix}: {name}: {error}") from error

    def compute(self, name: str) -> Tensor:
        """Our value of an output."""
        for pattern, method in _OUTPUTS.items():
            if match := re.fullmatch(pattern, name):
                try:
                    return method(self, *match.groups())
                except (RuntimeError, IndexError, ValueError) as error:
                    reason = str(error).splitlines()[0]
                    raise InvalidInput(f"{self.prefix}: {name} cannot be computed: {reason}") from error
        raise InvalidInput(f"{self.prefix}: unknown output {name}")

    def _check_tensors(self, path: Path) -> None:
        outputs = [name for name in self.tensors if name.startswith("out.")]
        known = "|".join(_OUTPUTS)
        if not outputs:
            raise InvalidInput(f"{path} has no outputs: their names start with 'out.'")
        if unknown := sorted(name for name in outputs if not re.fullmatch(known, name)):
            raise InvalidInput(f"{path} has outputs that are not known: {', '.join(unknown)}")
        if bad := sorted(name for name, tensor in self.tensors.items() if not bool(tensor.isfinite().all())):
            raise InvalidInput(f"{path} has NaN or infinite numbers in {', '.join(bad)}")

    def input(self, name: str) -> Tensor:
        if f"in.{name}" not in self.tensors:
            raise InvalidInput(f"{self.prefix}.safetensors lacks in.{name}, which its outputs need")
        return self.tensors[f"in.{name}"]

    def action_hidden(self, kind: str | None = None) -> Tensor:
        """`(B, F, width)` tokens, without text, or for the first frame alone."""
        actions = self.input("actions")
        text = None if kind == "_no_text" else self.tensors.get("in.text_embeds")
        with torch.no_grad():
            return self.model.action_encoder(actions[:, :1] if kind == "_pooled" else actions, text)

    @cached_property
    def tokens(self) -> Tensor:
        """The tokens that UNet and sampler were given: golden's where they are stored."""
        stored = self.tensors.get("out.action_hidden")
        return self.action_hidden() if stored is None else stored

    def unet(self, level: str) -> Tensor:
        tokens = self.tokens if level == "frame" else self.tokens[:, :1]
        with torch.no_grad():
            output: Tensor = self.model.unet(
                self.input("unet_sample"),
                self.input("timestep"),
                encoder_hidden_states=tokens,
                added_time_ids=self.input("added_time_ids"),
            ).sample
        return output

    def samples(self, steps: str, guidance: str) -> Tensor:
        return self.trajectory(int(steps), float(guidance))[-1]

    def trace(self) -> Tensor:
        """The trace's run is told by its length and by which of the final latents its last step is."""
        trace = self.tensors["out.sample_trace"]
        runs = [re.fullmatch(_SAMPLE, name) for name in self.tensors]
        guidances = {float(run[2]): run[0] for run in runs if run and int(run[1]) == len(trace)}
        last = trace[-1] if len(trace) else trace
        fitting = [g for g, name in guidances.items() if torch.equal(self.tensors[name], last)]
        return self.trajectory(len(trace), fitting[0] if fitting else TRACE_GUIDANCE)

    def trajectory(self, steps: int, guidance: float) -> Tensor:
        """`(steps, B, P, C, h, w)`: the latents after each step of the sampler."""
        if (steps, guidance) in self.runs:
            return self.runs[steps, guidance]
        latents: list[Tensor] = []
        with torch.no_grad():
            sample(
                self.model,
                self.input("initial_noise"),
                self.input("current_latent"),
                self.input("history_latents"),
                self.tokens,
                SamplerConfig(steps, guidance),
                lambda _, latent: latents.append(latent),
            )
        return self.runs.setdefault((steps, guidance), torch.stack(latents))

    def schedule(self, kind: str, steps: str) -> Tensor:
        scheduler = EulerDiscreteScheduler(**self.model.config.scheduler)
        scheduler.set_timesteps(int(steps))
        schedule: Tensor = getattr(scheduler, kind)
        return schedule

    @cached_property
    def training(self) -> Mapping[str, Tensor]:
        """The training loss on the given draws and the gradients that golden files hold."""
        draws = LossDraws(*[self.input(f"train_{field.name}") for field in dataclasses.fields(LossDraws)])
        self.model.zero_grad()
        tokens = self.model.action_encoder(self.input("actions"), self.tensors.get("in.text_embeds"))
        loss = training_loss(self.model, self.input("train_latents"), tokens, draws)
        loss.backward()
        parameters = {
            "grad_action0": self.model.action_encoder.action_encode[0].weight,
            "grad_conv_in": self.model.unet.conv_in.weight,
        }
        gradients = {name: parameter.grad for name, parameter in parameters.items() if parameter.grad is not None}
        return {"loss": loss.detach().reshape(1), **gradients}


_SAMPLE = r"out\.sample_steps([1-9]\d*)_guidance(\d+(?:\.\d+)?)"
_OUTPUTS: Mapping[str, Callable[..., Tensor]] = {
    r"out\.action_hidden(_no_text|_pooled)?": Golden.action_hidden,
    r"out\.unet_(frame|clip)_level": Golden.unet,
    _SAMPLE: Golden.samples,
    r"out\.sample_trace": Golden.trace,
    r"out\.(sigmas|timesteps)_([1-9]\d*)": Golden.schedule,
    r"out\.train_(loss|grad_action0|grad_conv_in)": lambda golden, kind: golden.training[kind],
}


def _build_model(described: Mapping[str, Any], tensors: Mapping[str, Tensor], path: Path) -> CtrlWorld:
    shapes = {f"unet.{k}": v for k, v in _shapes(described.get("unet_keys"), f"{path}: unet_keys").items()}
    encoder = _shapes(described.get("action_encoder_keys"), f"{path}: action_encoder_keys")
    shapes |= {f"action_encoder.{k}": v for k, v in encoder.items()}
    config = _config(described, tensors, path)
    try:
        model = CtrlWorld(config)
        width, token_width = encoder["action_encode.0.weight"][1], encoder["action_encode.4.weight"][0]
        model.action_encoder = ActionEncoder(width, token_width, TextEncoding.CLIP)
        EulerDiscreteScheduler(**config.scheduler)
    except (TypeError, ValueError, KeyError, IndexError, RuntimeError, AttributeError) as error:
        raise InvalidInput(f"{path} describes no model that can be built: {error!r}") from error
    check_keys(shapes, shapes_of(model.state_dict()), str(path))
    model.load_state_dict({name: named_weight(name, shape) for name, shape in shapes.items()})
    return model.eval()


def _config(described: Mapping[str, Any], tensors: Mapping[str, Tensor], path: Path) -> WorldModelConfig:
    """The described model; how many frames are history is told by the inputs."""
    sections = {}
    for name in ("unet", "scheduler", "vae"):
        if not isinstance(described.get(name), dict):
            raise InvalidInput(f"{path} should have an object {name!r}")
        # diffusers' own config files carry `_class_name` and the like.
        sections[name] = {key: value for key, value in described[name].items() if not key.startswith("_")}
    past = next((tensors[key] for key in ("in.history_latents", "in.train_noise_history") if key in tensors), None)
    history = 0 if past is None or past.ndim < 2 else past.shape[1]
    return dataclasses.replace(
        CTRL_WORLD,
        name=path.stem,
        unet=sections["unet"],
        scheduler=sections["scheduler"],
        autoencoder={**SVD_AUTOENCODER, **sections["vae"]},
        history_offsets=tuple(range(-history, 0)),
        noise=NoiseConfig(augmentation_train=0.0, augmentation_sample=RELEASED_AUGMENTATION),
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        described = json.loads(path.read_text())
    except FileNotFoundError:
        raise InvalidInput(f"{path} does not exist") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidInput(f"{path} is not JSON: {error}") from error
    if not isinstance(described, dict):
        raise InvalidInput(f"{path} should hold a JSON object, not a {type(described).__name__}")
    return described


def _shapes(values: Any, where: str) -> dict[str, Shape]:
    try:
        return {str(name): tuple(int(side) for side in shape) for name, shape in values.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise InvalidInput(f"{where} should map the names of weights to their shapes: {error}") from error
