"""What is kept: sure successes, in step with their pictures, no two alike, spread over scenes; the rest is counted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from arena.contracts import ActionChunk, ActionSpace, Episode, InvalidInput, Provenance, Rollout, Source, Verdict
from arena.episodes.video import ArrayFrames
from arena.synthesis.diversity import Variation
from arena.synthesis.mixing import Resized, recorded_beside
from arena.synthesis.plan import Attempt, Beginning, Wording
from arena.synthesis.provenance import Judged, synthetic_trajectory
from arena.synthesis.select import (
    ABSTAINED,
    ADRIFT,
    ALIKE,
    FAILED,
    SHORT,
    SURPLUS,
    UNSURE,
    Candidate,
    Rules,
    distance,
    select,
)
from tests.arena.episodes.making import moving_frames, states
from tests.arena.synthesis.making import trajectory


def candidate(id: str, scene: str = "s", probability: float | None = 0.9, **changes: Any) -> Candidate:
    seed = sum(map(ord, id))
    values: dict[str, Any] = {"group": "drawer", "threshold": 0.6, "state": states(12, seed), "apart": 0.5}
    return Candidate(id, scene, probability=probability, **values | changes)


def test_each_is_dropped_for_the_first_reason_that_holds() -> None:
    mixed = [
        candidate("good"),
        candidate("quiet", probability=None),
        candidate("failed", probability=0.59),
        candidate("unsure", probability=0.62),
        candidate("adrift", apart=1.5),
        candidate("short", probability=0.1, done=0),
        candidate("unmeasured", apart=None),
    ]
    found = select(mixed, Rules(margin=0.1, settled=1, shortest=4))
    assert [each.id for each in found.chosen] == ["good", "unmeasured"]
    wanted = {"quiet": ABSTAINED, "failed": FAILED, "unsure": UNSURE, "adrift": ADRIFT, "short": SHORT}
    assert dict(found.dropped) == wanted
    assert found.counts == dict.fromkeys(wanted.values(), 1)


def test_without_judging_everything_long_enough_is_kept_with_all_its_frames() -> None:
    mixed = [candidate("a", probability=None), candidate("b", probability=0.0), candidate("c", state=states(3))]
    found = select(mixed, Rules(judged=False))
    assert [(each.id, each.frames) for each in found.chosen] == [("a", 12), ("b", 12)]


def test_trials_are_cut_soon_after_they_were_done() -> None:
    found = select([candidate("a", done=5), candidate("b", done=11), candidate("c")], Rules(settled=2))
    assert {each.id: each.frames for each in found.chosen} == {"a": 8, "b": 12, "c": 12}


def test_of_two_nearly_equal_ones_the_surer_is_kept_unless_their_scenes_differ() -> None:
    one = candidate("a", probability=0.8)
    twin = replace(one, id="b", probability=0.9, state=one.state + 0.001)
    elsewhere = replace(one, id="c", scene="other")
    found = select([one, twin, elsewhere], Rules())
    assert [each.id for each in found.chosen] == ["b", "c"]
    assert found.dropped == {"a": ALIKE}
    assert distance(one, twin, Rules()) == pytest.approx(np.hypot(np.sqrt(3) * 0.001, 0.05 * 0.001), rel=1e-6)


def test_scenes_and_groups_take_turns_before_anyone_has_two_more() -> None:
    rich = [candidate(f"r{index}", "rich", 0.95) for index in range(6)]
    poor = [candidate("p", "poor", 0.7)]
    other = [candidate("o", "other", 0.65, group="door")]
    found = select([*rich, *poor, *other], Rules(alike=0.0), wanted=4)
    assert len(found.chosen) == 4
    assert {"p", "o"} <= {each.id for each in found.chosen}
    assert found.counts == {SURPLUS: 4}
    capped = select([*rich, *poor, *other], Rules(alike=0.0), per_scene=2)
    assert sum(each.id.startswith("r") for each in capped.chosen) == 2


def test_the_same_seed_chooses_the_same() -> None:
    many = [candidate(f"c{index}", f"s{index}") for index in range(12)]
    first = select(many, Rules(), wanted=4, seed=1)
    assert first == select(many, Rules(), wanted=4, seed=1)
    assert {select(many, Rules(), wanted=4, seed=seed).chosen for seed in range(6)} != {first.chosen}


@pytest.mark.parametrize("values", [{"margin": 1.0}, {"apart": 0.0}, {"alike": -1.0}, {"settled": -1}, {"shortest": 1}])
def test_rules_that_cannot_be(values: dict[str, float]) -> None:
    with pytest.raises(InvalidInput):
        Rules(**values)  # type: ignore[arg-type]


def judged(abstained: bool = False) -> Judged:
    state = states(9)
    action = ActionChunk(state[1:] + 0.01, ActionSpace.CARTESIAN_POSITION, 10.0)
    rollout = Rollout(
        id="f" * 64, policy="bc", world="small", scene_id="s", task="drawer", instruction="open the drawer", seed=5,
        fps=10.0, frames={}, state=state, action=action, step_seconds=(0.1,),
        provenance=Provenance("p" * 64, "w" * 64, "s" * 64, "c" * 64, "1.0+abc"),
    )  # fmt: skip
    verdict = Verdict(rollout.id, "learned", "j" * 64, None if abstained else 0.8, 90.0, abstained=abstained)
    attempt = Attempt(
        Beginning("e0", 0, "open the drawer", "drawer"), Wording("open the drawer", "please open the drawer"),
        Variation(0.02), 5, 2,
    )  # fmt: skip
    return Judged(rollout, {"wrist": ArrayFrames(moving_frames(9))}, verdict, attempt, "sawyer")


def test_a_trajectory_says_where_it_came_from() -> None:
    made = synthetic_trajectory(judged(), 6, {"apart": 0.4})
    source = judged().rollout
    assert len(made) == 6
    np.testing.assert_array_equal(made.action.values, source.action.values[:6])
    np.testing.assert_array_equal(made.cameras["wrist"].read(), moving_frames(9)[:6])
    assert made.instruction == "please open the drawer"
    origin = made.origin
    assert origin.synthetic
    assert (origin.success, origin.success_probability, origin.seed) == (True, 0.8, 5)
    assert (origin.policy_sha256, origin.world_sha256, origin.judge_sha256) == ("p" * 64, "w" * 64, "j" * 64)
    assert origin.details["told"] == "open the drawer"
    assert origin.details["variation"] == {"noise": 0.02, "chunk": None, "weight": None}
    assert (origin.details["kept_frames"], origin.details["apart"]) == (6, 0.4)


def test_the_last_action_commands_to_stay_and_an_abstention_is_no_success() -> None:
    whole = synthetic_trajectory(judged(abstained=True), 9)
    np.testing.assert_array_equal(whole.action.values[-1], whole.action.values[-2])
    assert whole.origin.success is None
    assert synthetic_trajectory(judged(), 9, {"success": False}).origin.success is False


def test_a_gripper_that_a_world_model_extrapolates_is_reported_as_far_as_grippers_go() -> None:
    source = judged()
    state = source.rollout.state.copy()
    state[:, 6] = np.linspace(-0.2, 1.2, len(state))
    made = synthetic_trajectory(replace(source, rollout=replace(source.rollout, state=state)), 9)
    np.testing.assert_array_equal(made.state[:, 6], state[:, 6].clip(0, 1))
    np.testing.assert_array_equal(made.state[:, :6], state[:, :6])


def recorded(index: int, size: tuple[int, int] = (32, 48), **changes: Any) -> Episode:
    state = states(7, index)
    values: dict[str, Any] = {
        "id": f"real-{index}",
        "cameras": {name: ArrayFrames(moving_frames(7, *size)) for name in ("exterior_1", "exterior_2", "wrist")},
        "fps": 10.0,
        "cartesian_position": state[:, :6],
        "gripper_position": state[:, 6:],
        "joint_position": np.zeros((7, 7)),
        "instruction": "open the drawer",
        "source": Source("lerobot-v3.0", "somewhere", index),
        "action": ActionChunk(state, ActionSpace.CARTESIAN_POSITION, 10.0),
        "success": True,
        "task": f"task-{index % 2}",
        "robot": "sawyer",
    }
    return Episode(**values | changes)


def test_recorded_episodes_are_mixed_in_at_the_ratio_and_made_to_fit() -> None:
    like = trajectory(0)
    episodes = [recorded(index) for index in range(6)] + [recorded(9, success=False)]
    found = recorded_beside(like, episodes, synthetic=4, ratio=0.5, seed=0)
    assert len(found) == 4
    assert {each.task for each in found} == {"task-0", "task-1"}
    for each in found:
        assert not each.origin.synthetic
        assert each.id != "real-9"
        assert {name: source.shape[1:] for name, source in each.cameras.items()} == {
            name: source.shape[1:] for name, source in like.cameras.items()
        }
        assert each.joint_position is None


@pytest.mark.parametrize(
    ("ratio", "changes", "message"),
    [
        (0.0, {}, "above 0 and below 1"),
        (1.0, {}, "above 0 and below 1"),
        (0.9, {}, "needs 36 recorded ones"),
        (0.5, {"fps": 5.0}, "at 5 Hz"),
        (0.5, {"robot": "panda"}, "'panda'"),
        (0.5, {"cameras": {"wrist": ArrayFrames(moving_frames(7))}}, "lacks the camera 'exterior_1'"),
    ],
)
def test_what_cannot_be_mixed(ratio: float, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        recorded_beside(trajectory(0), [recorded(index, **changes) for index in range(6)], 4, ratio, 0)


def test_resized_frames_keep_what_they_show() -> None:
    source = ArrayFrames(moving_frames(5, 64, 96))
    small = Resized(source, 32, 48)
    assert small.shape == (5, 32, 48, 3)
    blocks = source.read(1, 3).reshape(2, 32, 2, 48, 2, 3).mean(axis=(2, 4))
    np.testing.assert_allclose(small.read(1, 3), blocks, atol=1.0)
