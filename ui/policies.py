"""The page with the policies: what each is, how it did in each task, and how to submit one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
import streamlit as st

from arena.contracts import PolicyCard
from arena.leaderboard import Rate
from arena.store import PolicyRecord
from ui.stored import Evaluated, as_rows, choose_evaluation, complaining, link, open_store, percent, plain, plain_html
from workers.settings import load_settings

EMPTY = """**No policy acted here yet.** A policy is built in, a folder, or a server that speaks the openpi protocol:

```sh
dreamarena policy probe openpi://host:8000 --action-space joint_velocity --control-hz 15
dreamarena evaluate --policies hold 'openpi://host:8000?action_space=joint_velocity&control_hz=15&chunk=8' \\
    --world worlds/mine --episodes DATASET
```"""
SUBMIT = """Check that it answers, then let it act in the scenes of an evaluation; nothing that is stored is run again:

```sh
dreamarena policy probe openpi://host:8000 --action-space joint_velocity --control-hz 15
dreamarena evaluate --policies 'openpi://host:8000?action_space=joint_velocity&control_hz=15&chunk=8' \\
    --world WORLD --episodes DATASET
```"""


@complaining
def page() -> None:
    st.title("Policies")
    records = open_store(load_settings().store_url).catalog.policies()
    if not records:
        st.info(EMPTY)
        return
    with st.expander("Submit a policy"):
        st.markdown(SUBMIT)
    evaluated = choose_evaluation()
    if evaluated is not None and evaluated.rollouts:
        st.subheader("Success by task")
        st.plotly_chart(heatmap(by_task(evaluated)), width="stretch", config={"displayModeBar": False})
        st.caption("Judged success, abstentions left out; hover for the numbers of trials.")
    st.subheader("Cards")
    for record in records:
        _card(record, evaluated)


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
    with st.expander(plain(card.name)):
        st.dataframe(facts(card), hide_index=True, width="stretch")
        rows = [] if evaluated is None else _results(evaluated, card.name)
        if rows and evaluated is not None:
            st.dataframe(rows, hide_index=True, width="stretch")
            st.markdown(link("See its rollouts", "rollouts", evaluation=evaluated.record.id, policy=card.name))


def _results(evaluated: Evaluated, policy: str) -> Sequence[dict[str, str]]:
    return [
        {"Task": task, "Judged success": f"{percent(rate.share)}, {rate.successes}/{rate.trials}"}
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
