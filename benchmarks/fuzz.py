"""Hostile input by the minute: what servers answer, and files that strangers hand in.

Good messages and files are changed at random (bytes flipped, cut out, doubled, put in) and read as the product reads
them. An error of ours that names what is wrong is what is wanted; anything else is a crash: another exception, a
process that dies, an example that takes longer than ten seconds of the processor. Each target is a process of its own.
Writes docs/benchmarks/fuzz.json, `{name: {"minutes", "examples", "read", "refused", "peak_mib", "crashes"}}`.

    python benchmarks/fuzz.py [--minutes 5] [--only NAME...] [--seed 0]
"""

from __future__ import annotations

import itertools
import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from common import OUTPUT, REPOSITORY, machine
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from arena.contracts import DreamarenaError

FIGURES = OUTPUT / "fuzz.json"
ROUND = 200
"""Examples that hypothesis draws from one seed."""
TOO_LONG = 10.0
SHOWN = 200
GREETING = b"\xff" + bytes(8) + b"\x7f" + b"\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
"""ZeroMQ's, as a server's."""
READY = b"\x04\x19\x05READY" + b"\x0bSocket-Type" + b"\0\0\0\x03REP"


class TimeIsUp(Exception):
    """Ends a round."""


@dataclass(frozen=True)
class Options:
    minutes: float = 5.0
    """For all targets together."""
    only: tuple[str, ...] = ()
    seed: int = 0
    child: bool = False
    """Fuzz the one target here, and print the result as JSON."""
    last: Path | None = None
    """Where a child keeps the example that it is at, which may be its last."""


def main(options: Options) -> int:
    if unknown := [name for name in options.only if name not in TARGETS]:
        raise SystemExit(f"there is no target {unknown[0]!r}, only {', '.join(TARGETS)}")
    chosen = options.only or tuple(TARGETS)
    if options.child:
        print(json.dumps(fuzz(chosen[0], 60 * options.minutes, options.seed, options.last)))
        return 0
    found: dict[str, Any] = json.loads(FIGURES.read_text()) if FIGURES.exists() and options.only else {}
    found["machine"] = machine()
    for name in chosen:
        found[name] = in_a_process(name, options.minutes / len(chosen), options.seed)
        print(f"{name}: {found[name]}", flush=True)
    FIGURES.write_text(json.dumps(found, indent=1) + "\n")
    return int(any(found[name]["crashes"] for name in chosen))


