"""Twins that know what their demonstration was after: success, marks, and backdrops."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from arena.contracts import ActionChunk, ActionSpace
from real2sim.twin.bundle import Twin, load_twin, save_twin
from real2sim.twin.control import GripperServo
from real2sim.twin.goal import Goal
from real2sim.twin.physics import TwinPhysics
from real2sim.twin.pictures import Instant, TwinPictures
from real2sim.twin.render import Backdrop
from real2sim.twin.world import TwinWorld


def aimed(twin: Twin, place: tuple[float, float, float], thing: str = "object_1") -> Twin:
    return replace(twin, goal=Goal(thing, place))


def stayed(twin: Twin) -> bool | None:
    """What a trial in which the robot stays says of its success."""
    world = TwinWorld({"episode-1": twin})
    try:
        scene = world.scene("episode-1")
        world.start([scene], [0])
        told = np.append(scene.observation.cartesian_position, 0.0)[None]
        return world.step([ActionChunk(told, ActionSpace.CARTESIAN_POSITION, world.card.fps)])[0].success
    finally:
        world.close()


def test_success_is_the_thing_where_it_was_left(small_twin: Twin) -> None:
    assert stayed(small_twin) is None
    assert stayed(aimed(small_twin, (0.52, 0.1, 0.025))) is True
    assert stayed(aimed(small_twin, (0.6, 0.1, 0.025))) is False
    assert TwinWorld({"a": aimed(small_twin, (0, 0, 0)), "b": small_twin}).card.knows_success is False


def test_a_mark_hangs_where_it_is_and_is_not_touched(small_twin: Twin) -> None:
    pose = np.array(small_twin.objects[0].body_to_base)
    pose[2, 3] = 0.3
    mark = replace(small_twin.objects[0], name="mark", body_to_base=pose, solid=False)
    physics = TwinPhysics(small_twin.plane, [*small_twin.objects, mark]).drawn(3)
    physics.step(0.5)
    np.testing.assert_allclose(physics.body_to_base()["mark"], pose, atol=1e-9)


def test_a_backdrop_is_what_is_seen_behind_things(small_twin: Twin) -> None:
    camera = small_twin.exterior["exterior_1"]
    image = np.full((camera.height, camera.width, 3), (10, 200, 30), np.uint8)
    drop = Backdrop(image, np.full(image.shape[:2], np.inf))
    pictures = TwinPictures(replace(small_twin, backdrops={"exterior_1": drop}))
    poses = {thing.name: thing.body_to_base for thing in small_twin.objects}
    frame = pictures.draw([Instant(small_twin.beginning.joint_position, 0.0, poses)])["exterior_1"][0]
    pictures.close()
    same = (frame == image).all(-1)
    assert 0.4 < same.mean() < 0.99


def test_all_of_it_is_kept(small_twin: Twin, tmp_path: Path) -> None:
    camera = small_twin.exterior["exterior_1"]
    drop = Backdrop(
        np.zeros((camera.height, camera.width, 3), np.uint8), np.full((camera.height, camera.width), np.inf)
    )
    things = (replace(small_twin.objects[0], solid=False), small_twin.objects[1])
    twin = replace(aimed(small_twin, (0.1, 0.2, 0.3)), objects=things, backdrops={"exterior_1": drop},
                   gripper=GripperServo(1e3, 20.0, 0.5, 0.1))  # fmt: skip
    save_twin(tmp_path / "twin", twin)
    again = load_twin(tmp_path / "twin")
    assert again.goal == twin.goal
    assert again.gripper.pace == 20.0
    assert [thing.solid for thing in again.objects] == [False, True]
    np.testing.assert_array_equal(again.backdrops["exterior_1"].depth, drop.depth)
