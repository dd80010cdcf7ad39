"""Twins that differ from another in one thing: what a policy's success hangs on (the axes of RobotArena infinity).

Every axis has a declared range. `strength` from 0 to 1 is the part of the range that is drawn from; the same seed
draws the same direction at every strength.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from arena.contracts import InvalidInput
from real2sim.camera import Camera
from real2sim.twin.bundle import Twin
from real2sim.twin.color import ColorResponse
from real2sim.twin.objects import Guess, TwinObject
from real2sim.twin.paint import image_on_background, on_table, painted, random_color, random_picture
from real2sim.twin.placing import coated, has_room, in_disc, random_thing, slid
from real2sim.twin.render import Look
from real2sim.twin.support import plane_frame

CAMERA_METRES, CAMERA_DEGREES = 0.05, 5.0
WRIST_METRES, WRIST_DEGREES = 0.01, 2.0
OBJECT_METRES, OBJECT_DEGREES = 0.05, 30.0
LIGHT, TINT = 0.4, 0.15
TRIES = 200
SENTENCES = ("please {}", "could you {}?", "your task is to {}", "{} now", "i need you to {}", "robot, {}")

Facts = dict[str, Any]
Change = Callable[[Twin, np.random.Generator, float], tuple[Twin, Facts]]


@dataclass(frozen=True)
class Axis:
    """`range` is in words, of strength 1; `change` gives the other twin and what was drawn."""

    range: str
    change: Change


def check_axis(axis: str, strength: float) -> None:
    """Raises `InvalidInput` for an unknown axis, and for a strength outside [0, 1]."""
    if axis not in AXES:
        raise InvalidInput(f"there is no axis {axis!r}, only {', '.join(AXES)}")
    if not 0 <= strength <= 1:
        raise InvalidInput(f"a perturbation's strength is between 0 and 1, not {strength:g}")


def perturbed(twin: Twin, axis: str, seed: int, strength: float = 1.0) -> Twin:
    """A twin that differs from `twin` along one of `AXES`; its `origin["perturbation"]` says how.

    Raises `InvalidInput` for an unknown axis, a strength outside [0, 1], and a twin that has not what the axis is of.
    """
    check_axis(axis, strength)
    other, drawn = AXES[axis].change(twin, np.random.default_rng([seed, list(AXES).index(axis)]), strength)
    facts = {"axis": axis, "seed": seed, "strength": strength, "drawn": drawn, "partner": twin.beginning.episode_id}
    return replace(other, origin={**twin.origin, "perturbation": facts})


def _drawn_all(twin: Twin) -> None:
    """Raises `InvalidInput` for a twin of which some of what is behind its things is a film's own picture."""
    if twin.backdrops:
        raise InvalidInput(
            f"{', '.join(sorted(twin.backdrops))} show their own film behind things: that cannot be moved or painted"
        )


def _background(twin: Twin, rng: np.random.Generator, strength: float) -> tuple[Twin, Facts]:
    _drawn_all(twin)
    seed = int(rng.integers(2**31))
    scene = image_on_background(twin.background, twin.plane, random_picture(seed), strength)
    return replace(twin, background=scene), {"picture": seed}


def _table_color(twin: Twin, rng: np.random.Generator, strength: float) -> tuple[Twin, Facts]:
    _drawn_all(twin)
    color = random_color(rng)
    chosen = on_table(twin.background, twin.plane)
    return replace(twin, background=painted(twin.background, chosen, color, strength)), {"color": color.tolist()}


def _object_color(twin: Twin, rng: np.random.Generator, strength: float) -> tuple[Twin, Facts]:
    colors = {thing.name: random_color(rng) for thing in _things(twin, 1)}
    splats = {
        name: painted(each, torch.ones(len(each), dtype=torch.bool), colors[name], strength)
        for name, each in twin.splats.items()
    }
    return replace(twin, splats=splats), {name: color.tolist() for name, color in colors.items()}


def _lighting(twin: Twin, rng: np.random.Generator, strength: float) -> tuple[Twin, Facts]:
    """Brighter or darker, warmer or colder, for every camera and for scene and robot alike."""
    gain = (1 + strength * LIGHT * rng.uniform(-1, 1)) * (1 + strength * TINT * rng.uniform(-1, 1, 3))

    def lit(response: ColorResponse) -> ColorResponse:
        gains, offsets = (tuple(float(v) for v in gain * np.array(part)) for part in (response.gain, response.offset))
        return ColorResponse(gains, offsets)  # type: ignore[arg-type]

    looks = {}
    for name in twin.cameras:
        look = twin.looks.get(name, Look())
        looks[name] = Look(lit(look.scene), lit(look.robot))
    return replace(twin, looks=looks), {"gain": gain.tolist()}


def _camera(twin: Twin, rng: np.random.Generator, strength: float) -> tuple[Twin, Facts]:
    _drawn_all(twin)
    drawn: Facts = {}
    exterior = {}
    for name in sorted(twin.exterior):
        exterior[name], drawn[name] = _moved(twin.exterior[name], rng, CAMERA_METRES, CAMERA_DEGREES, strength)
    wrist = twin.wrist
    if wrist is not None:
        wrist, drawn["wrist"] = _moved(wrist, rng, WRIST_METRES, WRIST_DEGREES, strength)
    return replace(twin, exterior=exterior, wrist=wrist), drawn


