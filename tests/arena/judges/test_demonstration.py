"""The demonstration judge on a made-up world: a dot that has to be carried from left to right, past clutter."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from arena.contracts import ActionChunk, ActionSpace, FloatArray, Frames, InvalidInput, Provenance, Rollout, Verdict
from arena.judges.demonstration import DemonstrationJudge
from arena.judges.trials import LabelledTrial, split_demonstrations

FRAMES = 20
WIDTH = 24


class Pixels:
    """A stand-in for a world model's encoder."""

    def __init__(self, sha256: str = "e" * 64) -> None:
        self.sha256 = sha256

    def encode(self, frames: Mapping[str, Frames]) -> FloatArray:
        video = frames["camera"].astype(np.float32) / 255
        return video.reshape(len(video), -1)


class Broken(Pixels):
    def encode(self, frames: Mapping[str, Frames]) -> FloatArray:
        return np.full((FRAMES, 4), np.nan)


def video(reached: float, seed: int, row: int = 4, length: int = FRAMES) -> Frames:
    """A dot that goes along `row` for the share `reached` of the way, in noise."""
    random = np.random.default_rng(seed)
    places = 2 + (WIDTH - 5) * np.linspace(0, reached, length)
    x = np.arange(WIDTH)
    dot = np.exp(-0.5 * ((x[None] - places[:, None]) / 1.5) ** 2)
    image = np.zeros((length, 12, WIDTH))
    image[:, row - 1 : row + 2] = dot[:, None]
    image += 0.05 * random.random(image.shape)
    return np.repeat((200 * image).astype(np.uint8)[..., None], 3, axis=-1)


def trial(reached: float, seed: int, task: str = "right", row: int = 4) -> LabelledTrial:
    frames = {"camera": video(reached, seed, row)}
    return LabelledTrial(f"{task}-{seed}", frames, task, "carry the dot", success=reached >= 0.9)


def trials(task: str, row: int, first: int, count: int) -> list[LabelledTrial]:
    """Half of them successes; failures end anywhere short of the goal."""
    random = np.random.default_rng(first)
    ends = [1.0 if n % 2 else float(random.uniform(0, 0.75)) for n in range(count)]
    return [trial(end, first + n, task, row) for n, end in enumerate(ends)]


@pytest.fixture(scope="module")
def everything() -> list[LabelledTrial]:
    return [*trials("right", 4, 0, 48), *trials("low", 8, 1000, 48)]


@pytest.fixture(scope="module")
def judge(everything: Sequence[LabelledTrial]) -> DemonstrationJudge:
    demonstrations, labelled = split_demonstrations(everything, seed=0, share=0.25)
    return DemonstrationJudge.fit(Pixels(), demonstrations, labelled, seed=0)


def probability(verdict: Verdict) -> float:
    assert verdict.success_probability is not None, verdict.reason
    return verdict.success_probability


def test_card_tells_what_it_was_measured_on(judge: DemonstrationJudge) -> None:
    card = judge.card
    assert card.demonstrations == {"right": 6, "low": 6}
    assert card.calibrated_on + card.held_out == 96 - 12
    assert card.accuracy is not None
    assert card.accuracy >= 0.95
    assert card.auc is not None
    assert card.auc >= 0.98
    assert card.base_rate is not None
    assert 0.5 <= card.base_rate < 0.65
    assert card.calibration_error is not None
    assert card.calibration_error < 0.1
    assert set(card.task_accuracy) == {"right", "low"}


@pytest.mark.parametrize(("task", "row"), [("right", 4), ("low", 8)])
def test_judges_trials_it_has_not_seen(judge: DemonstrationJudge, task: str, row: int) -> None:
    verdicts = [
        judge.judge_trial(trial(reached, 5000 + n, task, row)) for n, reached in enumerate((0.0, 0.3, 0.6, 1.0))
    ]
    progress = [verdict.progress for verdict in verdicts]
    assert progress == sorted(progress)
    assert progress == pytest.approx([0, 30, 60, 100], abs=15)
    assert probability(verdicts[-1]) > judge.card.threshold > probability(verdicts[-2])
    assert all(verdict.judge_sha256 == judge.sha256 and not verdict.abstained for verdict in verdicts)


