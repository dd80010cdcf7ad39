"""Taking turns: whoever is cut off at the end, no group has two more than another."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import TypeVar

T = TypeVar("T")
_NONE = object()


def in_turns(groups: Iterable[Sequence[T]]) -> list[T]:
    """The first of each group, then the second of each, and so on."""
    return [each for turn in zip_longest(*groups, fillvalue=_NONE) for each in turn if each is not _NONE]  # type: ignore[misc]
