"""`dreamarena rank`: from CSV files to JSON and a table."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import spearmanr

from tests.arena.ranking.simulating import Crowd
from workers.cli import main

REPOSITORY = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.usefixtures("home")
HEADER = "left,right,winner,worker,scene,source\n"
PLACE = {"name", "score", "low", "high", "rank_low", "rank_high", "votes", "group"}
Run = Callable[..., dict[str, Any]]


@pytest.fixture
def votes(tmp_path: Path) -> Path:
    return write(tmp_path / "people.csv", Crowd((-1.0, 0.0, 0.5, 1.5), voters=40, each=20))


def write(path: Path, crowd: Crowd, seed: int = 0) -> Path:
    ballots = crowd.votes(seed)
    words, names = ("left", "right", "tie"), ballots.policies
    rows = [
        f"{names[a]},{names[b]},{words[c]},v{v},s{n % 9},{'judge' if v % 2 else 'human'}\n"
        for n, (a, b, c, v) in enumerate(
            zip(ballots.left, ballots.right, ballots.choice, ballots.voter.codes, strict=True)
        )
    ]
    path.write_text(HEADER + "".join(rows))
    return path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command with `--json` and returns what is on stdout: JSON without NaN, and nothing else."""

    def rank(*arguments: object) -> dict[str, Any]:
        assert main(["rank", *map(str, arguments), "--json"]) == 0
        found: dict[str, Any] = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
        return found

    return rank


def test_the_json_is_as_documented(run: Run, votes: Path) -> None:
    found = run(votes)
    policies = found["policies"]
    assert [policy["name"] for policy in policies] == ["p3", "p2", "p1", "p0"]
    for policy in policies:
        assert set(policy) >= PLACE
        assert policy["low"] < policy["score"] < policy["high"]
        assert policy["anytime"]["low"] < policy["low"]
        assert policy["rank_low"] <= policy["rank_high"]
        assert policy["group"] == 1
        assert policy["to_change"]["votes"] > 0
    assert sum(policy["votes"] for policy in policies) == 2 * found["votes"] == 1600
    assert 0 < found["left_bias"]["low"] < found["left_bias"]["logits"] < found["left_bias"]["high"] < 1
    assert found["groups"] == [["p0", "p1", "p2", "p3"]]
    assert (found["clustered_by"], found["clusters"]) == ("voter", 40)
    assert {swap["upper"] for swap in found["swaps"]} == {"p3", "p2", "p1"}
    assert found["sha256"] == hashlib.sha256(votes.read_bytes()).hexdigest()
    assert found == run(votes)


