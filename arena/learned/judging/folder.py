"""A judge as a folder: weights and what it is familiar with in fp16, a config, a card; whole or absent."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from arena.contracts import FloatArray, InvalidInput
from arena.episodes.atomic import atomic_directory, read_manifest
from arena.judges.calibration import Logistic, TaskLogistic
from arena.judges.latents import LatentSpace
from arena.learned.folders import check_finite, from_json, load_tensors, read_file
from arena.learned.judging.familiar import Familiar
from arena.learned.judging.judge import Fitted, LearnedCard
from arena.learned.judging.network import TRACK, JudgingConfig, JudgingNetwork

FORMAT = "dreamarena-judge-2"
WHAT = "learned judge"
WEIGHTS, CONFIG, CARD = "weights.safetensors", "config.json", "README.md"
MAX_CONFIG_BYTES, MAX_WEIGHT_BYTES = 1 << 20, 32 << 20
FAMILIAR = ("looks", "features")
NETWORK = "network."


def write_judge(folder: Path, fitted: Fitted, card: LearnedCard) -> None:
    """Raises `InvalidInput` where the folder exists, or for weights beyond fp16."""
    config, weights = _config_bytes(fitted, card), _weight_bytes(fitted)
    with atomic_directory(folder) as partial:
        (partial / WEIGHTS).write_bytes(weights)
        (partial / CONFIG).write_bytes(config)
        (partial / CARD).write_text(_card_text(fitted, card))


def read_judge(folder: Path) -> tuple[Fitted, LearnedCard]:
    """Raises `InvalidInput` (or `DamagedArtifact`) for files that are missing or altered, a config out of range,
    weights whose names or shapes are not exactly the judge's, and numbers that are not finite.
    """
    read_manifest(folder)
    described, card = _parse(folder / CONFIG, read_file(folder / CONFIG, MAX_CONFIG_BYTES, WHAT))
    try:
        config = from_json(JudgingConfig, described["config"])
        numbers = {name: _numbers(described[name], shape) for name, shape in _NUMBERS.items()}
        logistic = _logistic(described["logistic"])
        limits = {name: float(_numbers(described["limits"][name], ())) for name in (*FAMILIAR, "apart", "grip")}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidInput(f"{folder / CONFIG} is not the config of a judge: {error!r}") from None
    network = JudgingNetwork(config)
    tensors = _tensors(folder / WEIGHTS, read_file(folder / WEIGHTS, MAX_WEIGHT_BYTES, WHAT))
    network.load_state_dict(_network_weights(folder / WEIGHTS, tensors, network))
    known = {name: _familiar(folder / WEIGHTS, tensors, name, limits[name]) for name in FAMILIAR}
    fitted = Fitted(
        network.eval(), numbers["track_mean"], numbers["track_scale"], known["looks"], known["features"],
        logistic, limits["apart"], limits["grip"],
    )  # fmt: skip
    return fitted, card


def read_card(folder: Path) -> LearnedCard:
    """The card of a judge alone. Raises `InvalidInput` where there is none."""
    return _parse(folder / CONFIG, read_file(folder / CONFIG, MAX_CONFIG_BYTES, WHAT))[1]


def sha256_of(fitted: Fitted, card: LearnedCard) -> str:
    """Of everything that shapes a verdict, and the card: the same for a judge and for what is read of its folder."""
    return hashlib.sha256(_config_bytes(fitted, card) + _weight_bytes(fitted)).hexdigest()


def rounded(network: JudgingNetwork) -> JudgingNetwork:
    """Its weights in the precision in which they are stored, so that what is fitted on them fits what is loaded."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(parameter.half().float())
    return network


_NUMBERS: Mapping[str, tuple[int, ...]] = {"track_mean": (TRACK,), "track_scale": (TRACK,)}


def _config_bytes(fitted: Fitted, card: LearnedCard) -> bytes:
    described = {
        "format": FORMAT,
        "config": asdict(fitted.config),
        "track_mean": fitted.track_mean.tolist(),
        "track_scale": fitted.track_scale.tolist(),
        "logistic": {
            "mean": fitted.logistic.mean.tolist(),
            "scale": fitted.logistic.scale.tolist(),
            "common": _row(fitted.logistic.common),
            "own": {instruction: _row(own) for instruction, own in fitted.logistic.own.items()},
        },
        "limits": {
            "looks": fitted.looks.limit,
            "features": fitted.features.limit,
            "apart": fitted.apart_limit,
            "grip": fitted.grip_limit,
        },
        "card": _in_order(card),
    }
    return json.dumps(described, indent=1, allow_nan=True).encode()


def _weight_bytes(fitted: Fitted) -> bytes:
    tensors = {NETWORK + name: value.half().contiguous() for name, value in fitted.network.state_dict().items()}
    for name in FAMILIAR:
        familiar: Familiar = getattr(fitted, name)
        arrays = {"mean": familiar.space.mean, "basis": familiar.space.basis, "scale": familiar.space.scale}
        for part, array in {**arrays, "seen": familiar.seen}.items():
            tensors[f"{name}.{part}"] = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32)).half()
    check_finite(tensors, "the judge")
    return save(tensors)


_CARD_ORDER = (
    "instructions", "tasks", "robots", "trained_on", "trained_on_imagined", "world", "calibrated_on", "held_out",
    "threshold", "accuracy", "base_rate", "auc", "calibration_error", "false_success", "abstained", "task_accuracy",
    "controls", "seed", "data_sha256", "notes",
)  # fmt: skip
"""How a card's fields are written: a judge's hash is of these bytes, so their order is part of the format."""


