"""A folder of a twin and its perturbed partners, which one `TwinWorld` runs side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from arena.contracts import InvalidInput
from real2sim.twin.bundle import MANIFEST, Twin, read_manifest, save_twin
from real2sim.twin.perturb import check_axis, perturbed
from real2sim.twin.world import twin_folders

BASE = "base"


@dataclass(frozen=True)
class Partner:
    """Of a perturbed twin: along which axis it differs from the twin with the key `of`."""

    axis: str
    of: str


def write_suite(
    twin: Twin,
    out: Path,
    axes: Sequence[str],
    each: int,
    seed: int,
    strength: float,
    report: Callable[[int, int, str], None] = lambda done, total, stage: None,
) -> tuple[list[str], dict[str, str]]:
    """Write the twin and `each` perturbations of it along every one of `axes` into folders in `out`.

    Their keys, and why axes were left out that this twin has nothing for. The n-th of an axis has the seed `seed + n`.
    Raises `InvalidInput` for an unknown axis, where no axis is left, and for an `out` that holds other twins already.
    """
    axes = tuple(dict.fromkeys(axes))
    for axis in axes:
        check_axis(axis, strength)
    if each < 1 or seed < 0:
        raise InvalidInput(f"a suite needs at least one twin for each axis and a seed of 0, not {each} and {seed}")
    if (out / MANIFEST).exists() or any(out.glob(f"*/{MANIFEST}")):
        raise InvalidInput(f"{out} holds twins already, which would be run together with these: name an empty folder")
    base = twin.beginning.episode_id
    written, left_out = [base], {}
    for number, axis in enumerate(axes):
        report(number, len(axes), "perturbing")
        try:
            others = [perturbed(twin, axis, seed + n, strength) for n in range(each)]
        except InvalidInput as error:
            left_out[axis] = str(error)
            continue
        if len(written) == 1:  # Not before: what is refused leaves nothing behind.
            save_twin(out / BASE, twin)
        for n, other in enumerate(others):
            key = f"{base}+{axis}-{n}"
            save_twin(out / f"{axis}-{n}", replace(other, beginning=replace(other.beginning, episode_id=key)))
            written.append(key)
    report(len(axes), len(axes), "perturbing")
    if len(written) == 1:
        raise InvalidInput(f"nothing of this twin can be perturbed: {'; '.join(left_out.values())}")
    return written, left_out


def partners(folder: Path) -> Mapping[str, Partner]:
    """By key, the perturbed twins in and below a folder."""
    found = {}
    for key, place in twin_folders(folder).items():
        facts = read_manifest(place)["origin"].get("perturbation")
        if facts is not None:
            found[key] = Partner(str(facts["axis"]), str(facts["partner"]))
    return found
