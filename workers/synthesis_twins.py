"""Digital twins as scenes of a synthesis: their own first frames, and those of twins with one thing changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from arena.contracts import InvalidInput, Scene, World
from arena.rollout import scene_sha256
from arena.scenes import HASH_LETTERS
from arena.synthesis.plan import TWIN, Beginning
from workers.artifacts import reference
from workers.content import content_address
from workers.jobs import Context
from workers.registry import TWIN as TWIN_MANIFEST
from workers.registry import holds_twins


def perturbed_twins(context: Context, folder: Path, axes: Sequence[str], each: int, seed: int) -> Path:
    """A folder with the twin in `folder` and `each` others along every one of `axes`, made once and kept.

    Raises `InvalidInput` where `folder` is no single twin, for an axis that nobody knows, and where nothing of the
    twin can be perturbed.
    """
    from real2sim.twin.bundle import load_twin, twin_sha256
    from real2sim.twin.perturb import AXES
    from real2sim.twin.suite import write_suite

    if not (folder / TWIN_MANIFEST).is_file():
        raise InvalidInput(f"--perturbed makes others of one digital twin, and {folder} is none: give its own folder")
    for axis in axes:
        if axis not in AXES:
            raise InvalidInput(f"there is no axis {axis!r}, only {', '.join(AXES)}")

    def write(out: Path) -> None:
        write_suite(load_twin(folder), out, axes, each, seed, strength=1.0, report=context.progress)

    address = content_address([twin_sha256(folder), list(axes), each, seed])
    return context.artifacts.put(reference("twins", address), write)


def twin_beginnings(folder: Path) -> list[Beginning]:
    """The perturbed twins in and below a world's folder, each a scene of its own; none in other worlds."""
    if not holds_twins(folder):
        return []
    from real2sim.twin.bundle import read_manifest
    from real2sim.twin.suite import partners
    from real2sim.twin.world import twin_folders

    others, found = partners(folder), []
    for key, place in twin_folders(folder).items():
        if key in others:
            told = read_manifest(place)["beginning"]
            found.append(Beginning(key, 0, str(told["instruction"]), str(told["task"]), TWIN))
    return found


def twin_scene(world: World, key: str) -> Scene:
    """How a perturbed twin begins, as it shows itself. Drops the trials that were running in `world`."""
    from real2sim.twin.world import TwinWorld

    if not isinstance(world, TwinWorld):
        raise InvalidInput(f"{world.card.name} holds no twin {key!r}: start it again")
    scene = world.scene(key)
    return replace(scene, id=f"{key}@0-{scene_sha256(scene)[:HASH_LETTERS]}")
