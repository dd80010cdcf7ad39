"""Voters from crowd platforms: who they are there is kept as a pseudonym, and the way back is given once they voted."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from arena.contracts import InvalidInput
from arena.store import VoterRecord
from workers.settings import Settings

WORD = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True)
class Platform:
    """A worker of a crowd platform. `facts` may be stored as they are: they say which study, not who."""

    name: str
    worker: str
    facts: Mapping[str, str]


_PLATFORMS = (
    ("prolific", "PROLIFIC_PID", {"study": "STUDY_ID"}),
    ("mturk", "workerId", {"hit": "hitId"}),
)
"""Name, the parameter that names the worker, and those that name the study. A session's or an assignment's id names
the worker as well as any name would, and is not kept."""
PREVIEW = "ASSIGNMENT_ID_NOT_AVAILABLE"
"""What MTurk gives instead of an assignment to those who only look."""


def platform_of(parameters: Any) -> Platform | None:
    """The platform that the page's address names, if it does. Raises `InvalidInput` for parameters that are no ids."""
    if not isinstance(parameters, dict):
        return None
    for name, worker, facts in _PLATFORMS:
        if worker in parameters:
            if parameters.get("assignmentId") == PREVIEW:
                raise InvalidInput("accept the task first: votes of a preview do not count")
            return Platform(
                name, _word(parameters, worker), {f: _word(parameters, p) for f, p in facts.items() if p in parameters}
            )
    return None


def completion(settings: Settings, voter: VoterRecord, votes: int) -> dict[str, Any] | None:
    """How many votes a platform's worker owes, and the link that says they are done, only once they are stored."""
    if voter.origin == "anonymous" or settings.vote_completion_url is None:
        return None
    done = votes >= settings.vote_completion_votes
    return {"needed": settings.vote_completion_votes, "link": settings.vote_completion_url if done else None}


def _word(parameters: Mapping[str, Any], name: str) -> str:
    value = parameters[name]
    if not isinstance(value, str) or not WORD.fullmatch(value):
        raise InvalidInput(f"{name} in the address is not an id")
    return value
