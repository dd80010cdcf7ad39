"""What the voting page's script talks to. Requests carry a voter's credential; nothing here is kept in cookies.

Votes do not pass through Streamlit: a rerun of a page takes longer than a vote.
"""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from arena.contracts import DreamarenaError
from arena.store import RolloutRecord, VoterRecord
from arena.votes.desk import Ballot, Shown
from arena.votes.rules import Refusal, VoteRefused
from arena.votes.tokens import Purpose
from ui.vote.booth import Booth
from ui.vote.platforms import completion, platform_of
from ui.vote.tutorial import FILMS, LESSONS

MAX_BODY_BYTES = 8 << 10
AHEAD = 3
"""Pairs that a page holds: the one that is shown, and the next ones, whose films it fetches meanwhile."""
MP4 = "video/mp4"

Answer = Mapping[str, Any]


def vote_routes(booth: Callable[[], Booth]) -> list[Route]:
    """The routes, on a booth that is opened at the first request."""

    def post(path: str, answer: Callable[[Booth, Request, Mapping[str, Any]], Answer]) -> Route:
        return Route(f"/vote/{path}", functools.partial(_post, booth, answer), methods=["POST"])

    return [
        post("enter", _enter),
        post("pairs", _pairs),
        post("cast", _cast),
        post("skip", _skip),
        post("tutored", _tutored),
        Route("/vote/film/{token}", functools.partial(_film, booth), methods=["GET", "HEAD"]),
        Route("/vote/lesson/{name}", _lesson_film, methods=["GET", "HEAD"]),
    ]


async def _post(
    booth: Callable[[], Booth], answer: Callable[[Booth, Request, Mapping[str, Any]], Answer], request: Request
) -> Response:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            return _refusal(413, "too_large", f"a request holds at most {MAX_BODY_BYTES} bytes")
    try:
        said = json.loads(body or b"{}")
        if not isinstance(said, dict):
            raise ValueError("not an object")
    except (ValueError, RecursionError):
        return _refusal(400, "not_json", "a request is a JSON object")
    try:
        return JSONResponse(await run_in_threadpool(answer, booth(), request, said))
    except VoteRefused as error:
        return _refusal(error.status, error.why.value, str(error))
    except DreamarenaError as error:
        return _refusal(400, "bad_input", str(error))


def _refusal(status: int, why: str, message: str) -> Response:
    return JSONResponse({"refused": why, "message": message}, status_code=status)


def _voter(booth: Booth, request: Request) -> VoterRecord:
    scheme, _, credential = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        raise VoteRefused(Refusal.FORGED, "who votes? reload the page")
    return booth.desk.recognise(credential)


def _enter(booth: Booth, request: Request, said: Mapping[str, Any]) -> Answer:
    """Know a voter again, or enrol a new one: from a crowd platform by its parameters, else as a stranger."""
    voter = None
    platform = platform_of(said.get("parameters"))
    if platform is not None:
        voter = booth.desk.enrol(platform.name, platform.worker, platform.facts)
    elif credential := said.get("credential"):
        try:
            voter = booth.desk.recognise(str(credential))
        except VoteRefused:
            if booth.settings.vote_sign_in:
                raise
    if voter is None:
        if booth.settings.vote_sign_in:
            raise VoteRefused(Refusal.FORGED, "sign in to vote")
        voter = booth.desk.enrol("anonymous")
    lessons = [] if voter.tutored_at is not None else [lesson.as_json() for lesson in LESSONS]
    return {"credential": booth.desk.credential(voter), "lessons": lessons, **_open(booth, voter)}


def _pairs(booth: Booth, request: Request, said: Mapping[str, Any]) -> Answer:
    return _open(booth, _voter(booth, request))


def _tutored(booth: Booth, request: Request, said: Mapping[str, Any]) -> Answer:
    voter = _voter(booth, request)
    booth.store.voting.tutored(voter.id)
    return _open(booth, voter)


def _cast(booth: Booth, request: Request, said: Mapping[str, Any]) -> Answer:
    voter = _voter(booth, request)
    receipt = booth.desk.cast(voter, str(said.get("token", "")), Ballot.of(said))
    told = {"left": receipt.left, "right": receipt.right, "right_answer": receipt.right_answer}
    return {"receipt": told, **_open(booth, voter)}


def _skip(booth: Booth, request: Request, said: Mapping[str, Any]) -> Answer:
    voter = _voter(booth, request)
    booth.desk.skip(voter, str(said.get("token", "")))
    return _open(booth, voter)


def _open(booth: Booth, voter: VoterRecord) -> Answer:
    pairs = [_pair_json(booth, shown) for shown in booth.desk.pairs(voter, AHEAD)]
    votes = booth.store.voting.votes_of(voter.id)
    return {"pairs": pairs, "votes": votes, "completion": completion(booth.settings, voter, votes)}


def _pair_json(booth: Booth, shown: Shown) -> dict[str, Any]:
    """What a browser may know of a pair: nothing that names a policy or a rollout."""

    def films(side: str, rollout: RolloutRecord) -> list[str]:
        cameras = sorted(booth.films.films(rollout.artifact))
        claims = [{"offer": shown.offer, "side": side, "camera": camera} for camera in cameras]
        return [f"vote/film/{booth.signer.sign(Purpose.FILM, each)}" for each in claims]

    seconds = min(each.frames / each.fps for each in (shown.left, shown.right))
    return {
        "token": shown.token,
        "offer": shown.offer,
        "instruction": shown.instruction,
        "left": films("left", shown.left),
        "right": films("right", shown.right),
        "watch": min(booth.rules.least_watch, seconds),
    }


async def _film(booth: Callable[[], Booth], request: Request) -> Response:
    try:
        content = await run_in_threadpool(_film_bytes, booth(), request.path_params["token"])
    except (DreamarenaError, KeyError):
        return _refusal(404, "no_film", "there is no such film")
    return ranged(content, request.headers.get("range"))


def _film_bytes(booth: Booth, token: str) -> bytes:
    """A link is signed, and so leads to the films of pairs that were shown, and to nothing else."""
    claims = booth.signer.read(Purpose.FILM, token, time.time())
    offer = booth.store.voting.offer(claims["offer"])
    rollout = offer.left_rollout if claims["side"] == "left" else offer.right_rollout
    return booth.films.films(booth.contest().by_id[rollout].artifact)[claims["camera"]]


async def _lesson_film(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in FILMS:
        return _refusal(404, "no_film", "there is no such film")
    return ranged(FILMS[name](), request.headers.get("range"))


def ranged(content: bytes, asked: str | None) -> Response:
    """A film, or the part of it that a browser asks for (Safari plays nothing that it cannot have in parts)."""
    headers = {"Accept-Ranges": "bytes", "Cache-Control": "private, max-age=3600"}
    if not asked:
        return Response(content, media_type=MP4, headers=headers)
    unit, _, span = asked.partition("=")
    first, _, last = span.partition("-")
    try:
        if unit != "bytes" or "," in span:
            raise ValueError(span)
        begin = int(first) if first else max(0, len(content) - int(last))
        end = min(int(last), len(content) - 1) if first and last else len(content) - 1
        if not 0 <= begin <= end:
            raise ValueError(span)
    except ValueError:
        return Response(status_code=416, headers={"Content-Range": f"bytes */{len(content)}"})
    headers["Content-Range"] = f"bytes {begin}-{end}/{len(content)}"
    return Response(content[begin : end + 1], status_code=206, media_type=MP4, headers=headers)
