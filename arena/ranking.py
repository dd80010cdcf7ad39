"""Ranking of policies from pairwise comparisons, with claims no stronger than the comparisons bear.

Strengths are Bradley-Terry's (`arena.bradley_terry`). Where the comparisons leave a difference
unbounded (a policy that never lost, a group that won all it played against the rest), the sandwich
errors would claim false certainty: there the interval comes from the likelihood and is open on
the unbounded side. Policies that never met, not even through others, are put into separate groups, and no
rank is claimed between groups.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from scipy.stats import t

from arena.bradley_terry import BradleyTerry, Comparisons, fit, shift_interval
from arena.contracts import Choice, FloatArray, InvalidInput, RankedPolicy, Ranking, Vote

ERROR_RATE = 0.05
FEW_VOTERS = 10
"""With fewer voters than this the scenes are what was sampled, and errors are clustered by scene."""

_SCORES = {Choice.LEFT: 1.0, Choice.RIGHT: 0.0, Choice.TIE: 0.5, Choice.BOTH_BAD: 0.5}


def rank(votes: Sequence[Vote], *, policies: Sequence[str] = (), judge: str = "", left_bias: bool = True) -> Ranking:
    """Rank the policies in `votes` (and those in `policies` that got none), best first, larger groups first.

    `rank_low` and `rank_high` bound a policy's place: only a policy that is better or worse at a 5% error
    rate over all pairs at once is counted above or below it. Scores have mean 0 in their group, and
    pointwise 95% intervals, infinite on a side that the comparisons leave open. Ties and both-bad count as
    half a win each. Set `left_bias` to False where nobody saw two sides, as with the scores of a judge.
    Raises `InvalidInput` for a policy that meets itself.
    """
    everything = _as_arrays(votes, policies)
    groups = _groups(everything)
    ranked: list[RankedPolicy] = []
    notes = [] if votes else ["no comparisons"]
    if len(groups) > 1:
        notes.append(f"{len(groups)} groups of policies never met: no rank is claimed between them")
    for members in groups:
        if len(members) == 1:
            ranked.append(_alone(everything.policies[members[0]], len(everything.policies)))
            continue
        part = _subset(everything, members)
        model = fit(part, left_bias=left_bias)
        ranked += _ranked(part, model, len(everything.policies))
        notes += _notes(part, model)
    names = tuple(tuple(everything.policies[i] for i in members) for members in groups)
    return Ranking(tuple(ranked), names, len(votes), judge, tuple(dict.fromkeys(notes)))


def _alone(policy: str, total: int) -> RankedPolicy:
    return RankedPolicy(policy, 1, total, 0.0, -np.inf, np.inf, comparisons=0, note="never compared")


def _ranked(part: Comparisons, model: BradleyTerry, total: int) -> list[RankedPolicy]:
    """One connected group, best first. `total` counts the policies of all groups: any place among them is possible."""
    blocks = _blocks(part)
    low, high = _intervals(part, model, blocks, float(t.ppf(1 - ERROR_RATE / 2, model.freedom)))
    better = _better(part, model, blocks)
    counts = np.bincount(np.concatenate([part.left, part.right]))
    return [
        RankedPolicy(
            part.policies[i],
            rank_low=1 + int(better[:, i].sum()),
            rank_high=total - int(better[i].sum()),
            score=float(model.strength[i]),
            low=float(low[i]),
            high=float(high[i]),
            comparisons=int(counts[i]),
            note=_note(part, i, float(low[i]), float(high[i])),
        )
        for i in np.argsort(-model.strength, kind="stable").tolist()
    ]


def _notes(part: Comparisons, model: BradleyTerry) -> list[str]:
    notes = [*model.notes, f"errors clustered by {part.clustered_by}"]
    if (part.score == 0.5).all():
        notes.append("all comparisons were ties")
    if model.bias is not None and model.bias_error is not None:
        notes.append(f"left-side bias {model.bias:+.2f} +- {model.bias_error:.2f} logits")
    return notes


def _note(part: Comparisons, policy: int, low: float, high: float) -> str:
    scores = np.concatenate([part.score[part.left == policy], 1 - part.score[part.right == policy]])
    if scores.min() >= 0.5 and scores.max() > 0.5:
        return "never lost"
    if scores.max() <= 0.5 and scores.min() < 0.5:
        return "never won"
    if np.isinf(high):
        return "in a group that never lost to the rest"
    return "in a group that never won against the rest" if np.isinf(low) else ""


def _intervals(
    part: Comparisons, model: BradleyTerry, blocks: NDArray[np.intp], quantile: float
) -> tuple[FloatArray, FloatArray]:
    """Ends `(K,)` of the intervals: the sandwich's, widened by how far each block can move as a whole.

    The largest block, if it has several policies, is what the others move against and stays in place.
    """
    low, high = model.strength - quantile * model.error, model.strength + quantile * model.error
    sizes = np.bincount(blocks)
    fixed = int(sizes.argmax()) if sizes.max() > 1 else -1
    for block in set(range(len(sizes))) - {fixed}:
        inside = blocks == block
        down, up = shift_interval(part, model, inside, quantile)
        low[inside] = np.minimum(low[inside], model.strength[inside] + down)
        high[inside] = np.maximum(high[inside], model.strength[inside] + up)
    return low, high


def _better(part: Comparisons, model: BradleyTerry, blocks: NDArray[np.intp]) -> NDArray[np.bool_]:
    """`(K, K)`: whether the row's policy is better than the column's, at `ERROR_RATE` over all pairs (Bonferroni).

    Inside a block by the sandwich's error of the difference. Between blocks that difference has no finite
    estimate: there by intervals that do not overlap, by an exact sign test on the clusters in which the two
    met, or through policies between them.
    """
    size = len(part.policies)
    rate = ERROR_RATE / (size * (size - 1) / 2)
    quantile = float(t.ppf(1 - rate / 2, model.freedom))
    difference = model.strength[:, None] - model.strength[None, :]
    variance = np.diag(model.covariance)
    error = np.sqrt(np.maximum(variance[:, None] + variance[None, :] - 2 * model.covariance, 0))
    low, high = _intervals(part, model, blocks, quantile)
    apart = (low[:, None] > high[None, :]) | (0.5 ** _clusters_won(part) < rate / 2)
    better = np.where(blocks[:, None] == blocks[None, :], difference > quantile * error, apart)
    for middle in range(size):
        better |= better[:, middle, None] & better[None, middle, :]
    return np.asarray(better)


def _clusters_won(part: Comparisons) -> FloatArray:
    """`(K, K)`: in how many clusters row beat column, or 0 where it ever lost to it or tied."""
    won, lost = part.score == 1, part.score == 0
    winner = np.concatenate([part.left[won], part.right[lost]])
    loser = np.concatenate([part.right[won], part.left[lost]])
    cluster = np.concatenate([part.cluster[won], part.cluster[lost]])
    count = np.zeros((len(part.policies), len(part.policies)))
    pairs = np.unique(np.stack([winner, loser, cluster]), axis=1)
    np.add.at(count, (pairs[0], pairs[1]), 1.0)
    count[part.left[~won], part.right[~won]] = 0
    count[part.right[~lost], part.left[~lost]] = 0
    return count


def _blocks(part: Comparisons) -> NDArray[np.intp]:
    """`(K,)` labels: within a block all reach all over wins and ties, so differences are finite (Ford 1957)."""
    size = len(part.policies)
    wins = np.zeros((size, size))
    np.add.at(wins, (part.left, part.right), part.score)
    np.add.at(wins, (part.right, part.left), 1 - part.score)
    _, labels = connected_components(csr_array(wins), directed=True, connection="strong")
    return np.asarray(labels, dtype=np.intp)


def _groups(data: Comparisons) -> list[list[int]]:
    """Indices of policies that are connected by comparisons, largest group first."""
    size = len(data.policies)
    if not size:
        return []
    met = csr_array((np.ones(len(data.left)), (data.left, data.right)), shape=(size, size))
    count, labels = connected_components(met, directed=False)
    groups = [np.flatnonzero(labels == label).tolist() for label in range(count)]
    return sorted(groups, key=lambda members: (-len(members), members))


def _as_arrays(votes: Sequence[Vote], policies: Sequence[str]) -> Comparisons:
    for vote in votes:
        if vote.left == vote.right:
            raise InvalidInput(f"{vote.left} was compared with itself in scene {vote.scene_id!r} by {vote.voter}")
    names = sorted({*policies, *(vote.left for vote in votes), *(vote.right for vote in votes)})
    index = {name: i for i, name in enumerate(names)}
    clustered_by, labels = _clusters(votes)
    return Comparisons(
        tuple(names),
        np.array([index[vote.left] for vote in votes], dtype=np.intp),
        np.array([index[vote.right] for vote in votes], dtype=np.intp),
        np.array([_SCORES[vote.choice] for vote in votes]),
        np.unique(np.array(labels), return_inverse=True)[1],
        clustered_by,
    )


def _clusters(votes: Sequence[Vote]) -> tuple[str, list[str]]:
    """What the errors are clustered by, and each vote's cluster."""
    voters, scenes = [vote.voter for vote in votes], [vote.scene_id for vote in votes]
    if len(set(voters)) >= FEW_VOTERS or len(set(voters)) > len(set(scenes)):
        return "voter", voters
    if len(set(scenes)) > 1:
        return "scene", scenes
    return "vote", [str(i) for i in range(len(votes))]


def _subset(data: Comparisons, members: Sequence[int]) -> Comparisons:
    place = np.full(len(data.policies), -1)
    place[list(members)] = np.arange(len(members))
    rows = place[data.left] >= 0
    return Comparisons(
        tuple(data.policies[i] for i in members),
        place[data.left[rows]],
        place[data.right[rows]],
        data.score[rows],
        np.unique(data.cluster[rows], return_inverse=True)[1],
        data.clustered_by,
    )
