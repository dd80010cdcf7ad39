"""MuJoCo, imported so that it renders without a display.

Import MuJoCo from here and nowhere else: it chooses its OpenGL when it is first imported, so the
choice has to be made before. `MUJOCO_GL=egl` unless the user has set it (`osmesa` works too, slower).
"""

from __future__ import annotations

import importlib
import os
from types import ModuleType

import numpy as np
from scipy.spatial.transform import Rotation

from arena.contracts import FloatArray, InvalidInput


def _import_mujoco() -> ModuleType:
    """MuJoCo, or `InvalidInput` naming the Debian packages where its OpenGL cannot be loaded."""
    opengl = os.environ.setdefault("MUJOCO_GL", "egl")
    try:
        return importlib.import_module("mujoco")
    except (ImportError, AttributeError, RuntimeError) as error:  # what PyOpenGL raises without its libraries
        raise InvalidInput(
            f"MuJoCo cannot render with MUJOCO_GL={opengl} ({error}): "
            "install the Debian packages libegl1 libgles2 libgl1-mesa-dri"
        ) from error


mujoco = _import_mujoco()


def mujoco_quaternion(rotation: FloatArray) -> FloatArray:
    """`(4,)` of a rotation matrix `(3, 3)`, in MuJoCo's order: w first."""
    return np.asarray(Rotation.from_matrix(rotation).as_quat(scalar_first=True))
