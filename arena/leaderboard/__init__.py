"""What a leaderboard shows: policies ranked by a judge and by people, side by side, with what limits either.

The command line, the pages and the report all build their boards here, so that they cannot disagree.
"""

from arena.leaderboard.judged import Leaderboard, PolicySummary, Rate, build_leaderboard, headline
from arena.leaderboard.matrix import WinMatrix, win_matrix
from arena.leaderboard.people import PeopleBoard, build_people_board
from arena.leaderboard.preliminary import PRELIMINARY_CLUSTERS, PRELIMINARY_COMPARISONS, preliminary
from arena.leaderboard.slicing import AXES, options, sliced

__all__ = [
    "AXES",
    "PRELIMINARY_CLUSTERS",
    "PRELIMINARY_COMPARISONS",
    "Leaderboard",
    "PeopleBoard",
    "PolicySummary",
    "Rate",
    "WinMatrix",
    "build_leaderboard",
    "build_people_board",
    "headline",
    "options",
    "preliminary",
    "sliced",
    "win_matrix",
]
