"""What the API works with: settings, the store, the artifacts, the desk where votes are cast, and what is kept warm."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Generic, TypeVar

from arena.store import Store, VoterRecord
from arena.store.records import EvaluationGlance
from arena.votes.desk import Desk
from arena.votes.drawing import Drawing
from arena.votes.secret import secret_of
from arena.votes.stored import StoredContest
from arena.votes.tally import Tally
from arena.votes.tokens import Signer
from workers.api.limits import Limits, Rate
from workers.artifacts import Artifacts
from workers.settings import Settings

T = TypeVar("T")

FRESH_SECONDS = 1.0
"""How old what is shown to everybody may be: a leaderboard that is read a thousand times is made once."""
MAX_KEPT = 256
PROBES_AT_ONCE = 4


class Warm(Generic[T]):
    """Values that are made again once they are older than `FRESH_SECONDS`, the last `MAX_KEPT` of them.

    Safe to share between threads, of which one makes a value while the others wait for it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}
        self._kept: dict[str, tuple[float, T]] = {}

    def get(self, key: str, make: Callable[[], T]) -> T:
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            found = self._kept.get(key)
            if found is None or time.monotonic() - found[0] > FRESH_SECONDS:
                found = (time.monotonic(), make())
                self._keep(key, found)
            return found[1]

    def _keep(self, key: str, found: tuple[float, T]) -> None:
        with self._lock:
            self._kept.pop(key, None)
            self._kept[key] = found
            while len(self._kept) > MAX_KEPT:
                oldest = next(iter(self._kept))
                del self._kept[oldest], self._locks[oldest]
            self._locks.setdefault(key, threading.Lock())


@dataclass
class Server:
    """One for each process. `settings.private_policies` unset means no here: policies come from strangers."""

    settings: Settings
    limits: Limits = field(default_factory=Limits)

    @cached_property
    def store(self) -> Store:
        return Store(self.settings.store_url)

    @cached_property
    def artifacts(self) -> Artifacts:
        return Artifacts(self.settings.artifacts_location, self.settings.cache)

    @cached_property
    def signer(self) -> Signer:
        given = self.settings.secret
        return Signer(secret_of(self.settings.home.absolute(), None if given is None else given.get_secret_value()))

    @cached_property
    def contest(self) -> StoredContest:
        return StoredContest(self.store)

    @cached_property
    def tally(self) -> Tally:
        return Tally(self.store, self.contest)

    @cached_property
    def desk(self) -> Desk:
        return Desk(self.store, self.signer, self.contest, Drawing(self.tally.standing, self.contest.golds))

    @cached_property
    def boards(self) -> Warm[tuple[bytes, str]]:
        """Leaderboards as they are sent, each with its ETag."""
        return Warm()

    @cached_property
    def _glances(self) -> Warm[list[EvaluationGlance]]:
        return Warm()

    @cached_property
    def probing(self) -> threading.BoundedSemaphore:
        return threading.BoundedSemaphore(PROBES_AT_ONCE)

    @property
    def allow_private(self) -> bool:
        """Whether policies may be servers on this machine and on private networks."""
        return self.settings.private_policies is True

    @property
    def reads(self) -> Rate:
        return Rate(self.settings.api_reads_per_second, 2 * self.settings.api_reads_per_second)

    @property
    def changes(self) -> Rate:
        return Rate(self.settings.api_changes_per_second, 4 * self.settings.api_changes_per_second)

    def open(self) -> None:
        """Open what requests share before they come at once."""
        _ = (self.store, self.artifacts, self.desk, self.boards, self._glances, self.probing)

    def evaluations(self, hidden: frozenset[str]) -> list[EvaluationGlance]:
        """What evaluations there are in which no policy is `hidden`, newest first."""
        return [each for each in self._glances.get("", self.store.results.glances) if not each.policies & hidden]

    def voter(self, owner: str) -> VoterRecord:
        """An owner of tokens as a voter."""
        return self.desk.enrol("token", owner)
