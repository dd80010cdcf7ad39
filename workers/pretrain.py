"""The recipe behind the weights that ship: record the stand-in robot, train world model, policies and judge on it."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from arena.episodes.atomic import atomic_directory, read_manifest
from workers.cli.session import Session
from workers.content import fingerprint
from workers.evaluation import Dataset, WorldSpec
from workers.jobs import Json, Request
from workers.lineup import HELD_OUT_TASKS, LINEUP, SPARRING, TASKS
from workers.registry import JUDGE, WORLD
from workers.steps.clone import CloneInputs
from workers.steps.record import RecordInputs
from workers.steps.record_policies import RecordPoliciesInputs
from workers.steps.train import TrainInputs
from workers.steps.train_judge import TrainJudgeInputs

PRESET = "small"
TRAINING_SEED, JUDGE_SEED = 0, 1
"""Of the recordings. Demo and benchmarks use others: nothing is tried on what it was trained on."""
EPISODES_PER_TASK, JUDGE_EPISODES_PER_TASK = 240, 40
IMAGINED, JUDGE_STEPS = 364, 1500
"""Episodes that the judge sees again as the world model imagines them, and its training steps."""
SPARRING_SEED, POLICY_STEPS = 7, 24


def pretrain(session: Session, out: Path, install: bool, episodes_per_task: int = EPISODES_PER_TASK) -> Json:
    """Run the recipe in `out`, going on where it was; returns the folders and the seconds that each part took.

    `install` copies the weights to where `registry.pretrained` finds them.
    """
    seconds: dict[str, float] = {}
    out = out.resolve()
    recorded = {
        "recording": _recording(out / "recording", TASKS, episodes_per_task, TRAINING_SEED),
        "held-out tasks": _recording(
            out / "held-out-tasks", HELD_OUT_TASKS, max(1, episodes_per_task // 2), TRAINING_SEED
        ),
        "judge": _recording(out / "judge-recording", TASKS, JUDGE_EPISODES_PER_TASK, JUDGE_SEED),
    }
    for name, inputs in recorded.items():
        _timed(f"record {name}", seconds, session, Request("record", inputs))
    training, others, labelled = (Dataset.at(Path(inputs.out)) for inputs in recorded.values())
    _timed("world model", seconds, session, Request("train", _world(training, out / WORLD)))
    for name in SPARRING:
        cloning = CloneInputs(recipe=name, datasets=(training, others), out=str(out / name), seed=SPARRING_SEED)
        _timed(name, seconds, session, Request("clone", cloning))
    played = []
    for name, dataset, each in (("training", training, 28), ("others", others, 20), ("labelled", labelled, 14)):
        sparring = _sparring(session, dataset, each, out, name)
        _timed(f"record policies in {name}", seconds, session, Request("record_policies", sparring))
        played.append(Dataset.at(Path(sparring.out)))
    judging = _judge((training, others, *played[:2]), (labelled, played[2]), out / WORLD, out / JUDGE)
    _timed("judge", seconds, session, Request("train_judge", judging))
    for name in LINEUP:
        cloning = CloneInputs(recipe=name, datasets=(training, others), out=str(out / name), seed=0)
        _timed(name, seconds, session, Request("clone", cloning))
    weights = {name: out / name for name in (WORLD, JUDGE, *LINEUP)}
    if install:
        weights = {name: _install(folder) for name, folder in weights.items()}
    return {"weights": {name: str(folder) for name, folder in weights.items()}, "seconds": seconds}


def _recording(out: Path, tasks: tuple[str, ...], each: int, seed: int) -> RecordInputs:
    return RecordInputs(out=str(out), tasks=tasks, episodes_per_task=each, seed=seed, height=64, width=96)


def _world(dataset: Dataset, out: Path) -> TrainInputs:
    from worldmodels.train import RECIPES

    recipe = RECIPES[PRESET]
    return TrainInputs(
        preset=PRESET, datasets=(dataset,), out=str(out), steps=recipe.denoiser.steps, batch=recipe.denoiser.batch,
        learning_rate=recipe.denoiser.learning_rate, autoencoder_steps=recipe.autoencoder.steps,
        autoencoder_batch=recipe.autoencoder.batch, autoencoder_learning_rate=recipe.autoencoder.learning_rate,
        tracker_steps=recipe.tracker.steps, seed=0, start=None, start_fingerprint=None,
    )  # fmt: skip


def _sparring(session: Session, dataset: Dataset, each: int, out: Path, name: str) -> RecordPoliciesInputs:
    policies = tuple(f"bc:{out / policy}" for policy in SPARRING)
    hashes = tuple(session.context.workshop.policy(spec).card.sha256 for spec in policies)
    return RecordPoliciesInputs(
        policies=policies, policy_sha256=hashes, dataset=dataset, each=each, steps=POLICY_STEPS,
        out=str(out / f"policies-in-{name}"), seed=0,
    )  # fmt: skip


def _judge(
    learned: tuple[Dataset, ...], labelled: tuple[Dataset, ...], world: Path, out: Path
) -> TrainJudgeInputs:  # fmt: skip
    return TrainJudgeInputs(
        datasets=learned, labelled=labelled, world=WorldSpec(name=str(world)), world_fingerprint=fingerprint(world),
        imagined=IMAGINED, out=str(out), seed=0, steps=JUDGE_STEPS,
    )  # fmt: skip


def _timed(name: str, seconds: dict[str, float], session: Session, request: Request) -> None:
    began = time.monotonic()
    session.run([request])
    seconds[name] = round(time.monotonic() - began, 1)


def _install(folder: Path) -> Path:
    """Copy a checked folder of weights into the package whose `pretrained` folder holds its kind."""
    import arena.learned
    import worldmodels

    package = worldmodels if folder.name == WORLD else arena.learned
    target = Path(package.__path__[0]) / "pretrained" / folder.name
    names = read_manifest(folder)
    with atomic_directory(target, replace=True) as partial:
        for name in names:
            shutil.copy2(folder / name, partial / name)
    return target
