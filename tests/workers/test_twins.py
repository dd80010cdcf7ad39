"""The command line of twins, on a small one."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arena.contracts import ActionSpace, Episode, InvalidInput
from arena.episodes.lerobot_writer import LeRobotWriter
from real2sim.twin.bundle import save_twin
from tests.real2sim.twin.small import make_small_twin
from tests.workers.dots import write_dataset
from workers.cli import main
from workers.evaluation import Dataset
from workers.jobs import Context, Request
from workers.runner import run_jobs
from workers.steps.reconstruct import ReconstructInputs, TwinSettings
from workers.tasks import STEPS

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("twins") / "one"
    save_twin(folder, make_small_twin())
    return folder


def test_a_suite_is_made_and_policies_are_compared_in_it(
    twin: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suite, out = tmp_path / "suite", tmp_path / "out"
    assert main(f"twin perturb {twin} --out {suite} --axes camera object_pose --each 1 --json".split()) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["twins"] == ["episode-1", "episode-1+camera-0", "episode-1+object_pose-0"]
    assert "5 cm" in made["ranges"]["camera"]
    assert main(f"twin rollout {suite} --policies hold --steps 3 --out {out} --json".split()) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["trials"] == 3
    assert found["failed"] == []
    assert [change["axis"] for change in found["changes"]] == ["camera", "object_pose"]
    assert all(abs(change["path_cm"]["change"]) < 0.5 for change in found["changes"])
    listed = json.loads((out / "rollouts.json").read_text())
    assert sorted(each["twin"] for each in listed) == sorted(made["twins"])
    assert all((out / each["film"]).stat().st_size > 500 for each in listed)
    assert all(len(each["provenance"]["world"]) == 64 for each in listed)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("twin", "Expected one of"),
        ("twin build nowhere --out OUT", "nowhere does not exist"),
        ("twin build nowhere --out OUT --filmed-as wide", "is no shape"),
        ("twin build nowhere --out OUT --focal wrist", "is no focal length"),
        ("twin build nowhere --out OUT --generator blocks", "needs the masks of a segmenter"),
        ("twin build nowhere --out OUT --cameras TWIN/twin.json", "tells of no cameras"),
        ("twin build nowhere --out OUT --seed -1", "--seed -1 is no seed"),
        ("twin view nowhere", "holds no twin"),
        ("twin view TWIN --port 700000", "700000 is no port"),
        ("twin view TWIN --host 192.0.2.1", "192.0.2.1 is no address of this machine"),
        ("twin perturb TWIN --out OUT --axes colour", "no axis 'colour'"),
        ("twin perturb TWIN --out OUT --each 0", "at least one"),
        ("twin perturb TWIN --out OUT --strength 2", "between 0 and 1"),
        ("twin perturb TWIN --out OUT --seed -1", "is no seed"),
        ("twin perturb TWIN --out TWIN", "holds twins already"),
        ("twin rollout nowhere --policies hold --out OUT", "holds no twin"),
        ("twin rollout TWIN --policies hodl --out OUT", "unknown policy 'hodl'"),
        ("twin rollout TWIN --policies hold --out OUT --judge nobody", "no judge 'nobody'"),
        ("twin rollout TWIN --policies hold --out OUT --seeds 0", "at least one seed"),
        ("twin rollout TWIN --policies hold --out OUT --batch 0", "one trial a batch"),
        ("twin replay TWIN nowhere --out OUT/film.mp4", "nowhere does not exist"),
    ],
)
def test_bad_input_gets_one_clear_line(
    command: str, message: str, twin: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = command.replace("TWIN", str(twin)).replace("OUT", str(tmp_path / "out")).split()
    assert main(words) != 0
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.out == ""
    assert "Traceback" not in printed.err


def test_a_twin_is_made_by_a_job_once_and_again_when_it_is_gone(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which gates it passes belongs to tests of `real2sim`: here a twin that takes no time."""
    from real2sim import reconstruct as build
    from real2sim.cameras.gates import Gate

    made: list[str] = []
    gate = Gate("scene", "PSNR of views held out, dB", 30.0, 20.0, True, "")

    def quick(episode: Episode, out: Path, settings: build.BuildSettings, *, code: str, report: Any) -> build.Built:
        made.append(episode.id)
        out.mkdir(parents=True, exist_ok=True)
        report("scene: 30 dB")
        built = build.Built(True, "", (gate,), {"scene": 1.0}, ("cup",), {"psnr": 30.0})
        (out / build.REPORT).write_text(json.dumps(built.facts()))
        return built

    monkeypatch.setattr(build, "build_twin", quick)
    data = write_dataset(tmp_path / "dots", 2)
    inputs = ReconstructInputs(
        dataset=Dataset.at(data), episode="episode-1", out=str(tmp_path / "twin"),
        settings=TwinSettings(**asdict(build.BuildSettings())), code="1",
    )  # fmt: skip
    request = Request("reconstruct", inputs)
    for _ in range(2):
        assert run_jobs([request], STEPS, context) == [{"twin": inputs.out, "accepted": True, "reason": ""}]
    assert made == ["episode-1"]
    assert build.read_report(tmp_path / "twin").gates == (gate,)
    other = Request("reconstruct", inputs.model_copy(update={"episode": "episode-0"}))
    run_jobs([other], STEPS, context)
    run_jobs([request], STEPS, context)  # Another twin had gone to its folder.
    assert made == ["episode-1", "episode-0", "episode-1"]
    made = made[2:]
    shutil.rmtree(tmp_path / "twin")
    run_jobs([request], STEPS, context)
    assert made == ["episode-1"] * 2
    lost = Request("reconstruct", inputs.model_copy(update={"episode": "episode-7"}))
    with pytest.raises(InvalidInput, match="no longer holds episode-7"):
        run_jobs([lost], STEPS, context)


