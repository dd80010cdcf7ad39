"""The recorded joints replayed in a twin: its pictures beside the real ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.spatial.transform import Rotation

from arena.contracts import Episode, FloatArray, Frames
from arena.metrics import psnr, ssim
from real2sim.robot_files import panda_with_robotiq
from real2sim.twin.arm import Arm
from real2sim.twin.bundle import Twin
from real2sim.twin.color import fit_color_response
from real2sim.twin.physics import TwinPhysics
from real2sim.twin.pictures import Instant, TwinPictures, flange_poses
from real2sim.twin.render import Look, RobotImages

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
    """Twelve frames of the episode, in all of the twin's cameras. Joints are set, not driven; things do not move."""
    joints, gripper = np.asarray(episode.joint_position), np.asarray(episode.gripper_position)[:, 0]
    chosen = np.unique(np.linspace(0, len(episode) - 1, FRAMES).astype(int))
    poses = {thing.name: thing.body_to_base for thing in twin.objects}
    instants = [Instant(joints[t], float(gripper[t]), poses) for t in chosen]
    real = {name: episode.cameras[name].read()[chosen] for name in twin.cameras}
    robot = TwinPictures(twin)
    looks = {name: _look(robot.robot(name, instants), frames) for name, frames in real.items()}
    robot.close()
    pictures = TwinPictures(replace(twin, looks=looks))
    drawn = pictures.draw(instants)
    pictures.close()
    return {
        name: Replay(real[name], drawn[name], *_likeness(drawn[name], real[name]), looks[name]) for name in twin.cameras
    }


def reached_error(twin: Twin, commanded: FloatArray, episode: Episode) -> tuple[float, float]:
    """Medians in mm and degrees: where the flange is when the twin is driven by the recorded commands `(T, 7)` rad,
    against where it was."""
    physics = TwinPhysics(twin.plane, twin.objects, panda_with_robotiq())
    arm = Arm(physics.model, physics.data, twin.servo)
    arm.place(twin.beginning.joint_position, twin.beginning.gripper_position)
    gripper, reached = np.asarray(episode.gripper_position)[:, 0], []
    for row, grip in zip(commanded, gripper, strict=True):
        reached.append(arm.joint_position)
        arm.follow(row, float(grip), 1 / episode.fps)
    found, wanted = flange_poses(np.stack(reached)), flange_poses(np.asarray(episode.joint_position))
    apart = np.linalg.norm(found[:, :3, 3] - wanted[:, :3, 3], axis=1)
    turned = Rotation.from_matrix(found[:, :3, :3].transpose(0, 2, 1) @ wanted[:, :3, :3]).magnitude()
    return float(1000 * np.median(apart)), float(np.degrees(np.median(turned)))


def picture_of(replays: Mapping[str, Replay], path: Path, columns: int = 6) -> None:
    """A PNG with two rows a camera, the real frames above the twin's."""
    rows = []
    for each in replays.values():
        chosen = np.linspace(0, len(each.real) - 1, columns).astype(int)
        rows += [np.concatenate(each.real[chosen], axis=1), np.concatenate(each.twin[chosen], axis=1)]
    Image.fromarray(np.concatenate(rows)).save(path)


def _look(robot: RobotImages, real: Frames) -> Look:
    if robot.mask.sum() < LEAST_ROBOT:
        return Look()
    # Values in order, not pixel by pixel: the lights are not the real ones, so a link's bright side may be another one,
    # and a line through unlike pixels would make all of it grey.
    drawn, seen = (np.sort(frames[robot.mask] / 255.0, axis=0) for frames in (robot.image, real))
    return Look(robot=fit_color_response(drawn, seen, np.ones(len(drawn), bool)))


def _likeness(drawn: Frames, real: Frames) -> tuple[float, float]:
    return float(psnr(drawn, real).mean()), float(ssim(drawn, real).mean())