def test_real_votes_agree_with_the_reference(run: Run, shared: Path) -> None:
    folder = shared / "data" / "votes"
    with (folder / "llmfao-golden.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["algorithm"] == "bradley_terry"]
    found = run(folder / "llmfao.csv", "--quick")
    scores = {policy["name"]: policy["score"] for policy in found["policies"]}
    assert len(scores) == len(rows) == 59
    assert spearmanr([scores[row["item"]] for row in rows], [float(row["score"]) for row in rows]).statistic > 0.998
    assert found["votes"] == 8931
    assert found["swaps"] == []


def test_all_that_can_be_asked(run: Run, votes: Path, tmp_path: Path) -> None:
    judge = write(tmp_path / "judge.csv", Crowd((-1.0, 0.0, 0.5, 1.5), voters=40, each=20), seed=7)
    trials = tmp_path / "trials.csv"
    outcomes = "".join(f"p{i},t,s{n},0,{int(n < 5 * i)}\n" for i in range(4) for n in range(20))
    trials.write_text("policy,task,scene,seed,success\n" + outcomes)
    found = run(
        votes, "--beside", judge, "--trials", trials, "--bootstrap", 100, "--covariates", "source", "--cluster", "vote"
    )
    assert found["agreement"]["spearman"]["value"] > 0.7
    assert found["agreement"]["votes"]["compared"] > 50
    assert found["beside"]["sha256"] == hashlib.sha256(judge.read_bytes()).hexdigest()
    assert [rate["policy"] for rate in found["success"]] == ["p3", "p2", "p1", "p0"]
    assert [rate["successes"] for rate in found["success"]] == [15, 10, 5, 0]
    assert {level["value"] for level in found["left_bias"]["levels"]} == {"human", "judge"}
    assert found["clusters"] == 800
    for policy in found["policies"]:
        assert policy["bootstrap"]["low"] < policy["score"] < policy["bootstrap"]["high"]


def test_the_undefeated_and_the_unconnected_come_out_as_such(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "votes.csv"
    best = [f"best,{other},left,w{n}\n{other},best,right,w{n}\n" for n in range(30) for other in ("b", "c")]
    rest = [f"b,c,{'left' if n % 2 else 'right'},w{n}\nc,b,{'left' if n % 2 else 'right'},w{n}\n" for n in range(30)]
    apart = [f"x,y,{'left' if n % 3 else 'right'},w{n}\ny,x,{'left' if n % 2 else 'tie'},w{n}\n" for n in range(30)]
    path.write_text("left,right,winner,worker\n" + "".join([*best, *rest, *apart]))
    found = run(path)
    policies = {policy["name"]: policy for policy in found["policies"]}
    assert policies["best"]["note"] == "never lost"
    assert policies["best"]["high"] is None
    assert policies["best"]["low"] > max(policies[name]["high"] for name in "bc")
    assert policies["best"]["score"] < 20
    assert found["groups"] == [["b", "best", "c"], ["x", "y"]]
    assert [policies[name]["group"] for name in ("best", "b", "x", "y")] == [1, 1, 2, 2]
    assert (policies["best"]["rank_low"], policies["best"]["rank_high"]) == (1, 3)
    assert policies["x"]["rank_low"] == 1
    assert policies["y"]["rank_high"] == 5
    assert any("2 groups of policies never met" in note for note in found["notes"])


def test_without_json_it_is_for_people(
    votes: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    votes.write_text(votes.read_text().replace("p0", "[red]"))
    assert main(["rank", str(votes), "--beside", str(votes)]) == 0
    out = capsys.readouterr().out
    assert "[red]" in out
    assert "Spearman ρ  1.000" in out
    assert "note: errors clustered by voter" in out
    assert max(map(len, out.splitlines())) <= 100


def test_the_documented_example_is_what_it_prints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(REPOSITORY / "docs" / "examples", tmp_path / "docs" / "examples")
    monkeypatch.setenv("COLUMNS", "110")
    page = (REPOSITORY / "docs" / "ranking-votes.md").read_text()
    command, shown = re.findall(r"```sh\ndreamarena (.*?)\n```\n\n```\n(.*?)```", page, re.DOTALL)[0]
    assert main(command.split()) == 0
    printed = [line.rstrip() for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert printed == [line.rstrip() for line in shown.splitlines() if line.strip()]


BAD = {
    "gone.csv": (None, "gone.csv does not exist"),
    "empty.csv": ("", "empty.csv is empty: the first line must name the columns left,right,winner,worker"),
    "winner.csv": (
        HEADER + "a,b,me,u,,\n",
        "winner.csv, line 2: winner must be left, right, tie or both_bad, not 'me'",
    ),
    "self.csv": (HEADER + "a,a,left,u,,\n", "self.csv, line 2: 'a' is compared with itself"),
    "two.csv": (HEADER + "a,b,left,u,,\n", "only 2 policies are comparable on both sides"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_and_exit_code_2(
    name: str, votes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content, message = BAD[name]
    if content is not None:
        (tmp_path / name).write_text(content)
    path = tmp_path / name
    assert main(["rank", str(path), *(["--beside", str(path)] if name == "two.csv" else [])]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("dreamarena: ")
    assert err.count("\n") == 1
    assert message in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--covariates robot", "no column robot"),
        ("--covariates winner", "no covariate"),
        ("--bootstrap 5", "at least 100 draws"),
        ("--cluster robot", "robot"),
    ],
)
def test_what_cannot_be_asked_is_named(
    arguments: str, message: str, votes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["rank", str(votes), *arguments.split()]) == 2
    assert message in capsys.readouterr().err


def test_without_scenes_they_cannot_be_clusters(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "votes.csv"
    path.write_text("left,right,winner,worker\na,b,left,u\nb,a,left,v\n")
    assert main(["rank", str(path), "--cluster", "scene"]) == 2
    assert f"the votes have no column scene{os.linesep}" in capsys.readouterr().err
