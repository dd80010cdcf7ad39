"""A finished twin: everything that a policy acts in, and the folder that it is kept in.

twin.json               cameras, objects' poses and guesses, gates, where it came from; written last
background.ply          the scene's Gaussians in the robot's base frame (the standard 3DGS format)
objects/NAME.ply        each object's Gaussians in its body's frame
geometry.safetensors    meshes, convex parts, and the support plane's outline
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from arena.contracts import Episode, FloatArray, InvalidInput
from arena.episodes.atomic import atomic_write, file_sha256
from real2sim.camera import Camera, camera_facts, camera_of
from real2sim.mount import WRIST
from real2sim.robot_parts import RGB
from real2sim.robots import robot_named
from real2sim.splats.gaussians import Gaussians
from real2sim.splats.ply import read_ply, write_ply
from real2sim.twin.color import ColorResponse
from real2sim.twin.control import GripperServo, Servo
from real2sim.twin.goal import Goal
from real2sim.twin.mesh import Mesh
from real2sim.twin.objects import Guess, TwinObject
from real2sim.twin.render import Backdrop, Look
from real2sim.twin.solids import SHAPES, Shape
from real2sim.twin.support import SupportPlane, plane_facts, plane_of

MANIFEST, BACKGROUND, OBJECTS, GEOMETRY = "twin.json", "background.ply", "objects", "geometry.safetensors"
FORMAT = 1


@dataclass(frozen=True)
class Beginning:
    """The robot's state and the task at the start of the episode that a twin was made from.

    `joint_position` `(7,)` rad; `gripper_position` 0 open to 1 closed; `fps` that of the episode.
    """

    joint_position: FloatArray
    gripper_position: float
    instruction: str
    fps: float
    robot: str
    episode_id: str
    task: str = ""

    def __post_init__(self) -> None:
        numbers = np.append(np.asarray(self.joint_position, dtype=np.float64), [self.gripper_position, self.fps])
        if numbers.shape != (9,) or not np.isfinite(numbers).all() or not self.fps > 0:
            raise InvalidInput("a twin begins with seven joints, a gripper's position and a rate, all finite")

    @classmethod
    def of(cls, episode: Episode) -> Beginning:
        """Its first frame's, of an episode with joints."""
        return cls(
            joint_position=np.asarray(episode.joint_position, dtype=np.float64)[0],
            gripper_position=float(np.asarray(episode.gripper_position)[0, 0]),
            instruction=episode.instruction,
            fps=float(episode.fps),
            robot=robot_named(episode.robot).name,
            episode_id=episode.id,
            task=episode.task,
        )

    def check(self, episode: Episode) -> None:
        """Raises `InvalidInput` for an episode other than the one that this is of, also of the same id."""
        ours = self.episode_id, self.robot
        if (episode.id, robot_named(episode.robot).name) != ours or abs(episode.fps - self.fps) > 1e-6:
            raise InvalidInput(
                f"the twin is of episode {self.episode_id} ({self.robot}, {self.fps:g} frames a second), "
                f"not of {episode.id} ({episode.robot}, {episode.fps:g})"
            )


@dataclass(frozen=True)
class Twin:
    """A scene in the robot's base frame, in metres.

    `background` are its Gaussians, `splats` each object's in its body's frame, by the names of `objects`. `exterior`
    are static cameras; of `wrist`, `camera_to_base` is its pose in the flange's frame (hand-eye), and it is None where
    the episode has no wrist camera. `looks` are the cameras' colour responses, and `robot_colors` those of the robot's
    parts that are not its model's. `goal` says what a success is, where the
    episode told. `backdrops` are, of cameras that stand still, pictures that are shown for the background. `origin`
    says what it was made from.
    """

    background: Gaussians
    objects: tuple[TwinObject, ...]
    splats: Mapping[str, Gaussians]
    plane: SupportPlane
    exterior: Mapping[str, Camera]
    wrist: Camera | None
    beginning: Beginning
    looks: Mapping[str, Look] = field(default_factory=dict)
    robot_colors: Mapping[str, RGB] = field(default_factory=dict)
    servo: Servo = field(default_factory=Servo)
    gripper: GripperServo = field(default_factory=GripperServo)
    goal: Goal | None = None
    backdrops: Mapping[str, Backdrop] = field(default_factory=dict)
    origin: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [thing.name for thing in self.objects]
        if sorted(names) != sorted(self.splats) or len(set(names)) != len(names):
            raise InvalidInput(f"a twin's objects {names} and their Gaussians {sorted(self.splats)} do not match")

    @property
    def cameras(self) -> tuple[str, ...]:
        """Names of what it can be seen through, `wrist` last."""
        return (*sorted(self.exterior), *([WRIST] if self.wrist is not None else []))


