"""Which other instructions a trial certainly does not fulfil: what teaches the judge to listen.

Three rules, on words alone, that hold for instructions of the form "do this to that":

1. No word that carries meaning is shared: the scene does not even have what the other instruction speaks of.
2. The trial succeeded, and one word differs that means the opposite: the other thing was undone.
3. The trial succeeded, the verb is the same and one other word differs: it was done to something else.

Anything else is doubtful (a puck brought to the goal may also have been pushed there) and is not used.
"""

from __future__ import annotations

import re

_LITTLE = frozenset(
    ("a", "an", "and", "at", "away", "by", "down", "for", "from", "in", "into", "it", "of", "off", "on", "onto")
) | {"out", "over", "the", "to", "under", "up", "with"}
_OPPOSITES = frozenset(
    frozenset(pair)
    for pair in (
        ("open", "close"), ("on", "off"), ("up", "down"), ("in", "out"), ("left", "right"), ("lock", "unlock"),
        ("push", "pull"), ("raise", "lower"), ("lift", "lower"), ("put", "take"), ("insert", "remove"),
        ("attach", "detach"), ("plug", "unplug"), ("fold", "unfold"),
    )
)  # fmt: skip


def is_contrary(done: str, other: str, succeeded: bool) -> bool:
    """Whether a trial of `done` is certain not to fulfil `other`; `succeeded` is known, not supposed."""
    mine, theirs = _words(done), _words(other)
    if not set(mine) - _LITTLE or not set(theirs) - _LITTLE:
        return False
    if not set(mine) & set(theirs) - _LITTLE:
        return True
    only_mine, only_theirs = set(mine) - set(theirs), set(theirs) - set(mine)
    if not succeeded or len(only_mine) != 1 or len(only_theirs) != 1:
        return False
    return only_mine | only_theirs in _OPPOSITES or mine[0] == theirs[0]


def _words(instruction: str) -> list[str]:
    return re.findall(r"\w+", instruction.lower())
