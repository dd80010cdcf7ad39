"""Each axis changes what it says, within its range, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from arena.contracts import InvalidInput
from real2sim.splats.gaussians import Gaussians
from real2sim.twin.bundle import Twin
from real2sim.twin.paint import base_colors, on_table
from real2sim.twin.perturb import AXES, CAMERA_DEGREES, CAMERA_METRES, OBJECT_METRES, perturbed
from real2sim.twin.physics import TwinPhysics, settle
from real2sim.twin.placing import CLEARANCE
from real2sim.twin.solid_fit import FittedSolid
from real2sim.twin.solids import Solid
from real2sim.twin.things import twin_object

PARTS = ("background", "objects", "splats", "plane", "exterior", "wrist", "beginning", "looks", "servo")
CHANGES = {
    "background": {"background"},
    "table_color": {"background"},
    "object_color": {"splats"},
    "lighting": {"looks"},
    "camera": {"exterior", "wrist"},
    "object_pose": {"objects"},
    "object_swap": {"objects"},
    "distractors": {"objects", "splats"},
    "instruction": {"beginning"},
    "friction_mass": {"objects"},
}


def same(a: Any, b: Any) -> bool:
    if isinstance(a, Gaussians):
        return all(torch.equal(x, b.tensors()[name]) for name, x in a.tensors().items())
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return a is b or (isinstance(a, tuple) and len(a) == len(b) and all(x is y for x, y in zip(a, b, strict=True)))


def colored(small_twin: Twin) -> Twin:
    """The small twin with a wall behind its table."""
    from dataclasses import replace

    from real2sim.splats.gaussians import merge
    from real2sim.splats.start import start_from_points

    rng = np.random.default_rng(0)
    wall = np.stack([np.full(50, -1.0), rng.uniform(-1, 1, 50), rng.uniform(0, 1, 50)], axis=1)
    return replace(small_twin, background=merge([small_twin.background, start_from_points(wall, wall * 0 + 0.5, 0)]))


@pytest.mark.parametrize("axis", AXES)
def test_one_thing_changes_and_nothing_else(small_twin: Twin, axis: str) -> None:
    twin = colored(small_twin)
    other = perturbed(twin, axis, seed=3)
    changed = {part for part in PARTS if not same(getattr(twin, part), getattr(other, part))}
    assert changed == CHANGES[axis]
    facts = other.origin["perturbation"]
    assert facts["axis"] == axis
    assert facts["partner"] == "episode-1"
    assert facts["drawn"]
    again = perturbed(twin, axis, seed=3)
    assert again.origin["perturbation"] == facts
    if axis not in ("object_swap", "instruction"):
        assert perturbed(twin, axis, seed=4).origin["perturbation"]["drawn"] != facts["drawn"]


@pytest.mark.parametrize("axis", ["object_pose", "object_swap", "distractors", "friction_mass"])
@pytest.mark.parametrize("seed", range(4))
def test_things_still_stand_where_they_are_put(small_twin: Twin, axis: str, seed: int) -> None:
    other = perturbed(small_twin, axis, seed)
    assert all(each.accepted for each in settle(TwinPhysics(other.plane, other.objects)))
    for index, thing in enumerate(other.objects):
        for neighbour in other.objects[:index]:
            apart = np.linalg.norm(thing.body_to_base[:2, 3] - neighbour.body_to_base[:2, 3])
            assert apart > (thing.size[0] + neighbour.size[0]) / 2 + CLEARANCE


def test_cameras_and_things_move_within_their_range(small_twin: Twin) -> None:
    moves, turns, slides = [], [], []
    for seed in range(40):
        camera, other = small_twin.exterior["exterior_1"], perturbed(small_twin, "camera", seed).exterior["exterior_1"]
        moves.append(np.linalg.norm(other.camera_to_base[:3, 3] - camera.camera_to_base[:3, 3]))
        turn = other.camera_to_base[:3, :3] @ camera.camera_to_base[:3, :3].T
        turns.append(np.degrees(Rotation.from_matrix(turn).magnitude()))
        thing = perturbed(small_twin, "object_pose", seed).objects[0]
        slides.append(np.linalg.norm(thing.body_to_base[:3, 3] - small_twin.objects[0].body_to_base[:3, 3]))
    assert 0.8 * CAMERA_METRES < max(moves) <= CAMERA_METRES
    assert 0.8 * CAMERA_DEGREES < max(turns) <= CAMERA_DEGREES + 1e-6
    assert 0.8 * OBJECT_METRES < max(slides) <= OBJECT_METRES


def test_paint_keeps_texture_and_goes_where_it_should(small_twin: Twin) -> None:
    twin = colored(small_twin)
    table = on_table(twin.background, twin.plane)
    assert 200 < int(table.sum()) < len(twin.background)
    other = perturbed(twin, "table_color", 1)
    before, after = base_colors(twin.background), base_colors(other.background)
    assert torch.equal(before[~table], after[~table])
    assert (before[table] - after[table]).abs().max() > 0.1
    scene = base_colors(perturbed(twin, "background", 1).background)
    assert torch.equal(scene[table], before[table])
    assert scene[~table].std(dim=0).max() > 0.02


def test_strength_is_how_far(small_twin: Twin) -> None:
    def moved(strength: float) -> float:
        other = perturbed(small_twin, "camera", 5, strength).exterior["exterior_1"]
        return float(np.linalg.norm((other.camera_to_base - small_twin.exterior["exterior_1"].camera_to_base)[:3, 3]))

    assert moved(0.0) == 0.0
    assert moved(0.5) == pytest.approx(moved(1.0) / 2)


def test_what_cannot_be_perturbed_is_refused(small_twin: Twin) -> None:
    from dataclasses import replace

    with pytest.raises(InvalidInput, match="no axis 'colour', only background"):
        perturbed(small_twin, "colour", 0)
    with pytest.raises(InvalidInput, match="between 0 and 1"):
        perturbed(small_twin, "camera", 0, 1.5)
    alone = replace(small_twin, objects=small_twin.objects[:1], splats={"object_1": small_twin.splats["object_1"]})
    with pytest.raises(InvalidInput, match="has 1 things, 2 are needed"):
        perturbed(alone, "object_swap", 0)
    silent = replace(small_twin, beginning=replace(small_twin.beginning, instruction=""))
    with pytest.raises(InvalidInput, match="no instruction to paraphrase"):
        perturbed(silent, "instruction", 0)


def with_cylinders(twin: Twin, places: Sequence[tuple[str, float, float, float]]) -> Twin:
    """With none but low cylinders of a name, x, y and diameter in m."""
    things = tuple(
        twin_object(name, FittedSolid(Solid("cylinder", x, y, 0.0, wide, wide, 0.03), np.eye(4), 1.0, 3))
        for name, x, y, wide in places
    )
    return replace(twin, objects=things, splats={each.name: twin.background for each in things})


def test_things_are_swapped_only_where_there_is_room(small_twin: Twin) -> None:
    """A plate does not go where a cup would be inside it."""
    places = (("plate", 0.3, -0.2, 0.2), ("cube", 0.5, 0.2, 0.04), ("cup", 0.5, 0.28, 0.04))
    twin = with_cylinders(small_twin, places)
    swaps = [perturbed(twin, "object_swap", seed) for seed in range(6)]
    assert {tuple(each.origin["perturbation"]["drawn"]["swapped"]) for each in swaps} == {("cube", "cup")}
    with pytest.raises(InvalidInput, match="room in each other's places"):
        perturbed(with_cylinders(small_twin, (places[1], ("cup", 0.5, 0.245, 0.04))), "object_swap", 0)
