"""The command line of twins, on a small one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from real2sim.twin.bundle import save_twin
from tests.real2sim.twin.small import make_small_twin
from workers.cli import main

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
        ("twin view nowhere", "holds no twin"),
        ("twin perturb TWIN --out OUT --axes colour", "no axis 'colour'"),
        ("twin perturb TWIN --out OUT --each 0", "at least one"),
        ("twin perturb TWIN --out OUT --strength 2", "between 0 and 1"),
        ("twin rollout nowhere --policies hold --out OUT", "holds no twin"),
        ("twin rollout TWIN --policies hodl --out OUT", "unknown policy 'hodl'"),
        ("twin rollout TWIN --policies hold --out OUT --judge nobody", "no judge 'nobody'"),
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
