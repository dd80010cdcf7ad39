"""The store: what is known, on SQLite or PostgreSQL. Results live here, never in file names."""

from __future__ import annotations

from contextlib import AbstractContextManager

from arena.store.accounts import Accounts, TokenRefused
from arena.store.catalog import Catalog
from arena.store.database import AWAY, open_database, schema_state
from arena.store.jobs import GIVEN_UP, LEASE_SECONDS, MAX_ATTEMPTS, Jobs
from arena.store.records import (
    OUTSIDE,
    AuditRecord,
    CastVote,
    EpisodeRecord,
    EvaluationGlance,
    EvaluationRecord,
    EvaluationStatus,
    JobRecord,
    JobStatus,
    Lease,
    NotFound,
    OfferRecord,
    PolicyRecord,
    RolloutRecord,
    Scope,
    TokenRecord,
    VoterRecord,
)
from arena.store.results import Results
from arena.store.totals import Totals, totals
from arena.store.voting import Voting

__all__ = [
    "AWAY",
    "GIVEN_UP",
    "LEASE_SECONDS",
    "MAX_ATTEMPTS",
    "OUTSIDE",
    "Accounts",
    "AuditRecord",
    "CastVote",
    "Catalog",
    "EpisodeRecord",
    "EvaluationGlance",
    "EvaluationRecord",
    "EvaluationStatus",
    "JobRecord",
    "JobStatus",
    "Jobs",
    "Lease",
    "NotFound",
    "OfferRecord",
    "PolicyRecord",
    "Results",
    "RolloutRecord",
    "Scope",
    "Store",
    "TokenRecord",
    "TokenRefused",
    "Totals",
    "VoterRecord",
    "Voting",
    "schema_state",
]


class Store:
    """A database at a URL, migrated to the newest schema when it is opened. Safe to share between threads."""

    def __init__(self, url: str) -> None:
        self._database = open_database(url)
        self.url = url
        self.catalog = Catalog(self._database)
        self.results = Results(self._database)
        self.jobs = Jobs(self._database)
        self.voting = Voting(self._database)
        self.accounts = Accounts(self._database)

    def totals(self) -> Totals:
        """Counts and ages of everything, for dashboards."""
        return totals(self._database)

    def together(self) -> AbstractContextManager[None]:
        """What this thread reads and writes within the block is one transaction: all of it is there afterwards, or,
        where the block raises, none. For what takes no time: on SQLite nobody else writes meanwhile."""
        return self._database.together()

    def close(self) -> None:
        self._database.close()
