"""The one desk that all visitors of this server come to."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from functools import cached_property

from arena.contracts import Verdict
from arena.store import Store
from arena.votes.contest import Contest
from arena.votes.desk import Desk
from arena.votes.drawing import Drawing, Gold
from arena.votes.golds import golds_of
from arena.votes.rules import Rules
from arena.votes.secret import secret_of
from arena.votes.tally import Tally
from arena.votes.tokens import Signer
from ui.films import FilmCache
from workers.settings import Settings

LOOK_AGAIN_SECONDS = 20.0
"""New rollouts can be voted on that soon after they are stored."""


@dataclass
class Booth:
    """A desk, and all that it works with, for one home."""

    settings: Settings
    rules: Rules = field(default_factory=Rules)

    @cached_property
    def store(self) -> Store:
        return Store(self.settings.store_url)

    @cached_property
    def signer(self) -> Signer:
        given = self.settings.secret
        return Signer(secret_of(self.settings.home.absolute(), None if given is None else given.get_secret_value()))

    @cached_property
    def films(self) -> FilmCache:
        return FilmCache(self.settings.artifacts_location)

    @cached_property
    def contest(self) -> _Contests:
        return _Contests(self.store)

    @cached_property
    def tally(self) -> Tally:
        return Tally(self.store, self.contest)

    @cached_property
    def desk(self) -> Desk:
        return Desk(self.store, self.signer, self.contest, Drawing(self.tally.standing, self.contest.golds), self.rules)


class _Contests:
    """All rollouts of the store as a contest; the same object as long as nothing has come."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._looked = -float("inf")
        self._ids: frozenset[str] = frozenset()
        self._contest = Contest({})
        self._golds: list[Gold] = []

    def __call__(self) -> Contest:
        with self._lock:
            if time.monotonic() - self._looked > LOOK_AGAIN_SECONDS:
                self._look()
            return self._contest

    def golds(self, contest: Contest) -> list[Gold]:
        with self._lock:
            return self._golds

    def _look(self) -> None:
        rollouts = self._store.results.rollouts()
        self._looked = time.monotonic()
        ids = frozenset(rollout.id for rollout in rollouts)
        if ids == self._ids:
            return
        self._ids, self._contest = ids, Contest.of(rollouts)
        said: dict[str, Verdict] = {}
        for verdict in self._store.results.verdicts(sorted(ids)):
            said.setdefault(verdict.rollout_id, verdict)
        self._golds = list(golds_of(self._contest, said))
