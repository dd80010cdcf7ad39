"""The client and the command line, over a real socket: what they ask, what they keep, what they never follow."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from arena.contracts import InvalidInput
from arena.store import JobStatus, Scope
from tests.arena.policies.groot_server import serving
from tests.workers.api.conftest import PRIVATE, PUBLIC, SERVER, Api
from tests.workers.test_submission import follower
from workers.cli import main
from workers.client import ServerRefused, connect


def test_what_a_person_does_in_a_day(api: Api, listening: str) -> None:
    server = connect(listening, api.token("ann", Scope.SUBMIT))
    assert server.me()["owner"] == "ann"
    assert [each["id"] for each in server.evaluations()] == [PUBLIC, PRIVATE]
    board = server.leaderboard()
    assert board["evaluation"] == PUBLIC
    assert server.leaderboard() == board, "the second time it was not sent"
    found = list(server.rollouts(PRIVATE, policy="mine"))
    assert len(found) == 3
    film = server.film(found[0]["id"], "wrist")
    assert film[4:8] == b"ftyp"
    assert server.film(found[0]["id"], "wrist", 4, 8) == b"ftyp"
    job = server.submit(SERVER, private=True)
    assert job["status"] == "queued"
    assert [each["key"] for each in server.jobs()] == [job["key"]]
    assert server.cancel(job["key"])["status"] == "cancelled"
    assert server.wait(job["key"])["error"] == "cancelled by ann"
    assert server.retry(job["key"])["status"] == "queued"


def test_pages_are_read_to_their_end(api: Api, listening: str, monkeypatch: pytest.MonkeyPatch) -> None:
    server = connect(listening, api.token("ann", Scope.SUBMIT))
    found = list(server.pages(f"evaluations/{PRIVATE}/rollouts", {"limit": 2}))
    assert len({each["id"] for each in found}) == 9


def test_a_refusal_is_one_line(api: Api, listening: str) -> None:
    with pytest.raises(ServerRefused, match="send a token") as refused:
        connect(listening, None).leaderboard()
    assert (refused.value.status, refused.value.kind) == (401, "no-token")
    with pytest.raises(ServerRefused, match="no evaluation 'none'"):
        connect(listening, api.token("ann", Scope.VOTE)).leaderboard("none")


@pytest.mark.parametrize(
    "url", ["arena", "ftp://x", "https://", "https://a:b@x", "https://x/?a=1", "file:///etc/passwd"]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match="not the address"):
        connect(url)


def test_a_token_that_is_none_is_not_sent() -> None:
    with pytest.raises(InvalidInput, match="no token has"):
        connect("https://x", "da_1\r\nX: y")


Answering = Callable[[BaseHTTPRequestHandler], None]


@pytest.fixture
def pretending() -> Iterator[Callable[[Answering], str]]:
    """A server that answers as it is told to."""
    servers: list[HTTPServer] = []

    def start(answer: Answering) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answer(self)

            def log_message(self, *_: object) -> None:
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def reply(handler: BaseHTTPRequestHandler, status: int, body: bytes = b"{}", **headers: str) -> None:
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def test_a_token_is_not_carried_elsewhere(pretending: Callable[[Answering], str]) -> None:
    heard: list[str | None] = []

    def thief(handler: BaseHTTPRequestHandler) -> None:
        heard.append(handler.headers["Authorization"])
        reply(handler, 200)

    other = pretending(thief)
    url = pretending(lambda handler: reply(handler, 302, Location=f"{other}/v1/me"))
    with pytest.raises(ServerRefused, match="answers 302"):
        connect(url, "da_secret").me()
    assert heard == []


def test_a_busy_server_is_asked_again(pretending: Callable[[Answering], str]) -> None:
    asked: list[int] = []

    def busy(handler: BaseHTTPRequestHandler) -> None:
        asked.append(1)
        if len(asked) < 3:
            reply(handler, 429, b'{"type": "urn:dreamarena:too-many-requests", "detail": "x"}', Retry_After="0")
        else:
            reply(handler, 200, b'{"owner": "ann"}')

    assert connect(pretending(busy), "da_x").me() == {"owner": "ann"}
    asked.clear()
    with pytest.raises(ServerRefused, match="does not answer as"):
        connect(pretending(lambda handler: reply(handler, 200, b"<html>")), "da_x").me()
    with pytest.raises(ServerRefused, match="does not answer: "):
        connect("http://127.0.0.1:1", "da_x").me()


def test_the_command_line_works_on_a_server(
    api: Api, listening: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DREAMARENA_TOKEN", api.token("bob", Scope.SUBMIT))
    monkeypatch.setattr("workers.client.POLL_SECONDS", 0.05)

    def said(*arguments: str, code: int = 0) -> dict[str, Any]:
        assert main([*arguments, "--server", listening, "--json"]) == code
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found

    assert said("leaderboard")["evaluation"] == PUBLIC
    job = said("policy", "submit", SERVER, "--no-wait")
    assert job["status"] == "queued"
    assert said("jobs", "list")["jobs"][0]["key"] == job["key"]
    assert said("jobs", "cancel", job["key"])["status"] == "cancelled"
    assert said("jobs", "list", "--status", "failed")["jobs"] == []
    assert said("jobs", "retry", job["key"])["status"] == "queued"

    def work(result: dict[str, Any] | None) -> None:
        lease = api.store.jobs.acquire(job["key"], "worker:1:1")
        assert lease is not None
        if result is None:
            api.store.jobs.fail(lease, {"type": "InvalidInput", "message": "its gripper is inverted", "user": True})
        else:
            api.store.jobs.complete(lease, result)

    work(None)
    assert main(["jobs", "list", "--server", listening]) == 0
    assert "failed: its gripper is inverted" in capsys.readouterr().out.replace("\n", " ")
    threading.Timer(0.5, work, [{"evaluation": PUBLIC, "policy": "x"}]).start()
    assert said("policy", "submit", SERVER)["ranking"]["evaluation"] == PUBLIC
    assert api.store.jobs.get(job["key"]).status is JobStatus.DONE
    # Refusals are one line and exit code 2.
    assert main(["leaderboard", "none", "--server", listening]) == 2
    assert main(["policy", "submit", "hold", "--private"]) == 2
    err = capsys.readouterr().err
    assert "no evaluation 'none'" in err
    assert "--server" in err


def test_a_probe_is_made_by_the_server(
    api: Api, listening: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DREAMARENA_TOKEN", api.token("bob", Scope.SUBMIT))
    with serving(follower(lambda pose: pose)) as port:
        command = ["policy", "probe", f"groot://127.0.0.1:{port}", "--calls", "2", "--server", listening]
        assert main(command) == 2
        assert "not on the public internet" in capsys.readouterr().err
        monkeypatch.setattr(type(api.server), "allow_private", True)
        assert main(command) == 0
    submit_as = f"groot://127.0.0.1:{port}?action_space=cartesian_position&chunk=4"
    assert capsys.readouterr().out.splitlines()[-1] == f"submit as: {submit_as}"
    assert main([*command, "--episodes", "."]) == 2
    assert "--episodes are of this machine" in capsys.readouterr().err


def test_tokens_are_made_listed_and_revoked(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def said(*arguments: str) -> dict[str, Any]:
        assert main(["token", *arguments, "--json"]) == 0
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found

    made = said("create", "ann", "--scopes", "submit", "vote", "--days", "7")
    assert made["token"].startswith("da_")
    [listed] = said("list")["tokens"]
    assert (listed["state"], listed["scopes"]) == ("valid", ["submit", "vote"])
    assert made["token"] not in json.dumps(listed)
    assert said("revoke", made["token"])["state"] == "revoked"
    for wrong in (
        ["create", "a b"],
        ["create", "ann", "--scopes", "root"],
        ["create", "ann", "--days", "-1"],
        ["revoke", "x"],
    ):
        assert main(["token", *wrong]) == 2
    assert main(["token", "list"]) == 0
