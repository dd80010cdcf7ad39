"""What the pages ask for beyond the store: a policy submitted, a job tried again, the cards of judges and worlds.

All that a page needs of the workers is here, so that it can be seen at a glance what a visitor can set off.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from arena.rollout import code_version
from arena.store import JobRecord, Store
from arena.validation import validate
from arena.validation.stored import stored_evaluator, stored_real
from workers.audit_page import render_audit
from workers.jobs import Request
from workers.judge_specs import TRUTH
from workers.launch import again, launch
from workers.plans import joined
from workers.registry import Workshop
from workers.settings import Settings
from workers.steps.audit_judge import newest_audit
from workers.steps.submit_policy import submission
from workers.validation_page import render_validation

__all__ = ["SUBMITTED", "TRUTH", "audit_card", "audit_passed", "submit", "try_again", "validation", "validation_card"]

SUBMITTED = "submit_policy"
"""The kind of job that `submit` asks for; its result names the new `evaluation`."""


def submit(settings: Settings, store: Store, policy: str, evaluation: str) -> JobRecord:
    """Ask for a policy (an address or a spec) to be looked at and ranked among those of `evaluation`.

    What was asked for before is not done again. Raises `InvalidInput` for what is no policy, and for an evaluation
    that nobody can join; `NotFound`; `BrokerUnreachable`.
    """
    joined(store.results.evaluation(evaluation), policy)
    return launch(Request(SUBMITTED, submission(policy, evaluation, Workshop())), settings, store)


def try_again(settings: Settings, store: Store, key: str) -> JobRecord:
    """Have a failed job done again. Raises `NotFound`, `BrokerUnreachable`."""
    return again(key, settings, store)


def audit_passed(store: Store, judge_sha256: str) -> bool | None:
    """Whether a judge passed its newest audit; None where it was never audited."""
    found = newest_audit(store, judge_sha256)
    return None if found is None else bool(found["passed"])


def audit_card(store: Store, judge_sha256: str) -> str | None:
    """The card of a judge's newest audit as HTML; None where it was never audited."""
    found = newest_audit(store, judge_sha256)
    return None if found is None else render_audit(found)


def validation(store: Store, evaluation: str, real: str, draws: int) -> Mapping[str, Any]:
    """What `dreamarena validate` says of two evaluations in the store. Raises `InvalidInput`, `NotFound`."""
    found = validate(evaluator=stored_evaluator(store, evaluation), real=stored_real(store, real), seed=0, draws=draws)
    return asdict(found) | {"code": code_version()}


def validation_card(found: Mapping[str, Any]) -> str:
    """A validation as HTML."""
    return render_validation(found)
