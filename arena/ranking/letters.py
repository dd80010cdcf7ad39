"""A compact letter display: policies that share a letter are not told apart, policies that share none are.

After Piepho (2004, doi:10.1198/1061860043515); here letters are found greedily, which takes time in proportion to
the pairs where his insert-and-absorb can take exponential time.
"""

from __future__ import annotations

import itertools
import string
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray


def letters(apart: NDArray[np.bool_], order: Sequence[int]) -> list[tuple[str, ...]]:
    """The letters of each of `K` policies. `apart` is `(K, K)`: told apart, in either direction; `order` is best
    first.

    Each letter stands for policies none of which is told from another, and every such pair shares one.
    """
    together = ~(apart | apart.T)
    np.fill_diagonal(together, True)
    covered = np.zeros_like(together)
    found: list[tuple[str, ...]] = [()] * len(order)
    names = _names()
    for place, first in enumerate(order):
        # From the far end: the widest group first, and most of the nearer ones are then covered.
        for second in [*reversed(order[place + 1 :]), first]:
            if not together[first, second] or covered[first, second]:
                continue
            members = _grown([first, second], together, order)
            covered[np.ix_(members, members)] = True
            name = next(names)
            for member in members:
                found[member] = (*found[member], name)
    return found


def _grown(members: list[int], together: NDArray[np.bool_], order: Sequence[int]) -> list[int]:
    """All that can join without being told from a member, best first."""
    possible = np.asarray(together[members].all(0))
    grown = list(dict.fromkeys(members))
    for candidate in order:
        if possible[candidate] and candidate not in grown:
            grown.append(candidate)
            possible &= together[candidate]
    return grown


def _names() -> Iterator[str]:
    """a to z, A to Z, then a1 to Z1 and so on."""
    for number in itertools.count():
        for letter in string.ascii_letters:
            yield f"{letter}{number or ''}"