def recorded(data: Path, size: tuple[int, int], names: tuple[str, ...], fps: float = 5.0, robot: str = "panda") -> Path:
    """A dataset that has the small twin's episode."""
    from real2sim.robot import PandaKinematics

    joints = make_small_twin().beginning.joint_position + np.linspace(0, 0.1, 9)[:, None]
    writer = LeRobotWriter(
        data, fps=fps, cameras=dict.fromkeys(names, size), robot=robot, action_space=ActionSpace.JOINT_POSITION
    )
    film = np.random.default_rng(0).integers(0, 256, (9, *size, 3), dtype=np.uint8)
    writer.add_episode(
        "episode-1", frames=dict.fromkeys(names, film), cartesian_position=PandaKinematics().forward(joints),
        gripper_position=np.zeros((9, 1)), joint_position=joints,
        action=np.concatenate([joints, np.zeros((9, 1))], axis=1), instruction="go", success=True, task="",
        metadata={},
    )  # fmt: skip
    writer.finish()
    return data


def test_an_episode_is_replayed_in_its_twin_whatever_the_size_of_its_films(
    twin: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for size in ((30, 40), (60, 80)):
        data = recorded(tmp_path / f"{size[0]}", size, ("exterior_1", "wrist"))
        out = tmp_path / f"{size[0]}.mp4"
        assert main(f"twin replay {twin} {data} --out {out} --json".split()) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["reached_mm"] < 50
        assert sorted(found["cameras"]) == ["exterior_1", "wrist"]
        assert out.stat().st_size > 500


@pytest.mark.parametrize(
    ("film", "names", "fps", "robot", "message"),
    [
        ("film.mp4", ("other",), 5.0, "panda", "has none of the twin's cameras (exterior_1, wrist), only other"),
        ("film.mp4", ("wrist",), 10.0, "panda", "(panda, 5 frames a second), not of episode-1 (panda, 10)"),
        ("film.mp4", ("wrist",), 5.0, "sawyer", "not of episode-1 (sawyer, 5)"),
        ("film", ("wrist",), 5.0, "panda", "give one that ends in .mp4"),
    ],
)
def test_another_recording_is_not_replayed(
    film: str, names: tuple[str, ...], fps: float, robot: str, message: str, twin: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    data = recorded(tmp_path / "data", (30, 40), names, fps, robot)
    assert main(f"twin replay {twin} {data} --out {tmp_path / film}".split()) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / film).exists()


def test_what_a_build_takes_by_default_is_what_the_command_line_takes() -> None:
    from real2sim.reconstruct import BuildSettings
    from workers.cli.twin import Build

    line, settings = Build(Path("a"), Path("b")), BuildSettings()
    same = ("wrist_frames", "steps", "seed", "engine", "filmed_as")
    assert [getattr(line, name) for name in same] == [getattr(settings, name) for name in same]


def test_settings_of_a_twin_survive_a_message() -> None:
    """And are all that a build takes."""
    from real2sim.reconstruct import BuildSettings

    settings = BuildSettings(seed=3, focals=(("wrist", 183.0),), calibration={"wrist": {"fx": 183.0, "width": 320}})
    sent = TwinSettings.model_validate_json(TwinSettings(**asdict(settings)).model_dump_json())
    assert BuildSettings(**sent.model_dump()) == settings
