"""Votes, and the verdicts of judges that run elsewhere."""

from __future__ import annotations

import hashlib
import time
from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import FileResponse

from arena.contracts import Verdict
from arena.store import OUTSIDE, NotFound, RolloutRecord, VoterRecord
from arena.votes.desk import Ballot, Shown
from arena.votes.tokens import Purpose, TokenRefused
from workers.api import models
from workers.api.access import JudgeOutside, Voter
from workers.api.etags import tagged
from workers.api.routes.evaluations import CSV, MP4, film_file, film_hashes
from workers.api.server import Server

router = APIRouter(tags=["votes and verdicts"])

Token = Annotated[str, Path(max_length=2048, pattern=r"^[A-Za-z0-9._-]+$")]


@router.post("/votes/pairs", response_model=models.Pairs)
def pairs(visitor: Voter, asked: models.PairsIn) -> models.Pairs:
    """Blind pairs of films to vote on: the same ones until they are voted on or skipped."""
    server = visitor.server
    voter = server.voter(str(visitor.name))
    return _open(server, voter, asked.count)


@router.post("/votes", response_model=models.Receipt, status_code=201)
def vote(visitor: Voter, said: models.BallotIn) -> models.Receipt:
    """Vote on a pair, once: which policies these were is told now. Nobody votes on their own policy."""
    server = visitor.server
    ballot = Ballot(said.choice, said.left_success, said.right_success, " ".join(said.reason.split()))
    receipt = server.desk.cast(server.voter(str(visitor.name)), said.token, ballot)
    return models.Receipt(
        left=receipt.left, right=receipt.right, right_answer=receipt.right_answer, votes=receipt.votes
    )


@router.post("/votes/skip", response_model=models.Pairs)
def skip(visitor: Voter, said: models.SkipIn) -> models.Pairs:
    """Close a pair without a vote."""
    server = visitor.server
    voter = server.voter(str(visitor.name))
    server.desk.skip(voter, said.token)
    return _open(server, voter, 1)


@router.get("/votes/films/{token}", response_class=FileResponse, responses={200: {"content": {MP4: {}}}})
def blind_film(request: Request, visitor: Voter, token: Token) -> Response:
    """A film of a pair that was shown. Its address tells nothing of whose it is."""
    server = visitor.server
    try:
        claims = server.signer.read(Purpose.FILM, token, time.time())
        offer = server.store.voting.offer(claims["offer"])
        camera, left = claims["camera"], claims["side"] == "left"
    except (TokenRefused, KeyError):
        raise NotFound("there is no such film") from None
    record = server.contest().by_id.get(offer.left_rollout if left else offer.right_rollout)
    if record is None:
        raise NotFound("there is no such film any more")
    return film_file(request, server, record, camera, film_hashes(server, record)[camera])


@router.get("/votes.csv", response_class=Response, responses={200: {"content": {"text/csv": {}}}})
def votes(request: Request, visitor: JudgeOutside) -> Response:
    """All votes that count, with what each weighs, as `dreamarena rank` reads them. Voters are opaque ids."""
    from workers.exports import votes_csv

    return tagged(request, votes_csv(visitor.server.tally.weighed()).encode(), media_type=CSV)


@router.post("/verdicts", response_model=models.Judged, status_code=201)
def judge(visitor: JudgeOutside, said: models.VerdictsIn) -> models.Judged:
    """What a judge that runs elsewhere says of rollouts, once for each. Boards made here do not rest on it."""
    server, owner = visitor.server, str(visitor.name)
    name = f"{OUTSIDE}{owner}/{said.judge}"
    # Nothing that a token's holder chooses is the hash of another judge.
    sha256 = hashlib.sha256(f"{name}\n{said.version}".encode()).hexdigest()
    for each in said.verdicts:
        visitor.rollout(each.rollout)
    new = sum(
        server.store.results.add_verdict(
            Verdict(
                each.rollout, name, sha256, each.success_probability, each.progress, each.reason,
                abstained=each.success_probability is None and each.progress is None,
            )
        )
        for each in said.verdicts
    )  # fmt: skip
    server.store.accounts.note("verdicts_added", owner, {"judge": name, "sha256": sha256, "new": new})
    return models.Judged(judge=name, judge_sha256=sha256, new=new, known=len(said.verdicts) - new)


def _open(server: Server, voter: VoterRecord, count: int) -> models.Pairs:
    shown = [_pair(server, each) for each in server.desk.pairs(voter, count)]
    return models.Pairs(pairs=shown, votes=server.store.voting.votes_of(voter.id))


def _pair(server: Server, shown: Shown) -> models.Pair:
    def films(side: str, record: RolloutRecord) -> dict[str, str]:
        claims = {name: {"offer": shown.offer, "side": side, "camera": name} for name in film_hashes(server, record)}
        return {name: f"/v1/votes/films/{server.signer.sign(Purpose.FILM, each)}" for name, each in claims.items()}

    seconds = min(each.frames / each.fps for each in (shown.left, shown.right))
    return models.Pair(
        token=shown.token, offer=shown.offer, instruction=shown.instruction, left=films("left", shown.left),
        right=films("right", shown.right), watch=min(server.desk.rules.least_watch, seconds),
    )  # fmt: skip
