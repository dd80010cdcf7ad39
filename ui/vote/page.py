"""The page where people vote: blind, two films side by side, one choice."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import streamlit as st

from ui.stored import complaining, plain
from ui.vote.booth import Booth
from workers.settings import Settings, load_settings

HERE = Path(__file__).parent
EMPTY = """**There is nothing to compare yet.** Two policies have to have acted in the same scene:

```sh
dreamarena evaluate --help
```

or run `make demo` and vote on what it made: `dreamarena ui --home out/demo/store`."""


@complaining
def page() -> None:
    st.header("Which one did better?", anchor=False)
    booth = open_booth(load_settings())
    if not booth.contest().meetings:
        st.info(EMPTY)
        return
    credential = _signed_in(booth)
    if booth.settings.vote_sign_in and credential is None and not st.query_params:
        st.info("Votes here are by people who signed in.")
        st.button("Sign in", on_click=st.login, type="primary")
        return
    st.caption(
        "Watch both, then choose: which policies these are is told after your vote. Nothing but your votes is kept."
    )
    component()(data={"credential": credential, "parameters": dict(st.query_params), "base": "."}, key="arena")


@st.cache_resource(show_spinner="Opening the booth")
def open_booth(settings: Settings) -> Booth:
    return Booth(settings)


def _signed_in(booth: Booth) -> str | None:
    """The credential of someone who signed in with OIDC. Who they are there stays with the identity provider."""
    if not getattr(st.user, "is_logged_in", False):
        return None
    subject = str(st.user.get("sub") or st.user.get("email") or "")
    if not subject:
        st.warning(plain("The identity provider names nobody: you vote as a stranger."))
        return None
    return booth.desk.credential(booth.desk.enrol("oidc", subject))


@cache
def component() -> Any:
    """The page's script, mounted in a shadow root: its styles and Streamlit's do not meet."""
    html, css, js = ((HERE / f"arena.{kind}").read_text() for kind in ("html", "css", "js"))
    return st.components.v2.component("dreamarena_vote", html=html, css=css, js=js)
