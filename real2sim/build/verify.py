"""The recorded joints replayed in a twin: its pictures beside the real ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from arena.contracts import Episode, FloatArray, Frames
from arena.metrics import psnr, ssim
from real2sim.build.posed import flange_poses, wrist_camera_at
from real2sim.camera import Camera
from real2sim.silhouette import RobotSilhouette
from real2sim.twin.bundle import Twin
from real2sim.twin.color import fit_color_response
from real2sim.twin.render import Look, RobotImages, TwinRenderer

FRAMES = 12
LEAST_ROBOT = 100
"""Pixels of the robot, over all frames, that its colour response is fitted to."""


@dataclass(frozen=True)
class Replay:
    """Of one camera: `real` and `twin` `(K, H, W, 3)`, their mean `psnr` in dB and `ssim`, and the `look` fitted."""

    real: Frames
    twin: Frames
    psnr: float
    ssim: float
    look: Look


def replay(twin: Twin, episode: Episode) -> dict[str, Replay]:
    """Twelve frames of the episode, in all of the twin's cameras. Joints are set, not driven."""
    joints, gripper = np.asarray(episode.joint_position), np.asarray(episode.gripper_position)[:, 0]
    chosen = np.unique(np.linspace(0, len(episode) - 1, FRAMES).astype(int))
    flange = flange_poses(joints)
    found = {}
    for name in twin.cameras:
        camera = twin.exterior.get(name)
        cameras = [wrist_camera_at(_wrist(twin), flange[t]) if camera is None else camera for t in chosen]
        real = episode.cameras[name].read()[chosen]
        found[name] = _compared(twin, name, cameras, real, joints[chosen], gripper[chosen])
    return found


def picture_of(replays: Mapping[str, Replay], path: Path, columns: int = 6) -> None:
    """A PNG with two rows a camera, the real frames above the twin's."""
    rows = []
    for each in replays.values():
        chosen = np.linspace(0, len(each.real) - 1, columns).astype(int)
        rows += [np.concatenate(each.real[chosen], axis=1), np.concatenate(each.twin[chosen], axis=1)]
    Image.fromarray(np.concatenate(rows)).save(path)


def _wrist(twin: Twin) -> Camera:
    assert twin.wrist is not None
    return twin.wrist


def _compared(
    twin: Twin, name: str, cameras: list[Camera], real: Frames, joints: FloatArray, gripper: FloatArray
) -> Replay:
    robot = RobotSilhouette(cameras[0].width, cameras[0].height)
    try:
        drawn = [robot.picture(camera, q, g) for camera, q, g in zip(cameras, joints, gripper, strict=True)]
    finally:
        robot.close()
    depth = np.stack([each for _, each in drawn]).astype(np.float64)
    images = RobotImages(np.stack([each for each, _ in drawn]), depth, np.isfinite(depth))
    look = Look()
    if images.mask.sum() >= LEAST_ROBOT:
        look = replace(look, robot=fit_color_response(images.image / 255.0, real / 255.0, images.mask))
    renderer = TwinRenderer(twin.background, twin.splats, {name: look})
    poses = {thing.name: np.repeat(thing.body_to_base[None], len(cameras), 0) for thing in twin.objects}
    frames, _ = renderer.render(name, cameras, poses, images)
    return Replay(real, frames, float(psnr(frames, real).mean()), float(ssim(frames, real).mean()), look)
