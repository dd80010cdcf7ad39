"""Sites for tests of faults: each broker is started once, and emptied for every test."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.services import postgresql_server  # noqa: F401 (a fixture)
from tests.workers.faults.brokers import Rabbit, Redis, Server
from tests.workers.faults.site import Site


def _kept(server: type[Server]) -> Iterator[Server]:
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    running = server(folder / "data")
    try:
        running.start()
        yield running
    finally:
        running.kill()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Server]:
    yield from _kept(Redis)


@pytest.fixture(scope="session")
def rabbitmq_server() -> Iterator[Server]:
    yield from _kept(Rabbit)


@pytest.fixture
def redis(redis_server: Server) -> Server:
    redis_server.empty()
    return redis_server


@pytest.fixture(params=["redis", "rabbitmq"])
def broker(request: pytest.FixtureRequest) -> Server:
    """Faults 1 to 6 and 8 have both brokers."""
    server: Server = request.getfixturevalue(f"{request.param}_server")
    server.empty()
    return server


@pytest.fixture
def database_url(postgresql_server: str, request: pytest.FixtureRequest) -> str:  # noqa: F811
    import psycopg

    name = "fault_" + hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:16]
    with psycopg.connect(f"{postgresql_server}/postgres", autocommit=True) as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        connection.execute(f'CREATE DATABASE "{name}"')
    return f"{postgresql_server}/{name}"


@pytest.fixture
def make_site(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    made: list[Site] = []

    def make(broker: Server, database_url: str, **more: object) -> Site:
        made.append(Site(tmp_path / "home", broker.url, database_url, **more))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for site in made:
        site.close()


@pytest.fixture
def site(broker: Server, database_url: str, make_site: Callable[..., Site]) -> Site:
    return make_site(broker, database_url)
