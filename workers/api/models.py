"""What comes in and what goes out, as types: the OpenAPI document is made from these."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from fastapi import Path, Query
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from arena.contracts import Choice, Verdict
from arena.store import EvaluationStatus, JobRecord, JobStatus, RolloutRecord, Scope, TokenRecord
from arena.store.records import EvaluationGlance
from workers.cli.token import token_json

MAX_PAGE = 200
ID = r"^[A-Za-z0-9._:-]{1,128}$"


def _text(value: str) -> str:
    if any(not letter.isprintable() and letter not in "\n\t" for letter in value):
        raise ValueError("must be printable text")
    return value


Text = Annotated[str, AfterValidator(_text)]
Id = Annotated[str, Path(pattern=ID)]
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE)]
Cursor = Annotated[str | None, Query(pattern=ID, description="`next` of the page before")]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class In(BaseModel):
    """What a client sends: nothing unknown, and no number where a text belongs."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Out(BaseModel):
    model_config = ConfigDict(frozen=True)


class Me(Out):
    owner: str | None
    scopes: list[str]
    token: str | None = None
    expires_at: float | None = None


class Health(Out):
    status: Literal["ok"] = "ok"
    version: str


class Status(Out):
    version: str
    jobs: dict[str, int]
    evaluations: int


class SubmissionIn(In):
    policy: Annotated[Text, Field(min_length=1, max_length=1000)]
    """A server, e.g. openpi://HOST:8000?action_space=joint_velocity&control_hz=15&chunk=8, roboarena://HOST:8000?...
    or groot://HOST:5555?..., or upload:SHA256.
    """
    evaluation: Annotated[str, Field(pattern=ID)] | None = None
    """The evaluation that it joins; the newest finished one by default."""
    private: bool = False
    """Whether only its owner may see what comes of it."""
    priority: Annotated[int, Field(ge=0, le=9)] = 0
    """Above 0 for admins only."""


class ProbeIn(In):
    url: Annotated[Text, Field(min_length=1, max_length=1000)]
    action_space: Literal["joint_velocity", "joint_position", "cartesian_position", "cartesian_velocity"] | None = None
    calls: Annotated[int, Field(ge=1, le=8)] = 4


class Job(Out):
    key: str
    kind: str
    status: JobStatus
    stage: str
    done: int
    total: int
    attempts: int
    priority: int
    stopping: bool
    error: str | None
    result: dict[str, Any] | None
    created_at: float
    updated_at: float

    @classmethod
    def of(cls, job: JobRecord, all_of_it: bool) -> Job:
        """What whoever asked for a job may know. The error of a machine names its paths, and is for admins."""
        error = dict(job.error or {})
        said = str(error.get("message", "")) if error.get("user") or all_of_it else "an error of the server"
        return cls(
            key=job.key, kind=job.kind, status=job.status, stage=job.stage, done=job.done, total=job.total,
            attempts=job.attempts, priority=job.priority,
            stopping=job.cancel_at is not None and job.status is JobStatus.RUNNING,
            error=said if error else None, result=None if job.result is None else _finite(dict(job.result)),
            created_at=job.created_at, updated_at=job.updated_at,
        )  # fmt: skip


class Evaluation(Out):
    id: str
    status: EvaluationStatus
    created_at: float
    finished_at: float | None
    policies: int

    @classmethod
    def of(cls, seen: EvaluationGlance) -> Evaluation:
        return cls(
            id=seen.id, status=seen.status, created_at=seen.created_at, finished_at=seen.finished_at,
            policies=len(seen.policies),
        )  # fmt: skip


class VerdictOut(Out):
    judge: str
    judge_sha256: str
    success_probability: float | None
    progress: float | None
    reason: str
    abstained: bool


class Rollout(Out):
    id: str
    policy: str
    world: str
    scene: str
    task: str
    instruction: str
    seed: int
    frames: int
    fps: float
    success: bool | None
    created_at: float
    verdicts: list[VerdictOut]

    @classmethod
    def of(cls, record: RolloutRecord, said: list[Verdict]) -> Rollout:
        return cls(
            id=record.id, policy=record.policy, world=record.world, scene=record.scene_id, task=record.task,
            instruction=record.instruction, seed=record.seed, frames=record.frames, fps=record.fps,
            success=record.success, created_at=record.created_at,
            verdicts=[
                VerdictOut(
                    judge=each.judge, judge_sha256=each.judge_sha256, success_probability=each.success_probability,
                    progress=each.progress, reason=each.reason, abstained=each.abstained,
                )
                for each in said
            ],
        )  # fmt: skip


class Film(Out):
    camera: str
    size: int
    sha256: str


class RolloutAlone(Rollout):
    films: list[Film]


class Page(Out):
    next: str | None
    """What to send as `cursor` for the next page; null on the last one."""


class Jobs(Page):
    items: list[Job]


class Evaluations(Page):
    items: list[Evaluation]


class Rollouts(Page):
    items: list[Rollout]


class PairsIn(In):
    count: Annotated[int, Field(ge=1, le=5)] = 2


class Pair(Out):
    token: str
    offer: str
    instruction: str
    left: dict[str, str]
    """Where each camera's film is."""
    right: dict[str, str]
    watch: float
    """Seconds before a vote counts."""


class Pairs(Out):
    pairs: list[Pair]
    votes: int


class BallotIn(In):
    token: Annotated[Text, Field(max_length=2048)]
    choice: Annotated[Choice, Field(strict=False)]
    left_success: Share | None = None
    right_success: Share | None = None
    reason: Annotated[Text, Field(max_length=500)] = ""


class SkipIn(In):
    token: Annotated[Text, Field(max_length=2048)]


class Receipt(Out):
    left: str
    right: str
    right_answer: bool | None
    votes: int


class VerdictIn(In):
    rollout: Annotated[str, Field(pattern=ID)]
    success_probability: Share | None
    """Null abstains."""
    progress: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] | None = None
    reason: Annotated[Text, Field(max_length=2000)] = ""


class VerdictsIn(In):
    judge: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    version: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")] = "1"
    verdicts: Annotated[list[VerdictIn], Field(min_length=1, max_length=200)]


class Judged(Out):
    judge: str
    judge_sha256: str
    new: int
    known: int


class TokenIn(In):
    owner: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}$")]
    scopes: Annotated[list[Annotated[Scope, Field(strict=False)]], Field(min_length=1, max_length=4)]
    days: Annotated[float, Field(gt=0, le=3650, allow_inf_nan=False)] | None = 90.0
    note: Annotated[Text, Field(max_length=200, pattern=r"^[^\n\t]*$")] = ""


class Token(Out):
    id: str
    owner: str
    scopes: list[Scope]
    note: str
    state: Literal["valid", "expired", "revoked"]
    created_at: float
    expires_at: float | None
    revoked_at: float | None

    @classmethod
    def of(cls, record: TokenRecord) -> Token:
        return cls(**token_json(record))


class NewToken(Token):
    token: str
    """It is told this once."""


class Tokens(Out):
    items: list[Token]


class Audit(Out):
    number: int
    event: str
    voter: str | None
    detail: dict[str, Any]
    created_at: float


class Audits(Page):
    items: list[Audit]


class Upload(Out):
    policy: str
    """What to submit it as."""
    sha256: str
    size: int


def _finite(value: Any) -> Any:
    """JSON has no NaN."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {name: _finite(each) for name, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, list | tuple) else value
