"""Do twins built only from recorded films of Meta-World rank policies as the stand-in reality does?

One rig (its exterior cameras found from films), one twin for each demonstration of a rigid-object task, every policy of
the line-up in each twin and, from the same beginnings, in the stand-in reality. Twins see nothing of the simulator: a
success is the moved thing (or, where none was moved, the tool) within 5 cm of where the demonstration's film left it.

    python benchmarks/twin_ranking.py [--each 8] [--only-tasks reach-v3 ...] [--processes 1]

Resumable: what `--data` holds already is not recorded, built or run again. Figures go to
docs/benchmarks/twin_ranking.json, the page with plots to docs/benchmarks/twin_ranking/validation.html.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tyro
from common import OUTPUT, REPOSITORY, as_json, in_own_process, write

from workers.lineup import CONTROLS, LINEUP

if TYPE_CHECKING:
    from arena.contracts import Episode

SEED, RIG_SEED = 2, 11
"""Of the demonstrations, which no policy was trained on, and of the episodes that show the rig."""
RIG_KINDS = {"random": 2.0, "expert": 1.0}
TWIN, REAL = "twin", "metaworld"
RIGID = ("reach-v3", "push-v3", "pick-place-v3")


@dataclass(frozen=True)
class Options:
    """`each` demonstrations of each task, `rig` episodes of each that show the rig; films of `width` by `height`."""

    each: int = 8
    rig: int = 8
    steps: int = 20
    batch: int = 8
    processes: int = 1
    solve: bool = False
    """Whether exterior cameras are found from the films, or taken from the dataset and checked."""
    width: int = 192
    height: int = 128
    cameras: tuple[str, ...] = ("exterior_1", "wrist")
    """Those that the policies look through."""
    only_tasks: tuple[str, ...] = RIGID
    only_policies: tuple[str, ...] = (*LINEUP, *CONTROLS)
    data: Path = REPOSITORY / "out" / "benchmark" / "twin-ranking"
    name: str = "twin_ranking"


def main(options: Options) -> None:
    recorded(options)
    built = twins(options)
    figures = {**agreement(options), **built, "cameras": cameras(options), "options": as_json(options)}
    print(write(options.name, figures).read_text())


def recorded(options: Options) -> None:
    """The films: of the rig, of the demonstrations at the twins' size, and of the same at the policies' size."""
    from real2sim.reality.record import record

    kinds = {"expert": 1.0}
    large = {"height": options.height, "width": options.width}
    sets: list[tuple[str, int, int, Mapping[str, float], dict[str, int]]] = [
        ("rig", options.rig, RIG_SEED, RIG_KINDS, {**large, "max_frames": 60}),
        ("films", options.each, SEED, kinds, large),
        ("scenes", options.each, SEED, kinds, {}),
    ]
    for name, each, seed, of, how in sets:
        if not (options.data / name / "meta" / "info.json").is_file():
            record(options.only_tasks, each, seed, options.data / name, kinds=of, **how)  # type: ignore[arg-type]


def episodes(options: Options, name: str, each: int | None = None) -> list[Episode]:
    """Of a recording: all of its episodes, or the first `each` of each task."""
    from arena.episodes.ingest import ingest

    found = list(ingest(options.data / name).episodes)
    return [one for one in found if each is None or int(one.metadata["index"]) < each]


def rig_of(options: Options) -> Any:
    """Built once, then read."""
    from arena.contracts import InvalidInput
    from real2sim.rig.kept import load_rig, save_rig
    from real2sim.rig.rig import RigSettings, build_rig

    folder = options.data / ("rig-solved" if options.solve else "rig-given")
    try:
        return load_rig(folder)
    except InvalidInput:
        shown = episodes(options, "rig")
        exterior = tuple(name for name in shown[0].cameras if name != "wrist")
        rig = build_rig(shown, folder, RigSettings(solve=exterior if options.solve else ()), print)
        save_rig(folder, rig)
        return rig


def twins(options: Options) -> dict[str, Any]:
    """Builds what is missing; how many were accepted, and how far each is off."""
    began = time.perf_counter()
    rig_of(options)
    rig_minutes = (time.perf_counter() - began) / 60
    keys = [episode.id for episode in episodes(options, "films", options.each)]
    wanted = [key for key in keys if not (options.data / "twins" / key / "built.json").is_file()]
    with ThreadPoolExecutor(options.processes) as pool:
        parts = [wanted[start :: options.processes] for start in range(options.processes)]
        list(pool.map(lambda part: in_own_process(build_some, options, part) if part else {}, parts))
    built = [json.loads((options.data / "twins" / key / "built.json").read_text()) for key in keys]

    def median(key: str) -> float | None:
        values = [each[key] for each in built if each.get(key) is not None]
        return round(float(np.median(values)), 3) if values else None

    return {
        "twins": len(built),
        "rehearsed": sum(each["rehearsed"] for each in built),
        "object_cm": median("object_cm"),
        "goal_cm": median("goal_cm"),
        "size_pct": median("size_pct"),
        "replay_psnr": median("psnr"),
        "twin_seconds": median("seconds"),
        "rig_minutes": round(rig_minutes, 2),
        "each_twin": built,
    }


def build_some(options: Options, keys: Sequence[str]) -> dict[str, Any]:
    from real2sim.build.verify import picture_of
    from real2sim.rig.rehearse import rehearse
    from real2sim.rig.scene import replays_of, twin_of
    from real2sim.twin.bundle import save_twin

    rig = rig_of(options)
    films = {episode.id: episode for episode in episodes(options, "films")}
    for key in keys:
        began = time.perf_counter()
        twin = twin_of(rig, films[key], 96, 64)
        folder = options.data / "twins" / key
        shutil.rmtree(folder, ignore_errors=True)
        save_twin(folder, seen_through(twin, options.cameras))
        seconds = time.perf_counter() - began
        replayed = {}
        if key.split("-00")[1].startswith("000"):  # One of each task: it takes as long as all the rest.
            replayed = replays_of(twin, rig, films[key])
            picture_of(replayed, folder / "replay.png")
        rehearsed = rehearse(twin, films[key])
        found = {
            "episode": key,
            "seconds": round(seconds, 1),
            "rehearsed": rehearsed.succeeded,
            "rehearsed_cm": round(100 * rehearsed.nearest, 2),
            "tool_mm": round(1000 * rehearsed.tool_error, 1),
            "psnr": round(min(each.psnr for each in replayed.values()), 2) if replayed else None,
            **truth_of(twin, films[key]),
        }
        (folder / "built.json").write_text(json.dumps(found))
        print(found, flush=True)
    return {}


def seen_through(twin: Any, cameras: Sequence[str]) -> Any:
    """A twin without the exterior cameras that no policy looks through: drawing them would only take time."""
    kept = {part: {name: each for name, each in getattr(twin, part).items() if name in cameras}
            for part in ("exterior", "backdrops", "looks")}  # fmt: skip
    return replace(twin, **kept)


def truth_of(twin: Any, film: Episode) -> dict[str, Any]:
    """How far a twin is off, measured against the simulator, which nothing else here looks at."""
    from real2sim.reality.simulator import Simulation

    simulation = Simulation(film.task)
    simulation.reset(int(film.metadata["reset_seed"]))
    thing, goal = simulation.observation[4:7].copy(), simulation.observation[36:39].copy()
    apart = [np.linalg.norm(each.body_to_base[:3, 3] - thing) for each in twin.objects]
    nearest = int(np.argmin(apart)) if apart else None
    return {
        "things": len(twin.objects),
        "object_cm": None if nearest is None else round(100 * float(apart[nearest]), 2),
        "size_pct": None if nearest is None else round(
            100 * float(np.abs(twin.objects[nearest].size / np.array([0.04, 0.04, 0.04]) - 1).max()), 1),
        "goal_cm": round(100 * float(np.linalg.norm(np.array(twin.goal.place) - goal)), 2),
        "goal_of": twin.goal.thing or "tool",
    }  # fmt: skip


def cameras(options: Options) -> dict[str, Any]:
    """What the cameras that were found are wrong by."""
    from scipy.spatial.transform import Rotation

    from real2sim.camera import calibrated

    rig, known = rig_of(options), calibrated(episodes(options, "rig")[0].metadata)
    found = {}
    for name, camera in rig.exterior.items():
        turn = Rotation.from_matrix(camera.camera_to_base[:3, :3].T @ known[name].camera_to_base[:3, :3])
        apart = camera.camera_to_base[:3, 3] - known[name].camera_to_base[:3, 3]
        found[name] = {
            "cm": round(100 * float(np.linalg.norm(apart)), 3),
            "deg": round(float(np.rad2deg(turn.magnitude())), 3),
            "focal_pct": round(100 * abs(camera.fx / known[name].fx - 1), 2),
        }
    return {**found, "table_mm": round(1000 * abs(rig.plane.height), 1), "table_deg": round(rig.plane.tilt, 2)}


def agreement(options: Options) -> dict[str, Any]:
    """All policies in the twins and, from the same beginnings, in the stand-in reality."""
    from arena.rollout import code_version
    from arena.validation import Results, TrialResult, validate
    from arena.validation.agreement import mmrv, pearson, spearman
    from workers.validation_page import write_validation

    wanted = [(world, policy) for policy in options.only_policies for world in (TWIN, REAL)]
    with ThreadPoolExecutor(options.processes) as pool:
        parts = [wanted[start :: options.processes] for start in range(options.processes)]
        list(pool.map(lambda part: in_own_process(roll_some, options, part) if part else {}, parts))
    sides = {}
    for world in (TWIN, REAL):
        rows = [
            row
            for policy in options.only_policies
            for row in json.loads(trials_file(options, world, policy).read_text())
        ]
        trials = tuple(TrialResult(row["policy"], row["task"], row["scene"], 0, float(row["success"])) for row in rows)
        sides[world] = Results(trials, {"world": world})
    found = asdict(validate(evaluator=sides[TWIN], real=sides[REAL], seed=0))
    write_validation({**found, "code": code_version()}, OUTPUT / options.name)
    cloned = [score for score in found["scores"] if score["policy"] in LINEUP]
    rates = {side: np.array([score[side]["value"] for score in cloned]) for side in ("evaluator", "real")}
    measures = {"pearson": pearson, "spearman": spearman, "mmrv": mmrv}
    return {
        **{name: found[name]["value"] for name in ("pearson", "spearman", "kendall", "mmrv", "optimism")},
        "pearson_low": found["pearson"]["low"],
        "pearson_high": found["pearson"]["high"],
        "drop_one_min": found["drop_one"]["min"],
        "policies": found["policies"],
        "trials": len(sides[REAL].trials),
        "cloned_only": {name: _rounded(float(of(**rates))) for name, of in measures.items()},
        "by_task": {t["task"]: {n: t[n]["value"] for n in ("pearson", "spearman", "mmrv", "optimism")}
                    for t in found["tasks"]},
        "scores": [{"policy": s["policy"], "twin": s["evaluator"]["value"], "true": s["real"]["value"]}
                   for s in found["scores"]],
    }  # fmt: skip


def _rounded(value: float) -> float | None:
    return None if np.isnan(value) else round(value, 4)


def trials_file(options: Options, world: str, policy: str) -> Path:
    return options.data / "trials" / f"{world}-{policy}-{options.steps}.json"


def roll_some(options: Options, wanted: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """What came of each policy in the scenes that have a twin, in a world; a file for each, never done again."""
    from arena.rollout import run_rollouts
    from arena.scenes import scene_from_episode
    from real2sim.reality.metaworld import MetaWorldWorld
    from real2sim.twin.world import TwinWorld
    from workers.registry import Workshop, pretrained

    shop = Workshop()
    chosen = episodes(options, "scenes", options.each)
    scenes = [scene_from_episode(one, 0, fps=one.fps) for one in chosen]
    make = {TWIN: lambda: TwinWorld.load(options.data / "twins"), REAL: MetaWorldWorld}
    worlds = {world: make[world]() for world in dict.fromkeys(world for world, _ in wanted)}
    for world, policy in wanted:
        file = trials_file(options, world, policy)
        if file.is_file() and {row["scene"] for row in json.loads(file.read_text())} == {one.id for one in scenes}:
            continue
        made = shop.policy(f"bc:{pretrained(policy)}" if policy in LINEUP else policy)
        rows: list[dict[str, Any]] = []
        for start in range(0, len(scenes), options.batch):
            batch = scenes[start : start + options.batch]
            policies = [made.create() for _ in batch]
            rolled = run_rollouts(worlds[world], policies, batch, [0] * len(batch), steps=options.steps)
            for one, scene in zip(rolled, batch, strict=True):
                success = getattr(one, "success", None)
                rows.append({"policy": policy, "task": scene.task, "scene": scene.id, "success": bool(success)})
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(rows))
        print(world, policy, np.mean([row["success"] for row in rows]), flush=True)
    for each in worlds.values():
        each.close()
    return {}


if __name__ == "__main__":
    os.environ.setdefault("MUJOCO_GL", "egl")
    main(tyro.cli(Options))
