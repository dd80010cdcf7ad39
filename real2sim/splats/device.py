"""Where Gaussians are fitted and drawn."""

from __future__ import annotations

import importlib
import warnings
from functools import cache

import torch


@cache
def splat_device() -> str:
    """`cuda` where torch has a GPU and gsplat its kernels, which it compiles once where nvcc is; else `cpu`."""
    if not torch.cuda.is_available():
        return "cpu"
    try:
        kernels = importlib.import_module("gsplat.cuda._backend")._C
    except (ImportError, OSError, RuntimeError):  # It tried to compile them.
        kernels = None
    if kernels is not None:
        return "cuda"
    warnings.warn(
        "there is a GPU, but gsplat has no kernels for it: Gaussians are fitted and drawn on the CPU. "
        "Install the CUDA toolkit (nvcc), or a gsplat that was built for this torch",
        stacklevel=2,
    )
    return "cpu"
