"""The scene's Gaussians from posed frames, begun where the table, the things on it and stereo say that surfaces are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from arena.contracts import FloatArray
from real2sim.cameras.gates import Gate
from real2sim.reconstruct.freespace import before_robot, behind_workspace
from real2sim.robot_kind import Robot
from real2sim.splats.device import splat_device
from real2sim.splats.fit import FitSettings, Progress, fit, psnr_of
from real2sim.splats.gaussians import Gaussians
from real2sim.splats.nerfstudio import Dataset
from real2sim.splats.planar import plane_depths, plane_texture
from real2sim.splats.splatfacto import fit_with_splatfacto
from real2sim.splats.start import random_points, start_from_points
from real2sim.splats.sweep import SweepSettings, sweep_depths, sweep_points
from real2sim.splats.views import View
from real2sim.twin.library import open3d
from real2sim.twin.objects import TwinObject
from real2sim.twin.support import SupportPlane

HELD_OUT_EVERY = 7
PLANE_SPACING = 0.012
ON_THINGS = 400
"""Points on each thing that its Gaussians start from."""
STEREO, ANYWHERE = 2500, 800
KNOWN_OPACITY = 0.5
LEAST_PSNR = 20.0
"""dB, of the wrist's views held out of the fit."""


@dataclass(frozen=True)
class Prepared:
    """What a fit begins with: views and those of them held out, points with colours, and known depths."""

    kept: list[View]
    held_out: list[View]
    points: FloatArray
    colors: FloatArray
    depths: FloatArray


def prepare(
    views: Sequence[View],
    plane: SupportPlane,
    things: Sequence[TwinObject],
    arm: Robot,
    robots: Mapping[str, FloatArray],
) -> Prepared:
    """`robots` are, of `arm`, the static cameras' `freespace.robot_depths`. Every seventh wrist view is held out."""
    moving = [view for view in views if view.name.startswith("wrist/")]
    held_out = moving[3::HELD_OUT_EVERY]
    kept = [view for view in views if all(view is not other for other in held_out)]
    swept = sweep_depths(kept, SweepSettings())
    on_things, colors_on_things = things_points(things, kept)
    texture = plane_texture(kept, plane.normal, plane.height, plane.outline, on_things, PLANE_SPACING)
    flat = plane_depths(kept, texture)
    depths, off_plane = np.where(flat > 0, flat, swept), np.where(flat > 0, 0.0, swept)
    for index, view in enumerate(kept):
        if _camera(view) in robots:
            depths[index] = behind_workspace(view, arm, robots[_camera(view)], flat[index], things)
            off_plane[index] = np.where(flat[index] > 0, 0.0, depths[index])
    parts = [
        (texture.points[texture.known], texture.colors[texture.known]),
        (on_things, colors_on_things),
        sweep_points(kept, off_plane, STEREO, seed=0),
        random_points([view for view in kept if _camera(view) not in robots], ANYWHERE, 0.3, 3.0, seed=0),
    ]
    points, colors = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return Prepared(kept, held_out, points, colors.clip(0, 1), depths)


def fit_scene(
    prepared: Prepared,
    robots: Mapping[str, FloatArray],
    engine: Callable[[Prepared], Gaussians],
) -> tuple[Gaussians, FloatArray]:
    """The Gaussians that an engine makes, without what stands before the recorded arm, and the PSNR in dB `(K,)` of
    the views held out."""
    fitted = engine(prepared)
    static = {_camera(view): view.camera for view in prepared.kept if _camera(view) in robots}
    fitted = fitted.subset(~before_robot(fitted, robots, static))
    return fitted, psnr_of(fitted, prepared.held_out) if prepared.held_out else np.zeros(0)


def scene_gate(quality: FloatArray) -> Gate:
    """Whether the views held out, whose PSNR `(K,)` in dB `fit_scene` measured, are met. No view is no proof."""
    value = float(np.median(quality)) if len(quality) else 0.0
    reason = "" if value >= LEAST_PSNR else "views held out are not met: things move, or cameras are wrong"
    if not len(quality):
        reason = "nearly all that the wrist camera shows was moved: give an episode that leaves more of its scene alone"
    return Gate("scene", "PSNR of views held out, dB", value, LEAST_PSNR, not reason, reason)


def fit_here(
    prepared: Prepared,
    steps: int,
    checkpoint: Path,
    report: Callable[[Progress], None] | None = None,
    *,
    seed: int = 0,
    device: str | None = None,
) -> Gaussians:
    """Our own fit, on `device` (`splat_device` where none is named), resumed from `checkpoint`. What it finds is on the
    CPU."""
    start = start_from_points(prepared.points, prepared.colors, degree=1, opacity=KNOWN_OPACITY)
    start, settings = start.to(device or splat_device()), FitSettings(steps=steps, seed=seed)
    fitted = fit(prepared.kept, start, settings, depths=prepared.depths, checkpoint=checkpoint, report=report)
    return fitted.to("cpu")


def fit_there(
    prepared: Prepared, steps: int, seed: int, folder: Path, report: Callable[[str], None] = lambda line: None
) -> Gaussians:
    """nerfstudio's splatfacto, in its own environment."""
    dataset = Dataset(prepared.kept, prepared.points, prepared.colors)
    return fit_with_splatfacto(dataset, folder, steps, seed, report)


def _camera(view: View) -> str:
    """The name of the camera that a view is of."""
    return view.name.partition("/")[0]


def things_points(things: Sequence[TwinObject], views: Sequence[View]) -> tuple[FloatArray, FloatArray]:
    """Points on the things' surfaces `(N, 3)` m, and the medians of their colours in the views that face them."""
    points: list[FloatArray] = [np.zeros((0, 3))]
    colors: list[FloatArray] = [np.zeros((0, 3))]
    for thing in things:
        mesh = open3d.geometry.TriangleMesh(
            open3d.utility.Vector3dVector(thing.mesh.vertices), open3d.utility.Vector3iVector(thing.mesh.triangles)
        )
        mesh.compute_triangle_normals()
        open3d.utility.random.seed(0)
        cloud = mesh.sample_points_uniformly(ON_THINGS, use_triangle_normal=True)
        rotation, origin = thing.body_to_base[:3, :3], thing.body_to_base[:3, 3]
        place, normal = np.asarray(cloud.points) @ rotation.T + origin, np.asarray(cloud.normals) @ rotation.T
        points.append(place)
        colors.append(_seen(place, normal, views))
    return np.concatenate(points), np.concatenate(colors)


def _seen(points: FloatArray, normals: FloatArray, views: Sequence[View]) -> FloatArray:
    seen = np.full((len(views), len(points), 3), np.nan)
    for index, view in enumerate(views):
        row, column, depth = view.camera.cells(points)
        facing = ((view.camera.camera_to_base[:3, 3] - points) * normals).sum(1) > 0
        usable = (depth > 0) & facing & view.mask[row, column]
        seen[index, usable] = view.image[row[usable], column[usable]] / 255
    known = np.isfinite(seen[..., 0]).any(0)
    colors = np.full((len(points), 3), 0.5)
    if known.any():
        colors[known] = np.nanmedian(seen[:, known], axis=0)
        # A side that no view faces looks like the nearest that one does.
        colors[~known] = colors[known][cKDTree(points[known]).query(points[~known])[1]]
    return colors
