"""What is tried: wordings, variations, beginnings and rounds, all from a seed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from arena.contracts import (
    ActionChunk,
    ActionSpace,
    InvalidInput,
    Observation,
    PolicyCard,
    Provenance,
    Rollout,
    Scene,
)
from arena.rollout import scene_sha256
from arena.synthesis.diversity import Diversity, Variation, VariedPolicy, pushed
from arena.synthesis.phrasing import FRAMES, paraphrases
from arena.synthesis.plan import Beginning, Budget, SynthesisPlan, Wording, interleaved
from arena.synthesis.starts import scene_from_rollout, told
from tests.arena.episodes.making import moving_frames, states

OPEN = "open the drawer"


def observation(words: str = OPEN) -> Observation:
    return Observation({"wrist": moving_frames(1)[0]}, np.zeros(6), np.zeros(1), words)


def scene(words: str = OPEN) -> Scene:
    first = observation(words)
    return Scene(
        "e@0-abc", first, {"wrist": first.cameras["wrist"][None]}, np.zeros((1, 7)), words, 10.0, "sawyer", "t"
    )


class Still:
    """A policy that answers the same six actions."""

    def __init__(self, space: ActionSpace = ActionSpace.CARTESIAN_POSITION) -> None:
        self.card = PolicyCard("still", "still", "p" * 64, space, 10.0, 6)
        self.resets: list[int] = []

    def reset(self, scene: Scene, seed: int) -> None:
        self.resets.append(seed)

    def act(self, observation: Observation) -> ActionChunk:
        return ActionChunk(np.full((6, self.card.action_space.width), 0.5), self.card.action_space, 10.0)

    def close(self) -> None:
        """Nothing to release."""


def test_paraphrases_are_other_words_drawn_from_a_seed() -> None:
    found = paraphrases(OPEN, 8, seed=1)
    assert len(set(found)) == 8
    assert OPEN not in found
    assert found == paraphrases(f"  {OPEN} ", 8, seed=1)
    assert found != paraphrases(OPEN, 8, seed=2)
    everything = paraphrases(OPEN, 2 * len(FRAMES) + 1, seed=0)
    assert "pull open the drawer" in everything
    assert "could you open the drawer" in everything
    # Only a whole word at the beginning is the verb.
    assert not any("pull" in each for each in paraphrases("opening of the drawer", len(FRAMES), seed=0))


@pytest.mark.parametrize(("words", "count", "message"), [(" ", 1, "empty"), (OPEN, 999, "up to 25"), (OPEN, -1, "-1")])
def test_paraphrases_that_cannot_be_had(words: str, count: int, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        paraphrases(words, count, seed=0)


def test_without_variation_a_policy_is_itself() -> None:
    inner = Still()
    policy = VariedPolicy(inner, Variation())
    policy.reset(scene(), 7)
    assert inner.resets == [7]
    np.testing.assert_array_equal(policy.act(observation()).values, inner.act(observation()).values)
    assert policy.card == inner.card


def test_noise_is_of_the_asked_size_and_follows_from_the_seed() -> None:
    def offsets(seed: int, noise: float = 0.02) -> np.ndarray:
        policy = VariedPolicy(Still(), Variation(noise))
        policy.reset(scene(), seed)
        return np.concatenate([policy.act(observation()).values for _ in range(20)]) - 0.5

    many = np.stack([offsets(seed) for seed in range(60)])
    np.testing.assert_array_equal(offsets(3), offsets(3))
    assert not np.allclose(offsets(3), offsets(4))
    assert many[..., :3].std() == pytest.approx(0.02, rel=0.15)
    assert np.abs(many[..., 3:]).max() == 0  # neither orientation nor gripper
    # Neighbours move together: what changed at every action would be averaged away.
    assert np.corrcoef(many[:, 50, 0], many[:, 51, 0])[0, 1] > 0.8


@pytest.mark.parametrize("space", list(ActionSpace))
def test_a_push_displaces_the_hand_alike_in_every_space(space: ActionSpace) -> None:
    path = np.cumsum(np.random.default_rng(0).normal(0, 0.01, (9, 7)), axis=0)
    added = pushed(path, space, control_hz=10.0)
    assert added.shape == (8, space.width)
    assert np.abs(added[:, -1]).max() == 0
    if space is ActionSpace.CARTESIAN_VELOCITY:
        np.testing.assert_allclose(np.cumsum(added[:, :3] / 10.0, axis=0), path[1:, :3] - path[0, :3])
    if space is ActionSpace.CARTESIAN_POSITION:
        np.testing.assert_allclose(added[:, :3], path[1:, :3])


def test_a_shorter_chunk_is_declared_and_carried_out() -> None:
    policy = VariedPolicy(Still(), Variation(chunk=2))
    policy.reset(scene(), 0)
    assert policy.card.chunk_length == len(policy.act(observation())) == 2
    assert VariedPolicy(Still(), Variation(chunk=99)).card.chunk_length == 6


@pytest.mark.parametrize("values", [{"noise": -0.1}, {"noise": float("nan")}, {"noise": 5.0}, {"chunk": 0}])
def test_variations_that_cannot_be(values: dict[str, float]) -> None:
    with pytest.raises(InvalidInput):
        Variation(**values)  # type: ignore[arg-type]


def test_all_combinations_take_turns_beginning_with_the_policy_as_it_is() -> None:
    diversity = Diversity(noises=(0.0, 0.01), chunks=(None, 2))
    turns = [diversity.variation(number) for number in range(4)]
    assert turns[0] == Variation()
    assert len(set(turns)) == 4
    assert diversity.variation(4) == turns[0]


def test_other_words_make_another_scene_and_the_same_words_do_not() -> None:
    first = scene()
    other = told(first, "could you open the drawer")
    assert other.instruction == other.observation.instruction == "could you open the drawer"
    assert other.id != first.id
    assert other.id.startswith("e@0-")
    assert told(first, f" {OPEN} ") is first
    with pytest.raises(InvalidInput, match="told nothing"):
        told(first, " ")


def rollout(frames: int = 9) -> Rollout:
    state = states(frames)
    action = ActionChunk(state[1:], ActionSpace.CARTESIAN_POSITION, 10.0)
    return Rollout(
        id="f" * 64, policy="p", world="w", scene_id="s", task="drawer", instruction=OPEN, seed=1, fps=10.0,
        frames={"wrist": moving_frames(frames)}, state=state, action=action, step_seconds=(0.1,),
        provenance=Provenance("p", "w", "s", "c", "v"),
    )  # fmt: skip


def test_a_rollout_can_be_begun_again_from_a_frame_of_it() -> None:
    source = rollout()
    found = scene_from_rollout(source, 5, robot="sawyer", history=3)
    np.testing.assert_array_equal(found.history["wrist"], source.frames["wrist"][3:6])
    np.testing.assert_array_equal(found.observation.cameras["wrist"], source.frames["wrist"][5])
    np.testing.assert_array_equal(found.history_state, source.state[3:6])
    assert (found.instruction, found.task, found.recorded, found.reset_seed) == (OPEN, "drawer", None, None)
    assert found.id.endswith(scene_sha256(found)[:12])
    assert scene_from_rollout(source, 6, robot="sawyer", history=3).id != found.id
    assert len(scene_from_rollout(source, 0, history=3).history_state) == 3  # the first frame again
    with pytest.raises(InvalidInput, match="frames 0 to 8, not 9"):
        scene_from_rollout(source, 9)


def plan(count: int = 3, **changes: object) -> SynthesisPlan:
    beginnings = tuple(Beginning(f"e{index}", 0, OPEN, "drawer") for index in range(count))
    return SynthesisPlan(beginnings, **changes)  # type: ignore[arg-type]


def test_rounds_leave_out_what_has_enough_and_nothing_else_changes() -> None:
    tried = plan(budget=Budget(per_scene=2))
    first, second = tried.round(0), tried.round(1)
    assert [attempt.beginning.id for attempt in first] == ["e0", "e1", "e2"]
    assert tried.round(1, {"e0@0": 2, "e1@0": 1}) == second[1:]
    seeds = {attempt.seed for attempt in (*first, *second)}
    assert len(seeds) == 6
    # A beginning's attempts are the same whichever others there are.
    assert plan(1, budget=Budget(per_scene=2)).round(1)[0] == second[0]
    assert replace(tried, seed=1).round(0)[0].seed != first[0].seed


def test_wordings_take_turns_and_default_to_the_scenes_own() -> None:
    wordings = (Wording(OPEN, "please open the drawer"), Wording(OPEN, "could you open the drawer"))
    tried = plan(2, wordings={OPEN: wordings})
    assert [attempt.wording for attempt in tried.round(0)] == list(wordings)
    assert [attempt.wording for attempt in tried.round(1)] == list(reversed(wordings))
    assert plan(1).round(0)[0].wording == Wording(OPEN, OPEN)


def test_plans_that_cannot_be() -> None:
    with pytest.raises(InvalidInput, match="no scene"):
        SynthesisPlan(())
    with pytest.raises(InvalidInput, match="e0@0 occurs twice"):
        SynthesisPlan((Beginning("e0", 0, OPEN), Beginning("e0", 0, OPEN)))
    for values in ({"wanted": 0}, {"attempts": 0}, {"per_scene": 0}, {"minutes": 0.0}):
        with pytest.raises(InvalidInput):
            Budget(**values)  # type: ignore[arg-type]


def test_tasks_take_turns() -> None:
    mixed = [Beginning(name, 0, OPEN, name[0]) for name in ("a1", "a2", "a3", "b1")]
    assert [each.id for each in interleaved(mixed)] == ["a1", "b1", "a2", "a3"]
