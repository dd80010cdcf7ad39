"""The learned judge on a made-up world: a dot that is to touch one of two blocks, seen blurred where it is imagined."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from arena.contracts import ActionChunk, ActionSpace, InvalidInput, Provenance, Rollout, Verdict
from arena.episodes.atomic import MANIFEST
from arena.episodes.errors import DamagedArtifact
from arena.judges.contrary import is_contrary
from arena.learned.judging import training
from arena.learned.judging.films import Film, film_of_rollout
from arena.learned.judging.fitting import Lessons, train_judge
from arena.learned.judging.folder import CONFIG, WEIGHTS
from arena.learned.judging.judge import LearnedJudge, peak, read_film
from arena.learned.judging.measures import blind_controls, cautious_threshold, measure
from arena.learned.judging.network import JudgingConfig, smooth_maximum
from arena.learned.judging.training import Films, train_network
from workers.registry import JUDGE, pretrained

HEIGHT, WIDTH = 16, 24
SMALL = JudgingConfig(
    cameras=("wrist",), height=HEIGHT, width=WIDTH, channels=16, squeezed=4, hidden=32, features=16, word_width=16,
    steps=260, batch=16, frames=4, learning_rate=6e-3, warmup=5, ema=0.9, shift_pixels=1, settled_frames=3,
)  # fmt: skip
RED, BLUE = "touch the red block", "touch the blue block"
SIDES = {RED: 1.0, BLUE: -1.0}
COLOURS = {RED: (255, 0, 0), BLUE: (0, 0, 255)}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def film(reached: float, seed: int, words: str = RED, imagined: bool = False, length: int | None = None) -> Film:
    """A dot that goes from the middle the share `reached` of the way to the red block (or to the blue one, below 0)."""
    random = np.random.default_rng(seed)
    length = length or int(random.integers(8, 14))
    done = reached * SIDES[words] >= 0.95
    way = reached * np.minimum(np.linspace(0, 1.3 if done else 1.0, length), 1.0)
    row = int(random.integers(4, 9))
    frames = np.full((length, HEIGHT, WIDTH, 3), 60, np.uint8)
    for block, side in SIDES.items():
        column = 20 if side > 0 else 0
        frames[:, row : row + 4, column : column + 4] = COLOURS[block]
    for frame, share in zip(frames, way, strict=True):
        column = round(10 + 7 * share)
        frame[row : row + 4, column : column + 4] = 255
    if imagined:
        frames[1:] = (frames[1:] // 2 + frames[1:].mean(axis=(1, 2), keepdims=True) / 2).astype(np.uint8)
    frames = np.clip(frames + random.normal(0, 4, frames.shape), 0, 255).astype(np.uint8)
    track = np.zeros((length, 4))
    track[:, :3] = 0.2 * way[:, None]
    name = f"{words}-{seed}{'-imagined' if imagined else ''}"
    pixels = torch.from_numpy(frames).permute(0, 3, 1, 2)[:, None].contiguous()
    return Film(name, pixels, torch.from_numpy(track).float(), words.split()[2], words, bool(done), imagined)


def films(count: int, first: int, imagined: bool = False) -> tuple[Film, ...]:
    """Half of them successes; failures stop short, or go to the other block."""
    random = np.random.default_rng(first)
    found = []
    for n in range(count):
        words = RED if n % 2 else BLUE
        ends = (1.0, float(random.uniform(0, 0.7)), 1.0, float(random.uniform(-1.0, -0.6)))
        found.append(film(SIDES[words] * ends[(n // 2) % 4], first + n, words, imagined))
    return tuple(found)


LESSONS = Lessons((*films(96, 0), *films(48, 0, imagined=True)), films(96, 1000, imagined=True), robots=("dot",))
TRIED = films(64, 5000, imagined=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return train_judge(LESSONS, SMALL, tmp_path_factory.mktemp("judges") / "dots", seed=0)


@pytest.fixture(scope="module")
def judge(folder: Path) -> LearnedJudge:
    return LearnedJudge.load(folder)


def rollout(of: Film, **changes: object) -> Rollout:
    assert of.track is not None
    state = np.zeros((len(of), 7))
    state[:, :3], state[:, 6] = of.track[:, :3], of.track[:, 3]
    made = Rollout(
        id=of.id, policy="p", world="w", scene_id="s", task=of.task, instruction=of.instruction, seed=0, fps=10.0,
        frames={"wrist": of.frames[:, 0].permute(0, 2, 3, 1).numpy()}, state=state,
        action=ActionChunk(state[1:], ActionSpace.CARTESIAN_POSITION, 10.0), step_seconds=(),
        provenance=Provenance("", "", "", "", ""),
    )  # fmt: skip
    return replace(made, **changes)  # type: ignore[arg-type]


def probability(verdict: Verdict) -> float:
    assert verdict.success_probability is not None, verdict.reason
    return verdict.success_probability


def test_it_judges_films_that_it_has_not_seen(judge: LearnedJudge) -> None:
    found = measure(judge, TRIED)
    assert found.auc is not None
    assert found.auc >= 0.97
    assert found.accuracy is not None
    assert found.accuracy >= 0.9
    assert found.false_success is not None
    assert found.false_success <= 0.1
    assert found.calibration_error is not None
    assert found.calibration_error <= 0.15
    assert found.abstained <= 4


def test_recordings_are_judged_as_well_as_what_is_imagined(judge: LearnedJudge) -> None:
    found = measure(judge, films(48, 6000))
    assert found.auc is not None
    assert found.auc >= 0.95


def test_its_card_has_the_same_measures(judge: LearnedJudge) -> None:
    card = judge.card
    assert (card.trained_on, card.trained_on_imagined, card.calibrated_on + card.held_out) == (96, 48, 96)
    assert card.auc is not None
    assert card.auc >= 0.97
    assert set(card.task_accuracy) == {"red", "blue"}
    assert set(card.controls) == {"first_frame", "instruction_only", "shuffled_instruction"}
    assert card.covers({RED, "  Touch the BLUE block"}, {"dot"})
    assert not card.covers({RED, "open the drawer"}, {"dot"})
    assert not card.covers({RED}, {"panda"})
    assert not card.covers(set(), {"dot"})


def test_blind_controls_are_near_chance(judge: LearnedJudge) -> None:
    for name, found in blind_controls(judge, TRIED, seed=0).items():
        assert found.balanced_accuracy == pytest.approx(0.5, abs=0.13), name


def test_the_instruction_decides_which_block_counts(judge: LearnedJudge) -> None:
    for seed in range(7000, 7006):
        shown = replace(film(1.0, seed, RED, imagined=True), track=None)
        assert probability(judge.judge_film(shown)) > judge.card.threshold
        assert probability(judge.judge_film(replace(shown, instruction=BLUE))) < judge.card.threshold


def test_progress_goes_with_how_far_it_came(judge: LearnedJudge) -> None:
    came = [
        np.mean([judge.judge_film(film(reached, 7100 + n, imagined=True)).progress or 0.0 for n in range(4)])
        for reached in (0.1, 0.5, 1.0)
    ]
    assert came == sorted(came)
    assert came[-1] > 80


def test_still_frames_at_the_end_change_little(judge: LearnedJudge) -> None:
    for shown in TRIED[:12]:
        still = replace(shown, track=None, frames=torch.cat([shown.frames, shown.frames[-1:].repeat(15, 1, 1, 1, 1)]))
        before = judge.judge_film(replace(shown, track=None))
        after = judge.judge_film(still)
        assert probability(after) == pytest.approx(probability(before), abs=0.1)


def test_success_is_not_undone_by_what_comes_later(judge: LearnedJudge) -> None:
    there = film(1.0, 7200, RED, imagined=True, length=10)
    back = replace(there, track=None, frames=torch.cat([there.frames, there.frames.flip(0)]))
    assert probability(judge.judge_film(back)) > judge.card.threshold


def test_the_outcome_of_the_judged_film_is_not_looked_at(judge: LearnedJudge) -> None:
    shown = film(0.4, 7300, imagined=True)
    assert judge.judge_film(shown) == judge.judge_film(replace(shown, success=True))


def test_abstains_on_what_is_unlike_everything_seen(judge: LearnedJudge) -> None:
    shown = film(1.0, 7400, imagined=True)
    static = torch.randint(0, 256, shown.frames.shape, generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    for frames in (static, 255 - shown.frames):
        verdict = judge.judge_film(replace(shown, frames=frames, track=None))
        assert verdict.abstained
        assert (verdict.success_probability, verdict.progress) == (None, None)
        assert "unlike all" in verdict.reason


def test_abstains_where_the_hand_is_not_where_it_should_be(judge: LearnedJudge) -> None:
    shown = film(1.0, 7500, imagined=True)
    assert shown.track is not None
    verdict = judge.judge_film(replace(shown, track=shown.track.flip(0)))
    assert verdict.abstained
    assert "cm away" in verdict.reason
    closed = shown.track.clone()
    closed[:, 3] = 1.0
    verdict = judge.judge_film(replace(shown, track=closed))
    assert verdict.abstained
    assert "of its stroke" in verdict.reason


def test_rollouts_are_judged_like_films_and_never_raise(judge: LearnedJudge) -> None:
    shown = film(1.0, 7600, imagined=True)
    verdict = judge.judge(rollout(shown))
    assert verdict == judge.judge_film(shown)
    assert (verdict.judge, verdict.judge_sha256) == ("learned", judge.sha256)
    lost = np.full((len(shown), 7), np.nan)
    for broken, why in (
        (rollout(shown, state=lost), "NaN"),
        (rollout(shown, state=np.zeros((3, 7))), "3 states"),
        (rollout(shown, frames={"exterior": np.zeros((4, 8, 8, 3), np.uint8)}), "no camera 'wrist'"),
        (rollout(shown, frames={"wrist": np.zeros((0, 8, 8, 3), np.uint8)}), "0 frames"),
        (rollout(shown, instruction="fold the towel"), "'fold the towel'"),
    ):
        verdict = judge.judge(broken)
        assert verdict.abstained
        assert why in verdict.reason


def test_frames_of_another_size_are_resized(judge: LearnedJudge) -> None:
    shown = film(1.0, 7700, imagined=True)
    large = rollout(shown)
    frames = {name: video.repeat(4, axis=1).repeat(4, axis=2) for name, video in large.frames.items()}
    film_of_it = film_of_rollout(replace(large, frames=frames), SMALL)
    assert film_of_it.frames.shape == shown.frames.shape
    # Twice interpolated, it is softer than what was learned from: strange perhaps, but no other film.
    assert judge.probability(read_film(judge.fitted, film_of_it), film_of_it.instruction) > judge.card.threshold


def test_it_can_be_made_to_guess_where_it_abstains(judge: LearnedJudge) -> None:
    known = rollout(TRIED[0])
    assert judge.guess(known) == judge.probability(read_film(judge.fitted, TRIED[0]), TRIED[0].instruction)
    told = replace(known, instruction="fold the towel")
    assert judge.judge(told).abstained
    assert judge.guess(told) is not None
    assert judge.guess(replace(known, frames={})) is None
    assert judge.guess(replace(known, state=np.full_like(known.state, np.nan))) is None


def test_its_hash_is_that_of_its_files(judge: LearnedJudge, folder: Path) -> None:
    """Whatever becomes of the classes: a judge keeps the hash that its verdicts are stored under."""
    for made, at in ((judge, folder), (LearnedJudge.load(pretrained(JUDGE)), pretrained(JUDGE))):
        written = (at / CONFIG).read_bytes() + (at / WEIGHTS).read_bytes()
        assert made.sha256 == hashlib.sha256(written).hexdigest()


def test_saved_and_loaded_it_is_the_same_judge(judge: LearnedJudge, tmp_path: Path) -> None:
    judge.save(tmp_path / "again")
    loaded = LearnedJudge.load(tmp_path / "again")
    assert (loaded.sha256, loaded.card) == (judge.sha256, judge.card)
    for shown in TRIED[:6]:
        assert loaded.judge_film(shown) == judge.judge_film(shown)
    with pytest.raises(InvalidInput, match="already exists"):
        judge.save(tmp_path / "again")


def test_an_interrupted_training_ends_with_the_same_judge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(SMALL, steps=8)
    monkeypatch.setattr(training, "SAVE_SECONDS", 0.0)
    whole = LearnedJudge.load(train_judge(LESSONS, config, tmp_path / "whole", seed=1))

    def interrupt(done: int, total: int, stage: str) -> None:
        if done == 5 and "training" in stage:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_judge(LESSONS, config, tmp_path / "parts", seed=1, progress=interrupt)
    assert not (tmp_path / "parts").exists()
    assert LearnedJudge.load(train_judge(LESSONS, config, tmp_path / "parts", seed=1)).sha256 == whole.sha256
    assert sorted(each.name for each in tmp_path.iterdir()) == ["parts", "whole"]
    assert train_judge(LESSONS, config, tmp_path / "parts", seed=1) == tmp_path / "parts"
    with pytest.raises(InvalidInput, match="already exists"):
        train_judge(LESSONS, config, tmp_path / "parts", seed=2)


def damaged(folder: Path, tmp_path: Path, name: str) -> Path:
    """A copy without its manifest's protection, to see what is checked beyond it."""
    copy = tmp_path / name
    shutil.copytree(folder, copy)
    return copy


