"""The things on a table from photographs alone: solids whose faces, and the table beside them, look alike in all views.

For every solid that may stand somewhere, each pixel near it shows either a point of the solid's surface or one of the
table. If the solid is right, all photographs of a point agree about its colour; a solid too large takes in some table,
one too small leaves some of the thing on it, and either moves against the rest between views. No depths are needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_opening, gaussian_filter

from arena.contracts import FloatArray
from real2sim.splats.planar import PlaneTexture, plane_texture
from real2sim.splats.views import View, check_views
from real2sim.twin.below import Below
from real2sim.twin.mesh import convex_hull
from real2sim.twin.objects import FRICTION, TwinObject, guessed_mass
from real2sim.twin.physics import TwinPhysics, settle
from real2sim.twin.solid_fit import FittedSolid, ThingSettings, explains_better, fit_solid
from real2sim.twin.solids import Solid
from real2sim.twin.support import SupportPlane

NOWHERE: FloatArray = np.zeros((0, 3))

PENETRATION = 0.002
"""Metres, as MuJoCo measures it, that two things may be inside each other."""


def find_things(
    views: Sequence[View],
    plane: SupportPlane,
    settings: ThingSettings | None = None,
    *,
    handled: FloatArray = NOWHERE,
) -> list[TwinObject]:
    """Everything that stands on the plane, best explained first, named `object_1` and so on.

    It is looked for where the plane does not look alike from all sides, and at `handled` `(K, 3)` m, where something
    else says that a thing may have stood; what is fitted there has to explain as much as anywhere.
    `views` and `plane` are best those of `table.find_table`: what cameras are wrong by is then small. No two views are
    from one place (`photos.one_per_viewpoint`). Raises `InvalidInput` for fewer than three views.
    """
    settings = settings or ThingSettings()
    check_views(views, 3)
    places = _and_besides(find_places(views, plane, settings), handled, settings.apart / 2)
    fits = [fit_solid(place, views, plane, settings, partial(stands, plane)) for place in places]
    found = [fit for fit in fits if fit is not None and fit.gain >= settings.gain]
    below = Below(views, plane, settings.unlike)
    kept: list[FittedSolid] = []
    things: list[TwinObject] = []
    for fit in _ranked(found, views, settings):
        thing = twin_object(f"object_{len(kept) + 1}", fit)
        alone = not any(_overlap(fit, other) for other in kept) and not penetrates(thing, things, plane)
        if alone and not below.explains(fit):
            kept.append(fit)
            things.append(thing)
    return things


def stands(plane: SupportPlane, solid: Solid, plane_to_base: FloatArray) -> bool:
    """Whether a solid in the plane's frame at a place would stay there: pictures of a thing show that it did, and on a
    table that is found, or is, a degree or two off level a ball rolls away."""
    thing = twin_object("thing", FittedSolid(solid, plane_to_base, 0.0, 0))
    return all(settled.accepted for settled in settle(TwinPhysics(plane, [thing])))


def penetrates(thing: TwinObject, others: Sequence[TwinObject], plane: SupportPlane) -> bool:
    """Whether a thing is inside another by more than their fits are wrong by: physics would throw them apart."""
    physics = TwinPhysics(plane, [thing, *others])
    bodies = physics.model.geom_bodyid
    mine = physics.model.body(thing.name).id
    standing = {physics.model.body(other.name).id for other in others}
    return any(
        {int(bodies[contact.geom1]), int(bodies[contact.geom2])} & standing
        and mine in (bodies[contact.geom1], bodies[contact.geom2])
        and contact.dist < -PENETRATION
        for contact in physics.data.contact
    )


def find_places(views: Sequence[View], plane: SupportPlane, settings: ThingSettings) -> FloatArray:
    """`(K, 3)` m, points of the plane under what does not look like it from several sides, most unlike first."""
    texture = plane_texture(views, plane.normal, plane.height, plane.outline, spacing=settings.cell)
    points = texture.points.reshape(-1, 3)
    differing = [_differs(view, texture, settings) for view in views]
    unlike, seen = np.zeros(len(points)), np.zeros(len(points))
    for height in settings.heights:
        for view, (differs, known) in zip(views, differing, strict=True):
            row, column, depth = view.camera.cells(points + height * plane.normal)
            seen += (depth > 0) * known[row, column] / len(settings.heights)
            unlike += (depth > 0) * differs[row, column] / len(settings.heights)
    # Neither how many views nor what share of them: under a thing itself the median of all is the thing's own colour,
    # so that few say it is unlike, and one that errs is no evidence.
    score = gaussian_filter((unlike / np.sqrt(seen + 2)).reshape(texture.points.shape[:2]), 1.5).ravel()
    score[~plane.covers(points)] = 0
    found: list[FloatArray] = []
    for index in np.argsort(-score):
        if score[index] < settings.evidence or len(found) == settings.places:
            break
        if _clear_of(found, points[index], settings.apart):
            found.append(points[index])
    return np.array(found).reshape(-1, 3)


def _and_besides(places: FloatArray, others: FloatArray, apart: float) -> FloatArray:
    """`places` `(K, 3)`, and those of `others` `(L, 3)` that are `apart` m from all before them."""
    found = list(places)
    for other in others:
        if _clear_of(found, other, apart):
            found.append(other)
    return np.array(found).reshape(-1, 3)


def _clear_of(places: Sequence[FloatArray], other: FloatArray, apart: float) -> bool:
    return all(np.linalg.norm(other - place) > apart for place in places)


def _differs(view: View, texture: PlaneTexture, settings: ThingSettings) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """`(H, W)` each: where a pixel is unlike the plane behind it, and where that can be told."""
    difference = np.linalg.norm(view.image / 255 - texture.behind(view.camera)[1], axis=-1)
    known = view.mask & np.isfinite(difference)
    return binary_opening(known & (difference > settings.differs), np.ones((2, 2), bool)), known


def _ranked(fits: Sequence[FittedSolid], views: Sequence[View], settings: ThingSettings) -> list[FittedSolid]:
    """By their gain, but of two in one place, one thing found twice, first the one that explains that place better."""
    ranked: list[FittedSolid] = []
    for fit in sorted(fits, key=lambda fit: -fit.gain):
        at = next((index for index, other in enumerate(ranked) if _overlap(fit, other)), None)
        if at is None or not explains_better(fit, ranked[at], views, settings):
            at = len(ranked)
        ranked.insert(at, fit)
    return ranked


def _overlap(first: FittedSolid, second: FittedSolid) -> bool:
    """Whether two footprints share much of the table: one thing found twice."""
    places = [fit.plane_to_base @ [fit.solid.x, fit.solid.y, 0, 1] for fit in (first, second)]
    reach = sum((fit.solid.width + fit.solid.length) / 4 for fit in (first, second))
    return bool(np.linalg.norm(places[0] - places[1]) < 0.7 * reach)


def twin_object(name: str, fit: FittedSolid) -> TwinObject:
    """A fitted solid as a thing of a twin: its longer side along x."""
    solid = fit.solid
    if solid.width < solid.length:
        solid = replace(solid, width=solid.length, length=solid.width, yaw=solid.yaw + np.pi / 2)
    mesh = solid.mesh()
    mass = guessed_mass(mesh)
    pose = fit.plane_to_base @ solid.body_to_plane
    return TwinObject(name, pose, solid.size, mesh, (convex_hull(mesh),), mass, FRICTION, solid.shape)
