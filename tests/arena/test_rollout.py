"""The loop: what it collects, what it asks of world and policies, and that one failure is one failure."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from arena.contracts import (
    ActionChunk,
    ActionSpace,
    FloatArray,
    Frames,
    InvalidInput,
    Observation,
    PolicyCard,
    Rollout,
    Scene,
    WorldCard,
    WorldStep,
)
from arena.rollout import (
    FailedRollout,
    PolicyFailure,
    code_version,
    rollout_id,
    run_rollouts,
    scene_sha256,
)

FPS = 10.0


def picture(state: FloatArray) -> Frames:
    """A frame that shows its state, so that a frame out of place is seen."""
    return np.full((4, 6, 3), 100 + round(state[0] * 100), np.uint8)


def observe(state: FloatArray) -> Observation:
    return Observation({"exterior_1": picture(state)}, state[:6], state[6:], "move")


class IntegerWorld:
    """Goes where it is told to, at once. Knows success: to have been beyond 0.5 m along x."""

    def __init__(self, frames_per_step: int = 4, knows_success: bool = True) -> None:
        self.card = WorldCard("integer", "w" * 64, FPS, frames_per_step, ("exterior_1",), knows_success=knows_success)
        self.states: list[FloatArray] = []
        self.asked: list[list[int]] = []

    def start(self, scenes: Sequence[Scene], seeds: Sequence[int]) -> list[Observation]:
        self.states = [scene.observation.state for scene in scenes]
        return [scene.observation for scene in scenes]

    def step(self, chunks: Sequence[ActionChunk]) -> list[WorldStep]:
        self.asked.append([len(chunk) for chunk in chunks])
        assert all(chunk.space == self.card.action_space and chunk.control_hz == FPS for chunk in chunks)
        self.states = [chunk.values[-1] for chunk in chunks]
        return [
            WorldStep(
                {"exterior_1": np.stack([picture(row) for row in chunk.values])},
                chunk.values,
                observe(chunk.values[-1]),
                success=bool((chunk.values[:, 0] > 0.5).any()) if self.card.knows_success else None,
            )
            for chunk in chunks
        ]

    def close(self) -> None:
        pass


class Mover:
    """Moves by `speed` m per action along x; may break off at its `fail_at`-th answer."""

    def __init__(
        self, speed: float, *, chunk: int = 4, fail_at: int | None = None, error: Callable[[], Exception] | None = None
    ) -> None:
        self.card = PolicyCard(f"mover-{speed}", "mover", "p" * 64, ActionSpace.CARTESIAN_POSITION, FPS, chunk)
        self.speed, self.fail_at = speed, fail_at
        self.error = error or (lambda: InvalidInput("the server sent NaN"))
        self.seen: list[float] = []
        self.began: list[tuple[str, int]] = []

    def reset(self, scene: Scene, seed: int) -> None:
        self.began.append((scene.id, seed))
        if self.fail_at == -1:
            raise self.error()

    def act(self, observation: Observation) -> ActionChunk:
        if len(self.seen) == self.fail_at:
            raise self.error()
        self.seen.append(float(observation.state[0]))
        values = np.tile(observation.state, (self.card.chunk_length, 1))
        values[:, 0] += self.speed * np.arange(1, self.card.chunk_length + 1)
        return ActionChunk(values, self.card.action_space, FPS)

    def close(self) -> None:
        pass


def scene(name: str = "s", x: float = 0.0) -> Scene:
    first = observe(np.array([x, 0, 0.2, 0, 0, 0, 0.5]))
    history = {"exterior_1": first.cameras["exterior_1"][None]}
    return Scene(name, first, history, first.state[None], "move", FPS, task="moving")


def finished(outcome: Rollout | FailedRollout) -> Rollout:
    assert isinstance(outcome, Rollout)
    return outcome


def test_collects_every_frame_state_and_action() -> None:
    world, policy = IntegerWorld(), Mover(0.02)
    stages: list[tuple[int, int, str]] = []
    [outcome] = run_rollouts(
        world,
        [policy],
        [scene()],
        [7],
        steps=10,
        config_sha256="c" * 64,
        code="v1",
        progress=lambda *a: stages.append(a),
    )
    rollout = finished(outcome)
    np.testing.assert_allclose(rollout.state[:, 0], 0.02 * np.arange(11), atol=1e-9)
    np.testing.assert_array_equal(rollout.frames["exterior_1"][:, 0, 0, 0], 100 + 2 * np.arange(11))
    np.testing.assert_array_equal(rollout.action.values, rollout.state[1:])
    assert rollout.frames["exterior_1"].dtype == np.uint8
    assert world.asked == [[4], [4], [2]]
    assert stages == [(4, 10, "rollout"), (8, 10, "rollout"), (10, 10, "rollout")]
    assert len(rollout.step_seconds) == 3
    assert policy.began == [("s", 7)]
    np.testing.assert_allclose(policy.seen, [0.0, 0.08, 0.16], atol=1e-9)
    assert (rollout.policy, rollout.world, rollout.task, rollout.fps) == ("mover-0.02", "integer", "moving", FPS)
    assert rollout.provenance.policy == "p" * 64
    assert rollout.provenance.world == "w" * 64
    assert rollout.provenance.scene == scene_sha256(scene())
    assert (rollout.provenance.config, rollout.provenance.code) == ("c" * 64, "v1")


def test_a_batch_is_its_trials_one_by_one() -> None:
    scenes, speeds = [scene("a"), scene("b", 0.3), scene("c", 0.1)], (0.01, 0.02, -0.01)
    together = run_rollouts(IntegerWorld(), [Mover(s) for s in speeds], scenes, [1, 2, 3], steps=9)
    for index, outcome in enumerate(together):
        [alone] = run_rollouts(IntegerWorld(), [Mover(speeds[index])], [scenes[index]], [index + 1], steps=9)
        a, b = finished(outcome), finished(alone)
        np.testing.assert_array_equal(a.state, b.state)
        np.testing.assert_array_equal(a.frames["exterior_1"], b.frames["exterior_1"])
        assert (a.id, a.success) == (b.id, b.success)


def test_success_is_the_worlds_word_and_lasts() -> None:
    there_and_back = Mover(0.1)
    [outcome] = run_rollouts(IntegerWorld(), [there_and_back], [scene(x=0.3)], [0], steps=4)
    assert finished(outcome).success is True
    [outcome] = run_rollouts(IntegerWorld(), [Mover(-0.1)], [scene(x=0.7)], [0], steps=8)
    assert finished(outcome).state[-1, 0] < 0.5
    assert finished(outcome).success is True
    [outcome] = run_rollouts(IntegerWorld(), [Mover(0.01)], [scene()], [0], steps=4)
    assert finished(outcome).success is False
    [outcome] = run_rollouts(IntegerWorld(knows_success=False), [Mover(0.1)], [scene(x=0.3)], [0], steps=4)
    assert finished(outcome).success is None


@pytest.mark.parametrize(("fail_at", "step"), [(-1, 0), (0, 0), (2, 8)])
def test_a_failing_policy_ends_its_own_trial_only(fail_at: int, step: int) -> None:
    world = IntegerWorld()
    policies = [Mover(0.01), Mover(0.02, fail_at=fail_at), Mover(0.03)]
    first, failed, last = run_rollouts(world, policies, [scene("a"), scene("b"), scene("c")], [0, 1, 2], steps=16)
    assert isinstance(failed, FailedRollout)
    assert (failed.policy, failed.scene_id, failed.seed, failed.step) == ("mover-0.02", "b", 1, step)
    assert isinstance(failed.error, PolicyFailure)
    assert str(failed.error) == f"mover-0.02 failed in scene b at step {step}: the server sent NaN"
    assert isinstance(failed.error.__cause__, InvalidInput)
    assert failed.id == rollout_id(policies[1].card, world.card, "b", 1, steps=16)
    assert len(finished(first).state) == len(finished(last).state) == 17
    assert world.asked == [[4, 4, 4]] * 4
    assert world.states[1][0] == pytest.approx(0.02 * step), "the robot of the failed policy holds still"


def test_a_batch_whose_policies_all_failed_stops() -> None:
    world = IntegerWorld()
    outcomes = run_rollouts(world, [Mover(0.1, fail_at=1)], [scene()], [0], steps=40)
    assert isinstance(outcomes[0], FailedRollout)
    assert len(world.asked) == 2


def test_a_bug_is_not_taken_for_a_failing_policy() -> None:
    broken = Mover(0.1, fail_at=0, error=lambda: ZeroDivisionError("a bug"))
    with pytest.raises(ZeroDivisionError):
        run_rollouts(IntegerWorld(), [broken], [scene()], [0], steps=4)


def test_no_step_outlasts_a_policys_answer() -> None:
    world, policy = IntegerWorld(frames_per_step=8), Mover(0.02, chunk=3)
    run_rollouts(world, [policy], [scene()], [0], steps=9)
    assert world.asked == [[3], [3], [3]]
    np.testing.assert_allclose(policy.seen, [0.0, 0.06, 0.12], atol=1e-9)


@pytest.mark.parametrize(
    ("policies", "scenes", "seeds", "steps", "says"),
    [
        (1, 2, 2, 4, "1 policies, 2 scenes, 2 seeds"),
        (2, 2, 1, 4, "2 policies, 2 scenes, 1 seeds"),
        (0, 0, 0, 4, "0 scenes"),
        (1, 1, 1, 0, "at least one step"),
    ],
)
def test_ill_formed_batches_are_refused(policies: int, scenes: int, seeds: int, steps: int, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        run_rollouts(
            IntegerWorld(), [Mover(0.1) for _ in range(policies)], [scene()] * scenes, [0] * seeds, steps=steps
        )


def test_policies_may_not_be_shared_between_scenes() -> None:
    with pytest.raises(InvalidInput, match="of its own"):
        run_rollouts(IntegerWorld(), [Mover(0.1)] * 2, [scene("a"), scene("b")], [0, 1], steps=4)


def test_identity_depends_on_every_ingredient() -> None:
    policy, world = Mover(0.1).card, IntegerWorld().card
    base = rollout_id(policy, world, "s", 0, steps=4)
    assert re.fullmatch("[0-9a-f]{64}", base)
    assert base == rollout_id(dataclasses.replace(policy, name="renamed"), world, "s", 0, steps=4)
    others = {
        rollout_id(dataclasses.replace(policy, sha256="q" * 64), world, "s", 0, steps=4),
        rollout_id(policy, dataclasses.replace(world, sha256="v" * 64), "s", 0, steps=4),
        rollout_id(policy, world, "t", 0, steps=4),
        rollout_id(policy, world, "s", 1, steps=4),
        rollout_id(policy, world, "s", 0, steps=5),
        rollout_id(policy, world, "s", 0, steps=4, config_sha256="c"),
    }
    assert len(others | {base}) == 7


def test_scene_hash_follows_its_content() -> None:
    base = scene()
    changed = base.observation.cameras["exterior_1"].copy()
    changed[0, 0, 0] += 1
    pixel = dataclasses.replace(base.observation, cameras={"exterior_1": changed})
    others = [
        dataclasses.replace(base, observation=pixel),
        dataclasses.replace(base, instruction="stay"),
        dataclasses.replace(base, reset_seed=3),
        dataclasses.replace(base, recorded=ActionChunk(np.zeros((2, 7)), ActionSpace.CARTESIAN_POSITION, FPS)),
        scene(x=0.001),
    ]
    assert scene_sha256(base) == scene_sha256(scene())
    assert len({scene_sha256(other) for other in [base, *others]}) == 6


def test_code_version_names_the_package() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+(\+[0-9a-f]{40}(-dirty)?)?", code_version())
