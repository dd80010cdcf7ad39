"""Does voting hold under load, and is no vote lost or counted twice?

*path*: votes through the desk, without a server, at a steady rate from many threads, on SQLite and (with
`--postgresql URL`, an empty database) on PostgreSQL. *page*: voters who each wait between votes, over HTTP, against the
server that `dreamarena ui` starts; what is timed is what the page waits for after a click, the answer that brings
the receipt and the next pairs (whose films it holds by then). Voters run in a process of their own on the same cores.

    python benchmarks/vote_load.py [--seconds 120] [--rate 50] [--voters 50] [--think 10] [--page-seconds 300]
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from common import REPOSITORY, as_json, in_own_process, write

POLICIES, SCENES = 12, 104
START_SECONDS = 120.0


@dataclass(frozen=True)
class Options:
    """`rate` in votes a second for `seconds`; then `voters` with `think` seconds between votes for `page_seconds`."""

    seconds: float = 120.0
    rate: float = 50.0
    threads: int = 24
    voters: int = 50
    think: float = 10.0
    page_seconds: float = 300.0
    postgresql: str | None = None


def fill(url: str, artifacts: Path) -> None:
    """`POLICIES` policies in `SCENES` scenes. All show one small film: what is measured is not the disk."""
    from arena.contracts import ActionChunk, ActionSpace, Provenance, Rollout
    from arena.store import Store
    from workers.artifacts import Artifacts
    from workers.rollouts import save_rollout

    store, kept = Store(url), Artifacts(str(artifacts), artifacts.with_name("cache"))
    action = ActionChunk(np.zeros((23, 7)), ActionSpace.CARTESIAN_POSITION, 10.0)
    frames = np.random.default_rng(0).integers(0, 255, (24, 64, 96, 3), np.uint8)
    first = Rollout(
        "ab" * 16, "policy-0", "dream", "scene-0", "task", "push it", 0, 10.0, {"exterior_1": frames, "wrist": frames},
        np.zeros((24, 7)), action, (0.1,), Provenance("p", "w", "s", "c", "code"),
    )  # fmt: skip
    artifact = save_rollout(kept, first)
    for scene in range(SCENES):
        for policy in range(POLICIES):
            names = {"id": f"r-{policy}-{scene}", "policy": f"policy-{policy}", "scene_id": f"scene-{scene}"}
            store.results.add_rollout(replace(first, **names), artifact)
    store.close()


def percentiles(seconds: list[float]) -> dict[str, float]:
    return {f"p{p}_ms": round(1000 * float(np.percentile(seconds, p)), 1) for p in (50, 95, 99)}


def path_load(options: Options, url: str) -> dict[str, Any]:
    """A vote and the next two pairs, at a steady rate; each turn is timed from when it was due."""
    from arena.store import Store
    from arena.votes.contest import Contest
    from arena.votes.desk import Ballot, Desk
    from arena.votes.drawing import Drawing
    from arena.votes.rules import Rules
    from arena.votes.tally import Tally
    from arena.votes.tokens import Signer

    store = Store(url)
    contest = Contest.of(store.results.rollouts())
    tally = Tally(store, lambda: contest)
    # Hundreds of votes come from each voter here: the limits for people would stop it.
    rules = Rules(least_watch=0.0, per_hour=10**6, per_day=10**6)
    desk = Desk(store, Signer(b"s" * 32), lambda: contest, Drawing(tally.standing), rules)
    voters = [desk.enrol("anonymous") for _ in range(200)]
    free, lock = list(range(len(voters))), threading.Lock()
    held = {i: desk.pairs(voter, 2) for i, voter in enumerate(voters)}

    def turn(due: float) -> float:
        time.sleep(max(0.0, due - time.perf_counter()))
        with lock:
            who = free.pop(0)
        desk.cast(voters[who], held[who][0].token, Ballot.of({"choice": "left"}))
        held[who] = desk.pairs(voters[who], 2)
        with lock:
            free.append(who)
        return time.perf_counter() - due

    count = round(options.seconds * options.rate)
    began = time.perf_counter() + 0.5
    with ThreadPoolExecutor(options.threads) as pool:
        taken = list(pool.map(turn, [began + i / options.rate for i in range(count)]))
    lasted = time.perf_counter() - began
    stored = len(store.voting.votes())
    store.close()
    return {"votes": count, "stored": stored, "votes_per_second": round(count / lasted, 1), **percentiles(taken)}


def page_load(options: Options, port: int) -> dict[str, Any]:
    """Voters over HTTP, each on one kept connection."""
    taken: list[float] = []
    refused: list[str] = []
    lock = threading.Lock()
    until = time.monotonic() + options.page_seconds

    def voter(number: int) -> int:
        post = poster(port)
        time.sleep(options.think * number / options.voters)
        entered = post("enter", {}, None)
        credential, pairs, cast = entered["credential"], entered["pairs"], 0
        while time.monotonic() < until:
            time.sleep(options.think)
            began = time.perf_counter()
            said = post("cast", {"token": pairs[0]["token"], "choice": "right"}, credential)
            with lock:
                if "refused" in said:
                    refused.append(said["refused"])
                else:
                    taken.append(time.perf_counter() - began)
                    pairs, cast = said["pairs"], cast + 1
        return cast

    with ThreadPoolExecutor(options.voters) as pool:
        cast = sum(pool.map(voter, range(options.voters)))
    return {"votes": cast, "refused": refused, **percentiles(taken)}


def poster(port: int) -> Callable[[str, Any, str | None], dict[str, Any]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def post(path: str, body: Any, credential: str | None) -> dict[str, Any]:
        headers = {"Content-Type": "application/json"}
        if credential is not None:
            headers["Authorization"] = f"Bearer {credential}"
        for attempt in (1, 2):
            try:
                connection.request("POST", f"/vote/{path}", json.dumps(body), headers)
                return dict(json.loads(connection.getresponse().read()))
            except (BrokenPipeError, ConnectionResetError, http.client.RemoteDisconnected):
                # The server hangs up on who says nothing for some seconds; like a browser, connect again, once.
                connection.close()
                if attempt == 2:
                    raise
        raise AssertionError

    return post


def served(options: Options, home: Path) -> dict[str, Any]:
    """`page_load` against a server on `home`, and how many votes its store then holds."""
    from arena.store import Store

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    command = [sys.executable, "-c", "from workers.cli import main; main()", "ui", "--port", str(port)]
    environment = {**os.environ, "DREAMARENA_HOME": str(home)}
    server = subprocess.Popen(command, env=environment, cwd=REPOSITORY, stderr=subprocess.DEVNULL)
    try:
        _wait_for(port)
        found = in_own_process(page_load, options, port)
    finally:
        server.terminate()
        server.wait()
    store = Store(f"sqlite:///{home / 'arena.db'}")
    found["stored"] = len(store.voting.votes())
    store.close()
    return found


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/_stcore/health")
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.3)
    raise SystemExit("the server did not start")


def main(options: Options) -> None:
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        urls = {"sqlite": f"sqlite:///{home / 'path.db'}", "postgresql": options.postgresql}
        for name, url in urls.items():
            if url is None:
                print(f"{name}: not measured, no --postgresql URL was given", flush=True)
                continue
            fill(url, home / "artifacts")
            figures[f"path_{name}"] = in_own_process(path_load, options, url)
            print(name, figures[f"path_{name}"], flush=True)
        fill(f"sqlite:///{home / 'arena.db'}", home / "artifacts")
        figures["page"] = served(options, home)
        print("page", figures["page"], flush=True)
    shown = as_json(replace(options, postgresql=None if options.postgresql is None else "an empty database"))
    print(write("vote_load", figures | {"options": shown}))


if __name__ == "__main__":
    main(tyro.cli(Options))
