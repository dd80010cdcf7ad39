"""The one desk that all visitors of this server come to."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from arena.store import Store
from arena.votes.desk import Desk
from arena.votes.drawing import Drawing
from arena.votes.rules import Rules
from arena.votes.secret import secret_of
from arena.votes.stored import StoredContest
from arena.votes.tally import Tally
from arena.votes.tokens import Signer
from ui.films import FilmCache
from workers.settings import Settings


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
    def contest(self) -> StoredContest:
        return StoredContest(self.store)

    @cached_property
    def tally(self) -> Tally:
        return Tally(self.store, self.contest)

    @cached_property
    def desk(self) -> Desk:
        return Desk(self.store, self.signer, self.contest, Drawing(self.tally.standing, self.contest.golds), self.rules)
