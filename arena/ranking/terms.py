"""The columns of a design beside the policies: the left side's advantage and the tie rate, per level of covariates.

A covariate that is the same for both sides (the scene, the kind of instruction, whether a person or a judge voted)
cannot move a difference of strengths. What it can do is change how much the left side is favoured and how often
votes are ties.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from arena.contracts import FloatArray
from arena.ranking.ballots import Ballots, Cells


@dataclass(frozen=True)
class Effect:
    """One reported number: `weights` `(q,)` or `(s,)` on a block's parameters give the value of a covariate's level.

    An empty `covariate` is the mean over levels.
    """

    covariate: str
    value: str
    weights: FloatArray


@dataclass(frozen=True)
class Terms:
    """`side` `(C, q)` and `tie` `(C, s)`: rows are levels (combinations of covariates), columns parameters."""

    side: FloatArray
    tie: FloatArray
    side_effects: tuple[Effect, ...]
    tie_effects: tuple[Effect, ...]
    notes: tuple[str, ...]


def make_terms(
    ballots: Ballots, cells: Cells, levels: list[tuple[int, ...]], covariates: Sequence[str], *, left_bias: bool
) -> Terms:
    """Columns that the votes can tell from strength. What they cannot is left out, with a note."""
    coded, effects = _coded(ballots, levels, covariates)
    ties = bool(cells.counts[:, 2].any())
    tie = coded if ties else coded[:, :0]
    if not left_bias:
        return Terms(coded[:, :0], tie, (), effects if ties else (), ())
    known = _told_from_strength(cells, len(ballots.policies), coded)
    if not known[0]:
        never = ("sides were never swapped: a left-side bias would look like strength",) if len(cells.left) else ()
        return Terms(coded[:, :0], tie, (), effects if ties else (), never)
    notes = () if known.all() else ("some levels of a covariate never swapped sides: they share the others' bias",)
    shown = tuple(Effect(e.covariate, e.value, e.weights[known]) for e in effects)
    return Terms(coded[:, known], tie, shown, effects if ties else (), notes)


def _coded(
    ballots: Ballots, levels: list[tuple[int, ...]], covariates: Sequence[str]
) -> tuple[FloatArray, tuple[Effect, ...]]:
    """A constant, and deviations from it that sum to 0 over the values of each covariate."""
    rows = np.array(levels, dtype=np.int64).reshape(len(levels), len(covariates))
    blocks, spans, width = [np.ones((len(levels), 1))], [], 1
    for place, name in enumerate(covariates):
        present, which = np.unique(rows[:, place], return_inverse=True)
        contrasts = np.vstack([np.eye(len(present) - 1), -np.ones(len(present) - 1)])
        blocks.append(contrasts[which])
        names = [ballots.column(name).values[code] for code in present]
        spans.append((name, names, width, contrasts))
        width += len(present) - 1
    effects = [Effect("", "", np.eye(width)[0])]
    for name, names, begin, contrasts in spans:
        for value, contrast in zip(names, contrasts, strict=True):
            weights = np.eye(width)[0]
            weights[begin : begin + len(contrast)] = contrast
            effects.append(Effect(name, value, weights))
    return np.concatenate(blocks, axis=1), tuple(effects)


def _told_from_strength(cells: Cells, size: int, columns: FloatArray) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """`(q,)`: whether a column lies outside the span of the policies' and the columns kept before it.

    Over distinct cells, by a Cholesky decomposition of what is left of the columns beside the policies.
    """
    z = columns[cells.level]
    pairs = np.bincount(cells.left * size + cells.right, minlength=size * size).reshape(size, size).astype(float)
    laplacian = np.diag(pairs.sum(0) + pairs.sum(1)) - pairs - pairs.T
    net = np.zeros((size, columns.shape[1]))
    np.add.at(net, cells.left, z)
    np.add.at(net, cells.right, -z)
    rest = z.T @ z - net.T @ np.linalg.pinv(laplacian, rcond=1e-10, hermitian=True) @ net
    scale = (z * z).sum(0)
    kept = np.zeros(columns.shape[1], dtype=bool)
    for i in range(len(kept)):
        kept[i] = rest[i, i] > 1e-8 * max(scale[i], 1.0)
        if kept[i]:
            rest = rest - np.outer(rest[:, i], rest[i]) / rest[i, i]
    return kept
