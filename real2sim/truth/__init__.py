"""Table-top episodes of a Panda whose cameras, objects and hand-eye are known exactly: what a twin is measured on.

`make_truth` gives an `Episode` that holds what a dataset would, and, apart from it, the truth; `FAULTS` spoil one.
"""

from real2sim.truth.episode import KnownTruth, make_truth
from real2sim.truth.faults import FAULTS

__all__ = ["FAULTS", "KnownTruth", "make_truth"]
