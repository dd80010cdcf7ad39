"""Policies submitted and probed, and the jobs that come of it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from arena.contracts import ActionSpace
from arena.store import EvaluationStatus, JobStatus, NotFound
from workers.api import models
from workers.api.access import Submitter, Visitor
from workers.api.models import Id, Limit
from workers.api.problems import Problem
from workers.launch import again
from workers.service import submit_from_outside

router = APIRouter(tags=["work"])

Number = Annotated[int | None, Query(ge=1, le=2**31 - 1, description="`next` of the page before")]


@router.post("/submissions", status_code=202, response_model=models.Job, responses={200: {"model": models.Job}})
def submit(visitor: Submitter, asked: models.SubmissionIn, response: Response) -> models.Job:
    """Have a policy looked at, act where the others of an evaluation did, and be ranked among them.

    What was asked for before is not done again: the same submission is the same job. 200 where it is done already.
    """
    if asked.priority and not visitor.is_admin:
        raise Problem(403, "wrong-scope", "a priority above 0 is for tokens with the scope admin")
    joins = asked.evaluation or _newest(visitor)
    visitor.evaluation(joins)
    server, owner = visitor.server, str(visitor.name)
    job = submit_from_outside(
        server.settings, server.store, asked.policy, joins, owner=owner, voter=server.voter(owner).id,
        private=asked.private, priority=asked.priority, any_spec=visitor.is_admin, allow_private=server.allow_private,
        artifacts=server.artifacts,
    )  # fmt: skip
    response.headers["Location"] = f"/v1/jobs/{job.key}"
    response.status_code = 200 if job.status is JobStatus.DONE else 202
    return models.Job.of(job, visitor.is_admin)


@router.post("/probes", response_model=dict)
def probe(visitor: Submitter, asked: models.ProbeIn) -> dict[str, object]:
    """Shake hands with a policy server, call it with made-up pictures, and say what was found and is suspicious."""
    from arena.policies.preflight import probe as look
    from arena.policies.server import Access

    server = visitor.server
    if not server.probing.acquire(blocking=False):
        raise Problem(503, "busy", "other servers are being looked at: try again", {"Retry-After": "10"})
    try:
        space = None if asked.action_space is None else ActionSpace(asked.action_space)
        return look(asked.url, space, asked.calls, Access(allow_private=server.allow_private)).to_json()
    finally:
        server.probing.release()


@router.get("/jobs", response_model=models.Jobs)
def jobs(visitor: Submitter, limit: Limit = 50, cursor: Number = None) -> models.Jobs:
    """The jobs that were asked for with tokens of this owner, newest first; for admins, all."""
    owner = None if visitor.is_admin else visitor.name
    found = visitor.server.store.jobs.page(cursor, limit + 1, owner)
    page = found[:limit]
    following = str(page[-1][0]) if len(found) > limit else None
    return models.Jobs(items=[models.Job.of(job, visitor.is_admin) for _, job in page], next=following)


@router.get("/jobs/{key}", response_model=models.Job)
def job(visitor: Submitter, key: Id) -> models.Job:
    """How far a job is, and what came of it."""
    return models.Job.of(visitor.job(key), visitor.is_admin)


@router.post("/jobs/{key}/cancel", response_model=models.Job)
def cancel(visitor: Submitter, key: Id) -> models.Job:
    """Have a job not done: one that waits never starts, one that runs stops at its next batch.

    Refused where others asked for the same.
    """
    store, owner = visitor.server.store, str(visitor.name)
    visitor.job(key)
    if not visitor.is_admin and store.accounts.askers(key) != {owner}:
        raise Problem(409, "asked-for-by-others", "others asked for the same job: it goes on")
    cancelled = store.jobs.cancel(key, owner)
    store.accounts.note("job_cancelled", owner, {"job": key})
    return models.Job.of(cancelled, visitor.is_admin)


@router.post("/jobs/{key}/retry", response_model=models.Job)
def retry(visitor: Submitter, key: Id) -> models.Job:
    """Have a job that failed or was cancelled done again."""
    visitor.job(key)
    server = visitor.server
    tried = again(key, server.settings, server.store)
    server.store.accounts.note("job_retried", str(visitor.name), {"job": key})
    return models.Job.of(tried, visitor.is_admin)


def _newest(visitor: Visitor) -> str:
    found = next((each.id for each in visitor.evaluations() if each.status is EvaluationStatus.DONE), None)
    if found is None:
        raise NotFound("there is no finished evaluation to join yet")
    return found