def test_the_right_motion_in_the_wrong_place_is_no_success(judge: DemonstrationJudge) -> None:
    elsewhere = judge.judge_trial(trial(1.0, 5100, "right", row=8))
    assert elsewhere.abstained or probability(elsewhere) < judge.card.threshold


def test_the_outcome_of_the_judged_trial_is_not_looked_at(judge: DemonstrationJudge) -> None:
    shown = trial(0.4, 5200)
    assert judge.judge_trial(shown) == judge.judge_trial(dataclasses.replace(shown, success=True))


def test_abstains_without_a_demonstration(judge: DemonstrationJudge) -> None:
    verdict = judge.judge_trial(trial(1.0, 5300, task="fold the towel"))
    assert verdict.abstained
    assert (verdict.success_probability, verdict.progress) == (None, None)
    assert "'fold the towel'" in verdict.reason
    assert "low, right" in verdict.reason


def test_abstains_on_what_is_unlike_everything_seen(judge: DemonstrationJudge) -> None:
    static = np.random.default_rng(0).integers(0, 256, (FRAMES, 12, WIDTH, 3), dtype=np.uint8)
    for frames in (static, 255 - video(1.0, 5400)):
        verdict = judge.judge_trial(LabelledTrial("x", {"camera": frames}, "right", "", None))
        assert verdict.abstained
        assert "novelty" in verdict.reason


def as_rollout(shown: LabelledTrial) -> Rollout:
    still = np.zeros((FRAMES, 7))
    return Rollout(
        id=shown.id, policy="p", world="w", scene_id="s", task=shown.task, instruction=shown.instruction, seed=0,
        fps=10.0, frames=shown.frames, state=still,
        action=ActionChunk(still[1:], ActionSpace.CARTESIAN_POSITION, 10.0), step_seconds=(),
        provenance=Provenance("", "", "", "", ""),
    )  # fmt: skip


def test_it_can_be_made_to_guess_where_it_abstains(judge: DemonstrationJudge) -> None:
    known = as_rollout(trial(1.0, 5450))
    assert judge.guess(known) == probability(judge.judge(known))
    strange = dataclasses.replace(known, frames={"camera": 255 - video(1.0, 5400)})
    assert judge.judge(strange).abstained
    assert judge.guess(strange) is not None
    assert judge.guess(dataclasses.replace(known, task="fold the towel")) is None
    assert DemonstrationJudge(Broken(), judge._fitted, judge.card).guess(known) is None


def test_abstains_on_an_embedding_that_is_not_finite(judge: DemonstrationJudge) -> None:
    broken = DemonstrationJudge(Broken(), judge._fitted, judge.card)
    verdict = broken.judge_trial(trial(1.0, 5500))
    assert verdict.abstained
    assert "NaN" in verdict.reason


def test_few_trials_of_known_kinds_are_abstained_on(judge: DemonstrationJudge) -> None:
    verdicts = [judge.judge_trial(each) for each in trials("right", 4, 9000, 40)]
    assert sum(verdict.abstained for verdict in verdicts) <= 1


def test_saved_and_loaded_it_is_the_same_judge(judge: DemonstrationJudge, tmp_path: Path) -> None:
    path = tmp_path / "judges" / "judge.safetensors"
    judge.save(path)
    loaded = DemonstrationJudge.load(path, Pixels())
    assert loaded.sha256 == judge.sha256
    assert loaded.card == judge.card
    for seed in (1, 2):
        shown = trial(0.7, 5600 + seed)
        assert loaded.judge_trial(shown) == judge.judge_trial(shown)
    assert [each.name for each in path.parent.iterdir()] == ["judge.safetensors"]


def test_same_seed_same_judge(everything: Sequence[LabelledTrial], judge: DemonstrationJudge) -> None:
    demonstrations, labelled = split_demonstrations(everything, seed=0, share=0.25)
    assert DemonstrationJudge.fit(Pixels(), demonstrations, labelled, seed=0).sha256 == judge.sha256
    assert DemonstrationJudge.fit(Pixels(), demonstrations, labelled, seed=1).sha256 != judge.sha256


