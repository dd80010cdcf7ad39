"""The colours of an episode's robot, in films that its twin draws with other ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from arena.contracts import Episode, Source
from real2sim.camera import Camera
from real2sim.frames import MemoryFrames
from real2sim.reconstruct.dress import dressed, sampled
from real2sim.robot import PandaKinematics
from real2sim.silhouette import looking_at
from real2sim.twin.bundle import Twin
from real2sim.twin.color import ColorResponse
from real2sim.twin.pictures import TwinPictures
from real2sim.twin.render import Look
from tests.real2sim.twin.small import HOME, make_small_twin

TIPS = "#e5e5e5"
"""The fingertips' part: nothing but its colour names it."""
DARK = (0.15, 0.12, 0.1)
LOOK = Look(robot=ColorResponse((0.8, 0.75, 0.7), (0.05, 0.04, 0.03)))


@pytest.fixture(scope="module")
def twin() -> Twin:
    """Its cameras are near the hand."""
    hand_eye = np.eye(4)
    hand_eye[:3, 3] = [0.0, -0.05, -0.03]
    near = looking_at(np.array([0.75, 0.3, 0.45]), np.array([0.46, 0.0, 0.36]))
    return replace(
        make_small_twin(),
        exterior={"exterior_1": Camera(320, 192, 300.0, 300.0, 160.0, 96.0, near)},
        wrist=Camera(160, 96, 90.0, 90.0, 80.0, 48.0, hand_eye),
    )


def filmed(twin: Twin, length: int = 24) -> Episode:
    """Joints that move and a gripper that closes once, as a twin draws them."""
    joints = HOME + 0.2 * np.sin(np.linspace(0, 6, length))[:, None] * np.array([1, 0.5, 0, 0, 0, 0.5, 1])
    gripper = np.repeat([0.0, 0.8], length // 2)[:, None]
    episode = Episode(
        "episode-1", {}, 5.0, PandaKinematics().forward(joints), gripper, "go", Source("test", ""),
        joint_position=joints,
    )  # fmt: skip
    _, instants = sampled(twin, episode, length)
    pictures = TwinPictures(twin)
    films = pictures.draw(instants)
    pictures.close()
    return replace(episode, cameras={name: MemoryFrames(frames) for name, frames in films.items()})


def test_parts_of_other_colours_are_found_with_what_the_camera_does(twin: Twin) -> None:
    looks = dict.fromkeys(twin.cameras, LOOK)
    seen = dressed(twin, filmed(replace(twin, looks=looks, robot_colors={TIPS: DARK})))
    assert list(seen.robot_colors) == [TIPS]
    assert seen.robot_colors[TIPS] == pytest.approx(DARK, abs=0.05)
    response = seen.looks["exterior_1"].robot
    assert response.gain == pytest.approx(LOOK.robot.gain, abs=0.05)
    assert response.offset == pytest.approx(LOOK.robot.offset, abs=0.03)


def test_a_robot_like_its_model_keeps_its_colours(twin: Twin) -> None:
    seen = dressed(twin, filmed(replace(twin, looks=dict.fromkeys(twin.cameras, LOOK))))
    assert seen.robot_colors == {}
    assert seen.looks["wrist"].robot.gain == pytest.approx(LOOK.robot.gain, abs=0.05)


def test_what_is_seen_beside_the_gripper_is_not_taken_for_it(twin: Twin) -> None:
    """The wrist camera is taken to be 3 mm from where it is: a film shows other things where the hand is drawn."""
    wrist = twin.wrist
    assert wrist is not None
    pose = wrist.camera_to_base.copy()
    pose[:3, 3] += [0.0, 0.003, 0.0]
    seen = dressed(replace(twin, wrist=replace(wrist, camera_to_base=pose)), filmed(twin))
    assert seen.robot_colors == {}
    assert seen.looks["wrist"].robot.gain == pytest.approx([1.0] * 3, abs=0.5)
