"""How exactly are exterior cameras found from the robot alone, and are wrong recordings refused?

Scenes whose truth is known (`real2sim.truth`), two exterior cameras each, no initial guess, focal length unknown; of
the first few scenes the first camera is solved again from each kind of wrong recording.

    python benchmarks/twin_cameras.py [--scenes 20] [--faulty 4] [--frames 120]
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import tyro
from common import as_json, in_own_process, write

if TYPE_CHECKING:
    from arena.contracts import Episode
    from real2sim.camera import Camera


@dataclass(frozen=True)
class Options:
    first: int = 0
    """The first scene's seed."""
    scenes: int = 20
    faulty: int = 4
    frames: int = 120
    processes: int = 1
    """Scenes that are solved side by side."""


def solved(episode: Episode, name: str) -> dict[str, Any]:
    """The camera, its gates and the seconds that it took."""
    from real2sim.cameras import solve_exterior
    from real2sim.cameras.gates import certainty_gate, silhouette_gate, steadiness

    began = time.perf_counter()
    steady = steadiness(episode.cameras[name].read(), name)
    fit = solve_exterior(episode, name)
    gates = [steady, silhouette_gate(fit, name), certainty_gate(fit, name)]
    return {
        "camera": fit.camera,
        "accepted": all(gate.passed for gate in gates),
        "iou": round(fit.iou, 3),
        "edge_pixels": round(fit.edge_pixels, 3),
        "edges_seen": round(fit.edges_seen, 3),
        "position_error_cm": round(100 * fit.position_error, 3),
        "moved": round(steady.value, 2),
        "seconds": round(time.perf_counter() - began, 1),
    }


def errors(found: Camera, true: Camera) -> dict[str, float]:
    from scipy.spatial.transform import Rotation

    turn = Rotation.from_matrix(found.camera_to_base[:3, :3].T @ true.camera_to_base[:3, :3])
    apart = found.camera_to_base[:3, 3] - true.camera_to_base[:3, 3]
    return {
        "cm": round(100 * float(np.linalg.norm(apart)), 3),
        "deg": round(float(np.rad2deg(turn.magnitude())), 3),
        "focal_pct": round(100 * abs(found.fx / true.fx - 1), 3),
    }


def scene(seed: int, frames: int, faults: bool) -> dict[str, Any]:
    """Both cameras of a scene, and what was made of wrong recordings of it."""
    from real2sim.truth import FAULTS, make_truth

    truth = make_truth(seed, frames)
    cameras = []
    for name, true in truth.exterior.items():
        found = solved(truth.episode, name)
        cameras.append({"seed": seed, "name": name, **errors(found.pop("camera"), true), **found})
        print(cameras[-1], flush=True)
    refused = {}
    for fault, spoil in FAULTS.items() if faults else ():
        found = solved(spoil(truth.episode, seed), "exterior_1")
        refused[fault] = {name: value for name, value in found.items() if name != "camera"}
        print(fault, refused[fault], flush=True)
    return {"cameras": cameras, "faults": refused}


def main(options: Options) -> None:
    with ThreadPoolExecutor(options.processes) as pool:
        found = list(
            pool.map(
                lambda i: in_own_process(scene, options.first + i, options.frames, i < options.faulty),
                range(options.scenes),
            )
        )
    cameras = [camera for each in found for camera in each["cameras"]]
    accepted = [camera for camera in cameras if camera["accepted"]]
    faults = [fault for each in found for fault in each["faults"].values()]
    bad = [camera for camera in accepted if camera["cm"] > 2 or camera["deg"] > 2]
    median = {name: float(np.median([camera[name] for camera in cameras])) for name in ("cm", "deg", "focal_pct")}
    figures = {
        "exterior_cm": median["cm"],
        "exterior_deg": median["deg"],
        "focal_pct": median["focal_pct"],
        "scenes": options.scenes,
        "accepted_share": round(len(accepted) / len(cameras), 3),
        "false_accepts": len(bad),
        "faults_planted": len(faults),
        "faults_refused": sum(not fault["accepted"] for fault in faults),
        "seconds_per_camera": float(np.median([camera["seconds"] for camera in cameras])),
        "options": as_json(options),
        "cameras": cameras,
        "faults": [{"seed": seed, "fault": name, **fault} for seed, each in enumerate(found)
                   for name, fault in each["faults"].items()],
    }  # fmt: skip
    print(write("twin_cameras", figures))


if __name__ == "__main__":
    main(tyro.cli(Options))
