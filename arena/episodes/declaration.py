"""`dreamarena.toml`: what the columns of a dataset are, said by someone who knows, because nothing else does.

`arena/episodes/examples/bridge.toml` is a commented example. Keys that are not known are refused.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from arena.contracts import ActionSpace, FloatArray
from arena.episodes.assemble import check_gripper, rows
from arena.episodes.errors import BadAnnotation, UndeclaredLayout
from arena.episodes.files import read_toml

DECLARATION = "dreamarena.toml"

Rotation = Literal["euler_difference", "base_frame"]
"""How a delta's three angles turn the gripper: as differences of Euler angles, or as a turn about the base's axes."""

Kind = Literal["recorded", "integrated"]


@dataclass(frozen=True)
class Columns:
    """Some columns of an array (npz) or feature (LeRobot), times `scale`, in m and rad after that."""

    source: str
    columns: tuple[int, ...]
    scale: tuple[float, ...] = (1.0,)

    def take(self, path: Path, arrays: Mapping[str, FloatArray], width: int) -> FloatArray:
        """`(T, width)` out of the arrays by name; raises `BadAnnotation` or `InvalidStates` where they do not fit."""
        if self.source not in arrays:
            raise BadAnnotation(f"{path} has no {self.source!r}; it has {sorted(arrays)}")
        array = arrays[self.source]
        array = array[:, None] if array.ndim == 1 else array
        if array.ndim != 2 or max(self.columns) >= array.shape[1]:
            raise BadAnnotation(
                f"{path}: {self.source} has shape {array.shape}, but columns {self.columns} are declared"
            )
        return np.asarray(rows(path, self.source, array[:, self.columns], width) * np.array(self.scale))


@dataclass(frozen=True)
class Gripper:
    """A gripper's column, and which of its numbers mean open and closed."""

    column: Columns
    open: float
    closed: float

    def take(self, path: Path, arrays: Mapping[str, FloatArray]) -> FloatArray:
        """`(T, 1)` in [0, 1] with 0 open and 1 closed."""
        raw = self.column.take(path, arrays, 1)
        return check_gripper(path, self.column.source, (raw - self.open) / (self.closed - self.open))


@dataclass(frozen=True)
class StateDeclaration:
    """Where the robot's state is: recorded poses, or deltas that are summed up from `origin` `(6,)`."""

    kind: Kind
    gripper_position: Gripper
    cartesian_position: Columns | None = None
    joint_position: Columns | None = None
    delta: Columns | None = None
    origin: tuple[float, ...] = ()
    rotation: Rotation = "euler_difference"


@dataclass(frozen=True)
class ActionDeclaration:
    """Where the actions are: recorded in `space`, or what the state's deltas lead to."""

    kind: Kind
    space: ActionSpace = ActionSpace.CARTESIAN_POSITION
    arm: Columns | None = None
    gripper: Gripper | None = None


@dataclass(frozen=True)
class Declaration:
    """Everything that a `dreamarena.toml` says. `fps` is None where the dataset or its videos say it."""

    path: Path
    format: Literal["clips", "lerobot"]
    state: StateDeclaration
    cameras: Mapping[str, str]
    robot: str = ""
    fps: float | None = None
    instruction: str = ""
    task: str = ""
    success: str = ""
    arrays: str = ""
    action: ActionDeclaration | None = None


def read_declaration(path: Path) -> Declaration:
    """Parse a declaration; raises `BadAnnotation` for no TOML, `UndeclaredLayout` for keys that are not known."""
    table = _Table(path, "", read_toml(path))
    format = table.choice("format", ("clips", "lerobot"))
    files = table.table("files", required=format == "clips")
    action = table.table("action")
    declaration = Declaration(
        path=path,
        format="clips" if format == "clips" else "lerobot",
        state=_state(table.table("state", required=True) or table),
        cameras=table.strings("cameras"),
        robot=table.string("robot"),
        fps=table.number("fps"),
        instruction=table.string("instruction"),
        task=table.string("task"),
        success=table.string("success"),
        arrays=files.string("arrays", required=True) if files else "",
        action=_action(action) if action else None,
    )
    table.finish()
    if files:
        files.finish()
        _check_patterns(declaration)
    if declaration.action and declaration.action.kind == "integrated" and declaration.state.kind != "integrated":
        raise BadAnnotation(f"{path}: [action] can only be integrated where [state] is")
    return declaration


def _check_patterns(declaration: Declaration) -> None:
    for pattern in (declaration.arrays, *declaration.cameras.values()):
        if pattern.count("{id}") != 1 or pattern.startswith("/") or ".." in pattern:
            raise BadAnnotation(f"{declaration.path}: {pattern!r} must be a relative path with one {{id}} in it")
    if declaration.fps is None:
        raise BadAnnotation(f"{declaration.path}: clips need their 'fps': a saved video's header is often another")


