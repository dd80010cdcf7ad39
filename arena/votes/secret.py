"""The secret that tokens are signed with."""

from __future__ import annotations

import contextlib
import secrets
from pathlib import Path

from arena.votes.tokens import MIN_SECRET_BYTES

SECRET_FILE = "voting.secret"


def secret_of(home: Path, given: str | None = None) -> bytes:
    """The secret that was given, or that of a file in `home`, which is made when it is first asked for.

    Several servers on one store need the same secret, and so have to be given it.
    """
    if given is not None:
        return given.encode()
    path = home / SECRET_FILE
    if not path.exists():
        home.mkdir(parents=True, exist_ok=True)
        _write_once(path, secrets.token_bytes(MIN_SECRET_BYTES))
    return path.read_bytes()


def _write_once(path: Path, data: bytes) -> None:
    """For the owner alone. Of two processes that come at once, the first one's stays."""
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    partial.touch(mode=0o600)
    partial.write_bytes(data)
    with contextlib.suppress(FileExistsError):
        path.hardlink_to(partial)
    partial.unlink()
