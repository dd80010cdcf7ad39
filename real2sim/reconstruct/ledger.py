"""What a build has done already: one JSON file a stage, named by what it was computed from."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from arena.contracts import Episode
from arena.episodes.atomic import atomic_write
from real2sim.camera import CALIBRATION
from real2sim.cameras.gates import Gate
from real2sim.reconstruct.settings import FILMED_AS
from real2sim.robots import robot_named

KEY = "key.txt"


class Refused(Exception):
    """A stage's number is on the wrong side of its threshold. Not an error of the program: the episode's verdict."""

    def __init__(self, gate: Gate) -> None:
        super().__init__(
            f"{gate.stage}: {gate.metric} is {gate.value:.3g}, {gate.threshold:.3g} is asked: {gate.reason}"
        )
        self.gate = gate


class Ledger:
    """Runs stages, or reads what they found when they ran before with the same `key` (episode, settings, code).

    What another key left in the folder is removed, and so are the files in it that such a build `leaves`: one that is
    cut off must not look like the twin that was there before.
    """

    def __init__(self, folder: Path, key: str, report: Callable[[str], None], leaves: Sequence[str] = ()) -> None:
        self._folder, self._report = folder / "stages", report
        self.gates: list[Gate] = []
        self.seconds: dict[str, float] = {}
        if _text(self._folder / KEY) != key:
            for name in leaves:
                (folder / name).unlink(missing_ok=True)
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder.mkdir(parents=True)
            (self._folder / KEY).write_text(key)

    def forget(self, stage: str) -> None:
        """Have a stage run again, whose files are not what it left."""
        self._file(stage).unlink(missing_ok=True)

    def _file(self, stage: str) -> Path:
        return self._folder / f"{stage.replace(' ', '_')}.json"

    def path(self, name: str) -> Path:
        """Where a stage may keep a file."""
        return self._folder / name

    def run(self, stage: str, compute: Callable[[], tuple[dict[str, Any], list[Gate]]]) -> dict[str, Any]:
        """What `compute` found, as JSON, and its gates, which are only noted: `insist` refuses."""
        file = self._file(stage)
        kept = _read(file)
        if kept is None:
            self._report(stage)
            began = time.perf_counter()
            found, gates = compute()
            kept = {
                "found": found,
                "gates": [gate.facts() for gate in gates],
                "seconds": round(time.perf_counter() - began, 2),
            }
            atomic_write(file, json.dumps(kept).encode())
        self.gates += [Gate.of(gate) for gate in kept["gates"]]
        self.seconds[stage] = kept["seconds"]
        found = kept["found"]
        assert isinstance(found, dict)
        return found

    def insist(self, stage: str) -> None:
        """Raises `Refused` for the first gate of a stage that did not pass."""
        for gate in self.gates:
            if gate.stage == stage and not gate.passed:
                raise Refused(gate)

    def passed(self, stage: str) -> bool:
        return all(gate.passed for gate in self.gates if gate.stage == stage)


def episode_key(episode: Episode, settings: str, code: str) -> str:
    """Of everything that a build's result depends on."""
    told = [settings, code, episode.id, episode.instruction, episode.fps, episode.robot]
    told += [robot_named(episode.robot).source]
    told += [None if episode.action is None else episode.action.space]
    told += [episode.metadata.get(name) for name in (CALIBRATION, FILMED_AS)]
    digest = hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode())
    for name in sorted(episode.cameras):
        digest.update(name.encode() + np.ascontiguousarray(episode.cameras[name].read()).tobytes())
    actions = np.zeros(0) if episode.action is None else episode.action.values
    for numbers in (episode.joint_position, episode.gripper_position, actions):
        digest.update(np.ascontiguousarray(numbers, dtype=np.float64).tobytes())
    return digest.hexdigest()


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError):
        return ""


def _read(file: Path) -> dict[str, Any] | None:
    try:
        kept = json.loads(file.read_text())
    except (OSError, ValueError):
        return None
    return kept if isinstance(kept, dict) else None
