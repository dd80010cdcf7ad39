"""What the configs of small networks have in common: numbers within ranges, and cameras that are named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from arena.contracts import InvalidInput


def check_ranges(config: Any, ranges: Mapping[str, tuple[float, float]], what: str) -> None:
    """Raises `InvalidInput` for a field of the dataclass `config` outside of its range; ints have to be whole."""
    for field in fields(config):
        if field.name not in ranges:
            continue
        value, (low, high) = getattr(config, field.name), ranges[field.name]
        whole = field.type == "int"
        fits = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
        if not (fits and low <= value <= high):
            kind = "a whole number" if whole else "a number"
            raise InvalidInput(f"{what}: {field.name} must be {kind} from {low:g} to {high:g}, not {value!r}")


def check_cameras(cameras: tuple[str, ...], what: str) -> None:
    """Raises `InvalidInput` for no cameras, repeated ones, and names that are none."""
    named = all(isinstance(camera, str) and camera for camera in cameras)
    if not cameras or not named or len(set(cameras)) < len(cameras):
        raise InvalidInput(f"{what}: cameras must be different names, at least one, not {cameras!r}")
