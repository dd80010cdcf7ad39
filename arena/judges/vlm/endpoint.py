"""One question to an OpenAI-compatible endpoint: one reply by a deadline and of a bounded size, or a named failure.

The client is OpenAI's own package, kept on a short lead: no retries of its own, no redirects, none of the keys, names
and headers that it would pick up from the environment, and its reply is read by us.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from arena.contracts import InvalidInput
from arena.judges.vlm.answers import printable
from arena.judges.vlm.failures import AskFailed, EndpointRefused, Failure
from arena.judges.vlm.strict_json import NotStrictJson, loads

MAX_REPLY_BYTES = 1 << 20
MAX_ERROR_BYTES = 2_000
KEY_VARIABLE = "DREAMARENA_JUDGE_API_KEY"
NO_KEY = "none"
"""What servers are told that want no key; the client insists on some."""
SENT_HEADERS = frozenset(
    ("host", "authorization", "content-type", "content-length", "accept", "accept-encoding", "x-stainless-raw-response")
)
"""All that a request needs; by the last one the package tells itself what to make of the response."""
EXTRA = "the judge over an endpoint needs the package openai: pip install 'dreamarena[judge]'"


@dataclass(frozen=True)
class Reply:
    """What a model said, before anything is believed of it. Token counts are None where the server gives none."""

    text: str
    finish_reason: str
    refusal: str = ""
    model: str = ""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


@dataclass(frozen=True)
class Endpoint:
    """Where a model is served. `url` ends before `/chat/completions`, e.g. `http://localhost:8000/v1`.

    The key is read from the environment variable `key_variable` at each question and kept nowhere. `timeout_s` is the
    deadline of a whole attempt. Raises `InvalidInput` for an address that is none, or that holds credentials.
    """

    url: str
    key_variable: str = KEY_VARIABLE
    timeout_s: float = 120.0

    def __post_init__(self) -> None:
        _check_url(self.url)
        if not self.key_variable.isidentifier():
            raise InvalidInput(f"key_env must name an environment variable, e.g. {KEY_VARIABLE}, not hold a key")
        if not 0 < self.timeout_s <= 3600:
            raise InvalidInput(f"timeout_s must be above 0 and at most 3600 seconds, not {self.timeout_s}")

    def ask(self, body: Mapping[str, Any]) -> Reply:
        """One attempt. Raises `AskFailed`, or `EndpointRefused` where no other question would fare better."""
        try:
            return asyncio.run(self._ask(body))
        except TimeoutError:
            raise AskFailed(Failure.TIMEOUT, f"no whole reply within {self.timeout_s:g} s") from None

    async def _ask(self, body: Mapping[str, Any]) -> Reply:
        try:
            import openai
        except ImportError:
            raise EndpointRefused(EXTRA) from None
        key = os.environ.get(self.key_variable) or NO_KEY
        async with asyncio.timeout(self.timeout_s):
            client = self._client(key)
            try:
                async with client.chat.completions.with_streaming_response.create(**body) as response:
                    return _reply(await _content(response))
            except openai.APITimeoutError:
                raise AskFailed(Failure.TIMEOUT, f"silent for {self.timeout_s:g} s") from None
            except openai.APIConnectionError as error:
                if isinstance(error.__cause__, AskFailed | EndpointRefused):
                    raise error.__cause__ from None
                why = _without(key, str(error.__cause__ or error))
                raise AskFailed(Failure.SERVER, f"no connection: {why}") from None
            except (openai.OpenAIError, OSError) as error:
                raise AskFailed(Failure.SERVER, _without(key, f"{type(error).__name__}: {error}")) from None
            finally:
                await client.close()

    def _client(self, key: str) -> Any:
        import openai

        async def strip(request: Any) -> None:
            # The package adds names, custom headers and telemetry from the environment, whoever it speaks to.
            for name in [name for name in request.headers if name.lower() not in SENT_HEADERS]:
                del request.headers[name]
            # No decompression: what is counted is what comes.
            request.headers["accept-encoding"] = "identity"

        async def check(response: Any) -> None:
            # Here, because the package would read all of an error's body, however long that is.
            if not 200 <= response.status_code < 300:
                said = await _first_bytes(response.aiter_bytes(), MAX_ERROR_BYTES)
                raise _status_failure(response, _without(key, said.decode(errors="replace")), self)

        hooks: dict[str, list[Any]] = {"request": [strip], "response": [check]}
        http = openai.DefaultAsyncHttpxClient(
            follow_redirects=False, verify=_tls(), event_hooks=hooks, timeout=self.timeout_s
        )
        return openai.AsyncOpenAI(
            base_url=self.url, api_key=key, max_retries=0, timeout=self.timeout_s, http_client=http
        )


@cache
def _tls() -> ssl.SSLContext:
    # Reading the machine's certificates takes a tenth of a second: once is enough.
    return ssl.create_default_context()


async def _first_bytes(chunks: AsyncIterator[bytes], count: int) -> bytes:
    content = bytearray()
    async for chunk in chunks:
        content += chunk
        if len(content) >= count:
            break
    return bytes(content[:count])


async def _content(response: Any) -> str:
    content = await _first_bytes(response.iter_bytes(), MAX_REPLY_BYTES + 1)
    if len(content) > MAX_REPLY_BYTES:
        raise AskFailed(Failure.SERVER, f"a reply of more than {MAX_REPLY_BYTES} bytes")
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise AskFailed(Failure.SERVER, "a reply that is not UTF-8") from None


def _reply(content: str) -> Reply:
    """From the body of a chat completion. Raises `AskFailed` where it is none."""
    try:
        body = loads(content, limit=MAX_REPLY_BYTES)
        choice = body["choices"][0]
        message, usage = choice["message"], body.get("usage") or {}
        tokens = {name: usage.get(name) for name in ("prompt_tokens", "completion_tokens")}
        if any(type(count) not in (int, type(None)) or (count or 0) < 0 for count in tokens.values()):
            raise TypeError("token counts that are no counts")
        return Reply(
            text=_text(message.get("content")),
            finish_reason=_text(choice.get("finish_reason")),
            refusal=_text(message.get("refusal")),
            model=printable(_text(body.get("model"))),
            **tokens,
        )
    except (NotStrictJson, KeyError, IndexError, TypeError, AttributeError) as error:
        raise AskFailed(Failure.SERVER, f"a reply that is no chat completion: {printable(str(error))}") from None


def _text(value: Any) -> str:
    if value is not None and not isinstance(value, str):
        raise TypeError("text was expected")
    return value or ""


def _status_failure(response: Any, said: str, endpoint: Endpoint) -> Exception:
    status = int(response.status_code)
    if status == 429:
        return AskFailed(Failure.RATE_LIMIT, f"status 429: {said}", _seconds(response.headers.get("retry-after")))
    if status in (401, 403):
        # What such a server says may hold a part of the key, so it is not repeated.
        return EndpointRefused(f"{endpoint.url} refuses the key (status {status}): set {endpoint.key_variable}")
    if status == 404:
        return EndpointRefused(f"{endpoint.url} has no such model or path (status 404): {said}")
    kind = Failure.REJECTED if 400 <= status < 500 and status not in (408, 409) else Failure.SERVER
    return AskFailed(kind, f"status {status}: {said}")


def _without(key: str, text: str) -> str:
    return printable(text.replace(key, "[key]") if key != NO_KEY else text)


def _seconds(header: str | None) -> float | None:
    try:
        seconds = float(header or "")
    except ValueError:
        return None
    return seconds if 0 <= seconds < 1e6 else None


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise InvalidInput(f"{url!r} is not an address: {error}") from None
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise InvalidInput(f"an endpoint's address holds no user, password or query: give the key in {KEY_VARIABLE}")
    if parts.scheme not in ("http", "https") or not parts.hostname or not url.isprintable():
        raise InvalidInput(f"{url!r} is no endpoint; write for instance http://localhost:8000/v1")
