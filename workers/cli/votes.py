"""`dreamarena votes`: who voted and how far they can be believed, what was refused, the votes as a file; forgetting."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from rich.console import Console
from rich.table import Table
from tyro.conf import Positional, subcommand

from workers.cli.session import Answer, Session

if TYPE_CHECKING:
    from arena.votes.tally import Weighed


@dataclass(frozen=True)
class Voters:
    """List the voters: how many votes, what they weigh, and why."""

    json: bool = False
    """Print JSON and nothing else on stdout."""

    def run(self, session: Session) -> Answer:
        weighed = _weighed(session)
        return Answer({"voters": [asdict(voter) for voter in weighed.voters]}, lambda console: _show(console, weighed))


@dataclass(frozen=True)
class Export:
    """Write the votes as a CSV that `dreamarena rank` reads; voters are opaque ids."""

    out: Path
    json: bool = False
    """Print JSON and nothing else on stdout."""

    def run(self, session: Session) -> Answer:
        from arena.episodes.atomic import atomic_write
        from workers.exports import votes_csv

        weighed = _weighed(session)
        atomic_write(self.out, votes_csv(weighed).encode())
        found = {"votes": len(weighed.votes), "file": str(self.out)}
        return Answer(found, lambda console: console.print(f"{len(weighed.votes)} votes in {self.out}"))


@dataclass(frozen=True)
class Audit:
    """Show what was refused around voting, the newest first."""

    limit: int = 50
    json: bool = False
    """Print JSON and nothing else on stdout."""

    def run(self, session: Session) -> Answer:
        records = [asdict(record) for record in session.context.store.voting.audit(limit=self.limit)]

        def show(console: Console) -> None:
            for record in records:
                console.print(f"{record['event']:<20} voter {record['voter'] or '-'} {record['detail']}", markup=False)

        return Answer({"audit": records}, show)


@dataclass(frozen=True)
class Forget:
    """Forget a voter: the link to who that is, and what their votes count. This cannot be undone."""

    voter: Positional[str]
    """The opaque id that `dreamarena votes voters` shows, or the id on the platform given by --origin."""
    origin: str = ""
    """prolific, mturk or oidc: then `voter` is who that is there."""
    json: bool = False
    """Print JSON and nothing else on stdout."""

    def run(self, session: Session) -> Answer:
        voting = session.context.store.voting
        id = self.voter
        if self.origin:
            id = voting.known_as(self.origin, _signer(session).pseudonym(self.origin, self.voter)).id
        votes = voting.forget(id)
        found = {"voter": id, "votes": votes}
        return Answer(found, lambda console: console.print(f"forgotten; {votes} votes count no more"))


@dataclass(frozen=True)
class Votes:
    """Votes of people: list voters, export, audit, forget."""

    command: (
        Annotated[Voters, subcommand("voters")]
        | Annotated[Export, subcommand("export")]
        | Annotated[Audit, subcommand("audit")]
        | Annotated[Forget, subcommand("forget")]
    )


def _weighed(session: Session) -> Weighed:
    from arena.votes.contest import Contest
    from arena.votes.tally import Tally

    return Tally(session.context.store, lambda: Contest({})).weighed()


def _signer(session: Session) -> Any:
    from arena.votes.secret import secret_of
    from arena.votes.tokens import Signer

    given = session.settings.secret
    return Signer(secret_of(session.settings.home.absolute(), None if given is None else given.get_secret_value()))


def _show(console: Console, weighed: Weighed) -> None:
    table = Table("voter", "votes", "weight", "checks", "left", "agreement", "why")
    for voter in sorted(weighed.voters, key=lambda each: -each.votes):
        table.add_row(
            voter.id, str(voter.votes), f"{voter.weight:.2f}", f"{voter.right}/{voter.checks}",
            f"{voter.left_share:.2f}", f"{voter.agreement:+.2f}", "; ".join(voter.reasons),
        )  # fmt: skip
    console.print(table)
