"""The composition root: names in commands and jobs become objects here, and nowhere else.

Heavy rooms are imported inside the functions, so that a command pays only for what it uses.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from workers.settings import Settings

if TYPE_CHECKING:
    from arena.episodes.ingest import IngestReport
    from workers.jobs import Context, Progress
    from workers.runner import Broker


def open_context(settings: Settings) -> Context:
    """The store and the artifacts that `settings` name. Nobody watches the progress."""
    from arena.store import Store
    from workers.artifacts import Artifacts
    from workers.jobs import Context

    artifacts = Artifacts(settings.artifacts_location, settings.cache)
    return Context(settings, Store(settings.store_url), artifacts, lambda done, total, stage: None)


def open_broker(settings: Settings) -> Broker | None:
    """The broker that `settings` name, or None where steps run in this process."""
    if settings.broker_url is None:
        return None
    from workers.app import CeleryBroker, make_app

    return CeleryBroker(make_app(settings.broker_url), settings.broker_url)


def read_dataset(path: Path, layout: Path | None, progress: Progress | None = None) -> IngestReport:
    """The episodes of a dataset, and what was refused of it. Raises `InvalidInput` where it has no known layout."""
    from arena.episodes.ingest import ingest

    return ingest(path, layout=layout, progress=progress)
