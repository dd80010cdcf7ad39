"""`dreamarena doctor`: whether this machine can do its part, and what to do where it cannot."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from rich.console import Console

from workers.cli.session import Answer, Session

MARKS = {"ok": "ok     ", "warning": "warning", "broken": "BROKEN "}


@dataclass(frozen=True)
class Doctor:
    """Check database, artifacts, broker, GPU, rendering and disk. Exit code 1 where something is broken."""

    json: bool = False
    """Print JSON and nothing else on stdout."""

    def run(self, session: Session) -> Answer:
        from workers.doctor import State, examine

        found = examine(session.settings)
        broken = any(each.state is State.BROKEN for each in found)

        def show(console: Console) -> None:
            for each in found:
                advice = f" -> {each.advice}" if each.advice else ""
                line = f"{MARKS[each.state]} {each.name:<10} {each.detail}{advice}"
                console.print(line, markup=False, highlight=False, soft_wrap=True)

        return Answer({"ok": not broken, "checks": [asdict(each) for each in found]}, show, int(broken))
