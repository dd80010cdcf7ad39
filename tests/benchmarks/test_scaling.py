"""The simulated scheduler, where the answer is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from tests.benchmarks.loading import load_benchmark

REPOSITORY = Path(__file__).resolve().parents[2]
NOTHING = {"acquire": 0.0, "progress": 0.0, "heartbeat": 0.0, "complete": 0.0, "choose": 0.0, "sweep": 0.0}


@pytest.fixture(scope="module")
def scaling() -> ModuleType:
    return load_benchmark("scaling")


@pytest.mark.parametrize("workers", [1, 8, 64])
def test_with_a_database_that_costs_nothing_workers_add_up(scaling: ModuleType, workers: int) -> None:
    # Many jobs each: workers begin at different times within the first job, and idle until then.
    options = replace(scaling.Options(), hours_between_deaths=1e12, jobs_each=60)
    found = scaling.simulate(workers, 10.0, 15, SimpleNamespace(**NOTHING), options)
    assert found.jobs_per_second == pytest.approx(workers / 10.0, rel=0.05)
    assert (found.database_busy, found.redone) == (0.0, 0.0)


def test_a_database_that_is_full_does_what_its_operations_cost(scaling: ModuleType) -> None:
    options = replace(scaling.Options(), hours_between_deaths=1e12)
    costs = SimpleNamespace(**{**NOTHING, "acquire": 0.03, "complete": 0.02})
    found = scaling.simulate(512, 1.0, 15, costs, options)
    assert found.jobs_per_second == pytest.approx(1 / 0.05, rel=0.05)
    assert found.database_busy == pytest.approx(1.0, abs=0.05)


def test_workers_that_die_cost_what_they_lose(scaling: ModuleType) -> None:
    """A death an hour, of jobs of ten minutes: one in six is begun again, after half of it and 135 s."""
    options = replace(scaling.Options(), hours_between_deaths=1.0, jobs_each=400)
    found = scaling.simulate(8, 600.0, 100, SimpleNamespace(**NOTHING), options)
    assert found.redone == pytest.approx(1 / 6.5, rel=0.15)
    assert 0.02 < found.worker_waits < 0.06
    assert found.jobs_per_second < 8 / 600.0
