"""Reading small networks back from folders, trusting nothing in them: what every kind of folder shares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from arena.contracts import InvalidInput


def read_file(path: Path, limit: int, what: str) -> bytes:
    """Raises `InvalidInput` for a file that is missing, or has more than `limit` bytes."""
    if not path.is_file():
        raise InvalidInput(f"{path} is missing: {path.parent} is no {what}")
    if path.stat().st_size > limit:
        raise InvalidInput(f"{path} has {path.stat().st_size} bytes; a {what} has at most {limit}")
    return path.read_bytes()


def load_tensors(path: Path, data: bytes) -> dict[str, Tensor]:
    """Tensors from the bytes of a safetensors file; raises `InvalidInput` for other bytes."""
    try:
        return load(data)
    except SafetensorError as error:
        raise InvalidInput(f"{path} is not a safetensors file: {error}") from error


def check_finite(tensors: Mapping[str, Tensor], where: str) -> None:
    """Raises `InvalidInput` naming weights that are not finite."""
    for name, value in tensors.items():
        if not torch.isfinite(value).all():
            raise InvalidInput(f"{where}: the weights {name!r} hold NaN or infinite numbers")


def from_json(kind: type[Any], values: Mapping[str, Any]) -> Any:
    """A dataclass from JSON, every field present, lists as tuples. Raises `TypeError` for other fields."""
    if missing := {field.name for field in fields(kind)} - values.keys():
        raise TypeError(f"{min(missing)!r} is missing")
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})
