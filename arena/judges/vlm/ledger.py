"""What a judge's questions cost: calls, tokens and money, and the budget that stops it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from arena.contracts import InvalidInput
from arena.judges.vlm.endpoint import Reply
from arena.judges.vlm.failures import BudgetSpent, Failure

MILLION = 1_000_000


@dataclass(frozen=True)
class Budget:
    """At most so many calls, tokens (both ways together) and US dollars in one run; None is no limit.

    The prices are in US dollars for a million tokens. Raises `InvalidInput` for negative ones, and for a limit in
    dollars without prices.
    """

    calls: int | None = None
    tokens: int | None = None
    usd: float | None = None
    usd_per_million_in: float | None = None
    usd_per_million_out: float | None = None

    def __post_init__(self) -> None:
        given = [value for value in vars(self).values() if value is not None]
        if any(not 0 <= value < float("inf") for value in given):
            raise InvalidInput("budget: limits and prices must be finite and not negative")
        if self.usd is not None and (self.usd_per_million_in is None or self.usd_per_million_out is None):
            raise InvalidInput("budget: a limit in usd needs usd_per_million_in and usd_per_million_out")

    @property
    def counts_tokens(self) -> bool:
        return self.tokens is not None or self.usd is not None


@dataclass
class Ledger:
    """Counts what is spent. A question whose reply is kept from before costs nothing and is counted apart."""

    budget: Budget = field(default_factory=Budget)
    calls: int = 0
    replayed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    untold: int = 0
    """Replies without a count of tokens."""
    failures: Counter[Failure] = field(default_factory=Counter)

    @property
    def usd(self) -> float | None:
        """None where no prices are known."""
        budget = self.budget
        if budget.usd_per_million_in is None or budget.usd_per_million_out is None:
            return None
        spent = self.prompt_tokens * budget.usd_per_million_in + self.completion_tokens * budget.usd_per_million_out
        return spent / MILLION

    def check(self) -> None:
        """Raises `BudgetSpent` where the next call would begin beyond the budget: it is overdrawn by one call at most.

        It also does where the budget counts tokens and the server does not tell them: it could not be kept.
        """
        budget = self.budget
        if budget.counts_tokens and self.untold:
            raise BudgetSpent("the endpoint counts no tokens, so no budget of tokens or usd can be kept: use calls")
        for name, limit, spent in (
            ("calls", budget.calls, self.calls),
            ("tokens", budget.tokens, self.prompt_tokens + self.completion_tokens),
            ("usd", budget.usd, self.usd),
        ):
            if limit is not None and spent is not None and spent >= limit:
                raise BudgetSpent(f"the budget of {limit:g} {name} is spent ({self}): raise it and run again to go on")

    def called(self, reply: Reply | None) -> None:
        """Note a call, and the tokens of its reply where one came."""
        self.calls += 1
        if reply is None:
            return
        self.untold += reply.prompt_tokens is None or reply.completion_tokens is None
        self.prompt_tokens += reply.prompt_tokens or 0
        self.completion_tokens += reply.completion_tokens or 0

    def as_json(self) -> dict[str, Any]:
        return {
            "calls": self.calls,
            "replayed": self.replayed,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "usd": self.usd,
            "replies_without_token_counts": self.untold,
            "failures": {kind.value: count for kind, count in sorted(self.failures.items())},
        }

    def __str__(self) -> str:
        cost = "" if self.usd is None else f", {self.usd:.4f} usd"
        tokens = f"{self.prompt_tokens} tokens in, {self.completion_tokens} out"
        return f"{self.calls} calls, {self.replayed} answered from the cache, {tokens}{cost}"
