"""What all episodes of one rig share: cameras, the table, the empty scene, and how the robot follows its commands."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from arena.contracts import ActionSpace, Episode, FloatArray, Frames, InvalidInput
from real2sim.camera import Camera, calibrated_camera, camera_facts, camera_of
from real2sim.cameras.exterior import check_exterior, farthest, recorded, solve_exterior
from real2sim.cameras.gates import Gate, certainty_gate, given_gate, silhouette_gate, steadiness
from real2sim.cameras.plate import Plate
from real2sim.frames import spread_over
from real2sim.mount import WRIST, mount_poses, wrist_camera_at
from real2sim.reconstruct.dress import look_of
from real2sim.reconstruct.freespace import robot_depths
from real2sim.reconstruct.ledger import Ledger, episode_key
from real2sim.reconstruct.posed import MOSTLY_FREE, PLATE_FRAMES
from real2sim.reconstruct.scene import fit_here, fit_scene, prepare, scene_gate
from real2sim.rig.pool import pooled
from real2sim.rig.sights import Sight, spot
from real2sim.robot import ArmKinematics
from real2sim.robot_kind import Robot
from real2sim.robots import robot_named
from real2sim.silhouette import RobotSilhouette
from real2sim.splats.gaussians import Gaussians
from real2sim.splats.planar import pixel_rays, plane_depth, plane_texture
from real2sim.splats.ply import read_ply, write_ply
from real2sim.splats.start import start_from_points
from real2sim.splats.views import View
from real2sim.twin.bundle import look_from, servo_facts, told_of
from real2sim.twin.control import GripperServo, Servo, identify_gripper, identify_tool_servo
from real2sim.twin.render import Backdrop, Look, RobotImages
from real2sim.twin.support import SupportPlane, plane_facts, plane_of
from real2sim.twin.table import TableSettings, find_table

SPACING, SMOOTH, OPACITY, BEYOND = 0.008, 0.6, 0.95, 0.15
"""Of the table's Gaussians: metres between them, their size in parts of that, their opacity, and metres around what two
views agree about."""
LEVEL = 1e-3
"""Cost of a tilt, per square degree: one rig's base and table are level within a fraction of it."""
LOOK_FRAMES = 24
AROUND_THING = 0.05
"""Metres around a thing that pictures of the empty scene leave out."""
TOUCHED = 0.12
"""Metres between the tool and a thing within which it may have been moved."""
MOST_UNEXPLAINED = 0.03
"""Metres (root mean square along an axis) of the tool's motion that its commands do not explain."""


@dataclass(frozen=True)
class RigSettings:
    """`frames` of each episode are pooled to find cameras and plates, `wrist_frames` of all of them show the
    table from above; Gaussians of the scene are fitted to them in `steps`, or, where that is 0, the table's texture is
    what there is: exterior cameras show their own plates.

    Cameras that the dataset knows are taken from there and checked, but those of `solve`, which are found from the
    films.
    """

    frames: int = 10
    wrist_frames: int = 40
    steps: int = 0
    seed: int = 0
    solve: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rig:
    """`empty` are the exterior cameras' pictures `(H, W, 3)` without anything on the table. Of `wrist` the pose is that
    on its mount."""

    robot: Robot
    exterior: Mapping[str, Camera]
    wrist: Camera
    empty: Mapping[str, Frames]
    plane: SupportPlane
    background: Gaussians
    servo: Servo
    gripper: GripperServo
    looks: Mapping[str, Look]
    gates: tuple[Gate, ...]

    def backdrops(self, width: int, height: int) -> dict[str, Backdrop]:
        """The exterior cameras' empty pictures in another size, with the table's depth."""
        found = {}
        for name, camera in self.exterior.items():
            image = Image.fromarray(self.empty[name]).resize((width, height), Image.Resampling.BOX)
            small = camera.resized(width, height)
            rays, position = pixel_rays(small), small.camera_to_base[:3, 3]
            depth = plane_depth(small, self.plane.normal, self.plane.height)
            points = position + np.nan_to_num(depth)[..., None] * rays
            on_table = np.isfinite(depth) & self.plane.covers(points.reshape(-1, 3)).reshape(depth.shape)
            found[name] = Backdrop(np.asarray(image), np.where(on_table, depth, np.inf))
        return found

    def cameras_at(self, joint_position: FloatArray) -> dict[str, Camera]:
        """All cameras in the base frame, of joints `(7,)` rad."""
        mount = mount_poses(np.asarray(joint_position)[None], ArmKinematics(self.robot))[0]
        return {**self.exterior, WRIST: wrist_camera_at(self.wrist, mount)}


