"""What there is to evaluate: episodes, policies, worlds and scenes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import delete, select

from arena.contracts import ActionSpace, PolicyCard, Scene, WorldCard
from arena.store.database import Database, insert_new
from arena.store.records import EpisodeRecord, PolicyRecord
from arena.store.tables import EpisodeRow, PolicyRow, SceneRow, WorldRow


class Catalog:
    """Registers by content hash: registering the same thing twice changes nothing."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def replace_dataset(self, dataset: str, episodes: Sequence[EpisodeRecord]) -> None:
        """Make `episodes` the ones that `dataset` holds, forgetting what an earlier ingest found there."""
        now = time.time()
        with self._database.write() as session:
            session.execute(delete(EpisodeRow).where(EpisodeRow.dataset == dataset))
            session.add_all(
                EpisodeRow(dataset=dataset, id=item.id, sha256=item.sha256, summary=dict(item.summary), updated_at=now)
                for item in episodes
            )

    def episodes(self, dataset: str | None = None) -> list[EpisodeRecord]:
        query = select(EpisodeRow).order_by(EpisodeRow.dataset, EpisodeRow.id)
        if dataset is not None:
            query = query.where(EpisodeRow.dataset == dataset)
        with self._database.read() as session:
            return [EpisodeRecord(row.id, row.dataset, row.sha256, row.summary) for row in session.scalars(query)]

    def add_policy(self, card: PolicyCard) -> None:
        values = {"sha256": card.sha256, "name": card.name, "spec": card.spec, "card": _plain(card)}
        with self._database.write() as session:
            insert_new(session, PolicyRow, values | {"created_at": time.time()})

    def policies(self) -> list[PolicyRecord]:
        with self._database.read() as session:
            rows = session.scalars(select(PolicyRow).order_by(PolicyRow.created_at, PolicyRow.name))
            return [PolicyRecord(_policy_card(row.card), row.created_at) for row in rows]

    def policies_named(self, name: str) -> list[PolicyCard]:
        """The cards of all policies that go by a name."""
        with self._database.read() as session:
            rows = session.scalars(select(PolicyRow).where(PolicyRow.name == name))
            return [_policy_card(row.card) for row in rows]

    def add_world(self, card: WorldCard) -> None:
        values = {"sha256": card.sha256, "name": card.name, "card": _plain(card)}
        with self._database.write() as session:
            insert_new(session, WorldRow, values | {"created_at": time.time()})

    def worlds(self) -> list[WorldCard]:
        with self._database.read() as session:
            rows = session.scalars(select(WorldRow).order_by(WorldRow.created_at, WorldRow.name))
            return [_world_card(row.card) for row in rows]

    def add_scene(self, scene: Scene, sha256: str) -> None:
        """Note where a scene came from; its frames stay with its episode."""
        summary = {"instruction": scene.instruction, "task": scene.task, "robot": scene.robot, "fps": scene.fps}
        values = {
            "sha256": sha256,
            "id": scene.id,
            "episode_id": scene.episode_id,
            "summary": summary | {"reset_seed": scene.reset_seed, "cameras": sorted(scene.observation.cameras)},
            "created_at": time.time(),
        }
        with self._database.write() as session:
            insert_new(session, SceneRow, values)

    def scene_ids(self) -> list[str]:
        with self._database.read() as session:
            return list(session.scalars(select(SceneRow.id).distinct().order_by(SceneRow.id)))


def _plain(card: PolicyCard | WorldCard) -> dict[str, Any]:
    return asdict(card)


def _policy_card(card: dict[str, Any]) -> PolicyCard:
    resolution = tuple(card["resolution"]) if card["resolution"] else None
    space, cameras = ActionSpace(card["action_space"]), tuple(card["cameras"])
    return PolicyCard(**(card | {"action_space": space, "cameras": cameras, "resolution": resolution}))


def _world_card(card: dict[str, Any]) -> WorldCard:
    lists = {name: tuple(value) for name, value in card.items() if isinstance(value, list)}
    return WorldCard(**(card | lists | {"action_space": ActionSpace(card["action_space"])}))
