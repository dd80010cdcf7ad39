"""What the pages show, read from the store and the artifacts that the settings name."""

from __future__ import annotations

import html
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from urllib.parse import urlencode

import streamlit as st

from arena.contracts import DreamarenaError, Verdict
from arena.leaderboard import Leaderboard, Rate, build_leaderboard
from arena.store import OUTSIDE, EvaluationRecord, RolloutRecord, Store
from ui.films import read_films
from workers.service import TRUTH
from workers.settings import load_settings

MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+\-.!|~<>:$&])")
EMPTY = """**Nothing has been evaluated here yet.** Record some episodes, or take your own, and let policies act:

```sh
dreamarena record --help
dreamarena evaluate --help
```

or run `make demo` and look at what it made: `dreamarena ui --home out/demo/store`."""


@dataclass(frozen=True)
class Evaluated:
    """One evaluation: its rollouts, what one judge said of each, and from which probability that is success."""

    record: EvaluationRecord
    rollouts: tuple[RolloutRecord, ...]
    verdicts: Mapping[str, Verdict]
    threshold: float
    notes: tuple[str, ...]

    def board(self) -> Leaderboard:
        return build_leaderboard(
            self.rollouts, list(self.verdicts.values()), truth=self.rollouts, threshold=self.threshold
        )


def complaining(page: Callable[[], None]) -> Callable[[], None]:
    """Show an error that the user can mend as one line, as the command line does."""

    @wraps(page)
    def guarded() -> None:
        try:
            page()
        except DreamarenaError as error:
            st.error(plain(str(error)))

    return guarded


def choose_evaluation() -> Evaluated | None:
    """Let the user choose an evaluation, newest first. None, with advice on the page, where there is none.

    What is shown before they choose is the newest one that a judge had to judge: reality is what it is held against.
    """
    store = open_store(load_settings().store_url)
    hidden = store.accounts.hidden(None)
    shown = {each.id for each in store.results.glances() if not each.policies & hidden}
    records = {record.id: record for record in store.results.evaluations() if record.id in shown}
    if not records:
        st.info(EMPTY)
        return None
    asked = st.query_params.get("evaluation")
    judged = (id for id, record in records.items() if (record.config.get("judge") or {}).get("name") != TRUTH)
    first = list(records).index(asked if asked in records else next(judged, next(iter(records))))
    chosen = st.selectbox("Evaluation", list(records), first, format_func=lambda id: _described(records[id]))
    return read_evaluation(store, records[chosen])


def read_evaluation(store: Store, record: EvaluationRecord) -> Evaluated:
    """A finished evaluation by the judge that ranked it; a running one by the only judge of ours that spoke so far."""
    rollouts = store.results.rollouts(record.id)
    result = record.result or {}
    judge = result.get("judge") or {}
    verdicts = store.results.verdicts([rollout.id for rollout in rollouts], judge.get("sha256"))
    verdicts = [verdict for verdict in verdicts if not verdict.judge.startswith(OUTSIDE)]
    threshold = (judge.get("card") or {}).get("threshold")
    return Evaluated(
        record,
        tuple(rollouts),
        {verdict.rollout_id: verdict for verdict in verdicts},
        0.5 if threshold is None else float(threshold),
        tuple(result.get("notes", ())),
    )


@st.cache_resource(show_spinner="Opening the store", max_entries=4)
def open_store(url: str) -> Store:
    return Store(url)


@st.cache_data(show_spinner="Fetching the film", max_entries=32)
def films(location: str, reference: str) -> dict[str, bytes]:
    return read_films(location, reference)


def plain(text: str) -> str:
    """Text that Streamlit shows as it is: instructions and names are not ours, and it would read them as Markdown."""
    return MARKDOWN.sub(r"\\\1", " ".join(text.split()))


def link(text: str, page: str, **parameters: str) -> str:
    """Markdown that leads to another page, and to what is chosen there."""
    return f"[{plain(text)}]({page}{'?' if parameters else ''}{urlencode(parameters)})"


def plain_html(text: str) -> str:
    """The same for plotly, which reads HTML."""
    return html.escape(text)


def as_rows(facts: Mapping[str, str]) -> list[dict[str, str]]:
    """Facts as a table of two columns. Cells are text, which Streamlit does not interpret."""
    return [{"": name, "value": value} for name, value in facts.items()]


def percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.0f}%"


def rate_text(rate: Rate) -> str:
    """A share with its 95% interval and what it is of."""
    low, high = rate.interval
    return f"{percent(rate.share)} ({100 * low:.0f}–{100 * high:.0f}%), {rate.successes}/{rate.trials}"


def _described(record: EvaluationRecord) -> str:
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(record.created_at))
    world = str((record.config.get("world") or {}).get("name") or "").rstrip("/").rpartition("/")[2]
    judge = (record.config.get("judge") or {}).get("name")
    where = [f"in {world}"] if world else []
    by = [f"judged by {judge}"] if judge else []
    return " · ".join([when, *where, *by, record.status, record.id[:8]])
