"""A judge's audit card, served beside the pages: the leaderboard links to it."""

from __future__ import annotations

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from arena.store import Store
from workers.service import audit_card


def audit_route(store: Callable[[], Store]) -> Route:
    """`/audit/SHA256`: the card of the newest audit of the judge with that content hash."""

    def card(request: Request) -> Response:
        found = audit_card(store(), request.path_params["judge"])
        if found is None:
            return PlainTextResponse("This judge was not audited: see `dreamarena judge audit --help`.", 404)
        # The card holds no script; replies of judges are quoted in it.
        return HTMLResponse(found, headers={"Content-Security-Policy": "script-src 'none'"})

    return Route("/audit/{judge}", card, methods=["GET"])
