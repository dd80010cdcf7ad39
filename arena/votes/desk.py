"""Where voters come: it hands out signed pairs, and takes each of them back once."""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np

from arena.contracts import Choice
from arena.store import CastVote, NotFound, OfferRecord, RolloutRecord, Store, VoterRecord
from arena.votes.contest import Contest, pair_key
from arena.votes.drawing import Draw, Drawn
from arena.votes.rules import Kind, Refusal, Rules, VoteRefused
from arena.votes.tokens import Purpose, Signer, TokenRefused

MAX_REASON = 500
DAY, HOUR = 86_400.0, 3_600.0
ID_BYTES = 16


@dataclass(frozen=True)
class Shown:
    """A pair as its voter may see it: nothing here tells which policies these are.

    `left` and `right` are rollout ids for the server alone; a page is given signed links to their films.
    """

    token: str
    offer: str
    instruction: str
    left: RolloutRecord
    right: RolloutRecord


@dataclass(frozen=True)
class Ballot:
    """What a voter says of a pair. `*_success` is how far each came, 0 to 1, where they said so."""

    choice: Choice
    left_success: float | None = None
    right_success: float | None = None
    reason: str = ""

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Ballot:
        """From what a browser sent. Raises `VoteRefused`."""
        try:
            choice = Choice(str(said.get("choice")))
        except ValueError:
            names = ", ".join(choice.value for choice in Choice)
            raise VoteRefused(Refusal.BAD_BALLOT, f"the choice must be one of {names}") from None
        left, right = (_share(said.get(side)) for side in ("left_success", "right_success"))
        reason = said.get("reason") or ""
        if not isinstance(reason, str):
            raise VoteRefused(Refusal.BAD_BALLOT, "the reason must be a text")
        return cls(choice, left, right, " ".join(reason.split())[:MAX_REASON])


@dataclass(frozen=True)
class Receipt:
    """What a voter is told once their vote is stored. `right_answer` is None but for pairs whose answer is known."""

    left: str
    right: str
    kind: Kind
    right_answer: bool | None
    votes: int


