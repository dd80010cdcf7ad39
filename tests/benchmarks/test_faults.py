"""The program that brings about the faults: every one of the table has tests, these exist, and a failure is told."""

from __future__ import annotations

import ast
import os
import re
from pathlib import Path
from types import ModuleType

import pytest

from tests.benchmarks.loading import load_benchmark

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def faults() -> ModuleType:
    return load_benchmark("faults")


def test_every_row_of_the_table_is_there_once(faults: ModuleType) -> None:
    numbers = [fault.number for fault in faults.FAULTS if fault.number]
    assert numbers == list(range(1, 27))
    names = [fault.name for fault in faults.FAULTS]
    assert len(set(names)) == len(names)
    assert {"sigterm", "commit_cut", "out_of_memory", "clock_jump", "two_sweepers"} <= set(names)


def test_the_tests_that_it_names_exist(faults: ModuleType) -> None:
    for name in {test for fault in faults.FAULTS for test in fault.tests}:
        path, _, function = name.partition("::")
        tree = ast.parse((REPOSITORY / path).read_text())
        known = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert not function or function in known, name
        assert any(each.startswith("test_") for each in known), name


def test_every_test_of_faults_belongs_to_one(faults: ModuleType) -> None:
    named = {test for fault in faults.FAULTS for test in fault.tests}
    for path in (REPOSITORY / "tests" / "workers" / "faults").glob("test_*.py"):
        at = path.relative_to(REPOSITORY).as_posix()
        for function in re.findall(r"^def (test_\w+)", path.read_text(), flags=re.MULTILINE):
            assert at in named or f"{at}::{function}" in named, f"{at}::{function}"


PASSING = "def test_one(record_property):\n    record_property('took', 3)\n"
SKIPPED = "import pytest\n\ndef test_one():\n    pytest.skip('no server')\n"


@pytest.mark.parametrize(
    ("source", "passed", "says"),
    [
        (PASSING, True, "took 3"),
        (PASSING + "\ndef test_two():\n    assert False\n", False, "failed: test_two"),
        (SKIPPED, False, "no server"),
        ("import nonsense_that_is_not_there\n", False, "0 tests"),
    ],
)
def test_what_a_fault_came_to_is_told(faults: ModuleType, source: str, passed: bool, says: str, tmp_path: Path) -> None:
    test = tmp_path / "test_it.py"
    test.write_text(source)
    name = os.path.relpath(test, REPOSITORY)
    found = faults.bring_about([faults.Fault(0, "it", "it", "it", (name,))])["it"]
    assert found["passed"] is passed, found
    assert says in found["detail"]


def test_the_table_is_written_between_its_marks(
    faults: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{faults.BEGIN}\nold\n{faults.END}\nafter\n")
    monkeypatch.setattr(faults, "PAGE", page)
    faults.write_table({"zombie": {"passed": False, "detail": r"a|b \1"}})
    text = page.read_text()
    assert "old" not in text
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert r"| 7 | a worker that lost its lease ends its task | updates no row | **failed** | a/b \1 |" in text
