"""The store: what is known, on SQLite or PostgreSQL. Results live here, never in file names."""

from __future__ import annotations

from arena.store.catalog import Catalog
from arena.store.database import open_database
from arena.store.jobs import LEASE_SECONDS, MAX_ATTEMPTS, Jobs
from arena.store.records import (
    EpisodeRecord,
    EvaluationRecord,
    EvaluationStatus,
    JobRecord,
    JobStatus,
    Lease,
    NotFound,
    PolicyRecord,
    RolloutRecord,
)
from arena.store.results import Results

__all__ = [
    "LEASE_SECONDS",
    "MAX_ATTEMPTS",
    "Catalog",
    "EpisodeRecord",
    "EvaluationRecord",
    "EvaluationStatus",
    "JobRecord",
    "JobStatus",
    "Jobs",
    "Lease",
    "NotFound",
    "PolicyRecord",
    "Results",
    "RolloutRecord",
    "Store",
]


class Store:
    """A database at a URL, migrated to the newest schema when it is opened. Safe to share between threads."""

    def __init__(self, url: str) -> None:
        self._database = open_database(url)
        self.url = url
        self.catalog = Catalog(self._database)
        self.results = Results(self._database)
        self.jobs = Jobs(self._database)

    def close(self) -> None:
        self._database.close()
