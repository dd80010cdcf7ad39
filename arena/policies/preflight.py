"""A look at a policy server before it is submitted: a handshake, a few dummy calls, and what was found."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arena.contracts import ActionSpace, InvalidInput, Observation
from arena.policies.address import parse_endpoint
from arena.policies.droid import IMAGE_SIZE, MAX_CHUNK, WRIST_CAMERA, droid_request, raw_actions
from arena.policies.errors import InvalidAction
from arena.policies.server import DEFAULT_DEADLINES, Access, Deadlines, PolicyServer
from arena.policies.transport import one_line

HOME_JOINTS = (0.0, -math.pi / 5, 0.0, -4 * math.pi / 5, 0.0, 3 * math.pi / 5, 0.0)
"""Joint positions in rad that DROID's robots reset to (`droid/robot_env.py`)."""
MAX_METADATA_TEXT = 500

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class ProbeReport:
    """What a probe found. `ok` is false where `problems` keep the policy from being evaluated.

    `action_shape` is (N, D), `action_min` and `action_max` are per number, over all calls, in the server's
    own units. `action_spaces` are those whose width fits D, `action_space` the one that was asked about.
    Times are in seconds; `first_call_seconds` includes any compilation.
    """

    url: str
    metadata: Mapping[str, Any]
    action_space: str | None
    action_spaces: tuple[str, ...]
    action_shape: tuple[int, ...]
    action_dtype: str
    action_min: tuple[float, ...]
    action_max: tuple[float, ...]
    gripper_min: float | None
    gripper_max: float | None
    connect_seconds: float
    first_call_seconds: float
    median_call_seconds: float | None
    calls: int
    problems: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        """Plain maps, lists, numbers (none of them NaN) and text."""
        return {"ok": self.ok, **asdict(self)}


def probe(
    url: str,
    action_space: ActionSpace | None = None,
    calls: int = 4,
    deadlines: Deadlines = DEFAULT_DEADLINES,
    allow_private: bool = True,
    api_key: str | None = None,
    image_size: tuple[int, int] = IMAGE_SIZE,
    progress: Progress | None = None,
) -> ProbeReport:
    """Shake hands with an openpi server and call it `calls` times with a grey DROID observation.

    Actions of an unexpected shape, dtype or with NaN are reported as problems. Raises a `PolicyError` where
    there are none to report on: an unreachable, stalling or failing server, or answers without `actions`;
    `InvalidInput` for a malformed `url`.
    """
    server = PolicyServer(url, parse_endpoint(url.partition("?")[0]), Access(deadlines, allow_private, api_key))
    request = droid_request(_grey_observation(image_size), "exterior_1", image_size)
    answers, seconds = [], []
    try:
        started = time.perf_counter()
        metadata = server.metadata()
        connect_seconds = time.perf_counter() - started
        for call in range(max(1, calls)):
            if progress is not None:
                progress(call, calls, "first call" if call == 0 else "calls")
            started = time.perf_counter()
            answers.append(_actions(url, server.ask(request, f"step {call}"), call))
            seconds.append(time.perf_counter() - started)
    finally:
        server.close()
    return _report(url, metadata, action_space, answers, connect_seconds, seconds)


def _actions(url: str, answer: Any, call: int) -> NDArray[Any]:
    try:
        return raw_actions(answer)
    except InvalidInput as error:
        raise InvalidAction(f"policy {url!r} failed at step {call}: {error}") from error


def _grey_observation(size: tuple[int, int]) -> Observation:
    image = np.full((*size, 3), 128, dtype=np.uint8)
    return Observation(
        cameras={"exterior_1": image, WRIST_CAMERA: image},
        cartesian_position=np.zeros(6),
        gripper_position=np.zeros(1),
        instruction="do nothing",
        joint_position=np.array(HOME_JOINTS),
    )


def _report(
    url: str,
    metadata: Mapping[str, Any],
    action_space: ActionSpace | None,
    answers: list[NDArray[Any]],
    connect_seconds: float,
    seconds: list[float],
) -> ProbeReport:
    shape = answers[0].shape
    width = shape[1] if len(shape) == 2 else 0
    usable = [answer for answer in answers if answer.shape == shape and len(shape) == 2 and answer.size]
    low, high = _bounds(np.concatenate(usable)) if usable else ((), ())
    return ProbeReport(
        url=url,
        metadata=_plain(metadata),
        action_space=None if action_space is None else str(action_space),
        action_spaces=tuple(str(space) for space in ActionSpace if space.width == width),
        action_shape=shape,
        action_dtype=str(answers[0].dtype),
        action_min=low,
        action_max=high,
        gripper_min=low[-1] if low else None,
        gripper_max=high[-1] if high else None,
        connect_seconds=connect_seconds,
        first_call_seconds=seconds[0],
        median_call_seconds=statistics.median(seconds[1:]) if len(seconds) > 1 else None,
        calls=len(seconds),
        problems=tuple(_problems(answers, action_space)),
        notes=tuple(_notes(metadata, action_space, low, high)),
    )


def _bounds(values: NDArray[Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Smallest and largest finite number of each column; 0 for a column without any."""
    numbers = values.astype(np.float64)
    masked = np.ma.masked_invalid(numbers)
    low, high = masked.min(axis=0).filled(0.0), masked.max(axis=0).filled(0.0)
    return tuple(low.tolist()), tuple(high.tolist())


def _problems(answers: list[NDArray[Any]], action_space: ActionSpace | None) -> list[str]:
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


def _notes(
    metadata: Mapping[str, Any], action_space: ActionSpace | None, low: tuple[float, ...], high: tuple[float, ...]
) -> list[str]:
    found = []
    declared = metadata.get("action_space")
    if action_space is None:
        found.append("declare the action space when you submit: it is not guessed")
    elif isinstance(declared, str) and declared != str(action_space):
        found.append(f"the server's metadata says action_space={one_line(declared, 40)!r}")
    if "needs_session_id" in metadata:
        found.append("the metadata is that of a RoboArena server, whose requests have other keys than openpi's")
    if low and (low[-1] < -0.1 or high[-1] > 1.1):
        found.append(
            f"the gripper ranges from {low[-1]:.3g} to {high[-1]:.3g}; it is clipped to [0 (open), 1 (closed)]"
        )
    if action_space is ActionSpace.JOINT_VELOCITY and low and max(map(abs, (*low[:-1], *high[:-1]))) > 1.0:
        found.append(
            "joint velocities exceed 1: they are clipped as normalised ones unless velocity_scale=si is declared"
        )
    return found


def _plain(value: Any) -> Any:
    """A decoded message as JSON can hold it."""
    if isinstance(value, Mapping):
        return {one_line(_text(key), 80): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return {"shape": list(value.shape), "dtype": str(value.dtype)}
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return value if value is None or isinstance(value, (bool, int)) else one_line(_text(value), MAX_METADATA_TEXT)


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