def test_files_that_are_no_such_judge_are_refused(judge: DemonstrationJudge, tmp_path: Path) -> None:
    path = tmp_path / "judge.safetensors"
    with pytest.raises(InvalidInput, match="not a readable demonstration judge"):
        DemonstrationJudge.load(path, Pixels())
    path.write_bytes(b"not safetensors at all")
    with pytest.raises(InvalidInput, match="not a readable demonstration judge"):
        DemonstrationJudge.load(path, Pixels())
    save_file({"a": np.zeros(3, np.float32)}, path)
    with pytest.raises(InvalidInput, match="not a readable demonstration judge"):
        DemonstrationJudge.load(path, Pixels())
    judge.save(path)
    with pytest.raises(InvalidInput, match="fitted with encoder eeeeeeeeeeee, not with ffffffffffff"):
        DemonstrationJudge.load(path, Pixels("f" * 64))


def test_a_judge_with_nan_inside_is_refused(judge: DemonstrationJudge, tmp_path: Path) -> None:
    from safetensors import safe_open

    path = tmp_path / "judge.safetensors"
    judge.save(path)
    with safe_open(path, "numpy") as file:
        metadata = file.metadata()
    arrays = load_file(path)
    arrays["space.mean"] = np.full_like(arrays["space.mean"], np.nan)
    save_file(arrays, path, metadata=metadata)
    with pytest.raises(InvalidInput, match="NaN"):
        DemonstrationJudge.load(path, Pixels())


def test_without_enough_labels_it_gives_progress_and_no_probability() -> None:
    shown = [trial(1.0, seed) for seed in (1, 2)]
    judge = DemonstrationJudge.fit(Pixels(), shown, [trial(0.2, 3), trial(1.0, 4)], seed=0)
    assert judge.card.accuracy is None
    assert any("uncalibrated" in note for note in judge.card.notes)
    verdict = judge.judge_trial(trial(0.5, 5))
    assert verdict.success_probability is None
    assert not verdict.abstained
    assert verdict.progress == pytest.approx(50, abs=15)


def test_one_demonstration_is_enough_for_progress() -> None:
    judge = DemonstrationJudge.fit(Pixels(), [trial(1.0, 1)], [], seed=0)
    assert judge.judge_trial(trial(0.5, 5)).progress == pytest.approx(50, abs=15)


def test_labels_that_cannot_be_used_are_counted(everything: Sequence[LabelledTrial]) -> None:
    demonstrations, labelled = split_demonstrations(everything, seed=0, share=0.25)
    unknown = dataclasses.replace(trial(0.1, 7000), success=None)
    judge = DemonstrationJudge.fit(Pixels(), demonstrations, [*labelled, unknown, trial(1, 7001, "other")], seed=0)
    assert any("2 labelled trials" in note for note in judge.card.notes)


def test_bad_demonstrations_are_refused() -> None:
    good, failed = trial(1.0, 1), trial(0.2, 2)
    with pytest.raises(InvalidInput, match="right-2 failed"):
        DemonstrationJudge.fit(Pixels(), [good, failed], [], seed=0)
    with pytest.raises(InvalidInput, match="right-1 is a demonstration"):
        DemonstrationJudge.fit(Pixels(), [good], [good], seed=0)
    with pytest.raises(InvalidInput, match="at least one"):
        DemonstrationJudge.fit(Pixels(), [], [good], seed=0)
    with pytest.raises(InvalidInput, match="no finite"):
        DemonstrationJudge.fit(Broken(), [good], [], seed=0)
    with pytest.raises(InvalidInput, match="none of 1 trials"):
        split_demonstrations([failed], seed=0)


def test_splitting_keeps_failures_and_every_task(everything: Sequence[LabelledTrial]) -> None:
    demonstrations, labelled = split_demonstrations(everything, seed=3, share=0.5)
    assert {each.task for each in demonstrations} == {"right", "low"}
    assert all(each.success for each in demonstrations)
    assert len(demonstrations) + len(labelled) == len(everything)
    assert sum(not each.success for each in labelled) == sum(not each.success for each in everything)
