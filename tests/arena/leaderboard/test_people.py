"""Boards by people: their weights count, their cuts hold, and nothing that is down-weighted stays unsaid."""

from __future__ import annotations

from arena.contracts import Choice, Vote
from arena.leaderboard import (
    AXES,
    PRELIMINARY_CLUSTERS,
    PRELIMINARY_COMPARISONS,
    build_people_board,
    options,
    preliminary,
    sliced,
)
from arena.ranking import Ballots, Board, make_board
from arena.votes.tally import Weighed
from tests.ui.conftest import rollout_of


def _weighed(honest: int, rigged: int, weight: float) -> Weighed:
    """Honest voters like `good`, rigged ones `bad`, whose votes weigh `weight`; scene 0 and scene 1 in turn."""
    said = [(Choice.LEFT, f"honest-{i}", 1.0) for i in range(honest)]
    said += [(Choice.RIGHT, f"rigged-{i}", weight) for i in range(rigged)]
    votes = tuple(Vote("good", "bad", choice, voter, f"scene-{i % 2}") for i, (choice, voter, _) in enumerate(said))
    seen = tuple((rollout_of("good", i % 2).id, rollout_of("bad", i % 2).id) for i in range(len(said)))
    return Weighed(votes, tuple(w for *_, w in said), seen, ())


IDS = {rollout_of(policy, scene).id for policy in ("good", "bad") for scene in (0, 1)}


def test_what_a_vote_weighs_decides_who_leads() -> None:
    for weight, best in ((1.0, "bad"), (0.05, "good")):
        board = build_people_board(_weighed(20, 30, weight), IDS)
        assert board is not None
        assert board.ranking.policies[0].policy == best
        assert board.ranking.policies[0].comparisons == 50


def test_what_the_weights_did_is_told() -> None:
    full, light, silent = (build_people_board(_weighed(20, 5, weight), IDS) for weight in (1.0, 0.5, 0.0))
    assert full is not None
    assert light is not None
    assert silent is not None
    assert full.weighing == "25 votes by 25 voters, all at full weight"
    assert light.weighing == "25 votes by 25 voters; 5 count for less than one vote"
    assert silent.weighing == "25 votes by 25 voters; 5 count for less than one vote, 5 of them for nothing"
    assert len(silent.ballots) == 25
    assert len(silent.board.fit.data.ballots) == 20


def test_only_votes_on_the_rollouts_that_are_shown_count() -> None:
    one_scene = {rollout_of(policy, 0).id for policy in ("good", "bad")}
    board = build_people_board(_weighed(20, 0, 1.0), one_scene)
    assert board is not None
    assert board.ranking.comparisons == 10
    assert build_people_board(_weighed(20, 0, 1.0), {rollout_of("good", 0).id}) is None


def test_there_is_a_choice_only_where_values_differ() -> None:
    rollouts = [rollout_of(policy, scene) for policy in ("good", "bad") for scene in range(3)]
    assert {axis: options(rollouts, axis) for axis in AXES} == {
        "task": ("task-0", "task-1"),
        "scene_id": ("scene-0", "scene-1", "scene-2"),
        "world": (),
    }
    assert {r.scene_id for r in sliced(rollouts, {"task": "task-0"})} == {"scene-0", "scene-2"}
    assert sliced(rollouts, {"task": "task-1", "scene_id": "scene-0"}) == []


def _board(policies: int, each: int, voters: int) -> Board:
    """`policies` met in a ring, every two neighbours `each` times, by `voters` in turn."""
    votes = [
        Vote(f"p{i}", f"p{(i + 1) % policies}", Choice.LEFT, f"v{n % voters}", f"s{n}")
        for i in range(policies)
        for n in range(each)
    ]
    return make_board(Ballots.of(votes), cluster_by="voter")


def test_a_ranking_is_preliminary_until_it_rests_on_enough() -> None:
    compared, asked = PRELIMINARY_COMPARISONS, PRELIMINARY_CLUSTERS
    assert preliminary(_board(4, 15, 99)) == f"Preliminary: it rests on 15 voters, and {asked} are asked for."
    assert preliminary(_board(4, compared, asked)) is None
    assert preliminary(_board(4, compared, 1)) == f"Preliminary: it rests on 1 voter, and {asked} are asked for."
    seldom = Ballots.of([Vote("a", "b", Choice.LEFT, f"v{n}", "") for n in range(compared)], ["c"])
    assert preliminary(make_board(seldom)) == f"Preliminary: c was compared 0 times; {compared} are asked for."
    more = Ballots.of([Vote("a", "b", Choice.LEFT, f"v{n}", "") for n in range(compared)], ["c", "d"])
    assert "compared 0 times, and 1 more too seldom" in (preliminary(make_board(more)) or "")