def sealed(copy: Path) -> Path:
    from arena.episodes.atomic import atomic_directory

    out = copy.with_name(f"{copy.name}-sealed")
    with atomic_directory(out) as partial:
        for file in copy.iterdir():
            if file.name != MANIFEST:
                shutil.copy2(file, partial / file.name)
    return out


def test_damaged_folders_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput):
        LearnedJudge.load(tmp_path / "nowhere")
    copy = damaged(folder, tmp_path, "bytes")
    data = bytearray((copy / WEIGHTS).read_bytes())
    data[-1] ^= 1
    (copy / WEIGHTS).write_bytes(data)
    with pytest.raises(DamagedArtifact):
        LearnedJudge.load(copy)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("nan", lambda t: t["network.success.1.bias"].fill_(torch.nan), "NaN"),
        ("shape", lambda t: t.update({"network.success.1.bias": torch.zeros(2).half()}), "not \\(1,\\)"),
        ("type", lambda t: t.update({"network.success.1.bias": torch.zeros(1)}), "not float16"),
        ("missing", lambda t: t.pop("looks.seen"), "'looks.seen' are missing"),
        ("unexpected", lambda t: t.update({"more": torch.zeros(1).half()}), "'more' are unexpected"),
        ("misfit", lambda t: t.update({"looks.scale": torch.zeros(1).half()}), "do not fit"),
    ],
)
def test_weights_that_are_not_a_judges_are_refused(
    folder: Path, tmp_path: Path, name: str, change: object, message: str
) -> None:
    copy = damaged(folder, tmp_path, name)
    tensors = load_file(copy / WEIGHTS)
    change(tensors)  # type: ignore[operator]
    save_file(tensors, copy / WEIGHTS)
    with pytest.raises(InvalidInput, match=message):
        LearnedJudge.load(sealed(copy))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("format", lambda d: d.update(format="other")),
        ("config", lambda d: d["config"].update(channels=7)),
        ("field", lambda d: d["config"].update(surprise=1)),
        ("card", lambda d: d["card"].pop("threshold")),
        ("numbers", lambda d: d.update(track_scale=[1.0])),
        ("limits", lambda d: d["limits"].update(looks=float("nan"))),
        ("scale", lambda d: d["logistic"].update(scale=[-1.0])),
        ("slopes", lambda d: d["logistic"].update(common=[1.0, 1.0, 0.0])),
        ("slope", lambda d: d["logistic"]["own"].update({RED: [float("nan"), 0.0]})),
        ("own", lambda d: d["logistic"].update(own=[])),
    ],
)
def test_configs_that_are_not_a_judges_are_refused(folder: Path, tmp_path: Path, name: str, change: object) -> None:
    copy = damaged(folder, tmp_path, name)
    described = json.loads((copy / CONFIG).read_text())
    change(described)  # type: ignore[operator]
    (copy / CONFIG).write_text(json.dumps(described))
    with pytest.raises(InvalidInput):
        LearnedJudge.load(sealed(copy))


