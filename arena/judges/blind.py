"""Blind controls: trials shown so that nobody can know their outcome. A judge that does has found a shortcut.

`first_frame`: nothing ever moves. `instruction_only`: all is grey. `shuffled_instruction`: the film under the
instruction of another task, so that what is said cannot be about this one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arena.judges.contrary import is_contrary

GREY = 128
CONTROLS = ("first_frame", "instruction_only", "shuffled_instruction")


@dataclass(frozen=True)
class Shown:
    """What a judge gets to see of a trial: frames by camera, time first and of any layout after it, and words."""

    frames: Mapping[str, NDArray[Any]]
    instruction: str


def blinded(control: str, shown: Sequence[Shown], seed: int) -> list[Shown | None]:
    """Each trial under one of `CONTROLS`; None where there is no other instruction to show it under."""
    if control == "shuffled_instruction":
        others = other_instructions([each.instruction for each in shown], seed)
        return [
            None if other is None else replace(each, instruction=other)
            for each, other in zip(shown, others, strict=True)
        ]
    change = {"first_frame": still, "instruction_only": grey}[control]
    return [replace(each, frames={name: change(film) for name, film in each.frames.items()}) for each in shown]


def still(frames: NDArray[Any]) -> NDArray[Any]:
    """`(T, ...)`: the first frame, as often as there are frames."""
    return np.repeat(frames[:1], len(frames), axis=0)


def grey(frames: NDArray[Any]) -> NDArray[Any]:
    """`(T, ...)` of the same shape, without content."""
    return np.full_like(frames, GREY)


def other_instructions(instructions: Sequence[str], seed: int) -> list[str | None]:
    """For each, one of a task with which none of the words that matter are shared; any other, where there is no such.

    None where all instructions are the same.
    """
    random = np.random.default_rng(seed)
    all_of_them = sorted(set(instructions))
    found: list[str | None] = []
    for own in instructions:
        others = [other for other in all_of_them if is_contrary(own, other, succeeded=False)]
        others = others or [other for other in all_of_them if other != own]
        found.append(others[int(random.integers(len(others)))] if others else None)
    return found
