"""The page for those who run the arena: who voted, what their votes weigh and why, and what was refused."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import streamlit as st

from arena.store import AuditRecord
from arena.votes.tally import Voter
from ui.access import allowed
from ui.stored import complaining, open_store
from ui.vote.page import open_booth
from workers.settings import load_settings

SHOWN = 200
EMPTY = """**Nobody has voted yet.** Send people to the page [Vote](vote), or a crowd platform's workers to its address
with their id in it: see docs/voting.md."""


@complaining
def page() -> None:
    st.title("Voters")
    if not allowed():
        return
    settings = load_settings()
    weighed = open_booth(settings).tally.weighed()
    if not weighed.voters:
        st.info(EMPTY)
    else:
        st.dataframe(table(weighed.voters), hide_index=True, width="stretch")
        st.caption("What a vote weighs comes from these by the rules in docs/voting.md; no vote is dropped or changed.")
    st.subheader("What was refused or noted", anchor=False)
    events = open_store(settings.store_url).voting.audit(limit=SHOWN)
    if events:
        st.dataframe(trail(events), hide_index=True, width="stretch")
    else:
        st.caption("Nothing so far.")


def table(voters: Sequence[Voter]) -> list[dict[str, Any]]:
    """One row for each voter, who voted most first. Voters are opaque ids."""
    return [
        {
            "Voter": voter.id,
            "Votes": voter.votes,
            "Weight": round(voter.weight, 2),
            "Checks right": f"{voter.right}/{voter.checks}",
            "Left": f"{100 * voter.left_share:.0f}%",
            "Agreement with others": f"{voter.agreement:+.2f} nats a vote",
            "Why it weighs less": "; ".join(voter.reasons),
        }
        for voter in sorted(voters, key=lambda each: -each.votes)
    ]


def trail(events: Sequence[AuditRecord]) -> list[dict[str, str]]:
    """The audit trail, the newest first."""
    return [
        {
            "When": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(event.created_at)),
            "What": event.event,
            "Voter": event.voter or "–",
            "Detail": str(dict(event.detail)),
        }
        for event in events
    ]
