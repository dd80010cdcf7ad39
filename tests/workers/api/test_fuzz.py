"""The API fuzzed against its own OpenAPI document: nothing that anybody can send is an error of the server."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from arena.policies.address import AddressRefused
from arena.store import Scope
from tests.workers.api.conftest import Api

EXAMPLES = 60
"""For each operation, of requests that its document allows, and as many of those that it does not."""
CHECKS = (not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance)


def _nowhere(endpoint: object, allow_private: bool) -> tuple[str, ...]:
    raise AddressRefused("nothing is called here")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_no_request_is_an_error_of_the_server(api: Api, listening: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Which addresses are called belongs to other tests; a fuzzer finds some that take long to find out about.
    monkeypatch.setattr("workers.service.resolve", lambda endpoint, allow_private: ())
    monkeypatch.setattr("arena.policies.server.resolve", _nowhere)
    monkeypatch.setattr("workers.api.routes.admin.STRANGERS", api.server.reads)
    headers = {"Authorization": f"Bearer {api.token('root', Scope.ADMIN)}"}
    schema = schemathesis.openapi.from_url(f"{listening}/openapi.json")
    answered: Counter[int] = Counter()
    for found in schema.get_all_operations():
        _fuzz(found.ok(), headers, answered)
    print(f"{answered.total()} requests by status: {dict(sorted(answered.items()))}")
    assert answered.total() > 1000
    assert {200, 201, 404, 422} <= set(answered)
    assert not [status for status in answered if status >= 500]
    # It lives, and every job that it took is whole.
    assert api.client.get("/v1/health").status_code == 200
    assert all(job.inputs["evaluation"] for _, job in api.store.jobs.page(None, 1000))


def _fuzz(operation: Any, headers: dict[str, str], answered: Counter[int]) -> None:
    cases = [operation.as_strategy(mode) for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)]

    @settings(
        max_examples=2 * EXAMPLES, deadline=None, database=None, derandomize=True, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=st.one_of(*cases))
    def send(case: Any) -> None:
        began = time.monotonic()
        answer = case.call(headers=headers)
        answered[answer.status_code] += 1
        case.validate_response(answer, checks=CHECKS)
        assert time.monotonic() - began < 10, "one request held the server up"

    send()
