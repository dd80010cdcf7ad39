"""Artifacts that are there completely or not at all.

Files are written to a temporary place beside their final one, synced to disk, described by a
manifest that is written last, and renamed. A process killed at any point leaves either the whole
artifact or a dotted `.partial` folder that nothing reads.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

from arena.contracts import InvalidInput
from arena.episodes.errors import DamagedArtifact

MANIFEST = "manifest.json"
_BLOCK = 1 << 20


@dataclass(frozen=True)
class FileEntry:
    """Size in bytes and sha256 of one file of an artifact."""

    size: int
    sha256: str


def file_sha256(path: Path) -> str:
    """Hex sha256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def atomic_write(path: Path, data: bytes) -> None:
    """Write `data` so that `path` holds either what it held before or all of `data`, even after a power cut."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as partial:
        partial.write_bytes(data)


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is synced and renamed onto `path`, else removed."""
    # The suffix stays, because encoders choose the container by it.
    partial = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        yield partial
        _sync(partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    _sync(path.parent)


@contextmanager
def atomic_directory(final: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield a temporary folder beside `final` that becomes `final` when the block succeeds.

    On success a `manifest.json` with the size and sha256 of every file is written last, everything is
    synced and the folder is renamed. When the block raises, the temporary folder is removed and `final` is
    untouched. An existing `final` is an `InvalidInput`, unless `replace` is set.
    """
    if final.exists() and not replace:
        raise InvalidInput(f"{final} already exists")
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{final.name}.", suffix=".partial", dir=final.parent))
    try:
        yield temporary
        seal_directory(temporary, final, replace=replace)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def seal_directory(temporary: Path, final: Path, *, replace: bool = False) -> None:
    """Make `temporary`, a finished folder of the same file system, the artifact `final`: manifest, sync, rename."""
    _write_manifest(temporary)
    _sync_tree(temporary)
    temporary.chmod(0o755)  # mkdtemp makes it private, which would hide artifacts from other workers' users
    _move_into_place(temporary, final, replace)
    _sync(final.parent)


def read_manifest(directory: Path, *, check_hashes: bool = True) -> Mapping[str, FileEntry]:
    """Entries of an artifact's manifest by relative path, after checking the files against it.

    Sizes are always checked, contents unless `check_hashes` is false. Raises `DamagedArtifact` when there is
    no manifest, when a listed file is missing, altered or outside the folder, or when a file is not listed.
    """
    entries = _parse_manifest(directory / MANIFEST)
    present = {_relative(path, directory) for path in _files(directory)}
    if unexpected := sorted(present - set(entries)):
        raise DamagedArtifact(f"{directory}: {unexpected[0]} is not listed in {MANIFEST}")
    for name, entry in entries.items():
        path = directory / name
        if name not in present:
            raise DamagedArtifact(f"{directory}: {name} is listed in {MANIFEST} but is not there")
        if path.stat().st_size != entry.size:
            raise DamagedArtifact(f"{path} has {path.stat().st_size} bytes, its manifest says {entry.size}")
        if check_hashes and file_sha256(path) != entry.sha256:
            raise DamagedArtifact(f"{path} does not have the sha256 that its manifest says")
    return entries


def listed_files(directory: Path) -> list[str]:
    """What an artifact's manifest lists, by relative paths, whether it is there or not. Raises `DamagedArtifact`."""
    return sorted(_parse_manifest(directory / MANIFEST))


def _parse_manifest(path: Path) -> dict[str, FileEntry]:
    try:
        files = json.loads(path.read_text())["files"]
        entries = {name: FileEntry(int(entry["size"]), str(entry["sha256"])) for name, entry in files.items()}
    except FileNotFoundError:
        raise DamagedArtifact(f"{path.parent} has no {MANIFEST}: it was never finished, or is no artifact") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedArtifact(f"{path} is not a manifest: {error!r}") from None
    for name in entries:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise DamagedArtifact(f"{path} names {name!r}, which is outside its folder")
    return entries


def _write_manifest(directory: Path) -> None:
    entries = {
        _relative(path, directory): asdict(FileEntry(path.stat().st_size, file_sha256(path)))
        for path in sorted(_files(directory))
    }
    (directory / MANIFEST).write_text(json.dumps({"version": 1, "files": entries}, indent=1))


def _files(directory: Path) -> Iterator[Path]:
    for path in directory.rglob("*"):
        if path.is_symlink():
            raise DamagedArtifact(f"{path} is a symbolic link; an artifact holds plain files only")
        if path.is_file() and path != directory / MANIFEST:
            yield path


def _relative(path: Path, directory: Path) -> str:
    return path.relative_to(directory).as_posix()


def _move_into_place(temporary: Path, final: Path, replace: bool) -> None:
    if not (replace and final.exists()):
        os.rename(temporary, final)
        return
    # A folder cannot be renamed onto a full one, so the old one steps aside first.
    old = Path(tempfile.mkdtemp(prefix=f".{final.name}.", suffix=".old", dir=final.parent))
    os.rename(final, old / final.name)
    os.rename(temporary, final)
    shutil.rmtree(old)


def _sync_tree(directory: Path) -> None:
    for path in directory.rglob("*"):
        _sync(path)
    _sync(directory)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