def build_rig(
    episodes: Sequence[Episode],
    out: Path,
    settings: RigSettings | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> Rig:
    """The rig of `episodes`, kept in `out`. A second call goes on where the first was cut off.

    Raises `Refused` for cameras or joints that the films contradict, and `InvalidInput` for episodes that are not of
    one rig or that lack what a twin needs.
    """
    settings = settings or RigSettings()
    pool = pooled(episodes, settings.frames)
    names = sorted(name for name in pool.cameras if name != WRIST)
    if not names or WRIST not in pool.cameras:
        raise InvalidInput("a rig's twin needs the films of an exterior and of a wrist camera")
    out.mkdir(parents=True, exist_ok=True)
    maker = _Maker(episodes, pool, settings, Ledger(out, episode_key(pool, repr(settings), ""), report))
    return maker.rig(names)


class _Maker:
    def __init__(self, episodes: Sequence[Episode], pool: Episode, settings: RigSettings, ledger: Ledger) -> None:
        self._episodes, self._pool, self._settings, self._ledger = episodes, pool, settings, ledger
        self._robot = robot_named(pool.robot)

    def rig(self, names: Sequence[str]) -> Rig:
        exterior = {name: self._exterior(name) for name in names}
        wrist = self._wrist()
        servo, gripper = self._control()
        films = {name: recorded(self._pool, name)[0] for name in names}
        empty = {name: np.rint(Plate.of(film).background).astype(np.uint8) for name, film in films.items()}
        views = self._views(exterior, wrist, empty)
        plane, views = self._table(views)
        background = self._background(views, plane, exterior)
        return Rig(
            self._robot, exterior, wrist, empty, plane, background, servo, gripper,
            self._looks({**exterior, WRIST: wrist}), tuple(self._ledger.gates),
        )  # fmt: skip

    def _exterior(self, name: str) -> Camera:
        def find() -> tuple[dict[str, Any], list[Gate]]:
            known = calibrated_camera(self._pool, name)
            given = known is not None and name not in self._settings.solve
            if given:
                assert known is not None
                fit = check_exterior(self._pool, name, known)
            else:
                fit = solve_exterior(self._pool, name, seed=self._settings.seed)
            facts = {"camera": camera_facts(fit.camera), "given": given, "iou": fit.iou, "edges": fit.edge_pixels,
                     "position_error": fit.position_error}  # fmt: skip
            steady = replace(steadiness(self._pool.cameras[name].read(), name), stage=f"camera {name}")
            gates = [given_gate(fit, name)] if given else [silhouette_gate(fit, name), certainty_gate(fit, name)]
            return facts, [steady, *gates]

        facts = self._ledger.run(f"camera {name}", find)
        self._ledger.insist(f"camera {name}")
        return camera_of(facts["camera"])

    def _wrist(self) -> Camera:
        """Of a camera that only ever shifts, features tell neither where on the hand it is nor, of a level one, what a
        turn would: it has to be given."""
        known = calibrated_camera(self._pool, WRIST)
        if known is None:
            raise InvalidInput(
                f"{self._pool.id} does not say where its wrist camera is: a rig's twin needs that in the metadata"
            )
        return known

    def _control(self) -> tuple[Servo, GripperServo]:
        told = [one for one in self._episodes if one.action and one.action.space is ActionSpace.CARTESIAN_POSITION]

        def identify() -> tuple[dict[str, Any], list[Gate]]:
            kinematics = ArmKinematics(self._robot)
            servo = identify_tool_servo(
                [(_within_reach(one, kinematics), np.asarray(one.cartesian_position)[:, :3]) for one in told],
                self._pool.fps,
            )
            grips = [(one.action.values[:, 6], np.asarray(one.gripper_position)[:, 0]) for one in told if one.action]
            gripper = identify_gripper(grips, self._pool.fps, paced=self._robot.gripper.paced)
            reason = "" if servo.residual <= MOST_UNEXPLAINED else "the actions are not what this arm was told"
            metric = "motion that the commands do not explain, m"
            return {"servo": servo_facts(servo), "gripper": servo_facts(gripper)}, [
                Gate("control", metric, servo.residual, MOST_UNEXPLAINED, not reason, reason)
            ]

        if not told:
            return Servo(), GripperServo()
        facts = self._ledger.run("control", identify)
        self._ledger.insist("control")
        return Servo(**told_of(facts["servo"])), GripperServo(**told_of(facts["gripper"]))

    def _views(self, exterior: Mapping[str, Camera], wrist: Camera, empty: Mapping[str, Frames]) -> list[View]:
        """The empty pictures of exterior cameras, and the wrist's frames far apart, things left out of them."""
        size = wrist.width, wrist.height
        silhouette = RobotSilhouette(*size, self._robot)
        kinematics = ArmKinematics(self._robot)
        joints, gripper = np.asarray(self._pool.joint_position), np.asarray(self._pool.gripper_position)[:, 0]
        views = []
        try:
            for name, camera in exterior.items():
                rows = spread_over(len(joints), PLATE_FRAMES)
                drawn = silhouette.masks(camera, joints[rows], gripper[rows])
                views.append(View(camera, empty[name], drawn.mean(0) <= MOSTLY_FREE, f"{name}/plate"))
            frames = [frame for one in self._episodes for frame in self._untouched(one, exterior, empty, silhouette)]
            places = np.stack([np.asarray(one.cartesian_position)[t, :3] for one, t, _ in frames])
            for index in np.sort(farthest(places, self._settings.wrist_frames)):
                one, t, things = frames[index]
                pose, grip = np.asarray(one.joint_position)[t], float(np.asarray(one.gripper_position)[t, 0])
                camera = wrist_camera_at(wrist, mount_poses(pose[None], kinematics)[0])
                free = Sight(
                    camera, empty[next(iter(empty))], empty[next(iter(empty))], silhouette.depth(camera, pose, grip)
                ).known
                mask = free & ~_around(camera, things)
                if mask.mean() > 0.2:
                    views.append(View(camera, one.cameras[WRIST].read(t, t + 1)[0], mask, f"wrist/{one.id}/{t}"))
        finally:
            silhouette.close()
        return views

    def _untouched(
        self, one: Episode, exterior: Mapping[str, Camera], empty: Mapping[str, Frames], silhouette: RobotSilhouette
    ) -> list[tuple[Episode, int, FloatArray]]:
        """The frames of an episode before the tool came near a thing, with where things are `(K, 3)` m."""
        joints, grip = np.asarray(one.joint_position)[0], float(np.asarray(one.gripper_position)[0, 0])
        sights = {
            name: Sight(camera, one.cameras[name].read(0, 1)[0], empty[name], silhouette.depth(camera, joints, grip))
            for name, camera in exterior.items()
        }
        things = np.array([found.place for found in spot(sights)]).reshape(-1, 3)
        tool = np.asarray(one.cartesian_position)[:, :3]
        near = (np.linalg.norm(tool[:, None] - things, axis=2) < TOUCHED).any(axis=1)
        before = int(near.argmax()) if near.any() else len(tool)
        return [(one, t, things) for t in range(0, before, 2)]

    def _table(self, views: list[View]) -> tuple[SupportPlane, list[View]]:
        def compute() -> tuple[dict[str, Any], list[Gate]]:
            # The cameras are well known: none is moved.
            table = find_table(views, settings=TableSettings(rounds=0, level=LEVEL))
            return {"plane": plane_facts(table.plane), "cost": table.cost}, []

        return plane_of(self._ledger.run("table", compute)["plane"]), views

    def _looks(self, cameras: Mapping[str, Camera]) -> dict[str, Look]:
        """The cameras' colours of the robot, in the pooled frames."""

        def fit() -> tuple[dict[str, Any], list[Gate]]:
            rows = spread_over(len(self._pool), LOOK_FRAMES)
            joints, grips = (
                np.asarray(self._pool.joint_position)[rows],
                np.asarray(self._pool.gripper_position)[rows, 0],
            )
            mounts = mount_poses(joints, ArmKinematics(self._robot))
            found = {}
            for name, camera in cameras.items():
                robot = RobotSilhouette(camera.width, camera.height, self._robot)
                placed = [wrist_camera_at(camera, mount) if name == WRIST else camera for mount in mounts]
                drawn = [robot.picture(at, q, g) for at, q, g in zip(placed, joints, grips, strict=True)]
                robot.close()
                depth = np.stack([each for _, each in drawn]).astype(np.float64)
                images = RobotImages(np.stack([each for each, _ in drawn]), depth, np.isfinite(depth))
                film = self._pool.cameras[name].read()[rows]
                found[name] = asdict(look_of(images, film))
            return found, []

        return {name: look_from(facts) for name, facts in self._ledger.run("looks", fit).items()}

    def _background(self, views: list[View], plane: SupportPlane, exterior: Mapping[str, Camera]) -> Gaussians:
        file, checkpoint = self._ledger.path("background.ply"), self._ledger.path("fit.safetensors")

        def compute() -> tuple[dict[str, Any], list[Gate]]:
            if not self._settings.steps:
                scene = table_gaussians(views, plane)
                write_ply(file, scene)
                return {"gaussians": len(scene)}, []
            robots = {name: robot_depths(self._pool, camera) for name, camera in exterior.items()}
            prepared = prepare(views, plane, (), self._robot, robots)
            scene, quality = fit_scene(prepared, robots, lambda p: fit_here(p, self._settings.steps, checkpoint))
            write_ply(file, scene)
            return {"gaussians": len(scene)}, [scene_gate(quality)]

        self._ledger.run("scene", compute)
        self._ledger.insist("scene")
        return read_ply(file)


def table_gaussians(views: Sequence[View], plane: SupportPlane) -> Gaussians:
    """The table and what is seen beyond its edge, flat on its plane, in the medians of the views' colours."""
    low, high = plane.outline.min(axis=0) - BEYOND, plane.outline.max(axis=0) + BEYOND
    texture = plane_texture(views, plane.normal, plane.height, np.stack([low, high]), None, SPACING)
    flat = start_from_points(texture.points[texture.known], texture.colors[texture.known].clip(0, 1), 0, OPACITY)
    return replace(flat, log_scales=torch.full_like(flat.log_scales, float(np.log(SMOOTH * SPACING))))


def _within_reach(episode: Episode, kinematics: ArmKinematics) -> FloatArray:
    """`(T, 3)` m: where the tool was told to be, as near to it as the arm's joints let it come."""
    assert episode.action is not None
    assert episode.joint_position is not None
    rows = zip(np.asarray(episode.action.values), np.asarray(episode.joint_position), strict=True)
    nearest = np.stack([kinematics.nearest(row[:6], joints) for row, joints in rows])
    return kinematics.forward_matrix(nearest)[0]


def _around(camera: Camera, things: FloatArray) -> NDArray[np.bool_]:
    """`(H, W)` bool: pixels within `AROUND_THING` of things `(K, 3)`."""
    rows, columns = np.mgrid[: camera.height, : camera.width] + 0.5
    covered = np.zeros(rows.shape, bool)
    if len(things):
        pixels, depth = camera.project(things)
        for (x, y), far in zip(pixels, depth, strict=True):
            if far > 0.02:
                covered |= np.hypot(columns - x, rows - y) < camera.fx * AROUND_THING / far
    return covered
