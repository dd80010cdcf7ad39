"""What pages and programs elsewhere ask for beyond the store: a policy submitted, a job tried again, cards and boards.

All that they need of the workers is here, so that it can be seen at a glance what a visitor can set off.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from arena.contracts import InvalidInput, PolicyCard
from arena.policies.address import parse_endpoint, resolve
from arena.policies.served import SERVERS, public_only
from arena.rollout import code_version
from arena.store import JobRecord, Store
from arena.validation import validate
from arena.validation.stored import stored_evaluator, stored_real
from workers.artifacts import Artifacts
from workers.audit_page import render_audit
from workers.jobs import Progress, Request
from workers.judge_specs import TRUTH
from workers.launch import again, launch, take_up
from workers.plans import joined
from workers.registry import Workshop
from workers.settings import Settings
from workers.steps.audit_judge import audit_of, newest_audit
from workers.steps.submit_policy import submission
from workers.uploads import UPLOAD, uploaded_spec
from workers.validation_page import render_validation

__all__ = [
    "SUBMITTED", "TRUTH", "audit_card", "audit_passed", "call_off", "look", "submit", "try_again", "validation",
    "validation_card",
]  # fmt: skip

SUBMITTED = "submit_policy"
"""The kind of job that `submit` asks for; its result names the new `evaluation`."""


def submit(settings: Settings, store: Store, policy: str, evaluation: str, by: str) -> JobRecord:
    """Ask for a policy (an address or a spec) to be looked at and ranked among those of `evaluation`, for somebody who
    is known as `by`.

    What was asked for before is not done again. Raises `InvalidInput` for what is no policy, and for an evaluation
    that nobody can join; `NotFound`; `BrokerUnreachable`.
    """
    joined(store.results.evaluation(evaluation), policy)
    inputs = submission(policy, evaluation, Workshop())
    request = Request(SUBMITTED, inputs)
    noted = {"job": request.key, "policy": inputs.policy_sha256, "evaluation": evaluation}
    store.accounts.note("policy_submitted", by, noted)
    return launch(request, settings, store)


def look(settings: Settings, address: str, progress: Progress) -> dict[str, Any]:
    """A probe's report of a policy server, by its address or its whole spec, in scenes that are made up: what there is
    to say before it is submitted. Raises `InvalidInput` for what is no server, and `PolicyError`.
    """
    from arena.policies.preflight import probe
    from arena.policies.server import Access

    if address.strip().partition(":")[0] not in SERVERS:
        raise InvalidInput(f"{address!r} is no server, and only servers are looked at: {', '.join(SERVERS)}")
    access = Access(allow_private=settings.private_policies is not False)
    return probe(address, access=access, progress=progress).to_json()


def submit_from_outside(
    settings: Settings, store: Store, policy: str, evaluation: str, *, owner: str, voter: str, private: bool,
    priority: int, any_spec: bool, allow_private: bool, artifacts: Artifacts,
) -> JobRecord:  # fmt: skip
    """As `submit`, for somebody who is known by a token: the policy and the job are theirs from now on.

    Unless `any_spec`, a policy is a server or an upload: what else a spec can name are files of this machine. Unless
    `allow_private`, a server has to be on the public internet, now and whenever it is connected to. `voter` is the
    owner among those who vote, and so has no vote on it.
    """
    spec = _from_outside(policy, artifacts, any_spec, allow_private)
    joined(store.results.evaluation(evaluation), spec)
    workshop = Workshop()
    card = workshop.policy(spec).card
    _name_is_free(store, card)
    inputs = submission(spec, evaluation, workshop)
    request = Request(SUBMITTED, inputs)
    noted = {"job": request.key, "policy": card.sha256, "evaluation": evaluation}
    with store.together():
        store.accounts.own_policy(card.sha256, owner, private)
        store.voting.own(card.name, voter)
        job = store.jobs.submit(request.key, request.kind, inputs.model_dump(mode="json"), priority)
        store.accounts.asked(job.key, owner)
        store.accounts.note("policy_submitted", owner, noted)
    return take_up(job, settings, store)


def _from_outside(policy: str, artifacts: Artifacts, any_spec: bool, allow_private: bool) -> str:
    """The spec that a stranger's policy has here. Raises `InvalidInput` for what strangers may not name."""
    word, _, rest = policy.strip().partition(":")
    if word == UPLOAD:
        return uploaded_spec(rest, artifacts)
    if word not in SERVERS:
        if any_spec:
            return policy.strip()
        forms = ", ".join(f"{name}://HOST:PORT?..." for name in SERVERS)
        raise InvalidInput(f"a policy is a server ({forms}) or an upload ({UPLOAD}:SHA256), not {policy!r}")
    spec = policy.strip()
    if allow_private:
        return spec
    resolve(parse_endpoint(spec.partition("?")[0]), allow_private=False)
    return spec if public_only(spec) else f"{spec}{'&' if '?' in spec else '?'}network=public"


def _name_is_free(store: Store, card: PolicyCard) -> None:
    """Nobody may go by the name of another policy: boards and votes know policies by their names."""
    if any(known.sha256 != card.sha256 for known in store.catalog.policies_named(card.name)):
        raise InvalidInput(f"another policy is called {card.name!r}: choose a name with name=NAME")


def ranking(store: Store, evaluation: str) -> dict[str, Any]:
    """The leaderboard of a finished evaluation as JSON, with the newest audit of its judge. Raises `NotFound`."""
    found = dict(store.results.finished_evaluation(evaluation).result or {})
    judge, audit = dict(found["judge"]), audit_of(store, found["judge"]["sha256"])
    # Where the audit's card lies is a path of this machine.
    return {**found, "judge": {**judge, "audit": None if audit is None else {**audit, "page": None}}}


def try_again(settings: Settings, store: Store, key: str, by: str, priority: int | None = None) -> JobRecord:
    """Have a job done again, for somebody who is known as `by`. Raises `NotFound`, `BrokerUnreachable`."""
    job = again(key, settings, store, priority)
    store.accounts.note("job_retried", by, {"job": key})
    return job


def call_off(store: Store, key: str, by: str) -> JobRecord:
    """Have a job not done, for somebody who is known as `by`. Raises `NotFound`."""
    job = store.jobs.cancel(key, by)
    store.accounts.note("job_cancelled", by, {"job": key})
    return job


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
