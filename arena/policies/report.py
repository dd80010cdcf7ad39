"""What a probe found, and how it is said."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arena.contracts import ActionSpace
from arena.policies.droid import MAX_CHUNK
from arena.policies.mistakes import Mistake
from arena.policies.transport import one_line
from arena.policies.trying import Tried

MAX_METADATA_TEXT = 500
FACTS = (
    "kind", "metadata", "action_space", "action_spaces", "action_shape", "action_dtype", "chunk_lengths", "control_hz",
    "action_min", "action_max", "gripper_min", "gripper_max", "cameras", "deterministic", "repeat_difference",
    "trials_at_once", "connect_seconds", "first_call_seconds", "latency_p50_seconds", "latency_p95_seconds", "calls",
)  # fmt: skip
"""Of a report, in the order in which people are told."""


@dataclass(frozen=True)
class ProbeReport:
    """What a probe found. `ok` is false where `problems` keep the policy from being evaluated.

    `action_shape` is (N, D), `chunk_lengths` the least and the largest N, `action_min` and `action_max` are per
    number, over all calls, in the server's own units. `action_spaces` are those whose width fits D, `action_space`
    the one that was declared, by whoever asks or by the server. `cameras` are those that it is shown.
    `repeat_difference` is how much answers to the same observation differ, in the server's units; `trials_at_once` is
    false where it mixes them up. Times are in seconds; `first_call_seconds` includes any compilation, the percentiles
    do not. `mistakes` are typical ones that the answers suggest; `scenes` says how a dry run went in each.
    `submit_as` is the whole spec, where all of it is known. None stands for what could not be told.
    """

    url: str
    kind: str
    metadata: Mapping[str, Any]
    action_space: str | None
    action_spaces: tuple[str, ...]
    action_shape: tuple[int, ...]
    action_dtype: str
    action_min: tuple[float, ...]
    action_max: tuple[float, ...]
    gripper_min: float | None
    gripper_max: float | None
    chunk_lengths: tuple[int, int] | None
    control_hz: float
    cameras: tuple[str, ...]
    deterministic: bool | None
    repeat_difference: float | None
    trials_at_once: bool | None
    connect_seconds: float
    first_call_seconds: float
    latency_p50_seconds: float | None
    latency_p95_seconds: float | None
    calls: int
    mistakes: tuple[Mistake, ...]
    scenes: tuple[Tried, ...]
    submit_as: str | None
    problems: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        """Plain maps, lists, numbers (none of them NaN) and text."""
        return {"ok": self.ok, **asdict(self)}


def bounds(values: NDArray[Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Smallest and largest finite number of each column of `(M, D)`; 0 for a column without any."""
    numbers = values.astype(np.float64)
    masked = np.ma.masked_invalid(numbers)
    low, high = masked.min(axis=0).filled(0.0), masked.max(axis=0).filled(0.0)
    return tuple(low.tolist()), tuple(high.tolist())


def problems_of(answers: Sequence[NDArray[Any]], action_space: ActionSpace | None) -> list[str]:
    """What keeps answers, `(N, D)` each, from being carried out."""
    shape = answers[0].shape
    found = []
    if len(shape) != 2 or not 0 < shape[0] <= MAX_CHUNK:
        found.append(f"actions must have shape (N, D) with N from 1 to {MAX_CHUNK}, not {shape}")
    elif not any(space.width == shape[1] for space in ActionSpace):
        found.append(f"no action space has {shape[1]} numbers: joint spaces have 8, Cartesian ones 7, gripper included")
    elif action_space is not None and action_space.width != shape[1]:
        found.append(f"{action_space} needs {action_space.width} numbers per action, not {shape[1]}")
    if any(answer.shape != shape for answer in answers):
        found.append(f"the shape changes from call to call: {sorted({answer.shape for answer in answers})}")
    if not all(np.isfinite(answer).all() for answer in answers):
        found.append("actions hold NaN or infinite numbers")
    return found


def plain(value: Any) -> Any:
    """A decoded message as JSON can hold it."""
    if isinstance(value, Mapping):
        return {one_line(_text(key), 80): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return {"shape": list(value.shape), "dtype": str(value.dtype)}
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return value if value is None or isinstance(value, (bool, int)) else one_line(_text(value), MAX_METADATA_TEXT)


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def told(found: Mapping[str, Any]) -> dict[str, str]:
    """What a report (`ProbeReport.to_json`) has measured, and how the dry run went in each scene, for people."""
    facts = {name: _brief(found[name]) for name in FACTS if found[name] is not None}
    for scene in found["scenes"]:
        went = {name: value for name, value in scene.items() if name != "scene" and value is not None}
        facts[f"in {scene['scene']}"] = _brief(went)
    return facts


def _brief(value: Any) -> str:
    """Numbers with three digits, however nested."""
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_brief(each)}" for name, each in value.items()) or "nothing"
    return " ".join(map(_brief, value)) if isinstance(value, (list, tuple)) else str(value)
