"""`dreamarena api`: the HTTP API."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

from workers.cli.session import Answer, Session

LOCAL = ("127.0.0.1", "::1", "localhost")
KEEP_ALIVE_SECONDS = 30
DRAIN_SECONDS = 20
"""How long requests that have begun may take once the server is told to stop."""
AT_ONCE = 1000
"""Connections, beyond which a server answers 503."""


@dataclass(frozen=True)
class Api:
    """Let programs elsewhere submit policies, read leaderboards and films, and vote: see docs/api.md.

    Make tokens with `dreamarena token create`. The operations are described at /docs.
    """

    host: str = "127.0.0.1"
    """0.0.0.0 serves other machines too: put a proxy with TLS before it, because tokens are sent with every request."""
    port: int = 8600
    processes: int = 1
    """Rate limits count in each of them."""
    json: bool = False
    """Print JSON and nothing else on stdout."""

    def run(self, session: Session) -> Answer:
        from arena.contracts import InvalidInput

        if find_spec("fastapi") is None or find_spec("uvicorn") is None:
            raise InvalidInput("the API needs fastapi and uvicorn: pip install 'dreamarena[api]'")
        if not 0 < self.port < 65536:
            raise InvalidInput(f"--port must be 1 to 65535, not {self.port}")
        if self.processes < 1:
            raise InvalidInput(f"--processes must be at least 1, not {self.processes}")
        import uvicorn

        # A database that cannot be opened is said here, in one line, and migrated once.
        tokens = session.context.store.accounts.tokens()
        if not tokens:
            session.say("there is no token yet: dreamarena token create NAME --scopes submit")
        if self.host not in LOCAL:
            session.say("other machines can reach this: let a proxy speak TLS with them")
        session.say(f"dreamarena API at http://{self.host}:{self.port}, described at /docs (Ctrl-C ends it)")
        uvicorn.run(
            "workers.api.app:from_environment", factory=True, host=self.host, port=self.port, workers=self.processes,
            access_log=False, server_header=False, log_level="warning", timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=DRAIN_SECONDS, limit_concurrency=AT_ONCE,
        )  # fmt: skip
        return Answer({"host": self.host, "port": self.port}, lambda console: None)
