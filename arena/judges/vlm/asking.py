"""Questions with their retries, cache and ledger: an answer that fits its form, or a named absence of one."""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from arena.contracts import InvalidInput
from arena.judges.vlm.answers import BadAnswer, Form, printable
from arena.judges.vlm.cache import ReplyCache
from arena.judges.vlm.endpoint import Endpoint, Reply
from arena.judges.vlm.failures import POLICIES, AskFailed, Failure, Missing, Retry
from arena.judges.vlm.frames import Picture
from arena.judges.vlm.ledger import Ledger
from arena.judges.vlm.prompts import Part, messages

T = TypeVar("T")
STRUCTURES = ("json_schema", "json_object", "none")
TOKEN_FIELDS = ("max_tokens", "max_completion_tokens")
SEEDS = 16
"""Apart are the seeds of repeats: more than there are attempts at one question."""


@dataclass(frozen=True)
class Sampling:
    """How a model is asked to answer. What is None is left to the server.

    `structure` is how the server is asked for JSON: by the schema, as any object, or only in words. `token_field` is
    what the server calls the limit of tokens. Raises `InvalidInput` for what cannot be.
    """

    temperature: float | None = 0.7
    top_p: float | None = None
    seed: int | None = 0
    max_tokens: int = 1024
    structure: str = "json_schema"
    token_field: str = "max_tokens"

    def __post_init__(self) -> None:
        if self.structure not in STRUCTURES:
            raise InvalidInput(f"sampling: structure must be one of {', '.join(STRUCTURES)}, not {self.structure!r}")
        if self.token_field not in TOKEN_FIELDS:
            raise InvalidInput(f"sampling: token_field must be one of {', '.join(TOKEN_FIELDS)}")
        if not 1 <= self.max_tokens <= 1_000_000:
            raise InvalidInput(f"sampling: max_tokens must be from 1 to 1000000, not {self.max_tokens}")
        if self.temperature is not None and not 0 <= self.temperature <= 2:
            raise InvalidInput(f"sampling: temperature must be from 0 to 2, not {self.temperature}")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise InvalidInput(f"sampling: top_p must be above 0 and at most 1, not {self.top_p}")

    def body(self, form: Form[Any], attempt: int) -> dict[str, Any]:
        """The fields of a request beside model and messages, for the given attempt at the same question."""
        asked: dict[str, Any] = {
            "temperature": self.temperature,
            "top_p": self.top_p,
            self.token_field: self.max_tokens,
        }
        if self.seed is not None:
            asked["seed"] = self.seed + attempt
        if self.structure == "json_schema":
            schema = {"name": form.name, "schema": form.schema, "strict": True}
            asked["response_format"] = {"type": "json_schema", "json_schema": schema}
        elif self.structure == "json_object":
            asked["response_format"] = {"type": "json_object"}
        return {name: value for name, value in asked.items() if value is not None}


@dataclass(frozen=True)
class Question:
    """What is asked: system prompt, texts and pictures. `repeat` tells equal ones apart."""

    system: str
    parts: tuple[Part, ...]
    repeat: int

    def key(self, identity: Mapping[str, Any], asked: Mapping[str, Any], attempt: int) -> str:
        """Hex sha256 of everything that shapes the reply; pictures go in by their pixels."""
        parts = [{"picture": part.sha256} if isinstance(part, Picture) else part for part in self.parts]
        value = [dict(identity), self.system, parts, dict(asked), self.repeat, attempt]
        return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


@dataclass
class Asker:
    """Puts questions to one model. `identity` says which it is, whatever address it is reached at.

    `pause` is `time.sleep`, or what a test has instead.
    """

    endpoint: Endpoint
    model: str
    identity: Mapping[str, Any]
    sampling: Sampling
    cache: ReplyCache
    ledger: Ledger
    policies: Mapping[Failure, Retry] = field(default_factory=lambda: POLICIES)
    pause: Callable[[float], None] = time.sleep

    def ask(self, question: Question, form: Form[T]) -> T | Missing:
        """An answer in `form`, after as many attempts as each kind of failure is allowed; or why there is none.

        Raises `BudgetSpent` and `EndpointRefused`.
        """
        failed: Counter[Failure] = Counter()
        sampling, unusable = self.sampling, 0
        while True:
            try:
                return self._attempt(question, form, sampling, unusable)
            except AskFailed as failure:
                kind, policy = failure.kind, self.policies[failure.kind]
                failed[kind] += 1
                self.ledger.failures[kind] += 1
                if failed[kind] >= policy.attempts:
                    return Missing(kind, failure.detail, failed[kind])
                if kind is Failure.TRUNCATED:
                    sampling = replace(sampling, max_tokens=2 * sampling.max_tokens)
                # Only replies that came move the attempt on: a lost connection must not change what is asked next.
                unusable += kind in (Failure.INVALID, Failure.REFUSED, Failure.TRUNCATED)
                if seconds := policy.seconds(failed[kind], failure.retry_after):
                    self.pause(seconds)

    def _attempt(self, question: Question, form: Form[T], sampling: Sampling, attempt: int) -> T:
        asked = sampling.body(form, attempt + question.repeat * SEEDS)
        key = question.key(self.identity, asked, attempt)
        reply = self.cache.get(key)
        if reply is None:
            reply = self._call(question, asked)
            self.cache.put(key, reply)
        else:
            self.ledger.replayed += 1
        return _answer(reply, form)

    def _call(self, question: Question, asked: Mapping[str, Any]) -> Reply:
        self.ledger.check()
        body = {"model": self.model, "messages": messages(question.system, question.parts), **asked}
        reply = None
        try:
            reply = self.endpoint.ask(body)
        finally:
            self.ledger.called(reply)
        return reply


def _answer(reply: Reply, form: Form[T]) -> T:
    if reply.refusal or reply.finish_reason == "content_filter":
        raise AskFailed(Failure.REFUSED, printable(reply.refusal) or "stopped by a content filter")
    if reply.finish_reason == "length":
        raise AskFailed(Failure.TRUNCATED, "out of tokens before the end of the answer")
    try:
        return form.read(reply.text)
    except BadAnswer as error:
        raise AskFailed(Failure.INVALID, printable(str(error))) from None


def windows(pictures: Sequence[Picture], size: int) -> list[Sequence[Picture]]:
    """Pictures in order, `size` at a time."""
    return [pictures[start : start + size] for start in range(0, len(pictures), size)]
