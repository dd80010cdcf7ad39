"""`dreamarena token`: what programs show to the HTTP API to be let in."""

from __future__ import annotations

import getpass
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

from rich.console import Console
from rich.table import Table
from tyro.conf import Positional, subcommand

from workers.cli.session import Answer, Session

if TYPE_CHECKING:
    from arena.store import TokenRecord

DAY = 86_400.0


@dataclass(frozen=True)
class Create:
    """Make a token and print it: this once, because only its hash is kept."""

    owner: Positional[str]
    """Whose it is: a name or an e-mail address. Policies and jobs belong to owners, not to tokens."""
    scopes: tuple[str, ...] = ("submit",)
    """What it allows beside reading: submit, vote, judge, or admin, which allows all."""
    days: float | None = 90.0
    """After how many days it expires; `None` never does."""
    note: str = ""
    json: bool = False
    """Print JSON and nothing else on stdout."""

    def run(self, session: Session) -> Answer:
        from arena.contracts import InvalidInput
        from arena.store import Scope

        if wrong := [name for name in self.scopes if name not in list(Scope)]:
            raise InvalidInput(f"there is no scope {wrong[0]!r}, only {', '.join(Scope)}")
        if self.days is not None and not 0 < self.days < float("inf"):
            raise InvalidInput(f"--days must be positive, or None, not {self.days:g}")
        expires = None if self.days is None else time.time() + self.days * DAY
        granted = [Scope(name) for name in self.scopes]
        accounts = session.context.store.accounts
        token, record = accounts.create_token(self.owner, granted, operator(), expires, self.note)

        def show(console: Console) -> None:
            console.print(token, markup=False, highlight=False, soft_wrap=True)

        session.say(f"token {record.id} of {record.owner}; it is not shown again")
        return Answer({"token": token, **token_json(record)}, show)


@dataclass(frozen=True)
class Listed:
    """List the tokens, without their secrets, newest first."""

    owner: str | None = None
    json: bool = False
    """Print JSON and nothing else on stdout."""

    def run(self, session: Session) -> Answer:
        records = session.context.store.accounts.tokens(self.owner)
        return Answer({"tokens": [token_json(each) for each in records]}, lambda console: _show(records, console))


@dataclass(frozen=True)
class Revoke:
    """Let a token open nothing from now on."""

    id: Positional[str]
    """As `dreamarena token list` shows it, or the token itself."""
    json: bool = False
    """Print JSON and nothing else on stdout."""

    def run(self, session: Session) -> Answer:
        id = self.id.split("_")[1] if self.id.startswith("da_") else self.id
        record = session.context.store.accounts.revoke_token(id, operator())
        return Answer(token_json(record), lambda console: console.print(f"token {record.id} is revoked"))


@dataclass(frozen=True)
class Token:
    """Tokens of the HTTP API (`dreamarena api`): create, list, revoke."""

    command: (
        Annotated[Create, subcommand("create")]
        | Annotated[Listed, subcommand("list")]
        | Annotated[Revoke, subcommand("revoke")]
    )


def operator() -> str:
    """Who sits at this terminal, for the audit trail."""
    try:
        return f"{getpass.getuser()} (command line)"
    except (KeyError, OSError):
        return "command line"


def token_json(record: TokenRecord) -> dict[str, Any]:
    """A token's record as JSON."""
    return asdict(record) | {"scopes": [scope.value for scope in record.scopes], "state": _state(record)}


def _state(record: TokenRecord) -> str:
    if record.revoked_at is not None:
        return "revoked"
    return "expired" if record.expires_at is not None and record.expires_at <= time.time() else "valid"


def _show(records: list[TokenRecord], console: Console) -> None:
    table = Table("token", "owner", "scopes", "state", "expires", "note")
    for each in records:
        day = "never" if each.expires_at is None else time.strftime("%Y-%m-%d", time.localtime(each.expires_at))
        table.add_row(each.id, each.owner, " ".join(each.scopes), _state(each), day, each.note)
    console.print(table)
