"""The page with the films: what a policy did in a scene, and what the judge said of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import streamlit as st

from arena.contracts import Verdict
from arena.store import RolloutRecord
from ui.outcomes import as_csv, in_words, kinds, true_outcomes
from ui.stored import Evaluated, as_rows, choose_evaluation, complaining, films, link, open_store, percent, plain
from workers.service import TRUTH
from workers.settings import load_settings

ASKED = ("policy", "task", "scene_id", "world", "seed")
"""What a link may ask for."""


@complaining
def page() -> None:
    st.title("Rollouts")
    evaluated = choose_evaluation()
    if evaluated is None:
        return
    if not evaluated.rollouts:
        st.info("This evaluation has no rollouts yet: reload when the workers have finished some.")
        return
    truth = true_outcomes(evaluated.rollouts, open_store(load_settings().store_url).results.rollouts())
    found = _of_kind(evaluated, truth)
    rollout = _choose(found)
    if rollout is None:
        st.info("No rollout is of this kind: choose another outcome.")
        return
    verdicts = open_store(load_settings().store_url).results.verdicts([each.id for each in found])
    said: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        said.setdefault(verdict.rollout_id, []).append(verdict)
    st.markdown(f"> {plain(rollout.instruction)}")
    _films(rollout)
    _said(rollout, evaluated, truth.get(rollout.id))
    _all_judges(said.get(rollout.id, []))
    _links(rollout, evaluated)
    _provenance(rollout)
    st.download_button(
        f"All {len(found)} rollouts of this kind with their verdicts (CSV)", as_csv(found, said),
        f"rollouts-{evaluated.record.id[:8]}.csv", "text/csv", icon=":material/download:",
    )  # fmt: skip


def _of_kind(evaluated: Evaluated, truth: Mapping[str, bool]) -> Sequence[RolloutRecord]:
    """The rollouts with an outcome that the user chooses among those that occur."""
    of = {
        each.id: kinds(each, evaluated.verdicts.get(each.id), evaluated.threshold, truth.get(each.id))
        for each in evaluated.rollouts
    }
    options = sorted({kind for found in of.values() for kind in found})
    asked = st.query_params.get("outcome")
    first = 1 + options.index(asked) if asked in options else 0
    chosen = st.selectbox("Outcome", ["all", *options], first, disabled=len(options) < 2)
    return [each for each in evaluated.rollouts if chosen == "all" or chosen in of[each.id]]


def _choose(rollouts: Sequence[RolloutRecord]) -> RolloutRecord | None:
    """Narrow the rollouts down by task, scene, policy and, where one was run more than once, seed."""
    if not rollouts:
        return None
    # A link may name a policy and no scene: then the first scene that it acted in is meant.
    asked_for = {name: st.query_params[name] for name in ASKED if name in st.query_params}
    left = sorted(rollouts, key=lambda each: any(str(getattr(each, name)) != v for name, v in asked_for.items()))
    places = st.columns(4)
    for place, label, attribute in zip(
        places, ("Task", "Scene", "Policy", "Seed"), ("task", "scene_id", "policy", "seed"), strict=True
    ):
        options = list(dict.fromkeys(str(getattr(rollout, attribute)) for rollout in left))
        asked = st.query_params.get(attribute)
        first = options.index(asked) if asked in options else 0
        if attribute == "scene_id" and asked is None:
            first = options.index(left[0].scene_id)
        chosen = place.selectbox(label, options, first, disabled=len(options) == 1)
        left = [rollout for rollout in left if str(getattr(rollout, attribute)) == chosen]
    return left[0]


def _films(rollout: RolloutRecord) -> None:
    cameras = films(load_settings().artifacts_location, rollout.artifact)
    for place, (camera, film) in zip(st.columns(max(1, len(cameras))), cameras.items(), strict=False):
        place.caption(plain(camera))
        # The text also tells two films of the same bytes apart (cameras that see nothing), which Streamlit has to.
        shown = f"{camera}: {rollout.policy} in {rollout.scene_id}"
        place.video(film, format="video/mp4", loop=True, autoplay=True, muted=True, alt=shown)
        name = f"{rollout.id[:12]}-{camera}.mp4"
        place.download_button("Download", film, name, "video/mp4", key=f"film-{camera}", icon=":material/download:")


def _said(rollout: RolloutRecord, evaluated: Evaluated, truth: bool | None) -> None:
    verdict = evaluated.verdicts.get(rollout.id)
    judged, progress, true = st.columns(3)
    judged.metric("Judged", in_words(verdict, evaluated.threshold))
    known = verdict.progress if verdict else None
    progress.metric("Progress", "–" if known is None else f"{known:.0f} / 100")
    true.metric("True outcome", {True: "success", False: "failure", None: "not known"}[truth])
    if known is not None:
        st.progress(min(max(known / 100, 0.0), 1.0))
    if verdict is not None and verdict.reason:
        st.caption(f"{plain(verdict.judge)}: {plain(verdict.reason)}")


def _all_judges(verdicts: Sequence[Verdict]) -> None:
    """What every judge that looked at it said, with its reasons."""
    if len(verdicts) < 2:
        return
    with st.expander(f"What all {len(verdicts)} judges said"):
        rows = [
            {
                "Judge": verdict.judge,
                "Success": "abstained" if verdict.abstained else percent(verdict.success_probability),
                "Progress": "–" if verdict.progress is None else f"{verdict.progress:.0f}",
                "Why": verdict.reason,
            }
            for verdict in verdicts
        ]
        st.dataframe(rows, hide_index=True, width="stretch")


def _links(rollout: RolloutRecord, evaluated: Evaluated) -> None:
    """To what it came from."""
    query = {"evaluation": evaluated.record.id}
    links = [
        link(f"policy {rollout.policy}", "policies", policy=rollout.policy, **query),
        link(f"world {rollout.world}", "worlds"),
        link("the task's leaderboard", ".", task=rollout.task, **query),
    ]
    verdict = evaluated.verdicts.get(rollout.id)
    if verdict is not None and verdict.judge != TRUTH:
        links.append(link(f"judge {verdict.judge}'s audit", f"audit/{verdict.judge_sha256}"))
    st.markdown(" · ".join(links))


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
