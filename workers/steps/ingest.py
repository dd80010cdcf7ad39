"""The step `ingest`: read a dataset's episodes and list them in the catalog."""

from __future__ import annotations

from pathlib import Path

from arena.store import EpisodeRecord
from workers.content import content_address
from workers.jobs import Context, Inputs, Json, Step
from workers.registry import read_dataset


class IngestInputs(Inputs):
    """`fingerprint` covers the dataset and the layout file: changed files are read again."""

    path: str
    layout: str | None
    fingerprint: str


def ingest(inputs: IngestInputs, context: Context) -> Json:
    """List the episodes at `path`, and those that were refused, each with its path and the reason."""
    layout = Path(inputs.layout) if inputs.layout else None
    found = read_dataset(Path(inputs.path), layout, context.progress).as_json()
    records = [EpisodeRecord(item["id"], inputs.path, content_address(item), item) for item in found["episodes"]]
    context.store.catalog.replace_dataset(inputs.path, records)
    return {"dataset": inputs.path, **found}


STEP = Step("ingest", IngestInputs, ingest)
