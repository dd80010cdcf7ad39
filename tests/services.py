"""Fixtures that start a Redis or a PostgreSQL of their own, on a free port, for tests marked `services`."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

DEADLINE_SECONDS = 30.0


@pytest.fixture
def redis_url() -> Iterator[str]:
    """An empty Redis with an append-only file, as `docker/` runs it."""
    server = _program("redis-server")
    port = _free_port()
    with tempfile.TemporaryDirectory(prefix="redis-") as folder:
        arguments = ["--port", str(port), "--dir", folder, "--appendonly", "yes", "--save", ""]
        process = subprocess.Popen([server, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            _wait(lambda: _listens(port), process)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.terminate()
            process.wait(DEADLINE_SECONDS)


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """URL of a server, without a database's name."""
    with running_postgresql() as url:
        yield url


@contextmanager
def running_postgresql() -> Iterator[str]:
    """A server that is gone afterwards; its URL, without a database's name."""
    server, initdb = _program("postgres"), _program("initdb")
    # PostgreSQL refuses to run as root, and pytest's own folders are closed to other users.
    folder = Path(tempfile.mkdtemp(prefix="postgresql-"))
    user = _unprivileged_user()
    if user is not None:
        shutil.chown(folder, user)
    port = _free_port()
    run = {"user": user, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
    try:
        subprocess.run([initdb, "-D", folder / "data", "-U", "arena", "-A", "trust", "-N"], check=True, **run)
        arguments = [
            "-D",
            folder / "data",
            "-p",
            str(port),
            "-k",
            folder,
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            "fsync=off",
        ]
        process = subprocess.Popen([server, *arguments], **run)
        try:
            url = f"postgresql://arena@127.0.0.1:{port}"
            _wait(lambda: _answers(url), process)
            yield url
        finally:
            process.send_signal(signal.SIGINT)  # a fast shutdown: SIGTERM waits for clients to leave
            process.wait(DEADLINE_SECONDS)
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def postgresql_url(postgresql_server: str, request: pytest.FixtureRequest) -> str:
    """An empty database for one test."""
    import psycopg

    name = f"test_{abs(hash(request.node.nodeid))}"
    with psycopg.connect(f"{postgresql_server}/postgres", autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    return f"{postgresql_server}/{name}"


def _program(name: str) -> str:
    if os.environ.get("CI") != "true":
        pytest.skip(f"starts {name}: runs when CI=true")
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    found = shutil.which(name, path=os.pathsep.join([os.environ["PATH"], *map(str, places)]))
    if found is None:
        pytest.fail(f"{name} is not installed, and CI=true", pytrace=False)
    return found


def _unprivileged_user() -> str | None:
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _listens(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def _answers(url: str) -> bool:
    import psycopg

    try:
        psycopg.connect(f"{url}/postgres").close()
    except psycopg.OperationalError:
        return False
    return True


def _wait(ready: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            pytest.fail(f"{process.args!r} did not start", pytrace=False)
        time.sleep(0.05)
