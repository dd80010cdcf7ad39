"""Validation: an evaluator's scores of policies against reality's, and how far they can be trusted.

`validate` takes two sets of results, from CSV files (`read_evaluator`, `read_real`) or from evaluations in the store
(`arena.validation.stored`), and gives every number of `dreamarena validate`.
"""

from __future__ import annotations

from arena.validation.comparison import DRAWS, Validation, validate
from arena.validation.reading import read_evaluator, read_real
from arena.validation.trials import Results, TrialResult

__all__ = [
    "DRAWS",
    "Results",
    "TrialResult",
    "Validation",
    "read_evaluator",
    "read_real",
    "validate",
]