def _state(table: _Table) -> StateDeclaration:
    kind = _kind(table)
    gripper = _gripper(table.table("gripper_position", required=True) or table)
    joints = table.table("joint_position")
    pose = table.table("cartesian_position", required=kind == "recorded" and joints is None)
    delta = table.table("delta", required=kind == "integrated")
    state = StateDeclaration(
        kind=kind,
        gripper_position=gripper,
        cartesian_position=_columns(pose, 6) if pose else None,
        joint_position=_columns(joints, 7) if joints else None,
        delta=_columns(delta, 6) if delta else None,
        origin=table.numbers("origin", 6) if kind == "integrated" else (),
        rotation=_rotation(table) if kind == "integrated" else "euler_difference",
    )
    table.finish()
    return state


def _action(table: _Table) -> ActionDeclaration:
    kind = _kind(table)
    if kind == "integrated":
        table.finish()
        return ActionDeclaration(kind)
    space = ActionSpace(table.choice("space", tuple(ActionSpace)))
    arm, gripper = table.table("arm", required=True), table.table("gripper", required=True)
    table.finish()
    return ActionDeclaration(kind, space, _columns(arm or table, space.width - 1), _gripper(gripper or table))


def _kind(table: _Table) -> Kind:
    return "recorded" if table.choice("kind", get_args(Kind)) == "recorded" else "integrated"


def _rotation(table: _Table) -> Rotation:
    return "base_frame" if table.choice("rotation", get_args(Rotation)) == "base_frame" else "euler_difference"


def _columns(table: _Table, width: int, *, done: bool = True) -> Columns:
    source = table.string("source", required=True)
    columns = tuple(int(column) for column in table.numbers("columns", width))
    if min(columns) < 0:
        raise BadAnnotation(f"{table.path}: columns count from 0, not {columns}")
    scale = table.numbers("scale", width) if "scale" in table.values else (1.0,)
    if done:
        table.finish()
    return Columns(source, columns, scale)


def _gripper(table: _Table) -> Gripper:
    column = _columns(table, 1, done=False)
    open, closed = table.number("open", required=True), table.number("closed", required=True)
    table.finish()
    if open is None or closed is None or open == closed:
        raise BadAnnotation(f"{table.path}: {table.name} needs numbers for 'open' and 'closed' that differ")
    return Gripper(column, open, closed)


class _Table:
    """A TOML table that knows its name, checks types, and says which keys nobody asked for."""

    def __init__(self, path: Path, name: str, values: Mapping[str, Any]) -> None:
        self.path, self.name, self.values = path, name, values
        self._asked: set[str] = set()

    def _get(self, key: str, kind: type | tuple[type, ...], what: str, required: bool) -> Any:
        self._asked.add(key)
        value = self.values.get(key)
        if value is None and not required:
            return None
        if not isinstance(value, kind) or isinstance(value, bool):
            problem = "is missing" if value is None else f"is {value!r}, not {what}"
            raise BadAnnotation(f"{self.path}: {self.name}{key} {problem}")
        return value

    def string(self, key: str, *, required: bool = False) -> str:
        return str(self._get(key, str, "a text", required) or "")

    def number(self, key: str, *, required: bool = False) -> float | None:
        value = self._get(key, (int, float), "a number", required)
        return None if value is None else float(value)

    def numbers(self, key: str, length: int) -> tuple[float, ...]:
        value = self._get(key, (list, int, float), f"a list of {length} numbers", True)
        value = value if isinstance(value, list) else [value] * length
        if len(value) != length or not all(isinstance(v, int | float) and np.isfinite(v) for v in value):
            raise BadAnnotation(f"{self.path}: {self.name}{key} is {value!r}, not a list of {length} numbers")
        return tuple(float(v) for v in value)

    def choice(self, key: str, choices: tuple[str, ...]) -> str:
        value = self.string(key, required=True)
        if value not in choices:
            raise BadAnnotation(f"{self.path}: {self.name}{key} is {value!r}, not one of {', '.join(choices)}")
        return value

    def table(self, key: str, *, required: bool = False) -> _Table | None:
        value = self._get(key, dict, "a table", required)
        return None if value is None else _Table(self.path, f"{self.name}{key}.", value)

    def strings(self, key: str) -> dict[str, str]:
        table = self._get(key, dict, "a table of texts", True)
        if not table or not all(isinstance(value, str) for value in table.values()):
            raise BadAnnotation(f"{self.path}: {self.name}{key} must name at least one camera's files or feature")
        return dict(table)

    def finish(self) -> None:
        """Raise `BadAnnotation` for a key that was never asked for: a misspelt one would be ignored otherwise."""
        for key in self.values:
            if key not in self._asked:
                near = difflib.get_close_matches(key, self._asked, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(sorted(self._asked))}"
                raise UndeclaredLayout(f"{self.path}: {self.name}{key} is not a known key; {hint}")
