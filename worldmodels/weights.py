"""Tensors from files that others wrote: safetensors, or torch's own format read without unpickling objects."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from arena.contracts import InvalidInput

TORCH_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt")


def read_weights(path: Path) -> dict[str, Tensor]:
    """A flat dictionary of tensors by name, mapped from disk where the format allows.

    `.safetensors` is read as such. Torch's format is read with `weights_only=True`: a pickle that would run
    code is refused, not run. Raises `InvalidInput` in one line for anything else.
    """
    if path.suffix == ".safetensors":
        return read_safetensors(path)
    if path.suffix in TORCH_SUFFIXES:
        return _read_torch(path)
    raise InvalidInput(f"{path} is no kind of weights: it should be .safetensors or one of {', '.join(TORCH_SUFFIXES)}")


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file. Raises `InvalidInput` where it is none."""
    _require_file(path)
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise InvalidInput(f"{path} is not a complete safetensors file: {_one_line(error)}") from error


def _read_torch(path: Path) -> dict[str, Tensor]:
    _require_file(path)
    try:
        zipped = zipfile.is_zipfile(path)
        if zipped:
            _refuse_compressed(path)
        # Only the zipped format, torch's since 1.6, can be mapped from disk.
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except pickle.UnpicklingError as error:
        raise InvalidInput(
            f"{path} is refused: it is damaged or holds more than tensors ({_one_line(error)})"
        ) from error
    except (OSError, RuntimeError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InvalidInput(f"{path} is not a complete torch checkpoint: {_one_line(error)}") from error
    return _tensors_only(loaded, path)


def _refuse_compressed(path: Path) -> None:
    """Torch stores without compression, so a file that unpacks to more than its size is an attack on memory."""
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
    if unpacked > path.stat().st_size:
        raise InvalidInput(f"{path} is refused: it unpacks to {unpacked} bytes from {path.stat().st_size}")


def _tensors_only(loaded: object, path: Path) -> dict[str, Tensor]:
    if not isinstance(loaded, dict):
        raise InvalidInput(f"{path} should hold a dictionary of tensors, not a {type(loaded).__name__}")
    for name, value in loaded.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise InvalidInput(f"{path} should hold only tensors by name: {name!r} is a {type(value).__name__}")
        # A stride of zero lets a few bytes on disk claim any shape.
        if value.layout != torch.strided or value.nbytes > value.untyped_storage().nbytes():
            raise InvalidInput(f"{path} is refused: {name!r} claims shape {tuple(value.shape)}, more than it stores")
    return dict(loaded)


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise InvalidInput(f"{path} does not exist or is not a file")


def _one_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:200] if lines else type(error).__name__
