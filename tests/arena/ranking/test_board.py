"""Bradley-Terry on real votes, on simulated ones whose truth is known, and where no number can be had."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import statsmodels.api as sm
from scipy.optimize import minimize
from scipy.special import logsumexp
from scipy.stats import spearmanr

from arena.contracts import Choice, InvalidInput, RankedPolicy, Ranking, Vote
from arena.ranking import Ballots, Column, make_board, rank
from arena.ranking.ballots import CHOICES
from arena.ranking.davidson import VIRTUAL_TIES
from arena.ranking.fit import fit, prepare
from tests.arena.ranking.simulating import Crowd


def simulate(strengths: Sequence[float], scenes: int, seed: int, *, bias: float = 0.0, judge: str = "j") -> list[Vote]:
    """Every pair in every scene, sides by coin, without ties."""
    rng = np.random.default_rng(seed)
    votes = []
    for scene in range(scenes):
        for pair in itertools.combinations(range(len(strengths)), 2):
            left, right = pair if rng.random() < 0.5 else pair[::-1]
            expected = 1 / (1 + np.exp(-(strengths[left] - strengths[right] + bias)))
            choice = "left" if rng.random() < expected else "right"
            votes.append(Vote(f"p{left}", f"p{right}", Choice(choice), judge, str(scene)))
    return votes


def won(winner: str, loser: str, scenes: int = 8) -> list[Vote]:
    """`winner` beats `loser` in each scene, seated left in every other one."""
    return [
        Vote(winner, loser, Choice.LEFT, "j", f"s{n}") if n % 2 else Vote(loser, winner, Choice.RIGHT, "j", f"s{n}")
        for n in range(scenes)
    ]


def named(ranking: Ranking) -> dict[str, RankedPolicy]:
    return {policy.policy: policy for policy in ranking.policies}


def test_agrees_with_reference_scores_on_real_votes(shared: Path) -> None:
    folder = shared / "data" / "votes"
    with (folder / "llmfao.csv").open() as file:
        votes = [
            Vote(row["left"], row["right"], Choice(row["winner"]), row["worker"], row["prompt"])
            for row in csv.DictReader(file)
        ]
    with (folder / "llmfao-golden.csv").open() as file:
        reference = {
            row["item"]: float(row["score"]) for row in csv.DictReader(file) if row["algorithm"] == "bradley_terry"
        }
    ranking = rank(votes)
    ours = [policy.score for policy in ranking.policies]
    theirs = [reference[policy.policy] for policy in ranking.policies]
    assert len(ranking.policies) == 59
    assert ranking.comparisons == 8931
    assert len(ranking.groups) == 1
    assert spearmanr(ours, theirs).statistic > 0.998
    assert np.corrcoef(ours, np.log(theirs))[0, 1] > 0.999
    assert any("clustered by voter" in note for note in ranking.notes)
    widths = [policy.high - policy.low for policy in ranking.policies]
    # In votes that decide, ties apart, a logit is twice as long as where they count as halves; 39% here are ties.
    assert np.mean(widths) < 1.5


@pytest.mark.parametrize("scenes", [8, 30])
def test_intervals_cover_the_truth(scenes: int) -> None:
    strengths = np.linspace(-1, 1, 5)
    covered, placed = [], []
    for seed in range(50):
        policies = named(rank(simulate(strengths, scenes, seed, bias=0.3)))
        covered += [policies[f"p{i}"].low <= s <= policies[f"p{i}"].high for i, s in enumerate(strengths)]
        placed.append(all(policies[f"p{i}"].rank_low <= 5 - i <= policies[f"p{i}"].rank_high for i in range(5)))
    assert 0.92 <= np.mean(covered) <= (1.0 if scenes < 10 else 0.985)
    assert np.mean(placed) >= 0.95


def test_enough_comparisons_settle_the_order() -> None:
    ranking = rank(simulate([0.0, 2.0, 1.0, -1.0], 200, seed=3))
    assert [policy.policy for policy in ranking.policies] == ["p1", "p2", "p0", "p3"]
    assert [(policy.rank_low, policy.rank_high) for policy in ranking.policies] == [(n, n) for n in (1, 2, 3, 4)]


def test_left_bias_is_recovered_and_does_not_enter_the_scores() -> None:
    board = make_board(Ballots.of(simulate([-0.5, 0.0, 0.5], 400, seed=1, bias=0.8)))
    (bias,) = board.left_bias
    assert bias.low < 0.8 < bias.high
    assert bias.high - bias.low < 0.4
    assert bias.share == pytest.approx(1 / (1 + np.exp(-bias.logits)))
    scores = {item.name: item.score for item in board.policies}
    np.testing.assert_allclose([scores[name] for name in ("p0", "p1", "p2")], [-0.5, 0.0, 0.5], atol=0.2)


def test_sides_that_were_never_swapped_cannot_show_a_bias() -> None:
    votes = [Vote("a", "b", Choice.LEFT if n % 3 else Choice.RIGHT, "j", str(n)) for n in range(60)]
    ranking = rank(votes)
    assert any("never swapped" in note for note in ranking.notes)
    assert ranking.policies[0].score == pytest.approx(np.log(2) / 2, abs=0.02)


def test_an_undefeated_policy_gets_an_open_interval() -> None:
    votes = [*won("a", "b"), *won("a", "c"), *simulate_between("b", "c", 8)]
    policies = named(rank(votes))
    assert policies["a"].note == "never lost"
    assert policies["a"].high == np.inf
    assert np.isfinite(policies["a"].low)
    assert (policies["a"].rank_low, policies["a"].rank_high) == (1, 1)
    for other in "bc":
        assert np.isfinite([policies[other].low, policies[other].high]).all()
        assert (policies[other].rank_low, policies[other].rank_high) == (2, 3)


def simulate_between(a: str, b: str, scenes: int) -> list[Vote]:
    """`a` wins half of the scenes, from both sides."""
    return [Vote(a, b, Choice.LEFT if n % 4 < 2 else Choice.RIGHT, "j", f"s{n}") for n in range(0, scenes, 2)] + [
        Vote(b, a, Choice.LEFT if n % 4 < 2 else Choice.RIGHT, "j", f"s{n}") for n in range(1, scenes, 2)
    ]


def test_more_wins_raise_the_lower_end_of_the_undefeated() -> None:
    lows = [named(rank(won("a", "b", scenes)))["a"].low for scenes in (2, 8, 32)]
    assert lows == sorted(lows)
    assert named(rank(won("a", "b", 2)))["a"].rank_high == 2
    assert named(rank(won("a", "b", 32)))["a"].rank_high == 1


def test_copies_of_a_vote_are_one_piece_of_evidence() -> None:
    votes = simulate([-0.5, 0.0, 0.5], 30, seed=5)
    once, copied = named(rank(votes)), named(rank(votes * 9))
    for name, policy in once.items():
        assert copied[name].high - copied[name].low > 0.9 * (policy.high - policy.low)
    assert named(rank(won("a", "b", 4) * 50))["a"].rank_high == 2


def test_an_order_without_exception_is_settled_through_the_middle() -> None:
    policies = named(rank([*won("a", "b", 12), *won("b", "c", 12)]))
    assert [(policies[p].rank_low, policies[p].rank_high) for p in "abc"] == [(1, 1), (2, 2), (3, 3)]
    assert policies["c"].note == "never won"
    assert policies["c"].low == -np.inf


def test_policies_that_never_met_are_in_groups() -> None:
    votes = [*simulate([0.0, 2.0], 100, seed=0), *won("x", "y", 30)]
    ranking = rank(votes, policies=["idle"])
    assert ranking.groups == (("p0", "p1"), ("x", "y"), ("idle",))
    policies = named(ranking)
    assert (policies["p1"].rank_low, policies["p1"].rank_high) == (1, 4)
    assert (policies["y"].rank_low, policies["y"].rank_high) == (2, 5)
    assert policies["idle"].note == "never compared"
    assert (policies["idle"].rank_low, policies["idle"].rank_high) == (1, 5)
    assert policies["idle"].low == -np.inf
    assert any("never met" in note for note in ranking.notes)


def test_all_ties_tell_nothing_but_are_not_certain() -> None:
    votes = [
        Vote(*pair, Choice.TIE if n % 2 else Choice.BOTH_BAD, "j", str(n))
        for n in range(20)
        for pair in ("ab", "bc", "ca")
    ]
    ranking = rank(votes)
    for policy in ranking.policies:
        assert policy.score == pytest.approx(0, abs=1e-6)
        assert policy.low < -0.02
        assert policy.high > 0.02
        assert (policy.rank_low, policy.rank_high) == (1, 3)
        assert policy.note == ""
    assert "all comparisons were ties" in ranking.notes


def test_one_policy_and_none() -> None:
    alone = rank([], policies=["a"])
    assert [policy.policy for policy in alone.policies] == ["a"]
    assert alone.groups == (("a",),)
    empty = rank([])
    assert (empty.policies, empty.groups, empty.notes) == ((), (), ("no comparisons",))


def test_order_of_votes_does_not_matter() -> None:
    votes = simulate([0.0, 0.5, 1.0], 10, seed=2)
    again = rank(votes[::-1])
    for a, b in zip(rank(votes).policies, again.policies, strict=True):
        assert a.policy == b.policy
        assert a.score == pytest.approx(b.score, abs=1e-8)


def test_a_policy_compared_with_itself_is_refused() -> None:
    with pytest.raises(InvalidInput, match="compared with itself"):
        rank([Vote("a", "a", Choice.TIE, "j", "s")])


def test_sandwich_equals_statsmodels_where_the_prior_and_leverage_do_not_matter() -> None:
    ballots = Ballots.of(simulate([-1.0, 0.0, 1.0], 400, seed=4))
    ours = fit(prepare(ballots, left_bias=False))
    assert ours.data.clustered_by == "scene"
    design = np.zeros((len(ballots), 2))
    for policy in (1, 2):
        design[:, policy - 1] = (ballots.left == policy).astype(float) - (ballots.right == policy)
    theirs = sm.GLM((ballots.choice == 0).astype(float), design, family=sm.families.Binomial()).fit(
        cov_type="cluster", cov_kwds={"groups": ours.data.cluster}
    )
    np.testing.assert_allclose(ours.strength[1:] - ours.strength[0], theirs.params, atol=0.01)
    contrast = np.array([[-1.0, 1, 0], [-1, 0, 1]])
    np.testing.assert_allclose(contrast @ ours.covariance @ contrast.T, theirs.cov_params(), rtol=0.02)


def test_davidson_equals_a_general_optimiser() -> None:
    ballots = Crowd((-1.0, -0.2, 0.4, 0.8), voters=30, each=40).votes(3)
    found = fit(prepare(ballots)).found
    d = lambda p: p[ballots.left] - p[ballots.right] + p[4]  # noqa: E731

    def loss(p: np.ndarray) -> float:
        logits = np.stack([d(p) / 2, -d(p) / 2, np.full(len(ballots), p[5])], axis=1)
        chosen = logits[np.arange(len(ballots)), ballots.choice]
        off = (p - [0, 0, 0, 0, 0, np.log(2)]) / 2
        return float(logsumexp(logits, axis=1).sum() - chosen.sum() + VIRTUAL_TIES * np.logaddexp(off, -off).sum())

    best = minimize(loss, np.zeros(6), method="BFGS", options={"gtol": 1e-6})
    np.testing.assert_allclose(found.parameters, best.x, atol=1e-4)
    np.testing.assert_allclose(np.linalg.inv(found.bread), approx_hessian(loss, found.parameters), atol=0.05)


def approx_hessian(function: Callable[[np.ndarray], float], at: np.ndarray, step: float = 1e-3) -> np.ndarray:
    def gradient(x: np.ndarray) -> np.ndarray:
        return np.array([(function(x + e) - function(x - e)) / (2 * step) for e in step * np.eye(len(x))])

    return np.array([(gradient(at + e) - gradient(at - e)) / (2 * step) for e in step * np.eye(len(at))])


def test_votes_on_a_single_policys_voter_are_not_certain() -> None:
    """Whose gradient is 0 at the maximum: a sandwich alone would give an error of 0."""
    crowd = Crowd((0.0, 0.3, 0.6), voters=40, each=20).votes(0)
    lone = [Vote("new", "p0", Choice.LEFT if n % 2 else Choice.RIGHT, "only", "") for n in range(50)]
    names = crowd.policies
    votes = [
        Vote(names[a], names[b], CHOICES[c], crowd.voter.values[v])
        for a, b, c, v in zip(crowd.left, crowd.right, crowd.choice, crowd.voter.codes, strict=True)
    ]
    policies = named(rank([*votes, *lone]))
    assert policies["new"].high - policies["new"].low > 2
    assert (policies["new"].rank_low, policies["new"].rank_high) == (1, 4)


def test_levels_of_a_covariate_have_their_own_bias_and_ties() -> None:
    people, judge = (
        Crowd((-0.5, 0.0, 0.5), 40, 50, bias=0.6, tie=0.5),
        Crowd((-0.5, 0.0, 0.5), 40, 50, bias=-0.6, tie=-1),
    )
    ballots = together(people.votes(1), judge.votes(2))
    board = make_board(ballots, covariates=("source",))
    bias = {item.value: item for item in board.left_bias}
    assert bias["a"].low < 0.6 < bias["a"].high
    assert bias["b"].low < -0.6 < bias["b"].high
    assert bias[""].low < 0 < bias[""].high
    ties = {item.value: item for item in board.ties}
    assert ties["a"].low < 0.5 < ties["a"].high
    assert ties["b"].low < -1 < ties["b"].high
    with pytest.raises(InvalidInput, match="no covariate 'robot': there is source"):
        make_board(ballots, covariates=("robot",))


def together(a: Ballots, b: Ballots) -> Ballots:
    """Votes of two crowds on the same policies, with a column that says whose."""
    source = Column(("a", "b"), np.repeat([0, 1], [len(a), len(b)]))
    voters = Column(
        (*a.voter.values, *(f"b{name}" for name in b.voter.values)),
        np.concatenate([a.voter.codes, b.voter.codes + len(a.voter.values)]),
    )
    left, right, choice = (np.concatenate([getattr(s, n) for s in (a, b)]) for n in ("left", "right", "choice"))
    return Ballots(a.policies, left, right, choice, voters, None, {"source": source})
