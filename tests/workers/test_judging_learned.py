"""The learned judge in evaluations and as jobs: chosen, made, measured, and its abstentions counted as such."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from arena.contracts import ActionSpace, FloatArray, InvalidInput, World, WorldCard
from arena.episodes.ingest import ingest
from arena.episodes.lerobot_writer import LeRobotWriter
from arena.learned.judging.films import read_films
from arena.learned.judging.fitting import Lessons, train_judge
from arena.learned.judging.judge import LearnedJudge
from arena.learned.judging.network import JudgingConfig
from tests.workers.dots import FPS, LENGTH, SIZE, DotWorkshop, DotWorld, dot_context, picture, write_dataset
from workers import judge_specs
from workers.evaluation import Dataset
from workers.jobs import Context, Json, Request
from workers.orchestrate import evaluate
from workers.plans import EvaluationPlan
from workers.runner import run_jobs
from workers.steps.measure_judge import MeasureJudgeInputs
from workers.steps.train_judge import TrainJudgeInputs, balanced
from workers.tasks import STEPS

WORDS = "go along x"
SMALL = JudgingConfig(
    cameras=("wrist",), height=16, width=16, channels=8, squeezed=4, hidden=32, features=8, word_width=8, steps=150,
    batch=12, frames=4, learning_rate=6e-3, warmup=5, ema=0.9, settled_frames=1, brightness=0.05, shift_pixels=0,
)  # fmt: skip


class BlindWorld(DotWorld):
    """The dot's world, which does not tell whether a trial succeeded."""

    @property
    def card(self) -> WorldCard:
        return replace(super().card, knows_success=False)


class BlindWorkshop(DotWorkshop):
    def __init__(self) -> None:
        super().__init__()
        self._dot = BlindWorld()

    def world(self, name: str, sampler_steps: int, guidance: float) -> World:
        return self._dot


def path(end: float, row: int) -> FloatArray:
    state = np.zeros((LENGTH, 7))
    state[:, 0] = np.linspace(0.0, end, LENGTH)
    state[:, 1] = 0.01 * row
    return state


def labelled_dataset(root: Path, count: int) -> Path:
    """Successes and failures in turn, seen by the two cameras that the judge's own recipe looks through."""
    cameras = dict.fromkeys(("exterior_1", "wrist"), SIZE)
    writer = LeRobotWriter(root, fps=FPS, cameras=cameras, robot="dot", action_space=ActionSpace.CARTESIAN_POSITION)
    random = np.random.default_rng(zlib.crc32(root.name.encode()))
    for index in range(count):
        end = random.uniform(0.09, 0.11) if index % 2 else random.uniform(0, 0.05)
        state = path(float(end), index // 2 % 6)
        frames = np.stack([picture(row) for row in state])
        writer.add_episode(
            f"{root.name}-{index}", frames={"exterior_1": frames, "wrist": frames}, cartesian_position=state[:, :6],
            gripper_position=state[:, 6:], joint_position=None, action=np.concatenate([state[1:], state[-1:]]),
            instruction=WORDS, success=bool(index % 2), task="along-x", metadata={},
        )  # fmt: skip
    writer.finish()
    return root


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("judges")
    # Through videos, as rollouts are: else only pictures that no codec has touched would be familiar.
    training, calibration = (
        read_films(ingest(labelled_dataset(root / name, 48)).episodes, SMALL) for name in ("training", "calibration")
    )
    made = LearnedJudge.load(
        train_judge(Lessons(training, calibration, robots=("dot",)), SMALL, root / "strict", seed=0)
    )
    # Of 24 small films limits are uncertain, and here it is the evaluation that is tried.
    looks, features = (replace(each, limit=4 * each.limit) for each in (made.fitted.looks, made.fitted.features))
    loose = replace(made.fitted, looks=looks, features=features, apart_limit=0.1, grip_limit=0.5)
    LearnedJudge(loose, made.card).save(root / "dot")
    return root / "dot"


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "data", 4)


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return replace(dot_context(tmp_path), workshop=BlindWorkshop())


def ranked(context: Context, dataset: Path, judge: str) -> Json:
    def run(requests: Sequence[Request]) -> list[Json]:
        return run_jobs(requests, STEPS, context)

    plan = EvaluationPlan(world="dot", policies=("hold", "replay"), episodes=dataset, steps=8, batch=4, judge=judge)
    return evaluate(context, plan, run)


