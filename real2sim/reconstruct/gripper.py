"""The gripper in the wrist camera's film, by its model and by the film itself, and what it moves.

A camera that is known to a few millimetres draws fingers that are a hand's breadth away off by several pixels. But they
stay where they are in the picture while the scene goes by.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from arena.contracts import FloatArray, Frames

STILL = 10.0
"""Grey levels that a gripper's pixels differ by between frames in which it is opened alike."""
ALIKE, LEAST_FRAMES = 0.08, 8
"""Of the way from open to closed, and the frames so alike that are needed to tell what stays."""
CERTAIN, POSSIBLE = 0.02, 0.1
"""Picture widths around the drawn gripper: so near all is taken for it, and so near what stays the same is."""
RIM = 0.0125
"""Picture widths around what stays the same: at the fingers' edge pixels are of both, and no two frames alike. Black
smears were fitted there, before the hand."""
HOLDING = 0.1
"""Of the way from open to closed: from there on it may hold something."""
HELD, THINGS = 0.06, 0.1
"""Metres around the fingertips: where a held thing is seen, and where one was taken or
left, unless a static camera shows that none was."""


class GripperFilm:
    """A wrist camera's `film` `(T, H, W, 3)` with how far the gripper is closed, `(T,)` from 0 to 1; frames of one
    `opening` `(T,)` have it alike."""

    def __init__(self, film: Frames, gripper: FloatArray) -> None:
        self._film, self.opening = film, np.rint(gripper / ALIKE).astype(int)
        self._usual: dict[int, tuple[FloatArray, NDArray[np.bool_]] | None] = {}

    def mask(self, frame: int, drawn: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """`(H, W)`: the gripper at a frame, `drawn` `(H, W)` being where its model is."""
        width = drawn.shape[1]
        near = self._near(drawn)
        certain = binary_dilation(drawn, iterations=max(2, round(CERTAIN * width)))
        rim = max(1, round(RIM * width))
        return np.asarray(binary_dilation(certain | (near & self.still(frame)), iterations=rim))

    def overlap(self, frame: int, drawn: NDArray[np.bool_]) -> float | None:
        """Intersection over union of the gripper as it is `drawn` `(H, W)` and as the film shows it near that: by what
        stays put. None where too few frames tell, or it is not drawn."""
        if not drawn.any() or self._usual_at(frame) is None:
            return None
        filmed = self._near(drawn) & self.still(frame)
        return float((drawn & filmed).sum() / (drawn | filmed).sum())

    def still(self, frame: int) -> NDArray[np.bool_]:
        """`(H, W)`: what looks as it mostly does while the gripper is opened so far."""
        known = self._usual_at(frame)
        if known is None:
            return np.zeros(self._film.shape[1:3], bool)
        usual, stays = known
        return np.asarray(stays & (np.abs(self._film[frame] - usual).max(-1) < 2 * STILL))

    def _usual_at(self, frame: int) -> tuple[FloatArray, NDArray[np.bool_]] | None:
        """What `_usually` says of the frames whose gripper is opened as far as at this one."""
        opening = int(self.opening[frame])
        if opening not in self._usual:
            self._usual[opening] = self._usually(self._film[self.opening == opening])
        return self._usual[opening]

    @staticmethod
    def _near(drawn: NDArray[np.bool_]) -> NDArray[np.bool_]:
        return np.asarray(binary_dilation(drawn, iterations=max(2, round(POSSIBLE * drawn.shape[1]))))

    @staticmethod
    def _usually(frames: Frames) -> tuple[FloatArray, NDArray[np.bool_]] | None:
        """What frames mostly show `(H, W, 3)`, and where they stay with it `(H, W)`; nothing for too few of them."""
        if len(frames) < LEAST_FRAMES:
            return None
        usual = np.median(frames, axis=0).astype(np.float32)
        return usual, np.asarray(np.median(np.abs(frames - usual).max(-1), axis=0) < STILL)


@dataclass(frozen=True)
class Turn:
    """The hand closes or opens at a `frame`, its fingertips at `tips` `(3,)` m: there it may take or leave a thing."""

    frame: int
    tips: FloatArray


class Handling:
    """What a hand does to things in an episode, with its fingertips at `tips` `(T, 3)` m and closed as far as `gripper`
    `(T,)` says, from 0 to 1. `idle` tells of a turn that nothing was taken or left there. `closed` `(T,)` is when it
    may hold something."""

    def __init__(
        self, tips: FloatArray, gripper: FloatArray, idle: Callable[[Turn], bool] = lambda turn: False
    ) -> None:
        self._tips, self.closed = tips, gripper > HOLDING
        frames = 1 + np.nonzero(self.closed[1:] != self.closed[:-1])[0]
        turns = [Turn(int(frame), self._tips[frame]) for frame in frames]
        self._turns = [turn for turn in turns if not idle(turn)]

    @property
    def taken(self) -> FloatArray:
        """`(K, 3)` m: where the fingertips were as the hand closed, unless nothing was taken there."""
        tips = [turn.tips for turn in self._turns if self.closed[turn.frame]]
        return np.array(tips).reshape(-1, 3)

    def balls(self, frame: int) -> list[tuple[FloatArray, float]]:
        """Balls, middle `(3,)` m and radius m, in which by a frame something is, or is missing, that the hand moved.

        Nothing is where a hand closes for the first time until it has closed.
        """
        balls = [(turn.tips, THINGS) for turn in self._turns if turn.frame <= frame]
        return [*balls, (self._tips[frame], HELD)] if self.closed[frame] else balls
