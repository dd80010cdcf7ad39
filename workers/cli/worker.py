"""`dreamarena worker`: take steps from the broker."""

from __future__ import annotations

from dataclasses import dataclass

from workers.cli.session import Answer, Session


@dataclass(frozen=True)
class Worker:
    """Take jobs from DREAMARENA_BROKER_URL until stopped. Start one for each GPU, or for each few CPU cores."""

    loglevel: str = "INFO"
    """DEBUG, INFO, WARNING or ERROR; logs go to stderr."""
    json: bool = False
    """Print JSON and nothing else on stdout."""

    def run(self, session: Session) -> Answer:
        from arena.contracts import InvalidInput
        from workers.app import serve

        if self.loglevel not in ("DEBUG", "INFO", "WARNING", "ERROR"):
            raise InvalidInput(f"--loglevel must be DEBUG, INFO, WARNING or ERROR, not {self.loglevel!r}")
        code = serve(session.settings, session.steps(), session.context, self.loglevel)
        return Answer({"exit_code": code}, lambda console: None, code)
