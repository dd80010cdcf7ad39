"""An API over a store that was filled as evaluations fill it, and tokens of every kind."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn
from starlette.testclient import TestClient

from arena.contracts import ActionChunk, ActionSpace, PolicyCard, Provenance, Rollout, Verdict
from arena.store import Scope, Store
from tests.services import postgresql_server, postgresql_url  # noqa: F401 (fixtures)
from workers import launch
from workers.api.app import create_app
from workers.artifacts import Artifacts
from workers.plans import EvaluationPlan
from workers.rollouts import save_rollout
from workers.settings import Settings

PUBLIC, PRIVATE = "e" * 16, "f" * 16
SERVER = "openpi://8.8.8.8:8000?action_space=joint_velocity&control_hz=15&chunk=8"
SCENES = 3


def rollout_of(policy: str, scene: int, letter: str, success: bool | None = None) -> Rollout:
    frames = np.zeros((4, 32, 48, 3), np.uint8)
    frames[:, :, ::4] = 40 * scene + 40
    return Rollout(
        id=f"{scene}{letter}" * 32, policy=policy, world="dream", scene_id=f"scene-{scene}", task="drawer",
        instruction="close the drawer", seed=7, fps=5.0, frames={"exterior_1": frames, "wrist": frames},
        state=np.zeros((4, 7)), action=ActionChunk(np.zeros((3, 7)), ActionSpace.CARTESIAN_POSITION, 5.0),
        step_seconds=(0.1,), provenance=Provenance(policy * 8, "w" * 64, "s" * 64, "c" * 64, "0.1.0+abc"),
        success=success,
    )  # fmt: skip


def fill(store: Store, artifacts: Artifacts, episodes: Path) -> None:
    """A public evaluation of `good` and `bad`, and one with Ann's private policy `mine` beside them."""
    for name in ("good", "bad", "mine"):
        store.catalog.add_policy(PolicyCard(name, name, name * 8, ActionSpace.JOINT_POSITION, 5.0, 4, ("wrist",)))
    store.accounts.own_policy("mine" * 8, "ann", private=True)
    plan = EvaluationPlan("metaworld", ("hold",), episodes).to_json()
    for id, names in ((PRIVATE, ("good", "bad", "mine")), (PUBLIC, ("good", "bad"))):
        config = {"policies": [[name, name * 8] for name in names], "plan": plan}
        store.results.open_evaluation(id, config, "c" * 64, seed=0)
        found = [rollout_of(name, scene, name[0].replace("g", "a").replace("m", "c"))
                 for name in names for scene in range(SCENES)]  # fmt: skip
        for each in found:
            store.results.add_rollout(each, save_rollout(artifacts, each))
            chance = 0.9 if each.policy == "good" else 0.2
            store.results.add_verdict(Verdict(each.id, "learned", "j" * 64, chance, 50.0, "=1+1"))
        store.results.link_rollouts(id, [each.id for each in found])
        board = {
            "evaluation": id, "judge": {"name": "learned", "sha256": "j" * 64, "card": None},
            "policies": [
                {"policy": name, "rank": [place, place], "score": 1.0 - place, "interval": [-1.0, None],
                 "comparisons": 3, "rollouts": 3, "abstained": 0, "successes": 3, "judged": 3, "progress": 50.0,
                 "note": ""}
                for place, name in enumerate(names, 1)
            ],
            "groups": [list(names)], "comparisons": 3, "notes": [],
        }  # fmt: skip
        store.results.finish_evaluation(id, board)
        time.sleep(0.002)


class Api:
    """A running API: `as_("ann", Scope.SUBMIT)` is a client with a token of hers."""

    def __init__(self, settings: Settings, client: TestClient) -> None:
        self.settings, self.client = settings, client

    @property
    def server(self) -> Any:
        return self.client.app.state.server  # type: ignore[attr-defined]

    @property
    def store(self) -> Store:
        store: Store = self.server.store
        return store

    def token(self, owner: str, *scopes: Scope) -> str:
        return self.store.accounts.create_token(owner, scopes, "test")[0]

    def as_(self, owner: str, *scopes: Scope) -> Caller:
        return Caller(self.client, self.token(owner, *scopes))


class Caller:
    def __init__(self, client: TestClient, token: str) -> None:
        self._client, self._headers = client, {"Authorization": f"Bearer {token}"}

    def get(self, path: str, headers: dict[str, str] | None = None, **given: Any) -> Any:
        return self._client.get(f"/v1/{path}", headers=self._headers | (headers or {}), **given)

    def post(self, path: str, said: Any = None, headers: dict[str, str] | None = None, **given: Any) -> Any:
        return self._client.post(f"/v1/{path}", json=said, headers=self._headers | (headers or {}), **given)

    def delete(self, path: str) -> Any:
        return self._client.delete(f"/v1/{path}", headers=self._headers)


@pytest.fixture
def spawned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys of jobs for which a process would be started."""
    keys: list[str] = []
    monkeypatch.setattr(launch, "_spawn", lambda key, settings: keys.append(key))
    return keys


@pytest.fixture
def settings(home: Path, tmp_path: Path) -> Settings:
    (tmp_path / "episodes").mkdir()
    return Settings(home=home, api_reads_per_second=10_000, api_changes_per_second=10_000)


@pytest.fixture
def serve(settings: Settings, tmp_path: Path, spawned: list[str]) -> Iterator[Callable[..., Api]]:
    """Starts an API with settings changed as asked."""
    running: list[TestClient] = []

    def start(**changes: Any) -> Api:
        chosen = settings.model_copy(update=changes)
        client = TestClient(create_app(chosen), raise_server_exceptions=False)
        client.__enter__()
        running.append(client)
        api = Api(chosen, client)
        fill(api.store, api.server.artifacts, tmp_path / "episodes")
        return api

    yield start
    for client in running:
        client.__exit__(None, None, None)


@pytest.fixture
def api(serve: Callable[..., Api]) -> Api:
    return serve()


@pytest.fixture
def listening(api: Api) -> Iterator[str]:
    """The address of the same API behind a real socket."""
    config = uvicorn.Config(api.client.app, port=0, log_level="error", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until = time.monotonic() + 10
    while not server.started:
        assert time.monotonic() < until
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(10)


__all__ = ["PRIVATE", "PUBLIC", "SERVER", "Api", "Caller", "replace"]
