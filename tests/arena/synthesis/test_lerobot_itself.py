"""Exports in the hands of others: the `lerobot` package reads them, `lerobot-doctor` passes them.

lerobot wants an older torch than ours, so it gets an environment of its own, made here, or the one that
DREAMARENA_TEST_LEROBOT names (its python). 0.4 reads v3.0; 0.3 is the last that reads v2.1, which is what openpi uses.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from arena.synthesis.export import ExportSpec, Trajectory, export_dataset
from tests.arena.synthesis.making import droid, origin, trajectory

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

READS = Path(__file__).with_name("lerobot_reads.py")
ALONE = (f"torch=={torch.__version__}", "torchvision==0.25.0", "lerobot==0.4.4", "accelerate", "psutil", "safetensors")
"""Without what they would bring: CUDA by the gigabyte, robots' drivers, and other versions of each other."""
WHOLE = (
    "lerobot-doctor==0.2.0", "datasets>=4,<5", "av>=15,<16", "huggingface-hub>=0.34.2,<0.36", "draccus==0.10.0",
    "deepdiff", "einops", "jinja2", "jsonlines", "networkx", "packaging", "pillow", "sympy", "termcolor",
)  # fmt: skip
BEFORE = ("lerobot==0.3.3", "datasets==3.6.0")
"""The last that reads v2.1, put before the others on the path."""
LENGTHS = (24, 20, 31)
VARIABLE = "DREAMARENA_TEST_LEROBOT"


@dataclass(frozen=True)
class Lerobot:
    """An interpreter with lerobot 0.4, and a folder with what makes it 0.3."""

    python: Path
    before: Path

    def run(self, *arguments: str, before: bool = False) -> subprocess.CompletedProcess[str]:
        """With no way to a hub, and a home of its own."""
        env = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
        env |= {"HOME": str(self.before.parent), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        env |= {"PYTHONPATH": str(self.before)} if before else {}
        return subprocess.run([str(self.python), *arguments], capture_output=True, text=True, env=env, timeout=600)


@pytest.fixture(scope="module")
def lerobot(tmp_path_factory: pytest.TempPathFactory) -> Lerobot:
    folder = tmp_path_factory.mktemp("lerobot")
    python = Path(os.environ.get(VARIABLE, folder / "venv" / "bin" / "python"))
    before = folder / "before"
    try:
        if VARIABLE not in os.environ:
            subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True, timeout=300)
            _install(python, "--no-deps", *ALONE)
            _install(python, *WHOLE)
        _install(python, "--no-deps", "--target", str(before), *BEFORE)
    except subprocess.SubprocessError as error:
        pytest.skip(f"no environment for lerobot could be made here: {error} {getattr(error, 'stderr', '')}"[:800])
    return Lerobot(python, before)


def _install(python: Path, *what: str) -> None:
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *what]
    subprocess.run(pip, check=True, capture_output=True, text=True, timeout=1500)


def read(lerobot: Lerobot, root: Path, out: Path, before: bool = False) -> tuple[dict[str, Any], Mapping[str, Any]]:
    """What lerobot says of a dataset, and its numbers by feature, a row for each frame."""
    done = lerobot.run(str(READS), str(root), str(out), before=before)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1]), np.load(out)


def diagnosed(lerobot: Lerobot, root: Path) -> set[str]:
    """Which of lerobot-doctor's checks warn. It exits with 0 where none failed."""
    done = lerobot.run("-m", "lerobot_doctor.cli", "check", str(root), "--json")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    checks = json.loads(done.stdout)["checks"]
    assert len(checks) == 11
    return {check["name"] for check in checks if check["severity"] != "PASS"}


