"""Who may import whom: DESIGN.md's table, enforced on every import statement, lazy ones included."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
ROOMS = ("arena", "worldmodels", "real2sim", "workers", "ui")

NUMERIC_LEAVES = ("arena.geometry", "arena.metrics")
"""Not in DESIGN.md's table: the lead lets both simulators use these two, which import only numpy and the contracts,
rather than have rotations and PSNR written twice."""
TRAINING_LEAF = "arena.learned.optimise"
"""Nor is this: one resumable training loop for policies and world models. It imports contracts and atomic files."""
SIMULATORS_MAY = ("arena.contracts", "arena.episodes", *NUMERIC_LEAVES)
MAY_IMPORT = {
    "arena": ("arena",),
    "worldmodels": ("worldmodels", *SIMULATORS_MAY, TRAINING_LEAF),
    "real2sim": ("real2sim", *SIMULATORS_MAY),
    "workers": ("arena", "worldmodels", "real2sim", "workers"),
    # Of the workers' room: the names of tasks, and where things are kept.
    "ui": ("ui", "arena", "workers.settings", "workers.service"),
}
HEAVY = ("torch", "torchvision", "diffusers", "transformers", "accelerate", "gsplat", "open3d", "mujoco", "metaworld")
SERVICES = ("celery", "kombu", "sqlalchemy", "alembic")
SHOWING = ("streamlit", "plotly", "tyro", "rich", "jinja2")
MAY_NOT_USE = {
    "arena": (*HEAVY, "celery", "kombu", *SHOWING),
    "arena.learned": (*(name for name in HEAVY if name != "torch"), *SERVICES, *SHOWING),
    "worldmodels": (*SERVICES, *SHOWING, "gsplat", "open3d", "mujoco", "metaworld"),
    "real2sim": (*SERVICES, *SHOWING, "diffusers", "transformers"),
    # Segmentation models are transformers'.
    "real2sim.segment": (*SERVICES, *SHOWING, "diffusers", "gsplat", "open3d", "mujoco", "metaworld"),
    "workers": ("streamlit",),
    "ui": (*HEAVY, *SERVICES, "tyro", "rich"),
}
EXCEPTIONS: dict[tuple[str, str], str] = {}
"""(module, what it imports) to the reason why that is right although the table says otherwise."""


@dataclass(frozen=True)
class Import:
    """One imported module or name, as a dotted path from the top, and where the statement is."""

    importer: str
    imported: str
    line: int

    def __str__(self) -> str:
        return f"{self.importer} line {self.line} imports {self.imported}"


@cache
def modules() -> dict[str, Path]:
    """Every module of every room by dotted name."""
    found = {}
    for room in ROOMS:
        for path in sorted((REPOSITORY / room).rglob("*.py")):
            parts = path.relative_to(REPOSITORY).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports_of(source: str, module: str, is_package: bool) -> Iterator[Import]:
    """All imports in a source: at its top, in functions, under `TYPE_CHECKING`, relative, and by literal name."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (Import(module, alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _base(node, module, is_package)
            yield from (Import(module, f"{base}.{alias.name}", node.lineno) for alias in node.names)
        elif isinstance(node, ast.Call) and _loads_by_name(node.func):
            yield Import(module, _literal(node, module), node.lineno)


def _base(node: ast.ImportFrom, module: str, is_package: bool) -> str:
    if not node.level:
        return str(node.module)
    parts = module.split(".")
    parts = parts[: len(parts) - node.level + is_package]
    return ".".join([*parts, *([node.module] if node.module else [])])


def _loads_by_name(function: ast.expr) -> bool:
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    return name in ("import_module", "__import__")


def _literal(node: ast.Call, module: str) -> str:
    """What is loaded by name. A name that is computed cannot be checked, and is not in the table of exceptions."""
    first = node.args[0] if node.args else None
    return (
        first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else f"<computed in {module}>"
    )


@cache
def all_imports() -> tuple[Import, ...]:
    return tuple(
        found
        for module, path in modules().items()
        for found in imports_of(path.read_text(), module, path.name == "__init__.py")
    )


def is_within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def breaches(imports: tuple[Import, ...]) -> list[str]:
    """The imports that the table forbids."""
    return [str(found) for found in imports if _is_breach(found) and _key(found) not in EXCEPTIONS]


def _is_breach(found: Import) -> bool:
    room, top = found.importer.partition(".")[0], found.imported.partition(".")[0]
    if top in ROOMS:
        learned = is_within(found.imported, "arena.learned") and not is_within(found.importer, "arena.learned")
        allowed = any(is_within(found.imported, package) for package in MAY_IMPORT[room])
        return not allowed or (room == "arena" and learned)
    nearest = max((name for name in MAY_NOT_USE if is_within(found.importer, name)), key=len)
    forbidden = MAY_NOT_USE[nearest]
    return top in forbidden or top.startswith("<computed")


