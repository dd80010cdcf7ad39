"""`dreamarena worker`: take steps from the broker."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass

from workers.cli.session import Answer, Session


@dataclass(frozen=True)
class Worker:
    """Take jobs from DREAMARENA_BROKER_URL until stopped. Start one for each GPU (`--gpu 0`, `--gpu 1`...), and one or
    more for what needs none (`--queues cpu judge`); one alone takes all.

    A process of its own does the work, and is started again when it dies. Told to end (SIGTERM), it takes no new job,
    gives the one that it is at 40 seconds, and puts it back in the queue otherwise.
    """

    loglevel: str = "INFO"
    """DEBUG, INFO, WARNING or ERROR; logs go to stderr."""
    queues: tuple[str, ...] = ()
    """Which jobs to take: `gpu` (models: rollouts, training), `judge`, `cpu` (all others); by default all three."""
    gpu: int | None = None
    """Use only this GPU of the machine, and take jobs of the queue `gpu.INDEX` too, which are sent to it alone."""
    job_hours: float = 0.0
    """Fail a job that takes longer; 0 is no limit."""
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
        if self.gpu is not None and not 0 <= self.gpu < 1000:
            raise InvalidInput(f"--gpu is the index of a GPU of this machine, from 0, not {self.gpu}")
        if not 0 <= self.job_hours < 24 * 365:
            raise InvalidInput(f"--job-hours must be 0 (no limit) or more, not {self.job_hours:g}")
        code = self._work(session) if self.parent else self._watch(session)
        return Answer({"exit_code": code}, lambda console: None, code)

    def _taken(self) -> list[str]:
        """The queues. Raises `InvalidInput` for what is none."""
        from workers.app import known_queue
        from workers.jobs import Queue

        named = [known_queue(queue) for queue in self.queues or Queue]
        return list(dict.fromkeys(map(str, named if self.gpu is None else [*named, f"{Queue.GPU}.{self.gpu}"])))

    def _work(self, session: Session) -> int:
        import logging
        from dataclasses import replace
        from math import inf

        from workers.app import TIMING, serve
        from workers.logs import configure
        from workers.supervisor import end_with

        configure(session.settings.log_json, logging.getLevelNamesMapping()[self.loglevel])

        end_with(self.parent)
        timing = replace(TIMING, limit=3600 * self.job_hours or inf)
        return serve(session.settings, session.steps(), session.context, self.loglevel, timing, self._taken())

    def _watch(self, session: Session) -> int:
        from workers.app import broker_of
        from workers.supervisor import freeing, supervise

        broker_of(session.settings)  # What is wrong with them is said here, not by a child that is started again.
        if self.gpu is not None:
            # Before anything loads CUDA, which reads it once.
            os.environ["CUDA_VISIBLE_DEVICES"] = str(self.gpu)
        program = "import sys; from workers.cli import main; sys.exit(main())"
        chosen = ["--queues", *self._taken(), "--job-hours", str(self.job_hours)]
        command = [sys.executable, "-c", program, "worker", "--loglevel", self.loglevel, *chosen, "--parent"]
        return supervise(command, self.memory_gib, freeing(session.context.store))
