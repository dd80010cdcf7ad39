"""One episode with its truth: a scene, a motion, and what three cameras see of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from arena.contracts import Episode, FloatArray, Frames, Source
from real2sim.camera import Camera
from real2sim.engine import mujoco
from real2sim.frames import MemoryFrames
from real2sim.joints import JointSetter
from real2sim.robot import PandaKinematics
from real2sim.robots import PANDA
from real2sim.silhouette import Eye
from real2sim.truth.motion import random_motion
from real2sim.truth.scene import SCENE_GROUP, TrueObject, random_cameras, random_scene

FPS = 5.0
OBJECTS = 3

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class KnownTruth:
    """An episode and what nobody is told of it.

    `exterior` are its cameras; of `wrist`, `camera_to_base` is its pose in the flange's frame (`hand_eye`).
    """

    episode: Episode
    exterior: dict[str, Camera]
    wrist: Camera
    objects: tuple[TrueObject, ...]

    @property
    def hand_eye(self) -> FloatArray:
        """`(4, 4)`: the wrist camera's frame to the flange's."""
        return self.wrist.camera_to_base

    def wrist_at(self, frame: int) -> Camera:
        """The wrist camera in the base frame."""
        joints = np.asarray(self.episode.joint_position)[frame]
        return Camera(**{**vars(self.wrist), "camera_to_base": flange_to_base(joints) @ self.hand_eye})


def flange_to_base(joint_position: FloatArray) -> FloatArray:
    """`(4, 4)`, of seven joints in rad."""
    position, rotation = PandaKinematics().forward_matrix(np.asarray(joint_position)[None])
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation[0], position[0]
    return pose


def make_truth(
    seed: int, frames: int = 120, width: int = 160, height: int = 96, progress: Progress | None = None
) -> KnownTruth:
    """A random scene and motion. The same for a seed, whatever was made before."""
    rng = np.random.default_rng([seed, 5])
    spec, objects = random_scene(rng, OBJECTS)
    model = spec.compile()
    cameras = random_cameras(rng, width, height)
    joints, gripper = random_motion(rng, model, frames, FPS)
    cartesian = PandaKinematics().forward(joints)
    blind = _without_pictures(seed, joints, cartesian, gripper)
    truth = KnownTruth(blind, cameras.exterior, cameras.wrist, tuple(objects))
    eye, data, setter = (
        Eye(model, width, height, (PANDA.visual_group, SCENE_GROUP)),
        mujoco.MjData(model),
        JointSetter(model),
    )
    films: dict[str, list[Frames]] = {name: [] for name in (*cameras.exterior, "wrist")}
    for t in range(frames):
        if progress is not None:
            progress(t, frames, "drawing")
        setter(data, joints[t], gripper[t])
        mujoco.mj_forward(model, data)
        for name in films:
            camera = truth.wrist_at(t) if name == "wrist" else cameras.exterior[name]
            films[name].append(eye.colour(data, camera))
    eye.close()
    pictures = {name: MemoryFrames(np.stack(film)) for name, film in films.items()}
    return KnownTruth(with_pictures(truth.episode, pictures), truth.exterior, truth.wrist, truth.objects)


def with_pictures(episode: Episode, pictures: dict[str, MemoryFrames]) -> Episode:
    """The episode with other films."""
    return Episode(**{**vars(episode), "cameras": pictures})


def _without_pictures(seed: int, joints: FloatArray, cartesian: FloatArray, gripper: FloatArray) -> Episode:
    return Episode(
        id=f"truth-{seed}",
        cameras={},
        fps=FPS,
        cartesian_position=cartesian,
        gripper_position=gripper[:, None],
        instruction="move over the table",
        source=Source("truth", "", seed),
        joint_position=joints,
        robot="panda",
    )
