"""Flower sees our workers and what became of their tasks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.services import _free_port, redis_url  # noqa: F401 (a fixture)
from tests.workers.faults.site import Site

SECONDS = 200.0


def fetched(port: int, path: str) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=20) as answer:
        return json.loads(answer.read())


@pytest.mark.services
def test_flower_shows_workers_and_tasks(tmp_path: Path, redis_url: str) -> None:  # noqa: F811
    pytest.importorskip("flower", reason="flower is not installed")
    site = Site(tmp_path / "home", redis_url, f"sqlite:///{tmp_path}/arena.db")
    port = _free_port()
    asked = [f"--broker={redis_url}", "flower", f"--port={port}", "--address=127.0.0.1"]
    environment = {**os.environ, "FLOWER_UNAUTHENTICATED_API": "true"}
    flower = subprocess.Popen([sys.executable, "-m", "celery", *asked], env=environment, cwd=tmp_path)
    try:
        with site.workers(1) as [worker]:
            site.wait(worker.is_ready)
            deadline = time.monotonic() + SECONDS
            found: dict[str, Any] = {}
            for x in range(1000):
                # Flower shows what happens from when it listens on.
                key = site.ask("work", x=x)
                site.send()
                site.settle([key])
                try:
                    found = fetched(port, "api/tasks")
                except OSError:
                    found = {}
                # A message may come twice: then the second task's outcome is a duplicate.
                done = [task for task in found.values() if "'outcome': 'done'" in (task["result"] or "")]
                if done:
                    break
                assert time.monotonic() < deadline, found
                time.sleep(1)
            assert (done[0]["name"], done[0]["state"]) == ("dreamarena.work", "SUCCESS")
            assert done[0]["worker"].startswith("dreamarena-")
    finally:
        flower.terminate()
        flower.wait(30)
        site.close()
