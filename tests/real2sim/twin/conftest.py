"""A small twin, for tests that need some twin."""

from __future__ import annotations

import pytest

from real2sim.twin.bundle import Twin
from tests.real2sim.twin.small import make_small_twin


@pytest.fixture(scope="session")
def small_twin() -> Twin:
    return make_small_twin()
