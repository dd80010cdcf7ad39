"""Models' replies as artifacts, so that no worker pays for what another one has asked."""

from __future__ import annotations

from pathlib import Path

from arena.episodes.errors import DamagedArtifact
from arena.judges.vlm.cache import dump, parse
from arena.judges.vlm.endpoint import Reply
from workers.artifacts import Artifacts, reference

FILE = "reply.json"


class ArtifactReplies:
    """A `ReplyCache` on an artifact store. A reply that cannot be read is asked for again."""

    def __init__(self, artifacts: Artifacts) -> None:
        self._artifacts = artifacts

    def get(self, key: str) -> Reply | None:
        ref = reference("replies", key)
        if not self._artifacts.has(ref):
            return None
        try:
            return parse((self._artifacts.get(ref) / FILE).read_text(errors="replace"))
        except (OSError, DamagedArtifact):
            return None

    def put(self, key: str, reply: Reply) -> None:
        self._artifacts.put(reference("replies", key), lambda folder: _write(folder / FILE, reply))


def _write(path: Path, reply: Reply) -> None:
    path.write_text(dump(reply))
