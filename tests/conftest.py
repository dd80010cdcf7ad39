"""Fixtures that several rooms' tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# One thread each: on two cores, OpenMP threads that wait for each other cost more than they bring.
os.environ.setdefault("OMP_NUM_THREADS", "1")

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data and golden numbers beside a developer's checkout."""
    folder = REPOSITORY.parent / "shared"
    if not folder.is_dir():
        if os.environ.get("CI") == "true":
            pytest.fail("../shared is absent: CI needs the real data and golden numbers", pytrace=False)
        pytest.skip("../shared is absent: the real data and golden numbers live beside the developers' checkouts")
    return folder
