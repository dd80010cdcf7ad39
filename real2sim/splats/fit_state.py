"""Everything a fit has to remember between two steps, and its file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from arena.contracts import InvalidInput
from arena.episodes.atomic import atomic_write
from real2sim.splats.gaussians import Gaussians

ADAM_EPSILON = 1e-15
"""As in 3DGS: gradients are small, and Adam's usual 1e-8 would slow them down."""
_MOMENTS = ("exp_avg", "exp_avg_sq", "step")
_STATISTICS = ("grad2d", "count")


@dataclass
class FitState:
    """Parameters by gsplat's names with an Adam for each, the statistics of densification, and the steps done.

    Harmonics are two parameters, the constant and the rest, because they learn at different rates.
    """

    parameters: dict[str, nn.Parameter]
    optimizers: dict[str, torch.optim.Optimizer]
    scene_size: float
    densification: dict[str, Any] = field(default_factory=dict)
    step: int = 0

    @classmethod
    def begin(cls, start: Gaussians, rates: dict[str, float], scene_size: float) -> FitState:
        tensors = {
            "means": start.means,
            "quats": start.quaternions,
            "scales": start.log_scales,
            "opacities": start.opacity_logits,
            "constant": start.harmonics[:, :1],
            "varying": start.harmonics[:, 1:],
        }
        parameters = {name: nn.Parameter(tensor.detach().clone()) for name, tensor in tensors.items()}
        optimizers: dict[str, torch.optim.Optimizer] = {
            name: torch.optim.Adam([parameter], lr=rates[name], eps=ADAM_EPSILON)
            for name, parameter in parameters.items()
        }
        densification = {"grad2d": None, "count": None, "scene_scale": scene_size}
        return cls(parameters, optimizers, scene_size, densification)

    def gaussians(self) -> Gaussians:
        p = self.parameters
        harmonics = torch.cat([p["constant"], p["varying"]], dim=1)
        return Gaussians(p["means"], p["quats"], p["scales"], p["opacities"], harmonics)

    def set_rate(self, name: str, rate: float) -> None:
        self.optimizers[name].param_groups[0]["lr"] = rate


def save_state(path: Path, state: FitState, settings: Any) -> None:
    """Write a checkpoint, whole or not at all."""
    tensors: dict[str, Tensor] = {f"parameter.{name}": p.detach() for name, p in state.parameters.items()}
    for name, optimizer in state.optimizers.items():
        moments = optimizer.state.get(state.parameters[name], {})
        tensors |= {f"{moment}.{name}": moments[moment] for moment in _MOMENTS if moment in moments}
    tensors |= {f"statistic.{name}": state.densification[name] for name in _STATISTICS if _has(state, name)}
    metadata = {"step": str(state.step), "settings": json.dumps(asdict(settings), sort_keys=True)}
    atomic_write(path, save({name: tensor.contiguous().cpu() for name, tensor in tensors.items()}, metadata))


def load_state(path: Path, begun: FitState, settings: Any) -> FitState:
    """The state in `path`, with the optimisers' settings of `begun`.

    Raises `InvalidInput` for a file that is no checkpoint, or that is of a fit with other settings.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, OSError) as error:
        raise InvalidInput(f"{path} is no checkpoint of a fit: {error}") from error
    if metadata.get("settings") != json.dumps(asdict(settings), sort_keys=True):
        raise InvalidInput(f"{path} is of a fit with other settings: remove it, or use the same ones")
    device = begun.parameters["means"].device
    tensors = {name: tensor.to(device) for name, tensor in tensors.items()}
    for name, optimizer in begun.optimizers.items():
        if f"parameter.{name}" not in tensors or not torch.isfinite(tensors[f"parameter.{name}"]).all():
            raise InvalidInput(f"{path} lacks finite {name}: it is no checkpoint of a fit")
        parameter = nn.Parameter(tensors[f"parameter.{name}"])
        begun.parameters[name] = parameter
        optimizer.param_groups[0]["params"] = [parameter]
        optimizer.state.clear()
        moments = {moment: tensors[f"{moment}.{name}"] for moment in _MOMENTS if f"{moment}.{name}" in tensors}
        if moments:
            optimizer.state[parameter] = {**moments, "step": moments["step"].cpu()}
    begun.densification |= {name: tensors.get(f"statistic.{name}") for name in _STATISTICS}
    begun.step = int(metadata["step"])
    begun.gaussians()  # checks that the shapes agree
    return begun


def _has(state: FitState, name: str) -> bool:
    return isinstance(state.densification.get(name), Tensor)
