"""Rankings of policies from pairwise votes.

`rank` takes `Vote`s and gives a `Ranking`. `read_votes` and `make_board` take a CSV file to all that it says;
`swaps` says how few votes would change it, `agreement` how far two boards agree, `success_rates` what trials say,
and `LiveRanking` takes one vote after another.
"""

from __future__ import annotations

from arena.ranking.ballots import Ballots, Column
from arena.ranking.beside import Agreement, agreement
from arena.ranking.board import Board, Measured, Standing, make_board, rank, ranking_of
from arena.ranking.bootstrap import bootstrap
from arena.ranking.influence import Swap, swaps
from arena.ranking.live import LiveRanking
from arena.ranking.reading import VoteFile, read_votes
from arena.ranking.success import SuccessRate, success_rates

__all__ = [
    "Agreement",
    "Ballots",
    "Board",
    "Column",
    "LiveRanking",
    "Measured",
    "Standing",
    "SuccessRate",
    "Swap",
    "VoteFile",
    "agreement",
    "bootstrap",
    "make_board",
    "rank",
    "ranking_of",
    "read_votes",
    "success_rates",
    "swaps",
]
