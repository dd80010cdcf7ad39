"""Policies that strangers hand in as files: a zip with a config and safetensors, looked at before anything reads it.

Nothing is unpacked by name: each member's name is one of those that a checkpoint has, and its bytes are counted as
they come, so that neither a path, nor a link, nor an archive that blows up leads anywhere.
"""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
import struct
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

from arena.contracts import InvalidInput
from arena.episodes.atomic import atomic_directory
from workers.artifacts import Artifacts, reference

UPLOAD = "upload"
CONFIG, WEIGHTS = "config.json", "weights.safetensors"
NAMES = (CONFIG, WEIGHTS)
IGNORED = ("README.md", "manifest.json")
"""Written beside them by `dreamarena`, and of no use here."""
MAX_UPLOAD = 512 << 20
"""Bytes of an archive, and of what is in it: weights hardly compress."""
MAX_CONFIG = 64 << 10
MAX_HEADER = 8 << 20
MAX_TENSORS = 10_000
_BLOCK = 1 << 20
DTYPES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}


def keep_upload(archive: Path, artifacts: Artifacts) -> tuple[str, int]:
    """Keep a policy that was uploaded as a zip. Returns its hash, for `upload:HASH`, and its size in bytes.

    It is unpacked beside `archive` first. Raises `InvalidInput` for an archive that holds anything but a config and
    safetensors, or more than is allowed, and for what is no policy that can act; nothing of it is kept then.
    """
    sha256 = hashlib.sha256()
    with archive.open("rb") as stream:
        while block := stream.read(_BLOCK):
            sha256.update(block)
    key = sha256.hexdigest()
    ref = reference("uploads", key)
    if not artifacts.has(ref):
        unpacked = archive.with_name("policy")
        with atomic_directory(unpacked) as partial:
            _unpack(archive, partial)
        _check_policy(unpacked)
        artifacts.put(ref, lambda folder: _copy_all(unpacked, folder))
    folder = artifacts.get(ref)
    return key, sum((folder / name).stat().st_size for name in NAMES)


def uploaded_spec(key: str, artifacts: Artifacts) -> str:
    """The spec of an uploaded policy: `key` is its hash, and parameters may follow. Raises `InvalidInput`."""
    sha256, _, query = key.partition("?")
    folder = artifacts.get(reference("uploads", sha256))
    named = f"{query}&" if query else ""
    return f"bc:{folder}?{query}" if "name=" in query else f"bc:{folder}?{named}name={UPLOAD}-{sha256[:12]}"


def _copy_all(source: Path, target: Path) -> None:
    for name in NAMES:
        shutil.copyfile(source / name, target / name)


def _check_policy(folder: Path) -> None:
    """What a worker would stumble over is said now: a shape that does not fit the config, a NaN among the weights."""
    from arena.learned.checkpoint import CloningModel

    try:
        CloningModel.load(folder)
    except InvalidInput as error:
        raise InvalidInput(str(error).replace(str(folder), "the upload")) from error


def _unpack(archive: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(archive) as file:
            members = file.infolist()
            _check_names(members)
            for member in members:
                if member.filename in NAMES:
                    with file.open(member) as source:
                        _copy(source, folder / member.filename)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, OSError, ValueError) as error:
        # An archive can name a place before its own beginning, and seeking there is an error of the system.
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        raise InvalidInput(f"this is not a zip archive that can be read: {error}") from error
    _check_config(folder / CONFIG)
    check_safetensors(folder / WEIGHTS)


def _check_names(members: list[zipfile.ZipInfo]) -> None:
    names = [member.filename for member in members]
    if wrong := [name for name in names if name not in (*NAMES, *IGNORED)]:
        raise InvalidInput(f"an upload holds {' and '.join(NAMES)} and nothing else, not {wrong[0][:100]!r}")
    if missing := [name for name in NAMES if names.count(name) != 1]:
        raise InvalidInput(f"an upload must hold {missing[0]} once")
    for member in members:
        kind = member.external_attr >> 28
        if kind not in (0, 0o10):
            raise InvalidInput(f"{member.filename} must be a plain file, not a link")
        if member.flag_bits & 1:
            raise InvalidInput(f"{member.filename} must not be encrypted")


def _copy(source: IO[bytes], target: Path) -> None:
    """Count what comes out, whatever the archive says that it will be."""
    limit = MAX_CONFIG if target.name == CONFIG else MAX_UPLOAD
    size = 0
    with target.open("wb") as out:
        while block := source.read(_BLOCK):
            size += len(block)
            if size > limit:
                raise InvalidInput(f"{target.name} holds at most {limit} bytes")
            out.write(block)


def _check_config(path: Path) -> None:
    try:
        found = json.loads(path.read_bytes(), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{CONFIG} must be JSON: {error}") from error
    if not isinstance(found, dict):
        raise InvalidInput(f"{CONFIG} must be a JSON object")


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


def check_safetensors(path: Path) -> None:
    """Raises `InvalidInput` unless a file is safetensors: a header, and as many bytes as it says, used once each."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        first = stream.read(8)
        if len(first) < 8 or not 2 <= (length := struct.unpack("<Q", first)[0]) <= min(MAX_HEADER, size - 8):
            raise InvalidInput(f"{path.name} is not a safetensors file: it does not begin with its header's length")
        try:
            header = json.loads(stream.read(length))
        except (ValueError, RecursionError) as error:
            raise InvalidInput(f"{path.name} is not a safetensors file: its header is no JSON") from error
    if not isinstance(header, dict) or not 0 < len(header) <= MAX_TENSORS:
        raise InvalidInput(f"{path.name} must hold 1 to {MAX_TENSORS} tensors")
    spans = sorted(_span(path.name, name, entry) for name, entry in header.items() if name != "__metadata__")
    end = 0
    for begin, stop in spans:
        if begin != end:
            raise InvalidInput(f"{path.name} has tensors that overlap or leave gaps")
        end = stop
    if end != size - 8 - length:
        raise InvalidInput(f"{path.name} must hold {end} bytes of tensors, not {size - 8 - length}")


def _span(file: str, name: str, entry: Any) -> tuple[int, int]:
    try:
        begin, end = entry["data_offsets"]
        count = DTYPES[entry["dtype"]]
        for side in entry["shape"]:
            if type(side) is not int or side < 0:
                raise ValueError(side)
            count *= side
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInput(f"{file}: the tensor {name[:100]!r} is not described as safetensors are") from error
    if type(begin) is not int or type(end) is not int or begin < 0 or end - begin != count:
        raise InvalidInput(f"{file}: the tensor {name[:100]!r} does not have as many bytes as its shape needs")
    return begin, end