def same_frames(found: np.ndarray, wanted: Sequence[np.ndarray]) -> None:
    """Frames `(N, 3, H, W)` in [0, 1] are those that were encoded: any frame's neighbour would be much further off."""
    frames = np.concatenate(list(wanted))
    shown = 255 * found.transpose(0, 2, 3, 1)
    assert shown.shape == frames.shape
    off = np.abs(shown - frames).mean(axis=(1, 2, 3))
    assert off.max() < 4
    neighbours = np.abs(shown[1:] - frames[:-1]).mean(axis=(1, 2, 3))
    assert (off[1:] < 0.6 * neighbours).all()


@pytest.mark.parametrize("limits", [{"data": 100, "video": 200}, {"data": 0.001, "video": 0.01}], ids=["one", "many"])
def test_v30_is_read_by_lerobot_as_what_was_written(lerobot: Lerobot, tmp_path: Path, limits: dict[str, float]) -> None:
    made = [trajectory(seed, frames) for seed, frames in enumerate(LENGTHS)]
    made[2] = trajectory(2, LENGTHS[2], origin=origin(2, synthetic=False, world="", judge="", policy=""))
    root = export_dataset(tmp_path / "out", made, ExportSpec(limits_mb=limits)).path
    facts, numbers = read(lerobot, root, tmp_path / "read.npz")
    assert facts["version"] == "v3.0"
    assert (facts["episodes"], facts["frames"], facts["fps"]) == (3, sum(LENGTHS), 10)
    assert facts["episode_of_row"] == [index for index, length in enumerate(LENGTHS) for _ in range(length)]
    assert facts["said"] == [each.instruction for each in made for _ in range(len(each))]
    _same(numbers, made, {"observation.state": lambda each: each.state, "action": lambda each: each.action.values})
    for camera in made[0].cameras:
        same_frames(numbers[f"observation.images.{camera}"], [each.cameras[camera].read() for each in made])
    actions = np.concatenate([each.action.values for each in made])
    stats = facts["stats"]["action"]
    np.testing.assert_allclose(stats["mean"], actions.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(stats["std"], actions.std(axis=0), atol=1e-5)
    np.testing.assert_allclose(stats["max"], actions.max(axis=0), atol=1e-5)
    # Nothing is wrong but that the episodes are short for policies that commit to 50 actions.
    assert diagnosed(lerobot, root) == {"Episode Health"}


def test_openpis_v21_is_read_by_lerobot_as_what_was_written(lerobot: Lerobot, tmp_path: Path) -> None:
    made = [droid(seed, frames) for seed, frames in enumerate(LENGTHS)]
    spec = ExportSpec("openpi-v2.1", "pi05_droid_finetune")
    root = export_dataset(tmp_path / "out", made, spec).path
    facts, numbers = read(lerobot, root, tmp_path / "read.npz", before=True)
    assert facts["version"] == "v2.1"
    assert (facts["episodes"], facts["frames"], facts["fps"]) == (3, sum(LENGTHS), 15)
    assert facts["cameras"] == ["exterior_image_1_left", "exterior_image_2_left", "wrist_image_left"]
    assert facts["said"] == [each.instruction for each in made for _ in range(len(each))]

    def commanded(each: Trajectory) -> np.ndarray:
        values = each.action.values
        return np.concatenate([values[:, :7] / spec.velocity_scale, values[:, 7:]], axis=1)

    own = {"joint_position": lambda each: each.joint_position, "actions": commanded}
    _same(numbers, made, own)
    # A feature of one number comes as a scalar, which openpi's own input transform expects.
    np.testing.assert_allclose(numbers["gripper_position"], np.concatenate([e.state[:, 6] for e in made]), atol=1e-6)
    same_frames(numbers["wrist_image_left"], [each.cameras["wrist"].read() for each in made])
    diagnosed(lerobot, root)


def _same(numbers: Mapping[str, Any], made: Sequence[Trajectory], wanted: Mapping[str, Any]) -> None:
    for name, of in wanted.items():
        np.testing.assert_allclose(numbers[name], np.concatenate([of(each) for each in made]), atol=1e-6, err_msg=name)
