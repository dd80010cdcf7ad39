"""nerfstudio in an environment of its own: its parser reads our cameras, its export comes back as Gaussians."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from arena.contracts import InvalidInput
from real2sim.camera import Camera
from real2sim.silhouette import looking_at
from real2sim.splats.nerfstudio import OPENGL_FROM_OPENCV, PARSER_OPTIONS, Dataset, write_dataset
from real2sim.splats.ply import write_ply
from real2sim.splats.splatfacto import ENVIRONMENT, EXPORT, TRAIN, fit_with_splatfacto
from real2sim.splats.start import start_from_points
from real2sim.splats.views import View

NERFSTUDIO = ("nerfstudio==1.1.5", "jaxtyping", "wadler-lindig", "opencv-python-headless", "tensorboard")
"""The package and what else its parser imports, without the pins that it would put on the rest."""
PARSE = """
import json, sys
from pathlib import Path
from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig
config = NerfstudioDataParserConfig(
    data=Path(sys.argv[1]), orientation_method="none", center_method="none", auto_scale_poses=False,
    load_3D_points=True)
parsed = config.setup().get_dataparser_outputs("train")
cameras = parsed.cameras
print(json.dumps({
    "poses": cameras.camera_to_worlds.tolist(), "fx": cameras.fx[:, 0].tolist(), "cy": cameras.cy[:, 0].tolist(),
    "images": [str(path) for path in parsed.image_filenames], "masks": len(parsed.mask_filenames),
    "points": parsed.metadata["points3D_xyz"].tolist()}))
"""


def dataset() -> Dataset:
    rng = np.random.default_rng(0)
    views = []
    for i in range(4):
        pose = looking_at(rng.normal([2.0, 0.0, 1.0]), np.zeros(3))
        image = rng.integers(0, 255, (12, 16, 3)).astype(np.uint8)
        views.append(View(Camera(16, 12, 20.0 + i, 20.0, 8.0, 6.5, pose), image, image[..., 0] > 20, f"wrist/{i}"))
    return Dataset(views, rng.normal(size=(20, 3)), rng.random((20, 3)))


@pytest.mark.slow
def test_its_own_parser_reads_equal_cameras(tmp_path: Path) -> None:
    made = dataset()
    write_dataset(tmp_path / "data", made)
    where = tmp_path / "packages"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(where), *NERFSTUDIO]
    subprocess.run(pip, check=True, timeout=280)
    done = subprocess.run(
        [sys.executable, "-c", PARSE, str(tmp_path / "data")], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(where)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    parsed = json.loads(done.stdout.splitlines()[-1])
    wanted = [(view.camera.camera_to_base @ OPENGL_FROM_OPENCV)[:3] for view in made.views]
    np.testing.assert_allclose(parsed["poses"], wanted, atol=1e-6)
    assert parsed["fx"] == [20.0, 21.0, 22.0, 23.0]
    assert parsed["cy"] == [6.5] * 4
    assert parsed["masks"] == 4
    np.testing.assert_allclose(parsed["points"], made.points, atol=1e-5)


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `bin` folder with the two commands, which keep what they were told and export a scene."""
    rng = np.random.default_rng(1)
    write_ply(tmp_path / "scene.ply", start_from_points(rng.normal(size=(9, 3)), rng.random((9, 3)), degree=1))
    folder = tmp_path / "bin"
    folder.mkdir()
    scripts = {
        TRAIN: 'mkdir -p "$5/data/splatfacto/now" && touch "$5/data/splatfacto/now/config.yml" && echo "Step 10"',
        EXPORT: f'mkdir -p "$5" && cp {tmp_path / "scene.ply"} "$5/$7"',
    }
    for name, script in scripts.items():
        (folder / name).write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path / name}.args\n{script}\n')
        (folder / name).chmod(0o755)
    monkeypatch.setenv(ENVIRONMENT, str(folder))
    return tmp_path


def test_its_commands_are_run_and_its_scene_is_read(environment: Path) -> None:
    lines: list[str] = []
    scene = fit_with_splatfacto(dataset(), environment / "work", steps=30, seed=4, report=lines.append)
    assert len(scene) == 9
    assert lines == ["Step 10"]
    told = (environment / f"{TRAIN}.args").read_text().split()
    assert told[:2] == ["splatfacto", "--data"]
    assert told[told.index("--max-num-iterations") + 1] == "30"
    assert told[-len(PARSER_OPTIONS) :] == list(PARSER_OPTIONS)
    assert (environment / "work/data/transforms.json").is_file()


def test_what_goes_wrong_there_is_said_here(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (environment / "bin" / TRAIN).write_text("#!/bin/sh\necho no CUDA device\nexit 3\n")
    with pytest.raises(InvalidInput, match=r"ns-train failed \(3\): no CUDA device"):
        fit_with_splatfacto(dataset(), environment / "work", steps=30)
    monkeypatch.setenv(ENVIRONMENT, str(environment / "nowhere"))
    with pytest.raises(InvalidInput, match=r"no ns-train in .*nowhere: install nerfstudio 1\.1"):
        fit_with_splatfacto(dataset(), environment / "work", steps=30)
