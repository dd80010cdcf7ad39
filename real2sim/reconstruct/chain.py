"""The chain: cameras, the table, things on it, the scene, physics, and the replay that verifies it all."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from arena.contracts import Episode, FloatArray, InvalidInput
from arena.episodes.atomic import atomic_write
from real2sim.camera import Camera, calibrated, camera_facts, camera_of
from real2sim.cameras.exterior import recorded
from real2sim.cameras.gates import Gate
from real2sim.mount import WRIST
from real2sim.reconstruct.dress import dressed
from real2sim.reconstruct.freespace import lowest_reached, robot_depths
from real2sim.reconstruct.ledger import Ledger, Refused, episode_key
from real2sim.reconstruct.naming import named_in
from real2sim.reconstruct.posed import Footage, gripper_overlap, posed_views
from real2sim.reconstruct.posing import CameraStages
from real2sim.reconstruct.scene import Prepared, fit_here, fit_scene, fit_there, prepare, scene_gate
from real2sim.reconstruct.settings import NERFSTUDIO, BuildSettings
from real2sim.reconstruct.tools import check_tools, tools_digest
from real2sim.reconstruct.verify import drive, picture_of, replay
from real2sim.robots import robot_named
from real2sim.splats.fit import Progress
from real2sim.splats.gaussians import Gaussians
from real2sim.splats.ply import read_ply, write_ply
from real2sim.splats.views import View
from real2sim.twin.bundle import (
    MANIFEST,
    Beginning,
    Twin,
    colors_from,
    load_twin,
    look_from,
    save_twin,
    servo_facts,
    told_of,
)
from real2sim.twin.control import GripperServo, Servo, commanded_joints, identify_gripper, identify_servo
from real2sim.twin.named import without_named
from real2sim.twin.objects import TwinObject, label_gaussians, split_gaussians
from real2sim.twin.photos import one_per_viewpoint, viewpoints
from real2sim.twin.physics import SETTLE_ANGLE, SETTLE_DISTANCE, TwinPhysics, settle
from real2sim.twin.support import SupportPlane, plane_facts, plane_of
from real2sim.twin.table import MIN_CELLS, TableSettings, find_table
from real2sim.twin.things import find_things, penetrates

REPORT, PICTURE = "report.json", "replay.png"
LEAST_REPLAY_PSNR = 16.0
"""dB, of the replay's worst camera."""
MOST_UNEXPLAINED = 0.1
"""Rad, of an arm's motion that its commands do not explain."""
CAMERA_METRES, CAMERA_DEGREES = 0.003, 0.1
"""What cameras are still moved by to agree about the table (standard deviations)."""
AGREED = "area that two photographs or more agree about, m2"
TABLE_ERROR = 0.02
"""Metres that a table may be found above the lowest point that the robot reached: models and joints are not exact."""


@dataclass(frozen=True)
class Built:
    """`accepted`, or refused with the `reason`; every gate, the seconds of each stage, and measures of the twin."""

    accepted: bool
    reason: str
    gates: tuple[Gate, ...]
    seconds: dict[str, float]
    left_out: tuple[str, ...]
    measures: dict[str, Any]

    def facts(self) -> dict[str, Any]:
        """As JSON."""
        return {**asdict(self), "gates": [gate.facts() for gate in self.gates]}


