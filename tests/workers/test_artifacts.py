"""Artifacts on a disk and in an object store (fsspec's in-memory one), and rollouts in them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest

from arena.contracts import ActionChunk, ActionSpace, InvalidInput, Provenance, Rollout
from arena.episodes.errors import DamagedArtifact
from workers.artifacts import Artifacts, reference
from workers.rollouts import load_rollout, rollout_reference, save_rollout

KEY = "ab" * 32


@pytest.fixture(params=["folder", "memory"])
def artifacts(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Artifacts]:
    location = str(tmp_path / "artifacts") if request.param == "folder" else "memory://artifacts"
    yield Artifacts(location, tmp_path / "cache")
    memory = fsspec.filesystem("memory")
    if memory.exists("/artifacts"):
        memory.rm("/artifacts", recursive=True)


def elsewhere(artifacts: Artifacts, tmp_path: Path) -> Artifacts:
    """The same artifacts as another machine sees them: without this one's cache."""
    location = artifacts._root if artifacts._is_local else "memory://artifacts"
    return Artifacts(location, tmp_path / "other cache")


def write(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "data.bin").write_bytes(b"numbers")


def rollout() -> Rollout:
    rng = np.random.default_rng(0)
    smooth = np.repeat(np.repeat(rng.integers(0, 255, (3, 4, 6, 3)), 8, axis=1), 8, axis=2).astype(np.uint8)
    return Rollout(
        id=KEY,
        policy="hold",
        world="tiny",
        scene_id="s1",
        task="reach",
        instruction="reach the cup",
        seed=7,
        fps=5.0,
        frames={"wrist": smooth, "exterior_1": smooth[::-1]},
        state=rng.normal(size=(3, 7)),
        action=ActionChunk(rng.normal(size=(2, 7)), ActionSpace.CARTESIAN_POSITION, 5.0),
        step_seconds=(0.5, 0.25),
        provenance=Provenance("p", "w", "s", "c", "code"),
        success=None,
    )


def test_what_is_put_is_there_whole_on_every_machine(artifacts: Artifacts, tmp_path: Path) -> None:
    ref = reference("rollouts", KEY)
    assert not artifacts.has(ref)
    assert (artifacts.put(ref, write) / "sub" / "data.bin").read_bytes() == b"numbers"
    there = elsewhere(artifacts, tmp_path)
    assert there.has(ref)
    there.verify(ref)
    assert (there.get(ref) / "sub" / "data.bin").read_bytes() == b"numbers"


def test_it_is_made_once(artifacts: Artifacts) -> None:
    ref = reference("rollouts", KEY)
    made = artifacts.put(ref, write)

    def never(folder: Path) -> None:
        raise AssertionError("made twice")

    assert artifacts.put(ref, never) == made
    assert (made / "sub" / "data.bin").read_bytes() == b"numbers"


def test_a_crash_while_writing_leaves_nothing(artifacts: Artifacts) -> None:
    def crash(folder: Path) -> None:
        write(folder)
        raise OSError(28, "No space left on device")

    ref = reference("rollouts", KEY)
    with pytest.raises(OSError, match="No space"):
        artifacts.put(ref, crash)
    assert not artifacts.has(ref)
    with pytest.raises(InvalidInput, match="no artifact rollouts/ab"):
        artifacts.get(ref)
    artifacts.put(ref, write)
    artifacts.verify(ref)


def test_the_loser_of_a_race_takes_the_winners(tmp_path: Path) -> None:
    artifacts = Artifacts(str(tmp_path), tmp_path)
    ref = reference("rollouts", KEY)

    def slow(folder: Path) -> None:
        write(folder)
        artifacts.put(ref, write)
        (folder / "late").write_text("the loser's")

    assert not (artifacts.put(ref, slow) / "late").exists()
    artifacts.verify(ref)


def test_altered_bytes_are_named(tmp_path: Path) -> None:
    artifacts = Artifacts(str(tmp_path), tmp_path)
    ref = reference("rollouts", KEY)
    (artifacts.put(ref, write) / "sub" / "data.bin").write_bytes(b"numberz")
    with pytest.raises(DamagedArtifact, match=r"data\.bin"):
        artifacts.verify(ref)


def test_an_altered_object_is_not_fetched(tmp_path: Path) -> None:
    artifacts = Artifacts("memory://artifacts", tmp_path / "cache")
    ref = reference("rollouts", KEY)
    artifacts.put(ref, write)
    memory = fsspec.filesystem("memory")
    [stored] = memory.glob(f"/artifacts/{ref}/*/sub/data.bin")
    memory.pipe(stored, b"numberz")
    with pytest.raises(DamagedArtifact, match=r"data\.bin"):
        elsewhere(artifacts, tmp_path).get(ref)
    memory.rm("/artifacts", recursive=True)


@pytest.mark.parametrize("bad", ["../../etc/passwd", "rollouts/ab/../../x", "rollouts/zz/zz", ""])
def test_a_reference_cannot_leave_the_folder(tmp_path: Path, bad: str) -> None:
    with pytest.raises(InvalidInput, match="reference"):
        Artifacts(str(tmp_path), tmp_path).get(bad)


def test_a_location_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"DREAMARENA_ARTIFACTS.*nosuch"):
        Artifacts("nosuch://bucket", tmp_path)


def test_a_rollout_comes_back(artifacts: Artifacts, tmp_path: Path) -> None:
    ref = save_rollout(artifacts, rollout())
    assert ref == rollout_reference(KEY)
    loaded = load_rollout(elsewhere(artifacts, tmp_path), ref)
    assert list(loaded.frames) == list(rollout().frames)
    for name, frames in rollout().frames.items():
        error = np.abs(loaded.frames[name].astype(float) - frames).mean()
        assert error < 12, f"{name}: {error}"
    np.testing.assert_array_equal(loaded.state, rollout().state)
    np.testing.assert_array_equal(loaded.action.values, rollout().action.values)
    assert loaded.provenance == rollout().provenance
    assert (loaded.success, loaded.seed, loaded.step_seconds) == (None, 7, (0.5, 0.25))


def test_a_rollout_that_names_a_file_elsewhere_is_refused(tmp_path: Path) -> None:
    artifacts = Artifacts(str(tmp_path), tmp_path)
    folder = artifacts.get(save_rollout(artifacts, rollout()))
    facts = (folder / "rollout.json").read_text().replace('"wrist"', '"../wrist"')
    (folder / "rollout.json").write_text(facts)
    with pytest.raises(DamagedArtifact, match="outside"):
        load_rollout(artifacts, rollout_reference(KEY))
    os.remove(folder / "trajectory.npz")
    with pytest.raises(DamagedArtifact, match="does not hold a rollout"):
        load_rollout(artifacts, rollout_reference(KEY))
