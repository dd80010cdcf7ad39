"""The images' descriptions, and their commands as plain processes: there is no Docker where the tests run."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.services import postgresql_server, postgresql_url, redis_url  # noqa: F401 (fixtures)

DOCKER = Path(__file__).resolve().parents[1] / "docker"
OURS = ("worker", "ui")
READY_SECONDS = 120.0
"""On an idle machine a service is ready after some four seconds; a machine that runs tests is seldom idle."""


def compose() -> dict[str, Any]:
    return yaml.safe_load((DOCKER / "compose.yaml").read_text())


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions, with continued lines joined and comments left out."""
    lines = [line for line in (DOCKER / "Dockerfile.cpu").read_text().splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(line.split()[0], line.partition(" ")[2]) for line in joined.splitlines() if line.strip()]


def of(name: str) -> list[str]:
    return [rest for instruction, rest in instructions() if instruction == name]


def test_the_base_image_is_pinned() -> None:
    assert of("FROM") == ["python:3.11-slim-bookworm"]


def test_the_image_runs_as_nobody_special() -> None:
    names = [name for name, _ in instructions()]
    assert of("USER") == ["arena"]
    assert "useradd" in " ".join(of("RUN"))
    assert "RUN" not in names[names.index("USER") :]


def test_nothing_is_fetched_but_by_apt_and_pip() -> None:
    assert not of("ADD")
    assert not re.search(r"https?://|curl|wget|git clone", " ".join(rest for _, rest in instructions()))


def test_apt_leaves_nothing_behind() -> None:
    [apt] = [command for command in of("RUN") if "apt-get install" in command]
    assert "--no-install-recommends" in apt
    assert "apt-get update" in apt
    assert apt.rstrip().endswith("rm -rf /var/lib/apt/lists/*")
    assert {"libegl1", "libgles2", "libgl1-mesa-dri"} <= set(apt.split())


def test_pip_is_constrained_and_keeps_no_cache() -> None:
    installs = re.findall(r"pip install [^&]*", " ".join(of("RUN")))
    assert len(installs) == 3
    assert all("-c constraints.txt" in command and "--no-cache-dir" in command for command in installs)


def test_what_the_image_copies_exists_and_reaches_the_build() -> None:
    kept = {line[1:] for line in (DOCKER / "Dockerfile.cpu.dockerignore").read_text().splitlines() if line[:1] == "!"}
    sources = [source for rest in of("COPY") for source in rest.split()[:-1]]
    assert set(sources) == kept
    for source in sources:
        assert (DOCKER.parent / source).exists(), source


def test_other_images_are_pinned_to_a_patch() -> None:
    images = {name: service["image"] for name, service in compose()["services"].items() if name not in OURS}
    assert set(images) == {"broker", "database"}
    for name, image in images.items():
        assert re.fullmatch(r"[a-z]+:\d+\.\d+(\.\d+)?-bookworm", image), name


def test_every_service_says_whether_it_is_well_and_comes_back() -> None:
    for name, service in compose()["services"].items():
        assert service["healthcheck"]["test"][0] == "CMD", name
        assert service["restart"] == "unless-stopped", name


def test_our_services_wait_for_the_others_and_share_everything() -> None:
    services, volumes = compose()["services"], compose()["volumes"]
    for name in OURS:
        service = services[name]
        assert {key: value["condition"] for key, value in service["depends_on"].items()} == {
            "broker": "service_healthy",
            "database": "service_healthy",
        }
        environment = service["environment"]
        assert environment["DREAMARENA_BROKER_URL"].startswith("redis://broker:")
        assert "@database:" in environment["DREAMARENA_DATABASE_URL"]
        [place] = [mount for mount in service["volumes"] if mount.startswith("artifacts:")]
        assert environment["DREAMARENA_ARTIFACTS"].startswith(place.partition(":")[2])
    assert services["broker"]["command"][1:3] == ["--appendonly", "yes"]
    used = {mount.partition(":")[0] for service in services.values() for mount in service["volumes"]}
    assert set(volumes) <= used


def test_the_database_and_its_users_agree() -> None:
    services = compose()["services"]
    database = services["database"]["environment"]
    expected = f"postgresql://{database['POSTGRES_USER']}:{database['POSTGRES_PASSWORD']}@database:5432/"
    assert services["worker"]["environment"]["DREAMARENA_DATABASE_URL"] == expected + database["POSTGRES_DB"]


