"""The line-up that rankings are validated with: real differences, and weights that are what the recipes say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from arena.contracts import Episode, InvalidInput, Source
from arena.learned.checkpoint import CloningModel
from real2sim.reality.plans import KINDS
from real2sim.reality.tasks import check_task
from workers.lineup import HELD_OUT_TASKS, LINEUP, TASKS, Recipe, demonstrations
from workers.registry import pretrained


def episode(index: int, task: str, kind: str) -> Episode:
    return Episode(
        id=f"{task}-{index}", cameras={}, fps=10.0, cartesian_position=np.zeros((3, 6)),
        gripper_position=np.zeros((3, 1)), instruction=task, source=Source("test", "memory"), task=task,
        metadata={"kind": kind},
    )  # fmt: skip


def test_no_policy_is_another_with_another_seed() -> None:
    recipes = [(recipe.config(), recipe.kinds, recipe.share) for recipe in LINEUP.values()]
    assert len(set(recipes)) == len(recipes) >= 10
    assert len({recipe.config().encoder for recipe in LINEUP.values()}) >= 3
    assert len({recipe.config().chunk_length for recipe in LINEUP.values()}) >= 2
    assert any(not recipe.config().instructed for recipe in LINEUP.values())


def test_recipes_learn_from_kinds_that_are_recorded() -> None:
    assert all(set(recipe.kinds) <= set(KINDS) for recipe in LINEUP.values())


def test_enough_tasks_and_some_that_the_world_model_never_sees() -> None:
    assert len(TASKS) + len(HELD_OUT_TASKS) >= 12
    assert not set(TASKS) & set(HELD_OUT_TASKS)
    assert len(HELD_OUT_TASKS) == 2
    for task in (*TASKS, *HELD_OUT_TASKS):
        check_task(task)


@pytest.mark.parametrize("name", LINEUP)
def test_what_ships_is_what_the_recipe_says(name: str) -> None:
    model = CloningModel.load(pretrained(name))
    assert model.config == LINEUP[name].config()


def test_a_share_is_taken_of_every_task_and_only_of_the_named_kinds() -> None:
    recorded = [episode(i, task, kind) for task in "ab" for kind in ("expert", "random") for i in range(10)]
    recorded = [replace(each, id=f"{each.id}-{each.metadata['kind']}") for each in recorded]
    chosen = demonstrations(Recipe("", {}, kinds=("expert",), share=0.3), recorded)
    assert chosen == tuple(f"{task}-{i}-expert" for task in "ab" for i in range(3))
    with pytest.raises(InvalidInput, match="no episode was recorded of the kinds noisy"):
        demonstrations(Recipe("", {}, kinds=("noisy",)), recorded)
