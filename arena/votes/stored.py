"""What can be voted on in a store, looked at again now and then."""

from __future__ import annotations

import threading
import time

from arena.contracts import Verdict
from arena.store import OUTSIDE, Store
from arena.votes.contest import Contest
from arena.votes.drawing import Gold
from arena.votes.golds import golds_of

LOOK_AGAIN_SECONDS = 20.0
"""New rollouts can be voted on that soon after they are stored."""


class StoredContest:
    """All public rollouts of a store as a contest; the same object as long as nothing has come.

    Rollouts of a private policy are shown to nobody, and verdicts from outside make no pair's answer known.
    """

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
        """Pairs of the contest whose answer everyone must see."""
        with self._lock:
            return self._golds

    def _look(self) -> None:
        hidden = self._store.accounts.hidden(None)
        rollouts = [each for each in self._store.results.rollouts() if each.provenance.policy not in hidden]
        self._looked = time.monotonic()
        ids = frozenset(rollout.id for rollout in rollouts)
        if ids == self._ids:
            return
        self._ids, self._contest = ids, Contest.of(rollouts)
        said: dict[str, Verdict] = {}
        for verdict in self._store.results.verdicts(sorted(ids)):
            if not verdict.judge.startswith(OUTSIDE):
                said.setdefault(verdict.rollout_id, verdict)
        self._golds = list(golds_of(self._contest, said))