def test_the_pages_are_not_published_to_the_world() -> None:
    for service in compose()["services"].values():
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:")


@pytest.mark.parametrize("service", OURS)
def test_commands_are_understood(service: str) -> None:
    found = subprocess.run([*command_of(service), "--help"], capture_output=True, text=True, timeout=240)
    assert found.returncode == 0, found.stderr
    assert f"dreamarena {service}" in found.stdout
    for option in (word for word in command_of(service) if word.startswith("--")):
        assert option in found.stdout


@pytest.mark.services
def test_a_worker_becomes_ready_and_answers(redis_url: str, postgresql_url: str, tmp_path: Path) -> None:  # noqa: F811
    from workers.app import make_app

    environment = {
        "DREAMARENA_BROKER_URL": redis_url,
        "DREAMARENA_DATABASE_URL": postgresql_url,
        "DREAMARENA_HOME": str(tmp_path),
    }
    control = make_app(redis_url).control
    with started("worker", environment, tmp_path) as process:
        wait(lambda: bool(control.ping(timeout=1.0)), process, tmp_path)
        assert healthy("worker", environment) == 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(READY_SECONDS) == 0


@pytest.mark.services
def test_a_worker_without_its_broker_is_not_well(postgresql_url: str, tmp_path: Path) -> None:  # noqa: F811
    environment = {
        "DREAMARENA_BROKER_URL": f"redis://127.0.0.1:{free_port()}/0",
        "DREAMARENA_DATABASE_URL": postgresql_url,
        "DREAMARENA_HOME": str(tmp_path),
    }
    assert healthy("worker", environment) == 1


@pytest.mark.services
def test_the_pages_are_served(postgresql_url: str, tmp_path: Path) -> None:  # noqa: F811
    port = free_port()
    environment = {"DREAMARENA_DATABASE_URL": postgresql_url, "DREAMARENA_HOME": str(tmp_path)}
    with started("ui", environment, tmp_path, {"0.0.0.0": "127.0.0.1", "8501": str(port)}) as process:
        wait(lambda: answers(f"http://127.0.0.1:{port}/_stcore/health"), process, tmp_path)
        # What `docker stop` does: the server has to go with the command that started it.
        process.send_signal(signal.SIGTERM)
        process.wait(READY_SECONDS)
        deadline = time.monotonic() + READY_SECONDS
        while answers(f"http://127.0.0.1:{port}/_stcore/health"):
            assert time.monotonic() < deadline, "the server outlives its command"
            time.sleep(0.2)


def command_of(service: str) -> list[str]:
    """What a service runs, as a plain process of this Python's environment."""
    entry = re.findall(r'"([^"]+)"', of("ENTRYPOINT")[0])
    program = shutil.which(entry[0], path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert program is not None, f"{entry[0]} is not installed"
    return [program, *entry[1:], *compose()["services"][service]["command"]]


def healthy(service: str, environment: dict[str, str]) -> int:
    """The exit status of a service's health check."""
    check = compose()["services"][service]["healthcheck"]["test"][1:]
    copied = {rest.split()[1]: DOCKER.parent / rest.split()[0] for rest in of("COPY") if rest.endswith(".py")}
    arguments = [str(copied.get(word, word)) for word in check[1:]]
    return subprocess.run([sys.executable, *arguments], env={**os.environ, **environment}, timeout=240).returncode


@contextlib.contextmanager
def started(
    service: str, environment: dict[str, str], folder: Path, other: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A service's command as a process, with `other` words in the place of some of its own."""
    command = [(other or {}).get(word, word) for word in command_of(service)]
    run: dict[str, Any] = {"env": {**os.environ, **environment}, "cwd": folder, "start_new_session": True}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, **run)
    try:
        yield process
    finally:
        # The whole session, so that a failed test leaves no server behind.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(READY_SECONDS)


def wait(ready: Any, process: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            pytest.fail(f"not ready within {READY_SECONDS:g} s:\n{(folder / 'log').read_text()}", pytrace=False)
        time.sleep(0.1)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.read() == b"ok")
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
