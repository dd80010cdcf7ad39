"""A synthesis from request to dataset: rounds until it is enough, resumed where it was, refused before it runs."""

from __future__ import annotations

import errno
import json
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from arena.contracts import Episode, InvalidInput
from arena.episodes.ingest import ingest
from arena.synthesis.diversity import Diversity
from arena.synthesis.export import ExportSpec
from arena.synthesis.plan import Budget
from arena.synthesis.review import Decision, read_review, write_review
from arena.synthesis.select import Rules
from tests.workers.dots import dot_context, write_dataset
from workers.cli import main
from workers.finetuning_commands import command_for, commands
from workers.jobs import Context, Json, Request
from workers.runner import run_jobs
from workers.steps.imagine import done_frame
from workers.synthesis import synthesize
from workers.synthesis_plan import SynthesisRequest
from workers.synthesis_review import Waiting
from workers.tasks import STEPS

SCENES = 6
WORDS = "go along x"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data") / "dots", SCENES)


def request(dataset: Path, out: Path, **changes: object) -> SynthesisRequest:
    asked = SynthesisRequest(
        world="dot", policy="replay", episodes=dataset, out=out, steps=8, batch=2,
        budget=Budget(wanted=4, attempts=12, minutes=None), diversity=Diversity((0.0, 0.005)),
    )  # fmt: skip
    return replace(asked, **changes)  # type: ignore[arg-type]


def here(context: Context, asked: SynthesisRequest, said: list[str] | None = None) -> Json:
    def run(requests: Sequence[Request]) -> list[Json]:
        return run_jobs(requests, STEPS, context)

    return synthesize(context, asked, run, said.append if said is not None else lambda text: None)


def started(log: Path) -> list[list[str]]:
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def read(dataset: Path) -> tuple[Episode, ...]:
    report = ingest(dataset)
    assert report.refused == ()
    return report.episodes


def test_successes_become_a_dataset_that_says_where_they_came_from(dataset: Path, tmp_path: Path) -> None:
    said: list[str] = []
    made = here(dot_context(tmp_path / "home"), request(dataset, tmp_path / "out"), said)
    assert (made["synthetic"], made["recorded"], made["scenes"]) == (4, 0, 4)
    assert made["attempts"] == 4, "what is wanted was found, so nothing more is tried"
    assert said[-1].startswith("4 successes in 4 attempts")
    episodes = read(tmp_path / "out")
    assert len(episodes) == 4
    for episode in episodes:
        assert (episode.instruction, episode.task, episode.robot) == (WORDS, "along-x", "dot")
        assert episode.success is True
        assert episode.metadata["synthetic"] is True
        assert episode.metadata["variation"] == {"noise": 0.0, "chunk": None, "weight": None}
        assert episode.action is not None
        # What was commanded at a frame is what the next one shows.
        np.testing.assert_allclose(episode.state[1:, 0], episode.action.values[:-1, 0], atol=1e-3)
    assert "What it must not be used for" in (tmp_path / "out/README.md").read_text()


def test_a_killed_synthesis_goes_on_and_ends_with_the_same_episodes(dataset: Path, tmp_path: Path) -> None:
    asked = request(dataset, tmp_path / "out", budget=Budget(wanted=6, attempts=12, minutes=None))
    whole = here(dot_context(tmp_path / "whole"), replace(asked, out=tmp_path / "other"))
    log = tmp_path / "log"
    with pytest.raises(KeyboardInterrupt):
        here(dot_context(tmp_path / "home", log, crash_after=1), asked)
    assert not (tmp_path / "out").exists()
    resumed = here(dot_context(tmp_path / "home", log), asked)
    batches = started(log)
    assert len(batches) == 3, "one before the interruption, the two others after it"
    assert len({scene for batch in batches for scene in batch}) == 6
    again = here(dot_context(tmp_path / "home", log), asked)
    assert len(started(log)) == 3, "nothing is rolled out twice"
    for each in (resumed, again):
        assert {**each, "seconds": 0, "dataset": ""} == {**whole, "seconds": 0, "dataset": ""}
    ids = [[episode.id for episode in read(tmp_path / name)] for name in ("out", "other")]
    assert ids[0] == ids[1]


def test_where_nothing_succeeds_nothing_is_written(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"no successes found in 12 attempts \(12 failed\).*nothing was written"):
        here(dot_context(tmp_path / "home"), request(dataset, tmp_path / "out", policy="hold"))
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_unfiltered_keeps_failures_and_says_that_they_are(dataset: Path, tmp_path: Path) -> None:
    asked = request(dataset, tmp_path / "out", policy="hold", rules=Rules(judged=False))
    here(dot_context(tmp_path / "home"), asked)
    assert {episode.success for episode in read(tmp_path / "out")} == {False}


