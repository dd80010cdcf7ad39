"""When a ranking rests on too little to be quoted."""

from __future__ import annotations

from arena.ranking import Board

PRELIMINARY_COMPARISONS = 30
"""Comparisons that every policy needs."""
PRELIMINARY_CLUSTERS = 20
"""Voters, or scenes where few people voted, that a ranking needs: comparisons of one of them are not independent, and
with fewer the intervals themselves are rough, since their width is estimated. Who counts for less than one voter counts
for less here too.
"""


def preliminary(board: Board) -> str | None:
    """Why a ranking is preliminary, in one line; None where it is not."""
    voices = board.fit.data.voices
    if board.clustered_by != "vote" and voices < PRELIMINARY_CLUSTERS:
        what = f"{board.clustered_by}{'s' if board.clusters > 1 else ''}"
        light = "" if round(voices) == board.clusters else f" that count for {voices:.1f}"
        return f"Preliminary: it rests on {board.clusters} {what}{light}, and {PRELIMINARY_CLUSTERS} are asked for."
    few = [place for place in board.policies if place.votes < PRELIMINARY_COMPARISONS]
    if not few:
        return None
    least = min(few, key=lambda place: place.votes)
    others = f", and {len(few) - 1} more too seldom" if len(few) > 1 else ""
    return (
        f"Preliminary: {least.name} was compared {least.votes} times{others}; {PRELIMINARY_COMPARISONS} are asked for."
    )
