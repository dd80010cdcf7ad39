"""`dreamarena record`: robot videos from the stand-in robot."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from workers.cli.session import Answer, Session


@dataclass(frozen=True)
class Record:
    """Record Meta-World episodes (experts and several kinds of failures) as a LeRobot v3.0 dataset.

    Run again with the same arguments, it goes on where it was interrupted.
    """

    out: Path
    """The dataset's folder."""
    tasks: tuple[str, ...] = ("reach-v3", "drawer-open-v3")
    """Names of Meta-World tasks."""
    episodes: int = 40
    """Episodes of each task."""
    seed: int = 0
    height: int = 64
    width: int = 96
    json: bool = False
    """Print JSON and nothing else on stdout."""

    def run(self, session: Session) -> Answer:
        from workers.jobs import Request
        from workers.steps.record import RecordInputs

        inputs = RecordInputs(
            out=str(self.out.resolve()),
            tasks=self.tasks,
            episodes_per_task=self.episodes,
            seed=self.seed,
            height=self.height,
            width=self.width,
        )
        [found] = session.run([Request("record", inputs)])
        return Answer(found, lambda console: console.print(f"{found['episodes']} episodes in {found['dataset']}"))
