"""`dreamarena worker`: take steps from the broker."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from workers.cli.session import Answer, Session


@dataclass(frozen=True)
class Worker:
    """Take jobs from DREAMARENA_BROKER_URL until stopped. Start one for each GPU, or for each few CPU cores.

    A process of its own does the work, and is started again when it dies. Told to end (SIGTERM), it takes no new job,
    gives the one that it is at 40 seconds, and puts it back in the queue otherwise.
    """

    loglevel: str = "INFO"
    """DEBUG, INFO, WARNING or ERROR; logs go to stderr."""
    memory_gib: float = 0.0
    """End and start again a worker that takes more of the machine's memory than this; 0 is no limit."""
    parent: int = 0
    """Do the work in this very process, and end with that one: how the worker is started by its parent."""
    json: bool = False
    """Print JSON and nothing else on stdout."""

    def run(self, session: Session) -> Answer:
        from arena.contracts import InvalidInput

        if self.loglevel not in ("DEBUG", "INFO", "WARNING", "ERROR"):
            raise InvalidInput(f"--loglevel must be DEBUG, INFO, WARNING or ERROR, not {self.loglevel!r}")
        code = self._work(session) if self.parent else self._watch(session)
        return Answer({"exit_code": code}, lambda console: None, code)

    def _work(self, session: Session) -> int:
        import logging

        from workers.app import serve
        from workers.logs import configure
        from workers.supervisor import end_with

        configure(session.settings.log_json, logging.getLevelNamesMapping()[self.loglevel])

        end_with(self.parent)
        return serve(session.settings, session.steps(), session.context, self.loglevel)

    def _watch(self, session: Session) -> int:
        from workers.app import broker_of
        from workers.supervisor import freeing, supervise

        broker_of(session.settings)  # What is wrong with them is said here, not by a child that is started again.
        program = "import sys; from workers.cli import main; sys.exit(main())"
        command = [sys.executable, "-c", program, "worker", "--loglevel", self.loglevel, "--parent"]
        return supervise(command, self.memory_gib, freeing(session.context.store))
