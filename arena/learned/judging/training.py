"""Training the judge: labelled films, recorded and imagined, to a network. Resumable, seeded by step."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from arena.contracts import InvalidInput
from arena.judges.contrary import is_contrary
from arena.learned.judging.films import Film, Progress
from arena.learned.judging.network import TRACK, JudgingConfig, JudgingNetwork, Readings, smooth_maximum, words_of
from arena.learned.optimise import Schedule, optimise

SAVE_SECONDS = 30.0
PROGRESS_WEIGHT, TRACK_WEIGHT, FRAME_WEIGHT, FLAT_WEIGHT = 2.0, 1.0, 0.5, 1.0
"""Of the other losses beside that of a whole trial's outcome, so that each is of about its size."""
MIN_SCALE = 1e-2
"""In m, and of the gripper's stroke: what never moves is not to be blown up."""
TRUNCATED, LATE = 0.5, 0.25
"""Shares of failures that are shown only to some frame, and of trials that are shown only from some frame on."""
UNKNOWN = -1.0
FLAT = -4.0
"""Log-odds of all frames that show nothing done, or another thing than what is wanted. The very same for all: how
nearly that other thing was done must not show."""


@dataclass(frozen=True)
class TrackScale:
    """Mean and deviation `(4,)` of hand positions in m and of the gripper over the training films."""

    mean: Tensor
    scale: Tensor


@dataclass(frozen=True)
class Batch:
    """`B` trials of `F` frames.

    `frames` `(B, F, V, 3, H, W)` and `first` `(B, V, 3, H, W)` in [0, 1], `words` `(B, L)`; `success` `(B,)`; `done`
    `(B, F)` is 0 where the instruction is certainly not done in the frame yet, else `UNKNOWN`; `progress` `(B, F)` is
    `UNKNOWN` but in successes; `track` `(B, F, 4)` in units of its deviation, NaN where unknown. `beside` `(B,)` is
    True for trials that show nothing done, or something else than what is wanted.
    """

    frames: Tensor
    first: Tensor
    words: Tensor
    success: Tensor
    done: Tensor
    progress: Tensor
    track: Tensor
    beside: Tensor


@dataclass(frozen=True)
class _Shown:
    """One trial of a batch: its first frame, which of the others, the instruction, and whether that is done."""

    film: Film
    begin: int
    picks: Tensor
    instruction: str
    success: bool
    beside: bool


class Films:
    """Labelled films to draw batches from: successes and failures, recorded and imagined, in equal parts.

    Within each part tasks come equally often, so that to know the task is to know nothing of the outcome.
    Raises `InvalidInput` without a success and a failure.
    """

    def __init__(self, films: Sequence[Film], config: JudgingConfig) -> None:
        self.config = config
        known = [film for film in films if film.success is not None]
        if not any(film.success for film in known) or all(film.success for film in known):
            raise InvalidInput(f"a judge learns from successes and failures; these {len(known)} films are of one kind")
        self.instructions = tuple(sorted({film.instruction for film in known}))
        parts: dict[tuple[bool, bool], dict[str, list[Film]]] = {}
        for film in known:
            parts.setdefault((film.imagined, bool(film.success)), {}).setdefault(film.instruction, []).append(film)
        self._parts = [list(parts[key].values()) for key in sorted(parts)]
        self._contrary = {
            (done, succeeded): [other for other in self.instructions if is_contrary(done, other, succeeded)]
            for done in self.instructions
            for succeeded in (False, True)
        }
        self.track = track_scale(known)

    def batch(self, generator: torch.Generator) -> Batch:
        """What is drawn depends on the generator alone."""
        shown = [self._draw(i, generator) for i in range(self.config.batch)]
        picks = [torch.cat([torch.tensor([each.begin]), each.picks]) for each in shown]
        frames = torch.stack([each.film.frames[rows] for each, rows in zip(shown, picks, strict=True)])
        frames = _augmented(frames, self.config, generator)
        recorded = torch.tensor([not each.film.imagined for each in shown])
        later = _as_if_imagined(frames[:, 1:], recorded, self.config, generator)
        done, progress = zip(*(self._known(each) for each in shown), strict=True)
        return Batch(
            later,
            frames[:, 0],
            words_of([each.instruction for each in shown], self.config),
            torch.tensor([float(each.success) for each in shown]),
            torch.stack(done),
            torch.stack(progress),
            torch.stack([self._track(each) for each in shown]),
            torch.tensor([each.beside for each in shown]),
        )

    def _draw(self, index: int, generator: torch.Generator) -> _Shown:
        config, part = self.config, self._parts[index % len(self._parts)]
        films = part[_below(len(part), generator)]
        film = films[_below(len(films), generator)]
        chance, share, start = torch.rand(3, generator=generator).tolist()
        succeeded, last = bool(film.success), len(film) - 1
        if chance < config.still:
            return _Shown(film, 0, torch.zeros(config.frames, dtype=torch.int64), film.instruction, False, True)
        instruction, beside = film.instruction, False
        if chance < config.still + config.contrary and (others := self._contrary[instruction, succeeded]):
            instruction, succeeded, beside = others[_below(len(others), generator)], False, True
        elif not succeeded and share < TRUNCATED:
            # What has failed in the end had not succeeded before.
            last = int(last * (0.3 + 0.7 * share / TRUNCATED))
        begin = 0
        if start < LATE:
            # A trial may begin in the middle of things, but not with success.
            begin = int(max(last - config.settled_frames, 0) * start / LATE)
        picks = begin + _spread(last - begin, config.frames, generator)
        return _Shown(film, begin, picks, instruction, succeeded, beside)

    def _known(self, shown: _Shown) -> tuple[Tensor, Tensor]:
        if not shown.success:
            return torch.zeros(len(shown.picks)), torch.full((len(shown.picks),), UNKNOWN)
        length = len(shown.film)
        early = shown.picks < length - self.config.settled_frames
        return torch.where(early, 0.0, UNKNOWN), shown.picks.float() / max(length - 1, 1)

    def _track(self, shown: _Shown) -> Tensor:
        if shown.film.track is None:
            return torch.full((len(shown.picks), TRACK), float("nan"))
        return (shown.film.track[shown.picks] - self.track.mean) / self.track.scale