def in_a_process(name: str, minutes: float, start: int) -> dict[str, Any]:
    """One target's result. A process that does not live to tell it is a crash."""
    last = Path(tempfile.gettempdir()) / f"dreamarena-fuzz-{name}"
    command = [sys.executable, __file__, "--child", "--only", name, "--minutes", str(minutes), "--seed", str(start),
               "--last", str(last)]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=60 * minutes + 300, env=environment, cwd=REPOSITORY
        )
    except subprocess.TimeoutExpired:
        return {"minutes": minutes, "examples": 0, "crashes": ["it hung"]}
    if done.returncode:
        said = f"exit code {done.returncode}: {done.stderr[-1000:]} (the example is in {last})"
        return {"minutes": minutes, "examples": 0, "crashes": [said]}
    last.unlink(missing_ok=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def fuzz(name: str, seconds: float, start: int, last: Path | None) -> dict[str, Any]:
    """Round after round, each with the next seed, until `seconds` are over."""
    with tempfile.TemporaryDirectory() as folder:
        examples, read = TARGETS[name](Path(folder))
        began = time.monotonic()
        counts = {"examples": 0, "read": 0, "refused": 0}
        crashes: list[str] = []

        def attempt(example: Any) -> None:
            if time.monotonic() - began > seconds:
                raise TimeIsUp
            counts["examples"] += 1
            if last is not None:
                last.write_text(repr(example))
            started = time.process_time()
            try:
                read(example)
                counts["read"] += 1
            except DreamarenaError as error:
                counts["refused"] += 1
                if "\n" in str(error):
                    crashes.append(f"an error of several lines: {str(error)[:SHOWN]!r} for {repr(example)[:SHOWN]}")
            except Exception as error:
                crashes.append(f"{type(error).__name__}: {str(error)[:SHOWN]} for {repr(example)[:SHOWN]}")
            if time.process_time() - started > TOO_LONG:
                crashes.append(f"{time.process_time() - started:.0f} s for {repr(example)[:SHOWN]}")

        for number in itertools.count(start):
            try:
                seed(number)(_round(attempt, examples))()
            except TimeIsUp:
                break
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        minutes = (time.monotonic() - began) / 60
        return {"minutes": round(minutes, 2), **counts, "peak_mib": round(peak), "crashes": sorted(set(crashes))[:20]}


def _round(attempt: Callable[[Any], None], examples: st.SearchStrategy[Any]) -> Callable[[], None]:
    @settings(
        max_examples=ROUND, deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(examples)
    def round(example: Any) -> None:
        attempt(example)

    return round


@st.composite
def changed(draw: st.DrawFn, good: list[bytes]) -> bytes:
    """One of `good` after one to six changes."""
    data = bytearray(draw(st.sampled_from(good)))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        length = draw(st.integers(0, 64))
        match draw(st.sampled_from(["flip", "cut", "end", "put", "double", "number"])):
            case "flip" if data:
                data[at] ^= draw(st.integers(1, 255))
            case "cut":
                del data[at : at + length]
            case "end":
                del data[at:]
            case "put":
                data[at:at] = draw(st.binary(max_size=64))
            case "double":
                data[at:at] = data[at : at + length]
            case "number":
                data[at : at + 4] = draw(st.sampled_from([b"\0" * 4, b"\xff" * 4, b"\x7f\xff\xff\xff", b"\0\0\0\1"]))
    return bytes(data)


Target = tuple[st.SearchStrategy[Any], Callable[[Any], object]]


def openpi_messages(folder: Path) -> Target:
    from arena.policies import wire

    actions = {"actions": np.linspace(-1, 1, 120).reshape(15, 8), "server_timing": {"infer_ms": 60.0}}
    good = [wire.encode(actions), wire.encode({"image_resolution": [180, 320], "needs_session_id": True}), b"\x80"]
    return st.binary(max_size=300) | changed(good), wire.decode


def groot_messages(folder: Path) -> Target:
    from arena.policies import groot_wire
    from arena.policies.groot import read_modalities

    config = {"modality_keys": ["joint_position"], "delta_indices": [0]}
    asked = dict.fromkeys(("video", "state", "action", "language"), config)
    parts = {"joint_position": np.zeros((1, 16, 7), np.float32), "gripper_position": np.ones((1, 16, 1))}
    good = [groot_wire.encode([parts, {}]), groot_wire.encode(parts), groot_wire.encode(asked)]

    def read(message: bytes) -> None:
        found = groot_wire.decode(message)
        if isinstance(found, dict) and "video" in found:
            read_modalities(found)

    return st.binary(max_size=300) | changed(good), read


def zmq_frames(folder: Path) -> Target:
    """What a server says on the wire, from its greeting on; it hangs up after that."""
    from arena.policies import groot_wire
    from arena.policies.address import Endpoint
    from arena.policies.zmtp import ZmtpConnection

    said: list[bytes] = [b""]
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]

    def serve() -> None:
        while True:
            connection, _ = listening.accept()
            with connection:
                connection.settimeout(5)
                try:
                    connection.sendall(said[0])
                    connection.shutdown(socket.SHUT_WR)
                    while connection.recv(65536):
                        pass
                except OSError:
                    pass

    threading.Thread(target=serve, daemon=True).start()
    answer = groot_wire.encode({"joint_position": np.zeros((1, 2, 7))})
    good = [GREETING + READY + b"\x01\x00" + b"\x02" + len(answer).to_bytes(8, "big") + answer,
            GREETING + READY + b"\x01\x00" + b"\x00\x01\x80", GREETING + READY]  # fmt: skip

    def read(example: bytes) -> None:
        said[0] = example
        connection = ZmtpConnection(Endpoint(False, "127.0.0.1", port, tcp=True), ("127.0.0.1",), 5.0)
        try:
            groot_wire.decode(connection.exchange(b"\x80", 5.0))
        finally:
            connection.abort()

    return changed(good) | st.binary(max_size=200), read


def videos(folder: Path) -> Target:
    from arena.episodes.encode import write_video
    from arena.episodes.video import VideoFrames

    frames = np.random.default_rng(0).integers(0, 255, (8, 32, 48, 3), np.uint8)
    good: list[tuple[str, bytes]] = []
    for suffix in (".mp4", ".mkv", ".webm"):
        path = folder / f"good{suffix}"
        try:
            write_video(path, frames, 10.0, codec="libvpx" if suffix == ".webm" else "libx264")
        except Exception:  # a container or codec that this FFmpeg has not
            continue
        good.append((suffix, path.read_bytes()))
    counter = itertools.count()
    examples = st.one_of([st.tuples(st.just(suffix), changed([data])) for suffix, data in good])

    def read(example: tuple[str, bytes]) -> None:
        # A new name each time: what was read of a file is remembered by its name, size and time.
        path = folder / f"film-{next(counter)}{example[0]}"
        path.write_bytes(example[1])
        try:
            VideoFrames(path).read()
        finally:
            path.unlink()

    return examples, read


def datasets(folder: Path) -> Target:
    """One file of a small LeRobot dataset is changed; every episode is then read, or refused by name."""
    from arena.episodes.ingest import ingest
    from tests.workers.dots import write_dataset

    root = write_dataset(folder / "good", 2)
    files = sorted(path.relative_to(root) for path in root.rglob("*") if path.is_file())
    contents = {name: (root / name).read_bytes() for name in files}
    counter = itertools.count()
    examples = st.sampled_from(files).flatmap(lambda name: st.tuples(st.just(name), changed([contents[name]])))

    def read(example: tuple[Path, bytes]) -> None:
        place = folder / f"set-{next(counter)}"
        shutil.copytree(root, place)
        (place / example[0]).write_bytes(example[1])
        try:
            report = ingest(place)
            for episode in report.episodes:
                for frames in episode.cameras.values():
                    frames.read(0, 2)
            for refusal in report.refused:
                assert refusal.reason, refusal
                assert "\n" not in refusal.reason, refusal
        finally:
            shutil.rmtree(place)

    return examples, read


def uploads(folder: Path) -> Target:
    """A policy as a zip: the archive, its config or its weights are changed."""
    from workers.artifacts import Artifacts
    from workers.uploads import CONFIG, WEIGHTS, keep_upload

    policy = REPOSITORY / "arena" / "learned" / "pretrained" / "bc-keypoints-brief"
    parts = {name: (policy / name).read_bytes() for name in (CONFIG, WEIGHTS)}
    artifacts = Artifacts(str(folder / "artifacts"), folder / "cache")
    counter = itertools.count()

    def zipped(changed: Mapping[str, bytes]) -> bytes:
        stream = BytesIO()
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in {**parts, **changed}.items():
                archive.writestr(name, data)
        return stream.getvalue()

    # Of the weights it is the header that is parsed.
    header = parts[WEIGHTS][:4000]
    examples = st.one_of(
        changed([zipped({})]),
        changed([parts[CONFIG]]).map(lambda data: zipped({CONFIG: data})),
        changed([header]).map(lambda data: zipped({WEIGHTS: data + parts[WEIGHTS][len(header) :]})),
    )

    def read(example: bytes) -> None:
        place = folder / f"upload-{next(counter)}"
        place.mkdir()
        (place / "policy.zip").write_bytes(example)
        try:
            keep_upload(place / "policy.zip", artifacts)
        finally:
            shutil.rmtree(place)

    read(zipped({}))  # What this imports is none of an example's time.
    return examples, read


TARGETS: dict[str, Callable[[Path], Target]] = {
    "openpi_messages": openpi_messages,
    "groot_messages": groot_messages,
    "zmq_frames": zmq_frames,
    "videos": videos,
    "datasets": datasets,
    "uploads": uploads,
}


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options)))
