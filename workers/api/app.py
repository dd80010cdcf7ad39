"""The application: every operation below `/v1`, its OpenAPI document at `/openapi.json` and pages of it at `/docs`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from importlib.metadata import version

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool

from workers.api import problems
from workers.api.limits import BodyLimit
from workers.api.routes import admin, evaluations, files, people, work
from workers.api.server import Server
from workers.launch import revive
from workers.runner import BrokerUnreachable
from workers.settings import Settings, load_settings
from workers.uploads import MAX_UPLOAD

log = logging.getLogger(__name__)

MAX_BODY = 256 << 10
REVIVE_SECONDS = 5.0
"""How soon jobs go on after the process that did them died, where there is no broker."""
ABOUT = """Rank robot policies in world models: submit a policy, follow its job, read leaderboards and films, vote.

Send a token with every request: `Authorization: Bearer da_...`. Errors are problem details (RFC 9457). Answers carry
ETags; lists are pages, each of which says how to ask for the next one."""


def create_app(settings: Settings, server: Server | None = None) -> FastAPI:
    """The API on the store and the artifacts that `settings` name, which are opened when it starts."""
    shared = server or Server(settings)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await run_in_threadpool(shared.open)
        reviving = asyncio.create_task(_revive(shared))
        try:
            yield
        finally:
            reviving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reviving
            shared.store.close()

    app = FastAPI(
        title="dreamarena", version=version("dreamarena"), description=ABOUT, lifespan=lifespan,
        responses=problems.RESPONSES, redirect_slashes=False,
    )  # fmt: skip
    app.state.server = shared
    problems.install(app)
    app.add_middleware(BodyLimit, limit=MAX_BODY, path="/v1/uploads", larger=MAX_UPLOAD)
    for routes in (evaluations, work, files, people, admin):
        app.include_router(routes.router, prefix="/v1")
    return app


def from_environment() -> FastAPI:
    """The API of the environment's settings, for servers that start several processes."""
    return create_app(load_settings())


async def _revive(server: Server) -> None:
    while True:
        await asyncio.sleep(REVIVE_SECONDS)
        try:
            await run_in_threadpool(revive, server.settings, server.store)
        except BrokerUnreachable as error:
            log.warning("%s", error)
        except Exception:
            # It is tried again soon; a server that answers is worth more than one that ends.
            log.exception("cannot look after launched jobs")
