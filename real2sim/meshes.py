"""Meshes without the detail that no pixel shows: in software, OpenGL spends its time on vertices."""

from __future__ import annotations

from typing import Any

import numpy as np

from arena.contracts import FloatArray


def simplify(model: Any, mesh: int, cell: float) -> None:
    """Merge a mesh's vertices in cubes of `cell` m and drop the triangles that vanish, in place.

    Vertex clustering: Rossignac and Borrel, Multi-resolution 3D approximations, 1993.
    """
    first, count = int(model.mesh_faceadr[mesh]), int(model.mesh_facenum[mesh])
    start = int(model.mesh_vertadr[mesh])
    vertices: FloatArray = model.mesh_vert[start : start + int(model.mesh_vertnum[mesh])]
    faces = model.mesh_face[first : first + count]
    cubes = np.round(vertices / cell).astype(np.int64)
    _, representative, cluster = np.unique(cubes, axis=0, return_index=True, return_inverse=True)
    merged = cluster.reshape(-1)[faces]
    solid = (merged[:, 0] != merged[:, 1]) & (merged[:, 1] != merged[:, 2]) & (merged[:, 2] != merged[:, 0])
    _, unique = np.unique(np.sort(merged[solid], axis=1), axis=0, return_index=True)
    kept = np.flatnonzero(solid)[np.sort(unique)]
    # Each face keeps the normals and texture coordinates of its own corners.
    for array in (model.mesh_facenormal, model.mesh_facetexcoord):
        array[first : first + len(kept)] = array[first : first + count][kept]
    faces[: len(kept)] = representative[merged[kept]]
    model.mesh_facenum[mesh] = len(kept)
