"""Evaluations, their leaderboards, and their rollouts with films."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse

from arena.contracts import Verdict
from arena.episodes.atomic import read_manifest
from arena.store import EvaluationStatus, NotFound, RolloutRecord
from workers.api import models
from workers.api.access import Anybody, Visitor
from workers.api.etags import CACHE, etag_of, is_known, tagged
from workers.api.models import Cursor, Id, Limit
from workers.api.problems import Problem
from workers.api.server import Server

router = APIRouter(tags=["results"])

MP4, CSV = "video/mp4", "text/csv; charset=utf-8"
NOT_MODIFIED: dict[int | str, dict[str, Any]] = {304: {"description": "What the client has is still so"}}
Named = Annotated[str | None, Query(max_length=200, pattern=r"^[^\x00-\x1f]*$")]


@router.get("/evaluations", response_model=models.Evaluations, responses=NOT_MODIFIED)
def evaluations(request: Request, visitor: Anybody, limit: Limit = 50, cursor: Cursor = None) -> Response:
    """What was evaluated, newest first."""
    seen = visitor.evaluations()
    if cursor is not None:
        ids = [each.id for each in seen]
        if cursor not in ids:
            raise Problem(400, "bad-cursor", "this cursor leads nowhere: begin with the first page")
        seen = seen[ids.index(cursor) + 1 :]
    page = [models.Evaluation.of(each) for each in seen[:limit]]
    return tagged(request, models.Evaluations(items=page, next=page[-1].id if len(seen) > limit else None))


@router.get("/leaderboard", response_model=dict[str, Any], responses=NOT_MODIFIED)
def newest_leaderboard(request: Request, visitor: Anybody) -> Response:
    """The leaderboard of the newest finished evaluation."""
    done = (each.id for each in visitor.evaluations() if each.status is EvaluationStatus.DONE)
    id = next(done, None)
    if id is None:
        raise NotFound("there is no finished evaluation in the store")
    return _board(request, visitor, id)


@router.get("/evaluations/{id}/leaderboard", response_model=dict[str, Any], responses=NOT_MODIFIED)
def leaderboard(request: Request, visitor: Anybody, id: Id) -> Response:
    """The ranking of an evaluation, with intervals and what limits it."""
    visitor.evaluation(id)
    return _board(request, visitor, id)


def _board(request: Request, visitor: Visitor, id: str) -> Response:
    server = visitor.server
    body, etag = server.boards.get(id, lambda: _made(server, id))
    return tagged(request, body, etag)


def _made(server: Server, id: str) -> tuple[bytes, str]:
    from workers.service import ranking

    body = json.dumps(ranking(server.store, id), allow_nan=False, separators=(",", ":")).encode()
    return body, etag_of(body)


@router.get("/evaluations/{id}/rollouts", response_model=models.Rollouts, responses=NOT_MODIFIED)
def rollouts(
    request: Request, visitor: Anybody, id: Id, limit: Limit = 50, cursor: Cursor = None, policy: Named = None,
    scene: Named = None,
) -> Response:  # fmt: skip
    """The rollouts of an evaluation by id, with what judges said of them; of one policy or scene alone if asked."""
    visitor.evaluation(id)
    results = visitor.server.store.results
    found = results.page_of_rollouts(id, cursor or "", limit + 1, policy, scene)
    page = found[:limit]
    said = _said(visitor.server, page)
    items = [models.Rollout.of(each, said[each.id]) for each in page]
    return tagged(request, models.Rollouts(items=items, next=page[-1].id if len(found) > limit else None))


@router.get("/evaluations/{id}/rollouts.csv", response_class=Response, responses={200: {"content": {"text/csv": {}}}})
def rollouts_table(request: Request, visitor: Anybody, id: Id) -> Response:
    """All rollouts of an evaluation with their verdicts, as a table."""
    from workers.exports import rollouts_csv

    visitor.evaluation(id)
    found = visitor.server.store.results.rollouts(id)
    text = rollouts_csv(found, _said(visitor.server, found))
    return tagged(request, text.encode(), media_type=CSV, headers=_attached(f"rollouts-{id[:16]}.csv"))


@router.get("/rollouts/{id}", response_model=models.RolloutAlone, responses=NOT_MODIFIED)
def rollout(request: Request, visitor: Anybody, id: Id) -> Response:
    """One rollout, with what judges said and which films there are of it."""
    record = visitor.rollout(id)
    shown = models.Rollout.of(record, _said(visitor.server, [record])[record.id])
    films = [
        models.Film(camera=name, size=size, sha256=sha256) for name, size, sha256 in _films(visitor.server, record)
    ]
    return tagged(request, models.RolloutAlone(**dict(shown), films=films))


@router.get(
    "/rollouts/{id}/films/{camera}", response_class=FileResponse,
    responses={200: {"content": {MP4: {}}}, 206: {"description": "The part that was asked for", "content": {MP4: {}}},
               **NOT_MODIFIED},
)  # fmt: skip
def film(request: Request, visitor: Anybody, id: Id, camera: Id) -> Response:
    """A film, or the part of it that the header `Range` asks for."""
    record = visitor.rollout(id)
    sha256 = next((sha256 for name, _, sha256 in _films(visitor.server, record) if name == camera), None)
    if sha256 is None:
        raise NotFound(f"there is no film of camera {camera!r} of this rollout")
    return film_file(request, visitor.server, record, camera, sha256)


def film_file(request: Request, server: Server, record: RolloutRecord, camera: str, sha256: str) -> Response:
    """One camera's film. It never changes: its ETag is its hash."""
    from workers.rollouts import video_path

    headers = {**CACHE, "Cache-Control": "private, max-age=86400, immutable", "ETag": f'"{sha256}"'}
    if is_known(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    path = video_path(server.artifacts.get(record.artifact), camera)
    return FileResponse(path, media_type=MP4, headers=headers)


def _films(server: Server, record: RolloutRecord) -> list[tuple[str, int, str]]:
    """Camera, size in bytes and hash of each film."""
    files = read_manifest(server.artifacts.get(record.artifact), check_hashes=False)
    return [
        (Path(name).stem, entry.size, entry.sha256)
        for name, entry in sorted(files.items())
        if name == f"{Path(name).stem}.mp4"
    ]


def film_hashes(server: Server, record: RolloutRecord) -> dict[str, str]:
    """The hash of each camera's film."""
    return {name: sha256 for name, _, sha256 in _films(server, record)}


def _said(server: Server, found: Sequence[RolloutRecord]) -> dict[str, list[Verdict]]:
    said: dict[str, list[Verdict]] = defaultdict(list)
    for verdict in server.store.results.verdicts([each.id for each in found]):
        said[verdict.rollout_id].append(verdict)
    return said


def _attached(name: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="{name}"', "X-Content-Type-Options": "nosniff"}
