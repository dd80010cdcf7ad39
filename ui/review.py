"""The page where a person has the last word on synthetic training data: accept, reject or trim each trial."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from arena.synthesis.review import Decision, Item, Review, read_review, reviews, write_review
from ui.access import allowed
from ui.stored import complaining, films, percent, plain
from workers.settings import REVIEWS, load_settings

EMPTY = """**Nothing waits for your word.** `dreamarena synth ... --review` lets you look at what it selected before it
is exported."""


@complaining
def page() -> None:
    st.title("Review")
    found = reviews(load_settings().home / REVIEWS)
    if not found:
        st.info(EMPTY)
        return
    if not allowed():
        return
    names = [path.stem for path in found]
    path = found[names.index(st.selectbox("Selection", names, disabled=len(names) == 1))]
    review = read_review(path)
    decided = len(review.items) - review.waiting
    st.progress(
        decided / len(review.items), f"{decided} of {len(review.items)} decided, {len(review.accepted)} accepted"
    )
    if not review.waiting:
        st.success("All are decided: run the same `dreamarena synth` command again to export what was accepted.")
    _item(path, review, _chosen(path, review))


def _chosen(path: Path, review: Review) -> Item:
    """The trial that is shown: the first that waits, unless another one is asked for."""
    first = next((i for i, item in enumerate(review.items) if item.decision is Decision.WAITING), 0)
    # A key of its own for each number of decisions: after one, the next that waits is shown.
    key = f"trial-{path.stem}-{review.waiting}"
    labels = [f"{number}: {item.instruction} ({item.decision})" for number, item in enumerate(review.items, start=1)]
    chosen = st.selectbox("Trial", range(len(labels)), first, format_func=lambda index: labels[index], key=key)
    return review.items[chosen]


def _item(path: Path, review: Review, item: Item) -> None:
    st.markdown(f"> {plain(item.instruction)}")
    st.caption(plain(f"{item.task or 'no task'}; the judge says success with {percent(item.probability)}"))
    cameras = films(load_settings().artifacts_location, item.artifact)
    for place, (camera, film) in zip(st.columns(max(1, len(cameras))), cameras.items(), strict=False):
        place.caption(plain(camera))
        place.video(film, format="video/mp4", loop=True, autoplay=True, muted=True, alt=f"{camera} of {item.rollout}")
    first, last = st.slider(
        "Frames that are kept", 1, item.length, (item.first + 1, item.first + item.frames), key=f"trim-{item.rollout}"
    )
    accept, reject = st.columns(2)
    if accept.button("Accept", type="primary", icon=":material/check:", width="stretch"):
        _decide(path, item, Decision.ACCEPTED, first - 1, last - first + 1)
    if reject.button("Reject", icon=":material/close:", width="stretch"):
        _decide(path, item, Decision.REJECTED, item.first, item.frames)


def _decide(path: Path, item: Item, decision: Decision, first: int, frames: int) -> None:
    """The file is read again: somebody else may have decided on another trial since."""
    write_review(path, read_review(path).decided(item.rollout, decision, first, frames))
    st.rerun()
