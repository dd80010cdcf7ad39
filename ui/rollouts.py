"""The page with the films: what a policy did in a scene, and what the judge said of it."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from arena.contracts import Verdict
from arena.store import RolloutRecord
from ui.stored import Evaluated, as_rows, choose_evaluation, complaining, films, percent, plain
from workers.settings import load_settings


@complaining
def page() -> None:
    st.title("Rollouts")
    evaluated = choose_evaluation()
    if evaluated is None:
        return
    rollout = _choose(evaluated.rollouts)
    if rollout is None:
        st.info("This evaluation has no rollouts yet: reload when the workers have finished some.")
        return
    st.markdown(f"> {plain(rollout.instruction)}")
    _films(rollout)
    _said(rollout, evaluated)
    _provenance(rollout)


def _choose(rollouts: Sequence[RolloutRecord]) -> RolloutRecord | None:
    """Narrow the rollouts down by task, scene, policy and, where one was run more than once, seed."""
    if not rollouts:
        return None
    left = list(rollouts)
    places = st.columns(4)
    for place, label, attribute in zip(
        places, ("Task", "Scene", "Policy", "Seed"), ("task", "scene_id", "policy", "seed"), strict=True
    ):
        options = list(dict.fromkeys(getattr(rollout, attribute) for rollout in left))
        asked = st.query_params.get(attribute)
        first = options.index(asked) if asked in options else 0
        chosen = place.selectbox(label, options, first, disabled=len(options) == 1)
        left = [rollout for rollout in left if getattr(rollout, attribute) == chosen]
    return left[0]


def _films(rollout: RolloutRecord) -> None:
    cameras = films(load_settings().artifacts_location, rollout.artifact)
    for place, (camera, film) in zip(st.columns(max(1, len(cameras))), cameras.items(), strict=False):
        place.caption(plain(camera))
        # The text also tells two films of the same bytes apart (cameras that see nothing), which Streamlit has to.
        shown = f"{camera}: {rollout.policy} in {rollout.scene_id}"
        place.video(film, format="video/mp4", loop=True, autoplay=True, muted=True, alt=shown)


def _said(rollout: RolloutRecord, evaluated: Evaluated) -> None:
    verdict = evaluated.verdicts.get(rollout.id)
    judged, progress, true = st.columns(3)
    judged.metric("Judged", _outcome(verdict, evaluated.threshold))
    known = verdict.progress if verdict else None
    progress.metric("Progress", "–" if known is None else f"{known:.0f} / 100")
    true.metric("True outcome", {True: "success", False: "failure", None: "not known"}[rollout.success])
    if known is not None:
        st.progress(min(max(known / 100, 0.0), 1.0))
    if verdict is not None and verdict.reason:
        st.caption(f"{plain(verdict.judge)}: {plain(verdict.reason)}")


def _outcome(verdict: Verdict | None, threshold: float) -> str:
    """A missing verdict is missing, and never a failure."""
    if verdict is None:
        return "no verdict"
    if verdict.abstained:
        return "abstained"
    if verdict.success_probability is None:
        return "progress only"
    outcome = "success" if verdict.success_probability >= threshold else "failure"
    return f"{outcome} ({percent(verdict.success_probability)})"


def _provenance(rollout: RolloutRecord) -> None:
    with st.expander("Where it comes from"):
        facts = {
            "rollout": rollout.id,
            "world": f"{rollout.world} {rollout.provenance.world}",
            "policy": f"{rollout.policy} {rollout.provenance.policy}",
            "scene": rollout.provenance.scene,
            "config": rollout.provenance.config,
            "code": rollout.provenance.code,
            "seed": str(rollout.seed),
            "frames": f"{rollout.frames} at {rollout.fps:g} per second",
            "seconds per world step": ", ".join(f"{seconds:.2f}" for seconds in rollout.step_seconds),
            "artifact": rollout.artifact,
        }
        st.dataframe(as_rows(facts), hide_index=True, width="stretch")
