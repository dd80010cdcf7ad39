"""A twin's folder: what is saved is what is read, and nothing else is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from arena.contracts import InvalidInput
from real2sim.camera import Camera
from real2sim.silhouette import looking_at
from real2sim.splats.start import start_from_points
from real2sim.twin.bundle import Beginning, Twin, load_twin, save_twin, twin_sha256
from real2sim.twin.color import ColorResponse
from real2sim.twin.mesh import Mesh
from real2sim.twin.objects import Guess, TwinObject
from real2sim.twin.render import Look
from real2sim.twin.support import SupportPlane


def some_twin() -> Twin:
    rng = np.random.default_rng(0)
    points, colors = rng.normal(size=(9, 3)), rng.random((9, 3))
    mesh = Mesh(rng.normal(size=(4, 3)), np.array([[0, 1, 2], [0, 2, 3], [0, 3, 1], [1, 3, 2]]))
    thing = TwinObject("object_1", np.eye(4), np.full(3, 0.1), mesh, (mesh,), Guess(1, 0.5, 2), Guess(0.7, 0.4, 1.1))
    camera = Camera(16, 12, 20.0, 20.0, 8.0, 6.0, looking_at(np.array([1.0, 1, 1]), np.zeros(3)))
    return Twin(
        background=start_from_points(points, colors, degree=1),
        objects=(thing,),
        splats={"object_1": start_from_points(points[:5], colors[:5], degree=1)},
        plane=SupportPlane(np.array([0.0, 0, 1]), 0.01, rng.random((5, 2)), 0.0, 0.5),
        exterior={"exterior_1": camera},
        wrist=camera,
        beginning=Beginning(np.arange(7.0), 0.25, "put the can down", 5.0, "panda", "episode-1"),
        robot_colors={"#e5e5e5": (0.1, 0.2, 0.3)},
        looks={"wrist": Look(scene=ColorResponse((1.0, 0.9, 0.8), (0.1, 0.0, -0.1)))},
        origin={"episode": "episode-1"},
    )


def test_a_twin_is_read_as_it_was_saved(tmp_path: Path) -> None:
    twin = some_twin()
    save_twin(tmp_path, twin)
    read = load_twin(tmp_path)
    assert read.cameras == twin.cameras == ("exterior_1", "wrist")
    assert torch.allclose(read.background.means, twin.background.means)
    assert torch.allclose(read.splats["object_1"].harmonics, twin.splats["object_1"].harmonics)
    assert np.array_equal(read.objects[0].mesh.vertices, twin.objects[0].mesh.vertices)
    assert len(read.objects[0].parts) == 1
    assert read.objects[0].mass == twin.objects[0].mass
    assert np.array_equal(read.plane.outline, twin.plane.outline)
    assert np.array_equal(read.exterior["exterior_1"].camera_to_base, twin.exterior["exterior_1"].camera_to_base)
    assert read.looks == twin.looks
    assert read.robot_colors == twin.robot_colors
    assert np.array_equal(read.beginning.joint_position, twin.beginning.joint_position)
    assert read.beginning.instruction == "put the can down"
    assert np.isnan(read.servo.residual)
    assert len(twin_sha256(tmp_path)) == 64


def test_a_folder_without_its_manifest_is_no_twin(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="holds no twin"):
        load_twin(tmp_path)


def test_a_file_that_was_changed_is_refused(tmp_path: Path) -> None:
    save_twin(tmp_path, some_twin())
    with (tmp_path / "background.ply").open("ab") as file:
        file.write(b"x")
    with pytest.raises(InvalidInput, match="is not the file"):
        load_twin(tmp_path)


def test_a_manifest_cannot_name_files_outside_its_folder(tmp_path: Path) -> None:
    save_twin(tmp_path, some_twin())
    manifest = json.loads((tmp_path / "twin.json").read_text())
    for files in ({"../secret": "0"}, {}):
        (tmp_path / "twin.json").write_text(json.dumps({**manifest, "files": files}))
        with pytest.raises(InvalidInput, match="does not name its files"):
            load_twin(tmp_path)
    manifest["objects"][0]["name"] = "../secret"
    (tmp_path / "twin.json").write_text(json.dumps(manifest))
    with pytest.raises(InvalidInput, match="no file names"):
        load_twin(tmp_path)


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("beginning", "joint_position", [float("nan")] * 7),
        ("beginning", "fps", 0.0),
        ("wrist", "cx", float("nan")),
        ("wrist", "width", 10**6),
        ("wrist", "fx", float("inf")),
    ],
)
def test_numbers_that_no_twin_has_are_refused(tmp_path: Path, part: str, key: str, value: object) -> None:
    save_twin(tmp_path, some_twin())
    manifest = json.loads((tmp_path / "twin.json").read_text())
    manifest[part][key] = value
    (tmp_path / "twin.json").write_text(json.dumps(manifest))
    with pytest.raises(InvalidInput, match=r"finite|1 to 16384"):
        load_twin(tmp_path)


@pytest.mark.parametrize("color", [[0.1, 0.2], [0.1, 0.2, 2.0], [0.1, 0.2, float("nan")], "red"])
def test_what_is_no_colour_is_refused(tmp_path: Path, color: object) -> None:
    save_twin(tmp_path, some_twin())
    manifest = json.loads((tmp_path / "twin.json").read_text())
    manifest["robot_colors"] = {"#e5e5e5": color}
    (tmp_path / "twin.json").write_text(json.dumps(manifest))
    with pytest.raises(InvalidInput, match="cannot be read"):
        load_twin(tmp_path)


def test_a_broken_manifest_is_one_line(tmp_path: Path) -> None:
    save_twin(tmp_path, some_twin())
    manifest = json.loads((tmp_path / "twin.json").read_text())
    del manifest["plane"]
    (tmp_path / "twin.json").write_text(json.dumps(manifest))
    with pytest.raises(InvalidInput, match="cannot be read") as refusal:
        load_twin(tmp_path)
    assert "\n" not in str(refusal.value)
