"""The films of a rollout, read from the artifacts that the settings name."""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import PurePosixPath

import fsspec

from arena.contracts import InvalidInput
from arena.episodes.atomic import MANIFEST

MAX_FILM_BYTES = 200 << 20


def read_films(location: str, reference: str) -> dict[str, bytes]:
    """The mp4 files of a rollout by camera. Raises `InvalidInput` where the artifact is not there, whole."""
    if ".." in PurePosixPath(reference).parts or PurePosixPath(reference).is_absolute():
        raise InvalidInput(f"{reference!r} is not an artifact's reference")
    files, root = fsspec.core.url_to_fs(location)
    folder = f"{root}/{reference}"
    if not files.exists(f"{folder}/{MANIFEST}"):
        raise InvalidInput(f"the film {reference} is not in {location}: is DREAMARENA_ARTIFACTS where it was made?")
    names = sorted(name for name in files.ls(folder, detail=False) if name.endswith(".mp4"))
    if large := [name for name in names if files.size(name) > MAX_FILM_BYTES]:
        raise InvalidInput(f"{large[0]} is too large to be shown ({files.size(large[0]) >> 20} MB)")
    return {PurePosixPath(name).stem: files.cat_file(name) for name in names}


class FilmCache:
    """The films that were asked for last, at most `limit` bytes of them. Safe to share between threads."""

    def __init__(self, location: str, limit: int = 256 << 20) -> None:
        self._location, self._limit = location, limit
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, dict[str, bytes]] = OrderedDict()

    def films(self, reference: str) -> dict[str, bytes]:
        """As `read_films`."""
        with self._lock:
            if reference in self._kept:
                self._kept.move_to_end(reference)
                return self._kept[reference]
        found = read_films(self._location, reference)
        with self._lock:
            self._kept[reference] = found
            while sum(len(film) for films in self._kept.values() for film in films.values()) > self._limit:
                self._kept.popitem(last=False)
        return found
