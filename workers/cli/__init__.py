"""The command line `dreamarena`. Only a command's answer goes to stdout; exit code 2 means bad input."""

from __future__ import annotations

import contextlib
import io
import json
import re
import sys
from collections.abc import Sequence
from typing import cast

import tyro
from rich.console import Console

from arena.contracts import DreamarenaError
from workers.cli.commands import Dreamarena
from workers.cli.session import Command, Session
from workers.logs import configure
from workers.settings import load_settings

DONE, CRASHED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
MENDABLE = (FileNotFoundError, FileExistsError, PermissionError, IsADirectoryError, NotADirectoryError)
"""Errors of the operating system that name a path that the user gave."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns the process's exit code; raises only what is a bug."""
    try:
        command = parse(sys.argv[1:] if arguments is None else arguments)
    except DreamarenaError as error:
        return _complain(error, BAD_INPUT)
    try:
        return _run(command)
    except KeyboardInterrupt:
        return _complain("interrupted: run the same command again to resume", INTERRUPTED)
    except (DreamarenaError, *MENDABLE) as error:
        return _complain(error, BAD_INPUT)
    except OSError as error:
        return _complain(error, CRASHED)
    except Exception as error:
        if type(error).__name__ != "JobCrashed":
            raise
        return _complain(error, CRASHED)


def parse(arguments: Sequence[str]) -> Command:
    """The command that the arguments spell. Raises `DreamarenaError` with one line where they spell none."""
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            parsed = tyro.cli(
                Dreamarena,
                prog="dreamarena",
                description="Rank robot policies in world models made from the robot videos that you have.",
                args=list(arguments),
                config=(
                    tyro.conf.OmitSubcommandPrefixes,
                    tyro.conf.OmitArgPrefixes,
                    tyro.conf.FlagCreatePairsOff,
                ),
            )
    except SystemExit as exit:
        if exit.code in (0, None):
            raise
        raise DreamarenaError(_one_line(complaint.getvalue())) from None
    command = cast(Command, getattr(parsed, "command", parsed))
    if (seed := getattr(command, "seed", 0)) < 0:  # Of any command: what draws with it would say so, in its own words.
        raise DreamarenaError(f"--seed {seed} is no seed: give 0 or more")
    return command


def _run(command: Command) -> int:
    settings = load_settings()
    configure(settings.log_json)
    session = Session(settings)
    try:
        # Libraries print what they like; only the answer may reach stdout.
        with contextlib.redirect_stdout(sys.stderr):
            answer = command.run(session)
    finally:
        session.close()
    if command.json:
        print(json.dumps(answer.data, allow_nan=False))
    else:
        answer.show(Console())
    sys.stdout.flush()
    return answer.exit_code


def _complain(reason: object, code: int) -> int:
    line = " ".join(str(reason).split())
    print(f"dreamarena: {line}", file=sys.stderr)
    return code


def _one_line(box: str) -> str:
    """What tyro says in a box, as a line."""
    body = box.partition("For full helptext")[0]
    lines = [line.strip(" │") for line in body.splitlines() if not line.startswith(("╭", "╰"))]
    sections = re.split(r"─{3,}", " ".join(lines))
    return "; ".join(" ".join(section.split()) for section in sections if section.strip(" ─")) + "; see --help"


__all__ = ["main", "parse"]
