"""A store that was filled as an evaluation fills it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import streamlit as st

from arena.contracts import ActionChunk, ActionSpace, PolicyCard, Provenance, Rollout, Verdict, WorldCard
from arena.store import Store
from workers.artifacts import Artifacts
from workers.rollouts import save_rollout
from workers.settings import Settings, load_settings

HOSTILE = "close <b>the</b> [drawer](http://evil) :red[now]"
SCENES = 3


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """An empty home, and no store of an earlier test in Streamlit's caches."""
    for name in ("DATABASE_URL", "ARTIFACTS", "BROKER_URL"):
        monkeypatch.delenv(f"DREAMARENA_{name}", raising=False)
    monkeypatch.setenv("DREAMARENA_HOME", str(tmp_path))
    st.cache_resource.clear()
    st.cache_data.clear()
    yield load_settings()
    st.cache_resource.clear()


@pytest.fixture
def filled(settings: Settings) -> Store:
    """Policies `good` and `bad` in three scenes each, judged; the judge abstained once."""
    store, artifacts = Store(settings.store_url), Artifacts(settings.artifacts_location, settings.cache)
    store.results.open_evaluation("e" * 64, {"steps": 4}, "c" * 64, seed=0)
    rollouts = [rollout_of(policy, scene) for policy in ("good", "bad") for scene in range(SCENES)]
    for rollout in rollouts:
        store.results.add_rollout(rollout, save_rollout(artifacts, rollout))
        store.results.add_verdict(_verdict(rollout))
    store.results.link_rollouts("e" * 64, [rollout.id for rollout in rollouts])
    return store


@pytest.fixture
def catalogued(filled: Store) -> None:
    """The policies' cards."""
    for name in ("good", "bad"):
        filled.catalog.add_policy(PolicyCard(name, name, name * 8, ActionSpace.JOINT_POSITION, 5.0, 4, ("wrist",)))


def two_evaluations(store: Store) -> None:
    """Policies `p0` to `p2` in five scenes, `imagined` and `real`: of those, 0, 2 and 4 succeed in both."""
    for name, judge, knows in (("imagined", "learned", False), ("real", "truth", True)):
        world = f"{name}-world"
        store.catalog.add_world(WorldCard(world, world * 4, 5.0, 4, ("wrist",), knows_success=knows))
        rollouts = []
        for policy in range(3):
            for scene in range(5):
                base = rollout_of("good", scene)
                changes = {"id": f"{name}-{policy}-{scene}", "policy": f"p{policy}", "world": world}
                rollouts.append(replace(base, **changes, success=scene < 2 * policy if knows else None))
        config = {
            "world": {"name": world, "sha256": world * 4},
            "policies": [f"p{policy}" for policy in range(3)],
            "scenes": [f"scene-{scene}" for scene in range(5)],
            "judge": {"name": judge},
        }
        store.results.open_evaluation(name, config, name, seed=0)
        for rollout in rollouts:
            store.results.add_rollout(rollout, f"artifact-{rollout.id}")
            policy, scene = (int(part) for part in rollout.id.split("-")[1:])
            said = float(scene < 2 * policy)
            store.results.add_verdict(Verdict(rollout.id, judge, judge * 8, said, None, ""))
        store.results.link_rollouts(name, [rollout.id for rollout in rollouts])
        store.results.finish_evaluation(
            name, {"judge": {"name": judge, "sha256": judge * 8, "card": None}, "notes": []}
        )


def rollout_of(policy: str, scene: int) -> Rollout:
    frames = np.zeros((4, 32, 48, 3), np.uint8)
    frames[:, :, ::4] = 40 * scene + 40
    return Rollout(
        id=f"{scene}{'a' if policy == 'good' else 'b'}" * 32,
        policy=policy,
        world="dream",
        scene_id=f"scene-{scene}",
        task=f"task-{scene % 2}",
        instruction=HOSTILE,
        seed=7,
        fps=5.0,
        frames={"exterior_1": frames, "wrist": frames},
        state=np.zeros((4, 7)),
        action=ActionChunk(np.zeros((3, 7)), ActionSpace.CARTESIAN_POSITION, 5.0),
        step_seconds=(0.1,),
        provenance=Provenance("p" * 64, "w" * 64, "s" * 64, "c" * 64, "0.1.0+abc"),
        success=policy == "good",
    )


def _verdict(rollout: Rollout) -> Verdict:
    if rollout.policy == "bad" and rollout.scene_id == "scene-2":
        return Verdict(rollout.id, "latent-progress", "j" * 64, None, None, "unlike any demonstration", abstained=True)
    probability, progress = (0.9, 96.0) if rollout.policy == "good" else (0.2, 31.0)
    return Verdict(rollout.id, "latent-progress", "j" * 64, probability, progress, f"nearest [to] {progress:.0f}%")