def _object_pose(twin: Twin, rng: np.random.Generator, strength: float) -> tuple[Twin, Facts]:
    """Every thing slides and turns on the table. One that finds no room stays where it is."""
    frame, drawn = plane_frame(np.zeros(3), twin.plane), {}
    things = list(_things(twin, 1))
    for index, thing in enumerate(things):
        others = things[:index] + things[index + 1 :]
        for _ in range(TRIES):
            shift = strength * OBJECT_METRES * in_disc(rng)
            turn = strength * np.radians(OBJECT_DEGREES) * rng.uniform(-1, 1)
            moved = slid(thing, frame, shift, turn)
            if has_room(moved, others, twin.plane):
                things[index] = moved
                drawn[thing.name] = {"cm": float(100 * np.linalg.norm(shift)), "deg": float(np.degrees(turn))}
                break
    return replace(twin, objects=tuple(things)), drawn


def _object_swap(twin: Twin, rng: np.random.Generator, strength: float) -> tuple[Twin, Facts]:
    """Two things change places, each on its own foot. A swap has no strength."""
    things, frame = _things(twin, 2), plane_frame(np.zeros(3), twin.plane)
    for a, b in rng.permutation(list(combinations(range(len(things)), 2))).tolist():
        apart = (things[b].body_to_base[:3, 3] - things[a].body_to_base[:3, 3]) @ frame[:3, :2]
        swapped = list(things)
        swapped[a], swapped[b] = slid(things[a], frame, apart, 0.0), slid(things[b], frame, -apart, 0.0)
        if all(has_room(swapped[i], swapped[:i] + swapped[i + 1 :], twin.plane) for i in (a, b)):
            return replace(twin, objects=tuple(swapped)), {"swapped": [things[a].name, things[b].name]}
    raise InvalidInput("no two things have room in each other's places")


def _distractors(twin: Twin, rng: np.random.Generator, strength: float) -> tuple[Twin, Facts]:
    """One to three coloured solids where the arm works, clear of everything."""
    things, splats, drawn = list(twin.objects), dict(twin.splats), {}
    for number in range(1, 1 + max(1, round(strength * int(rng.integers(1, 4))))):
        for _ in range(TRIES):
            thing = random_thing(f"distractor_{number}", twin.plane, rng)
            if has_room(thing, things, twin.plane):
                color = random_color(rng)
                things.append(thing)
                splats[thing.name] = coated(thing, color, rng)
                drawn[thing.name] = {"size": thing.size.tolist(), "color": color.tolist()}
                break
    if not drawn:
        raise InvalidInput("there is no room on the table for anything more")
    return replace(twin, objects=tuple(things), splats=splats), drawn


def _instruction(twin: Twin, rng: np.random.Generator, strength: float) -> tuple[Twin, Facts]:
    words = twin.beginning.instruction.strip().rstrip(".")
    if not words:
        raise InvalidInput(f"the episode {twin.beginning.episode_id} has no instruction to paraphrase")
    said = str(rng.choice(SENTENCES)).format(words[0].lower() + words[1:])
    return replace(twin, beginning=replace(twin.beginning, instruction=said)), {"instruction": said}


def _friction_mass(twin: Twin, rng: np.random.Generator, strength: float) -> tuple[Twin, Facts]:
    """Each at one end of its range."""
    drawn, things = {}, []
    for thing in _things(twin, 1):
        mass, friction = (_end(guess, bool(rng.integers(2)), strength) for guess in (thing.mass, thing.friction))
        things.append(replace(thing, mass=mass, friction=friction))
        drawn[thing.name] = {"kg": mass.value, "friction": friction.value}
    return replace(twin, objects=tuple(things)), drawn


AXES: Mapping[str, Axis] = {
    "background": Axis("another picture on all that is not the table or a thing", _background),
    "table_color": Axis("any hue, the texture kept", _table_color),
    "object_color": Axis("any hue for each thing, the texture kept", _object_color),
    "lighting": Axis(f"brightness x {1 - LIGHT:g} to {1 + LIGHT:g}, each channel +-{TINT:.0%}", _lighting),
    "camera": Axis(
        f"up to {100 * CAMERA_METRES:g} cm and {CAMERA_DEGREES:g} deg, "
        f"on the wrist {100 * WRIST_METRES:g} cm and {WRIST_DEGREES:g} deg", _camera),
    "object_pose": Axis(f"up to {100 * OBJECT_METRES:g} cm and {OBJECT_DEGREES:g} deg for each thing", _object_pose),
    "object_swap": Axis("two things change places", _object_swap),
    "distractors": Axis("one to three solids of 3 to 8 cm more", _distractors),
    "instruction": Axis("the same request in other words", _instruction),
    "friction_mass": Axis("each at one end of its range", _friction_mass),
}  # fmt: skip


def _things(twin: Twin, least: int) -> tuple[TwinObject, ...]:
    if len(twin.objects) < least:
        raise InvalidInput(
            f"the twin of {twin.beginning.episode_id} has {len(twin.objects)} things, {least} are needed"
        )
    return twin.objects


def _moved(
    camera: Camera, rng: np.random.Generator, metres: float, degrees: float, strength: float
) -> tuple[Camera, Facts]:
    way, axis = (vector / np.linalg.norm(vector) for vector in rng.normal(size=(2, 3)))
    apart, turn = strength * metres * np.cbrt(rng.uniform()), strength * degrees * rng.uniform()
    pose = np.array(camera.camera_to_base)
    pose[:3, :3] = pose[:3, :3] @ Rotation.from_rotvec(np.radians(turn) * axis).as_matrix()
    pose[:3, 3] += apart * way
    return replace(camera, camera_to_base=pose), {"cm": float(100 * apart), "deg": float(turn)}


def _end(guess: Guess, high: bool, strength: float) -> Guess:
    end = guess.high if high else guess.low
    value = float(np.exp((1 - strength) * np.log(guess.value) + strength * np.log(end)))
    return Guess(value, value, value)
