"""What a vote has to be to count, and how often which kind of pair is shown."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import StrEnum

from arena.contracts import DreamarenaError, InvalidInput


class Kind(StrEnum):
    """Why a pair was shown. Only `comparison` counts for the ranking; the others are for knowing the voter."""

    COMPARISON = "comparison"
    GOLD = "gold"
    """Its answer is known."""
    REPEAT = "repeat"
    """The voter judged it before, with the sides swapped."""


class Refusal(StrEnum):
    """Why a vote does not count. Each goes to the audit trail under this name."""

    FORGED = "token_forged"
    EXPIRED = "token_expired"
    ANOTHERS = "token_of_another"
    SPENT = "token_spent"
    OWN_POLICY = "own_policy"
    TOO_FAST = "too_fast"
    TOO_MANY = "too_many"
    FORGOTTEN = "voter_forgotten"
    BAD_BALLOT = "bad_ballot"


STATUS = {
    Refusal.SPENT: 409,
    Refusal.TOO_FAST: 425,
    Refusal.TOO_MANY: 429,
    Refusal.BAD_BALLOT: 400,
}
"""HTTP; 403 for all others."""


class VoteRefused(DreamarenaError):
    """A vote that was not counted, and why. `status` is HTTP's."""

    def __init__(self, why: Refusal, message: str) -> None:
        super().__init__(message)
        self.why = why
        self.status = STATUS.get(why, 403)


@dataclass(frozen=True)
class Rules:
    """Times in seconds, shares in [0, 1]. Raises `InvalidInput` for values that make no sense.

    The numbers that matter for honesty are in docs/voting.md, with what they do to an attack.
    """

    expires: float = 1800.0
    """How long a pair that was shown may be voted on; after that it is shown again under a new token."""
    least_watch: float = 1.5
    """Between a pair's turn and the vote on it, or the films' length where that is shorter."""
    gold: float = 0.06
    repeat: float = 0.04
    uniform: float = 0.2
    """Of the comparisons, drawn uniformly over all pairs of policies."""
    repeat_after: int = 8
    """Votes between a pair and its repetition."""
    enough: int = 10
    """Votes of a policy below which its pairs come first."""
    per_hour: int = 300
    per_day: int = 1000

    def __post_init__(self) -> None:
        shares = [getattr(self, name) for name in ("gold", "repeat", "uniform")]
        if not all(0 <= share <= 1 for share in shares) or self.gold + self.repeat > 0.5:
            raise InvalidInput("the shares of pairs must be in [0, 1], and at most half of them checks of the voter")
        for field in fields(self):
            if getattr(self, field.name) < 0:
                raise InvalidInput(f"{field.name} must not be negative")
