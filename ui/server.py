"""What `dreamarena ui` serves: Streamlit's pages, and the routes of the voting page beside them."""

from __future__ import annotations

from pathlib import Path

from streamlit.starlette import App

from ui.vote.page import open_booth
from ui.vote.routes import vote_routes
from workers.settings import load_settings

app = App(Path(__file__).with_name("app.py"), routes=vote_routes(lambda: open_booth(load_settings())))
