"""Fine-tuning: it learns what is new, keeps what was good, resumes, and mixes at the share that was asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from arena.contracts import InvalidInput
from arena.episodes.video import ArrayFrames
from arena.learned.checkpoint import WEIGHTS, CloningModel
from arena.learned.cloning import train_cloning
from arena.learned.finetune import Finetuning, Mixture, Part, finetune_cloning, places
from tests.arena.learned.test_cloning import LEFT, RIGHT, SMALL, Killed, episode, observation

OPTIONS = Finetuning(steps=12, batch=8, warmup=0)
BLANK = {"wrist": ArrayFrames(np.zeros((8, 32, 32, 3), np.uint8))}
TOLD_LEFT = replace(episode("a", goal=8, words=LEFT), cameras=BLANK)
TOLD_RIGHT = replace(episode("b", goal=24, words=RIGHT), cameras=BLANK)
OTHER_WORDS = "would you kindly head starboard"


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> CloningModel:
    config = replace(SMALL, steps=250, batch=16, learning_rate=5e-3)
    folder = train_cloning([TOLD_LEFT, TOLD_RIGHT], config, tmp_path_factory.mktemp("start") / "told", seed=0)
    return CloningModel.load(folder)


def goal_of(model: CloningModel, words: str) -> float:
    return float(model.predict([observation(TOLD_LEFT, at=3, words=words)])[0, :, 0].mean())


def test_it_learns_new_words_and_keeps_the_old(start: CloningModel, tmp_path: Path) -> None:
    assert abs(goal_of(start, OTHER_WORDS) - 0.24) > 0.03
    reworded = replace(TOLD_RIGHT, id="c", instruction=OTHER_WORDS)
    parts = [Part([TOLD_LEFT, TOLD_RIGHT], 1.0), Part([reworded], 1.0)]
    options = Finetuning(steps=150, batch=16, learning_rate=3e-3)
    tuned = CloningModel.load(finetune_cloning(start, parts, tmp_path / "tuned", options, seed=0))
    for words, goal in ((OTHER_WORDS, 0.24), (LEFT, 0.08), (RIGHT, 0.24)):
        assert goal_of(tuned, words) == pytest.approx(goal, abs=0.03), words
    assert set(tuned.training.instructions) == {LEFT, RIGHT, OTHER_WORDS}
    assert torch.equal(tuned.normalisation.position_mean, start.normalisation.position_mean)
    assert abs(goal_of(start, OTHER_WORDS) - 0.24) > 0.03, "the model that it started from is left as it was"


def test_a_killed_fine_tuning_resumes_to_the_same_weights(
    start: CloningModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("arena.learned.finetune.SAVE_SECONDS", 0.0)
    parts = [Part([TOLD_LEFT])]
    whole = finetune_cloning(start, parts, tmp_path / "whole", OPTIONS, seed=1)

    def kill(done: int, total: int, stage: str) -> None:
        if stage.startswith("training") and done == 7:
            raise Killed

    with pytest.raises(Killed):
        finetune_cloning(start, parts, tmp_path / "cut", OPTIONS, seed=1, progress=kill)
    assert not (tmp_path / "cut").exists()
    steps: list[int] = []

    def count(done: int, total: int, stage: str) -> None:
        if stage.startswith("training"):
            steps.append(done)

    cut = finetune_cloning(start, parts, tmp_path / "cut", OPTIONS, seed=1, progress=count)
    assert min(steps) == 7
    assert (cut / WEIGHTS).read_bytes() == (whole / WEIGHTS).read_bytes()
    assert finetune_cloning(start, parts, cut, OPTIONS, seed=1) == cut, "what is done is done"
    with pytest.raises(InvalidInput, match="already exists"):
        finetune_cloning(start, [Part([TOLD_RIGHT])], cut, OPTIONS, seed=1)


@pytest.mark.parametrize(
    ("shares", "batch", "counts"),
    [([1.0], 8, [8]), ([1.0, 1.0], 8, [4, 4]), ([3.0, 1.0], 8, [6, 2]), ([100.0, 1.0], 8, [7, 1])],
)
def test_every_batch_has_each_set_at_its_share(shares: list[float], batch: int, counts: list[int]) -> None:
    assert places(shares, batch) == counts
    sets = [Part([replace(episode(str(index)), instruction=f"{index} " * (index + 1))], share)
            for index, share in enumerate(shares)]  # fmt: skip
    drawn = Mixture(sets, replace(SMALL, batch=batch), 20.0).batch(torch.Generator().manual_seed(0))
    lengths = (drawn.words > 0).sum(dim=1)
    assert [int((lengths == index + 1).sum()) for index in range(len(shares))] == counts
    assert len(drawn.state) == len(drawn.target) == len(drawn.images[0]) == batch


@pytest.mark.parametrize(
    ("parts", "options", "message"),
    [
        ([], OPTIONS, "needs episodes"),
        ([Part([TOLD_LEFT], 0.0)], OPTIONS, "shares above 0"),
        ([Part([TOLD_LEFT])] * 3, replace(OPTIONS, batch=2), "no place for 3 sets"),
        ([Part([replace(TOLD_LEFT, success=False)])], OPTIONS, "needs a successful episode"),
        ([Part([replace(TOLD_LEFT, fps=10.0)])], OPTIONS, "acts at 20 Hz, the episodes are at 10 Hz"),
        ([Part([replace(TOLD_LEFT, cameras={"eye": BLANK["wrist"]})])], OPTIONS, "no camera 'wrist'"),
        ([Part([TOLD_LEFT])], replace(OPTIONS, learning_rate=0.0), "learning_rate"),
    ],
)
def test_what_cannot_be_learned_from(
    start: CloningModel, tmp_path: Path, parts: list[Part], options: Finetuning, message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        finetune_cloning(start, parts, tmp_path / "out", options, seed=0)
    assert list(tmp_path.iterdir()) == []
