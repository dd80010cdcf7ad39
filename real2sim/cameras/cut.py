"""A picture in two parts by a minimum cut (Boykov and Jolly 2001): what each pixel shows, and that parts are connected.

Of a robot before a scene of its own colours single pixels say little: white links before a white wall leave holes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order, maximum_flow

from arena.contracts import FloatArray

UNITS = 100
"""Steps of 1 of evidence: flows are whole numbers."""


def minimum_cut(evidence: FloatArray, smoothness: float) -> NDArray[np.bool_]:
    """`(H, W)`: the part of a picture that has most `evidence` `(H, W)`, positive for what is in it and negative for
    what is not, less `smoothness` for each pair of neighbours (of four) of which one is in it."""
    count = evidence.size
    source, sink = count, count + 1
    pixel = np.arange(count).reshape(evidence.shape)
    one = np.concatenate([pixel[:, :-1].ravel(), pixel[:-1].ravel()])
    other = np.concatenate([pixel[:, 1:].ravel(), pixel[1:].ravel()])
    beside = np.full(len(one), round(UNITS * smoothness))
    of_pixel = np.rint(UNITS * evidence.ravel()).astype(int)
    begins = np.concatenate([one, other, np.full(count, source), pixel.ravel()])
    ends = np.concatenate([other, one, pixel.ravel(), np.full(count, sink)])
    room = np.concatenate([beside, beside, of_pixel.clip(0), -of_pixel.clip(None, 0)]).astype(np.int32)
    graph = coo_array((room, (begins, ends)), shape=(count + 2, count + 2)).tocsr()
    left = graph - maximum_flow(graph, source, sink).flow
    left.eliminate_zeros()
    inside = np.zeros(count + 2, bool)
    inside[breadth_first_order(left, source, return_predecessors=False)] = True
    return inside[:count].reshape(evidence.shape)
