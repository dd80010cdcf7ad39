"""Every test runs: pytest walks past folders of certain names without a word, and nine files of ours were in one."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path

import pytest

TESTS = Path(__file__).parent


def test_no_test_is_in_a_folder_that_pytest_walks_past(pytestconfig: pytest.Config) -> None:
    names = pytestconfig.getini("norecursedirs")
    passed_by = [
        str(file.relative_to(TESTS))
        for file in TESTS.rglob("test_*.py")
        if any(fnmatch(folder, name) for folder in file.relative_to(TESTS).parent.parts for name in names)
    ]
    assert names
    assert not passed_by