def _in_order(card: LearnedCard) -> dict[str, Any]:
    values = asdict(card)
    return {name: values.pop(name) for name in _CARD_ORDER} | values


def _card_text(fitted: Fitted, card: LearnedCard) -> str:
    config, parameters = fitted.config, sum(p.numel() for p in fitted.network.parameters())
    measures = "".join(f"  - {name}: {_shown(value)}\n" for name, value in _measures(card).items())
    controls = "".join(
        f"  - {name}: {', '.join(f'{what} {_shown(value)}' for what, value in control.items())}\n"
        for name, control in card.controls.items()
    )
    return (
        "# A learned success judge\n\n"
        f"{parameters:,} parameters in fp16 (`{WEIGHTS}`), trained from nothing by `arena/learned/judging/fitting.py`\n"
        f"on {card.trained_on} recorded and {card.trained_on_imagined} imagined labelled trials, {config.steps:,}\n"
        f"steps of {config.batch} trials; data sha256 `{card.data_sha256}`, seed {card.seed}.\n\n"
        f"- Sees {', '.join(config.cameras)} at {config.height}x{config.width}, and the instruction.\n"
        f"- Knows {', '.join(card.robots) or 'robots without a name'} and these instructions: "
        f"{'; '.join(card.instructions)}.\n"
        f"- Says success from a probability of {card.threshold:.3f} on: at this threshold the share of false\n"
        "  successes, counted twice, and that of missed ones are together the least on the calibration trials.\n"
        f"- Calibrated on {card.calibrated_on} trials, measured on {card.held_out} others that shaped nothing:\n"
        f"{measures}"
        "- Blind controls on the same trials, which have to be near chance (0.5):\n"
        f"{controls}" + "".join(f"- {note}\n" for note in card.notes)
    )


def _measures(card: LearnedCard) -> dict[str, object]:
    return {
        "accuracy": card.accuracy,
        "always saying what is commoner": card.base_rate,
        "AUC": card.auc,
        "calibration error": card.calibration_error,
        "false successes among failures": card.false_success,
        "abstained from": card.abstained,
        **{f"accuracy in {task}": value for task, value in card.task_accuracy.items()},
    }


def _shown(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _parse(path: Path, data: bytes) -> tuple[Mapping[str, Any], LearnedCard]:
    try:
        described = json.loads(data)
        if described["format"] != FORMAT:
            raise InvalidInput(f"{path}: format {described['format']!r} is not {FORMAT!r}")
        card = from_json(LearnedCard, described["card"])
        if not (math.isfinite(card.threshold) and all(isinstance(each, str) for each in card.instructions)):
            raise ValueError("a card that cannot be")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidInput(f"{path} is not the config of a judge: {error!r}") from None
    return described, card


def _numbers(values: Any, shape: tuple[int, ...]) -> FloatArray:
    array = np.array(values, dtype=np.float64)
    # A limit may be infinite: nothing was there to set it by.
    if array.shape != shape or np.isnan(array).any() or (shape and not np.isfinite(array).all()):
        raise ValueError(f"{values} must be {shape} numbers")
    return array


def _row(logistic: Logistic) -> list[float]:
    return [*logistic.weights.tolist(), logistic.intercept]


def _logistic(described: Any) -> TaskLogistic:
    def of_row(row: Any) -> Logistic:
        numbers = _numbers(row, (2,))
        return Logistic(numbers[:1], float(numbers[1]))

    mean, scale = (_numbers(described[name], (1,)) for name in ("mean", "scale"))
    if not scale[0] > 0:
        raise ValueError(f"the scale {scale[0]} is not positive")
    own = {str(instruction): of_row(row) for instruction, row in described["own"].items()}
    return TaskLogistic(mean, scale, of_row(described["common"]), own)


def _tensors(path: Path, data: bytes) -> dict[str, Tensor]:
    tensors = load_tensors(path, data)
    for name, value in tensors.items():
        if value.dtype != torch.float16:
            raise InvalidInput(f"{path}: the weights {name!r} are {value.dtype}, not float16")
    check_finite(tensors, str(path))
    return tensors


def _network_weights(path: Path, tensors: Mapping[str, Tensor], network: JudgingNetwork) -> dict[str, Tensor]:
    wanted = {NETWORK + name: value.shape for name, value in network.state_dict().items()}
    names = {*wanted, *(f"{kind}.{part}" for kind in FAMILIAR for part in ("mean", "basis", "scale", "seen"))}
    if different := sorted(names ^ tensors.keys()):
        what = "missing" if different[0] in names else "unexpected"
        raise InvalidInput(f"{path}: the weights {different[0]!r} are {what}")
    for name, shape in wanted.items():
        if tensors[name].shape != shape:
            raise InvalidInput(f"{path}: the weights {name!r} are {tuple(tensors[name].shape)}, not {tuple(shape)}")
    return {name.removeprefix(NETWORK): tensors[name].float() for name in wanted}


def _familiar(path: Path, tensors: Mapping[str, Tensor], name: str, limit: float) -> Familiar:
    mean, basis, scale, seen = (
        tensors[f"{name}.{part}"].float().numpy() for part in ("mean", "basis", "scale", "seen")
    )
    width = len(scale)
    if mean.ndim != 1 or basis.shape != (len(mean), width) or seen.ndim != 2 or seen.shape[1] != width or not len(seen):
        raise InvalidInput(f"{path}: the shapes of {name!r} do not fit each other")
    return Familiar(LatentSpace(mean, basis, scale), seen, limit)
