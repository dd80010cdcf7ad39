"""The report of an evaluation: one HTML file and a folder of films, which need no network and no server.

Names and instructions come from datasets and submitted policies, so the template escapes everything, and
the page's own content security policy forbids it to load anything but the films beside it.
"""

from __future__ import annotations

import base64
import hashlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from jinja2 import Environment

from arena.contracts import Frames, InvalidInput, Ranking
from arena.episodes.atomic import atomic_file, atomic_write
from arena.leaderboard import PolicySummary, headline
from workers.charts import Forest, chart, forest
from workers.pages import page_environment

VIDEOS = "videos"


@dataclass(frozen=True)
class VideoCell:
    """One rollout to look at. `video` is an H.264 mp4, wherever it is: the report gets a copy."""

    policy: str
    scene: str
    video: Path
    instruction: str = ""
    success_probability: float | None = None
    progress: float | None = None
    """0 to 100."""
    abstained: bool = False
    reason: str = ""
    true_success: bool | None = None


@dataclass(frozen=True)
class ReportData:
    """What a report shows. Sections without data are left out.

    `policies` has one summary for each policy of `ranking`. `fidelity` rows have the keys of
    `worldmodels.replay.Fidelity`: `view`, `seconds`, `episodes`, and the mappings `psnr` and `ssim` with
    `model`, `copy`, `wrong_action` and `ceiling`. `judge` is the judge's card, name to value. `made`
    is how it was made: a heading to facts by name, or to lines (commands).
    """

    title: str
    ranking: Ranking
    policies: Sequence[PolicySummary]
    videos: Sequence[VideoCell] = ()
    fidelity: Sequence[Mapping[str, Any]] = ()
    judge: Mapping[str, Any] = field(default_factory=dict)
    made: Mapping[str, Mapping[str, Any] | Sequence[str]] = field(default_factory=dict)
    notes: Sequence[str] = ()
    subtitle: str = ""
    videos_note: str = ""
    """What is to be known about the films, e.g. which part is imagined."""
    threshold: float = 0.5
    """The success probability at which the judge says success."""


def write_report(data: ReportData, out: Path) -> Path:
    """Write `report.html` and its `videos/` into the folder `out`; returns the page's path.

    The page appears after its films, so one that is there is whole. Raises `InvalidInput` for a film that is not
    there, for policies that the ranking does not have, and for two films of one policy in one scene.
    """
    summaries = {summary.policy: summary for summary in data.policies}
    if unknown := {place.policy for place in data.ranking.policies} ^ set(summaries):
        raise InvalidInput(f"a report needs one summary for each ranked policy, and no other: see {min(unknown)!r}")
    films = _collect_films(data.videos, out)
    environment = page_environment()
    page = environment.get_template("report.html").render(
        data=data,
        script_hash=_script_hash(environment),
        verdict=headline(data.ranking),
        notes=list(dict.fromkeys([*data.ranking.notes, *data.notes])),
        groups=[_group(names, data.ranking, summaries) for names in data.ranking.groups],
        has_truth=any(summary.true for summary in data.policies),
        columns=[p.policy for p in data.ranking.policies if any(c.policy == p.policy for c in data.videos)],
        scenes=_scenes(data.videos),
        films=films,
        margins=margins(data.fidelity),
        charts=[chart(view, rows) for view, rows in _by_view(data.fidelity).items()],
    )
    path = out / "report.html"
    atomic_write(path, page.encode())
    return path


def tile_views(frames: Mapping[str, Frames], scale: int = 2) -> Frames:
    """All cameras side by side, enlarged `scale` times: `(T, H, W, 3)` each to `(T, scale H', scale sum(W) + gaps, 3)`.

    Pixels are repeated rather than smoothed, so that what a model imagined is what is seen. Cameras of less
    height are centred on black, and sides come out even, as H.264 wants. Raises `InvalidInput` where the
    cameras do not have equally many frames.
    """
    if len({len(video) for video in frames.values()}) != 1:
        counts = ", ".join(f"{name} has {len(video)}" for name, video in frames.items()) or "there are none"
        raise InvalidInput(f"cameras to be shown side by side need equally many frames: {counts}")
    large = [video.repeat(scale, axis=1).repeat(scale, axis=2) for video in frames.values()]
    height, gap = max(video.shape[1] for video in large), 2 * scale
    width = sum(video.shape[2] for video in large) + gap * (len(large) - 1)
    tiled = np.zeros((len(large[0]), height + height % 2, width + width % 2, 3), np.uint8)
    left = 0
    for video in large:
        top = (height - video.shape[1]) // 2
        tiled[:, top : top + video.shape[1], left : left + video.shape[2]] = video
        left += video.shape[2] + gap
    return tiled


def margins(fidelity: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """How far the model is above the two controls over all views, per horizon, in dB of PSNR."""
    return [
        {
            "seconds": row["seconds"],
            "psnr": row["psnr"]["model"],
            "over_copy": row["psnr"]["model"] - row["psnr"]["copy"],
            "over_wrong_action": row["psnr"]["model"] - row["psnr"]["wrong_action"],
            "episodes": row.get("episodes"),
        }
        for row in sorted(fidelity, key=lambda row: float(row["seconds"]))
        if row["view"] == "all"
    ]


def _group(names: Sequence[str], ranking: Ranking, summaries: Mapping[str, PolicySummary]) -> dict[str, Any]:
    """Policies that can be compared, each with its summary and the geometry of its interval."""
    places = [place for place in ranking.policies if place.policy in names]
    drawn: Forest = forest(places)
    rows = [
        {"place": place, "summary": summaries[place.policy], "bar": bar}
        for place, bar in zip(places, drawn.bars, strict=True)
    ]
    return {"rows": rows, "ticks": drawn.ticks, "zero": drawn.zero}


def _collect_films(cells: Sequence[VideoCell], out: Path) -> dict[tuple[str, str], tuple[str, VideoCell]]:
    """Copy films under names of our own, and return their addresses by scene and policy."""
    scenes, policies = _scenes(cells), list(dict.fromkeys(cell.policy for cell in cells))
    films: dict[tuple[str, str], tuple[str, VideoCell]] = {}
    for cell in cells:
        if (cell.scene, cell.policy) in films:
            raise InvalidInput(f"there are two films of {cell.policy!r} in scene {cell.scene!r}: show one")
        name = f"scene{scenes.index(cell.scene) + 1:02d}-policy{policies.index(cell.policy) + 1:02d}.mp4"
        films[cell.scene, cell.policy] = (_film(cell.video, out / VIDEOS / name), cell)
    return films


def _film(source: Path, target: Path) -> str:
    """The relative address of a film, which is copied unless it is in the report's folder already."""
    if not source.is_file():
        raise InvalidInput(f"the film {source} is not there")
    if source.resolve().parent == target.parent.resolve():
        return f"{VIDEOS}/{quote(source.name)}"
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(target) as partial:
        shutil.copyfile(source, partial)
    return f"{VIDEOS}/{target.name}"


def _scenes(cells: Sequence[VideoCell]) -> list[str]:
    return list(dict.fromkeys(cell.scene for cell in cells))


def _by_view(fidelity: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Rows of each view by horizon, all views together first."""
    views = sorted({str(row["view"]) for row in fidelity}, key=lambda view: (view != "all", view))
    return {
        view: sorted((row for row in fidelity if row["view"] == view), key=lambda row: float(row["seconds"]))
        for view in views
    }


def _script_hash(environment: Environment) -> str:
    """What the page's content security policy names: no other script may run."""
    script = environment.get_template("report.js").render()
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
