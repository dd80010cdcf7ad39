"""The step `audit_judge`: a judge's audit on labelled episodes, recorded or imagined again, and its card."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from arena.contracts import ActionChunk, ActionSpace, Episode, FrameSource, InvalidInput, Provenance, Rollout
from arena.rollout import code_version
from arena.store import Store
from workers.evaluation import Dataset, WorldSpec
from workers.jobs import Context, Inputs, Json, Queue, Step
from workers.judge_specs import TRUTH, JudgeSpec
from workers.judging import judge_card, ledger_kept, make_judge, spent
from workers.replays import imagined_videos
from workers.rollouts import load_rollout
from workers.steps.train_judge import balanced

if TYPE_CHECKING:
    from arena.judges.audit_probes import AuditTrial
    from arena.judges.people import People


class AuditJudgeInputs(Inputs):
    """`world` imagines the episodes again. `planted` are stored rollouts of policies that cannot succeed, by policy.

    At most `limit` episodes are shown, of each task's successes and failures equally many. Fingerprints tell states of
    files from each other.
    """

    judge: JudgeSpec
    datasets: tuple[Dataset, ...]
    world: WorldSpec | None
    world_fingerprint: str | None
    planted: tuple[tuple[str, tuple[str, ...]], ...]
    votes: str | None
    votes_sha256: str | None
    limit: int | None
    seed: int
    out: str


def audit_judge(inputs: AuditJudgeInputs, context: Context) -> Json:
    """Audit the judge and write its card. Returns the card's data, and where the page is."""
    from arena.judges.audit import audit
    from workers.audit_page import write_audit

    people = _people(inputs)
    chosen = make_judge(inputs.judge, inputs.world, context)
    trials = _trials(inputs, context)
    planted = {kind: _planted(ids, context) for kind, ids in inputs.planted}
    with ledger_kept(chosen, context, "audit"):
        found = audit(
            chosen, trials, planted=planted, people=people, seed=inputs.seed, progress=context.progress,
        )  # fmt: skip
    data: Json = found.as_json() | {
        "spec": inputs.judge.name,
        "card": judge_card(chosen),
        "spent": spent(chosen),
        "shown": "recorded" if inputs.world is None else "imagined",
        "world": None if inputs.world is None else Path(inputs.world.name).name,
        "datasets": [{"name": Path(d.path).name, "fingerprint": d.fingerprint} for d in inputs.datasets],
        "code": code_version(),
    }
    page = write_audit(data, Path(inputs.out))
    return data | {"page": str(page)}


def intact(inputs: AuditJudgeInputs, context: Context) -> bool:
    """The page is written last."""
    from workers.audit_page import PAGE

    return (Path(inputs.out) / PAGE).is_file()


def newest_audit(store: Store, judge_sha256: str) -> Json | None:
    """All that the newest audit of a judge found: what its card is drawn from. None where it was never audited."""
    results = (dict(job.result or {}) for job in store.jobs.finished(STEP.name))
    return next((result for result in results if result.get("judge_sha256") == judge_sha256), None)


def audit_of(store: Store, judge_sha256: str) -> Json | None:
    """Whether the newest audit passed, and where its card is, if that is still there."""
    found = newest_audit(store, judge_sha256)
    if found is None:
        return None
    page = found["page"] if Path(found["page"]).is_file() else None
    return {"passed": found["passed"], "page": page, "shown": found["shown"]}


def _people(inputs: AuditJudgeInputs) -> People | None:
    if inputs.votes is None:
        return None
    from arena.judges.people import read_people

    return read_people(Path(inputs.votes))


def _trials(inputs: AuditJudgeInputs, context: Context) -> list[AuditTrial]:
    if inputs.judge.name == TRUTH:
        raise InvalidInput("the judge truth passes on the labels themselves: there is nothing to audit")
    episodes = [e for dataset in inputs.datasets for e in dataset.episodes(context) if e.success is not None]
    if repeated := {e.id for e in episodes if sum(other.id == e.id for other in episodes) > 1}:
        raise InvalidInput(f"the datasets hold the episode {min(repeated)!r} more than once")
    chosen = episodes if inputs.limit is None else balanced(episodes, inputs.limit, inputs.seed)
    if inputs.world is None:
        return [_trial(episode, episode.cameras) for episode in chosen]
    views = context.workshop.model(Path(inputs.world.name)).config.views
    return [_trial(e, videos) for e, videos in imagined_videos(chosen, views, inputs.world, inputs.seed, context)]


def _trial(episode: Episode, cameras: Mapping[str, FrameSource]) -> AuditTrial:
    from arena.judges.audit_probes import AuditTrial

    return AuditTrial(
        episode.id, episode.task, episode.instruction, bool(episode.success), lambda: _as_rollout(episode, cameras)
    )


def _as_rollout(episode: Episode, cameras: Mapping[str, FrameSource]) -> Rollout:
    """A labelled episode as a judge is shown a rollout. Its commands are the states that it reached."""
    frames = {name: source.read() for name, source in cameras.items()}
    state = np.asarray(episode.state)
    return Rollout(
        id=episode.id, policy="", world="", scene_id=episode.id, task=episode.task, instruction=episode.instruction,
        seed=0, fps=episode.fps, frames=frames, state=state,
        action=ActionChunk(state[1:] if len(state) > 1 else state, ActionSpace.CARTESIAN_POSITION, episode.fps),
        step_seconds=(), provenance=Provenance("", "", episode.source.sha256, "", ""), success=episode.success,
    )  # fmt: skip


def _planted(ids: Sequence[str], context: Context) -> list[AuditTrial]:
    """Stored rollouts, without those that a world that knows says have succeeded by luck."""
    from arena.judges.audit_probes import AuditTrial

    records = [context.store.results.rollout(id) for id in ids]

    def load(artifact: str) -> Callable[[], Rollout]:
        return lambda: load_rollout(context.artifacts, artifact)

    return [
        AuditTrial(record.id, record.task, record.instruction, False, load(record.artifact))
        for record in records
        if record.success is not True
    ]


STEP = Step("audit_judge", AuditJudgeInputs, audit_judge, intact, needs=Queue.JUDGE)
