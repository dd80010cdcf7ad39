"""What can go wrong with a question to an endpoint, each by name, and how often each is tried again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from arena.contracts import DreamarenaError, InvalidInput


class Failure(StrEnum):
    """Why there is no answer."""

    INVALID = "invalid answer"
    """It is not what the schema asks for: no JSON, NaN, a key twice, a number out of range."""
    REFUSED = "refusal"
    """The model declined, or a content filter stopped it."""
    TRUNCATED = "truncated answer"
    """It ran out of tokens (`finish_reason` is `length`)."""
    RATE_LIMIT = "rate limit"
    """Status 429."""
    SERVER = "server error"
    """Status 5xx, a redirect, a broken connection, or a reply that is no chat completion."""
    TIMEOUT = "timeout"
    """It stalled, or dripped, beyond the deadline."""
    REJECTED = "rejected request"
    """Another status 4xx: this very request is not taken, and asking again would not change that."""

    @property
    def is_the_endpoints(self) -> bool:
        """Whether another rollout would fare no better: the endpoint is down, or has enough of us."""
        return self in (Failure.RATE_LIMIT, Failure.SERVER, Failure.TIMEOUT)


@dataclass(frozen=True)
class Retry:
    """`attempts` in all; before the next one a pause in s, doubled each time up to `longest`."""

    attempts: int
    pause: float = 0.0
    longest: float = 60.0

    def seconds(self, failed: int, asked: float | None) -> float:
        """The pause after `failed` attempts; at least what the server `asked` for, but never beyond `longest`."""
        return min(max(self.pause * 2.0 ** (failed - 1), asked or 0.0), self.longest)


POLICIES: Mapping[Failure, Retry] = MappingProxyType(
    {
        Failure.INVALID: Retry(3),
        Failure.REFUSED: Retry(2),
        Failure.TRUNCATED: Retry(2),  # the second time with twice the tokens
        Failure.RATE_LIMIT: Retry(6, pause=2.0),
        Failure.SERVER: Retry(4, pause=1.0),
        Failure.TIMEOUT: Retry(2, pause=1.0),
        Failure.REJECTED: Retry(1),
    }
)
"""Counted for each kind by itself, so that one question makes at most 14 calls whatever happens in whatever order."""


class AskFailed(Exception):
    """One attempt gave no answer. `retry_after` is what the server asked for, in s."""

    def __init__(self, kind: Failure, detail: str, retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.kind, self.detail, self.retry_after = kind, detail, retry_after


@dataclass(frozen=True)
class Missing:
    """A question that stayed without an answer: after how many attempts, and why the last one failed."""

    kind: Failure
    detail: str
    attempts: int

    def __str__(self) -> str:
        times = "once" if self.attempts == 1 else f"{self.attempts} times"
        return f"{self.kind} ({times}): {self.detail}"


class EndpointRefused(InvalidInput):
    """No rollout could be judged there: a key or a model that is not known, no such path, or nothing to ask it with."""


class EndpointDown(DreamarenaError):
    """The endpoint failed rollout after rollout. What was judged is kept; run again when it answers."""


class BudgetSpent(DreamarenaError):
    """The budget of calls, tokens or money is spent. What was judged is kept; raise it and run again to go on."""
