"""`dreamarena ingest`: what episodes a folder holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from tyro.conf import Positional

from workers.cli.session import Answer, Session


@dataclass(frozen=True)
class Ingest:
    """Read the episodes of a dataset, refuse damaged ones by name, and list the rest."""

    path: Positional[Path]
    """A folder in the DROID annotation layout, a LeRobotDataset v3.0 or v2.1, or clips with a TOML file."""
    layout: Path | None = None
    """A TOML that declares what the columns are; by default the dreamarena.toml inside the dataset."""
    json: bool = False
    """Print JSON and nothing else on stdout."""

    def run(self, session: Session) -> Answer:
        from workers.content import fingerprint
        from workers.jobs import Request
        from workers.steps.ingest import IngestInputs

        sources = [self.path] if self.layout is None else [self.path, self.layout]
        layout = None if self.layout is None else str(self.layout.resolve())
        inputs = IngestInputs(path=str(self.path.resolve()), layout=layout, fingerprint=fingerprint(*sources))
        [found] = session.run([Request("ingest", inputs)])
        return Answer(found, lambda console: _show(found, console))


def _show(found: dict[str, Any], console: Console) -> None:
    table = Table("episode", "frames", "fps", "cameras", "success", "instruction")
    for episode in found["episodes"]:
        cameras = ", ".join(f"{name} {width}x{height}" for name, (height, width) in episode["cameras"].items())
        success = {True: "yes", False: "no", None: "unknown"}[episode["success"]]
        row = (episode["id"], str(episode["length"]), f"{episode['fps']:g}", cameras, success, episode["instruction"])
        table.add_row(*row)
    console.print(table)
    for refused in found["refused"]:
        console.print(f"refused {refused['path']}: {refused['reason']}", markup=False)
    console.print(f"{len(found['episodes'])} episodes, {len(found['refused'])} refused")
