"""Rollouts on disk: one mp4 for each camera, states and actions as npz, and where they came from as JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from arena.contracts import ActionChunk, ActionSpace, Frames, Provenance, Rollout
from arena.episodes.encode import write_video
from arena.episodes.errors import DamagedArtifact
from arena.episodes.video import VideoFrames
from workers.artifacts import Artifacts, reference

CRF = 12
"""Visually lossless: judges read these files, not the frames that the world gave."""


def rollout_reference(id: str) -> str:
    return reference("rollouts", id)


def save_rollout(artifacts: Artifacts, rollout: Rollout) -> str:
    """Keep a rollout, unless it is kept already. Returns its reference."""
    ref = rollout_reference(rollout.id)
    artifacts.put(ref, lambda folder: _write(rollout, folder))
    return ref


def load_rollout(artifacts: Artifacts, ref: str) -> Rollout:
    """Read a rollout back, with the frames as they were encoded. Raises `DamagedArtifact`."""
    rollout, films = open_rollout(artifacts, ref)
    try:
        return replace(rollout, frames={name: film.read() for name, film in films.items()})
    except (ValueError, OSError) as error:
        raise DamagedArtifact(f"{artifacts.get(ref)} does not hold a rollout: {error!r}") from error


def open_rollout(artifacts: Artifacts, ref: str) -> tuple[Rollout, dict[str, VideoFrames]]:
    """A rollout without its frames, and its films, which are decoded when they are read. Raises `DamagedArtifact`."""
    folder = artifacts.get(ref)
    try:
        facts = json.loads((folder / "rollout.json").read_text())
        with np.load(folder / "trajectory.npz", allow_pickle=False) as arrays:
            state, action = arrays["state"], arrays["action"]
        films = {name: _film(folder, name) for name in facts["cameras"]}
        return _rollout(facts, state, action, {}), films
    except (KeyError, ValueError, TypeError, OSError) as error:
        raise DamagedArtifact(f"{folder} does not hold a rollout: {error!r}") from error


def video_path(folder: Path, camera: str) -> Path:
    """Where one camera's film is, within a rollout's folder."""
    return folder / f"{camera}.mp4"


def _write(rollout: Rollout, folder: Path) -> None:
    for camera, frames in rollout.frames.items():
        write_video(video_path(folder, camera), frames, rollout.fps, crf=CRF)
    np.savez(folder / "trajectory.npz", state=rollout.state, action=rollout.action.values)
    action = {"action_space": rollout.action.space.value, "control_hz": rollout.action.control_hz}
    facts = rollout.facts | action | {"cameras": list(rollout.frames)}
    (folder / "rollout.json").write_text(json.dumps(facts, indent=1, allow_nan=False))


def _film(folder: Path, camera: str) -> VideoFrames:
    path = video_path(folder, camera)
    if path.parent != folder:
        raise DamagedArtifact(f"{folder / 'rollout.json'} names a camera {camera!r}, which is outside its folder")
    return VideoFrames(path)


def _rollout(facts: dict[str, Any], state: Any, action: Any, frames: dict[str, Frames]) -> Rollout:
    facts.pop("cameras")
    chunk = ActionChunk(action, ActionSpace(facts.pop("action_space")), facts.pop("control_hz"))
    facts |= {"step_seconds": tuple(facts["step_seconds"]), "provenance": Provenance(**facts["provenance"])}
    return Rollout(frames=frames, state=state, action=chunk, **facts)
