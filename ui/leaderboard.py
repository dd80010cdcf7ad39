"""The page with the ranking: who is better, how sure that is, and what cannot be compared."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
import streamlit as st

from arena.contracts import RankedPolicy
from arena.leaderboard import Leaderboard, PolicySummary, Rate, headline
from ui.stored import Evaluated, choose_evaluation, complaining, percent, plain, plain_html

COLOUR = "#4169e1"
ROW_PIXELS, FRAME_PIXELS = 46, 70


@complaining
def page() -> None:
    st.title("Leaderboard")
    evaluated = choose_evaluation()
    if evaluated is None:
        return
    if not evaluated.rollouts:
        st.info("This evaluation has no rollouts yet: reload when the workers have finished some.")
        return
    board = evaluated.board()
    st.subheader(plain(headline(board.ranking)))
    _intervals(board)
    st.dataframe(table(board), hide_index=True, width="stretch")
    _notes(board, evaluated)


def _intervals(board: Leaderboard) -> None:
    groups = board.ranking.groups
    for number, names in enumerate(groups, start=1):
        places = [place for place in board.ranking.policies if place.policy in names]
        if len(groups) > 1:
            st.caption(f"Group {number} of {len(groups)}: its scores say nothing about the other groups")
        st.plotly_chart(forest(places), width="stretch", key=f"forest-{number}", config={"displayModeBar": False})


def forest(places: Sequence[RankedPolicy]) -> go.Figure:
    """Scores with 95% intervals, best on top. An open end runs to the edge of the axis and ends in an arrow."""
    ends = [value for p in places for value in (p.low, p.score, p.high) if math.isfinite(value)]
    low, high = min([*ends, -0.5]), max([*ends, 0.5])
    low, high = low - 0.15 * (high - low), high + 0.15 * (high - low)
    # Named by position: two policies whose names look alike after escaping stay two rows.
    rows = list(range(len(places)))
    figure = go.Figure(
        go.Scatter(
            x=[p.score for p in places],
            y=rows,
            mode="markers",
            marker={"size": 13, "color": COLOUR},
            error_x={
                "array": [min(p.high, high) - p.score for p in places],
                "arrayminus": [p.score - max(p.low, low) for p in places],
                "color": COLOUR,
                "thickness": 2.5,
                "width": 0,
            },
            text=[f"{p.score:.2f} ({p.low:.2f} to {p.high:.2f}), {p.comparisons} comparisons" for p in places],
            hovertemplate="%{text}<extra></extra>",
        )
    )
    for at, symbol, open_end in ((low, "triangle-left", "low"), (high, "triangle-right", "high")):
        arrows = [row for row in rows if math.isinf(getattr(places[row], open_end))]
        marker = {"size": 11, "symbol": symbol, "color": COLOUR}
        figure.add_scatter(
            x=[at] * len(arrows), y=arrows, mode="markers", marker=marker, hoverinfo="skip", cliponaxis=False
        )
    figure.add_vline(x=0, line_dash="dot", line_width=1, line_color="gray")
    names = [plain_html(place.policy) for place in places]
    figure.update_xaxes(title="Bradley-Terry strength, 95% interval", range=[low, high], zeroline=False)
    figure.update_yaxes(tickvals=rows, ticktext=names, range=[len(rows) - 0.5, -0.5], automargin=True, showgrid=False)
    margin = {"l": 10, "r": 10, "t": 10, "b": 10}
    figure.update_layout(height=FRAME_PIXELS + ROW_PIXELS * len(rows), margin=margin, showlegend=False)
    return figure


def table(board: Leaderboard) -> list[dict[str, Any]]:
    """One row for each policy, in the ranking's order. Cells are text, which Streamlit does not interpret."""
    pairs = zip(board.ranking.policies, board.policies, strict=True)
    rows = [_row(place, summary) for place, summary in pairs]
    if not any(summary.true for summary in board.policies):
        rows = [{name: cell for name, cell in row.items() if name != "True success"} for row in rows]
    return rows


def _row(place: RankedPolicy, summary: PolicySummary) -> dict[str, Any]:
    certain = place.rank_low == place.rank_high
    return {
        "Place": str(place.rank_low) if certain else f"{place.rank_low}–{place.rank_high}",
        "Policy": place.policy,
        "Strength": f"{place.score:+.2f}",
        "Judged success": _rate(summary.judged),
        "True success": _rate(summary.true) if summary.true else "–",
        "Progress": "–" if summary.progress is None else f"{summary.progress:.0f}",
        "Rollouts": str(summary.rollouts),
        "Abstained": str(summary.abstentions),
        "Note": place.note,
    }


def _rate(rate: Rate) -> str:
    low, high = rate.interval
    return f"{percent(rate.share)} ({100 * low:.0f}–{100 * high:.0f}%), {rate.successes}/{rate.trials}"


def _notes(board: Leaderboard, evaluated: Evaluated) -> None:
    if board.ranking.judge:
        st.caption(f"Judged by {plain(board.ranking.judge)} · {board.ranking.comparisons} comparisons")
    notes = dict.fromkeys([*board.ranking.notes, *evaluated.notes])
    if notes:
        st.markdown("**How far this can be trusted**\n\n" + "\n".join(f"- {plain(note)}" for note in notes))
