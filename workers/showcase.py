"""From a finished evaluation in the store to its report: leaderboard, films, fidelity, judge, how it was made."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from arena.contracts import Frames, Verdict
from arena.episodes.encode import write_video
from arena.leaderboard import build_leaderboard
from arena.rollout import code_version
from arena.store import RolloutRecord
from workers.jobs import Context
from workers.report import ReportData, VideoCell, tile_views
from workers.rollouts import load_rollout

VERSIONS_SHOWN = ("torch", "diffusers", "numpy", "av", "mujoco", "metaworld")


@dataclass(frozen=True)
class Exhibit:
    """What a report shows. `truth` is an evaluation of the same policies and scenes in a world that knows success."""

    evaluation: str
    truth: str | None = None
    fidelity: Sequence[Mapping[str, Any]] = ()
    made: Mapping[str, Mapping[str, Any] | Sequence[str]] = field(default_factory=dict)
    notes: Sequence[str] = ()
    title: str = "Policy ranking"
    subtitle: str = ""
    scenes_shown: int = 6


def exhibit_report(exhibit: Exhibit, context: Context, folder: Path) -> ReportData:
    """Gather a report's data and write its films to `folder`. Raises `NotFound` for an unfinished evaluation."""
    results = context.store.results
    result = dict(results.finished_evaluation(exhibit.evaluation).result or {})
    rollouts = results.rollouts(exhibit.evaluation)
    verdicts = results.verdicts([r.id for r in rollouts], result["judge"]["sha256"])
    truth = results.rollouts(exhibit.truth) if exhibit.truth else []
    card = result["judge"]["card"] or {}
    threshold = float(card.get("threshold") or 0.5)
    board = build_leaderboard(rollouts, verdicts, truth=truth, threshold=threshold)
    return ReportData(
        title=exhibit.title,
        subtitle=exhibit.subtitle,
        ranking=board.ranking,
        policies=board.policies,
        videos_note="Imagined above, the stand-in reality below." if truth else "",
        videos=_films(exhibit, rollouts, verdicts, truth, context, folder),
        fidelity=exhibit.fidelity,
        judge={"name": result["judge"]["name"], **card},
        made={**exhibit.made, "where it ran": _machine(), "provenance": _provenance(rollouts, result)},
        notes=[*dict.fromkeys([*board.ranking.notes, *result["notes"], *exhibit.notes])],
        threshold=threshold,
    )


def _films(
    exhibit: Exhibit,
    rollouts: Sequence[RolloutRecord],
    verdicts: Sequence[Verdict],
    truth: Sequence[RolloutRecord],
    context: Context,
    folder: Path,
) -> list[VideoCell]:
    """A film of every policy in the first scenes of each task in turn: imagined above, what is true below."""
    said = {verdict.rollout_id: verdict for verdict in verdicts}
    real = {(record.scene_id, record.policy): record for record in truth}
    shown = _chosen_scenes(rollouts, exhibit.scenes_shown)
    films = [record for record in rollouts if record.scene_id in shown]
    cells = []
    for done, record in enumerate(films, start=1):
        twin = real.get((record.scene_id, record.policy))
        path = folder / f"{record.id}.mp4"
        if not path.exists():
            write_video(path, _stacked(record, twin, context), record.fps, crf=20)
        verdict = said.get(record.id)
        cells.append(
            VideoCell(
                policy=record.policy,
                scene=record.scene_id,
                video=path,
                instruction=record.instruction,
                success_probability=verdict.success_probability if verdict else None,
                progress=verdict.progress if verdict else None,
                abstained=verdict is not None and verdict.abstained,
                reason=verdict.reason if verdict else "no verdict",
                true_success=twin.success if twin else record.success,
            )
        )
        context.progress(done, len(films), "writing films")
    return cells


def _chosen_scenes(rollouts: Sequence[RolloutRecord], count: int) -> set[str]:
    """Scenes of every task in turn."""
    by_task: dict[str, list[str]] = {}
    for record in rollouts:
        scenes = by_task.setdefault(record.task or record.instruction, [])
        if record.scene_id not in scenes:
            scenes.append(record.scene_id)
    turns = [scenes[i] for i in range(count) for scenes in by_task.values() if i < len(scenes)]
    return set(turns[:count])


def _stacked(record: RolloutRecord, twin: RolloutRecord | None, context: Context) -> Frames:
    """A rollout above its twin in reality, which may have been filmed by more cameras than the world imagines."""
    films = [load_rollout(context.artifacts, each.artifact).frames for each in (record, twin) if each]
    shared = [name for name in films[0] if all(name in views for views in films)]
    rows = [tile_views({name: views[name] for name in shared}) for views in films]
    length = min(map(len, rows))
    return np.concatenate([row[:length] for row in rows], axis=1)


def _machine() -> dict[str, Any]:
    versions = {name: version(name) for name in VERSIONS_SHOWN}
    return {"machine": platform.platform(), "python": platform.python_version(), "code": code_version(), **versions}


def _provenance(rollouts: Sequence[RolloutRecord], result: Mapping[str, Any]) -> dict[str, Any]:
    policies = {record.policy: record.provenance.policy[:16] for record in rollouts}
    first = rollouts[0].provenance
    return {
        "evaluation": result["evaluation"],
        "world": first.world[:16],
        "config": first.config[:16],
        "judge": str(result["judge"]["sha256"])[:16],
        **{f"policy {name}": sha256 for name, sha256 in sorted(policies.items())},
    }