@pytest.mark.parametrize(
    ("done", "other", "succeeded", "contrary"),
    [
        ("open the drawer", "close the drawer", True, True),
        ("open the drawer", "close the drawer", False, False),
        ("open the drawer", "open the door", True, True),
        ("open the drawer", "press the button", False, True),
        ("turn the faucet on", "turn the faucet off", True, True),
        ("push the puck to the goal", "push the puck to the hole", True, True),
        ("push the puck to the goal", "move the gripper to the goal", True, False),
        ("push the puck to the goal", "pick up the puck and bring it to the goal", True, False),
        ("press the button", "press the button from above", True, False),
        ("close the drawer", "shove the drawer", True, False),
        ("open the drawer", "Open  the DRAWER", True, False),
    ],
)
def test_only_certain_contraries_are_contrary(done: str, other: str, succeeded: bool, contrary: bool) -> None:
    assert is_contrary(done, other, succeeded) is contrary


def test_batches_tell_nothing_by_length_and_never_show_success_as_failure() -> None:
    data = Films(LESSONS.training, replace(SMALL, batch=64, contrary=0.3, still=0.1))
    batch = data.batch(torch.Generator().manual_seed(0))
    assert batch.frames.shape == (64, 4, 1, 3, HEIGHT, WIDTH)
    assert batch.success.unique().tolist() == [0.0, 1.0]
    failed = batch.success == 0
    assert (batch.done[failed] == 0).all()
    assert (batch.progress[failed] == training.UNKNOWN).all()
    assert (batch.progress[~failed][:, -1] == 1).all(), "the last frame of a success is always shown"
    assert (batch.done[~failed][:, -1] == training.UNKNOWN).all()
    again = data.batch(torch.Generator().manual_seed(0))
    assert torch.equal(batch.frames, again.frames)