def test_hard_scenes_are_tried_again_and_easy_ones_are_left_alone(dataset: Path, tmp_path: Path) -> None:
    budget = Budget(wanted=99, attempts=30, minutes=None, per_scene=1)
    made = here(dot_context(tmp_path / "home"), request(dataset, tmp_path / "out", budget=budget))
    assert made["attempts"] == made["synthetic"] == SCENES


def test_trajectories_are_kept_under_other_words_than_the_policy_was_told(dataset: Path, tmp_path: Path) -> None:
    context, log = dot_context(tmp_path / "home", tmp_path / "log"), tmp_path / "log"
    here(context, request(dataset, tmp_path / "plain"))
    ran = len(started(log))
    here(context, request(dataset, tmp_path / "out", instructions=("move right",), paraphrases=1))
    labels = {episode.instruction for episode in read(tmp_path / "out")}
    assert len(labels) == 2
    assert "move right" in labels
    assert WORDS not in labels
    assert {episode.metadata["told"] for episode in read(tmp_path / "out")} == {WORDS}
    assert len(started(log)) == ran, "under other labels the same rollouts serve again"


def test_trials_begin_in_the_middle_of_earlier_ones(dataset: Path, tmp_path: Path) -> None:
    budget = Budget(wanted=9, attempts=20, minutes=None, per_scene=1)
    made = here(
        dot_context(tmp_path / "home"), request(dataset, tmp_path / "out", budget=budget, resets=3, policy="replay")
    )
    # Replaying needs recorded actions, which an imagined scene has not: its trials break off and are left out.
    assert made["synthetic"] == SCENES
    assert made["attempts"] > SCENES


