"""Artifacts are whole or absent, and their manifest is believed only after it was checked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from arena.contracts import InvalidInput
from arena.episodes.atomic import MANIFEST, atomic_directory, atomic_write, read_manifest
from arena.episodes.errors import DamagedArtifact


def _make(final: Path, *, replace: bool = False, text: str = "hello") -> None:
    with atomic_directory(final, replace=replace) as folder:
        (folder / "inner").mkdir()
        (folder / "inner" / "a.txt").write_text(text)
        assert not (folder / MANIFEST).exists()  # it comes last


def test_whole_artifact_with_its_manifest(tmp_path: Path) -> None:
    _make(tmp_path / "artifact")
    entries = read_manifest(tmp_path / "artifact")
    assert list(entries) == ["inner/a.txt"]
    assert entries["inner/a.txt"].size == 5
    assert [path.name for path in tmp_path.iterdir()] == ["artifact"]


def _fail(final: Path, *, replace: bool = False) -> None:
    with atomic_directory(final, replace=replace) as folder:
        (folder / "a.txt").write_text("x")
        raise RuntimeError("half-way")


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="half-way"):
        _fail(tmp_path / "artifact")
    assert list(tmp_path.iterdir()) == []


def test_replacing_only_when_asked_to(tmp_path: Path) -> None:
    _make(tmp_path / "artifact")
    with pytest.raises(InvalidInput, match="already exists"):
        _make(tmp_path / "artifact")
    with pytest.raises(RuntimeError, match="half-way"):
        _fail(tmp_path / "artifact", replace=True)
    assert (tmp_path / "artifact/inner/a.txt").read_text() == "hello"
    _make(tmp_path / "artifact", replace=True, text="again")
    assert (tmp_path / "artifact/inner/a.txt").read_text() == "again"
    assert [path.name for path in tmp_path.iterdir()] == ["artifact"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda root: (root / MANIFEST).unlink(), "never finished"),
        (lambda root: (root / MANIFEST).write_text("{"), "is not a manifest"),
        (lambda root: (root / "inner/a.txt").unlink(), "is not there"),
        (lambda root: (root / "inner/a.txt").write_text("longer than it was"), "its manifest says 5"),
        (lambda root: (root / "inner/a.txt").write_text("hallo"), "sha256"),
        (lambda root: (root / "b.txt").write_text("x"), "b.txt is not listed"),
        (lambda root: (root / "link").symlink_to("/etc/passwd"), "symbolic link"),
    ],
)
def test_damage_is_named(tmp_path: Path, damage: object, message: str) -> None:
    _make(tmp_path / "artifact")
    damage(tmp_path / "artifact")  # type: ignore[operator]
    with pytest.raises(DamagedArtifact, match=message):
        read_manifest(tmp_path / "artifact")


def test_a_manifest_that_points_outside_is_refused(tmp_path: Path) -> None:
    _make(tmp_path / "artifact")
    files = {"../secret": {"size": 1, "sha256": "0"}}
    (tmp_path / "artifact" / MANIFEST).write_text(json.dumps({"files": files}))
    with pytest.raises(DamagedArtifact, match="outside its folder"):
        read_manifest(tmp_path / "artifact")


def test_atomic_write_replaces_whole_files(tmp_path: Path) -> None:
    atomic_write(tmp_path / "new" / "a.bin", b"1")
    atomic_write(tmp_path / "new" / "a.bin", b"22")
    assert (tmp_path / "new" / "a.bin").read_bytes() == b"22"
    assert len(list((tmp_path / "new").iterdir())) == 1
