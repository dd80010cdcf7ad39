"""The commands by name. Their modules import nothing heavy until they run, so that `--help` is quick."""

from __future__ import annotations

from typing import Annotated

from tyro.conf import subcommand

from workers.cli.ingest import Ingest
from workers.cli.worker import Worker

COMMANDS = (Ingest, Worker)

Dreamarena = Annotated[Ingest, subcommand("ingest")] | Annotated[Worker, subcommand("worker")]
