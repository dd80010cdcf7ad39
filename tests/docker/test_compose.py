"""The compose file, and its services' commands as plain processes: there is no Docker where the tests run."""

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

from tests.docker.files import LASTING, OURS, REPOSITORY, Image, compose, services
from tests.services import postgresql_server, postgresql_url, redis_url  # noqa: F401 (fixtures)

OTHERS = {"broker", "database", "storage", "bucket"}
READY_SECONDS = 120.0
"""On an idle machine a service is ready after some four seconds; a machine that runs tests is seldom idle."""


def test_every_service_is_known() -> None:
    assert set(services()) == {*OURS, *OTHERS}
    for name, image in OURS.items():
        assert services()[name]["image"] == f"dreamarena:{image}"
        assert services()[name]["build"] == {"context": "..", "dockerfile": f"docker/Dockerfile.{image}"}


def test_other_images_are_pinned() -> None:
    for name in OTHERS:
        image = services()[name]["image"]
        assert re.fullmatch(r"[a-z]+:\d+\.\d+(\.\d+)?-bookworm|minio/minio:RELEASE\.[0-9TZ-]+", image), name


def test_every_service_says_whether_it_is_well_and_comes_back() -> None:
    for name, service in services().items():
        if name in ("bucket", "nerfstudio"):
            assert service["restart"] in ("on-failure", "no")
            continue
        assert service["healthcheck"]["test"][0] == "CMD", name
        assert service["restart"] == "unless-stopped", name


def test_our_services_may_do_nothing_special() -> None:
    for name in OURS:
        assert services()[name]["cap_drop"] == ["ALL"], name
        assert services()[name]["security_opt"] == ["no-new-privileges:true"], name
    for name, service in services().items():
        assert not {"privileged", "network_mode", "pid", "cap_add"} & set(service), name


def test_our_services_wait_for_the_others_and_share_everything() -> None:
    for name in LASTING:
        service = services()[name]
        assert {key: value["condition"] for key, value in service["depends_on"].items()} == {
            "broker": "service_healthy",
            "database": "service_healthy",
            "bucket": "service_completed_successfully",
        }
        environment = service["environment"]
        assert environment["DREAMARENA_BROKER_URL"].startswith("redis://broker:")
        assert "@database:" in environment["DREAMARENA_DATABASE_URL"]
        assert environment["DREAMARENA_ARTIFACTS"].startswith("s3://dreamarena/")
        assert "home:/data" in service["volumes"]
    assert services()["broker"]["command"][1:3] == ["--appendonly", "yes"]
    used = {mount.partition(":")[0] for service in services().values() for mount in service.get("volumes", ())}
    assert set(compose()["volumes"]) <= used


def test_the_database_and_its_users_agree() -> None:
    database = services()["database"]["environment"]
    expected = f"postgresql://{database['POSTGRES_USER']}:{database['POSTGRES_PASSWORD']}@database:5432/"
    assert services()["worker"]["environment"]["DREAMARENA_DATABASE_URL"] == expected + database["POSTGRES_DB"]


def test_the_object_store_and_its_users_agree() -> None:
    storage, bucket = services()["storage"]["environment"], services()["bucket"]
    user, password = storage["MINIO_ROOT_USER"], storage["MINIO_ROOT_PASSWORD"]
    ours = services()["worker"]["environment"]
    assert (ours["AWS_ACCESS_KEY_ID"], ours["AWS_SECRET_ACCESS_KEY"]) == (user, password)
    assert ours["AWS_ENDPOINT_URL"] == "http://storage:9000"
    assert bucket["environment"]["MC_HOST_store"] == f"http://{user}:{password}@storage:9000"
    assert bucket["entrypoint"][-1].partition("/")[2] == ours["DREAMARENA_ARTIFACTS"].split("/")[2]


def test_a_worker_has_longer_to_leave_than_its_job() -> None:
    from workers.app import TIMING

    for name in ("worker", "gpu-worker"):
        assert float(services()[name]["stop_grace_period"].removesuffix("s")) >= TIMING.drain + 15


def test_a_gpu_is_asked_for_where_one_is_needed() -> None:
    for name in OURS:
        devices = services()[name].get("deploy", {}).get("resources", {}).get("reservations", {}).get("devices", [])
        assert bool(devices) == (OURS[name] in ("gpu", "nerfstudio")), name


def test_nothing_is_published_to_the_world() -> None:
    for service in services().values():
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:")


@pytest.mark.parametrize("service", LASTING)
def test_commands_are_understood(service: str) -> None:
    found = subprocess.run([*command_of(service), "--help"], capture_output=True, text=True, timeout=240)
    assert found.returncode == 0, found.stderr
    assert f"dreamarena {services()[service]['command'][0]}" in found.stdout
    for option in (word for word in command_of(service) if word.startswith("--")):
        assert option in found.stdout


@pytest.mark.parametrize("image", ["cpu", "gpu", "ui"])
def test_what_an_image_does_by_itself_is_understood(image: str) -> None:
    command = [program(Image(image).words("ENTRYPOINT")[0]), *Image(image).words("CMD")]
    found = subprocess.run([*command, "--help"], capture_output=True, text=True, timeout=240)
    assert found.returncode == 0, found.stderr


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


@pytest.mark.services
def test_the_api_is_served_and_ends_when_told(postgresql_url: str, tmp_path: Path) -> None:  # noqa: F811
    port = free_port()
    environment = {"DREAMARENA_DATABASE_URL": postgresql_url, "DREAMARENA_HOME": str(tmp_path)}
    with started("api", environment, tmp_path, {"0.0.0.0": "127.0.0.1", "8600": str(port)}) as process:
        wait(lambda: says_ok(f"http://127.0.0.1:{port}/v1/health"), process, tmp_path)
        assert healthy("api", environment, {"8600": str(port)}) == 0
        process.send_signal(signal.SIGTERM)
        process.wait(READY_SECONDS)
    assert healthy("api", environment, {"8600": str(port)}) != 0


def program(name: str) -> str:
    found = shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert found is not None, f"{name} is not installed"
    return found


def command_of(service: str) -> list[str]:
    """What a service runs, as a plain process of this Python's environment."""
    entry = Image(OURS[service]).words("ENTRYPOINT")
    return [program(entry[0]), *entry[1:], *services()[service]["command"]]


def healthy(service: str, environment: dict[str, str], other: dict[str, str] | None = None) -> int:
    """The exit status of a service's health check, with `other` numbers in the place of some of its own."""
    check = services()[service]["healthcheck"]["test"][1:]
    targets = {target: str(REPOSITORY / source) for source, target in Image(OURS[service]).copied.items()}
    arguments = [targets.get(word, word) for word in check[1:]]
    for old, new in (other or {}).items():
        arguments = [word.replace(old, new) for word in arguments]
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


def says_ok(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
