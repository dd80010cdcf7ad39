"""An evaluation in an imagined world beside one in reality, from the store alone: which two, and how far they agree."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from arena.contracts import DreamarenaError
from arena.store import EvaluationRecord, EvaluationStatus, Store
from workers.service import TRUTH, validation, validation_card

DRAWS = 500
"""Of the bootstrap: a page is not waited for. `dreamarena validate` takes 2000."""
FEWEST_POLICIES = 3
_ONE_AT_A_TIME = threading.Lock()
"""Several visitors of one page wait for one computation."""


def counterpart(imagined: EvaluationRecord, records: Sequence[EvaluationRecord]) -> EvaluationRecord | None:
    """The evaluation in reality that shares most scenes with `imagined`, the newest of several; None without one."""
    found = [
        (_shared(imagined, record, "scenes"), record.created_at, record)
        for record in records
        if record.id != imagined.id and _is_truth(record) and _shared(imagined, record, "policies") >= FEWEST_POLICIES
    ]
    best = max(found, key=lambda each: each[:2], default=None)
    return best[2] if best is not None and best[0] else None


def compared(
    world_sha256: str, records: Sequence[EvaluationRecord]
) -> tuple[EvaluationRecord, EvaluationRecord] | None:
    """The newest finished evaluation in a world that reality can be held against, and what to hold against it."""
    for record in records:
        world = record.config.get("world") or {}
        if world.get("sha256") == world_sha256 and record.status is EvaluationStatus.DONE and not _is_truth(record):
            real = counterpart(record, records)
            if real is not None:
                return record, real
    return None


@lru_cache(maxsize=16)
def measured(store: Store, evaluation: str, real: str) -> Mapping[str, Any]:
    """What `dreamarena validate` says of the two. Raises `InvalidInput`, `NotFound`."""
    return validation(store, evaluation, real, DRAWS)


def validation_route(store: Callable[[], Store]) -> Route:
    """`/validation/EVALUATION/REAL`: the page that `dreamarena validate` writes."""

    def card(request: Request) -> Response:
        evaluation, real = request.path_params["evaluation"], request.path_params["real"]
        try:
            records = store().results.evaluations()
            pair = next((record for record in records if record.id == evaluation), None)
            held = None if pair is None else counterpart(pair, records)
            if held is None or held.id != real:
                return PlainTextResponse("There is no such validation: the page Worlds links to those there are.", 404)
            with _ONE_AT_A_TIME:
                found = measured(store(), evaluation, real)
        except DreamarenaError as error:
            return PlainTextResponse(str(error), 404)
        return HTMLResponse(validation_card(found), headers={"Content-Security-Policy": "script-src 'none'"})

    return Route("/validation/{evaluation}/{real}", card, methods=["GET"])


def _is_truth(record: EvaluationRecord) -> bool:
    return bool((record.config.get("judge") or {}).get("name") == TRUTH and record.status is EvaluationStatus.DONE)


def _shared(one: EvaluationRecord, other: EvaluationRecord, what: str) -> int:
    def values(record: EvaluationRecord) -> set[str]:
        return {str(value) for value in record.config.get(what) or ()}

    return len(values(one) & values(other))
