"""A Redis and a RabbitMQ of a test's own, which it may kill, start again and empty."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.services import _free_port, _listens, _program
from workers.app import CeleryBroker, broker_name, make_app
from workers.jobs import Queue
from workers.runner import BrokerUnreachable

RABBITMQ = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
START_SECONDS = 120.0
"""RabbitMQ takes six on an idle machine, and forty on a busy one."""
CONSUMER_TIMEOUT_MS = 3000
"""RabbitMQ takes a message back that is not acknowledged by then, and closes the channel; its default is half an
hour."""


class Server:
    """One broker on one port; its data outlives a `kill`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, _free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        raise NotImplementedError

    def _command(self) -> tuple[list[str], dict[str, str]]:
        raise NotImplementedError

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        command, environment = self._command()
        with (self.folder / "out").open("ab") as out:
            self._process = subprocess.Popen(
                command, env=os.environ | environment, stdout=out, stderr=out, start_new_session=True
            )
        deadline = time.monotonic() + START_SECONDS
        while not (_listens(self.port) and self._answers()):
            if self._process.poll() is not None or time.monotonic() > deadline:
                said = (self.folder / "out").read_text()[-2000:]
                pytest.fail(f"{command[0]} did not start within {START_SECONDS:g} s:\n{said}", pytrace=False)
            time.sleep(0.1)

    def _answers(self) -> bool:
        """Whether it does more than listen."""
        try:
            CeleryBroker(make_app(self.url), self.url, {}).waiting()
        except BrokerUnreachable:
            return False
        return True

    def kill(self) -> None:
        """SIGKILL, to the server and all that it started."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(30)
            self._process = None

    def restart(self) -> None:
        self.kill()
        self.start()

    def forget(self) -> None:
        """Lose everything, as a disk that is replaced."""
        self.kill()
        shutil.rmtree(self.folder)
        self.start()

    def empty(self) -> None:
        """Drop the messages of the tests before."""
        with make_app(self.url).connection_for_write() as connection:
            for queue in Queue:
                connection.default_channel.queue_delete(broker_name(queue))


class Redis(Server):
    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def _command(self) -> tuple[list[str], dict[str, str]]:
        """As `docker/` runs it, but that every write is on disk before it is answered."""
        durable = ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
        return [_program("redis-server"), "--port", str(self.port), "--dir", str(self.folder), *durable], {}

    def empty(self) -> None:
        import redis

        with redis.Redis(port=self.port) as client:
            client.flushall()


class Rabbit(Server):
    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    def _command(self) -> tuple[list[str], dict[str, str]]:
        if not RABBITMQ.exists():
            pytest.fail(f"{RABBITMQ} is not installed, and CI=true", pytrace=False)
        places = {name: self.folder / name for name in ("mnesia", "log", "rabbit.conf", "advanced.config", "plugins")}
        places["rabbit.conf"].write_text(f"listeners.tcp.1 = 127.0.0.1:{self.port}\nlog.console = false\n")
        limits = f"{{consumer_timeout, {CONSUMER_TIMEOUT_MS}}}, {{channel_tick_interval, 1000}}"
        places["advanced.config"].write_text(f"[{{rabbit, [{limits}]}}].\n")
        return [str(RABBITMQ)], {
            "HOME": str(self.folder.parent),
            "RABBITMQ_NODENAME": f"faults{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(_free_port()),
            "RABBITMQ_MNESIA_BASE": str(places["mnesia"]),
            "RABBITMQ_LOG_BASE": str(places["log"]),
            "RABBITMQ_CONFIG_FILE": str(places["rabbit.conf"]),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(places["advanced.config"]),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(places["plugins"]),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
        }
