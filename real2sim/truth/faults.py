"""Ways in which recordings are wrong: a twin of any of these has to be refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from arena.contracts import Episode, Frames
from real2sim.frames import MemoryFrames
from real2sim.truth.episode import with_pictures

OFFSET = 0.25
"""Rad that a joint is off by, where its zero was taken wrongly."""
DRIFT = 0.12
"""Share of the picture's width that a camera that was knocked moves by."""


def wrong_joint_offsets(episode: Episode, seed: int = 0) -> Episode:
    """Two joints are recorded with wrong zeros."""
    off = np.zeros(7)
    off[np.random.default_rng(seed).choice([0, 1, 3], 2, replace=False)] = [OFFSET, -OFFSET]
    return Episode(**{**vars(episode), "joint_position": np.asarray(episode.joint_position) + off})


def shuffled_frames(episode: Episode, seed: int = 0) -> Episode:
    """The pictures are in another order than the joints, alike in all cameras."""
    order = np.random.default_rng(seed).permutation(len(episode))
    return _films(episode, lambda film: film[order])


def mirrored_video(episode: Episode, seed: int = 0) -> Episode:
    """Left and right are swapped."""
    return _films(episode, lambda film: film[:, :, ::-1])


def camera_that_moves(episode: Episode, seed: int = 0) -> Episode:
    """Half-way, every camera is knocked aside."""
    return _films(episode, lambda film: _knocked(film, np.random.default_rng(seed)))


def _films(episode: Episode, change: Callable[[Frames], Frames]) -> Episode:
    return with_pictures(
        episode,
        {name: MemoryFrames(np.ascontiguousarray(change(film.read()))) for name, film in episode.cameras.items()},
    )


def _knocked(film: Frames, rng: np.random.Generator) -> Frames:
    pixels = round(DRIFT * film.shape[2]) * int(rng.choice([-1, 1]))
    half = len(film) // 2
    # What comes in at the edge is the edge's own column again.
    columns = np.clip(np.arange(film.shape[2]) + pixels, 0, film.shape[2] - 1)
    return np.concatenate([film[:half], film[half:][:, :, columns]])


FAULTS: Mapping[str, Callable[[Episode, int], Episode]] = MappingProxyType(
    {
        "wrong joint offsets": wrong_joint_offsets,
        "shuffled frames": shuffled_frames,
        "mirrored video": mirrored_video,
        "a camera that moves": camera_that_moves,
    }
)
