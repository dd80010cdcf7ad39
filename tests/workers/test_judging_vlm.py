"""Judges over an endpoint and ensembles in evaluations and audits: chosen, paid for once, shown with their audit."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arena.contracts import ActionSpace, InvalidInput
from arena.episodes.lerobot_writer import LeRobotWriter
from arena.judges.vlm.failures import BudgetSpent
from tests.arena.judges.vlm.stub import Stub, scores, serve
from tests.arena.judges.vlm.test_judge import asked_frames, images
from tests.workers.dots import FPS, LENGTH, SIZE, dot_context, picture, write_dataset
from tests.workers.test_judging_learned import BlindWorkshop
from tests.workers.test_report import HOSTILE, Page
from workers import judging
from workers.audit_page import headline, render_audit
from workers.cli import main
from workers.cli.evaluate import show_ranking
from workers.evaluation import Dataset
from workers.jobs import Context, Json, Request
from workers.judge_specs import judge_spec
from workers.orchestrate import evaluate
from workers.plans import EvaluationPlan
from workers.runner import run_jobs
from workers.steps.audit_judge import AuditJudgeInputs, audit_of
from workers.tasks import STEPS

BRIGHT = 100
"""A pixel of the bar is brighter."""


@pytest.fixture(autouse=True)
def _few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("arena.judges.agreement.DRAWS", 50)


@pytest.fixture
def stub() -> Iterator[Stub]:
    """A model that sees how far to the right the bar is in the last picture, and hears nothing."""

    def answer(body: dict[str, Any]) -> str:
        if body["response_format"]["json_schema"]["name"] == "preference":
            return json.dumps({"reason": "", "better": "first"})
        columns = np.flatnonzero((images(body)[-1][:, :, 0] > BRIGHT).any(axis=0))
        way = min(1.0, float(columns.min()) / 8) if len(columns) else 0.0
        return scores([100 * way] * asked_frames(body), 1.0 if way > 0.9 else 0.05)

    with serve() as served:
        served.answer = answer
        yield served


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return replace(dot_context(tmp_path), workshop=BlindWorkshop())


def spec_file(folder: Path, stub: Stub, more: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "judge.toml"
    path.write_text(f'model = "m"\nurl = "{stub.url}"\nrepeats = 1\n{more}\n[frames]\nmax_frames = 3\n')
    return path


def ranked(context: Context, dataset: Path, judge: str) -> Json:
    def run(requests: Sequence[Request]) -> list[Json]:
        return run_jobs(requests, STEPS, context)

    plan = EvaluationPlan(world="dot", policies=("hold", "replay"), episodes=dataset, steps=8, batch=4, judge=judge)
    return evaluate(context, plan, run)


def test_an_evaluation_is_judged_by_a_model_and_paid_for_once(context: Context, stub: Stub, tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "data", 3)
    file = spec_file(tmp_path, stub)
    found = ranked(context, dataset, str(file))
    rows = {row["policy"]: row for row in found["policies"]}
    assert (rows["replay"]["successes"], rows["hold"]["successes"]) == (3, 0)
    assert (found["judge"]["name"], found["judge"]["card"]["model"]) == ("vlm", "m")
    [costs] = found["judge"]["spent"].values()
    assert costs["calls"] == len(stub.asked) == 6
    # Another evaluation of the same rollouts, whose verdicts are stored; and another home, whose replies are kept.
    assert ranked(context, dataset, str(file))["policies"] == found["policies"]
    judge = judging.make_judge(judge_spec(str(file), Dataset.at(dataset), 0, 0), None, context)
    for record in context.store.results.rollouts():
        from workers.rollouts import load_rollout

        assert not judge.judge(load_rollout(context.artifacts, record.artifact)).abstained
    assert len(stub.asked) == 6
    [line, *_] = (context.settings.home / judging.LEDGER).read_text().splitlines()
    assert json.loads(line)["spent"] == found["judge"]["spent"]


def test_a_spent_budget_stops_the_run_and_a_higher_one_goes_on(context: Context, stub: Stub, tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "data", 3)
    poor = spec_file(tmp_path, stub).read_text() + "[budget]\ncalls = 4\n"
    file = tmp_path / "judge.toml"
    file.write_text(poor)
    with pytest.raises(BudgetSpent, match="budget of 4 calls is spent"):
        ranked(context, dataset, str(file))
    assert len(stub.asked) == 4
    file.write_text(poor.replace("calls = 4", "calls = 2"))
    found = ranked(context, dataset, str(file))
    assert len(stub.asked) == 6
    assert sum(row["judged"] for row in found["policies"]) == 6
    spent = [json.loads(line)["spent"] for line in (context.settings.home / judging.LEDGER).read_text().splitlines()]
    assert [next(iter(each.values()))["calls"] for each in spent] == [4, 2]


def test_a_judge_that_changed_since_it_was_planned_with_is_refused(
    context: Context, stub: Stub, tmp_path: Path
) -> None:
    dataset = Dataset.at(write_dataset(tmp_path / "data", 1))
    file = spec_file(tmp_path, stub)
    spec = judge_spec(str(file), dataset, 0, 0)
    file.write_text(file.read_text().replace("repeats = 1", "repeats = 2"))
    with pytest.raises(InvalidInput, match="not the one that this was planned with"):
        judging.make_judge(spec, None, context)


def test_an_ensemble_is_named_by_its_members(context: Context, stub: Stub, tmp_path: Path) -> None:
    dataset = Dataset.at(write_dataset(tmp_path / "data", 1))
    one, two = spec_file(tmp_path / "one", stub), spec_file(tmp_path / "two", stub, 'served_as = "another"')
    file = tmp_path / "both.toml"
    file.write_text('kind = "ensemble"\nmembers = ["one/judge.toml", "two/judge.toml"]\n')
    specs = [judge_spec(asked, dataset, 0, 0) for asked in (str(file), f"ensemble:{one},{two}")]
    assert specs[0] == specs[1]
    assert specs[0].name == f"ensemble:vlm:{one},vlm:{two}"
    found = ranked(context, Path(dataset.path), str(file))
    assert found["judge"]["name"] == "ensemble"
    assert len(found["judge"]["card"]["members"]) == len(found["judge"]["spent"]) == 2
    for bad, message in (
        (f"ensemble:{one},{one}", "twice"),
        (f"ensemble:{one}", "at least 2"),
        (f"ensemble:{one},truth", "cannot be in an ensemble"),
    ):
        with pytest.raises(InvalidInput, match=message):
            judging.make_judge(judge_spec(bad, dataset, 0, 0), None, context)
    for text, message in (
        ('kind = "oracle"', "must be 'vlm' or 'ensemble'"),
        ('kind = "ensemble"', "its members and nothing else"),
        ('kind = "ensemble"\nmembers = [1]', "its members and nothing else"),
    ):
        file.write_text(text)
        with pytest.raises(InvalidInput, match=message):
            judge_spec(str(file), dataset, 0, 0)


def labelled_dataset(root: Path, count: int) -> Path:
    """Successes go all the way and failures a part of it, in two tasks that look the same."""
    writer = LeRobotWriter(
        root, fps=FPS, cameras={"wrist": SIZE}, robot="dot", action_space=ActionSpace.CARTESIAN_POSITION
    )
    for index in range(count):
        success = bool(index % 2)
        state = np.zeros((LENGTH, 7))
        state[:, 0] = np.linspace(0.0, 0.1 if success else 0.05, LENGTH)
        state[:, 1] = 0.01 * (index // 2 % 5)
        words = ("go along x", "lift that cup")[index // 2 % 2]
        writer.add_episode(
            f"{root.name}-{index}", frames={"wrist": np.stack([picture(row) for row in state])},
            cartesian_position=state[:, :6], gripper_position=state[:, 6:], joint_position=None,
            action=np.concatenate([state[1:], state[-1:]]), instruction=words, success=success, task=words,
            metadata={},
        )  # fmt: skip
    writer.finish()
    return root


def test_the_audit_is_a_card_that_the_leaderboard_links_to(
    home: Path, stub: Stub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, file = labelled_dataset(tmp_path / "data", 32), spec_file(tmp_path, stub)
    votes = tmp_path / "votes.csv"
    votes.write_text("trial,voter,success\n" + "".join(f"data-{i},ann,{i % 2}\n" for i in range(20)))
    arguments = ["judge", "audit", "--judge", str(file), "--episodes", str(data), "--out", "card", "--json"]
    assert main([*arguments, "--votes", str(votes)]) == 3
    found = json.loads(capsys.readouterr().out)
    assert found["measures"]["accuracy"] == 1.0
    # This model hears no instruction and prefers whatever comes first: the audit must say both.
    failed = {check["name"] for check in found["checks"] if check["outcome"] == "failed"}
    assert failed == {"sees", "order"}
    assert found["floors"]["first_frame"]["balanced_accuracy"]["value"] == 0.5
    assert found["floors"]["shuffled_instruction"]["balanced_accuracy"]["value"] == 1.0
    assert (found["people"]["units"], found["people"]["kappa"]["value"]) == (20, 1.0)
    assert not found["passed"]
    page = Path(found["page"])
    assert json.loads(page.with_name("audit.json").read_text())["checks"] == found["checks"]
    assert Page(page).source
    assert "It failed its audit (sees, order)" in page.read_text()
    calls = len(stub.asked)
    assert main([*arguments, "--votes", str(votes)]) == 3
    assert len(stub.asked) == calls
    from workers.cli.session import Session
    from workers.settings import load_settings

    session = Session(load_settings())
    audit = audit_of(session.context.store, found["judge_sha256"])
    assert audit == {"passed": False, "page": str(page), "shown": "recorded"}
    assert audit_of(session.context.store, "0" * 64) is None
    session.close()


def test_a_leaderboard_says_whether_its_judge_was_audited(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    board: dict[str, Any] = {"policies": [], "notes": [], "evaluation": "e", "judge": {"card": None, "name": "j"}}
    for audit, line in (
        (None, "was not audited"),
        ({"passed": True, "page": "/a/audit.html"}, "passed its audit: /a/audit.html"),
        ({"passed": False, "page": "/a/audit.html"}, "FAILED its audit"),
    ):
        show_ranking({**board, "judge": {**board["judge"], "audit": audit}}, Console())
        assert line in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--judge", "truth"], "passes on the labels themselves"),
        (["--judge", "demonstrations"], "not audited on what it was made from"),
        (["--judge", "learnt"], "there is no judge 'learnt'"),
        (["--judge", "vlm:m@ftp://x"], "no judge over an endpoint"),
        (["--judge", "learned", "--limit", "1"], "--limit must be at least 2"),
        (["--judge", "learned", "--votes", "absent.csv"], "absent.csv is not a file"),
    ],
)
def test_bad_arguments_are_one_line(
    arguments: list[str], message: str, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = labelled_dataset(tmp_path / "data", 4)
    assert main(["judge", "audit", "--episodes", str(data), "--out", "card", *arguments]) == 2
    [line] = capsys.readouterr().err.strip().splitlines()[-1:]
    assert message in line


def test_the_card_escapes_what_it_shows(home: Path, stub: Stub, tmp_path: Path, context: Context) -> None:
    data = Dataset.at(labelled_dataset(tmp_path / "data", 8))
    spec = judge_spec(str(spec_file(tmp_path, stub)), data, 0, 0)
    inputs = AuditJudgeInputs(
        judge=spec, datasets=(data,), world=None, world_fingerprint=None, planted=(), votes=None, votes_sha256=None,
        limit=None, seed=0, out=str(tmp_path / "card"),
    )  # fmt: skip
    [found] = run_jobs([Request("audit_judge", inputs)], STEPS, context)
    hostile = {**found, "spec": HOSTILE, "judge": HOSTILE, "datasets": [{"name": HOSTILE, "fingerprint": HOSTILE}]}
    page = render_audit(hostile)
    assert HOSTILE not in page
    assert re.search("default-src 'none'", page)
    assert headline({**found, "passed": True}).startswith("It passed")
