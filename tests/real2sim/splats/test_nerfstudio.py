"""nerfstudio's format: what is written is read back equal, its conventions hold, its own parser agrees."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arena.contracts import InvalidInput
from real2sim.splats.nerfstudio import PARSER_OPTIONS, POINTS, TRANSFORMS, Dataset, read_dataset, write_dataset
from real2sim.splats.views import View
from tests.real2sim.splats.scenes import looking

NERFSTUDIO_PYTHON = os.environ.get("NERFSTUDIO_PYTHON", "")
"""The Python of nerfstudio's own environment, where there is one (docker/, extra `nerfstudio`)."""
_PARSE = """
import json, sys
from pathlib import Path
from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig
config = NerfstudioDataParserConfig(
    data=Path(sys.argv[1]), orientation_method="none", center_method="none", auto_scale_poses=False, load_3D_points=True
)
found = config.setup().get_dataparser_outputs(split="train")
cameras = found.cameras
print(json.dumps({
    "poses": cameras.camera_to_worlds.tolist(),
    "intrinsics": [[float(v[i]) for v in (cameras.fx, cameras.fy, cameras.cx, cameras.cy)] for i in (0, 1)],
    "points": found.metadata["points3D_xyz"].tolist(),
    "images": [str(path.name) for path in found.image_filenames],
}))
"""


@pytest.fixture
def dataset() -> Dataset:
    draw = np.random.default_rng(0)
    cameras = [looking((1.0, 0.1, 0.4)), looking((0.2, 0.9, 0.5), fx=28.0), looking((0.5, 0.5, 0.6), width=32)]
    views = [
        View(c, draw.integers(0, 256, (24, c.width, 3), np.uint8), draw.uniform(size=(24, c.width)) > 0.3, f"view {i}")
        for i, c in enumerate(cameras)
    ]
    points = draw.normal(size=(50, 3)).astype(np.float32)
    return Dataset(views, points, draw.integers(0, 256, (50, 3)) / 255, held_out=[1])


def test_a_round_trip_is_exact(tmp_path: Path, dataset: Dataset) -> None:
    write_dataset(tmp_path / "data", dataset)
    back = read_dataset(tmp_path / "data")
    for old, new in zip(dataset.views, back.views, strict=True):
        np.testing.assert_array_equal(new.image, old.image)
        np.testing.assert_array_equal(new.mask, old.mask)
        np.testing.assert_allclose(new.camera.camera_to_base, old.camera.camera_to_base, atol=1e-15)
        np.testing.assert_array_equal(new.camera.intrinsics, old.camera.intrinsics)
        assert new.name == old.name
    np.testing.assert_array_equal(back.points, dataset.points)
    np.testing.assert_allclose(back.colors, dataset.colors)
    assert list(back.held_out) == [1]


def test_cameras_are_written_after_opengl(tmp_path: Path, dataset: Dataset) -> None:
    """A point in front has negative z there, and one that is higher in the picture has larger y."""
    write_dataset(tmp_path / "data", dataset)
    contents = json.loads((tmp_path / "data" / TRANSFORMS).read_text())
    assert contents["test_filenames"] == ["images/00001.png"]
    camera, frame = dataset.views[0].camera, contents["frames"][0]
    inverse = np.linalg.inv(frame["transform_matrix"])
    x, y, z, _ = inverse @ [0.0, 0.0, 0.2, 1.0]
    (pixel,), (depth,) = camera.project(np.array([[0.0, 0.0, 0.2]]))
    assert z == pytest.approx(-depth)
    assert (frame["fl_x"] * x / -z + frame["cx"], frame["cy"] - frame["fl_y"] * y / -z) == pytest.approx(tuple(pixel))


def change(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda contents: contents["frames"][0].update(changes)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (change(file_path="../../etc/passwd"), "outside its folder"),
        (change(mask_path="/etc/passwd"), "outside its folder"),
        (change(file_path="images/absent.png"), "no image that can be read"),
        (change(transform_matrix=[[1, 0], [0, 1]]), r"must be \(4, 4\)"),
        (change(transform_matrix=(2 * np.eye(4)).tolist()), "rigid"),
        (change(fl_x="wide"), "no usable"),
        (change(k1=0.1), "lens distortion"),
        (change(w=41), "the image must be"),
        (lambda contents: contents["frames"][0].pop("cx"), "no usable 'cx'"),
        (lambda contents: contents.update(frames=[]), "lists no frames"),
        (lambda contents: contents.update(ply_file_path="masks/00000.png"), "no binary little-endian PLY"),
    ],
)
def test_damaged_and_hostile_datasets_are_refused(
    tmp_path: Path, dataset: Dataset, damage: Callable[[dict[str, Any]], object], message: str
) -> None:
    folder = tmp_path / "data"
    write_dataset(folder, dataset)
    contents = json.loads((folder / TRANSFORMS).read_text())
    damage(contents)
    (folder / TRANSFORMS).write_text(json.dumps(contents))
    with pytest.raises(InvalidInput, match=message):
        read_dataset(folder)


def test_the_parsers_options_switch_off_what_moves_poses() -> None:
    assert dict(zip(PARSER_OPTIONS[1::2], PARSER_OPTIONS[2::2], strict=True)) == {
        "--orientation-method": "none", "--center-method": "none", "--auto-scale-poses": "False",
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(not NERFSTUDIO_PYTHON, reason="NERFSTUDIO_PYTHON names no environment with nerfstudio")
def test_nerfstudios_own_parser_has_the_same_cameras(tmp_path: Path, dataset: Dataset) -> None:
    write_dataset(tmp_path / "data", dataset)
    command = [NERFSTUDIO_PYTHON, "-c", _PARSE, str(tmp_path / "data")]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])
    kept = [dataset.views[0], dataset.views[2]]
    assert found["images"] == ["00000.png", "00002.png"]
    opencv = np.array(found["poses"]) @ np.diag([1.0, -1.0, -1.0, 1.0])
    np.testing.assert_allclose(opencv, [view.camera.camera_to_base[:3] for view in kept], atol=1e-6)
    numbers = [[getattr(view.camera, name) for name in ("fx", "fy", "cx", "cy")] for view in kept]
    np.testing.assert_allclose(found["intrinsics"], numbers, rtol=1e-6)
    np.testing.assert_allclose(found["points"], dataset.points, atol=1e-6)
    assert (tmp_path / "data" / POINTS).is_file()
