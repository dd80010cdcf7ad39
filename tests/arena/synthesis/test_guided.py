"""Policy-guided sampling: between what was recorded and what the policy wants, as its weight says."""

from __future__ import annotations

import numpy as np
import pytest

from arena.contracts import ActionChunk, ActionSpace, Episode, InvalidInput, Source
from arena.episodes.video import ArrayFrames
from arena.synthesis.diversity import Diversity, Variation, VariedPolicy
from arena.synthesis.guided import BANDWIDTH, POLICY_SPREAD, Motions, drawn, guided, motions_of
from tests.arena.episodes.making import moving_frames
from tests.arena.synthesis.test_plan import Still, observation, scene

LENGTH = 6
WAYS = np.stack([np.linspace(0.01, 0.06, LENGTH)[:, None] * way for way in (np.eye(3)[0], -np.eye(3)[0], np.eye(3)[1])])
"""`(3, N, 3)`: to the front, to the back, and to the left, 6 cm each."""
HERE = np.zeros(7)


def motions(states: np.ndarray | None = None) -> Motions:
    return Motions(np.zeros((3, 4)) if states is None else states, WAYS)


def many(weight: float, wanted: np.ndarray, known: Motions | None = None, count: int = 400) -> np.ndarray:
    random = np.random.default_rng(0)
    return np.stack([drawn(known or motions(), HERE, wanted, weight, random) for _ in range(count)])


def episode(count: int = 9, success: bool | None = True, joints: bool = False) -> Episode:
    """The hand goes 1 cm a frame along x."""
    pose = np.zeros((count, 6))
    pose[:, 0] = 0.01 * np.arange(count)
    values = np.concatenate([np.vstack([pose[1:], pose[-1:]]), np.zeros((count, 1))], axis=1)
    action = ActionChunk(values, ActionSpace.CARTESIAN_POSITION, 10.0)
    return Episode(
        "e", {"wrist": ArrayFrames(moving_frames(count))}, 10.0, pose, np.zeros((count, 1)), "go", Source("clips", ""),
        action=None if joints else action, success=success,
    )  # fmt: skip


def test_without_weight_only_what_was_recorded_is_drawn_and_all_of_it() -> None:
    found = many(0.0, WAYS[0])
    apart = np.linalg.norm(found[:, None] - WAYS[None], axis=(2, 3))
    counts = np.bincount(apart.argmin(axis=1), minlength=3)
    assert (counts > 90).all()  # a third each, whatever the policy wants
    # Around a recorded motion a draw is spread by the kernel.
    assert (found - WAYS[apart.argmin(axis=1)]).std() == pytest.approx(BANDWIDTH, rel=0.05)


def test_the_larger_the_weight_the_likelier_under_the_policy_and_the_further_from_the_data() -> None:
    wanted = WAYS[0] + np.array([0.0, 0.0, 0.04])  # to the front, and up, where nothing was recorded
    likely, manifold = [], []
    for weight in (0.0, 0.3, 1.0, 4.0, 1e4):
        found = many(weight, wanted)
        likely.append(-np.square(found - wanted).sum(axis=(1, 2)).mean() / (2 * POLICY_SPREAD**2))
        centre = found.mean(axis=0)
        manifold.append(np.linalg.norm(centre[None] - WAYS, axis=(1, 2)).min() if weight else 0.0)
    assert (np.diff(likely) > 0).all()
    assert (np.diff(manifold[1:]) > 0).all()
    np.testing.assert_allclose(many(1e6, wanted).mean(axis=0), wanted, atol=1e-3)


def test_draws_have_the_density_that_is_claimed() -> None:
    """Of one recorded motion and the policy, the product is one Gaussian of known mean and deviation."""
    wanted, weight = WAYS[0] + 0.02, 2.0
    found = many(weight, wanted, Motions(np.zeros((1, 4)), WAYS[:1]), 2000)
    data, policy = 1 / BANDWIDTH**2, weight / POLICY_SPREAD**2
    np.testing.assert_allclose(found.mean(axis=0), (data * WAYS[0] + policy * wanted) / (data + policy), atol=1e-3)
    assert found.std(axis=0).mean() == pytest.approx((data + policy) ** -0.5, rel=0.03)


def test_motions_from_similar_states_count() -> None:
    away = np.zeros((3, 4))
    away[1:, 2] = 0.5
    found = many(0.0, WAYS[2], motions(away))
    assert np.linalg.norm(found.mean(axis=0) - WAYS[0]) < 0.01


@pytest.mark.parametrize("joints", [False, True], ids=["commanded", "seen"])
def test_motions_are_cut_from_recordings_at_the_policys_rate(joints: bool) -> None:
    known = motions_of([episode(joints=joints), episode(success=False)], control_hz=20.0, length=4)
    assert known.moves.shape == (8, 4, 3)
    np.testing.assert_allclose(known.moves[0][:, 0], [0.005, 0.01, 0.015, 0.02], atol=1e-9)
    np.testing.assert_allclose(known.moves[-1][:, 0], [0.005, 0.01, 0.01, 0.01], atol=1e-9)  # at rest at the end
    np.testing.assert_allclose(known.states[3], [0.03, 0, 0, 0])
    with pytest.raises(InvalidInput, match="no episode has any"):
        motions_of([episode(success=False)], 10.0, 4)


@pytest.mark.parametrize("space", [ActionSpace.CARTESIAN_POSITION, ActionSpace.CARTESIAN_VELOCITY])
def test_only_the_motion_of_the_hand_is_changed(space: ActionSpace) -> None:
    state = np.array([0.3, 0.1, 0.2, 0.0, 0.0, 0.0, 0.5])
    values = np.full((LENGTH, 7), 0.25)
    found = guided(values, space, 10.0, motions(), state, 0.0, np.random.default_rng(1))
    np.testing.assert_array_equal(found[:, 3:], values[:, 3:])
    velocity = space is ActionSpace.CARTESIAN_VELOCITY
    moved = np.cumsum(found[:, :3], axis=0) / 10.0 if velocity else found[:, :3] - state[:3]
    assert np.linalg.norm(moved[None] - WAYS, axis=(1, 2)).min() < 0.1


def test_a_guided_policy_follows_its_seed_and_needs_motions() -> None:
    def answers(seed: int) -> np.ndarray:
        policy = VariedPolicy(Still(), Variation(weight=0.5), motions())
        policy.reset(scene(), seed)
        return np.concatenate([policy.act(observation()).values for _ in range(3)])

    np.testing.assert_array_equal(answers(1), answers(1))
    assert not np.allclose(answers(1), answers(2))
    with pytest.raises(InvalidInput, match="needs recorded motions"):
        VariedPolicy(Still(), Variation(weight=1.0))
    jointed = VariedPolicy(Still(ActionSpace.JOINT_POSITION), Variation(weight=1.0), motions())
    jointed.reset(scene(), 0)
    with pytest.raises(InvalidInput, match="motions of the hand"):
        jointed.act(observation())


def test_weights_take_turns_after_all_else() -> None:
    diversity = Diversity((0.0, 0.01), (None, 2), (None, 4.0))
    turns = [diversity.variation(number) for number in range(9)]
    assert len(set(turns)) == 8
    assert [turn.weight for turn in turns[:8]] == [None] * 4 + [4.0] * 4
    assert turns[8] == turns[0] == Variation()
    for weight in (-1.0, float("nan"), 1e9):
        with pytest.raises(InvalidInput, match="weight"):
            Diversity(weights=(weight,))
