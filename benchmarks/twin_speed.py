"""How many frames a second a twin gives: physics, splats and the robot, one exterior camera and the wrist's.

    python benchmarks/twin_speed.py [--twin DIR] [--scenes 1 8 64] [--frames 10]

Without a twin of your own, one of 15,000 Gaussians with three things on a table is made up. A frame is one camera's
picture at one instant of one scene.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tyro
from common import as_json, in_own_process, write

if TYPE_CHECKING:
    from real2sim.twin.bundle import Twin

OUTLINE = np.array([[0.1, -0.6], [1.0, -0.6], [1.0, 0.6], [0.1, 0.6]])
HOME = np.array([0.0, -0.3, 0.0, -2.2, 0.0, 1.9, 0.8])


@dataclass(frozen=True)
class Options:
    twin: Path | None = None
    scenes: tuple[int, ...] = (1, 8, 64)
    frames: int = 10
    """Instants that are measured, after one that is not."""
    gaussians: int = 15_000
    width: int = 160
    height: int = 96


def made_up(gaussians: int, width: int, height: int) -> Twin:
    """A table, a wall and three solids, all densely covered."""
    from real2sim.camera import Camera
    from real2sim.silhouette import looking_at
    from real2sim.splats.start import start_from_points
    from real2sim.twin.bundle import Beginning, Twin
    from real2sim.twin.solid_fit import FittedSolid
    from real2sim.twin.solids import SHAPES, Solid
    from real2sim.twin.support import SupportPlane
    from real2sim.twin.things import twin_object

    rng = np.random.default_rng(0)
    table = np.c_[rng.uniform([0.1, -0.6], [1.0, 0.6], (gaussians // 2, 2)), np.zeros(gaussians // 2)]
    wall = np.c_[np.full(gaussians // 2, -1.0), rng.uniform([-2, -0.5], [2, 2], (gaussians // 2, 2))]
    points = np.concatenate([table, wall])
    solids = [Solid(shape, 0.5, 0.2 * (1 - i), 0.0, 0.05, 0.05, 0.05) for i, shape in enumerate(SHAPES)]
    things = tuple(twin_object(f"object_{i}", FittedSolid(solid, np.eye(4), 1.0, 3)) for i, solid in enumerate(solids))
    splats = {}
    for thing in things:
        skin = rng.normal(size=(500, 3))
        skin *= 0.025 / np.linalg.norm(skin, axis=1, keepdims=True)
        splats[thing.name] = start_from_points(skin, rng.random((500, 3)), degree=1, opacity=0.9)
    hand_eye = np.eye(4)
    hand_eye[:3, 3] = [0.0, -0.09, 0.02]
    pose = looking_at(np.array([1.2, 0.9, 0.7]), np.array([0.4, 0.0, 0.1]))
    camera = lambda focal, at: Camera(width, height, focal, focal, width / 2, height / 2, at)  # noqa: E731
    return Twin(
        background=start_from_points(points, rng.random(points.shape), degree=1, opacity=0.9),
        objects=things,
        splats=splats,
        plane=SupportPlane(np.array([0.0, 0.0, 1.0]), 0.0, OUTLINE, 0.0, 1.0),
        exterior={"exterior_1": camera(0.9 * width, pose)},
        wrist=camera(0.7 * width, hand_eye),
        beginning=Beginning(HOME, 0.0, "pick up the box", 5.0, "panda", "made-up"),
    )


def speed(options: Options, scenes: int) -> dict[str, Any]:
    from arena.contracts import ActionChunk
    from real2sim.twin.bundle import load_twin
    from real2sim.twin.world import TwinWorld

    size = options.width, options.height
    twin = made_up(options.gaussians, *size) if options.twin is None else load_twin(options.twin)
    key = twin.beginning.episode_id
    world = TwinWorld({key: twin})
    scene = world.scene(key)
    observations = world.start([scene] * scenes, list(range(scenes)))
    space, fps = world.card.action_space, world.card.fps
    chunks = [ActionChunk(np.tile(each.state, (1, 1)), space, fps) for each in observations]
    for chunk in chunks:
        chunk.values[:, 2] -= 0.02
    world.step(chunks)
    began = time.perf_counter()
    for _ in range(options.frames):
        world.step(chunks)
    seconds = time.perf_counter() - began
    world.close()
    return {"frames_per_second": options.frames * scenes * len(world.card.cameras) / seconds, "seconds": seconds}


def main(options: Options) -> None:
    found = {str(count): in_own_process(speed, options, count) for count in options.scenes}
    one = found[str(options.scenes[0])]["frames_per_second"]
    for each in found.values():
        each["per_scene_against_first"] = each["frames_per_second"] / one
    print(write("twin_speed", {"by_scenes": found, "options": as_json(options)}))


if __name__ == "__main__":
    main(tyro.cli(Options))
