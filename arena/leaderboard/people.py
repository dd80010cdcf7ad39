"""The board by people's votes, each counting for what is known of who cast it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from arena.contracts import Ranking
from arena.ranking import Ballots, Board, make_board, ranking_of
from arena.votes.tally import Weighed

PEOPLE = "people"


@dataclass(frozen=True)
class PeopleBoard:
    """A ranking by people. `ballots` are all votes as cast; `board` counts them for what they weigh."""

    ranking: Ranking
    board: Board
    ballots: Ballots
    voters: int
    lighter: int
    """Votes that count for less than 1, of which `silent` count for nothing."""
    silent: int

    @property
    def weighing(self) -> str:
        """What the weights did, in one line: nobody's votes vanish unsaid."""
        if not self.lighter:
            return f"{len(self.ballots)} votes by {self.voters} voters, all at full weight"
        nothing = f", {self.silent} of them for nothing" if self.silent else ""
        return (
            f"{len(self.ballots)} votes by {self.voters} voters; {self.lighter} count for less than one vote{nothing}"
        )


def build_people_board(weighed: Weighed, rollouts: Collection[str]) -> PeopleBoard | None:
    """Rank by the votes on two of `rollouts` (ids), which is how a board of one evaluation or one task is cut.

    What a voter's votes weigh comes from all of them (`arena.votes.reliability`). None where nobody voted on these.
    """
    wanted = set(rollouts)
    rows = [i for i, (left, right) in enumerate(weighed.rollouts) if left in wanted and right in wanted]
    if not rows:
        return None
    cast = Ballots.of([weighed.votes[i] for i in rows])
    weights = np.array([weighed.weights[i] for i in rows])
    board = make_board(cast.weighed(np.clip(weights, 0, 1)))
    voters = len({weighed.votes[i].voter for i in rows})
    lighter, silent = int((weights < 1).sum()), int((weights == 0).sum())
    return PeopleBoard(ranking_of(board, PEOPLE), board, cast, voters, lighter, silent)
