"""What `dreamarena ui` serves: Streamlit's pages, and beside them voting, the audit cards and the validations."""

from __future__ import annotations

from pathlib import Path

from streamlit.starlette import App

from ui.audits import audit_route
from ui.reality import validation_route
from ui.stored import open_store
from ui.vote.page import open_booth
from ui.vote.routes import vote_routes
from workers.settings import load_settings

app = App(
    Path(__file__).with_name("app.py"),
    routes=[
        *vote_routes(lambda: open_booth(load_settings())),
        audit_route(lambda: open_store(load_settings().store_url)),
        validation_route(lambda: open_store(load_settings().store_url)),
    ],
)