def test_an_evaluation_is_judged_by_the_judge_in_a_folder(context: Context, dataset: Path, folder: Path) -> None:
    found = ranked(context, dataset, f"learned:{folder}")
    judge = LearnedJudge.load(folder)
    assert (found["judge"]["name"], found["judge"]["sha256"]) == ("learned", judge.sha256)
    assert found["judge"]["card"]["accuracy"] == judge.card.accuracy
    rows = {row["policy"]: row for row in found["policies"]}
    assert rows["replay"]["successes"] == rows["replay"]["judged"] >= 3
    assert rows["hold"]["successes"] == 0
    for row in rows.values():
        assert row["judged"] + row["abstained"] == row["rollouts"] == 4


def test_abstentions_are_counted_and_are_no_failures(
    context: Context, dataset: Path, folder: Path, tmp_path: Path
) -> None:
    judge = LearnedJudge.load(folder)
    # Nothing that was ever seen is as familiar as this wants it.
    strict = replace(judge.fitted, looks=replace(judge.fitted.looks, limit=1e-9))
    LearnedJudge(strict, judge.card).save(tmp_path / "strict")
    found = ranked(context, dataset, f"learned:{tmp_path / 'strict'}")
    for row in found["policies"]:
        assert (row["abstained"], row["judged"], row["successes"]) == (4, 0, 0)
    assert any("abstained on 8 rollouts" in note for note in found["notes"])


def test_auto_takes_the_shipped_judge_only_where_it_covers_the_scenes(
    context: Context, dataset: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge_specs, "pretrained", lambda name: folder)
    found = ranked(context, dataset, "auto")
    assert found["judge"]["name"] == "learned"
    episodes = Dataset.at(dataset).episodes(context)
    assert judge_specs.shipped_judge_covers(episodes)
    assert not judge_specs.shipped_judge_covers([*episodes, replace(episodes[0], instruction="go along y")])
    assert not judge_specs.shipped_judge_covers([replace(episodes[0], robot="panda")])

    def none_ships(name: str) -> Path:
        raise InvalidInput("no weights")

    monkeypatch.setattr(judge_specs, "pretrained", none_ships)
    assert not judge_specs.shipped_judge_covers(episodes)
    with pytest.raises(InvalidInput, match="no weights"):
        ranked(context, dataset, "learned")


@pytest.mark.parametrize(
    ("judge", "message"),
    [
        ("lerned", "no judge 'lerned', only auto, learned, demonstrations, truth and learned:FOLDER"),
        ("learned:nowhere", "no judge in 'nowhere'"),
        ("truth", "use --judge auto"),
    ],
)
def test_judges_that_there_are_not_are_refused(context: Context, dataset: Path, judge: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        ranked(context, dataset, judge)


def test_a_judge_is_made_and_measured_by_jobs(tmp_path: Path) -> None:
    context = dot_context(tmp_path)
    data, other = labelled_dataset(tmp_path / "a", 12), labelled_dataset(tmp_path / "b", 20)
    training = TrainJudgeInputs(
        datasets=(Dataset.at(data),), labelled=(Dataset.at(other),), world=None, world_fingerprint=None, imagined=0,
        out=str(tmp_path / "judge"), seed=0, steps=1,
    )  # fmt: skip
    [made] = run_jobs([Request("train_judge", training)], STEPS, context)
    card = made["card"]
    assert (card["trained_on"], card["calibrated_on"], card["held_out"], card["robots"]) == (12, 10, 10, ["dot"])
    assert any("calibrated on recordings" in note for note in card["notes"])
    asked = MeasureJudgeInputs(
        judge=made["judge"], judge_fingerprint="x", dataset=Dataset.at(data), world=None, world_fingerprint=None,
        limit=6, seed=0,
    )  # fmt: skip
    [found] = run_jobs([Request("measure_judge", asked)], STEPS, context)
    assert found["judge_sha256"] == made["sha256"]
    assert found["recorded"]["trials"] == 6
    assert set(found["recorded"]["controls"]) == {"first_frame", "instruction_only", "shuffled_instruction"}
    assert "imagined" not in found


def test_balanced_takes_equally_many_of_each_outcome(tmp_path: Path) -> None:
    episodes = Dataset.at(labelled_dataset(tmp_path / "a", 9)).episodes(dot_context(tmp_path))
    assert sum(bool(each.success) for each in balanced(episodes, 4, seed=0)) == 2
    assert len(balanced(episodes, 100, seed=0)) == 9
    assert balanced(episodes, 4, seed=0) == balanced(episodes, 4, seed=0)
