"""What becomes of real DROID episodes: no truth is known, so what counts is whether gates are right.

    python benchmarks/twin_droid.py [--data ../shared/data/droid] [--episodes ID ...] [--kept DIR]

Each episode is built as `dreamarena twin build` builds it, without hand input. What is in `--kept` is not built again,
unless another version's stage would find something else: delete that stage's file there, and those of the
stages after it.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from common import as_json, in_own_process, write


@dataclass(frozen=True)
class Options:
    data: Path = Path("../shared/data/droid")
    episodes: tuple[str, ...] = ()
    """Ends of the ids of those that are built. All, where none is named."""
    kept: Path = Path("twin_droid")
    """Where the twins and their stages are kept."""


def build(data: Path, id: str, out: Path) -> dict[str, Any]:
    """Whether an episode's twin is accepted, every gate's number, and what the camera stages found besides."""
    import numpy as np

    from arena.episodes.ingest import ingest
    from real2sim.mount import mount_poses
    from real2sim.reconstruct.chain import build_twin
    from real2sim.robot import ArmKinematics
    from real2sim.robots import robot_named

    episode = next(each for each in ingest(data).episodes if each.id == id)
    flange = mount_poses(np.asarray(episode.joint_position), ArmKinematics(robot_named(episode.robot)))
    began = time.perf_counter()
    built = build_twin(episode, out, code="twin_droid")
    return {
        "episode": id,
        "instruction": episode.instruction,
        "frames": len(flange),
        "travel_cm": round(100 * float(np.linalg.norm(np.ptp(flange[:, :3, 3], axis=0))), 1),
        "accepted": built.accepted,
        "reason": built.reason,
        "gates": [
            {
                "stage": each.stage,
                "metric": each.metric,
                "value": round(each.value, 4) if math.isfinite(each.value) else None,
                "passed": each.passed,
            }
            for each in built.gates
        ],
        "cameras": cameras_found(out),
        "left_out": built.left_out,
        "measures": built.measures,
        "minutes": round(sum(built.seconds.values()) / 60, 1),
        "minutes_this_run": round((time.perf_counter() - began) / 60, 1),
    }


def cameras_found(out: Path) -> dict[str, Any]:
    """Of each camera that was looked for, the numbers that are no gate's."""
    found = {}
    for file in sorted((out / "stages").glob("camera_*.json")):
        facts = dict(json.loads(file.read_text())["found"])
        if (camera := facts.pop("camera")) is None:
            continue
        facts = {
            name: round(value, 4) for name, value in facts.items() if isinstance(value, float) and math.isfinite(value)
        }
        found[file.stem.removeprefix("camera_")] = {**facts, "focal_widths": round(camera["fx"] / camera["width"], 3)}
    return found


def main(options: Options) -> None:
    from arena.episodes.ingest import ingest

    twins = []
    for episode in ingest(options.data).episodes:
        if episode.joint_position is None or (options.episodes and not episode.id.endswith(options.episodes)):
            continue
        twins.append(in_own_process(build, options.data, episode.id, options.kept / episode.id))
        print({name: twins[-1].get(name) for name in ("episode", "accepted", "reason", "minutes")}, flush=True)
    passed = [{gate["stage"] for gate in twin["gates"]} - {g["stage"] for g in twin["gates"] if not g["passed"]}
              for twin in twins]  # fmt: skip
    figures = {
        "twins": twins,
        "accepted": f"{sum(twin['accepted'] for twin in twins)}/{len(twins)}",
        "wrist_passed": f"{sum('camera wrist' in stages for stages in passed)}/{len(twins)}",
        "exterior_passed": f"{sum(any('camera exterior' in s for s in stages) for stages in passed)}/{len(twins)}",
        "options": as_json(options),
    }
    print(write("twin_droid", figures))


if __name__ == "__main__":
    main(tyro.cli(Options))