class Desk:
    """Votes of people on the rollouts of a contest. Safe to share between threads.

    `drawing` chooses what to compare next. `clock` gives seconds since the epoch.
    """

    def __init__(
        self,
        store: Store,
        signer: Signer,
        contest: Callable[[], Contest],
        drawing: Draw,
        rules: Rules | None = None,
        clock: Callable[[], float] = time.time,
        seed: int | None = None,
    ) -> None:
        self._store, self._signer, self._contest, self._draw = store, signer, contest, drawing
        self.rules, self._clock = rules or Rules(), clock
        self._seed = secrets.randbits(64) if seed is None else seed
        self._draws = itertools.count()

    def enrol(self, origin: str, external: str | None = None, facts: Mapping[str, Any] | None = None) -> VoterRecord:
        """A new voter, or the one who came from the same origin under the same name. The name itself is not kept."""
        pseudonym = None if external is None else self._signer.pseudonym(origin, external)
        voter = VoterRecord(secrets.token_hex(ID_BYTES), origin, pseudonym, dict(facts or {}), self._clock())
        return self._store.voting.add_voter(voter)

    def credential(self, voter: VoterRecord) -> str:
        """What a browser keeps to be known again."""
        return self._signer.sign(Purpose.VOTER, {"voter": voter.id})

    def recognise(self, credential: str) -> VoterRecord:
        """Raises `VoteRefused` for a credential that was not given out here, or whose voter was forgotten."""
        try:
            voter = self._store.voting.voter(self._signer.read(Purpose.VOTER, credential, self._clock())["voter"])
        except (TokenRefused, NotFound):
            self._audit(Refusal.FORGED, None, {"what": "credential"})
            raise VoteRefused(Refusal.FORGED, "this voter is not known here: reload the page") from None
        if voter.forgotten_at is not None:
            raise VoteRefused(Refusal.FORGOTTEN, "this voter was forgotten, as was asked: reload the page")
        return voter

    def pairs(self, voter: VoterRecord, count: int = 2) -> list[Shown]:
        """The voter's open pairs, the next to vote on first: the same ones until they are voted on or skipped.

        Fewer than `count`, or none, where there is nothing left that this voter has not seen.
        """
        contest = self._contest()
        known = self._store.voting.offers(voter.id)
        waiting = [
            shown
            for offer, vote in known
            if vote is None and offer.skipped_at is None and (shown := self._shown(offer, contest)) is not None
        ]
        for _ in range(count - len(waiting)):
            offer = self._new_offer(voter, contest, known)
            shown = None if offer is None else self._shown(offer, contest)
            if offer is None or shown is None:
                break
            known.append((offer, None))
            waiting.append(shown)
        return waiting[:count]

    def cast(self, voter: VoterRecord, token: str, ballot: Ballot) -> Receipt:
        """Count a vote, once. Raises `VoteRefused`, and notes why in the audit trail."""
        offer = self._offer_of(voter, token)
        if offer.skipped_at is not None or self._store.voting.spent(offer.id):
            raise self._spent(voter, offer)
        now = self._clock()
        today, last = self._store.voting.cast_since(voter.id, now - DAY)
        self._check(voter, offer, now, today, last)
        waited = now - max(offer.issued_at, last or 0.0)
        vote = CastVote(
            offer.id, voter.id, ballot.choice.value, ballot.left_success, ballot.right_success, ballot.reason,
            seconds=waited, created_at=now,
        )  # fmt: skip
        if not self._store.voting.cast(vote):
            # Another post of this token was quicker.
            raise self._spent(voter, offer)
        right = None if offer.expected is None else ballot.choice.value == offer.expected
        return Receipt(offer.left_policy, offer.right_policy, Kind(offer.kind), right, today + 1)

    def skip(self, voter: VoterRecord, token: str) -> None:
        """Close a pair without a vote. Raises `VoteRefused`."""
        offer = self._offer_of(voter, token)
        if not self._store.voting.skip(offer.id):
            raise self._spent(voter, offer)

    def _offer_of(self, voter: VoterRecord, token: str) -> OfferRecord:
        try:
            claims = self._signer.read(Purpose.OFFER, token, self._clock())
        except TokenRefused as error:
            why = Refusal.EXPIRED if error.why == "expired" else Refusal.FORGED
            raise self._refused(why, voter, f"this pair's token is {error.why}: take the next pair") from None
        if claims["voter"] != voter.id:
            raise self._refused(Refusal.ANOTHERS, voter, "this pair was shown to someone else", offer=claims["offer"])
        return self._store.voting.offer(claims["offer"])

    def _check(self, voter: VoterRecord, offer: OfferRecord, now: float, today: int, last: float | None) -> None:
        rules = self.rules
        if {offer.left_policy, offer.right_policy} & self._store.voting.owned(voter.id):
            raise self._refused(Refusal.OWN_POLICY, voter, "nobody votes on their own policy", offer=offer.id)
        films = min((r.frames / r.fps for r in self._films(offer)), default=rules.least_watch)
        watched = now - max(offer.issued_at, last or 0.0)
        if watched < min(rules.least_watch, films):
            raise self._refused(Refusal.TOO_FAST, voter, "watch both films first", offer=offer.id, seconds=watched)
        lately = self._store.voting.cast_since(voter.id, now - HOUR)[0] if today >= rules.per_hour else 0
        if today >= rules.per_day or lately >= rules.per_hour:
            raise self._refused(Refusal.TOO_MANY, voter, "that were many votes: come back later", today=today)

    def _films(self, offer: OfferRecord) -> Sequence[RolloutRecord]:
        here = self._contest().by_id
        return [here[id] for id in (offer.left_rollout, offer.right_rollout) if id in here]

    def _shown(self, offer: OfferRecord, contest: Contest) -> Shown | None:
        """None where a rollout is gone from the contest."""
        here = contest.by_id
        if offer.left_rollout not in here or offer.right_rollout not in here:
            return None
        left, right = here[offer.left_rollout], here[offer.right_rollout]
        claims = {"offer": offer.id, "voter": offer.voter}
        token = self._signer.sign(Purpose.OFFER, claims, self._clock() + self.rules.expires)
        return Shown(token, offer.id, left.instruction, left, right)

    def _new_offer(
        self, voter: VoterRecord, contest: Contest, known: Sequence[tuple[OfferRecord, CastVote | None]]
    ) -> OfferRecord | None:
        random = np.random.default_rng([self._seed, next(self._draws)])
        drawn = self._draw(contest, known, self._store.voting.owned(voter.id), self.rules, random)
        if drawn is None:
            return None
        offer = self._seated(voter, drawn, random)
        # Another tab may have drawn the same pair at the same moment: the next call finds what it noted.
        return offer if self._store.voting.add_offer(offer) else None

    def _seated(self, voter: VoterRecord, drawn: Drawn, random: np.random.Generator) -> OfferRecord:
        """Sides at random, but for a repetition, which swaps them."""
        left, right = drawn.rollouts
        swap = drawn.repeats is None and bool(random.integers(2))
        if swap:
            left, right = right, left
        expected = drawn.expected
        if swap and expected is not None:
            expected = expected.swapped
        return OfferRecord(
            id=secrets.token_hex(ID_BYTES), voter=voter.id, kind=drawn.kind.value, pair=pair_key(left.id, right.id),
            scene_id=left.scene_id, left_rollout=left.id, right_rollout=right.id, left_policy=left.policy,
            right_policy=right.policy, expected=None if expected is None else expected.value,
            repeats=drawn.repeats, propensity=drawn.propensity, issued_at=self._clock(),
        )  # fmt: skip

    def _spent(self, voter: VoterRecord, offer: OfferRecord) -> VoteRefused:
        return self._refused(Refusal.SPENT, voter, "this pair was voted on or skipped before", offer=offer.id)

    def _refused(self, why: Refusal, voter: VoterRecord, message: str, **detail: Any) -> VoteRefused:
        self._audit(why, voter.id, detail)
        return VoteRefused(why, message)

    def _audit(self, why: Refusal, voter: str | None, detail: Mapping[str, Any]) -> None:
        self._store.voting.note(why.value, voter, detail)


def _share(value: Any) -> float | None:
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not isfinite(value) or not 0 <= value <= 1:
        raise VoteRefused(Refusal.BAD_BALLOT, "a share of success must be a number from 0 to 1")
    return float(value)
