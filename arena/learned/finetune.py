"""Fine-tuning a cloned policy: on recorded episodes, synthetic ones, or both at a given share of every batch."""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from arena.contracts import Episode, InvalidInput
from arena.learned.checkpoint import CloningModel, Training
from arena.learned.cloning import SAVE_SECONDS, cloning_loss, made_before
from arena.learned.demonstrations import Batch, Demonstrations, Progress
from arena.learned.network import CloningConfig
from arena.learned.optimise import Schedule, optimise

STAGE = "fine-tuning"


@dataclass(frozen=True)
class Part:
    """Episodes, and the share of every batch that is drawn from them: shares are weights, whatever they add up to."""

    episodes: Sequence[Episode]
    share: float = 1.0


@dataclass(frozen=True)
class Finetuning:
    """How long and how fast. A lower rate than training from nothing: what was good should stay."""

    steps: int = 600
    batch: int = 32
    learning_rate: float = 1e-3
    warmup: int = 20
    only_successes: bool = True


def finetune_cloning(
    start: CloningModel,
    parts: Sequence[Part],
    out: Path,
    options: Finetuning,
    seed: int,
    progress: Progress | None = None,
    scratch: Path | None = None,
) -> Path:
    """Go on training `start` on `parts` and write the folder `out`, whole or not at all; returns it.

    Positions and displacements keep the units that `start` was trained in. Interrupted, it goes on from `scratch` (by
    default a hidden folder beside `out`) and ends with the same weights; where `out` is what this very call has made
    before, there is nothing to do. Raises `InvalidInput` where `out` is anything else, episodes do not fit the policy's
    cameras or rate, a share is not positive, or the batch is too small for all parts.
    """
    config = replace(
        start.config, steps=options.steps, batch=options.batch, learning_rate=options.learning_rate,
        warmup=options.warmup, only_successes=options.only_successes,
    )  # fmt: skip
    mixture = Mixture(parts, config, start.control_hz, progress)
    data_sha256 = hashlib.sha256(f"{start.sha256}\n{mixture.sha256}".encode()).hexdigest()
    if out.exists():
        return made_before(out, config, seed, data_sha256)
    scratch = scratch or out.with_name(f".{out.name}.training")
    network = copy.deepcopy(start.network)
    schedule = Schedule(
        config.steps, config.batch, config.learning_rate, config.warmup, ema=0.0,
        weight_decay=config.weight_decay, save_seconds=SAVE_SECONDS,
    )  # fmt: skip

    def loss_of_step(_: int, generator: torch.Generator) -> Tensor:
        return cloning_loss(network, start.normalisation, mixture.batch(generator))

    identity = json.dumps([asdict(config), data_sha256])
    loss = optimise(STAGE, network, loss_of_step, schedule, seed, scratch, identity, progress)
    known = tuple(sorted({*start.training.instructions, *mixture.instructions}))
    training = Training(seed, mixture.episodes, len(mixture), data_sha256, loss, known)
    network.config = config
    CloningModel(network, start.normalisation, start.control_hz, training).save(out)
    shutil.rmtree(scratch, ignore_errors=True)
    return out


class Mixture:
    """Several sets of demonstrations, each with its places in every batch."""

    def __init__(
        self, parts: Sequence[Part], config: CloningConfig, control_hz: float, progress: Progress | None = None
    ) -> None:
        counts = places([part.share for part in parts], config.batch)
        self._sets = [
            Demonstrations(part.episodes, replace(config, batch=count), progress)
            for part, count in zip(parts, counts, strict=True)
        ]
        for each in self._sets:
            if each.control_hz != control_hz:
                raise InvalidInput(f"the policy acts at {control_hz:g} Hz, the episodes are at {each.control_hz:g} Hz")
        self.episodes = sum(each.episodes for each in self._sets)
        self.instructions = tuple(sorted({words for each in self._sets for words in each.instructions}))
        self.sha256 = hashlib.sha256(
            json.dumps([[each.sha256, count] for each, count in zip(self._sets, counts, strict=True)]).encode()
        ).hexdigest()

    def __len__(self) -> int:
        return sum(map(len, self._sets))

    def batch(self, generator: torch.Generator) -> Batch:
        """`config.batch` samples, of every set its number. What is drawn depends on the generator alone."""
        drawn = [each.batch(generator) for each in self._sets]
        longest = max(each.words.shape[1] for each in drawn)
        words = [torch.nn.functional.pad(each.words, (0, longest - each.words.shape[1])) for each in drawn]
        images = [torch.cat(views) for views in zip(*(each.images for each in drawn), strict=True)]
        state, target = torch.cat([each.state for each in drawn]), torch.cat([each.target for each in drawn])
        return Batch(images, state, torch.cat(words), target)


def places(shares: Sequence[float], batch: int) -> list[int]:
    """How many of `batch` samples each share gets, one at least. Raises `InvalidInput` where that cannot be."""
    if not shares or not all(share > 0 and share < float("inf") for share in shares):
        raise InvalidInput(f"fine-tuning needs episodes, and shares above 0, not {list(shares)}")
    if batch < len(shares):
        raise InvalidInput(f"a batch of {batch} has no place for {len(shares)} sets of episodes")
    counts = [1] * len(shares)
    for _ in range(batch - len(shares)):
        wanted = [share * batch / sum(shares) - count for share, count in zip(shares, counts, strict=True)]
        counts[wanted.index(max(wanted))] += 1
    return counts
