"""A rig's folder: `rig.json` is written last, so a folder without it is no rig."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from arena.contracts import InvalidInput
from arena.episodes.atomic import atomic_write
from real2sim.camera import camera_facts, camera_of
from real2sim.cameras.gates import Gate
from real2sim.rig.rig import Rig
from real2sim.robots import robot_named
from real2sim.splats.ply import read_ply, write_ply
from real2sim.twin.bundle import look_from, servo_facts, told_of
from real2sim.twin.control import GripperServo, Servo
from real2sim.twin.support import plane_facts, plane_of

FACTS, ARRAYS, SCENE = "rig.json", "rig.safetensors", "background.ply"


def save_rig(folder: Path, rig: Rig) -> None:
    """Write a rig, its facts last."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FACTS).unlink(missing_ok=True)
    write_ply(folder / SCENE, rig.background)
    arrays = {f"empty/{name}": np.ascontiguousarray(image) for name, image in rig.empty.items()}
    save_file({**arrays, "outline": np.ascontiguousarray(rig.plane.outline)}, folder / ARRAYS)
    facts: dict[str, Any] = {
        "robot": rig.robot.name,
        "exterior": {name: camera_facts(camera) for name, camera in rig.exterior.items()},
        "wrist": camera_facts(rig.wrist),
        "plane": {**plane_facts(rig.plane), "outline": None},
        "servo": servo_facts(rig.servo),
        "gripper": servo_facts(rig.gripper),
        "looks": {name: asdict(look) for name, look in rig.looks.items()},
        "gates": [gate.facts() for gate in rig.gates],
    }
    atomic_write(folder / FACTS, json.dumps(facts, indent=1).encode())


def load_rig(folder: Path) -> Rig:
    """The rig of a folder. Raises `InvalidInput` where there is none."""
    try:
        facts, arrays = json.loads((folder / FACTS).read_text()), load_file(folder / ARRAYS)
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{folder} holds no rig: build it again") from error
    return Rig(
        robot=robot_named(facts["robot"]),
        exterior={name: camera_of(each) for name, each in facts["exterior"].items()},
        wrist=camera_of(facts["wrist"]),
        empty={name.removeprefix("empty/"): image for name, image in arrays.items() if name.startswith("empty/")},
        plane=plane_of(facts["plane"], arrays["outline"]),
        background=read_ply(folder / SCENE),
        servo=Servo(**told_of(facts["servo"])),
        gripper=GripperServo(**told_of(facts["gripper"])),
        looks={name: look_from(each) for name, each in facts["looks"].items()},
        gates=tuple(Gate.of(gate) for gate in facts["gates"]),
    )
