"""What a machine needs to do its part: each thing is tried for real, and what is wrong is said with what to do."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

import fsspec

from arena.contracts import DreamarenaError
from workers.settings import Settings

LEAST_FREE = 5 << 30
"""Bytes below which a disk is too full to work on: an evaluation of 100 rollouts is about a tenth of it."""
RENDER_SECONDS = 60.0
_RENDER = """
import mujoco
model = mujoco.MjModel.from_xml_string('<mujoco><worldbody><light pos="0 0 3"/><geom size=".3"/></worldbody></mujoco>')
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
renderer = mujoco.Renderer(model, 64, 64)
renderer.update_scene(data)
assert renderer.render().std() > 1, "the picture is empty"
renderer.close()
"""


class State(StrEnum):
    OK = "ok"
    WARNING = "warning"
    """It works without, or slower."""
    BROKEN = "broken"


@dataclass(frozen=True)
class Finding:
    """`advice` says what to do, and is empty where nothing is to be done."""

    name: str
    state: State
    detail: str
    advice: str = ""


def examine(settings: Settings) -> list[Finding]:
    """Look at everything. What cannot even be looked at is broken."""
    checks: list[tuple[str, Callable[[Settings], Finding]]] = [
        ("database", _database),
        ("artifacts", _artifacts),
        ("broker", _broker),
        ("gpu", _gpu),
        ("rendering", _rendering),
        ("disk", _disk),
    ]
    found = [_tried(name, check, settings) for name, check in checks]
    return [replace(each, detail=" ".join(each.detail.split())) for each in found]


def _tried(name: str, check: Callable[[Settings], Finding], settings: Settings) -> Finding:
    try:
        return check(settings)
    except DreamarenaError as error:
        return Finding(name, State.BROKEN, str(error), _ADVICE[name])
    except (OSError, ValueError, ImportError, RuntimeError) as error:
        return Finding(name, State.BROKEN, f"{type(error).__name__}: {error}", _ADVICE[name])


_ADVICE = {
    "database": "set DREAMARENA_DATABASE_URL to a database that answers, or unset it for a file in DREAMARENA_HOME",
    "artifacts": "set DREAMARENA_ARTIFACTS to a folder or bucket that this user may write to, and its credentials",
    "broker": "start it, or set DREAMARENA_BROKER_URL to one that answers, or unset it to work in one process",
    "gpu": "install a torch that fits the GPU's driver: https://pytorch.org/get-started",
    "rendering": "set MUJOCO_GL=egl and install libegl1 and the GPU's driver, or MUJOCO_GL=osmesa and libosmesa6",
    "disk": "free space, or set DREAMARENA_HOME to another disk",
}


def _database(settings: Settings) -> Finding:
    from arena.store import schema_state

    at, head = schema_state(settings.store_url)
    if at == head:
        return Finding("database", State.OK, f"answers, at migration {head}")
    if at is None:
        return Finding("database", State.OK, "empty: its tables are made when it is first used")
    from arena.store import Store

    # A newer one refuses here; an older one is brought up to date as any command would.
    Store(settings.store_url).close()
    return Finding("database", State.OK, f"answers, was migrated from {at} to {head}")


def _artifacts(settings: Settings) -> Finding:
    """Write, read and delete a file."""
    location = settings.artifacts_location
    files, root = fsspec.core.url_to_fs(location)
    said = uuid.uuid4().bytes
    path = f"{root}/doctor-{uuid.uuid4().hex}"
    try:
        files.makedirs(root, exist_ok=True)
        files.pipe_file(path, said)
        read = files.cat_file(path)
        files.rm_file(path)
    except Exception as error:
        # Every kind of storage has errors of its own.
        return Finding("artifacts", State.BROKEN, f"{location}: {type(error).__name__}: {error}", _ADVICE["artifacts"])
    if read != said or files.exists(path):
        return Finding("artifacts", State.BROKEN, f"{location} does not keep what it is given", _ADVICE["artifacts"])
    return Finding("artifacts", State.OK, f"{location}: written, read and deleted")


def _broker(settings: Settings) -> Finding:
    if settings.broker_url is None:
        return Finding("broker", State.OK, "none is set: jobs are done in this machine's processes")
    from workers.launch import broker_of

    waiting = broker_of(settings.broker_url).waiting()
    counts = ", ".join(f"{count} in {queue}" for queue, count in waiting.items())
    return Finding("broker", State.OK, f"answers; messages that wait: {counts}")


def _gpu(settings: Settings) -> Finding:
    import torch

    if torch.cuda.is_available():
        # A driver that does not fit is noticed by doing something.
        total = float(torch.ones(1000, device="cuda").sum())
        free, memory = torch.cuda.mem_get_info()
        name = torch.cuda.get_device_name()
        state = State.OK if total == 1000.0 else State.BROKEN
        return Finding("gpu", state, f"{name}, {free / 2**30:.0f} of {memory / 2**30:.0f} GiB free")
    if shutil.which("nvidia-smi") or Path("/dev/nvidia0").exists():
        return Finding("gpu", State.BROKEN, "there is a GPU, and torch cannot use it", _ADVICE["gpu"])
    return Finding("gpu", State.WARNING, "none: world models run on the CPU, and slowly", "use a machine with a GPU")


def _rendering(settings: Settings) -> Finding:
    """In a process of its own: a driver that fails may take its process along."""
    backend = os.environ.get("MUJOCO_GL", "egl")
    with tempfile.TemporaryDirectory() as folder:
        try:
            done = subprocess.run(
                [sys.executable, "-c", _RENDER], env={**os.environ, "MUJOCO_GL": backend}, cwd=folder,
                capture_output=True, text=True, timeout=RENDER_SECONDS,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            said = f"MUJOCO_GL={backend} drew nothing in {RENDER_SECONDS:.0f} s"
            return Finding("rendering", State.BROKEN, said, _ADVICE["rendering"])
    if done.returncode == 0:
        return Finding("rendering", State.OK, f"MuJoCo draws with MUJOCO_GL={backend}")
    last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    return Finding("rendering", State.BROKEN, f"MUJOCO_GL={backend}: {last}", _ADVICE["rendering"])


def _disk(settings: Settings) -> Finding:
    place = settings.home.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    said = f"{free / 2**30:.1f} GiB free at {place}"
    if not os.access(place, os.W_OK):
        return Finding("disk", State.BROKEN, f"{place} cannot be written to", _ADVICE["disk"])
    if free < LEAST_FREE:
        return Finding("disk", State.BROKEN, f"{said}, less than {LEAST_FREE >> 30} GiB", _ADVICE["disk"])
    return Finding("disk", State.OK, said)