def save_twin(folder: Path, twin: Twin) -> None:
    """Write a twin into `folder`, its manifest last: a folder without one is no twin."""
    (folder / OBJECTS).mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)
    write_ply(folder / BACKGROUND, twin.background)
    for name, gaussians in twin.splats.items():
        write_ply(folder / OBJECTS / f"{name}.ply", gaussians)
    save_file(_geometry(twin), folder / GEOMETRY)
    manifest = {
        "format": FORMAT,
        "exterior": {name: camera_facts(camera) for name, camera in twin.exterior.items()},
        "wrist": None if twin.wrist is None else camera_facts(twin.wrist),
        "looks": {name: asdict(look) for name, look in twin.looks.items()},
        "robot_colors": {name: list(color) for name, color in twin.robot_colors.items()},
        "objects": [_object_facts(thing) for thing in twin.objects],
        "plane": {**plane_facts(twin.plane), "outline": None},
        "servo": servo_facts(twin.servo),
        "gripper": servo_facts(twin.gripper),
        "goal": None if twin.goal is None else asdict(twin.goal),
        "beginning": {**asdict(twin.beginning), "joint_position": np.asarray(twin.beginning.joint_position).tolist()},
        "origin": dict(twin.origin),
        "backdrops": sorted(twin.backdrops),
        "files": {name: file_sha256(folder / name) for name in _file_names(twin.splats)},
    }
    atomic_write(folder / MANIFEST, json.dumps(manifest, indent=1).encode())


def load_twin(folder: Path) -> Twin:
    """The twin of a folder. Raises `InvalidInput` where there is none, a file is missing or is not the one written."""
    manifest = read_manifest(folder)
    try:
        _check_files(folder, manifest)
        geometry = load_file(folder / GEOMETRY)
        objects = tuple(_object(facts, geometry) for facts in manifest["objects"])
        return Twin(
            background=read_ply(folder / BACKGROUND),
            objects=objects,
            splats={thing.name: read_ply(folder / OBJECTS / f"{thing.name}.ply") for thing in objects},
            plane=plane_of(manifest["plane"], geometry["plane/outline"]),
            exterior={name: camera_of(facts) for name, facts in manifest["exterior"].items()},
            wrist=None if manifest["wrist"] is None else camera_of(manifest["wrist"]),
            beginning=_beginning(manifest["beginning"]),
            looks={name: look_from(facts) for name, facts in manifest["looks"].items()},
            robot_colors=colors_from(manifest.get("robot_colors", {})),
            servo=Servo(**told_of(manifest["servo"])),
            goal=_goal(manifest.get("goal")),
            gripper=GripperServo(**told_of(manifest.get("gripper", {}))),
            origin=manifest["origin"],
            backdrops={
                name: Backdrop(geometry[f"plate/{name}/image"], geometry[f"plate/{name}/depth"])
                for name in manifest.get("backdrops", [])
            },
        )
    except (KeyError, TypeError, AttributeError, ValueError, OSError, SafetensorError) as error:
        raise InvalidInput(f"the twin in {folder} cannot be read ({error!r}): build it again") from error


def servo_facts(servo: Servo | GripperServo) -> dict[str, Any]:
    """As JSON, which has no NaN."""
    return {key: None if value != value else value for key, value in asdict(servo).items()}


