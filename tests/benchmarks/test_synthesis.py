"""The synthesis benchmark's own parts: its trials are the world's, its control is one, its intervals are right."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from arena.contracts import Episode
from arena.learned.checkpoint import CloningModel
from arena.learned.cloning import CloningPolicy
from arena.rollout import Rollout, run_rollouts
from real2sim.reality.metaworld import MetaWorldWorld
from real2sim.reality.tasks import instruction
from tests.arena.learned.test_cloning import episode
from workers.registry import pretrained

TASK = "faucet-open-v3"


def part(monkeypatch: pytest.MonkeyPatch, name: str) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / "benchmarks"))
    return importlib.import_module(name)


def test_quick_trials_end_as_those_of_the_stand_in_reality(monkeypatch: pytest.MonkeyPatch) -> None:
    truth = part(monkeypatch, "synthesis_truth")
    seeds = truth.reset_seeds("a-test", TASK, 3)
    assert len(set(seeds)) == 3
    policy = CloningPolicy.load(pretrained("bc-keypoints"))
    world, stage = MetaWorldWorld(), truth.Stage()
    try:
        scenes = [world.scene(TASK, seed) for seed in seeds]
        policies = [CloningPolicy.load(pretrained("bc-keypoints")) for _ in seeds]
        slow = run_rollouts(world, policies, scenes, [0] * len(seeds), steps=truth.STEPS)
        quick = stage.successes(CloningModel.load(pretrained("bc-keypoints")), TASK, (instruction(TASK),), seeds)
        told_nothing = stage.successes(CloningModel.load(pretrained("bc-keypoints")), TASK, ("xyzzy",), seeds)
    finally:
        stage.close()
        world.close()
        policy.close()
    assert quick == [isinstance(each, Rollout) and bool(each.success) for each in slow]
    assert True in quick
    assert told_nothing != quick


def test_shuffled_actions_are_another_trials_motion_from_ones_own_start(monkeypatch: pytest.MonkeyPatch) -> None:
    cells = part(monkeypatch, "synthesis_cells")
    mine: list[Episode] = [episode("a", goal=8), episode("b", goal=24, length=5)]
    mine[1] = replace(mine[1], cartesian_position=mine[1].cartesian_position + 0.5)
    first, second = cells.with_shuffled_actions(mine)
    assert len(first.action.values) == 8
    assert len(second.action.values) == 5
    np.testing.assert_allclose(first.action.values[:, 0], 0.24 - 0.5)  # moved from b's start to a's
    np.testing.assert_allclose(second.action.values[:, 0], 0.08 + 0.5)
    np.testing.assert_array_equal(first.state, mine[0].state)


def test_gains_are_paired_and_their_intervals_hold_the_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    figures = part(monkeypatch, "synthesis_figures")
    random = np.random.default_rng(0)
    base = {(seed, "p"): (random.random(200) < 0.4).tolist() for seed in range(3)}
    arm = {key: [old or new for old, new in zip(each, random.random(200) < 0.5, strict=True)]
           for key, each in base.items()}  # fmt: skip
    found = figures.gain(arm, base, ["p"])
    assert found["low"] < 30.0 < found["high"]  # half of the 60% that failed
    assert found["high"] - found["low"] < 12.0
    assert figures.gain(base, base, ["p"]) == {"gain": 0.0, "low": 0.0, "high": 0.0}
    assert figures.rate(base, "p") == pytest.approx(0.4, abs=0.05)


def test_the_target_is_met_only_where_every_part_of_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    verdict = part(monkeypatch, "synthesis_figures").verdict
    arms = {"synthetic": {"gain": 25.0}, "real": {"gain": 40.0}}
    above = {"control_world": {"low": 1.0}, "longer": {"low": 2.0}}
    assert verdict(arms, above, -1.0)["met"]
    assert not verdict({**arms, "real": {"gain": 60.0}}, above, -1.0)["met"]
    assert not verdict(arms, {**above, "longer": {"low": 0.0}}, -1.0)["met"]
    assert not verdict(arms, above, -6.0)["met"]
