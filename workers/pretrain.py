"""The recipe behind the weights that ship: record the stand-in robot, train `tiny` on it, clone a policy."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from arena.episodes.atomic import atomic_directory, read_manifest
from workers.cli.session import Session
from workers.demo import CLONED, TASKS, TRAINING_SEED, WORLD
from workers.evaluation import Dataset
from workers.jobs import Json, Request
from workers.steps.clone import CloneInputs
from workers.steps.record import RecordInputs
from workers.steps.train import TrainInputs

EPISODES_PER_TASK = 200
CLONING_STEPS = 100
"""Deliberately few: a policy that fails about every other time can be told from a replay, a perfect one cannot."""


def pretrain(session: Session, out: Path, install: bool, episodes_per_task: int = EPISODES_PER_TASK) -> Json:
    """Run the recipe in `out`, going on where it was; returns the folders and the seconds that each part took.

    `install` copies the weights to where `registry.pretrained` finds them.
    """
    from worldmodels.train import RECIPES

    seconds: dict[str, float] = {}
    out = out.resolve()
    recording = RecordInputs(
        out=str(out / "recording"), tasks=TASKS, episodes_per_task=episodes_per_task, seed=TRAINING_SEED,
        height=64, width=96,
    )  # fmt: skip
    _timed("record", seconds, session, Request("record", recording))
    dataset, recipe = Dataset.at(out / "recording"), RECIPES["tiny"]
    training = TrainInputs(
        preset="tiny", dataset=dataset, out=str(out / WORLD), steps=recipe.denoiser.steps, batch=recipe.denoiser.batch,
        learning_rate=recipe.denoiser.learning_rate, autoencoder_steps=recipe.autoencoder.steps,
        autoencoder_batch=recipe.autoencoder.batch, autoencoder_learning_rate=recipe.autoencoder.learning_rate,
        tracker_steps=recipe.tracker.steps, seed=0, start=None, start_fingerprint=None,
    )  # fmt: skip
    _timed("world model", seconds, session, Request("train", training))
    _timed(
        "policy",
        seconds,
        session,
        Request("clone", CloneInputs(dataset=dataset, out=str(out / CLONED), seed=0, steps=CLONING_STEPS)),
    )
    weights = {name: out / name for name in (WORLD, CLONED)}
    if install:
        weights = {name: _install(folder) for name, folder in weights.items()}
    return {"weights": {name: str(folder) for name, folder in weights.items()}, "seconds": seconds}


def _timed(name: str, seconds: dict[str, float], session: Session, request: Request) -> None:
    began = time.monotonic()
    session.run([request])
    seconds[name] = round(time.monotonic() - began, 1)


def _install(folder: Path) -> Path:
    """Copy a checked folder of weights into the package whose `pretrained` folder holds its kind."""
    import arena.learned
    import worldmodels

    package = arena.learned if folder.name == CLONED else worldmodels
    target = Path(package.__path__[0]) / "pretrained" / folder.name
    names = read_manifest(folder)
    with atomic_directory(target, replace=True) as partial:
        for name in names:
            shutil.copy2(folder / name, partial / name)
    return target
