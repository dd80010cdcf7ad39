"""The behaviour-cloning policy: what it learns from, what it answers, what it refuses."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from arena.contracts import ActionChunk, ActionSpace, Episode, InvalidInput, Observation, Source
from arena.episodes.atomic import MANIFEST
from arena.episodes.errors import DamagedArtifact
from arena.episodes.video import ArrayFrames
from arena.learned.checkpoint import CONFIG, WEIGHTS, CloningModel
from arena.learned.cloning import CloningPolicy, parse_cloning, train_cloning
from arena.learned.demonstrations import Demonstrations, target_chunks
from arena.learned.encoders import spatial_softmax
from arena.learned.network import CloningConfig, CloningNetwork, word_ids
from arena.policies.registry import default_parsers, parse_spec

SMALL = CloningConfig(
    cameras=("wrist",), height=32, width=32, hidden=32, channels=8, keypoints=8, steps=12, batch=8, warmup=0
)
LEFT, RIGHT = "go to the left", "go to the right"


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def episode(id: str = "e", goal: int = 16, words: str = LEFT, success: bool | None = True, length: int = 8) -> Episode:
    """A white square at pixel column `goal`, and a hand that goes 1 cm at a time toward (goal / 100) m on x."""
    frames = np.zeros((length, 32, 32, 3), np.uint8)
    frames[:, 12:20, goal - 3 : goal + 4] = 255
    pose = np.zeros((length, 6))
    pose[:, 0] = np.minimum(np.arange(length) / 100, goal / 100)
    pose[:, 3] = np.pi - 0.01
    action = np.hstack([pose, np.linspace(0.0, 1.0, length)[:, None]])
    action[:, 0] = goal / 100
    return Episode(
        id=id,
        cameras={"wrist": ArrayFrames(frames)},
        fps=20.0,
        cartesian_position=pose,
        gripper_position=np.linspace(0.0, 0.5, length)[:, None],
        instruction=words,
        source=Source("clips", "nowhere"),
        action=ActionChunk(action, ActionSpace.CARTESIAN_POSITION, 20.0),
        success=success,
    )


def observation(of: Episode, at: int = 0, words: str | None = None) -> Observation:
    return Observation(
        cameras={name: source.read(at, at + 1)[0] for name, source in of.cameras.items()},
        cartesian_position=of.cartesian_position[at],
        gripper_position=of.gripper_position[at],
        instruction=of.instruction if words is None else words,
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_cloning([episode()], SMALL, tmp_path_factory.mktemp("cloning") / "small", seed=3)


def test_targets_are_the_commands_from_each_frame_on() -> None:
    targets = target_chunks(episode(goal=20), 5)
    assert targets.shape == (8, 5, 4)
    assert (targets[:, :, 0] == 0.2).all()
    assert np.allclose(targets[1, :, 3], np.arange(1, 6) / 7)
    assert np.allclose(targets[6, :, 3], [6 / 7, 1, 1, 1, 1]), "after the end the last command stays"


@pytest.mark.parametrize("space", [None, ActionSpace.JOINT_VELOCITY])
def test_without_cartesian_commands_the_states_are_shifted_by_one(space: ActionSpace | None) -> None:
    action = None if space is None else ActionChunk(np.full((8, 8), 9.0), space, 20.0)
    shifted = replace(episode(), action=action)
    targets = target_chunks(shifted, 3)
    assert np.allclose(targets[2, :, 0], [0.03, 0.04, 0.05])
    assert np.allclose(targets[7, :, 0], 0.07)
    assert np.allclose(targets[2, :, 3], shifted.gripper_position[3:6, 0])


def test_only_successes_are_learned_from_by_default() -> None:
    episodes = [episode("good"), episode("bad", success=False), episode("unknown", success=None)]
    assert len(Demonstrations(episodes, SMALL)) == 8
    assert len(Demonstrations(episodes, replace(SMALL, only_successes=False))) == 24


def test_augmentation_moves_images_and_states_but_not_targets() -> None:
    data = Demonstrations([episode()], replace(SMALL, position_noise=0.005, shift_pixels=2, brightness=0.2))
    batch = data.batch(torch.Generator().manual_seed(0))
    assert batch.images[0].shape == (8, 3, 32, 32)
    assert batch.images[0].unique().numel() > 4, "brightness differs from sample to sample"
    columns = (batch.images[0][:, 0, 16] > 0.1).float().argmax(dim=1)
    assert set(columns.tolist()) <= set(range(11, 16))
    assert len(set(columns.tolist())) > 1
    clean = torch.from_numpy(episode().cartesian_position[:, 0]).float()
    assert not torch.isin(batch.state[:, 0], clean).any()
    assert (batch.target[:, :, 0] == torch.tensor(0.16)).all()
    assert (data.state[:, 0] == clean).all(), "the demonstrations themselves stay clean"


def test_it_learns_to_look_where_the_goal_is(tmp_path: Path) -> None:
    """Two goals that only the image tells apart; a policy that does not look would answer their mean, 16 cm."""
    config = replace(SMALL, steps=250, batch=16, learning_rate=5e-3, shift_pixels=1)
    out = train_cloning([episode("a", goal=8), episode("b", goal=24)], config, tmp_path / "looks", seed=0)
    policy = CloningPolicy.load(out)
    for goal in (8, 24):
        chunk = policy.act(observation(episode(goal=goal), at=3))
        assert np.allclose(chunk.values[:, 0], goal / 100, atol=0.03), (goal, chunk.values[:, 0])


def test_it_learns_to_do_as_it_is_told(tmp_path: Path) -> None:
    """Two goals that only the instruction tells apart."""
    blank = {"wrist": ArrayFrames(np.zeros((8, 32, 32, 3), np.uint8))}
    left = replace(episode("a", goal=8, words=LEFT), cameras=blank)
    right = replace(episode("b", goal=24, words=RIGHT), cameras=blank)
    config = replace(SMALL, steps=250, batch=16, learning_rate=5e-3)
    policy = CloningPolicy.load(train_cloning([left, right], config, tmp_path / "listens", seed=0))
    for words, goal in ((LEFT, 8), (RIGHT, 24)):
        chunk = policy.act(observation(left, at=3, words=words))
        assert np.allclose(chunk.values[:, 0], goal / 100, atol=0.03), (words, chunk.values[:, 0])


def test_an_answer_is_a_chunk_with_the_orientation_kept(trained: Path) -> None:
    policy = CloningPolicy.load(trained)
    seen = observation(episode())
    chunk = policy.act(seen)
    assert (chunk.values.shape, chunk.space, chunk.control_hz) == ((4, 7), ActionSpace.CARTESIAN_POSITION, 20.0)
    assert (chunk.values[:, 3:6] == seen.cartesian_position[3:]).all()
    assert ((chunk.values[:, 6] >= 0) & (chunk.values[:, 6] <= 1)).all()
    assert (policy.card.chunk_length, policy.card.cameras, policy.card.resolution) == (4, ("wrist",), (32, 32))


def test_a_batch_answers_what_each_observation_alone_gets(trained: Path) -> None:
    model = CloningModel.load(trained)
    seen = [observation(episode(goal=goal), at=at) for goal, at in ((8, 0), (20, 3), (24, 7))]
    alone = np.stack([model.predict([each])[0] for each in seen])
    assert np.allclose(model.predict(seen), alone, atol=1e-6)


def test_larger_images_are_resized(trained: Path) -> None:
    policy, seen = CloningPolicy.load(trained), observation(episode())
    large = replace(seen, cameras={"wrist": seen.cameras["wrist"].repeat(3, axis=0).repeat(3, axis=1)})
    assert np.allclose(policy.act(large).values, policy.act(seen).values, atol=0.01)


class Killed(Exception):
    """Stands in for SIGKILL."""


def test_a_killed_training_resumes_to_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("arena.learned.cloning.SAVE_SECONDS", 0.0)
    whole = train_cloning([episode()], SMALL, tmp_path / "whole", seed=1)

    def kill(done: int, total: int, stage: str) -> None:
        if stage.startswith("training the policy") and done == 7:
            raise Killed

    steps = []
    with pytest.raises(Killed):
        train_cloning([episode()], SMALL, tmp_path / "cut", seed=1, progress=kill)
    assert not (tmp_path / "cut").exists()
    with pytest.raises(InvalidInput, match="another config, seed or data"):
        train_cloning([episode()], SMALL, tmp_path / "cut", seed=2)
    cut = train_cloning([episode()], SMALL, tmp_path / "cut", seed=1, progress=lambda *now: steps.append(now))
    assert min(done for done, _, stage in steps if stage.startswith("training the policy")) == 7
    assert (cut / WEIGHTS).read_bytes() == (whole / WEIGHTS).read_bytes()
    assert json.loads((cut / CONFIG).read_text()) == json.loads((whole / CONFIG).read_text())
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_another_seed_gives_other_weights_and_another_hash(trained: Path, tmp_path: Path) -> None:
    other = train_cloning([episode()], SMALL, tmp_path / "other", seed=4)
    assert CloningPolicy.load(other).card.sha256 != CloningPolicy.load(trained).card.sha256
    again = train_cloning([episode()], SMALL, tmp_path / "again", seed=3)
    assert CloningPolicy.load(again).card.sha256 == CloningPolicy.load(trained).card.sha256


def test_an_existing_folder_is_not_overwritten(trained: Path) -> None:
    with pytest.raises(InvalidInput, match="already exists"):
        train_cloning([episode()], SMALL, trained, seed=0)


@pytest.mark.parametrize(
    ("episodes", "message"),
    [
        ([], "needs a successful episode.*, or only_successes=False"),
        ([episode(success=False)], "needs a successful episode.*, or only_successes=False"),
        ([replace(episode("blind"), cameras={})], "episode blind has no camera 'wrist'"),
        ([episode("a"), replace(episode("slow"), fps=5.0)], "slow has 5"),
    ],
)
def test_unsuitable_episodes_are_refused(episodes: list[Episode], message: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=message):
        train_cloning(episodes, SMALL, tmp_path / "out", seed=0)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"height": 1_000_000},
        {"learning_rate": float("nan")},
        {"chunk_length": 2.5},
        {"cameras": ()},
        {"cameras": ("wrist", "wrist")},
        {"channels": 12},
        {"only_successes": 1},
    ],
)
def test_a_config_out_of_range_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidInput, match=next(iter(wrong))):
        CloningConfig(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cameras": {}}, "camera 'wrist'"),
        ({"cameras": {"wrist": np.zeros((32, 32), np.uint8)}}, r"\(H, W, 3\) uint8"),
        ({"cartesian_position": np.full(6, np.nan)}, "finite"),
    ],
)
def test_an_unsuitable_observation_is_refused(trained: Path, change: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        CloningPolicy.load(trained).act(replace(observation(episode()), **change))  # type: ignore[arg-type]


def _altered(trained: Path, folder: Path) -> Path:
    """A copy without a manifest that would give an alteration away, for the checks behind it."""
    shutil.copytree(trained, folder)
    return folder


def _resign(folder: Path) -> None:
    from arena.episodes.atomic import _write_manifest

    (folder / MANIFEST).unlink()
    _write_manifest(folder)


def test_an_altered_checkpoint_is_refused(trained: Path, tmp_path: Path) -> None:
    folder = _altered(trained, tmp_path / "altered")
    with (folder / WEIGHTS).open("r+b") as stream:
        stream.seek(-1, 2)
        stream.write(b"\x7f")
    with pytest.raises(DamagedArtifact, match="sha256"):
        CloningPolicy.load(folder)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda w: {k: v for k, v in w.items() if k != "head.0.bias"}, "'head.0.bias' are missing"),
        (lambda w: {**w, "more": torch.zeros(1).half()}, "'more' are unexpected"),
        (lambda w: {**w, "head.0.bias": torch.full_like(w["head.0.bias"], float("nan"))}, "NaN"),
        (lambda w: {**w, "head.0.bias": torch.zeros(3).half()}, r"\(3,\)"),
        (lambda w: {**w, "head.0.bias": w["head.0.bias"].float()}, "float32"),
    ],
)
def test_weights_that_do_not_fit_are_refused(trained: Path, tmp_path: Path, damage: object, message: str) -> None:
    folder = _altered(trained, tmp_path / "damaged")
    assert callable(damage)
    save_file(damage(load_file(folder / WEIGHTS)), folder / WEIGHTS)
    _resign(folder)
    with pytest.raises(InvalidInput, match=message):
        CloningPolicy.load(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("config"), "'config'"),
        (lambda d: d["config"].pop("hidden"), "'hidden' is missing"),
        (lambda d: d["config"].update(surprise=1), "surprise"),
        (lambda d: d["config"].update(hidden=10**9), "hidden must be"),
        (lambda d: d["normalisation"].update(position_scale=[0.0, 1.0, 1.0]), "position_scale"),
        (lambda d: d["normalisation"].update(position_mean=[0.0]), "position_mean"),
        (lambda d: d.update(control_hz=-1), "control_hz"),
        (lambda d: d.update(format="other"), "format 'other'"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(trained: Path, tmp_path: Path, change: object, message: str) -> None:
    folder = _altered(trained, tmp_path / "damaged")
    described = json.loads((folder / CONFIG).read_text())
    assert callable(change)
    change(described)
    (folder / CONFIG).write_text(json.dumps(described))
    _resign(folder)
    with pytest.raises(InvalidInput, match=message):
        CloningPolicy.load(folder)


def test_weights_beyond_fp16_are_not_written(trained: Path, tmp_path: Path) -> None:
    model = CloningModel.load(trained)
    with torch.no_grad():
        next(model.network.parameters()).fill_(1e6)
    with pytest.raises(InvalidInput, match="NaN or infinite"):
        model.save(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_registry_makes_policies_that_share_weights(trained: Path) -> None:
    factory = parse_spec(f"bc:{trained}?name=cloned", {**default_parsers(), "bc": parse_cloning})
    first, second = factory.create(), factory.create()
    assert first is not second
    assert isinstance(first, CloningPolicy)
    assert isinstance(second, CloningPolicy)
    assert first._model is second._model
    assert (factory.card.name, factory.card.sha256) == ("cloned", CloningPolicy.load(trained).card.sha256)
    with pytest.raises(InvalidInput, match="there is no folder"):
        parse_cloning("bc:/nowhere/at/all")


def test_the_default_network_is_small_enough_to_ship(tmp_path: Path) -> None:
    parameters = sum(value.numel() for value in CloningNetwork(CloningConfig()).state_dict().values())
    assert parameters <= 500_000


def test_words_are_hashed_without_case_or_punctuation() -> None:
    ids = word_ids(["Open the drawer!", "open", ""], 256)
    assert ids.shape == (3, 3)
    assert ids[0, 0] == ids[1, 0] > 0
    assert ids[1, 1:].tolist() == [0, 0]
    assert ids[2].tolist() == [0, 0, 0]


def test_a_spatial_softmax_says_where_the_peak_is() -> None:
    maps = torch.zeros(1, 2, 5, 9)
    maps[0, 0, 0, 8], maps[0, 1, 4, 4] = 100.0, 100.0
    assert torch.allclose(spatial_softmax(maps), torch.tensor([[1.0, 0.0, -1.0, 1.0]]))
