"""What the camera stages make of real DROID episodes: no truth is known, so what counts is whether gates are right.

    python benchmarks/twin_droid.py [--data ../shared/data/droid] [--exterior 3]

Of every episode the wrist camera is solved; of the first few the exterior cameras too.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from common import as_json, in_own_process, write


@dataclass(frozen=True)
class Options:
    data: Path = Path("../shared/data/droid")
    exterior: int = 3
    """Episodes whose exterior cameras are solved."""


def wrist(data: Path, id: str) -> dict[str, Any]:
    """How far the flange moves, and the hand-eye fit with its gates."""
    import numpy as np

    from arena.contracts import InvalidInput
    from arena.episodes.ingest import ingest
    from real2sim.cameras.gates import epipolar_gate, hand_eye_gate
    from real2sim.cameras.handeye import solve_hand_eye
    from real2sim.cameras.matching import match_frames
    from real2sim.robot import PandaKinematics
    from real2sim.twin.pictures import flange_poses

    episode = next(each for each in ingest(data).episodes if each.id == id)
    film, flange = episode.cameras["wrist"].read(), flange_poses(np.asarray(episode.joint_position), PandaKinematics())
    travel = float(np.linalg.norm(np.ptp(flange[:, :3, 3], axis=0)))
    found: dict[str, Any] = {"episode": id, "frames": len(film), "travel_cm": round(100 * travel, 1)}
    began = time.perf_counter()
    try:
        fit = solve_hand_eye(match_frames(film), flange, film.shape[2], film.shape[1])
    except InvalidInput as error:
        return {**found, "accepted": False, "reason": str(error)}
    gates = [epipolar_gate(fit), hand_eye_gate(fit)]
    return {
        **found,
        "accepted": all(gate.passed for gate in gates),
        "reason": "; ".join(gate.reason for gate in gates if not gate.passed),
        "share": round(fit.share, 3),
        "median_pixels": round(fit.median_pixels, 3),
        "position_error_mm": round(1000 * fit.position_error, 2),
        "rotation_error_deg": round(float(np.degrees(fit.rotation_error)), 3),
        "focal_widths": round(fit.focal / film.shape[2], 3),
        "camera_to_flange": np.round(fit.camera_to_flange, 4).tolist(),
        "seconds": round(time.perf_counter() - began, 1),
    }


def exterior(data: Path, id: str, name: str) -> dict[str, Any]:
    from arena.contracts import InvalidInput
    from arena.episodes.ingest import ingest
    from real2sim.cameras import solve_exterior
    from real2sim.cameras.gates import certainty_gate, silhouette_gate

    episode = next(each for each in ingest(data).episodes if each.id == id)
    try:
        fit = solve_exterior(episode, name)
    except InvalidInput as error:
        return {"episode": id, "camera": name, "accepted": False, "reason": str(error)}
    gates = [silhouette_gate(fit, name), certainty_gate(fit, name)]
    reasons = [gate.reason for gate in gates if not gate.passed]
    return {
        "episode": id,
        "camera": name,
        "accepted": not reasons,
        "reason": "; ".join(reasons),
        "iou": round(fit.iou, 3),
    }


def main(options: Options) -> None:
    from arena.episodes.ingest import ingest

    episodes = [each for each in ingest(options.data).episodes if each.joint_position is not None]
    wrists = []
    for episode in episodes:
        if "wrist" in episode.cameras:
            wrists.append(in_own_process(wrist, options.data, episode.id))
            print(wrists[-1], flush=True)
    exteriors = []
    for episode in episodes[: options.exterior]:
        for name in sorted(set(episode.cameras) - {"wrist"}):
            exteriors.append(in_own_process(exterior, options.data, episode.id, name))
            print(exteriors[-1], flush=True)
    accepted = [each for each in wrists if each["accepted"]]
    figures = {
        "wrist": wrists,
        "exterior": exteriors,
        "wrist_accepted": f"{len(accepted)}/{len(wrists)}",
        "exterior_accepted": f"{sum(each['accepted'] for each in exteriors)}/{len(exteriors)}",
        "options": as_json(options),
    }
    print(write("twin_droid", figures))


if __name__ == "__main__":
    main(tyro.cli(Options))
