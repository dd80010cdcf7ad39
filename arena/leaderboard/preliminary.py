"""When a ranking rests on too little to be quoted."""

from __future__ import annotations

from arena.contracts import Ranking

PRELIMINARY_COMPARISONS = 30
"""Comparisons that every policy needs: with fewer, the intervals themselves are rough, since errors are estimated."""


def preliminary(ranking: Ranking) -> str | None:
    """Why a ranking is preliminary, in one line; None where it is not."""
    few = [place for place in ranking.policies if place.comparisons < PRELIMINARY_COMPARISONS]
    if not few:
        return None
    least = min(few, key=lambda place: place.comparisons)
    others = "" if len(few) == 1 else f", and {len(few) - 1} more have fewer than {PRELIMINARY_COMPARISONS}"
    asked = f"; {PRELIMINARY_COMPARISONS} are asked for" if len(few) == 1 else ""
    return f"Preliminary: {least.policy} was compared {least.comparisons} times{others}{asked}."
