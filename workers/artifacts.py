"""Artifacts: folders of files that are there whole or not at all, on a disk or in an object store.

A reference is `KIND/ab/abcdef...`: the address is a hash of what the artifact was made from, and its
manifest, written last, holds a hash of every file, so that what is read is what was written.

An object store has no folder that could be renamed. There the files are put below `REFERENCE/HASH OF THE MANIFEST/`,
and then, in one object, `REFERENCE/manifest.json`: two workers that make the same artifact at once and not bit by bit
alike (films) overwrite nothing of each other's, and whichever manifest is there has all of its files.
"""

from __future__ import annotations

import hashlib
import logging
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from arena.contracts import InvalidInput
from arena.episodes.atomic import MANIFEST, atomic_directory, listed_files, read_manifest
from arena.episodes.errors import DamagedArtifact

log = logging.getLogger(__name__)
REFERENCE = re.compile(r"[a-z_]+/[0-9a-f]{2}/[0-9a-f]{16,64}")


def reference(kind: str, key: str) -> str:
    """Where an artifact of `kind` made from inputs with the hash `key` (hex) is kept."""
    return _checked(f"{kind}/{key[:2]}/{key}")


class Artifacts:
    """Artifacts at `location`: a folder, or an fsspec URL, of which `cache` then holds local copies."""

    def __init__(self, location: str, cache: Path) -> None:
        try:
            # Others write as well, so that a listing of a moment ago says nothing.
            self._remote, self._root = fsspec.core.url_to_fs(location, use_listings_cache=False)
        except (ValueError, ImportError) as error:
            raise InvalidInput(f"DREAMARENA_ARTIFACTS: cannot use {location!r}: {error}") from error
        self._is_local = isinstance(self._remote, LocalFileSystem)
        self._folder = Path(self._root) if self._is_local else cache / "artifacts"

    def has(self, ref: str) -> bool:
        """Whether the artifact is there, whole."""
        if self._is_local:
            return (self._folder / _checked(ref) / MANIFEST).is_file()
        return bool(self._remote.exists(f"{self._root}/{_checked(ref)}/{MANIFEST}"))

    def put(self, ref: str, write: Callable[[Path], None]) -> Path:
        """Make an artifact with `write(folder)` unless it is there already. Returns its local folder.

        Two workers may make the same artifact at once: on a disk the first to finish wins, and the other's is dropped;
        in an object store the last one does. One that is damaged there is made again.
        """
        folder = self._folder / _checked(ref)
        if self.has(ref):
            try:
                return self.get(ref)
            except DamagedArtifact as error:
                log.warning("%s is made again: %s", ref, error)
        # A local copy whose upload was interrupted is uploaded rather than made again.
        if not (folder / MANIFEST).is_file():
            self._write(folder, write)
        if not self._is_local:
            self._upload(ref, folder)
        return folder

    def get(self, ref: str) -> Path:
        """The artifact's local folder, fetched if need be. Raises `InvalidInput` where there is none, and
        `DamagedArtifact` where what was fetched is not what was put.
        """
        folder = self._folder / _checked(ref)
        if (folder / MANIFEST).is_file():
            return folder
        if self._is_local or not self.has(ref):
            raise InvalidInput(f"there is no artifact {ref} in {self._root}")
        self._download(ref, folder)
        return folder

    def verify(self, ref: str) -> None:
        """Check every file against the manifest. Raises `DamagedArtifact` naming the file that differs."""
        read_manifest(self.get(ref))

    def _write(self, folder: Path, write: Callable[[Path], None]) -> None:
        try:
            with atomic_directory(folder) as temporary:
                write(temporary)
        except (InvalidInput, OSError):
            # Whoever lost the race finds the winner's whole artifact in its place.
            if not (folder / MANIFEST).is_file():
                raise

    def _upload(self, ref: str, folder: Path) -> None:
        names = sorted(read_manifest(folder, check_hashes=False))
        manifest = (folder / MANIFEST).read_bytes()
        for name in names:
            self._remote.put_file(str(folder / name), f"{self._objects(ref, manifest)}/{name}")
        self._remote.pipe_file(f"{self._root}/{ref}/{MANIFEST}", manifest)

    def _objects(self, ref: str, manifest: bytes) -> str:
        """Where the files are that a manifest speaks of."""
        return f"{self._root}/{ref}/{hashlib.sha256(manifest).hexdigest()[:16]}"

    def _download(self, ref: str, folder: Path) -> None:
        """Fetch beside the final place and check against the manifest before anything can read it."""
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Of its own: two processes of this machine may want the same artifact at once.
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", suffix=".fetched", dir=folder.parent) as temporary:
            fetched = Path(temporary)
            manifest = bytes(self._remote.cat_file(f"{self._root}/{ref}/{MANIFEST}"))
            (fetched / MANIFEST).write_bytes(manifest)
            for name in listed_files(fetched):
                (fetched / name).parent.mkdir(parents=True, exist_ok=True)
                try:
                    self._remote.get_file(f"{self._objects(ref, manifest)}/{name}", str(fetched / name))
                except FileNotFoundError as error:
                    raise DamagedArtifact(f"{ref} in {self._root} lacks {name}, which its manifest lists") from error
            read_manifest(fetched)
            self._write(folder, lambda target: _copy_files(fetched, target))


def _copy_files(source: Path, target: Path) -> None:
    def ignore(folder: str, _names: Any) -> list[str]:
        return [MANIFEST] if Path(folder) == source else []

    shutil.copytree(source, target, dirs_exist_ok=True, ignore=ignore)


def _checked(ref: str) -> str:
    if not REFERENCE.fullmatch(ref):
        raise InvalidInput(f"{ref!r} is not an artifact's reference, e.g. rollouts/ab/abcdef0123456789")
    return ref
