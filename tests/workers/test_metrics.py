"""What Prometheus is told, read by its own rules; and logs that say which job they are about."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from arena.contracts import Verdict
from arena.store import JobStatus, Store
from arena.store.totals import JobTotal, Totals
from tests.arena.test_store import rollout
from tests.workers.test_jobs import Counted, Number, submit
from workers import logs
from workers.execution import execute
from workers.jobs import Context, Json
from workers.metrics import exposition

SAMPLE = re.compile(
    r"(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)"
    r'(?P<labels>\{[a-z_]+="(?:[^"\\\n]|\\["\\n])*"(?:,[a-z_]+="(?:[^"\\\n]|\\["\\n])*")*\})? '
    r"(?P<value>[-+0-9.e]+)"
)


def read(text: str) -> dict[str, float]:
    """Samples by name and labels, after checking each line against the format."""
    assert text.endswith("\n")
    found: dict[str, float] = {}
    typed: set[str] = set()
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in typed
            assert kind in ("gauge", "counter")
            assert name.endswith("_total") == (kind == "counter")
            typed.add(name)
        elif not line.startswith("# HELP "):
            match = SAMPLE.fullmatch(line)
            assert match, line
            assert match["name"] in typed
            key = match["name"] + (match["labels"] or "")
            assert key not in found
            found[key] = float(match["value"])
    return found


def test_the_tables_are_counted(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'a.db'}")
    for n in range(3):
        store.jobs.submit(f"k{n}", "rollout", {})
    store.jobs.acquire("k0", "one")
    store.jobs.submit("j", "judge", {})
    lease = store.jobs.acquire("j", "one")
    assert lease is not None
    spent = {"qwen 12345678": {"calls": 7, "prompt_tokens": 1000, "completion_tokens": 20, "usd": 0.25}}
    store.jobs.complete(lease, {"judge": "vlm", "spent": spent})
    store.results.add_rollout(rollout(), "rollouts/r1")
    store.results.add_verdict(Verdict("r1", "learned", "j1", None, None, "dark", abstained=True))
    found = read(exposition(store.totals(), {"gpu": 5, "gpu.1": 0}))
    assert found['dreamarena_jobs{kind="rollout",status="queued"}'] == 2
    assert found['dreamarena_jobs{kind="rollout",status="running"}'] == 1
    assert found['dreamarena_jobs{kind="judge",status="done"}'] == 1
    assert 0 <= found['dreamarena_oldest_job_seconds{kind="rollout",status="queued"}'] < 60
    assert 'dreamarena_oldest_job_seconds{kind="judge",status="done"}' not in found
    world = rollout().world
    assert found[f'dreamarena_imagined_frames_total{{world="{world}"}}'] == 3
    assert found[f'dreamarena_rollouts_total{{world="{world}"}}'] == 1
    assert found['dreamarena_verdicts_total{judge="learned",abstained="true"}'] == 1
    assert found['dreamarena_judge_calls_total{model="qwen 12345678"}'] == 7
    assert found['dreamarena_judge_dollars_total{model="qwen 12345678"}'] == 0.25
    assert found["dreamarena_votes_total"] == 0
    assert found['dreamarena_broker_messages{queue="gpu"}'] == 5
    assert found['dreamarena_broker_messages{queue="gpu.1"}'] == 0
    assert not any("broker_messages" in name for name in read(exposition(store.totals(), None)))
    store.close()


def test_names_from_outside_break_no_line() -> None:
    hostile = 'a"b\\c\nd 1\n# TYPE x counter'
    jobs = (JobTotal(hostile, JobStatus.QUEUED, 1, 2.0),)
    found = read(exposition(Totals(jobs, {hostile: (1, 3)}, {(hostile, False): 1}, 0, {}, ()), None))
    assert len([key for key in found if key.startswith("dreamarena_jobs{")]) == 1


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    stream = io.StringIO()
    logs.configure(True, logging.INFO, stream)
    yield stream
    root.handlers[:] = before
    root.setLevel(level)


def test_logs_are_objects_that_name_the_job(context: Context, lines: io.StringIO) -> None:
    log = logging.getLogger("steps")

    def work(inputs: Number, context: Context) -> Json:
        log.warning("half\nway")
        try:
            raise ValueError("a bug")
        except ValueError:
            log.exception("went wrong")
        return {}

    key = submit(context)
    execute(Counted(work).steps, context, key)
    log.warning("afterwards")
    found = [json.loads(line) for line in lines.getvalue().splitlines()]
    of_step = [each for each in found if each["logger"] == "steps"]
    assert [each["message"] for each in of_step] == ["half\nway", "went wrong", "afterwards"]
    assert [each.get("job") for each in of_step] == [key, key, None]
    assert of_step[0]["kind"] == "count"
    assert "ValueError: a bug" in of_step[1]["exception"]
    assert any(each["message"].startswith("begun, attempt 1") and each["job"] == key for each in found)


def test_logs_as_text_name_the_job_in_brackets() -> None:
    record = logging.LogRecord("steps", logging.WARNING, "", 0, "half way", None, None)
    record.job, record.kind = "ab" * 32, "rollout"
    assert logs.Lines().format(record) == "WARNING steps [rollout abababababab]: half way"
    record.job = record.kind = None
    assert logs.Lines().format(record) == "WARNING steps: half way"
