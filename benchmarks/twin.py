"""How good are twins, from the episode alone, and are wrong recordings refused?

Scenes whose truth is known (`real2sim.truth`), two exterior cameras and one on the wrist, no initial guess, focal
lengths unknown. Each goes through the whole chain; of the first few scenes each kind of wrong recording does too.

    python benchmarks/twin.py [--scenes 20] [--faulty 4] [--frames 120] [--processes 2] [--kept FILE]

What each build came to is a line of the kept file as soon as it ends, and is not built again.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import tyro
from common import OUTPUT, as_json, in_own_process, write

if TYPE_CHECKING:
    from real2sim.camera import Camera
    from real2sim.truth import KnownTruth

TWICE = {
    "exterior_cm": 2.0,
    "exterior_deg": 2.0,
    "handeye_mm": 10.0,
    "handeye_deg": 2.0,
    "object_cm": 2.0,
    "size_pct": 20.0,
}
"""Twice the targets: an accepted scene that is further off was accepted falsely. Of things, a scene's median counts."""


RIGHT_STAGE = {
    "wrong joint offsets": "camera",
    "shuffled frames": "camera",
    "mirrored video": "camera",
    "a camera that moves": "steadiness",
}
"""Where each fault has to be refused: what the reason begins with."""


@dataclass(frozen=True)
class Options:
    first: int = 0
    """The first scene's seed."""
    scenes: int = 20
    faulty: int = 4
    frames: int = 120
    processes: int = 1
    """Scenes that are built side by side."""
    kept: Path = Path("out/benchmark-twin.jsonl")
    """Results so far, one a line. Delete it to begin anew."""


def errors(found: Camera, true: Camera) -> tuple[float, float]:
    """Metres and degrees."""
    from scipy.spatial.transform import Rotation

    turn = Rotation.from_matrix(found.camera_to_base[:3, :3].T @ true.camera_to_base[:3, :3])
    apart = found.camera_to_base[:3, 3] - true.camera_to_base[:3, 3]
    return float(np.linalg.norm(apart)), float(np.rad2deg(turn.magnitude()))


def measured(folder: Path, truth: KnownTruth) -> dict[str, Any]:
    """What an accepted twin is wrong by."""
    from real2sim.truth.objects import object_errors
    from real2sim.twin.bundle import load_twin

    twin = load_twin(folder)
    assert twin.wrist is not None
    cameras = [errors(camera, truth.exterior[name]) for name, camera in twin.exterior.items()]
    metres, degrees = errors(twin.wrist, truth.wrist)
    things = object_errors(twin.objects, truth.objects)
    return {
        "exterior_cm": max(100 * each for each, _ in cameras),
        "exterior_deg": max(each for _, each in cameras),
        "handeye_mm": 1000 * metres,
        "handeye_deg": degrees,
        "object_cm": float(np.median(things.position_cm)) if len(things.pairs) else None,
        "size_pct": float(np.median(things.size_percent)) if len(things.pairs) else None,
        "found": len(things.pairs),
        "missed": len(things.missed),
        "stray": len(things.stray),
    }


def build_one(seed: int, frames: int, fault: str | None) -> dict[str, Any]:
    """What a scene's twin is wrong by, or what was made of a wrong recording of it."""
    from real2sim.reconstruct import build_twin
    from real2sim.truth import FAULTS, make_truth

    truth = make_truth(seed, frames)
    episode = truth.episode if fault is None else FAULTS[fault](truth.episode, seed)
    folder = Path(tempfile.mkdtemp(prefix="dreamarena-twin-"))
    try:
        built = build_twin(episode, folder)
        if fault is not None:
            return {"seed": seed, "fault": fault, "accepted": built.accepted, "reason": built.reason}
        psnr = [gate.value for gate in built.gates if gate.stage == "scene"]
        found = {
            "seed": seed,
            "accepted": built.accepted,
            "reason": built.reason,
            "left_out": list(built.left_out),
            "psnr": psnr[0] if psnr else None,
            "replay": built.measures.get("replay"),
            "minutes": sum(built.seconds.values()) / 60,
            "seconds": built.seconds,
            **(measured(folder, truth) if built.accepted else {}),
        }
        # Nothing found of what stands there is not within bounds either.
        found["false"] = [k for k, most in TWICE.items() if built.accepted and (found[k] is None or found[k] > most)]
        return found
    finally:
        shutil.rmtree(folder)


def results(options: Options) -> list[dict[str, Any]]:
    """All builds, those that are kept and those that are still to do."""
    from real2sim.truth import FAULTS

    options.kept.parent.mkdir(parents=True, exist_ok=True)
    kept = [json.loads(line) for line in options.kept.read_text().splitlines()] if options.kept.exists() else []
    known = {(each["seed"], each.get("fault")) for each in kept}
    seeds = range(options.first, options.first + options.scenes)
    wanted: list[tuple[int, str | None]] = [(seed, None) for seed in seeds]
    wanted += [(seed, fault) for seed in seeds[: options.faulty] for fault in FAULTS]
    lock = Lock()

    def one(key: tuple[int, str | None]) -> None:
        if key in known:
            return
        found = in_own_process(build_one, key[0], options.frames, key[1])
        with lock, options.kept.open("a") as file:
            kept.append(found)
            file.write(json.dumps(found) + "\n")
            print(found, flush=True)

    with ThreadPoolExecutor(options.processes) as pool:
        list(pool.map(one, wanted))
    return [each for each in kept if (each["seed"], each.get("fault")) in wanted]


def ranking_pearson() -> float | None:
    """What `benchmarks/twin_ranking.py` measured last; None where it was not run."""
    file = OUTPUT / "twin_ranking.json"
    return json.loads(file.read_text())["pearson"] if file.is_file() else None


def main(options: Options) -> None:
    found = results(options)
    scenes, faults = ([each for each in found if ("fault" in each) is wrong] for wrong in (False, True))
    accepted = [each for each in scenes if each["accepted"]]

    def median(key: str) -> float | None:
        values = [each[key] for each in accepted if each.get(key) is not None]
        return round(float(np.median(values)), 3) if values else None

    figures = {
        **{key: median(key) for key in (*TWICE, "psnr")},
        "scenes": len(scenes),
        "accepted_share": round(len(accepted) / len(scenes), 3),
        "false_accepts": sum(bool(each["false"]) for each in accepted),
        "faults_planted": len(faults),
        "faults_refused": sum(fault["reason"].startswith(RIGHT_STAGE[fault["fault"]]) for fault in faults),
        "ranking_pearson": ranking_pearson(),
        "build_minutes": median("minutes"),
        "things": {key: sum(each[key] for each in accepted) for key in ("found", "missed", "stray")},
        "options": as_json(options),
        "each": scenes,
        "faults": faults,
    }
    print(write("twin", figures))


if __name__ == "__main__":
    main(tyro.cli(Options))