def _key(found: Import) -> tuple[str, str]:
    return found.importer, found.imported


def test_every_import_is_in_the_table() -> None:
    assert len(all_imports()) > 200
    assert breaches(all_imports()) == []


def test_exceptions_are_still_needed() -> None:
    assert set(EXCEPTIONS) <= {_key(found) for found in all_imports() if _is_breach(found)}


@pytest.mark.parametrize(
    ("importer", "source"),
    [
        ("arena.rollout", "import torch"),
        ("arena.rollout", "def f():\n    from torch import nn"),
        ("arena.rollout", "from arena import learned"),
        ("arena.rollout", "from .learned import cloning"),
        ("arena.rollout", "import importlib\nimportlib.import_module('worldmodels.train')"),
        ("arena.rollout", "name = 'torch'\n__import__(name)"),
        ("arena.judges.vlm", "from ..learned.success import Judge"),
        ("arena.store.jobs", "import workers"),
        ("arena.learned.cloning", "import celery"),
        ("worldmodels.world", "from arena.rollout import run_rollouts"),
        ("worldmodels.world", "from arena import rollout"),
        ("worldmodels.world", "from real2sim import robot"),
        ("real2sim.twin", "if TYPE_CHECKING:\n    from worldmodels.world import ImaginedWorld"),
        ("real2sim.twin", "from arena.learned import cloning"),
        ("real2sim.twin", "from arena.learned.optimise import optimise"),
        ("worldmodels.train", "from arena.learned.cloning import train_cloning"),
        ("workers.cli.demo", "from ui import app"),
        ("ui.rollouts", "from workers.artifacts import Artifacts"),
        ("ui.rollouts", "from worldmodels import world"),
    ],
)
def test_a_breach_is_found(importer: str, source: str) -> None:
    assert len(breaches(tuple(imports_of(source, importer, is_package=False)))) == 1


@pytest.mark.parametrize(
    ("importer", "source"),
    [
        (
            "arena.learned.cloning",
            "import torch\nfrom arena.learned import network\nfrom arena.contracts import Policy",
        ),
        ("arena.rollout", "from .contracts import Policy\nimport numpy as np"),
        ("worldmodels.world", "from arena.contracts import World\nfrom arena.episodes.video import VideoFrames"),
        ("worldmodels.world", "from arena import contracts, metrics\nfrom worldmodels import sampler"),
        ("worldmodels.train", "from arena.learned.optimise import optimise"),
        ("real2sim.twin", "from arena.geometry import compose\nimport mujoco"),
        ("workers.tasks", "from arena.learned import cloning\nfrom real2sim import robot\nimport torch"),
        ("ui.rollouts", "from arena.store import Store\nfrom workers.settings import load_settings"),
    ],
)
def test_what_is_allowed_is_no_breach(importer: str, source: str) -> None:
    assert breaches(tuple(imports_of(source, importer, is_package=False))) == []


def test_the_numeric_leaves_are_leaves() -> None:
    own = [found for found in all_imports() if found.importer in NUMERIC_LEAVES and is_within(found.imported, "arena")]
    assert own
    assert all(is_within(found.imported, "arena.contracts") for found in own)


def test_the_training_loop_is_a_leaf() -> None:
    own = [found for found in all_imports() if found.importer == TRAINING_LEAF and is_within(found.imported, "arena")]
    assert own
    assert all(found.imported.startswith(("arena.contracts.", "arena.episodes.atomic.")) for found in own)


def loaded_by(*names: str) -> set[str]:
    """Top-level packages that a fresh Python has loaded after importing modules."""
    script = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)\n"
    script += "print(*{name.partition('.')[0] for name in sys.modules})"
    found = subprocess.run([sys.executable, "-c", script, *names], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    return set(found.stdout.split())


def test_the_contracts_load_numpy_and_nothing_heavy() -> None:
    loaded = loaded_by("arena.contracts")
    assert "numpy" in loaded
    assert not loaded & {*HEAVY, *SERVICES, *SHOWING, "scipy", "av"}


def test_the_whole_arena_and_the_pages_load_no_torch() -> None:
    # Alembic runs its environment and the migrations itself; they are no modules for others.
    apart = ("arena.learned", "arena.store.migrations")
    names = [name for name in modules() if name.startswith(("arena", "ui"))]
    loaded = loaded_by(*(name for name in names if not any(is_within(name, package) for package in apart)))
    assert {"arena", "ui", "sqlalchemy"} <= loaded
    assert not loaded & set(HEAVY)


def test_commands_are_known_without_loading_anything_heavy() -> None:
    assert not loaded_by("workers.cli") & {*HEAVY, *SERVICES, "scipy", "av"}
