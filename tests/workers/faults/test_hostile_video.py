"""Fault 21 of docs/reliability.md, with a watch and a scale: a process of its own reads each file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.arena.episodes.making import encode, huge_video, moving_frames, truncated
from tests.workers.faults.site import REPOSITORY

SECONDS, GIB = 10.0, 1.0
EIGHT_THOUSAND = 12
READ = """
import json, sys, time
from pathlib import Path
from arena.contracts import InvalidInput
from arena.episodes.video import VideoFrames
began = time.monotonic()
try:
    VideoFrames(Path(sys.argv[1]), expected=int(sys.argv[2])).read()
    said = None
except InvalidInput as error:
    said = str(error)
seconds = time.monotonic() - began
# Not ru_maxrss, which begins with that of the process which started this one.
[peak] = [line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
print(json.dumps([said, seconds, int(peak) / 2**20]))
"""


def short_matroska(folder: Path) -> Path:
    return truncated(encode(folder / "short.mkv", moving_frames(60), "libx264", "yuv420p"))


def empty(folder: Path) -> Path:
    path = folder / "empty.mp4"
    path.write_bytes(b"")
    return path


def script(folder: Path) -> Path:
    encode(folder / "a.mp4", moving_frames(60), "libx264", "yuv420p")
    path = folder / "script.mp4"
    path.write_bytes(b"ffconcat version 1.0\nfile a.mp4\n")
    return path


def eight_thousand(folder: Path) -> Path:
    """Black pictures of 7680 x 4320 in some KB, which are 1.2 GB decoded."""
    black = np.broadcast_to(np.uint8(0), (EIGHT_THOUSAND, 4320, 7680, 3))
    return encode(folder / "8k.mp4", black, "libx264", "yuv420p", preset="ultrafast", g="250")


def twenty_thousand(folder: Path) -> Path:
    return huge_video(folder / "huge.mp4")


@pytest.mark.parametrize("make", [short_matroska, empty, script, eight_thousand, twenty_thousand])
def test_21_a_hostile_video_is_refused_in_time_and_memory(
    make: Callable[[Path], Path], tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    path = make(tmp_path)
    expected = EIGHT_THOUSAND if make is eight_thousand else 60
    done = subprocess.run(
        [sys.executable, "-c", READ, str(path), str(expected)], cwd=REPOSITORY, capture_output=True, text=True,
        timeout=60, env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said, seconds, gib = json.loads(done.stdout)
    assert said is not None, "it was read"
    assert path.name in said
    assert "\n" not in said
    assert seconds < SECONDS
    assert gib < GIB
    record_property(f"{path.name}", f"{path.stat().st_size} bytes: {seconds:.2f} s, {1024 * gib:.0f} MiB")
