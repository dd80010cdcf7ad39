"""What a command works with: settings, the store, the artifacts, and its user's terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from rich.console import Console

from workers.settings import Settings

if TYPE_CHECKING:
    from workers.jobs import Context, Json, Progress, Request, Steps
    from workers.runner import Broker

LINE_SECONDS = 5.0
"""Where stderr is no terminal, progress is a line at most this often."""


@dataclass(frozen=True)
class Answer:
    """What a command found: `data` for `--json`, `show` for people, and an exit code other than 0 for bad news."""

    data: dict[str, Any]
    show: Callable[[Console], None]
    exit_code: int = 0


class Command(Protocol):
    """One subcommand: its fields are its arguments."""

    json: bool

    def run(self, session: Session) -> Answer: ...


@dataclass
class Session:
    """Opens the store only for commands that ask for it. Everything but the answer goes to stderr."""

    settings: Settings
    errors: Console = field(default_factory=lambda: Console(stderr=True))
    _context: Context | None = field(default=None, init=False)

    def say(self, text: str) -> None:
        """A line for people, also with `--json`: it goes to stderr."""
        self.errors.print(text, markup=False, highlight=False)

    @property
    def context(self) -> Context:
        """The store and the artifacts, opened and migrated on first use; no progress is shown."""
        if self._context is None:
            self._context = _open_context(self.settings)
        return self._context

    def run(self, requests: Sequence[Request]) -> list[Json]:
        """Have steps done here or by workers, with progress bars. Results come in the order of the requests."""
        from dataclasses import replace

        from workers.runner import run_jobs

        with self.progress() as progress:
            return run_jobs(
                requests, self.steps(), replace(self.context, progress=progress), _open_broker(self.settings)
            )

    def at_home(self, home: Path) -> Session:
        """The same session with everything kept in `home`, except what the environment places elsewhere."""
        return Session(self.settings.model_copy(update={"home": home}), self.errors)

    def steps(self) -> Steps:
        from workers.tasks import STEPS

        return STEPS

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        """A callback `(done, total, stage)` that shows a bar for each stage."""
        if not self.errors.is_terminal:
            yield _lines(self.say)
            return
        with _bars(self.errors) as callback:
            yield callback

    def close(self) -> None:
        if self._context is not None:
            # Renderers that are left to the garbage collector outlive OpenGL and print tracebacks at exit.
            self._context.workshop.close()
            self._context.store.close()


def _open_context(settings: Settings) -> Context:
    """The store and the artifacts that `settings` name. Nobody watches the progress."""
    from arena.store import Store
    from workers.artifacts import Artifacts
    from workers.jobs import Context
    from workers.registry import Workshop

    artifacts = Artifacts(settings.artifacts_location, settings.cache)
    workshop = Workshop(settings.private_policies is not False, settings.lerobot_python)
    return Context(settings, Store(settings.store_url), artifacts, lambda done, total, stage: None, workshop)


def _open_broker(settings: Settings) -> Broker | None:
    """The broker that `settings` name, or None where steps run in this process."""
    if settings.broker_url is None:
        return None
    from workers.launch import broker_of

    return broker_of(settings.broker_url)


@contextmanager
def _bars(console: Console) -> Iterator[Progress]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    tasks: dict[str, Any] = {}
    with Progress(*columns, console=console) as bars:

        def show(done: int, total: int, stage: str) -> None:
            name = _stage_name(stage)
            if name not in tasks:
                tasks[name] = bars.add_task(stage)
            bars.update(tasks[name], description=stage, completed=done, total=total or None)

        yield show


def _lines(say: Callable[[str], None]) -> Progress:
    last: dict[str, float] = {}

    def show(done: int, total: int, stage: str) -> None:
        now = time.monotonic()
        name = _stage_name(stage)
        if done == total or now - last.get(name, 0.0) >= LINE_SECONDS:
            last[name] = now
            say(f"{stage}: {done}/{total}" if total else stage)

    return show


def _stage_name(stage: str) -> str:
    """What stays the same while a stage goes on: a loss or a count may follow in brackets."""
    return stage.partition(" (")[0]
