"""World models on disk: safetensors, a config, statistics and a card, written whole or not at all.

A checkpoint is a folder with `model.safetensors` (names start with `unet.`, `action_encoder.`, `vae.` or
`text_encoder.`), `config.json`, `statistics.json` (how actions are normalised), `README.md` (the card) and
a manifest. Nothing is unpickled.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from arena.contracts import InvalidInput
from arena.episodes.atomic import FileEntry, atomic_directory, read_manifest
from worldmodels.config import WorldModelConfig
from worldmodels.ctrl_world import CtrlWorld
from worldmodels.weights import TORCH_SUFFIXES, read_safetensors

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
STATISTICS = "statistics.json"
CARD = "README.md"
TEXT_FOLDER = "clip"
"""Where a checkpoint keeps the tokenizer and the text encoder's config; the weights are in its safetensors."""
TEXT_PREFIX = "text_encoder."
PREFIXES = ("unet.", "action_encoder.", "pose_map.", "vae.", TEXT_PREFIX, "tracker.")
PICKLES = (*TORCH_SUFFIXES, ".pkl")
NAMES_SHOWN = 20

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Checkpoint:
    """A world model read from disk: weights in float32 by full name, and what they need.

    `sha256` covers the weights, the config and the statistics, but not the card. `text_files` are the tokenizer's
    and the text encoder's config, by path in the checkpoint's folder.
    """

    config: WorldModelConfig
    tensors: Mapping[str, Tensor]
    statistics: Mapping[str, Any]
    sha256: str
    text_files: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def text_encoder(self) -> dict[str, Tensor]:
        """Its weights by full name; none where the checkpoint has no text encoder."""
        return {name: tensor for name, tensor in self.tensors.items() if name.startswith(TEXT_PREFIX)}


class KeyMismatch(InvalidInput):
    """Weights that are not those of the model. The message shows the first names, the attributes hold all."""

    def __init__(
        self, where: str, missing: list[str], unexpected: list[str], misshapen: dict[str, tuple[Shape, Shape]]
    ) -> None:
        self.missing, self.unexpected, self.misshapen = tuple(missing), tuple(unexpected), misshapen
        shapes = [f"{name} is {found} and should be {wanted}" for name, (found, wanted) in misshapen.items()]
        parts = [
            f"{len(names)} {kind}: {_first(names)}"
            for kind, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes))
            if names
        ]
        super().__init__(f"{where} does not hold the weights of this model: {'; '.join(parts)}")


def check_keys(found: Mapping[str, Shape], wanted: Mapping[str, Shape], where: str) -> None:
    """Raise one `KeyMismatch` that names every missing, unexpected and mis-shaped weight, if there is any."""
    missing = sorted(set(wanted) - set(found))
    unexpected = sorted(set(found) - set(wanted))
    misshapen = {k: (found[k], wanted[k]) for k in sorted(set(found) & set(wanted)) if found[k] != wanted[k]}
    if missing or unexpected or misshapen:
        raise KeyMismatch(where, missing, unexpected, misshapen)


def shapes_of(tensors: Mapping[str, Tensor], prefix: str = "") -> dict[str, Shape]:
    """Shapes of the tensors whose name starts with `prefix`, by full name."""
    return {name: tuple(tensor.shape) for name, tensor in tensors.items() if name.startswith(prefix)}


def load_strict(module: nn.Module, tensors: Mapping[str, Tensor], prefix: str, where: str = "the checkpoint") -> None:
    """Fill `module` with the tensors named `prefix + key`, all of them and no other under that prefix.

    A module on the meta device takes the tensors themselves, without a copy. Raises `KeyMismatch`.
    """
    state = module.state_dict()
    check_keys(shapes_of(tensors, prefix), {prefix + key: tuple(value.shape) for key, value in state.items()}, where)
    on_meta = any(value.is_meta for value in state.values())
    module.load_state_dict({key: tensors[prefix + key] for key in state}, strict=True, assign=on_meta)


def load_denoiser(model: CtrlWorld, tensors: Mapping[str, Tensor], where: str = "the checkpoint") -> None:
    """Fill every part of a denoiser with the tensors of its name. Raises `KeyMismatch`."""
    for name, part in model.named_children():
        load_strict(part, tensors, f"{name}.", where)