def test_recorded_episodes_are_mixed_in(dataset: Path, tmp_path: Path) -> None:
    asked = request(dataset, tmp_path / "out", real=dataset, ratio=0.5)
    made = here(dot_context(tmp_path / "home"), asked)
    assert (made["synthetic"], made["recorded"]) == (4, 4)
    assert sorted(episode.metadata["synthetic"] for episode in read(tmp_path / "out")) == [False] * 4 + [True] * 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"export": ExportSpec("openpi-v2.1")}, "holds joint_velocity or joint_position actions, but these are cart"),
        ({"tasks": ("fly",)}, "no episode is of the task 'fly'; there are along-x"),
        ({"policy": "openpi://127.0.0.1:1"}, "must declare action_space"),
        ({"policy": "hodl"}, "unknown policy 'hodl'"),
        ({"resets": -1}, "must not be negative"),
        ({"ratio": 1.5, "real": Path()}, "above 0 and below 1, not 1.5"),
        ({"steps": 1}, "two steps or more"),
        ({"judge": "oracle"}, "no judge 'oracle'"),
        ({"paraphrases": 999}, "templates for up to"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_runs(
    dataset: Path, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    log = tmp_path / "log"
    with pytest.raises(InvalidInput, match=message):
        here(dot_context(tmp_path / "home", log), request(dataset, tmp_path / "out", **changes))
    assert started(log) == []
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("--format zarr", "there is no format 'zarr', only lerobot, openpi"),
        ("--policy openpi://127.0.0.1:1", "must declare action_space"),
        ("--target pi05", "there is no target 'pi05'"),
        ("--noises -1", "noise must be from 0"),
        ("--policy-weights -1", "weight must be from 0"),
    ],
)
def test_bad_input_is_one_line_at_the_command_line_and_nothing_is_written(
    dataset: Path, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: str, message: str
) -> None:
    asked = ["--episodes", str(dataset), "--out", str(tmp_path / "out"), *more.split()]
    assert main(["synth", *([] if "--policy " in more else ["--policy", "hold"]), *asked]) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_there_is_left_alone(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine.txt").write_text("mine")
    with pytest.raises(InvalidInput, match="already exists"):
        here(dot_context(tmp_path / "home"), request(dataset, tmp_path / "out"))
    assert (tmp_path / "out/mine.txt").read_text() == "mine"


def test_a_full_disk_is_one_line_and_what_was_done_is_kept(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, asked = tmp_path / "log", request(dataset, tmp_path / "out")
    context = dot_context(tmp_path / "home", log)
    with monkeypatch.context() as patched:
        patched.setattr("workers.steps.imagine.save_rollout", _full)
        with pytest.raises(InvalidInput, match="no room left for rollouts"):
            here(context, asked)
    assert not (tmp_path / "out").exists()
    with monkeypatch.context() as patched:
        patched.setattr("arena.synthesis.export.segments.write_video", _full)
        with pytest.raises(InvalidInput, match=r"no room left for .*out"):
            here(context, asked)
    assert not (tmp_path / "out").exists()
    ran = len(started(log))
    assert here(context, asked)["synthetic"] == 4
    assert len(started(log)) == ran, "with room again, only the export was missing"


def _full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_the_first_frame_that_is_as_good_as_the_best_is_where_it_was_done() -> None:
    assert done_frame(np.array([-5.0, -1.0, 3.0, 3.1, 3.2])) == 2
    assert done_frame(np.array([-5.0, -4.0, -1.0, -4.0])) == 2
    assert done_frame(np.array([4.0])) == 0


def test_command_lines_name_the_dataset_that_was_made(dataset: Path, tmp_path: Path) -> None:
    here(dot_context(tmp_path / "home"), request(dataset, tmp_path / "my data"))
    root = tmp_path / "my data"
    own, lerobot = (shlex.split(line) for line in commands(root, "lerobot-v3.0", "bc:policies/mine"))
    assert own[:4] == ["dreamarena", "policy", "finetune", "bc:policies/mine"]
    assert (lerobot[0], Path(_value(lerobot, "--dataset.root"))) == ("lerobot-train", root)
    assert "--policy.push_to_hub=false" in lerobot, "nothing is uploaded unasked"
    assert command_for("lerobot", root) == shlex.join(lerobot)
    with pytest.raises(InvalidInput, match=r"openpi reads LeRobot v2.1 datasets; .* is v3.0"):
        command_for("openpi", root)
    with pytest.raises(InvalidInput, match="no LeRobot dataset"):
        command_for("lerobot", tmp_path)
    [openpi] = commands(root, "openpi-v2.1", "openpi://host")
    words = shlex.split(openpi)
    home = Path(words[0].removeprefix("HF_LEROBOT_HOME="))
    assert home / _value(words, "--data.repo-id") == root, "openpi looks for HF_LEROBOT_HOME/repo_id"


def _value(words: Sequence[str], name: str) -> str:
    return next(word.removeprefix(f"{name}=") for word in words if word.startswith(f"{name}="))


def test_a_person_has_the_last_word(dataset: Path, tmp_path: Path) -> None:
    context, asked = dot_context(tmp_path / "home"), request(dataset, tmp_path / "out", review=True)
    with pytest.raises(Waiting, match="4 of 4 trials wait") as waiting:
        here(context, asked)
    assert not (tmp_path / "out").exists()
    path = Path(waiting.value.facts["review"])
    review = read_review(path)
    ids = [item.rollout for item in review.items]
    review = review.decided(ids[0], Decision.ACCEPTED, 2, 5).decided(ids[1], Decision.ACCEPTED)
    write_review(path, review.decided(ids[2], Decision.REJECTED))
    with pytest.raises(Waiting, match="1 of 4"):
        here(context, asked)
    write_review(path, read_review(path).decided(ids[2], Decision.REJECTED).decided(ids[3], Decision.REJECTED))
    assert here(context, asked)["synthetic"] == 2
    trimmed, whole = read(tmp_path / "out")
    assert (len(trimmed), trimmed.metadata["first_frame"], len(whole)) == (5, 2, review.items[1].frames)
    assert trimmed.metadata["reviewed_by_a_person"] is True


def test_where_a_person_accepts_nothing_nothing_is_written(dataset: Path, tmp_path: Path) -> None:
    context, asked = dot_context(tmp_path / "home"), request(dataset, tmp_path / "out", review=True)
    with pytest.raises(Waiting) as waiting:
        here(context, asked)
    path = Path(waiting.value.facts["review"])
    review = read_review(path)
    for item in review.items:
        review = review.decided(item.rollout, Decision.REJECTED)
    write_review(path, review)
    with pytest.raises(InvalidInput, match="nothing was accepted"):
        here(context, asked)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_new_users_path_from_shipped_weights_to_a_finer_policy(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from workers.registry import pretrained

    policy = f"bc:{pretrained('bc-keypoints')}"
    asked = ["--task", "drawer-open-v3", "--count", "3", "--scenes", "4", "--paraphrases", "1"]
    assert main(["synth", "--policy", policy, "--out", "data/drawer", *asked, "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["synthetic"] == 3
    assert {episode.robot for episode in read(Path("data/drawer"))} == {"sawyer"}
    arguments = shlex.split(made["next"][0])[1:]
    assert main([*arguments, "--steps", "3", "--batch", "4"]) == 0
    assert "fine-tuned on 3 episodes" in capsys.readouterr().out
    out = arguments[arguments.index("--out") + 1]
    assert main([*arguments[:2], f"bc:{out}", "--episodes", "data/drawer", "--out", "again", "--steps", "1"]) == 0
