"""`dreamarena demo`, `dreamarena report` and `dreamarena train-demo`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from tyro.conf import Positional

from workers.cli.evaluate import show_ranking
from workers.cli.session import Answer, Session


@dataclass(frozen=True)
class Demo:
    """The main job end to end: record or take videos, imagine, judge, rank, and write a report.

    Run again, it does only what is missing.
    """

    out: Path = Path("out/demo")
    """Where recordings, the store and `report.html` go."""
    episodes: Path | None = None
    """Your own episodes (see `ingest`); by default the stand-in robot records some."""
    scenes: int = 15
    steps: int = 24
    """Actions in each trial on the recordings of the stand-in robot."""
    json: bool = False
    """Print JSON and nothing else on stdout."""

    def run(self, session: Session) -> Answer:
        from workers.cli.worldmodel import show_fidelity
        from workers.demo import Demo as Run

        own = session.at_home(self.out / "store")
        try:
            found = Run(own, self.out, self.scenes, self.steps).run(self.episodes)
        finally:
            own.close()

        def show(console: Console) -> None:
            show_fidelity({"fidelity": found["fidelity"]}, console)
            show_ranking(found, console)
            for policy, (successes, trials) in found["true_success"].items():
                console.print(f"true success of {policy}: {successes}/{trials}", markup=False)
            console.print(f"report: {found['report']}", markup=False)

        return Answer(found, show)


@dataclass(frozen=True)
class Report:
    """Write an evaluation's report: leaderboard, films, judge, how it was made."""

    out: Path
    """The folder for `report.html` and its films."""
    evaluation: Positional[str | None] = None
    """Its id; the newest finished one by default."""
    truth: str | None = None
    """An evaluation of the same policies and scenes in a world that knows success, to show beside it."""
    json: bool = False
    """Print JSON and nothing else on stdout."""

    def run(self, session: Session) -> Answer:
        from workers.cli.evaluate import finished_evaluation
        from workers.report import write_report
        from workers.showcase import Exhibit, exhibit_report

        record = finished_evaluation(session, self.evaluation)
        with session.progress() as progress:
            context = replace(session.context, progress=progress)
            data = exhibit_report(Exhibit(record.id, truth=self.truth), context, self.out / "videos")
        found: dict[str, Any] = {"evaluation": record.id, "report": str(write_report(data, self.out))}
        return Answer(found, lambda console: console.print(f"report: {found['report']}", markup=False))


@dataclass(frozen=True)
class TrainDemo:
    """Make what the demo ships: record the stand-in robot, train world model, policies and judge on it.

    Interrupted, it goes on where it was.
    """

    out: Path = Path("out/train-demo")
    install: bool = False
    """Put the weights where the demo looks for them, in place of the shipped ones."""
    json: bool = False
    """Print JSON and nothing else on stdout."""

    def run(self, session: Session) -> Answer:
        from workers.pretrain import pretrain

        own = session.at_home(self.out / "store")
        try:
            found = pretrain(own, self.out, self.install)
        finally:
            own.close()

        def show(console: Console) -> None:
            for name, folder in found["weights"].items():
                console.print(f"{name}: {folder}", markup=False)

        return Answer(found, show)
