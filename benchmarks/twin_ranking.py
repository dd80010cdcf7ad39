"""Do twins built only from recorded films of Meta-World rank policies as the stand-in reality does?

One rig (its exterior cameras found from films), one twin for each demonstration of a rigid-object task, every policy of
the line-up in each twin; the true rates are those of `benchmarks/ranking.py`. Twins see nothing of the simulator: a
success is the moved thing (or, where none was moved, the tool) within 5 cm of where the demonstration's film left it.

    python benchmarks/twin_ranking.py [--each 8] [--only-tasks reach-v3 ...] [--processes 1]

Resumable: what `--data` holds already is not recorded, built or run again. Figures go to
docs/benchmarks/twin_ranking.json.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tyro
from common import OUTPUT, REPOSITORY, as_json, in_own_process, write

from workers.lineup import CONTROLS, LINEUP

if TYPE_CHECKING:
    from arena.contracts import Episode, FloatArray

SEED, RIG_SEED = 2, 11
"""Of the demonstrations, which no policy was trained on, and of the episodes that show the rig."""
RIG_KINDS = {"random": 2.0, "expert": 1.0}
DRAWS = 2000
RIGID = ("reach-v3", "push-v3", "pick-place-v3")


@dataclass(frozen=True)
class Options:
    """`each` demonstrations of each task, `rig` episodes of each that show the rig; films of `width` by `height`."""

    each: int = 8
    rig: int = 8
    steps: int = 20
    batch: int = 8
    processes: int = 1
    verify: bool = True
    """Whether each twin is replayed and rehearsed, too."""
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
        "rehearsed": sum(bool(each["rehearsed"]) for each in built),
        "object_cm": median("object_cm"),
        "goal_cm": median("goal_cm"),
        "size_pct": median("size_pct"),
        "replay_psnr": median("psnr"),
        "twin_seconds": median("seconds"),
        "rig_minutes": round(rig_minutes, 2),
        "each_twin": built,
    }


def build_some(options: Options, keys: Sequence[str]) -> dict[str, Any]:
    from real2sim.reconstruct.verify import picture_of
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
        # They take as long as all the rest.
        replayed = replays_of(twin, rig, films[key]) if options.verify else {}
        rehearsed = rehearse(twin, films[key]) if options.verify else None
        if replayed:
            picture_of(replayed, folder / "replay.png")
        found = {
            "episode": key,
            "seconds": round(seconds, 1),
            "rehearsed": rehearsed.succeeded if rehearsed else None,
            "rehearsed_cm": round(100 * rehearsed.nearest, 2) if rehearsed else None,
            "tool_mm": round(1000 * rehearsed.tool_error, 1) if rehearsed else None,
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
    """All policies in the twins against the stand-in reality, means over tasks, with intervals over twins' scenes.

    The true rates are those that `benchmarks/ranking.py` measured, of the same policies in the same tasks, from
    demonstrations of the same seed (docs/benchmarks/ranking/validation.json): from more scenes than have a twin.
    """
    from arena.validation.agreement import mmrv, pearson, spearman

    parts = [options.only_policies[start :: options.processes] for start in range(options.processes)]
    with ThreadPoolExecutor(options.processes) as pool:
        list(pool.map(lambda part: in_own_process(roll_some, options, part) if part else {}, parts))
    rows = [row for policy in options.only_policies for row in json.loads(trials_file(options, policy).read_text())]
    success = np.array([[[float(row["success"]) for row in rows if (row["policy"], row["task"]) == (policy, task)]
                         for task in options.only_tasks] for policy in options.only_policies])  # fmt: skip
    true = true_rates(options)
    measures = {"pearson": pearson, "spearman": spearman, "mmrv": mmrv}

    def compared(twin: FloatArray, real: FloatArray) -> dict[str, float]:
        return {name: float(of(evaluator=twin, real=real)) for name, of in measures.items()}

    rng = np.random.default_rng(0)
    scenes = success.shape[2]
    # Policies share scenes, and a draw keeps what they share.
    drawn = []
    for _ in range(DRAWS):
        rows_drawn = rng.integers(scenes, size=(len(options.only_tasks), scenes))
        again = np.stack([success[:, task, chosen] for task, chosen in enumerate(rows_drawn)], axis=1)
        drawn.append(compared(again.mean(axis=(1, 2)), true.mean(axis=1)))
    found = compared(success.mean(axis=(1, 2)), true.mean(axis=1))
    cloned = np.array([policy in LINEUP for policy in options.only_policies])
    interval = np.nanpercentile([each["pearson"] for each in drawn], [2.5, 97.5])
    return {
        **{name: _rounded(value) for name, value in found.items()},
        "pearson_low": _rounded(interval[0]),
        "pearson_high": _rounded(interval[1]),
        "policies": len(options.only_policies),
        "trials": int(success.size),
        "cloned_only": {
            name: _rounded(value)
            for name, value in compared(success[cloned].mean(axis=(1, 2)), true[cloned].mean(axis=1)).items()
        },
        "by_task": {
            task: {name: _rounded(value) for name, value in compared(success[:, i].mean(axis=1), true[:, i]).items()}
            for i, task in enumerate(options.only_tasks)
        },
        "scores": [
            {
                "policy": policy,
                "twin": round(float(success[i].mean()), 4),
                "true": round(float(true[i].mean()), 4),
                "by_task": {task: [round(float(success[i, j].mean()), 4), round(float(true[i, j]), 4)]
                            for j, task in enumerate(options.only_tasks)},
            }
            for i, policy in enumerate(options.only_policies)
        ],
    }  # fmt: skip


def true_rates(options: Options) -> FloatArray:
    """`(policies, tasks)`, in [0, 1]."""
    found = json.loads((OUTPUT / "ranking" / "validation.json").read_text())
    rates = {(row["policy"], task["task"]): row["real"] for task in found["tasks"] for row in task["scores"]}
    told = {key: value["value"] if isinstance(value, dict) else value for key, value in rates.items()}
    return np.array([[told[policy, task] for task in options.only_tasks] for policy in options.only_policies])


def _rounded(value: float) -> float | None:
    return None if np.isnan(value) else round(value, 4)


def trials_file(options: Options, policy: str) -> Path:
    return options.data / "trials" / f"{policy}-{options.steps}.json"


def roll_some(options: Options, wanted: Sequence[str]) -> dict[str, Any]:
    """What came of each policy in the twins; a file for each policy, whose trials are not run again."""
    from arena.rollout import FailedRollout, run_rollouts
    from arena.scenes import scene_from_episode
    from real2sim.twin.bundle import twin_sha256
    from real2sim.twin.world import VERSION, TwinWorld
    from workers.registry import Workshop, pretrained

    shop, folder = Workshop(), options.data / "twins"
    world = TwinWorld.load(folder)
    scenes = [scene_from_episode(one, 0, fps=one.fps) for one in episodes(options, "scenes", options.each)]
    twins = {scene.id: f"{VERSION} {twin_sha256(folder / scene.episode_id)}" for scene in scenes}
    for policy in wanted:
        file = trials_file(options, policy)
        kept = json.loads(file.read_text()) if file.is_file() else []
        rows = [row for row in kept if row["twin"] == twins.get(row["scene"])]
        missing = [one for one in scenes if one.id not in {row["scene"] for row in rows}]
        made = shop.policy(f"bc:{pretrained(policy)}" if policy in LINEUP else policy)
        for start in range(0, len(missing), options.batch):
            batch = missing[start : start + options.batch]
            rolled = run_rollouts(world, [made.create() for _ in batch], batch, [0] * len(batch), steps=options.steps)
            for one, scene in zip(rolled, batch, strict=True):
                if isinstance(one, FailedRollout):
                    raise one.error
                rows.append({"policy": policy, "task": scene.task, "scene": scene.id, "success": bool(one.success),
                             "twin": twins[scene.id]})  # fmt: skip
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(rows))
        print(policy, np.mean([row["success"] for row in rows]), flush=True)
    world.close()
    return {}


if __name__ == "__main__":
    os.environ.setdefault("MUJOCO_GL", "egl")
    main(tyro.cli(Options))
