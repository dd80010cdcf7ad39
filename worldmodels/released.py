"""Import of the files that the Ctrl-World authors released, into our own checkpoints."""

from __future__ import annotations

import dataclasses
import json
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError
from torch import Tensor

from arena.contracts import InvalidInput
from arena.episodes.atomic import file_sha256
from worldmodels.actions import ActionStatistics
from worldmodels.autoencoder import ViewAutoencoder
from worldmodels.checkpoint import (
    TEXT_FOLDER,
    TEXT_PREFIX,
    Shape,
    check_keys,
    denoiser_shapes,
    save_checkpoint,
    shapes_of,
)
from worldmodels.config import CTRL_WORLD, SVD_AUTOENCODER, TextEncoding, WorldModelConfig
from worldmodels.text import (
    CONFIG_FILE,
    TOKENIZER_FILES,
    read_config,
    read_tokenizer,
    text_shapes,
)
from worldmodels.weights import read_weights

VAE_CONFIG = "vae/config.json"
IMAGE_PREFIX = "image_encoder."
HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w.-]+")
# Percentiles of the state, under the names of the released `stat.json`.
RELEASED_STATISTICS = ("state_01", "state_99")

Progress = Callable[[int, int, str], None]


@dataclasses.dataclass(frozen=True)
class ImportReport:
    """What an import wrote: tensors kept and skipped by prefix, and whether the model reads instructions."""

    folder: Path
    sha256: str
    kept: Mapping[str, int]
    skipped: Mapping[str, int]
    text: bool


def import_released(
    checkpoint: Path,
    svd: Path | str,
    clip: Path | str | None,
    out: Path,
    statistics: Path | None = None,
    *,
    config: WorldModelConfig = CTRL_WORLD,
    dtype: torch.dtype | None = None,
    progress: Progress | None = None,
) -> ImportReport:
    """Turn a released checkpoint into a folder that `load_checkpoint` reads.

    checkpoint: a `.pt` (read with `weights_only=True`) or `.safetensors` with the prefixes `unet.`, `vae.`,
    `image_encoder.`, `text_encoder.` and `action_encoder.`. svd and clip: folders, or hub names where there is
    a network; only configs and the tokenizer are taken from them, all weights come from the checkpoint. Without
    clip the model runs without text. statistics: the released `stat.json`. config: the shapes to expect.

    Raises `InvalidInput` in one line: absent files, no network, a pickle that holds code, NaN weights; and
    `KeyMismatch` naming every missing, unexpected and mis-shaped weight.
    """
    report = progress or (lambda done, total, stage: None)
    # 1. Everything small is checked before gigabytes are read.
    if out.exists():
        raise InvalidInput(f"{out} already exists: import to a new folder")
    report(0, 4, "reading configs")
    config = dataclasses.replace(config, autoencoder=_autoencoder(svd), text=_text(clip))
    wanted = {**denoiser_shapes(config), **_vae_shapes(config)}
    files, clip_shapes = _clip_files(clip) if clip is not None else ({}, {})
    measured = _statistics(statistics) if statistics is not None else {}
    # 2. The weights, every one of them accounted for.
    report(1, 4, "reading weights")
    tensors = read_weights(checkpoint)
    skipped_prefixes = (IMAGE_PREFIX,) if clip is not None else (IMAGE_PREFIX, TEXT_PREFIX)
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith(skipped_prefixes)}
    check_keys(shapes_of(kept), {**wanted, **clip_shapes}, str(checkpoint))
    # 3. Ours, with a card that says where it came from.
    report(2, 4, "hashing the source")
    counts, skipped = _count(kept), _count({k: v for k, v in tensors.items() if k not in kept})
    card = _card(config, checkpoint, counts, skipped, statistics)
    report(3, 4, "writing")
    sha256 = save_checkpoint(out, config, kept, measured, card, dtype, extra_files=files)
    report(4, 4, "imported")
    return ImportReport(out, sha256, counts, skipped, text=clip is not None)


