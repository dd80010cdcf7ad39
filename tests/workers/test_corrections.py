"""`dreamarena twin correct`: from a twin and its episode to a dataset that says what it is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from arena.contracts import ActionSpace
from arena.episodes.ingest import ingest
from arena.episodes.lerobot_writer import LeRobotWriter
from arena.policies.droid import DROID_ACHIEVED_VELOCITY
from real2sim.robot import PandaKinematics
from real2sim.twin.bundle import Twin, save_twin
from tests.real2sim.twin.small import make_small_twin
from workers.cli import main

pytestmark = pytest.mark.usefixtures("home")
STEPS = 12


def write_episode(root: Path, twin: Twin) -> Path:
    """The recording that the small twin is of: the hand goes down towards the block."""
    panda, begin = PandaKinematics(), twin.beginning
    pose = np.tile(panda.forward(begin.joint_position[None]), (STEPS, 1))
    pose[:, 2] -= np.linspace(0.0, 0.15, STEPS)
    joints = panda.inverse(pose, begin.joint_position)
    names = dict.fromkeys(("exterior_1", "wrist"), (30, 40))
    writer = LeRobotWriter(root, fps=5.0, cameras=names, robot="panda", action_space=ActionSpace.CARTESIAN_POSITION)
    blank = np.zeros((STEPS, 30, 40, 3), np.uint8)
    gripper = np.zeros((STEPS, 1))
    writer.add_episode(
        begin.episode_id, frames=dict.fromkeys(names, blank), cartesian_position=pose, gripper_position=gripper,
        joint_position=joints, action=np.concatenate([np.vstack([pose[1:], pose[-1:]]), gripper], axis=1),
        instruction=begin.instruction, success=True, task=begin.task, metadata={},
    )  # fmt: skip
    writer.finish()
    return root


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A twin's folder, and the dataset with its episode."""
    folder, twin = tmp_path_factory.mktemp("corrections"), make_small_twin()
    save_twin(folder / "twin", twin)
    return folder / "twin", write_episode(folder / "episodes", twin)


def test_ways_back_become_a_dataset_that_says_what_it_is(
    made: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    twin, episodes = made
    asked = ["twin", "correct", str(twin), str(episodes), "--views", "2", "--frames", "2", "--json"]
    assert main([*asked, "--out", str(tmp_path / "out")]) == 0
    assert json.loads(capsys.readouterr().out)["episodes"] == 2
    report = ingest(tmp_path / "out")
    assert report.refused == ()
    for episode in report.episodes:
        assert len(episode) == 3
        assert episode.success is None
        told = episode.metadata
        assert (told["synthetic"], told["method"]) == (True, "SPARTN (arXiv 2301.08556)")
        assert 0 < told["metres_off"] <= 0.03
        assert told["path"] == "episode episode-1"
        assert len(told["world_sha256"]) == 64
        assert set(episode.cameras) == {"exterior_1", "wrist"}
        assert episode.cameras["wrist"].read().std() > 5  # a picture, not the recording's black
        assert episode.joint_position is not None
        np.testing.assert_allclose(
            PandaKinematics().forward(episode.joint_position)[:, :3], episode.cartesian_position[:, :3], atol=1e-4
        )
    card = (tmp_path / "out/README.md").read_text()
    assert "SPARTN" in card
    assert "Nobody judged them" in card
    assert main([*asked, "--out", str(tmp_path / "out")]) == 0  # done before: nothing to do


def test_they_become_openpis_joint_velocities(made: tuple[Path, Path], tmp_path: Path) -> None:
    twin, episodes = made
    asked = f"twin correct {twin} {episodes} --views 1 --frames 2 --format openpi --blank-cameras --out"
    assert main([*asked.split(), str(tmp_path / "out")]) == 0
    rows = pq.read_table(tmp_path / "out/data/chunk-000/episode_000000.parquet").to_pydict()
    joints, actions = np.array(rows["joint_position"]), np.array(rows["actions"])
    assert joints.shape == (3, 7)
    # Each velocity, held for a frame, leads about to the joints of the next one.
    led = joints[:-1] + actions[:-1, :7] * DROID_ACHIEVED_VELOCITY / 5.0
    assert np.abs(led - joints[1:]).max() < 0.15
    assert np.abs(joints[1:] - joints[:-1]).max() > 0.01


def test_a_policys_path_is_returned_to(
    made: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    twin, episodes = made
    asked = f"twin correct {twin} {episodes} --policy hold --steps 6 --views 1 --frames 2 --json --out"
    assert main([*asked.split(), str(tmp_path / "out")]) == 0
    assert json.loads(capsys.readouterr().out)["path"].startswith("rollout ")
    [episode] = ingest(tmp_path / "out").episodes
    assert episode.metadata["policy_sha256"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("--format zarr", "no format 'zarr'"),
        ("--frames 0", "at least one frame"),
        ("--metres 3", "up to 0.2 m"),
        ("--views 0", "at least one view"),
        ("--frames 40", "free for"),
        ("--policy hodl", "unknown policy 'hodl'"),
        ("--format openpi", "needs the camera 'exterior_2'"),
    ],
)
def test_bad_input_gets_one_clear_line_and_nothing_is_written(
    made: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], more: str, message: str
) -> None:
    twin, episodes = made
    assert main([*f"twin correct {twin} {episodes} {more} --out".split(), str(tmp_path / "out")]) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert "Traceback" not in printed.err
    assert not (tmp_path / "out").exists()
