"""The leaderboard's figures. Names are not ours: plotly reads HTML, so they are escaped."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from arena.contracts import RankedPolicy, Ranking
from arena.leaderboard import WinMatrix
from ui.stored import plain_html

COLOUR, MUTED = "#4169e1", "gray"
ROW_PIXELS, FRAME_PIXELS = 46, 70
MARGIN = {"l": 10, "r": 10, "t": 10, "b": 10}
LONGEST_NAME = 24


def place_of(place: RankedPolicy) -> str:
    """The places that a policy may have, as text."""
    certain = place.rank_low == place.rank_high
    return str(place.rank_low) if certain else f"{place.rank_low}–{place.rank_high}"


def forest(places: Sequence[RankedPolicy]) -> go.Figure:
    """Scores with 95% intervals, best on top. An open end runs to the edge of the axis and ends in an arrow."""
    low, high = _span(places)
    # Named by position: two policies whose names look alike after escaping stay two rows.
    rows = list(range(len(places)))
    figure = go.Figure(
        go.Scatter(
            x=[p.score for p in places],
            y=rows,
            mode="markers",
            marker={"size": 13, "color": COLOUR},
            error_x=_bars(places, (low, high)) | {"thickness": 2.5},
            text=[
                f"place {place_of(p)}: {p.score:.2f} ({p.low:.2f} to {p.high:.2f}), {p.comparisons} comparisons"
                for p in places
            ],
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
    names = [f"{plain_html(_short(place.policy))}  <b>{place_of(place)}</b>" for place in places]
    figure.update_xaxes(title="Bradley-Terry strength, 95% interval", range=[low, high], zeroline=False)
    figure.update_yaxes(tickvals=rows, ticktext=names, range=[len(rows) - 0.5, -0.5], automargin=True, showgrid=False)
    figure.update_layout(height=FRAME_PIXELS + ROW_PIXELS * len(rows), margin=MARGIN, showlegend=False)
    return figure


def beside(people: Ranking, judge: Ranking) -> go.Figure:
    """Each policy's strength by people against that by the judge, with both 95% intervals.

    An open interval is drawn to the edge of the axis. The scales differ: a judge says the same every time, people do
    not, so that its strengths lie further apart. What should agree is the order.
    """
    by_people = {place.policy: place for place in people.policies}
    # Strengths of groups that never met share no scale.
    shared = max((set(a) & set(b) for a in people.groups for b in judge.groups), key=len, default=set())
    both = [(by_people[place.policy], place) for place in judge.policies if place.policy in shared]
    across, up = ([pair[side] for pair in both] for side in (1, 0))
    span = [_span(across), _span(up)]
    figure = go.Figure()
    for line in (figure.add_vline, figure.add_hline):
        line(0, line_dash="dot", line_width=1, line_color=MUTED)
    figure.add_scatter(
        x=[place.score for place in across],
        y=[place.score for place in up],
        error_x=_bars(across, span[0]),
        error_y=_bars(up, span[1]),
        mode="markers+text",
        text=[plain_html(_short(place.policy)) for place in across],
        textposition="top right",
        marker={"size": 10, "color": COLOUR},
        customdata=[[plain_html(p.policy), p.comparisons, j.comparisons] for p, j in both],
        hovertemplate="%{customdata[0]}<br>people %{y:.2f} (%{customdata[1]} comparisons)"
        "<br>judge %{x:.2f} (%{customdata[2]} comparisons)<extra></extra>",
    )
    figure.update_xaxes(title="Strength by the judge", range=span[0], zeroline=False)
    figure.update_yaxes(title="Strength by people", range=span[1], zeroline=False)
    figure.update_layout(height=430, margin=MARGIN, showlegend=False)
    return figure


def matrix(found: WinMatrix) -> go.Figure:
    """Row against column: wins, losses and ties as text, the row's share as colour; blank where they never met."""
    size = len(found.policies)
    met = found.met
    cells = [
        [
            f"{found.wins[i, j]}–{found.wins[j, i]}" + (f"<br>+{found.ties[i, j]}" if found.ties[i, j] else "")
            if met[i, j]
            else ""
            for j in range(size)
        ]
        for i in range(size)
    ]
    names = [plain_html(name) for name in found.policies]
    hover = [
        [f"{names[i]} against {names[j]}: {met[i, j]} comparisons" if met[i, j] else "never met" for j in range(size)]
        for i in range(size)
    ]
    figure = go.Figure(
        go.Heatmap(
            z=np.where(np.eye(size, dtype=bool), np.nan, found.share),
            text=cells,
            texttemplate="%{text}",
            customdata=hover,
            hovertemplate="%{customdata}<extra></extra>",
            hoverongaps=False,
            colorscale=[[0, "#c0504d"], [0.5, "#f5f5f5"], [1, COLOUR]],
            zmin=0,
            zmax=1,
            xgap=2,
            ygap=2,
            showscale=False,
        )
    )
    short = [plain_html(_short(name)) for name in found.policies]
    places = list(range(size))
    figure.update_xaxes(tickvals=places, ticktext=short, side="top", tickangle=-40, showgrid=False, automargin=True)
    figure.update_yaxes(tickvals=places, ticktext=short, autorange="reversed", showgrid=False, automargin=True)
    figure.update_layout(height=150 + 46 * size, margin=MARGIN)
    return figure


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"


def _span(places: Sequence[RankedPolicy]) -> tuple[float, float]:
    """An axis that shows all finite ends, with some room."""
    ends = [value for p in places for value in (p.low, p.score, p.high) if math.isfinite(value)]
    low, high = min([*ends, -0.5]), max([*ends, 0.5])
    return low - 0.15 * (high - low), high + 0.15 * (high - low)


def _bars(places: Sequence[RankedPolicy], span: tuple[float, float]) -> dict[str, object]:
    """95% intervals as error bars, open ones to the edge of the axis."""
    return {
        "array": [min(p.high, span[1]) - p.score for p in places],
        "arrayminus": [p.score - max(p.low, span[0]) for p in places],
        "color": COLOUR,
        "width": 0,
    }