def build_twin(
    episode: Episode,
    out: Path,
    settings: BuildSettings | None = None,
    *,
    code: str = "",
    report: Callable[[str], None] = lambda line: None,
) -> Built:
    """A twin of the scene of `episode` in the folder `out`, and `report.json` and `replay.png` beside it.

    A second call goes on where the first was cut off. Raises `InvalidInput` for an episode that no twin can be made
    of, whatever its pictures show: without joints in rad, with too few frames, or of a robot that is not known.
    """
    settings = settings or BuildSettings()
    episode = settings.told(episode)
    _check(episode, settings)
    exterior = sorted(name for name in episode.cameras if name != WRIST)
    out.mkdir(parents=True, exist_ok=True)
    ledger = Ledger(
        out,
        episode_key(episode, repr(settings), code + tools_digest(settings)),
        report,
        leaves=(MANIFEST, REPORT, PICTURE),
    )
    chain = _Chain(episode, out, settings, ledger, report)
    try:
        measures, reason = chain.run(exterior), ""
    except Refused as refusal:
        (out / MANIFEST).unlink(missing_ok=True)
        measures, reason = {}, str(refusal)
    measures["cameras"] = chain.cameras.measures
    built = Built(not reason, reason, tuple(ledger.gates), ledger.seconds, tuple(chain.cameras.left_out), measures)
    atomic_write(out / REPORT, json.dumps(built.facts(), indent=1, allow_nan=False).encode())
    return built


def read_report(out: Path) -> Built:
    """What `build_twin` said of the twin in the folder `out`. Raises `InvalidInput` where it said nothing."""
    try:
        said = json.loads((out / REPORT).read_text())
        gates = tuple(Gate.of(gate) for gate in said.pop("gates"))
        return Built(gates=gates, left_out=tuple(said.pop("left_out")), **said)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidInput(f"{out / REPORT} is no report of a twin: {error}") from error


def _check(episode: Episode, settings: BuildSettings) -> None:
    check_tools(settings)
    robot_named(episode.robot)
    if not episode.cameras:
        raise InvalidInput(f"{episode.id} has no camera: a twin needs the films of the episode")
    if WRIST not in episode.cameras:
        raise InvalidInput(f"{episode.id} has no wrist camera: static cameras alone do not show a scene's depth")
    told = {**{name: "a focal length" for name, _ in settings.focals}, **dict.fromkeys(settings.calibration, "a pose")}
    if unknown := [name for name in told if name not in episode.cameras]:
        known = ", ".join(sorted(episode.cameras))
        raise InvalidInput(f"{told[unknown[0]]} is given of {unknown[0]!r}, and {episode.id} has only {known}")
    calibrated(episode.metadata)
    sizes = {name: film.shape[1:3] for name, film in episode.cameras.items()}
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{name} {width}x{height}" for name, (height, width) in sorted(sizes.items()))
        raise InvalidInput(f"the films of {episode.id} have several sizes ({listed}): resize them to one")
    for name in episode.cameras:
        recorded(episode, name)


