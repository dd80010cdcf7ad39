"""Artifacts in S3: a real server (moto's), real HTTP, and what is seen from another machine while things go wrong."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from arena.contracts import InvalidInput
from arena.episodes.atomic import MANIFEST
from arena.episodes.errors import DamagedArtifact
from tests.workers.dots import DotWorkshop, write_dataset
from tests.workers.test_evaluation import plan
from workers.artifacts import Artifacts, reference
from workers.doctor import Finding, State, examine
from workers.jobs import Context, Json, Request
from workers.orchestrate import evaluate
from workers.rollouts import load_rollout, rollout_reference
from workers.runner import run_jobs
from workers.settings import load_settings
from workers.tasks import STEPS

REF = reference("rollouts", "ab" * 32)
BUCKET = "dreamarena"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of an S3 server of this module's own."""
    from moto.server import ThreadedMotoServer

    running = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def location(server: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, home: Path) -> str:
    """What `DREAMARENA_ARTIFACTS` is set to, as docker/compose.yaml sets it: each test has a place of its own."""
    import s3fs

    found = f"s3://{BUCKET}/{hashlib.sha256(request.node.name.encode()).hexdigest()[:12]}"
    for name, value in {
        "AWS_ENDPOINT_URL": server, "AWS_ACCESS_KEY_ID": "arena", "AWS_SECRET_ACCESS_KEY": "arena-storage",
        "AWS_DEFAULT_REGION": "us-east-1", "DREAMARENA_ARTIFACTS": found,
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    bucket = s3fs.S3FileSystem(use_listings_cache=False)
    if not bucket.exists(BUCKET):
        bucket.mkdir(BUCKET)
    return found


@pytest.fixture
def machine(location: str, tmp_path: Path) -> Callable[[str], Artifacts]:
    """The same artifacts as machines of several names see them, each with a cache of its own."""
    return lambda name: Artifacts(location, tmp_path / name)


def write(folder: Path, said: bytes = b"numbers") -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "data.bin").write_bytes(said)
    (folder / "other.bin").write_bytes(bytes(1000))


def objects(location: str, pattern: str = "**") -> list[str]:
    import s3fs

    root = location.removeprefix("s3://")
    found: list[str] = s3fs.S3FileSystem(use_listings_cache=False).glob(f"{root}/{pattern}")
    return found


def test_what_one_machine_puts_another_gets_and_checks(machine: Callable[[str], Artifacts], location: str) -> None:
    assert not machine("two").has(REF)
    machine("one").put(REF, write)
    there = machine("two")
    assert there.has(REF)
    there.verify(REF)
    assert (there.get(REF) / "sub" / "data.bin").read_bytes() == b"numbers"
    assert [path for path in objects(location) if path.endswith(MANIFEST)] == [
        f"{location.removeprefix('s3://')}/{REF}/{MANIFEST}"
    ]

    def never(folder: Path) -> None:
        raise AssertionError("made twice")

    assert machine("three").put(REF, never).is_dir()


