"""Things from masks: their hulls, a generator's mesh in their place, and what of a generator is refused."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint

import numpy as np
import pytest
from numpy.typing import NDArray

from arena.contracts import Frames, InvalidInput
from real2sim.splats.views import View
from real2sim.twin import generated
from real2sim.twin.mesh import Mesh
from real2sim.twin.named import named_things, without_named
from real2sim.twin.objects import TwinObject
from real2sim.twin.solids import Solid
from real2sim.twin.support import SupportPlane
from tests.real2sim.splats.tabletop import BOX, BOX_HALF, CAN, exterior_cameras, geom_id, photograph, wrist_cameras

TABLE = SupportPlane(np.array([0.0, 0.0, 1.0]), 0.0, np.array([[0, -1], [1, -1], [1, 1], [0, 1.0]]), 0.0, 1.0)
Seen = tuple[list[View], list[dict[str, NDArray[np.bool_]]]]


@pytest.fixture(scope="module")
def seen() -> Seen:
    """Photographs with the true masks of the box and the can."""
    cameras = exterior_cameras() + wrist_cameras(12)
    frames, _, geoms = photograph(cameras)
    views = [View(camera, frame, np.ones(frame.shape[:2], bool)) for camera, frame in zip(cameras, frames, strict=True)]
    masks = []
    for picture in geoms:
        found = {name: picture == geom_id(geom) for name, geom in (("red box", "box"), ("can", "can"))}
        masks.append({name: mask for name, mask in found.items() if mask.sum() > 20})
    return views, masks


def test_masks_name_things_where_they_stand(seen: Seen) -> None:
    views, masks = seen
    box, can = named_things(views, TABLE, masks)
    assert (box.name, can.name) == ("red_box", "can")
    for thing, place in ((box, BOX), (can, CAN)):
        assert np.linalg.norm(thing.body_to_base[:2, 3] - place) < 0.01
        assert thing.parts
        assert thing.mesh.volume > 0
    # A hull is never smaller than the thing, and seen from many sides not much larger.
    true = 8 * np.prod(BOX_HALF)
    assert 0.85 * true < box.mesh.volume < 1.8 * true


def test_a_wrong_mask_among_many_takes_nothing_away(seen: Seen) -> None:
    views, masks = seen
    spoilt = [dict(each) for each in masks]
    spoilt[4]["red box"] = np.zeros_like(views[4].mask)
    spoilt[4]["red box"][:5, :5] = True
    right, wrong = (named_things(views, TABLE, each)[0] for each in (masks, spoilt))
    assert wrong.mesh.volume == pytest.approx(right.mesh.volume, rel=0.25)


def test_what_few_views_show_is_no_thing(seen: Seen) -> None:
    views, masks = seen
    assert named_things(views, TABLE, [masks[0], *({} for _ in views[1:])]) == []


def test_masks_that_do_not_meet_are_no_thing(seen: Seen) -> None:
    views, _ = seen
    rng = np.random.default_rng(0)
    scattered = []
    for view in views:
        mask = np.zeros_like(view.mask)
        row, column = rng.integers(0, np.array(mask.shape) - 3)
        mask[row : row + 3, column : column + 3] = True
        scattered.append({"ghost": mask})
    assert named_things(views, TABLE, scattered) == []


def test_a_named_thing_takes_the_place_of_the_fitted_one(seen: Seen) -> None:
    named = named_things(*_with_plane(seen))
    fitted = [_solid("object_1", *named[0].body_to_base[:2, 3]), _solid("object_2", 0.9, 0.9)]
    assert [thing.name for thing in without_named(fitted, named)] == ["object_2"]


def test_a_generators_mesh_is_turned_and_scaled_into_the_masks(seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Frames, NDArray[np.bool_]]] = []

    def blocks(picture: Frames, mask: NDArray[np.bool_]) -> Mesh:
        asked.append((picture, mask))
        return Solid("box", 0, 0, 0, *(20 * np.array(BOX_HALF)).tolist()).mesh()

    _declare(monkeypatch, blocks)
    views, masks = seen
    only_box = [{name: mask for name, mask in each.items() if name == "red box"} for each in masks]
    (box,) = named_things(views, TABLE, only_box, generated.find_generator("blocks"))
    assert asked[0][1].any()
    assert box.size[:2] == pytest.approx(2 * np.array(BOX_HALF[:2]), rel=0.2)
    assert box.size[2] == pytest.approx(2 * BOX_HALF[2], rel=0.2)
    bottom = (box.mesh.vertices @ box.body_to_base[:3, :3].T + box.body_to_base[:3, 3])[:, 2].min()
    assert abs(bottom) < 0.005


CUBE = Solid("box", 0, 0, 0, 1, 1, 1).mesh()


@pytest.mark.parametrize(
    ("mesh", "reason"),
    [
        (Mesh(np.full((8, 3), np.nan), CUBE.triangles), "finite"),
        (Mesh(CUBE.vertices, CUBE.triangles[1:]), "holes"),
        (Mesh(CUBE.vertices, CUBE.triangles + 5), "does not have"),
        (Mesh(CUBE.vertices, CUBE.triangles[:2]), "triangles"),
    ],
)
def test_a_generators_mesh_is_checked(seen: Seen, mesh: Mesh, reason: str) -> None:
    views, masks = seen
    with pytest.raises(InvalidInput, match=reason):
        named_things(views, TABLE, masks, lambda picture, mask: mesh)


def test_an_unknown_generator_is_named() -> None:
    with pytest.raises(InvalidInput, match="no installed package"):
        generated.find_generator("nothing")


def _with_plane(seen: Seen) -> tuple[list[View], SupportPlane, list[dict[str, NDArray[np.bool_]]]]:
    return seen[0], TABLE, seen[1]


def _solid(name: str, x: float, y: float) -> TwinObject:
    from real2sim.twin.objects import DENSITY, FRICTION, convex_parts

    mesh = Solid("box", 0, 0, 0, 0.05, 0.05, 0.05).mesh()
    pose = np.eye(4)
    pose[:3, 3] = [x, y, 0.025]
    return TwinObject(name, pose, np.full(3, 0.05), mesh, convex_parts(mesh), DENSITY, FRICTION, "box")


def _declare(monkeypatch: pytest.MonkeyPatch, generator: Callable[..., Mesh]) -> None:
    class Point(EntryPoint):
        def load(self) -> Callable[..., Mesh]:
            return generator

    point = Point("blocks", "somewhere:blocks", generated.GROUP)
    monkeypatch.setattr(generated, "entry_points", lambda group: [point] if group == generated.GROUP else [])
