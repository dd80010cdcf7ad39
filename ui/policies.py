"""The page with the policies: what each is, how it did in each task, and how to submit one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import plotly.graph_objects as go
import streamlit as st

from arena.contracts import PolicyCard
from arena.leaderboard import Rate
from arena.policies.report import told
from arena.store import JobStatus, PolicyRecord
from ui.access import allowed, visitor
from ui.stored import Evaluated, as_rows, choose_evaluation, complaining, link, open_store, plain, plain_html, rate_text
from workers.service import look, submit
from workers.settings import load_settings

EMPTY = """**No policy acted here yet.** A policy is built in, a folder, or a server of openpi, RoboArena or GR00T:

```sh
dreamarena policy probe openpi://host:8000 --action-space joint_velocity
dreamarena evaluate --policies hold 'openpi://host:8000?action_space=joint_velocity&control_hz=15&chunk=8' \\
    --world worlds/mine --episodes DATASET
```"""
SUBMIT = """It acts in the world and the scenes of this evaluation, and is ranked among its policies. A server is
called some twenty times first, in three of the scenes too, and what is wrong is said before anything is rolled out.
Look only, and you are told here and now what it says of itself and does in made-up scenes; its address is enough then.
From a terminal: `dreamarena policy probe ADDRESS` and `dreamarena policy submit ADDRESS`."""
SAID = {
    JobStatus.QUEUED: "Asked for.",
    JobStatus.RUNNING: "It is being done already.",
    JobStatus.DONE: "It was done before.",
    JobStatus.FAILED: "It failed.",
}
ADDRESS = "openpi://host:8000?action_space=joint_velocity&control_hz=15&chunk=8"


@complaining
def page() -> None:
    st.title("Policies")
    store = open_store(load_settings().store_url)
    hidden = store.accounts.hidden(None)
    records = [record for record in store.catalog.policies() if record.card.sha256 not in hidden]
    if not records:
        st.info(EMPTY)
        return
    evaluated = choose_evaluation()
    if evaluated is not None:
        _submit(evaluated)
    if evaluated is not None and evaluated.rollouts:
        st.subheader("Success by task")
        st.plotly_chart(heatmap(by_task(evaluated)), width="stretch", config={"displayModeBar": False})
        st.caption("Judged success, abstentions left out; hover for the numbers of trials.")
    st.subheader("Cards")
    for record in records:
        _card(record, evaluated)


def _submit(evaluated: Evaluated) -> None:
    with st.expander("Submit a policy", icon=":material/add:"):
        st.markdown(SUBMIT)
        if not allowed():
            return
        with st.form("submit", border=False):
            policy = st.text_input("Its address", placeholder=ADDRESS).strip()
            both, only = st.columns(2)
            ranked = both.form_submit_button("Look at it and rank it", type="primary", width="stretch")
            if not only.form_submit_button("Only look", width="stretch") and not ranked:
                return
        if not policy:
            st.error("An address is missing, such as `hold`, `bc:FOLDER` or a server's.")
            return
        settings = load_settings()
        if not ranked:
            bar = st.progress(0.0)
            found = look(settings, policy, lambda done, total, stage: _moved(bar, done, total, stage))
            bar.empty()
            show_report(found)
            return
        job = submit(settings, open_store(settings.store_url), policy, evaluated.record.id, visitor())
        st.success(plain(SAID[job.status]) + f" {link('See how far it is', 'jobs', job=job.key)}.")


def _moved(bar: Any, done: int, total: int, stage: str) -> None:
    bar.progress(min(1.0, done / total if total else 0.0), text=plain(stage))


def show_report(found: Mapping[str, Any]) -> None:
    """What a probe found: what matters most first, then what was measured."""
    for problem in found["problems"]:
        st.error(plain(problem))
    for each in found["mistakes"]:
        if each["says"] not in found["problems"]:
            st.warning(plain(f"{each['name']}: {each['says']}"))
    for note in found["notes"]:
        st.info(plain(note))
    if not found["problems"] and not found["mistakes"]:
        st.success("Nothing is wrong with it, as far as can be seen from outside.")
    st.dataframe(as_rows(told(found)), hide_index=True, width="stretch")
    if found["submit_as"] is not None:
        st.markdown("Submit it as")
        st.code(found["submit_as"], language=None)


def by_task(evaluated: Evaluated) -> Mapping[str, Mapping[str, Rate]]:
    """Judged successes by policy and task."""
    trials: dict[str, dict[str, list[bool]]] = {}
    for rollout in evaluated.rollouts:
        verdict = evaluated.verdicts.get(rollout.id)
        if verdict is None or verdict.abstained or verdict.success_probability is None:
            continue
        task = rollout.task or rollout.instruction
        outcomes = trials.setdefault(rollout.policy, {}).setdefault(task, [])
        outcomes.append(verdict.success_probability >= evaluated.threshold)
    return {
        policy: {task: Rate(sum(outcomes), len(outcomes)) for task, outcomes in tasks.items()}
        for policy, tasks in trials.items()
    }


def heatmap(rates: Mapping[str, Mapping[str, Rate]]) -> go.Figure:
    """Policies by tasks, the best policy on top."""
    tasks = sorted({task for row in rates.values() for task in row})
    order = sorted(rates, key=lambda policy: _mean(rates[policy].values()))
    cells = [[rates[policy].get(task) for task in tasks] for policy in order]
    figure = go.Figure(
        go.Heatmap(
            z=[[None if cell is None else cell.share for cell in row] for row in cells],
            x=[plain_html(task) for task in tasks],
            y=[plain_html(policy) for policy in order],
            text=[["" if cell is None else f"{cell.successes}/{cell.trials}" for cell in row] for row in cells],
            hovertemplate="%{y} in %{x}: %{text}<extra></extra>",
            zmin=0, zmax=1, colorscale="Blues", colorbar={"title": "", "tickformat": ".0%"},
        )
    )  # fmt: skip
    figure.update_layout(height=120 + 30 * len(order), margin={"l": 10, "r": 10, "t": 10, "b": 10})
    figure.update_yaxes(automargin=True)
    return figure


def _mean(rates: Any) -> float:
    shares = [rate.share for rate in rates if rate.share is not None]
    return sum(shares) / len(shares) if shares else 0.0


def _card(record: PolicyRecord, evaluated: Evaluated | None) -> None:
    card = record.card
    with st.expander(plain(card.name), expanded=st.query_params.get("policy") == card.name):
        st.dataframe(facts(card), hide_index=True, width="stretch")
        rows = [] if evaluated is None else _results(evaluated, card.name)
        if rows and evaluated is not None:
            columns = {"Rollouts": st.column_config.LinkColumn(display_text="watch")}
            st.dataframe(rows, hide_index=True, width="stretch", column_config=columns)
            st.markdown(link("See its rollouts", "rollouts", evaluation=evaluated.record.id, policy=card.name))


def _results(evaluated: Evaluated, policy: str) -> Sequence[dict[str, str]]:
    return [
        {
            "Task": task,
            "Judged success": rate_text(rate),
            "Rollouts": "rollouts?" + urlencode({"evaluation": evaluated.record.id, "policy": policy, "task": task}),
        }
        for task, rate in sorted(by_task(evaluated).get(policy, {}).items())
    ]


def facts(card: PolicyCard) -> list[dict[str, str]]:
    """A card as rows of text."""
    size = "any" if card.resolution is None else f"{card.resolution[1]}x{card.resolution[0]}"
    rows = {
        "submitted as": card.spec,
        "sha256": card.sha256,
        "action space": card.action_space.value,
        "control rate": f"{card.control_hz:g} Hz",
        "chunk": f"{card.chunk_length} actions",
        "cameras": ", ".join(card.cameras) or "none",
        "resolution": size,
    }
    return as_rows(rows)