def track_scale(films: Sequence[Film]) -> TrackScale:
    """Over all frames whose track is known; 0 and 1 where none is."""
    known = [film.track for film in films if film.track is not None]
    if not known:
        return TrackScale(torch.zeros(TRACK), torch.ones(TRACK))
    rows = torch.cat(known)
    return TrackScale(rows.mean(0), rows.std(0, correction=0).clamp(min=MIN_SCALE))


def train_network(
    films: Films, seed: int, scratch: Path, data_sha256: str, progress: Progress | None = None
) -> JudgingNetwork:
    """Train a network, or go on where a killed run was; the loss of each step is in `scratch`."""
    config = films.config
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = JudgingNetwork(config)
    schedule = Schedule(
        config.steps, config.batch, config.learning_rate, config.warmup, ema=config.ema,
        weight_decay=config.weight_decay, save_seconds=SAVE_SECONDS,
    )  # fmt: skip

    def loss_of_step(_: int, generator: torch.Generator) -> Tensor:
        batch = films.batch(generator)
        return judging_loss(network(batch.frames, batch.first, batch.words), batch)

    identity = json.dumps([asdict(config), data_sha256])
    optimise("judge", network, loss_of_step, schedule, seed, scratch, identity, progress)
    return network


def judging_loss(readings: Readings, batch: Batch) -> Tensor:
    """Outcome of each trial, frames known not to be done, progress of successes, and the hand's place."""
    told = ~batch.beside
    outcome = F.binary_cross_entropy_with_logits(
        smooth_maximum(readings.success)[told], batch.success[told], reduction="sum"
    ) / len(told)
    known = (batch.done != UNKNOWN) & told[:, None]
    frame = F.softplus(readings.success)[known].sum() / max(int(known.sum()), 1)
    beside = readings.success[batch.beside]
    flat = F.huber_loss(beside, torch.full_like(beside, FLAT), reduction="sum") / max(beside.numel(), 1)
    ran = batch.progress != UNKNOWN
    progress = F.huber_loss(readings.progress[ran], batch.progress[ran], reduction="sum") / max(int(ran.sum()), 1)
    seen = batch.track.isfinite().all(dim=-1)
    error = readings.track[seen] - batch.track[seen]
    track = F.huber_loss(error, torch.zeros_like(error), reduction="sum") / max(error.numel(), 1)
    return outcome + FRAME_WEIGHT * (frame + FLAT_WEIGHT * flat) + PROGRESS_WEIGHT * progress + TRACK_WEIGHT * track


def _spread(last: int, count: int, generator: torch.Generator) -> Tensor:
    """`(count,)` frames up to `last`, one at random from each equal part, and `last` itself, in order.

    The same number for every length, and frames are repeated where there are fewer: length tells nothing.
    """
    places = (torch.arange(count - 1) + torch.rand(count - 1, generator=generator)) / (count - 1)
    return torch.cat([(places * last).long(), torch.tensor([last])])


def _augmented(frames: Tensor, config: JudgingConfig, generator: torch.Generator) -> Tensor:
    """`(B, F, V, 3, H, W)` uint8 to floats in [0, 1]: a shift of each view and a gain, all frames of a trial alike."""
    height, width = frames.shape[-2:]
    moved = frames.float() / 255.0
    for trial in range(len(frames)):
        for view in range(frames.shape[2]):
            down, across = (_below(2 * config.shift_pixels + 1, generator) - config.shift_pixels for _ in range(2))
            rows = (torch.arange(height) + down).clamp(0, height - 1)
            columns = (torch.arange(width) + across).clamp(0, width - 1)
            moved[trial, :, view] = moved[trial, :, view][..., rows, :][..., columns]
    gain = 1.0 + config.brightness * (2.0 * torch.rand((len(frames), 1, 1, 1, 1, 1), generator=generator) - 1.0)
    return (moved * gain).clamp_(max=1.0)


def _as_if_imagined(frames: Tensor, recorded: Tensor, config: JudgingConfig, generator: torch.Generator) -> Tensor:
    """Blur and noise on some of the recorded trials: a world model's frames are softer than the one it starts from."""
    chosen = recorded & (torch.rand(len(frames), generator=generator) < config.blurred)
    passes = 1 + torch.randint(3, (len(frames),), generator=generator)
    for trial in torch.nonzero(chosen).flatten().tolist():
        film = frames[trial].flatten(0, 1)
        for _ in range(int(passes[trial])):
            film = F.avg_pool2d(F.pad(film, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
        frames[trial] = film.view_as(frames[trial])
    # One film of noise for all trials: to draw it would take longer than all other augmentation together.
    level = config.noise * torch.rand((len(frames), 1, 1, 1, 1, 1), generator=generator)
    return (frames + level * torch.randn((1, *frames.shape[1:]), generator=generator)).clamp_(0.0, 1.0)


def _below(count: int, generator: torch.Generator) -> int:
    return int(torch.randint(count, (), generator=generator))
