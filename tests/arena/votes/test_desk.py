"""The desk: what a voter is shown, what counts, and what is refused."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import replace

import pytest

from arena.contracts import Choice
from arena.store import Store
from arena.votes.desk import Ballot, Receipt
from arena.votes.rules import Kind, Refusal, Rules, VoteRefused
from arena.votes.tokens import Purpose, Signer
from tests.arena.votes.conftest import POLICIES, Booth

LEFT = Ballot(Choice.LEFT)


def events(store: Store) -> Counter[str]:
    return Counter(record.event for record in store.voting.audit())


def refused(booth: Booth, voter: object, token: str, ballot: Ballot = LEFT) -> VoteRefused:
    with pytest.raises(VoteRefused) as error:
        booth.desk.cast(voter, token, ballot)  # type: ignore[arg-type]
    return error.value


def test_a_vote_counts_once_and_only_then_tells_the_policies(booth: Booth) -> None:
    voter = booth.desk.enrol("anonymous")
    [shown, after] = booth.desk.pairs(voter, 2)
    assert shown.left.policy not in shown.token
    booth.later()
    receipt = booth.desk.cast(voter, shown.token, Ballot(Choice.TIE, 1.0, 0.5, "both opened it"))
    assert receipt == Receipt(shown.left.policy, shown.right.policy, Kind.COMPARISON, None, 1)
    error = refused(booth, voter, shown.token)
    assert (error.why, error.status) == (Refusal.SPENT, 409)
    [(_, offer, vote)] = booth.store.voting.votes()
    assert (vote.choice, vote.left_success, vote.right_success, vote.reason) == ("tie", 1.0, 0.5, "both opened it")
    assert (offer.left_policy, offer.right_policy) == (shown.left.policy, shown.right.policy)
    assert vote.seconds == 5.0
    assert [each.offer for each in booth.desk.pairs(voter, 1)] == [after.offer]


def test_a_reload_shows_the_same_pairs(booth: Booth) -> None:
    voter = booth.desk.enrol("anonymous")
    first = [shown.offer for shown in booth.desk.pairs(voter, 2)]
    assert [shown.offer for shown in booth.desk.pairs(voter, 2)] == first
    booth.later(booth.rules.expires + 1)
    again = booth.desk.pairs(voter, 2)
    assert [shown.offer for shown in again] == first
    booth.later()
    booth.desk.cast(voter, again[0].token, LEFT)


def test_pairs_are_of_one_scene_and_sides_are_random(booth: Booth) -> None:
    sides: Counter[bool] = Counter()
    for _ in range(4):
        voter = booth.desk.enrol("anonymous")
        for _ in range(20):
            shown, _ = booth.vote(voter)
            assert shown.left.scene_id == shown.right.scene_id
            assert shown.left.policy != shown.right.policy
            sides[shown.left.policy < shown.right.policy] += 1
    assert min(sides.values()) > 20


def test_no_voter_sees_a_pair_twice_and_none_is_left_in_the_end(booth: Booth) -> None:
    voter = booth.desk.enrol("anonymous")
    # Of six scenes, two have outcomes that are known: nobody is asked about these.
    every = 4 * len(POLICIES) * (len(POLICIES) - 1) // 2
    seen = [booth.vote(voter)[0] for _ in range(every)]
    assert len({frozenset((shown.left.id, shown.right.id)) for shown in seen}) == every
    assert booth.desk.pairs(voter) == []


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda token: token[:-2] + ("AA" if token[-2:] != "AA" else "BB"), Refusal.FORGED),
        (lambda token: "x", Refusal.FORGED),
        (lambda token: Signer(b"t" * 32).sign(Purpose.OFFER, {"offer": "1", "voter": "2"}), Refusal.FORGED),
        (lambda token: "a" * 5000 + "." + token, Refusal.FORGED),
    ],
)
def test_a_forged_token_is_refused_and_noted(booth: Booth, change: object, why: Refusal) -> None:
    voter = booth.desk.enrol("anonymous")
    [shown] = booth.desk.pairs(voter, 1)
    booth.later()
    error = refused(booth, voter, change(shown.token))  # type: ignore[operator]
    assert (error.why, error.status) == (why, 403)
    assert events(booth.store) == {why.value: 1}
    assert booth.store.voting.votes() == []


def test_a_credential_is_no_pairs_token(booth: Booth) -> None:
    voter = booth.desk.enrol("anonymous")
    assert refused(booth, voter, booth.desk.credential(voter)).why is Refusal.FORGED


def test_expired_and_other_peoples_tokens_are_refused_and_noted(booth: Booth) -> None:
    voter, other = booth.desk.enrol("anonymous"), booth.desk.enrol("anonymous")
    [shown] = booth.desk.pairs(voter, 1)
    booth.later()
    assert refused(booth, other, shown.token).why is Refusal.ANOTHERS
    booth.later(booth.rules.expires)
    assert refused(booth, voter, shown.token).why is Refusal.EXPIRED
    assert events(booth.store) == {"token_of_another": 1, "token_expired": 1}


def test_sixteen_posts_of_one_token_make_one_vote(booth: Booth) -> None:
    voter = booth.desk.enrol("anonymous")
    [shown] = booth.desk.pairs(voter, 1)
    booth.later()
    outcomes: list[object] = []

    def post() -> None:
        try:
            outcomes.append(booth.desk.cast(voter, shown.token, LEFT))
        except VoteRefused as error:
            outcomes.append(error.why)

    threads = [threading.Thread(target=post) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(booth.store.voting.votes()) == 1
    # The others came after it: to a spent token, or too soon after the vote.
    assert sum(isinstance(outcome, Receipt) for outcome in outcomes) == 1
    assert {outcome for outcome in outcomes if not isinstance(outcome, Receipt)} <= {Refusal.SPENT, Refusal.TOO_FAST}


def test_whoever_did_not_watch_is_told_to(booth: Booth) -> None:
    voter = booth.desk.enrol("anonymous")
    [first, second] = booth.desk.pairs(voter, 2)
    booth.later(0.5)
    assert refused(booth, voter, first.token).why is Refusal.TOO_FAST
    booth.later(1.0)
    booth.desk.cast(voter, first.token, LEFT)
    # The second pair was fetched long ago, and shown only now.
    booth.later(0.5)
    assert refused(booth, voter, second.token).status == 425
    booth.later(1.0)
    booth.desk.cast(voter, second.token, LEFT)


def test_nobody_votes_on_their_own_policy(booth: Booth) -> None:
    voter = booth.desk.enrol("oidc", "someone@example.org")
    [shown] = booth.desk.pairs(voter, 1)
    booth.store.voting.own(shown.left.policy, voter.id)
    booth.later()
    assert refused(booth, voter, shown.token).why is Refusal.OWN_POLICY
    booth.desk.skip(voter, shown.token)
    for _ in range(8):
        pair, _ = booth.vote(voter)
        assert shown.left.policy not in (pair.left.policy, pair.right.policy)


def test_too_many_votes_are_refused(store: Store) -> None:
    booth = Booth(store, replace(Rules(gold=0, repeat=0), per_hour=3, per_day=5))
    voter = booth.desk.enrol("anonymous")
    for _ in range(3):
        booth.vote(voter)
    [shown] = booth.desk.pairs(voter, 1)
    booth.later()
    assert refused(booth, voter, shown.token).why is Refusal.TOO_MANY
    booth.later(3600)
    booth.vote(voter)
    booth.vote(voter)
    booth.later(3600)
    [shown] = booth.desk.pairs(voter, 1)
    booth.later()
    assert refused(booth, voter, shown.token).status == 429


def test_a_skipped_pair_is_gone_and_cannot_be_voted_on(booth: Booth) -> None:
    voter = booth.desk.enrol("anonymous")
    [shown] = booth.desk.pairs(voter, 1)
    booth.desk.skip(voter, shown.token)
    booth.later()
    assert refused(booth, voter, shown.token).why is Refusal.SPENT
    with pytest.raises(VoteRefused):
        booth.desk.skip(voter, shown.token)
    [following] = booth.desk.pairs(voter, 1)
    assert following.offer != shown.offer
    assert booth.store.voting.votes() == []


def test_a_vote_cannot_be_skipped_away(booth: Booth) -> None:
    voter = booth.desk.enrol("anonymous")
    shown, _ = booth.vote(voter)
    with pytest.raises(VoteRefused):
        booth.desk.skip(voter, shown.token)
    assert len(booth.store.voting.votes()) == 1


@pytest.mark.parametrize(
    "said",
    [{}, {"choice": "up"}, {"choice": "left", "left_success": 2}, {"choice": "left", "right_success": float("nan")},
     {"choice": "left", "left_success": True}, {"choice": "left", "reason": 3}],
)  # fmt: skip
def test_a_ballot_that_says_nothing_clear_is_refused(said: dict[str, object]) -> None:
    with pytest.raises(VoteRefused) as error:
        Ballot.of(said)
    assert error.value.status == 400


def test_the_same_person_from_a_platform_is_the_same_voter_and_no_name_is_kept(booth: Booth) -> None:
    one = booth.desk.enrol("prolific", "60a1b2c3", {"study": "s1"})
    assert booth.desk.enrol("prolific", "60a1b2c3").id == one.id
    assert booth.desk.enrol("mturk", "60a1b2c3").id != one.id
    assert "60a1b2c3" not in repr(booth.store.voting.voters())
    assert booth.desk.recognise(booth.desk.credential(one)).id == one.id


def test_a_forgotten_voter_counts_no_more_and_is_not_known_again(booth: Booth) -> None:
    voter = booth.desk.enrol("prolific", "60a1b2c3", {"study": "s1"})
    other = booth.desk.enrol("anonymous")
    booth.vote(voter)
    booth.vote(other)
    assert len(booth.tally.weighed().votes) == 2
    assert booth.store.voting.forget(voter.id) == 1
    assert [vote.voter for vote in booth.tally.weighed().votes] == [other.id]
    assert booth.store.voting.voter(voter.id).external is None
    assert booth.desk.enrol("prolific", "60a1b2c3").id != voter.id
    with pytest.raises(VoteRefused, match="forgotten"):
        booth.desk.recognise(booth.desk.credential(voter))
    assert events(booth.store)["voter_forgotten"] == 1


def test_checks_come_at_their_rate_and_do_not_count_as_comparisons(store: Store) -> None:
    booth = Booth(store, Rules(gold=0.25, repeat=0.2, repeat_after=2))
    kinds: Counter[Kind] = Counter()
    for _ in range(6):
        voter = booth.desk.enrol("anonymous")
        for _ in range(20):
            shown, receipt = booth.vote(voter, "left")
            kinds[receipt.kind] += 1
            if receipt.kind is Kind.GOLD:
                assert receipt.right_answer == (shown.left.policy in ("alpha", "beta"))
            else:
                assert receipt.right_answer is None
    assert kinds[Kind.GOLD] >= 15
    assert kinds[Kind.REPEAT] >= 10
    weighed = booth.tally.weighed()
    assert len(weighed.votes) == kinds[Kind.COMPARISON]
    # Whoever always says left is wrong on every repetition, and on half of the known pairs.
    assert all(voter.weight < 0.7 for voter in weighed.voters)


def test_a_repetition_swaps_the_sides(store: Store) -> None:
    booth = Booth(store, Rules(gold=0.0, repeat=0.5, repeat_after=2))
    voter = booth.desk.enrol("anonymous")
    offers = {}
    repeats = 0
    for _ in range(20):
        shown, _ = booth.vote(voter)
        offer = offers[shown.offer] = booth.store.voting.offer(shown.offer)
        if offer.repeats is not None:
            before = offers[offer.repeats]
            assert (offer.left_rollout, offer.right_rollout) == (before.right_rollout, before.left_rollout)
            repeats += 1
    assert repeats >= 3


def test_votes_and_audit_cannot_be_changed(booth: Booth) -> None:
    import sqlalchemy as sa

    voter = booth.desk.enrol("anonymous")
    booth.vote(voter)
    booth.store.voting.note("something", voter.id, {})
    for table in ("votes", "audit"):
        for statement in (f"UPDATE {table} SET voter = 'x'", f"DELETE FROM {table}"):
            with (
                pytest.raises(sa.exc.DBAPIError, match="append-only"),
                booth.store.voting._database.connect() as connection,
            ):
                connection.execute(sa.text(statement))
