"""The parts of a robot's model by their colours: one robot of a kind may be painted unlike its model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from arena.contracts import FloatArray

RGB = tuple[float, float, float]
"""In [0, 1]."""


def parts_of(model: Any) -> tuple[str, ...]:
    """Of each geom of MuJoCo's `model` its part: what was painted together. That is its material's name or, where it
    has none, its colour, such as `#e6e6e6`. Painted, a model would say other ones: ask before."""
    return tuple(_part_of(model, geom) for geom in range(model.ngeom))


def _part_of(model: Any, geom: int) -> str:
    if (material := int(model.geom_matid[geom])) >= 0:
        return str(model.mat(material).name)
    return "#" + bytes(np.rint(255 * color_of(model, geom)).astype(np.uint8)).hex()


def color_of(model: Any, geom: int) -> FloatArray:
    """`(3,)` in [0, 1]: a geom's colour before any light."""
    material = int(model.geom_matid[geom])
    rgba = model.mat_rgba[material] if material >= 0 else model.geom_rgba[geom]
    return np.array(rgba[:3], dtype=np.float64)


def paint(model: Any, parts: tuple[str, ...], colors: Mapping[str, RGB]) -> None:
    """Give geoms the `colors` of their `parts`. Parts that are not named keep theirs."""
    for geom, part in enumerate(parts):
        if part not in colors:
            continue
        if (material := int(model.geom_matid[geom])) >= 0:
            model.mat_rgba[material, :3] = colors[part]
        else:
            model.geom_rgba[geom, :3] = colors[part]
