"""Posed frames in nerfstudio's format, for its own training in an environment of its own, and read back.

`transforms.json` as nerfstudio 1.1's `nerfstudio-data` parser reads it: intrinsics per frame, cameras after OpenGL (x
right, y up, z backwards), masks that are white where a picture counts, and a point cloud to start from. The parser
turns, centres and scales poses unless told not to: `PARSER_OPTIONS` keeps metres and the robot's base frame, so that
what `ns-export gaussian-splat` writes can be read with `ply.read_ply` as it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from arena.contracts import FloatArray, InvalidInput
from arena.episodes.atomic import atomic_directory
from arena.episodes.files import read_json
from real2sim.camera import Camera
from real2sim.splats.ply import read_vertices, write_vertices
from real2sim.splats.views import View

PARSER_OPTIONS = (
    "nerfstudio-data", "--orientation-method", "none", "--center-method", "none", "--auto-scale-poses", "False",
)  # fmt: skip
"""What follows `ns-train splatfacto ... --data FOLDER`: its poses as they are."""
OPENGL_FROM_OPENCV = np.diag([1.0, -1.0, -1.0, 1.0])
TRANSFORMS, POINTS = "transforms.json", "points3D.ply"
_DISTORTION = ("k1", "k2", "k3", "k4", "p1", "p2")
_POINT = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("red", "u1"), ("green", "u1"), ("blue", "u1")])
MAX_PIXELS = 50_000_000


@dataclass(frozen=True)
class Dataset:
    """`points` `(N, 3)` m of the base frame with `colors` `(N, 3)` in [0, 1]; `held_out` are indices of `views`."""

    views: Sequence[View]
    points: FloatArray
    colors: FloatArray
    held_out: Sequence[int] = ()


def write_dataset(folder: Path, dataset: Dataset) -> None:
    """Write a dataset as an artifact: whole or not at all. Raises `InvalidInput` where `folder` exists."""
    with atomic_directory(folder) as partial:
        for name in ("images", "masks"):
            (partial / name).mkdir()
        frames = [_write_frame(partial, index, view) for index, view in enumerate(dataset.views)]
        table = np.zeros(len(dataset.points), _POINT)
        for axis, name in enumerate(("x", "y", "z")):
            table[name] = dataset.points[:, axis]
        for channel, name in enumerate(("red", "green", "blue")):
            table[name] = np.rint(255 * np.clip(dataset.colors[:, channel], 0, 1))
        write_vertices(partial / POINTS, table)
        paths = [frame["file_path"] for frame in frames]
        held_out = [paths[index] for index in dataset.held_out]
        splits = {
            "train_filenames": [path for path in paths if path not in held_out],
            "val_filenames": held_out,
            "test_filenames": held_out,
        }
        contents = {"camera_model": "OPENCV", "ply_file_path": POINTS, "frames": frames, **(splits if held_out else {})}
        (partial / TRANSFORMS).write_text(json.dumps(contents, indent=1) + "\n")


def read_dataset(folder: Path) -> Dataset:
    """What `write_dataset` wrote, or another dataset in the same format without lens distortion.

    Raises `InvalidInput` for missing or damaged files, and for paths that lead out of the folder.
    """
    contents = read_json(folder / TRANSFORMS)
    frames = contents.get("frames")
    if not isinstance(frames, list) or not frames or not all(isinstance(frame, dict) for frame in frames):
        raise InvalidInput(f"{folder / TRANSFORMS} lists no frames")
    views = [_read_frame(folder, {**contents, **frame}) for frame in frames]
    table = read_vertices(_inside(folder, contents.get("ply_file_path")))
    if missing := set(_POINT.names or ()) - set(table.dtype.names or ()):
        raise InvalidInput(f"{folder / POINTS} lacks the property {min(missing)!r}")
    points, colors = (np.stack([table[name].astype(float) for name in names], axis=1) for names in
                      (("x", "y", "z"), ("red", "green", "blue")))  # fmt: skip
    if not np.isfinite(points).all():
        raise InvalidInput(f"{folder / POINTS} holds NaN or infinite numbers")
    held_out = contents.get("test_filenames", [])
    return Dataset(views, points, colors / 255, [i for i, frame in enumerate(frames) if frame["file_path"] in held_out])


def _write_frame(folder: Path, index: int, view: View) -> dict[str, Any]:
    name = f"{index:05d}.png"
    Image.fromarray(view.image).save(folder / "images" / name)
    Image.fromarray(np.uint8(255) * view.mask).save(folder / "masks" / name)
    camera = view.camera
    return {
        "file_path": f"images/{name}", "mask_path": f"masks/{name}", "name": view.name,
        "w": camera.width, "h": camera.height, "fl_x": camera.fx, "fl_y": camera.fy, "cx": camera.cx, "cy": camera.cy,
        "transform_matrix": (camera.camera_to_base @ OPENGL_FROM_OPENCV).tolist(),
    }  # fmt: skip


def _read_frame(folder: Path, frame: Mapping[str, Any]) -> View:
    """A frame whose own entries come before those of the whole file, as nerfstudio has it."""
    where = f"{folder / TRANSFORMS}: frame {str(frame.get('file_path'))[:80]!r}"
    try:
        if any(float(frame.get(name, 0)) != 0 for name in _DISTORTION):
            raise InvalidInput(f"{where} has lens distortion: undistort its images first")
        fx, fy, cx, cy = (float(frame[name]) for name in ("fl_x", "fl_y", "cx", "cy"))
        pose = np.asarray(frame["transform_matrix"], dtype=np.float64)
        width, height = int(frame["w"]), int(frame["h"])
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInput(f"{where} has no usable {error.args[0] if error.args else 'camera'!r}") from error
    if pose.shape != (4, 4):
        raise InvalidInput(f"{where}: transform_matrix must be (4, 4), not {pose.shape}")
    camera = Camera(width, height, fx, fy, cx, cy, pose @ OPENGL_FROM_OPENCV)
    image = _read_image(_inside(folder, frame.get("file_path")), "RGB")
    mask = _read_image(_inside(folder, frame["mask_path"]), "L") > 0 if "mask_path" in frame else image[..., 0] >= 0
    return View(camera, image, mask, str(frame.get("name", frame["file_path"])))


def _read_image(path: Path, mode: str) -> NDArray[np.uint8]:
    try:
        with Image.open(path) as image:
            if image.width * image.height > MAX_PIXELS:
                raise InvalidInput(f"{path} has more than {MAX_PIXELS} pixels")
            return np.asarray(image.convert(mode))
    except (OSError, UnidentifiedImageError, SyntaxError, Image.DecompressionBombError) as error:
        raise InvalidInput(f"{path} is no image that can be read") from error


def _inside(folder: Path, name: object) -> Path:
    """A path of the dataset, which stays within its folder."""
    path = folder / str(name)
    if not isinstance(name, str) or not path.resolve().is_relative_to(folder.resolve()):
        raise InvalidInput(f"{folder / TRANSFORMS} names a file outside its folder: {str(name)[:80]!r}")
    return path
