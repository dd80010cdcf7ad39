"""Who may change things in the pages. What everybody may see is read-only, but for votes."""

from __future__ import annotations

from collections.abc import Collection

import streamlit as st

from ui.stored import plain
from workers.settings import load_settings

OPEN = """These pages are open to other machines, and nobody is named who may change things: set `DREAMARENA_ADMINS` to
their e-mail addresses, and sign-in in `.streamlit/secrets.toml`."""
LOCAL = ("127.0.0.1", "::1", "localhost")


def may_change(admins: Collection[str], email: str | None, address: str | None) -> bool:
    """Whether someone may change things: who signed in with an address among `admins` (in lower case).

    Where there are no admins, pages that only this machine can open (`address` is where they are served) are its
    user's, who could run the commands as well.
    """
    if admins:
        return email is not None and email.casefold() in admins
    return address in LOCAL


def allowed() -> bool:
    """Whether this visitor may change things. Where not, the page says how one may."""
    settings = load_settings()
    if may_change(settings.admins, _email(), st.get_option("server.address")):
        return True
    if not settings.admins:
        st.info(OPEN)
    elif _email() is None:
        st.info("Whoever changes things here has to sign in.")
        st.button("Sign in", on_click=st.login, type="primary")
    else:
        st.info(plain(f"{_email()} may look, and not change things."))
    return False


def visitor() -> str:
    """Who changes things, for the audit trail: their address, or that they sit at this machine."""
    return _email() or "a page of this machine"


def _email() -> str | None:
    """Of who signed in. An address that the identity provider does not say it verified is none."""
    if not getattr(st.user, "is_logged_in", False) or st.user.get("email_verified") is not True:
        return None
    return str(st.user.get("email") or "") or None
