"""The command line: answers on stdout, everything else on stderr, and one line for whatever is wrong."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.arena.policies.groot_server import serving
from tests.workers.dots import write_dataset
from workers.cli import main
from workers.cli.session import Session

START_SECONDS = 1.5
pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data") / "dots", count=3)


BAD_INPUT = [
    ("", "Expected one of"),
    ("ingets", "Unrecognized options: ingets"),
    ("ingest", "PATH"),
    ("ingest nowhere", "nowhere does not exist"),
    ("ingest . --json", "nothing at or below"),
    ("ingest . --layout nowhere.toml", "nowhere.toml does not exist"),
    ("record --out out --tasks no-such-task", "no-such-task"),
    ("record --out out --episodes 0", "at least 1"),
    ("record --out out --episodes many", "many"),
    ("evaluate --world nowhere --policies hold --episodes .", "nowhere"),
    ("evaluate --world metaworld --policies hold --episodes nowhere", "nowhere does not exist"),
    ("evaluate --world metaworld --policies hodl --episodes DATASET", "unknown policy 'hodl'"),
    ("evaluate --world metaworld --policies hold hold --episodes DATASET", "occurs more than once"),
    ("evaluate --world metaworld --policies hold --episodes DATASET --judge vlm", "vlm"),
    ("evaluate --world metaworld --policies bc:nowhere --episodes DATASET", "nowhere"),
    ("leaderboard", "no finished evaluation"),
    ("leaderboard nonesuch", "no evaluation 'nonesuch'"),
    ("policy", "Expected one of"),
    ("policy probe http://example.org", "http"),
    ("policy probe openpi://127.0.0.1:1 --json", "127.0.0.1:1"),
    ("policy probe openpi://127.0.0.1:1 --action-space sideways", "no action space 'sideways'"),
    ("policy list --verbose", "Unrecognized options: --verbose"),
    ("worldmodel train --episodes nowhere --out out", "nowhere does not exist"),
    ("worldmodel train --episodes DATASET --out out --preset huge", "huge"),
    ("worldmodel train --episodes DATASET --out out --batch 0", "at least 1"),
    ("worldmodel replay --world nowhere --episodes DATASET", "nowhere does not exist"),
    ("worldmodel replay --world DATASET --episodes DATASET", "dots"),
    ("worldmodel import --checkpoint nowhere.pt --svd nowhere --out out", "nowhere"),
    ("worldmodel parity --golden nowhere --json", "nowhere"),
    ("synth --policy hold --out out --format hdf5 --task reach-v3", "no format 'hdf5', only lerobot, openpi"),
    ("synth --policy hold --out out", "name a --task"),
    ("synth --policy hold --out out --task no-such-task", "no-such-task"),
    ("synth --policy openpi://localhost:1 --out out --episodes DATASET", "must declare action_space"),
    ("synth --policy hold --out out --episodes nowhere", "nowhere does not exist"),
    ("synth --policy hold --out out --task reach-v3 --noises 9", "noise must be from 0 to 0.5 m, not 9"),
    ("synth --policy hold --out out --task reach-v3 --count 0", "at least one trajectory"),
    ("synth --policy hold --out out --episodes DATASET --format openpi", "holds joint_velocity or joint_position"),
    ("policy finetune hold --episodes DATASET --out out", "only cloned policies"),
    ("policy finetune bc:nowhere --episodes DATASET --out out", "nowhere"),
    ("policy finetune bc:DATASET --episodes DATASET", "--out FOLDER"),
    ("policy finetune openpi --episodes DATASET", "openpi reads LeRobot v2.1"),
    ("worker", "DREAMARENA_BROKER_URL"),
    ("worker --loglevel LOUD", "LOUD"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD_INPUT, ids=[arguments for arguments, _ in BAD_INPUT])
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: str, message: str, dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(dataset) if word == "DATASET" else word for word in arguments.split()]) == 2
    out, err = capsys.readouterr()
    complaints = [line for line in err.splitlines() if line.startswith("dreamarena: ")]
    assert out == ""
    assert len(complaints) == 1
    assert err.splitlines()[-1] == complaints[0]
    assert message in complaints[0]
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("name", "value"),
    [("BROKER_URL", "kafka://x"), ("DATABASE_URL", "mysql://x/y"), ("ARTIFACTS", "nosuch://x")],
)
def test_a_bad_setting_is_named(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(f"DREAMARENA_{name}", value)
    assert main(["leaderboard"]) == 2
    assert value.partition(":")[0] in capsys.readouterr().err


def test_a_broker_that_does_not_answer_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], dataset: Path
) -> None:
    monkeypatch.setenv("DREAMARENA_BROKER_URL", "redis://127.0.0.1:1/0")
    assert main(["ingest", str(dataset)]) == 2
    err = capsys.readouterr().err
    assert err.splitlines()[-1].startswith("dreamarena: cannot reach the broker redis://")
    assert "127.0.0.1:1/0" in err


def test_json_is_all_that_reaches_stdout(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        assert main(["ingest", str(dataset), "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert [episode["id"] for episode in found["episodes"]] == ["episode-0", "episode-1", "episode-2"]
        assert found["refused"] == []
    assert main(["ingest", str(dataset)]) == 0
    assert "3 episodes, 0 refused" in capsys.readouterr().out


def test_a_damaged_episode_is_refused_and_the_others_are_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_dataset(tmp_path / "dots", count=3)
    film = sorted(root.glob("videos/**/*.mp4"))[1]
    film.write_bytes(film.read_bytes()[:200])
    assert main(["ingest", str(root), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["episodes"]) == 2
    assert len(found["refused"]) == 1
    assert film.name in found["refused"][0]["reason"]


def test_the_shared_recordings_are_ingested(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ingest", str(shared / "data" / "droid"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    # One recording's videos really are a frame longer than its states, and it is the only one refused.
    assert (len(found["episodes"]), len(found["refused"])) == (12, 1)
    assert found["refused"][0]["path"].endswith("0006.json")
    assert "LengthMismatch" in found["refused"][0]["reason"]
    assert all(len(episode["cameras"]) == 3 for episode in found["episodes"])


def test_an_interruption_says_how_to_go_on(
    dataset: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(self: Session, requests: Sequence[object]) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Session, "run", interrupt)
    assert main(["ingest", str(dataset)]) == 130
    assert "run the same command again to resume" in capsys.readouterr().err


def test_a_bug_is_not_hidden(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_down(self: Session, requests: Sequence[object]) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Session, "run", break_down)
    with pytest.raises(ZeroDivisionError):
        main(["ingest", str(dataset)])


def test_a_probe_ends_with_how_to_submit(capsys: pytest.CaptureFixture[str], dataset: Path) -> None:
    from tests.workers.test_submission import follower

    with serving(follower(lambda pose: pose)) as port:
        command = ["policy", "probe", f"groot://127.0.0.1:{port}?control_hz=10&image_size=16x16", "--calls", "2"]
        assert main([*command, "--episodes", str(dataset)]) == 0
        told = capsys.readouterr().out
        assert main([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    submit_as = f"groot://127.0.0.1:{port}?control_hz=10&image_size=16x16&action_space=cartesian_position&chunk=4"
    assert found["submit_as"] == submit_as
    assert told.splitlines()[-1] == f"submit as: {submit_as}"
    assert "in episode-0@0-" in told
    assert "agreement 1" in told


def test_no_policies_are_an_empty_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"policies": []}


def test_help_is_quick_and_loads_nothing_heavy() -> None:
    program = (
        "import sys; from workers.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'sqlalchemy', 'celery', 'scipy', 'av', 'pyarrow', 'mujoco'} & set(sys.modules)))"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "leaderboard" in done.stdout
    # Processor time, because wall time is that of whatever else the machine does.
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < START_SECONDS


def test_a_python_process_ends_with_the_commands_exit_code(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; from workers.cli import main; sys.exit(main())", "ingest", "nowhere"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "dreamarena: nowhere does not exist\n"