def told_of(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The other way: what a servo is made with."""
    return {key: value for key, value in facts.items() if value is not None}


def twin_sha256(folder: Path) -> str:
    """Of a twin's manifest, which holds the hash of every other file."""
    read_manifest(folder)
    return file_sha256(folder / MANIFEST)


def read_manifest(folder: Path) -> dict[str, Any]:
    """What a twin's manifest says, without its files. Raises `InvalidInput` where there is none."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{folder} holds no twin: `dreamarena twin build EPISODES --out DIR` makes one") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise InvalidInput(f"{folder / MANIFEST} is not a twin of format {FORMAT}: build it again")
    return manifest


def _file_names(things: Iterable[str]) -> list[str]:
    return [BACKGROUND, GEOMETRY, *(f"{OBJECTS}/{name}.ply" for name in things)]


def _check_files(folder: Path, manifest: Mapping[str, Any]) -> None:
    """All that a twin is read from is named by its manifest, lies in its folder and is what was written."""
    names = [str(facts["name"]) for facts in manifest["objects"]]
    if any(Path(name).name != name for name in names):
        raise InvalidInput(f"the twin in {folder} has things whose names are no file names: {', '.join(names)}")
    if sorted(manifest["files"]) != sorted(_file_names(names)):
        raise InvalidInput(f"the twin in {folder} does not name its files: build it again")
    for name, sha256 in manifest["files"].items():
        if file_sha256(folder / name) != sha256:
            raise InvalidInput(f"{folder / name} is not the file that the twin was saved with: build it again")


def _geometry(twin: Twin) -> dict[str, Any]:
    tensors: dict[str, Any] = {"plane/outline": np.ascontiguousarray(twin.plane.outline, dtype=np.float64)}
    for thing in twin.objects:
        meshes = {"mesh": thing.mesh, **{f"part_{i}": part for i, part in enumerate(thing.parts)}}
        for key, mesh in meshes.items():
            tensors[f"{thing.name}/{key}/vertices"] = np.ascontiguousarray(mesh.vertices, dtype=np.float64)
            tensors[f"{thing.name}/{key}/triangles"] = np.ascontiguousarray(mesh.triangles, dtype=np.int64)
    for name, plate in twin.backdrops.items():
        tensors[f"plate/{name}/image"] = np.ascontiguousarray(plate.image)
        tensors[f"plate/{name}/depth"] = np.ascontiguousarray(plate.depth, dtype=np.float64)
    return tensors


def _object_facts(thing: TwinObject) -> dict[str, Any]:
    return {
        "name": thing.name,
        "body_to_base": thing.body_to_base.tolist(),
        "size": thing.size.tolist(),
        "parts": len(thing.parts),
        "mass": asdict(thing.mass),
        "friction": asdict(thing.friction),
        "shape": thing.shape,
        "solid": thing.solid,
    }


def _object(facts: Mapping[str, Any], geometry: Mapping[str, Any]) -> TwinObject:
    def mesh(key: str) -> Mesh:
        return Mesh(geometry[f"{facts['name']}/{key}/vertices"], geometry[f"{facts['name']}/{key}/triangles"])

    return TwinObject(
        name=facts["name"],
        body_to_base=np.array(facts["body_to_base"]),
        size=np.array(facts["size"]),
        mesh=mesh("mesh"),
        parts=tuple(mesh(f"part_{i}") for i in range(facts["parts"])),
        mass=Guess(**facts["mass"]),
        friction=Guess(**facts["friction"]),
        shape=_shape(facts["shape"]),
        solid=facts.get("solid", True),
    )


def _shape(name: str | None) -> Shape | None:
    if name is not None and name not in SHAPES:
        raise ValueError(f"no shape is called {name!r}")
    return name


def look_from(facts: Mapping[str, Any]) -> Look:
    return Look(**{part: ColorResponse(tuple(each["gain"]), tuple(each["offset"])) for part, each in facts.items()})


def colors_from(facts: Mapping[str, Any]) -> dict[str, RGB]:
    """Raises `ValueError` for what are no three numbers in [0, 1]."""
    colors = {}
    for name, color in facts.items():
        red, green, blue = (float(value) for value in color)
        if not all(0 <= value <= 1 for value in (red, green, blue)):
            raise ValueError(f"{name} has a colour beyond [0, 1]")
        colors[name] = (red, green, blue)
    return colors


def _goal(facts: Mapping[str, Any] | None) -> Goal | None:
    return None if facts is None else Goal(facts["thing"], tuple(facts["place"]), facts["within"])


def _beginning(facts: Mapping[str, Any]) -> Beginning:
    return Beginning(**{**facts, "joint_position": np.array(facts["joint_position"])})
