"""Who may change things in the pages."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from arena.contracts import InvalidInput
from arena.store import Store
from ui.access import may_change
from workers.settings import load_settings

ADMINS = ("ann@lab.org",)


@pytest.mark.parametrize(
    ("admins", "email", "address", "may"),
    [
        ((), None, "127.0.0.1", True),
        ((), None, "0.0.0.0", False),
        ((), None, None, False),
        ((), "ann@lab.org", "0.0.0.0", False),
        (ADMINS, None, "127.0.0.1", False),
        (ADMINS, "Ann@Lab.org", "0.0.0.0", True),
        (ADMINS, "bob@lab.org", "127.0.0.1", False),
    ],
)
def test_admins_where_they_are_named_and_else_this_machine(
    admins: tuple[str, ...], email: str | None, address: str | None, may: bool
) -> None:
    assert may_change(admins, email, address) is may


def test_admins_are_addresses_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DREAMARENA_ADMINS", " Ann@Lab.org, bob@lab.org ,")
    assert load_settings().admins == ("ann@lab.org", "bob@lab.org")
    monkeypatch.setenv("DREAMARENA_ADMINS", "ann")
    with pytest.raises(InvalidInput, match=r"DREAMARENA_ADMINS: must be e-mail addresses separated by commas; 'ann'"):
        load_settings()


@pytest.mark.parametrize("page", ["voters", "policies"])
def test_a_stranger_sees_how_one_may_and_no_form(
    filled: Store, monkeypatch: pytest.MonkeyPatch, catalogued: None, page: str
) -> None:
    monkeypatch.setenv("DREAMARENA_ADMINS", "ann@lab.org")
    shown = AppTest.from_string(f"from ui import {page}\n{page}.page()", default_timeout=120).run()
    assert not shown.exception
    assert "has to sign in" in "".join(info.value for info in shown.info)
    assert not shown.text_input
    assert not any("Look at it" in button.label for button in shown.button)
