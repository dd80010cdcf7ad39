"""The stages that find an episode's cameras."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from arena.contracts import Episode
from real2sim.camera import Camera, calibrated_camera, camera_facts, camera_of
from real2sim.cameras import solve_exterior
from real2sim.cameras.exterior import RobotUnseen, check_exterior
from real2sim.cameras.gates import (
    Gate,
    certainty_gate,
    finite,
    given_gate,
    silhouette_gate,
    steadiness,
    unseen_gate,
)
from real2sim.mount import WRIST
from real2sim.reconstruct.film_time import at_film_time
from real2sim.reconstruct.ledger import Ledger, Refused
from real2sim.reconstruct.settings import BuildSettings
from real2sim.reconstruct.wrist import find_wrist

LENS_UNLIKE = 0.1
"""Of a focal length: cameras of one kind are found with lenses more alike than that, or one of them is wrong."""


class CameraStages:
    """Exterior cameras and the wrist's, each a stage of the `ledger`; `left_out` are those that were not found, and
    `measures` what no gate asks of those that were.

    `episode` has its joints as the films show them once the wrist camera, which comes first, has told when that was.
    """

    def __init__(self, episode: Episode, settings: BuildSettings, ledger: Ledger) -> None:
        self.episode, self._settings, self._ledger = episode, settings, ledger
        self.left_out: list[str] = []
        self.measures: dict[str, dict[str, float | None]] = {}
        self._overlap: dict[str, float] = {}

    def _steadiness(self, name: str) -> tuple[dict[str, Any], list[Gate]]:
        gate = replace(steadiness(self.episode.cameras[name].read(), name), stage=f"steadiness {name}")
        return {"moved": gate.value}, [gate]

    def steady(self, names: list[str]) -> None:
        """Raises `Refused` for the first static camera that is seen to move."""
        for name in names:
            self._ledger.run(f"steadiness {name}", lambda name=name: self._steadiness(name))  # type: ignore[misc]
            self._ledger.insist(f"steadiness {name}")

    def wrist(self) -> Camera:
        """The wrist camera, its pose that on the flange."""
        facts = self._ledger.run("camera wrist", lambda: find_wrist(self.episode, self._settings))
        self._ledger.insist("camera wrist")
        told = ("rotation_residual_deg", "median_pixels", "position_error", "rotation_error", "lag_ms", "corrected_ms")
        self.measures[WRIST] = {name: facts.get(name) for name in told}
        self.episode = at_film_time(self.episode, facts["corrected_ms"] / 1000)
        return camera_of(facts["camera"])

    def exteriors(self, names: list[str]) -> dict[str, Camera]:
        """Static cameras that pass. Others are left out: with one that passes, it is not the joints that are wrong."""
        found: dict[str, Camera] = {}
        lost: dict[str, dict[str, Any]] = {}
        for name in names:
            stage = f"camera {name}"
            facts = self._ledger.run(stage, lambda name=name: self._exterior(name))  # type: ignore[misc]
            if self._ledger.passed(stage):
                self._take(name, facts, found)
            elif facts["camera"] is not None:  # Another lens would not show a robot that does not move either.
                lost[name] = facts
        for name, facts in lost.items():
            lens = self._lens_of(name, found)
            # What is only uncertain would be as uncertain again, unless it was found with another lens.
            if lens is not None and (not facts["shown"] or _unlike(camera_of(facts["camera"]).fx, lens)):
                self._again(name, lens, found)
        for name, lens in self._doubtful(found):
            self._again(name, lens, found)
        self.left_out += [name for name in names if name not in found]
        if names and not found:
            raise Refused(next(gate for gate in self._ledger.gates if not gate.passed))
        return found

    def _lens_of(self, name: str, found: dict[str, Camera]) -> float | None:
        """The focal length of a camera that was found, whose films are as large: a rig's are mostly of one kind."""
        if self._settings.focal(name) is not None:
            return None
        height, width = self.episode.cameras[name].shape[1:3]
        alike = [camera.fx for camera in found.values() if (camera.width, camera.height) == (width, height)]
        return alike[0] if alike else None

    def _doubtful(self, found: dict[str, Camera]) -> list[tuple[str, float]]:
        """Cameras that were found with another lens than the one that shows the robot best, and that one's lens."""
        searched = [name for name in self._overlap if self._settings.focal(name) is None]
        if not searched:
            return []
        best = max(searched, key=lambda name: self._overlap[name])
        lens = found[best].fx
        return [(name, lens) for name in searched if _unlike(found[name].fx, lens)]

    def _again(self, name: str, focal: float, found: dict[str, Camera]) -> None:
        """A camera that was not found, or is doubtful, with a lens like another's: the better of both."""
        stage = f"camera {name}, that lens"

        def search() -> tuple[dict[str, Any], list[Gate]]:
            facts, gates = self._exterior(name, focal)
            return facts, [replace(gate, stage=stage) for gate in gates]

        facts = self._ledger.run(stage, search)
        if self._ledger.passed(stage) and (name not in found or facts["mask_iou"] > self._overlap[name]):
            self._take(name, facts, found)

    def _take(self, name: str, facts: dict[str, Any], found: dict[str, Camera]) -> None:
        found[name] = camera_of(facts["camera"])
        self.measures[name] = {"robot_mask_iou": facts["mask_iou"]}
        if not facts.get("given"):
            self._overlap[name] = facts["mask_iou"]

    def _exterior(self, name: str, lens: float | None = None) -> tuple[dict[str, Any], list[Gate]]:
        settings = self._settings
        known = calibrated_camera(self.episode, name)
        if known is not None and lens is None:  # The second search, with a lens, comes after it was checked.
            fit = check_exterior(self.episode, name, known)
            if (gate := given_gate(fit, name)).passed:
                facts = {"camera": camera_facts(known), "iou": fit.iou, "given": True, "shown": True}
                return {**facts, "mask_iou": fit.mask_iou}, [gate]
            # A camera that its dataset is wrong about is looked for.
        focal, aspect = settings.focal(name), settings.aspect(self.episode, name)
        try:
            fit = solve_exterior(self.episode, name, seed=settings.seed, focal=focal, lens=lens, aspect=aspect)
        except RobotUnseen as unseen:
            return {"camera": None, "shown": True}, [unseen_gate(unseen, name)]
        facts = {"camera": camera_facts(fit.camera), "iou": fit.iou, "position_error": finite(fit.position_error)}
        shown = silhouette_gate(fit, name)
        facts |= {"feature_share": fit.feature_share, "mask_iou": fit.mask_iou, "shown": shown.passed}
        return facts, [shown, certainty_gate(fit, name)]


def _unlike(focal: float, lens: float) -> bool:
    return bool(abs(np.log(focal / lens)) > LENS_UNLIKE)