def denoiser_shapes(config: WorldModelConfig) -> dict[str, Shape]:
    """Names and shapes of the weights of the UNet and the action encoder, without allocating them.

    Raises `InvalidInput` where the config describes no model that can be built.
    """
    try:
        with torch.device("meta"):
            return shapes_of(CtrlWorld(config).state_dict())
    except (TypeError, ValueError, KeyError, IndexError, AttributeError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InvalidInput(f"the config {config.name!r} describes no UNet that can be built: {reason}") from error


def save_checkpoint(
    folder: Path,
    config: WorldModelConfig,
    tensors: Mapping[str, Tensor],
    statistics: Mapping[str, Any],
    card: str,
    dtype: torch.dtype | None = None,
    *,
    extra_files: Mapping[str, bytes] | None = None,
    replace: bool = False,
) -> str:
    """Write a checkpoint to `folder` and return its sha256.

    `dtype` is what floating-point weights are stored in (`torch.float16` halves the size); None keeps theirs.
    `extra_files` are written beside them by relative path, e.g. a tokenizer's.
    Raises `InvalidInput` where `folder` exists (unless `replace`), where a weight is NaN or infinite (after
    the cast), or where the weights are not those of `config`.
    """
    stored = _stored(tensors, dtype)
    _check_tensors(config, stored, f"what is to be saved to {folder}")
    with atomic_directory(folder, replace=replace) as partial:
        save_file(stored, partial / WEIGHTS, metadata={"format": "pt"})
        (partial / CONFIG).write_text(config.to_json())
        (partial / STATISTICS).write_text(json.dumps(dict(statistics), indent=2, sort_keys=True, allow_nan=False))
        (partial / CARD).write_text(card)
        for name, content in (extra_files or {}).items():
            (partial / name).parent.mkdir(parents=True, exist_ok=True)
            (partial / name).write_bytes(content)
    return _content_sha256(read_manifest(folder, check_hashes=False))


def load_checkpoint(folder: Path) -> Checkpoint:
    """Read a checkpoint, checked against its manifest and its config.

    Raises `InvalidInput` in one line: no such folder, damaged files, a pickle where safetensors should be,
    weights that are missing, unexpected, mis-shaped, NaN or infinite.
    """
    _refuse_pickles(folder)
    entries = read_manifest(folder)
    if absent := [name for name in (WEIGHTS, CONFIG, STATISTICS) if name not in entries]:
        raise InvalidInput(f"{folder} is not a world model: it has no {' and no '.join(absent)}")
    config = WorldModelConfig.from_json(folder / CONFIG)
    stored = read_safetensors(folder / WEIGHTS)
    _check_tensors(config, stored, str(folder / WEIGHTS))
    tensors = {k: v.float() if v.is_floating_point() else v for k, v in stored.items()}
    text_files = {name: (folder / name).read_bytes() for name in entries if name.startswith(f"{TEXT_FOLDER}/")}
    statistics = _read_statistics(folder / STATISTICS)
    return Checkpoint(config, tensors, statistics, _content_sha256(entries), text_files)


def check_finite(tensors: Mapping[str, Tensor], where: str) -> None:
    """Raise `InvalidInput` naming the weights that are NaN or infinite."""
    bad = [k for k, v in sorted(tensors.items()) if v.is_floating_point() and not bool(v.isfinite().all())]
    if bad:
        raise InvalidInput(f"{where} has NaN or infinite weights: {_first(bad)}")


def _check_tensors(config: WorldModelConfig, tensors: Mapping[str, Tensor], where: str) -> None:
    found = shapes_of(tensors)
    # The other parts are optional and checked by `load_strict` when they are built.
    others = ("vae.", TEXT_PREFIX, "tracker.")
    denoiser = {name: shape for name, shape in found.items() if not name.startswith(others)}
    check_keys(denoiser, denoiser_shapes(config), where)
    check_finite(tensors, where)


def _stored(tensors: Mapping[str, Tensor], dtype: torch.dtype | None) -> dict[str, Tensor]:
    """Tensors as safetensors wants them: contiguous, each with a storage of its own.

    Only views and shared storages are copied, not the gigabytes of a full-size model.
    """
    stored: dict[str, Tensor] = {}
    storages: set[int] = set()
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        if dtype is not None and tensor.is_floating_point():
            tensor = tensor.to(dtype)
        storage = tensor.untyped_storage()
        if storage.nbytes() != tensor.nbytes or storage.data_ptr() in storages:
            tensor = tensor.clone()
        storages.add(tensor.untyped_storage().data_ptr())
        stored[name] = tensor
    return stored


def _refuse_pickles(folder: Path) -> None:
    if folder.suffix in PICKLES:
        raise InvalidInput(f"{folder} is a pickle, which is never opened here: import it with `worldmodel import`")
    if not folder.is_dir():
        raise InvalidInput(f"{folder} is not a world model: it should be a folder with {WEIGHTS} and {CONFIG}")
    if not (folder / WEIGHTS).exists() and (pickles := [p.name for p in folder.iterdir() if p.suffix in PICKLES]):
        raise InvalidInput(f"{folder} has {pickles[0]}, a pickle, which is never opened here; it should have {WEIGHTS}")


def _read_statistics(path: Path) -> dict[str, Any]:
    try:
        statistics = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidInput(f"{path} is not JSON: {error}") from error
    if not isinstance(statistics, dict):
        raise InvalidInput(f"{path} should hold a JSON object, not a {type(statistics).__name__}")
    return statistics


def _content_sha256(entries: Mapping[str, FileEntry]) -> str:
    content = "".join(f"{name} {entries[name].sha256}\n" for name in (WEIGHTS, CONFIG, STATISTICS))
    return hashlib.sha256(content.encode()).hexdigest()


def _first(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more
