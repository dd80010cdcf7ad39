"""Row 24 of RELIABILITY.md: whatever an endpoint does, a bounded number of attempts, and then a missing verdict."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from arena.contracts import Verdict
from arena.judges.vlm.asking import Sampling
from arena.judges.vlm.cache import FolderCache
from arena.judges.vlm.config import VlmConfig
from arena.judges.vlm.endpoint import MAX_REPLY_BYTES, Endpoint
from arena.judges.vlm.failures import POLICIES, BudgetSpent, EndpointDown, EndpointRefused, Failure
from arena.judges.vlm.frames import FramePlan
from arena.judges.vlm.judge import OUTAGE, VlmJudge
from arena.judges.vlm.ledger import Budget, Ledger
from tests.arena.judges.vlm.stub import Raw, Stub, completion, rollout, scores, serve

GOOD = scores([50], 0.9)
KEY = "sk-very-secret"


@pytest.fixture
def stub() -> Iterator[Stub]:
    with serve() as served:
        yield served


def judge_of(stub: Stub, tmp_path: Path, waits: list[float] | None = None, **changes: object) -> VlmJudge:
    """One repeat on two frames: one question a rollout."""
    made = {"endpoint": Endpoint(stub.url, timeout_s=5.0), "repeats": 1, "frames": FramePlan(max_frames=2)} | changes
    config = VlmConfig("tiny", **made)  # type: ignore[arg-type]
    pause = (lambda seconds: None) if waits is None else waits.append
    return VlmJudge(config, FolderCache(tmp_path / "replies"), pause=pause)


def missing(verdict: Verdict) -> bool:
    return verdict.abstained and verdict.success_probability is None and verdict.progress is None


FAULTS = {
    "nan": (Failure.INVALID, completion('{"reason": "", "progress": [NaN], "success": 1}')),
    "duplicate keys": (Failure.INVALID, completion('{"reason": "", "progress": [1], "success": 0, "success": 1}')),
    "prose": (Failure.INVALID, completion("The robot did very well.")),
    "empty": (Failure.INVALID, completion(None)),
    "words around a fence": (Failure.INVALID, completion(f"Here:\n```json\n{GOOD}\n```")),
    "refusal": (Failure.REFUSED, completion(None, refusal="I cannot help with that.")),
    "content filter": (Failure.REFUSED, completion(GOOD, finish_reason="content_filter")),
    "truncated": (Failure.TRUNCATED, completion(GOOD[:20], finish_reason="length")),
    "truncated but whole": (Failure.TRUNCATED, completion(GOOD, finish_reason="length")),
    "429": (Failure.RATE_LIMIT, Raw(429, b"slow down")),
    "500": (Failure.SERVER, Raw(500, b"oops")),
    "503": (Failure.SERVER, Raw(503, b"<html>" + b"x" * 100_000)),
    "redirect": (Failure.SERVER, Raw(302, headers={"location": "http://127.0.0.1:9/v1"})),
    "html": (Failure.SERVER, Raw(200, b"<html>hello</html>")),
    "not text": (Failure.SERVER, Raw(200, b"\xff\xfe{}")),
    "no choices": (Failure.SERVER, Raw(200, b'{"choices": []}')),
    "a list": (Failure.SERVER, Raw(200, b"[]")),
    "content is no text": (Failure.SERVER, Raw(200, b'{"choices": [{"message": {"content": {"a": 1}}}]}')),
    "tokens are no counts": (
        Failure.SERVER,
        Raw(200, b'{"choices": [{"message": {"content": ""}}], "usage": {"prompt_tokens": true}}'),
    ),
    "too long": (Failure.SERVER, Raw(200, b'{"a": "' + b"x" * MAX_REPLY_BYTES + b'"}')),
    "400": (Failure.REJECTED, Raw(400, b"context length exceeded")),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_stays_ends_in_a_missing_verdict(fault: str, stub: Stub, tmp_path: Path) -> None:
    kind, reply = FAULTS[fault]
    stub.script = [reply]
    judge = judge_of(stub, tmp_path)
    verdict = judge.judge(rollout())
    assert missing(verdict)
    assert kind.value in verdict.reason
    assert len(stub.asked) == POLICIES[kind].attempts == judge.ledger.failures[kind]


@pytest.mark.parametrize("fault", [name for name, (kind, _) in FAULTS.items() if POLICIES[kind].attempts > 1])
def test_a_fault_that_passes_costs_an_attempt_and_no_verdict(fault: str, stub: Stub, tmp_path: Path) -> None:
    stub.script = [FAULTS[fault][1], completion(GOOD)]
    verdict = judge_of(stub, tmp_path).judge(rollout())
    assert (verdict.success_probability, verdict.progress) == (0.9, 50.0)
    assert len(stub.asked) == 2


def test_fenced_json_is_an_answer(stub: Stub, tmp_path: Path) -> None:
    stub.script = [f"```json\n{GOOD}\n```"]
    assert judge_of(stub, tmp_path).judge(rollout()).success_probability == 0.9
    assert len(stub.asked) == 1


@pytest.mark.parametrize("how", ["stalls", "drips"])
def test_a_server_that_hangs_is_given_up_by_the_deadline(how: str, stub: Stub, tmp_path: Path) -> None:
    body = completion(GOOD).body
    # Dripping, a byte comes often enough for a timeout between bytes never to strike.
    pieces, pause = (1, 30.0) if how == "stalls" else (len(body), 0.05)
    stub.script = [Raw(200, body, pieces=pieces, pause=pause)]
    began = time.monotonic()
    verdict = judge_of(stub, tmp_path, endpoint=Endpoint(stub.url, timeout_s=0.5)).judge(rollout())
    assert missing(verdict)
    assert "timeout" in verdict.reason
    assert len(stub.asked) == POLICIES[Failure.TIMEOUT].attempts == 2
    assert time.monotonic() - began < 3.0


def test_nobody_listening_is_a_server_error(stub: Stub, tmp_path: Path) -> None:
    verdict = judge_of(stub, tmp_path, endpoint=Endpoint("http://127.0.0.1:9/v1", timeout_s=5.0)).judge(rollout())
    assert missing(verdict)
    assert "no connection" in verdict.reason


def test_every_kind_of_fault_in_a_row_is_still_bounded(stub: Stub, tmp_path: Path) -> None:
    faults = [FAULTS[name][1] for name in ("429", "500", "nan", "refusal", "truncated")]
    stub.script = [*(faults * 20), completion(GOOD)]
    assert missing(judge_of(stub, tmp_path).judge(rollout()))
    assert len(stub.asked) <= sum(policy.attempts - 1 for policy in POLICIES.values()) + 1 == 14


def test_pauses_grow_and_heed_the_server(stub: Stub, tmp_path: Path) -> None:
    waits: list[float] = []
    stub.script = [Raw(429), Raw(429, headers={"retry-after": "7"}), Raw(429, headers={"retry-after": "86400"}), GOOD]
    assert not judge_of(stub, tmp_path, waits).judge(rollout()).abstained
    assert waits == [2.0, 7.0, 60.0]


def test_a_truncated_answer_gets_twice_the_tokens(stub: Stub, tmp_path: Path) -> None:
    stub.script = [FAULTS["truncated"][1], completion(GOOD)]
    judge_of(stub, tmp_path, sampling=Sampling(max_tokens=100)).judge(rollout())
    assert [body["max_tokens"] for body in stub.asked] == [100, 200]


def test_what_fails_for_every_rollout_stops_the_run(stub: Stub, tmp_path: Path) -> None:
    stub.script = [Raw(401, b"Incorrect API key provided: sk-very-secret")]
    with pytest.raises(EndpointRefused, match=r"refuses the key .*set DREAMARENA_JUDGE_API_KEY"):
        judge_of(stub, tmp_path).judge(rollout())
    stub.script = [Raw(404, b"no model tiny")]
    with pytest.raises(EndpointRefused, match="no model tiny"):
        judge_of(stub, tmp_path).judge(rollout())
    assert len(stub.asked) == 2


def test_an_outage_stops_the_run_after_a_few_rollouts(stub: Stub, tmp_path: Path) -> None:
    stub.script = [Raw(500)]
    judge = judge_of(stub, tmp_path, repeats=3)
    for shade in range(OUTAGE - 1):
        assert missing(judge.judge(rollout(shade=shade)))
    with pytest.raises(EndpointDown, match="lost 3 rollouts in a row"):
        judge.judge(rollout(shade=9))
    # The repeats of a rollout are not tried one after the other where the endpoint is what fails.
    assert len(stub.asked) == OUTAGE * POLICIES[Failure.SERVER].attempts


def test_models_that_answer_badly_are_no_outage(stub: Stub, tmp_path: Path) -> None:
    stub.script = ["nonsense"]
    judge = judge_of(stub, tmp_path)
    assert all(missing(judge.judge(rollout(shade=shade))) for shade in range(OUTAGE + 1))


def test_the_budget_stops_it_and_what_was_paid_for_is_kept(stub: Stub, tmp_path: Path) -> None:
    stub.script = [GOOD]
    judge = judge_of(stub, tmp_path, budget=Budget(calls=2))
    first = [judge.judge(rollout(shade=shade)) for shade in range(2)]
    with pytest.raises(BudgetSpent, match=r"budget of 2 calls is spent \(2 calls, 0 answered from the cache"):
        judge.judge(rollout(shade=2))
    again = judge_of(stub, tmp_path, budget=Budget(calls=1))
    assert [again.judge(rollout(shade=shade)) for shade in range(2)] == first
    assert not again.judge(rollout(shade=2)).abstained
    assert (len(stub.asked), again.ledger.calls, again.ledger.replayed) == (3, 1, 2)


def test_tokens_and_money_are_counted_and_bounded(stub: Stub, tmp_path: Path) -> None:
    stub.script = [GOOD]
    prices = {"usd_per_million_in": 2.0, "usd_per_million_out": 10.0}
    judge = judge_of(stub, tmp_path, budget=Budget(usd=0.0005, **prices))
    for shade in range(2):
        judge.judge(rollout(shade=shade))
    assert judge.ledger.as_json() == {
        "calls": 2, "replayed": 0, "prompt_tokens": 200, "completion_tokens": 20, "usd": pytest.approx(0.0006),
        "replies_without_token_counts": 0, "failures": {},
    }  # fmt: skip
    with pytest.raises(BudgetSpent, match=r"0\.0006 usd"):
        judge.judge(rollout(shade=2))


def test_a_budget_of_tokens_needs_a_server_that_counts_them(stub: Stub, tmp_path: Path) -> None:
    stub.script = [completion(GOOD, usage=False)]
    judge = judge_of(stub, tmp_path, budget=Budget(tokens=10_000))
    judge.judge(rollout())
    with pytest.raises(BudgetSpent, match="counts no tokens"):
        judge.judge(rollout(shade=1))


def test_the_key_goes_to_the_endpoint_and_nowhere_else(
    stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("DREAMARENA_JUDGE_API_KEY", KEY)
    stub.script = [Raw(400, f"the key {KEY} is fine, the request is not".encode())]
    verdict = judge_of(stub, tmp_path).judge(rollout())
    assert stub.headers[0]["authorization"] == f"Bearer {KEY}"
    assert "[key] is fine" in verdict.reason
    stub.script = [GOOD]
    judge = judge_of(stub, tmp_path)
    judge.judge(rollout())
    kept = "".join(path.read_text() for path in tmp_path.rglob("*.json"))
    assert KEY not in kept + verdict.reason + caplog.text + json.dumps(judge.config.identity) + str(judge.card)


def test_nothing_else_of_the_environment_is_sent(stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, f"leaked-{name}")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "x-mine: leaked-header")
    stub.script = [GOOD]
    judge_of(stub, tmp_path).judge(rollout())
    assert stub.headers[0]["authorization"] == "Bearer none"
    assert "leaked" not in json.dumps(stub.headers)


def test_a_ledger_can_be_shared_by_judges(stub: Stub, tmp_path: Path) -> None:
    stub.script = [GOOD]
    ledger = Ledger()
    config = VlmConfig("tiny", Endpoint(stub.url), FramePlan(max_frames=2), repeats=1)
    for name in ("a", "b"):
        VlmJudge(config, FolderCache(tmp_path / name), ledger).judge(rollout())
    assert ledger.calls == 2


def test_without_the_package_nothing_is_judged_rather_than_all_abstained_from(
    stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(EndpointRefused, match=r"pip install 'dreamarena\[judge\]'"):
        judge_of(stub, tmp_path).judge(rollout())
