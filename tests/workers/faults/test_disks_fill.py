"""Fault 11 of docs/reliability.md: a full disk, or a killed process, while an artifact is written."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from arena.contracts import ActionChunk, ActionSpace, Provenance, Rollout
from arena.store import JobStatus, Store
from tests.workers.faults.site import REPOSITORY
from workers.artifacts import Artifacts, reference
from workers.execution import execute
from workers.jobs import Context, Inputs, Json, Step
from workers.registry import Workshop
from workers.rollouts import load_rollout, rollout_reference, save_rollout
from workers.settings import Settings

SIZE = 1 << 20
BIG = reference("work", "ab" * 32)


class Nothing(Inputs):
    x: int = 0


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A file system of 1 MiB at `folder`."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a small file system here: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextmanager
def small_files(folder: Path) -> Iterator[None]:
    """No file may grow beyond 1 MiB: what needs no rights, and fails in the same places."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (SIZE, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


@pytest.fixture(params=[small_disk, small_files], ids=["disk", "file"])
def full(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "artifacts"
    folder.mkdir()
    with request.param(folder):
        yield folder


def visible(folder: Path) -> list[str]:
    return [path.name for path in folder.glob("*/*/*") if not path.name.startswith(".")]


def test_11_no_part_of_an_artifact_is_seen_and_the_job_is_done_once_there_is_room(full: Path, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home", artifacts=str(full))
    store = Store(settings.store_url)
    artifacts = Artifacts(settings.artifacts_location, settings.cache)
    context = Context(settings, store, artifacts, lambda *_: None, Workshop())
    size = 2 * SIZE

    def write(folder: Path) -> None:
        (folder / "first").write_bytes(b"whole")
        with (folder / "big").open("wb") as stream:
            for _ in range(size >> 16):
                stream.write(bytes(1 << 16))

    def run(inputs: Nothing, context: Context) -> Json:
        context.artifacts.put(BIG, write)
        return {"artifact": BIG}

    steps = {"big": Step("big", Nothing, run)}
    key = store.jobs.submit("k", "big", {}).key
    for attempt in (1, 2):
        with pytest.raises(OSError, match=r"No space left|File too large"):
            execute(steps, context, key)
        job = store.jobs.get(key)
        assert (job.status, job.attempts, job.lease_owner) == (JobStatus.QUEUED, attempt, None)
        assert job.error is not None
        assert job.error["type"] == "OSError"
        assert not artifacts.has(BIG)
        assert not visible(full)
        assert sum(path.stat().st_size for path in full.rglob("*") if path.is_file()) == 0, "and the disk is free again"
    size = SIZE >> 1
    assert execute(steps, context, key).status is JobStatus.DONE
    artifacts.verify(BIG)
    store.close()


def test_11_a_rollouts_films_are_there_whole_or_not_at_all(full: Path, tmp_path: Path) -> None:
    """Through the encoder, which writes its index last and from C."""
    random = np.random.default_rng(0)
    noise = random.integers(0, 255, (60, 256, 256, 3)).astype(np.uint8)
    rollout = Rollout(
        id="cd" * 32, policy="hold", world="tiny", scene_id="s", task="t", instruction="reach", seed=1, fps=5.0,
        frames={"wrist": noise}, state=np.zeros((60, 7)), step_seconds=(0.1,), success=None,
        action=ActionChunk(np.zeros((59, 7)), ActionSpace.CARTESIAN_POSITION, 5.0),
        provenance=Provenance("p", "w", "s", "c", "code"),
    )  # fmt: skip
    artifacts = Artifacts(str(full), tmp_path / "cache")
    with pytest.raises(Exception, match=r"(?i)space|too large|write|encode"):
        save_rollout(artifacts, rollout)
    assert not artifacts.has(rollout_reference(rollout.id))
    assert not visible(full)
    small = Rollout(**{**vars(rollout), "frames": {"wrist": noise[:, :16, :16]}})
    load_rollout(artifacts, save_rollout(artifacts, small))


@pytest.mark.parametrize("when", ["writing", "sealing"])
def test_11_a_process_killed_while_it_writes_leaves_nothing_to_be_seen(when: str, tmp_path: Path) -> None:
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from arena.episodes import atomic\n"
        "from workers.artifacts import Artifacts\n"
        "def die(*_): os.kill(os.getpid(), signal.SIGKILL)\n"
        "def write(folder):\n"
        "    (folder / 'first').write_text('begun')\n"
        "    if sys.argv[2] == 'writing': die()\n"
        "if sys.argv[2] == 'sealing': atomic._move_into_place = die\n"
        "Artifacts(sys.argv[1], Path('unused')).put(sys.argv[3], write)\n"
    )
    folder = tmp_path / "artifacts"
    command = [sys.executable, "-c", program, str(folder), when, BIG]
    assert subprocess.run(command, cwd=REPOSITORY, env=os.environ | {"PYTHONPATH": str(REPOSITORY)}).returncode == -9
    artifacts = Artifacts(str(folder), tmp_path / "cache")
    assert not artifacts.has(BIG)
    assert not visible(folder)
    artifacts.put(BIG, lambda target: shutil.copy(__file__, target / "whole") and None)
    artifacts.verify(BIG)
