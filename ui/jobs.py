"""The page with the work: what is being done, what waits, and what failed and why."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import streamlit as st

from arena.store import JobRecord, JobStatus
from ui.access import allowed, visitor
from ui.policies import show_report
from ui.stored import complaining, link, open_store, plain
from workers.service import SUBMITTED, call_off, try_again
from workers.settings import load_settings

REFRESH_SECONDS = 3.0
SHOWN = 200
EMPTY = """**No work was asked for yet.** Everything that takes long is a job: evaluations, trainings, recordings.

```sh
dreamarena evaluate --help
```"""


@complaining
def page() -> None:
    st.title("Jobs")
    jobs = open_store(load_settings().store_url).jobs
    if not sum(jobs.counts().values()):
        st.info(EMPTY)
        return
    _live()
    recent = jobs.recent(SHOWN)
    _again([job for job in recent if job.status in (JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.QUEUED)])
    _stop([job for job in recent if job.status in (JobStatus.RUNNING, JobStatus.QUEUED)])


@st.fragment(run_every=REFRESH_SECONDS)
def _live() -> None:
    """Drawn again every few seconds by itself, without the rest of the page."""
    jobs = open_store(load_settings().store_url).jobs
    counts = jobs.counts()
    for place, (status, count) in zip(st.columns(len(counts)), counts.items(), strict=True):
        place.metric(status.value.capitalize(), count)
    chosen = st.segmented_control("Show", [status.value for status in JobStatus], selection_mode="multi")
    records = [job for job in jobs.recent(SHOWN) if not chosen or job.status in chosen]
    for job in records:
        if job.status is JobStatus.RUNNING:
            share = job.done / job.total if job.total else 0.0
            st.progress(min(max(share, 0.0), 1.0), text=plain(f"{job.kind}: {job.stage} {job.done}/{job.total}"))
    st.dataframe(table(records), hide_index=True, width="stretch")
    _made(records)
    for job in records:
        if job.status is JobStatus.FAILED:
            st.error(plain(f"{job.kind} {job.key[:12]}: {(job.error or {}).get('message', 'no reason was noted')}"))


def _made(records: Sequence[JobRecord]) -> None:
    """Where the result of what a page asked for is."""
    for job in records:
        result = dict(job.result or {})
        evaluation = result.get("evaluation") if job.kind == SUBMITTED else None
        if not evaluation:
            continue
        what = plain(f"{result.get('policy')} was ranked")
        st.success(f"{what}: {link('the leaderboard', '.', evaluation=evaluation)}")
        if result.get("probe"):
            with st.expander(plain(f"What the look at {result.get('policy')} found"), expanded=bool(result["notes"])):
                show_report(result["probe"])


def _again(stuck: Sequence[JobRecord]) -> None:
    """Have one that failed, was cancelled, or that waits and nobody takes up, done again, as urgently as is said."""
    with _chosen("Try a job again", "Which", stuck, "stuck") as chosen:
        if chosen is None:
            return
        priority = st.number_input("Priority", -100, 100, value=None, step=1, placeholder="as before")
        if st.button("Try again", type="primary"):
            settings = load_settings()
            urgency = None if priority is None else int(priority)
            try_again(settings, open_store(settings.store_url), chosen, visitor(), urgency)
            st.rerun()


def _stop(unfinished: Sequence[JobRecord]) -> None:
    """Have one not done: one that waits never starts, one that is being done stops at its next batch."""
    with _chosen("Cancel a job", "Which one", unfinished, "unfinished") as chosen:
        if chosen is not None and st.button("Cancel it"):
            call_off(open_store(load_settings().store_url), chosen, visitor())
            st.rerun()


@contextmanager
def _chosen(title: str, label: str, jobs: Sequence[JobRecord], key: str) -> Iterator[str | None]:
    """A part of the page, within which the key of one of the jobs is chosen; None where there is none to choose, or who
    looks may not."""
    if not jobs:
        yield None
        return
    with st.expander(title):
        by_key = {job.key: f"{job.kind} {job.key[:12]}, {job.status.value}" for job in jobs}
        yield (
            st.selectbox(label, list(by_key), format_func=lambda one: by_key.get(one, one), key=key)
            if allowed()
            else None
        )


def table(jobs: Sequence[JobRecord]) -> list[dict[str, Any]]:
    """One row for each job. Cells are text, which Streamlit does not interpret."""
    return [
        {
            "Job": job.key[:12],
            "Kind": job.kind,
            "Status": job.status.value,
            "Progress": f"{job.done}/{job.total}" if job.total else "–",
            "Stage": job.stage,
            "Attempts": str(job.attempts),
            "Asked for": _when(job.created_at),
            "Last change": _when(job.updated_at),
            "Why it failed": "" if job.status is not JobStatus.FAILED else str((job.error or {}).get("message", "")),
        }
        for job in jobs
    ]


def _when(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