class _Chain:
    """One build's stages, in order. Each leaves what the next needs in the ledger or in a file of its own."""

    def __init__(
        self, episode: Episode, out: Path, settings: BuildSettings, ledger: Ledger, report: Callable[[str], None]
    ) -> None:
        self._episode, self._out, self._settings, self._ledger, self._report = episode, out, settings, ledger, report
        self.cameras = CameraStages(episode, settings, ledger)

    def run(self, exterior: list[str]) -> dict[str, Any]:
        self.cameras.steady(exterior)
        wrist = self.cameras.wrist()
        cameras = self.cameras.exteriors(exterior)
        servo, gripper = self._control()
        footage = Footage(self._filmed, cameras, wrist)
        plane, views = self._table(footage)
        things = self._things(views, plane, footage)
        self._gaussians(views, plane, things.objects, cameras)
        return self._finished(replace(things, servo=servo, gripper=gripper), footage)

    @property
    def _filmed(self) -> Episode:
        """The episode with its joints as its films show them; what they were told goes with those recorded."""
        return self.cameras.episode

    def _control(self) -> tuple[Servo, GripperServo]:
        """How arm and gripper follow their commands, where the episode holds them; else what is assumed."""
        commanded, action = commanded_joints(self._episode), self._episode.action
        if commanded is None or action is None:
            return Servo(), GripperServo()

        def identify() -> tuple[dict[str, Any], list[Gate]]:
            servo = identify_servo(commanded, np.asarray(self._episode.joint_position), self._episode.fps)
            grips = action.values[:, -1], np.asarray(self._episode.gripper_position)[:, 0]
            paced = robot_named(self._episode.robot).gripper.paced
            gripper = identify_gripper([grips], self._episode.fps, paced=paced)
            reason = "" if servo.residual <= MOST_UNEXPLAINED else "the actions are not what this arm was told"
            metric = "motion that the commands do not explain, rad"
            return {"servo": servo_facts(servo), "gripper": servo_facts(gripper)}, [
                Gate("control", metric, servo.residual, MOST_UNEXPLAINED, not reason, reason)
            ]

        facts = self._ledger.run("control", identify)
        self._ledger.insist("control")
        return Servo(**told_of(facts["servo"])), GripperServo(**told_of(facts["gripper"]))

    def _table(self, footage: Footage) -> tuple[SupportPlane, list[View]]:
        views = posed_views(footage, self._settings.wrist_frames)

        def compute() -> tuple[dict[str, Any], list[Gate]]:
            settings = TableSettings(camera_metres=CAMERA_METRES, camera_degrees=CAMERA_DEGREES)
            settings = settings.below(lowest_reached(self._filmed) + TABLE_ERROR)
            least = MIN_CELLS * settings.cell**2
            try:
                table = find_table(one_per_viewpoint(views), settings=settings)
            except InvalidInput as error:
                return {}, [Gate("table", AGREED, 0.0, least, False, str(error))]
            return {
                "plane": plane_facts(table.plane),
                "cameras": [camera_facts(view.camera) for view in table.views],
                "cost": table.cost,
            }, [Gate("table", AGREED, len(table.plane.outline) * settings.cell**2, least, True, "")]

        facts = self._ledger.run("table", compute)
        self._ledger.insist("table")
        cameras = [camera_of(each) for each in facts["cameras"]]
        moved = [replace(view, camera=cameras[at]) for view, at in zip(views, viewpoints(views), strict=True)]
        return plane_of(facts["plane"]), moved

    def _things(self, views: list[View], plane: SupportPlane, footage: Footage) -> Twin:
        """What stands on the table, kept as a twin without pictures."""
        folder = self._ledger.path("things")

        def compute() -> tuple[dict[str, Any], list[Gate]]:
            found = tuple(self._standing(views, plane, footage.handled(plane)))
            empty = _no_gaussians()
            splats = {thing.name: empty for thing in found}
            cameras, begun = footage.exterior, Beginning.of(self._episode)
            save_twin(folder, Twin(empty, found, splats, plane, cameras, footage.wrist, begun))
            return {"things": len(found)}, []

        self._ledger.run("things", compute)
        try:
            return load_twin(folder)
        except InvalidInput:  # Something else changed it, or took it away.
            self._ledger.forget("things")
            self._ledger.run("things", compute)
            return load_twin(folder)

    def _standing(self, views: list[View], plane: SupportPlane, handled: FloatArray) -> list[TwinObject]:
        """What the instruction names, where there is a segmenter, and what is seen to stand there besides,
        also at `handled` places `(K, 3)` m."""
        named = named_in(self._episode.instruction, views, plane, self._settings, self._report)
        found = list(named)
        for thing in without_named(find_things(one_per_viewpoint(views), plane, handled=handled), named):
            if not named or not penetrates(thing, found, plane):
                found.append(thing)
        return found

    def _gaussians(
        self, views: list[View], plane: SupportPlane, things: tuple[TwinObject, ...], cameras: dict[str, Camera]
    ) -> None:
        def compute() -> tuple[dict[str, Any], list[Gate]]:
            robots = {name: robot_depths(self._filmed, camera) for name, camera in cameras.items()}
            scene, quality = fit_scene(
                prepare(views, plane, things, robot_named(self._episode.robot), robots), robots, self._engine
            )
            write_ply(self._ledger.path("scene.ply"), scene)
            gate = scene_gate(quality)
            return {"psnr": gate.value, "gaussians": len(scene)}, [gate]

        self._ledger.run("scene", compute)
        self._ledger.insist("scene")

    def _engine(self, prepared: Prepared) -> Gaussians:
        if self._settings.engine == NERFSTUDIO:
            folder = self._ledger.path("nerfstudio")
            return fit_there(prepared, self._settings.steps, self._settings.seed, folder, self._report)

        def step(progress: Progress) -> None:
            if progress.step % 100 == 0:
                self._report(f"scene {progress.step}/{progress.steps}")

        checkpoint = self._ledger.path("fit.safetensors")
        return fit_here(prepared, self._settings.steps, checkpoint, step, seed=self._settings.seed)

    def _finished(self, things: Twin, footage: Footage) -> dict[str, Any]:
        self._ledger.run("physics", lambda: _settled(things.plane, things.objects))
        self._ledger.insist("physics")
        scene = read_ply(self._ledger.path("scene.ply"))
        labels = label_gaussians(scene, things.objects)
        background, splats = split_gaussians(scene, things.objects, labels)
        twin = replace(things, background=background, splats=splats)
        replayed = self._ledger.run("replay", lambda: self._replayed(twin, footage))
        self._ledger.insist("replay")
        self.cameras.measures[WRIST]["robot_mask_iou"] = replayed["wrist_mask_iou"]
        origin = {"episode": self._episode.id, "source": asdict(self._episode.source),
                  "left_out": self.cameras.left_out, "gates": [each.facts() for each in self._ledger.gates],
                  "replay": replayed["cameras"]}  # fmt: skip
        looks = {name: look_from(facts) for name, facts in replayed["looks"].items()}
        colors = colors_from(replayed["robot_colors"])
        save_twin(self._out, replace(twin, looks=looks, robot_colors=colors, origin=origin))
        return {"replay": replayed["cameras"], "things": len(things.objects), **replayed["reached"]}

    def _replayed(self, twin: Twin, footage: Footage) -> tuple[dict[str, Any], list[Gate]]:
        """How like its episode the twin looks, and how far from where it had been its arm comes by its commands."""
        twin = dressed(twin, self._filmed)
        replays = replay(twin, self._filmed, footage.moved)
        picture_of(replays, self._out / PICTURE)
        worst = min(each.still_psnr for each in replays.values())
        reason = "" if worst >= LEAST_REPLAY_PSNR else "the twin does not look like its episode: see replay.png"
        metric = "PSNR of its worst camera without what moved, dB"
        driven = drive(twin, self._episode, pictures=False)
        return {
            "cameras": {
                name: {"psnr": each.psnr, "ssim": each.ssim, "still_psnr": each.still_psnr}
                for name, each in replays.items()
            },
            "looks": {name: asdict(look) for name, look in twin.looks.items()},
            "robot_colors": dict(twin.robot_colors),
            "wrist_mask_iou": gripper_overlap(footage),
            "reached": {"reached_mm": driven.reached_mm, "reached_deg": driven.reached_deg},
        }, [Gate("replay", metric, worst, LEAST_REPLAY_PSNR, not reason, reason)]


def _settled(plane: SupportPlane, things: tuple[TwinObject, ...]) -> tuple[dict[str, Any], list[Gate]]:
    settled = settle(TwinPhysics(plane, things)) if things else ()
    measures = (
        ("distance that a thing settles by, m", [each.distance for each in settled], SETTLE_DISTANCE),
        ("angle that a thing settles by, degrees", [each.angle for each in settled], SETTLE_ANGLE),
    )
    gates = []
    for metric, values, most in measures:
        moved = [each.name for each, value in zip(settled, values, strict=True) if value > most]
        reason = f"{', '.join(moved)} would not stay where seen: its shape or the table is wrong" if moved else ""
        gates.append(Gate("physics", metric, max(values, default=0.0), most, not moved, reason))
    return {"settled": [asdict(each) for each in settled]}, gates


def _no_gaussians() -> Gaussians:
    import torch

    unturned = torch.tensor([[1.0, 0, 0, 0]])
    size, opacity = torch.full((1, 3), -7.0), torch.full((1,), -9.0)
    return Gaussians(torch.zeros(1, 3), unturned, size, opacity, torch.zeros(1, 1, 3))
