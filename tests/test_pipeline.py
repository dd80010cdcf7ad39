"""The whole way, by the commands that a user types: record, ingest, train, replay, evaluate, leaderboard, report.

The model is the `tiny` preset after a handful of steps: what it imagines is mud, but every part is the real one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from workers.cli import main

TASK = "drawer-open-v3"
POLICIES = ("replay", "hold", "reverse")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """`run(*words)` is `dreamarena WORDS --json` in an empty home, and returns what it printed."""
    monkeypatch.chdir(tmp_path)
    for name in ("BROKER_URL", "DATABASE_URL", "ARTIFACTS"):
        monkeypatch.delenv(f"DREAMARENA_{name}", raising=False)
    monkeypatch.setenv("DREAMARENA_HOME", str(tmp_path / "home"))

    def call(*words: str) -> dict[str, Any]:
        code = main([*words, "--json"])
        printed = capsys.readouterr()
        assert code == 0, printed.err
        answer: dict[str, Any] = json.loads(printed.out)
        return answer

    return call


@pytest.mark.timeout(600)
def test_from_robot_video_to_a_ranked_leaderboard(run: Any, tmp_path: Path) -> None:
    # A robot that no one here wrote is recorded, and its videos are read back.
    assert run("record", "--out", "videos", "--tasks", TASK, "--episodes", "8", "--seed", "5")["recorded"] == 8
    read = run("ingest", "videos")
    assert len(read["episodes"]) == 8
    assert read["refused"] == []
    assert {tuple(sorted(e["cameras"])) for e in read["episodes"]} == {("exterior_1", "exterior_2", "wrist")}
    assert any(e["success"] for e in read["episodes"])
    assert not all(e["success"] for e in read["episodes"])

    # A world model is trained on them and on a second recording, and replays them.
    assert run("record", "--out", "more", "--tasks", TASK, "--episodes", "2", "--seed", "6")["recorded"] == 2
    steps = ("--steps", "3", "--batch", "2", "--autoencoder-steps", "6", "--autoencoder-batch", "4")
    steps += ("--tracker-steps", "10")
    trained = run("worldmodel", "train", "--episodes", "videos", "more", "--out", "world", *steps)
    assert trained["episodes"] == 10
    replay = ("worldmodel", "replay", "--world", "world", "--episodes", "videos", "--seconds", "0.25")
    fidelity = run(*replay, "--limit", "2", "--sampler-steps", "1")["fidelity"]
    assert {row["view"] for row in fidelity} == {"all", "exterior_1", "exterior_2", "wrist"}
    assert all({"model", "copy", "wrong_action", "ceiling"} == set(row["psnr"]) for row in fidelity)

    # Policies act in it, a judge looks, and they are ranked; the second time, nothing is left to do.
    evaluate = ("evaluate", "--policies", *POLICIES, "--episodes", "videos", "--scenes", "2")
    imagined = (*evaluate, "--world", "world", "--steps", "6", "--sampler-steps", "1", "--labelled", "2")
    ranking = run(*imagined)
    assert {policy["policy"] for policy in ranking["policies"]} == set(POLICIES)
    assert all(policy["rollouts"] == 2 for policy in ranking["policies"])
    films = sorted((tmp_path / "home").rglob("exterior_1.mp4"))
    times = [film.stat().st_mtime_ns for film in films]
    assert len(films) == 6
    assert run(*imagined) == ranking
    assert [film.stat().st_mtime_ns for film in films] == times
    assert run("leaderboard") == ranking

    # The same policies in the stand-in reality, which knows the truth, and both in one report.
    truth = run(*evaluate, "--world", "metaworld", "--steps", "30")
    by_name = {policy["policy"]: policy for policy in truth["policies"]}
    assert by_name["replay"]["successes"] == 2
    assert by_name["hold"]["successes"] == by_name["reverse"]["successes"] == 0
    assert truth["policies"][0]["policy"] == "replay"
    report = run("report", ranking["evaluation"], "--truth", truth["evaluation"], "--out", "report")
    page = Path(report["report"]).read_text()
    assert all(policy in page for policy in POLICIES)
    assert len(list((tmp_path / "report" / "videos").glob("*.mp4"))) == 6
