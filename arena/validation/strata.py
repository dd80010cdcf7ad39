"""Which scenes stand for one another: those of one task, unless that leaves a scene alone.

A single scene says nothing of how results vary between scenes. The usual remedy is to collapse strata (Cochran
1977, Sampling Techniques, 5A.12): the differences between them then count as noise, too much rather than too little.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.intp]


def strata(tasks: Sequence[Hashable], kinds: Sequence[Hashable] | None = None) -> Labels:
    """`(S,)` stratum of each of `S` scenes, from 0 up, given its task (and kind: which sides tried it).

    A stratum is the scenes of one kind in one task. A task in which that leaves a scene alone is one stratum; tasks of
    a single scene are one stratum together; and where a scene is alone even then, all scenes are one.
    """
    labels: list[Hashable] = list(zip(tasks, tasks if kinds is None else kinds, strict=True))
    sizes = Counter(labels)
    broken = {task for task, label in zip(tasks, labels, strict=True) if sizes[label] == 1}
    labels = [(task,) if task in broken else label for task, label in zip(tasks, labels, strict=True)]
    sizes = Counter(labels)
    labels = [() if sizes[label] == 1 else label for label in labels]
    if 1 in Counter(labels).values():
        return np.zeros(len(labels), dtype=np.intp)
    number = {label: index for index, label in enumerate(dict.fromkeys(labels))}
    return np.array([number[label] for label in labels], dtype=np.intp)