def test_training_needs_both_outcomes_and_calibration_enough_of_each(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="of one kind"):
        Films([each for each in LESSONS.training if each.success], SMALL)
    few = Lessons(LESSONS.training[:16], LESSONS.calibration[:8])
    with pytest.raises(InvalidInput, match="5 of each are needed"):
        train_judge(few, replace(SMALL, steps=1), tmp_path / "few", seed=0)
    with pytest.raises(InvalidInput, match="is learned from"):
        Lessons(LESSONS.training, LESSONS.training[:1])


def test_films_without_tracks_are_learned_from(tmp_path: Path) -> None:
    data = Films([replace(each, track=None) for each in LESSONS.training[:16]], replace(SMALL, steps=2))
    network = train_network(data, 0, tmp_path, "x")
    assert all(bool(p.isfinite().all()) for p in network.parameters())


@pytest.mark.parametrize(
    "changes",
    [
        {"channels": 12},
        {"height": 20},
        {"frames": 1},
        {"cameras": ()},
        {"contrary": 2.0},
        {"steps": 1.5},
        {"batch": True},
    ],
)
def test_configs_out_of_range_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(InvalidInput, match="judging: "):
        replace(SMALL, **changes)  # type: ignore[arg-type]


def test_the_smooth_maximum_is_near_the_maximum_whatever_is_repeated() -> None:
    values = torch.tensor([[-3.0, 4.0, -2.0]])
    assert 3.9 < float(smooth_maximum(values)) <= 4.0
    assert float(smooth_maximum(torch.full((1, 9), 1.5))) == pytest.approx(1.5)


def test_a_peak_is_of_several_frames() -> None:
    assert peak(np.array([0.0, 0.0, 0.9, 0.0, 0.0])) == pytest.approx(0.3)
    assert peak(np.array([0.5, 0.7])) == pytest.approx(0.6)


def test_a_false_success_costs_twice() -> None:
    probability = np.array([0.2, 0.4, 0.5, 0.6, 0.7, 0.9])
    success = np.array([False, True, False, True, True, True])
    # At 0.3 half of the failures pass (cost 1); at 0.55 a quarter of the successes is missed (cost 0.25).
    assert 0.5 < cautious_threshold(probability, success) < 0.6
    apart = cautious_threshold(np.array([0.1, 0.9]), np.array([False, True]))
    assert apart == pytest.approx(2 / 3)
