"""Two worlds' evaluations, trial by trial."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from arena.contracts import ActionChunk, ActionSpace, InvalidInput, Provenance, Rollout, Verdict
from arena.store import Store
from arena.validation.worlds import beginning_of, compare_worlds


def add(store: Store, evaluation: str, said: dict[tuple[str, str], float | None]) -> None:
    """An evaluation whose judge gave each policy and beginning a probability; None is an abstention."""
    store.results.open_evaluation(evaluation, {"policies": []}, evaluation, 0)
    for number, ((policy, beginning), probability) in enumerate(said.items()):
        id = f"{evaluation}-{number}"
        action = ActionChunk(np.zeros((1, 7)), ActionSpace.CARTESIAN_POSITION, 5.0)
        scene = f"{beginning}-{evaluation}hash"
        provenance = Provenance(policy, evaluation, scene, "", "")
        rollout = Rollout(
            id, policy, evaluation, scene, "lift", "lift it", 0, 5.0, {}, np.zeros((2, 7)), action, (0.1,), provenance
        )
        store.results.add_rollout(rollout, f"rollouts/{id}")
        store.results.link_rollouts(evaluation, [id])
        store.results.add_verdict(Verdict(id, "judge", "j" * 64, probability, None, abstained=probability is None))
    store.results.finish_evaluation(evaluation, {"judge": {"name": "judge", "sha256": "j" * 64}})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(f"sqlite:///{tmp_path / 'store.db'}")


def test_disagreements_are_found_furthest_apart_first(store: Store) -> None:
    twin = {("a", "e-1@0"): 0.9, ("a", "e-2@0"): 0.8, ("b", "e-1@0"): 0.1, ("b", "e-2@0"): 0.7, ("b", "e-3@0"): None}
    model = {("a", "e-1@0"): 0.7, ("a", "e-2@0"): 0.4, ("b", "e-1@0"): 0.2, ("b", "e-2@0"): 0.0, ("b", "e-3@0"): 0.9}
    add(store, "twin", twin)
    add(store, "model", model)
    found = compare_worlds(store, "twin", "model")
    assert (found.trials, found.unpaired) == (4, 1)
    assert found.agreement.value == 0.5
    assert found.agreement.low is not None
    assert found.agreement.low < 0.5
    assert found.kappa == pytest.approx(0.2)  # observed 1/2, by chance 3/4 * 1/4 + 1/4 * 3/4
    assert [(each.policy, each.beginning) for each in found.disagreements] == [("b", "e-2@0"), ("a", "e-2@0")]
    assert found.disagreements[0].first_rollout == "twin-3"
    assert found.disagreements[0].second_rollout == "model-3"


def test_evaluations_without_a_common_trial_are_refused(store: Store) -> None:
    add(store, "twin", {("a", "e-1@0"): 0.9})
    add(store, "model", {("a", "e-2@0"): 0.9})
    with pytest.raises(InvalidInput, match="share no judged trial"):
        compare_worlds(store, "twin", "model")


def test_a_beginning_is_a_scene_without_its_pictures() -> None:
    assert beginning_of("droid-val-0001@12-0123456789ab") == "droid-val-0001@12"
