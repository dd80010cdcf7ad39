"""Loops that numba compiles.

Numba keeps what it compiled beside a function's file or in the user's cache, and looks at that file alone to know
whether it is still right: so constants that are compiled in belong in the file of the loops that use them, and what is
changed here counts only once the kept files (`__pycache__/*.nb*`) are removed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit

ROUNDS_AWAY = {"contract", "reassoc", "nsz", "arcp"}
"""What LLVM may do to floats: fused and reordered sums, but NaN and infinity stay what they are."""


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiled when first called, without Python's lock, and kept for other processes where a folder can be written."""
    options: dict[str, Any] = {"fastmath": ROUNDS_AWAY, "nogil": True, "error_model": "numpy"}
    try:
        made: Callable[..., Any] = njit(cache=True, **options)(function)
    except RuntimeError:  # numba has nowhere to write: a read-only installation of a user without a home
        made = njit(**options)(function)
    return made