@pytest.mark.parametrize("fails_at", [0, 1, 2])
def test_an_upload_that_breaks_off_is_not_seen_and_goes_on_later(
    machine: Callable[[str], Artifacts], monkeypatch: pytest.MonkeyPatch, fails_at: int
) -> None:
    """At the first file, the second, and the manifest."""
    one = machine("one")
    calls = 0

    def counted(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls > fails_at:
                raise ConnectionResetError("the network went away")
            return method(*given, **named)

        return call

    with monkeypatch.context() as patched:
        patched.setattr(one._remote, "put_file", counted(one._remote.put_file))
        patched.setattr(one._remote, "pipe_file", counted(one._remote.pipe_file))
        with pytest.raises(OSError, match="network went away"):
            one.put(REF, write)
    assert not machine("two").has(REF)
    with pytest.raises(InvalidInput, match="no artifact"):
        machine("two").get(REF)

    def never(folder: Path) -> None:
        raise AssertionError("what is here already is uploaded rather than made again")

    one.put(REF, never)
    machine("two").verify(REF)


@pytest.mark.parametrize("damage", ["truncated", "altered", "gone", "manifest"])
def test_damage_is_noticed_and_made_good_by_whoever_makes_it_again(
    machine: Callable[[str], Artifacts], location: str, damage: str
) -> None:
    one = machine("one")
    one.put(REF, write)
    [stored] = objects(location, "**/data.bin")
    if damage == "gone":
        one._remote.rm_file(stored)
    elif damage == "manifest":
        one._remote.pipe_file(f"{one._root}/{REF}/{MANIFEST}", b'{"version": 1, "fi')
    else:
        one._remote.pipe_file(stored, b"numb" if damage == "truncated" else b"numberz")
    two = machine("two")
    with pytest.raises(DamagedArtifact, match="manifest"):
        two.get(REF)
    assert not (two._folder / REF).exists(), "nothing of it can be read here"
    assert not list(two._folder.rglob("*.fetched"))
    two.put(REF, write)
    machine("three").verify(REF)


def test_two_that_make_it_at_once_and_not_alike_leave_one_whole(machine: Callable[[str], Artifacts]) -> None:
    """Films are not bit by bit the same on all machines. Both have written when either tells of it."""
    both = threading.Barrier(2)

    def make(name: str) -> None:
        def differently(folder: Path) -> None:
            write(folder, name.encode())
            both.wait(60)

        machine(name).put(REF, differently)

    threads = [threading.Thread(target=make, args=(name,)) for name in ("first", "other")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    there = machine("third")
    there.verify(REF)
    assert (there.get(REF) / "sub" / "data.bin").read_bytes() in (b"first", b"other")


def test_several_readers_of_one_machine_do_not_get_in_each_others_way(machine: Callable[[str], Artifacts]) -> None:
    machine("one").put(REF, write)
    failed: list[Exception] = []

    def read() -> None:
        try:
            assert (machine("shared").get(REF) / "sub" / "data.bin").read_bytes() == b"numbers"
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=read) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not failed


def context_at(home: Path) -> Context:
    """As `dreamarena` opens it, on the environment's settings and the dot's world."""
    from arena.store import Store

    settings = load_settings().model_copy(update={"home": home})
    artifacts = Artifacts(settings.artifacts_location, home / "cache")
    return Context(settings, Store(f"sqlite:///{home}/arena.db"), artifacts, lambda *_: None, DotWorkshop())


def test_an_evaluation_keeps_its_rollouts_there_and_damage_is_noticed_elsewhere(location: str, tmp_path: Path) -> None:
    """From the rollouts to the ranking with `DREAMARENA_ARTIFACTS=s3://...`, and then from another machine."""
    (tmp_path / "one").mkdir()
    context = context_at(tmp_path / "one")
    asked = plan(write_dataset(tmp_path / "dots", 2), policies=("replay", "hold"))

    def run(requests: Sequence[Request]) -> list[Json]:
        return run_jobs(requests, STEPS, context)

    ranking = evaluate(context, asked, run)
    assert {place["policy"] for place in ranking["policies"]} == {"replay", "hold"}
    ids = [rollout.id for rollout in context.store.results.rollouts()]
    assert len(ids) == 4
    other = Artifacts(location, tmp_path / "two")
    for id in ids:
        other.verify(rollout_reference(id))
        assert load_rollout(other, rollout_reference(id)).id == id
    films = objects(location, f"{rollout_reference(ids[0])}/**/*.mp4")
    other._remote.pipe_file(films[0], bytes(10))
    with pytest.raises(DamagedArtifact):
        load_rollout(Artifacts(location, tmp_path / "three"), rollout_reference(ids[0]))
    assert json.dumps(evaluate(context, asked, run)) == json.dumps(ranking)


def test_doctor_writes_reads_and_deletes(location: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import s3fs

    def artifacts() -> Finding:
        return next(each for each in examine(load_settings()) if each.name == "artifacts")

    assert artifacts().state is State.OK
    assert not [path for path in objects(location) if "doctor" in path]
    s3fs.S3FileSystem.clear_instance_cache()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    found = artifacts()
    assert found.state is State.BROKEN
    assert "DREAMARENA_ARTIFACTS" in found.advice
    s3fs.S3FileSystem.clear_instance_cache()
