"""What the camera stages make of real DROID episodes: no truth is known, so what counts is whether gates are right.

    python benchmarks/twin_droid.py [--data ../shared/data/droid] [--wrist ID ...] [--exterior ID ...]

Of the episodes named (of all, unless some are) the wrist camera is solved, or the exterior ones.
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
    wrist: tuple[str, ...] = ()
    """Episodes whose wrist camera is solved: ends of their ids. All, where none is named."""
    exterior: tuple[str, ...] = ()
    """Episodes whose exterior cameras are solved, alike."""


def wrist(data: Path, id: str) -> dict[str, Any]:
    """How far the flange moves, and the hand-eye fit with its gates."""
    import numpy as np

    from arena.contracts import InvalidInput
    from arena.episodes.ingest import ingest
    from real2sim.build import BuildSettings
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
        aspect = BuildSettings().aspect(episode, "wrist")
        fit = solve_hand_eye(match_frames(film), flange, film.shape[2], film.shape[1], aspect=aspect)
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


def exterior(data: Path, id: str, name: str, lens: float | None) -> dict[str, Any]:
    """A static camera's fit with its gates, and where it stands; `lens` is a focal length to begin with, in pixels."""
    import numpy as np

    from arena.contracts import InvalidInput
    from arena.episodes.ingest import ingest
    from real2sim.build import BuildSettings
    from real2sim.cameras import solve_exterior
    from real2sim.cameras.gates import certainty_gate, silhouette_gate

    episode = next(each for each in ingest(data).episodes if each.id == id)
    began = time.perf_counter()
    try:
        fit = solve_exterior(episode, name, lens=lens, aspect=BuildSettings().aspect(episode, name))
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
        "near_iou": round(fit.near_iou, 3),
        "feature_share": None if fit.feature_share is None else round(fit.feature_share, 3),
        "position_error_mm": round(1000 * fit.position_error, 2),
        "focal": round(fit.camera.fx, 2),
        "lens_given": lens is not None,
        "position": np.round(fit.camera.camera_to_base[:3, 3], 3).tolist(),
        "seconds": round(time.perf_counter() - began, 1),
    }


def exteriors_of(data: Path, id: str, names: list[str]) -> list[dict[str, Any]]:
    """As a build does it: what is not found is tried again with a lens like that of what is."""
    first = [in_own_process(exterior, data, id, name, None) for name in names]
    lens = next((each["focal"] for each in first if each["accepted"]), None)
    if lens is None:
        return first
    return [each if each["accepted"] else in_own_process(exterior, data, id, each["camera"], lens) for each in first]


def _named(id: str, ends: tuple[str, ...]) -> bool:
    return not ends or id.endswith(ends)


def main(options: Options) -> None:
    from arena.episodes.ingest import ingest

    episodes = [each for each in ingest(options.data).episodes if each.joint_position is not None]
    wrists = []
    for episode in episodes:
        if "wrist" in episode.cameras and _named(episode.id, options.wrist):
            wrists.append(in_own_process(wrist, options.data, episode.id))
            print(wrists[-1], flush=True)
    exteriors = []
    for episode in episodes:
        if _named(episode.id, options.exterior):
            exteriors += exteriors_of(options.data, episode.id, sorted(set(episode.cameras) - {"wrist"}))
            print(exteriors[-2:], flush=True)
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