def fetch(source: Path | str, name: str) -> Path:
    """A file of a local folder or of a repository on the hub. Raises `InvalidInput` where there is none."""
    folder = Path(source)
    if folder.is_dir():
        if not (folder / name).is_file():
            raise InvalidInput(f"{folder} has no {name}: it should be a folder in the layout of the hub's repository")
        return folder / name
    if not HUB_NAME.fullmatch(str(source)):
        raise InvalidInput(f"{source} is neither a folder nor a name on the hub such as owner/model")
    try:
        return Path(hf_hub_download(str(source), name))
    except (HfHubHTTPError, EntryNotFoundError, OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InvalidInput(f"{source} is no local folder, and the hub does not give its {name}: {reason}") from error


def _autoencoder(svd: Path | str) -> dict[str, Any]:
    """SVD's autoencoder as our config states it."""
    path = fetch(svd, VAE_CONFIG)
    values = _read_object(path)
    kind = values.get("_class_name", SVD_AUTOENCODER["class"])
    if kind != SVD_AUTOENCODER["class"]:
        raise InvalidInput(f"{path} describes {kind!r}; Stable Video Diffusion has an {SVD_AUTOENCODER['class']}")
    return {**SVD_AUTOENCODER, **{key: value for key, value in values.items() if not key.startswith("_")}}


def _text(clip: Path | str | None) -> TextEncoding:
    return TextEncoding.NONE if clip is None else TextEncoding.CLIP


def _vae_shapes(config: WorldModelConfig) -> dict[str, Shape]:
    try:
        with torch.device("meta"):
            autoencoder = ViewAutoencoder(config)
    except (TypeError, ValueError, KeyError, IndexError, AttributeError, RuntimeError) as error:
        raise InvalidInput(f"{VAE_CONFIG} describes no autoencoder that can be built: {error}") from error
    return {f"vae.{name}": tuple(value.shape) for name, value in autoencoder.vae.state_dict().items()}


def _clip_files(clip: Path | str) -> tuple[dict[str, bytes], dict[str, Shape]]:
    """CLIP's config and tokenizer by their path in our checkpoint, and the shapes of its text encoder."""
    contents = {CONFIG_FILE: fetch(clip, CONFIG_FILE).read_bytes()}
    for name in TOKENIZER_FILES:
        # Which of them a repository has differs; `read_tokenizer` says whether they suffice.
        if not Path(clip).is_dir() or (Path(clip) / name).is_file():
            contents |= _fetch_optional(clip, name)
    with tempfile.TemporaryDirectory() as folder:
        for name, content in contents.items():
            (Path(folder) / name).write_bytes(content)
        config = read_config(Path(folder))
        read_tokenizer(Path(folder), config)
    return {f"{TEXT_FOLDER}/{name}": content for name, content in contents.items()}, text_shapes(config)


def _fetch_optional(source: Path | str, name: str) -> dict[str, bytes]:
    try:
        return {name: fetch(source, name).read_bytes()}
    except InvalidInput as error:
        if isinstance(error.__cause__, EntryNotFoundError):
            return {}
        raise


def _statistics(path: Path) -> dict[str, Any]:
    """The released percentiles as ours."""
    values = _read_object(path)
    try:
        low, high = (np.array(values[key], dtype=np.float64).reshape(-1) for key in RELEASED_STATISTICS)
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInput(f"{path} should have lists {' and '.join(RELEASED_STATISTICS)}: {error!r}") from error
    if low.shape != (7,) or high.shape != (7,) or not bool(np.all(low < high)) or not np.isfinite([low, high]).all():
        raise InvalidInput(f"{path}: {' and '.join(RELEASED_STATISTICS)} should be 7 finite numbers, low below high")
    return ActionStatistics(
        low=tuple(low.tolist()),
        high=tuple(high.tolist()),
        euler_reference=(0.0, 0.0, 0.0),
    ).to_dict()


def _read_object(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidInput(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(values, dict):
        raise InvalidInput(f"{path} should hold a JSON object, not a {type(values).__name__}")
    return values


def _count(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    return dict(Counter(name.split(".")[0] for name in tensors))


def _card(
    config: WorldModelConfig,
    checkpoint: Path,
    kept: Mapping[str, int],
    skipped: Mapping[str, int],
    statistics: Path | None,
) -> str:
    text = "a CLIP text encoder" if config.text is TextEncoding.CLIP else "none: it runs without text"
    normalised = f"from {statistics.name}" if statistics else "none: measure them before imagining"
    return "\n".join(
        [
            f"# {config.name}",
            "",
            "Ctrl-World (arXiv 2510.10125), imported from the files that its authors released.",
            "The weights remain under the licences of Ctrl-World, Stable Video Diffusion and CLIP.",
            "",
            f"- source: {checkpoint.name}, sha256 {file_sha256(checkpoint)}",
            f"- tensors: {', '.join(f'{name} {count}' for name, count in sorted(kept.items()))}",
            f"- skipped: {', '.join(f'{name} {count}' for name, count in sorted(skipped.items())) or 'nothing'}",
            "  (SVD's image encoder is in the checkpoint, but Ctrl-World's inference does not use it)",
            f"- text: {text}",
            f"- action statistics: {normalised}",
            f"- noise augmentation told in sampling: {config.noise.augmentation_sample} (the released scripts: 0.02)",
            "",
        ]
    )
