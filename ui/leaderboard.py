"""The page with the ranking: who is better, how sure that is, what cannot be compared, and whether people agree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import streamlit as st

from arena.contracts import InvalidInput, RankedPolicy, Ranking
from arena.leaderboard import (
    AXES,
    Leaderboard,
    PeopleBoard,
    PolicySummary,
    build_people_board,
    headline,
    options,
    preliminary,
    sliced,
    win_matrix,
)
from arena.ranking import Agreement, Ballots, agreement
from ui.charts import beside, forest, matrix, place_of
from ui.stored import Evaluated, choose_evaluation, complaining, link, open_store, percent, plain, rate_text
from ui.vote.page import open_booth
from workers.service import TRUTH, audit_passed
from workers.settings import load_settings

PLAIN = {"displayModeBar": False}
JUDGE, PEOPLE = "The judge", "People"
DRAWS = 400
"""Of the bootstrap behind the agreement's interval: a page is not waited for."""


@complaining
def page() -> None:
    st.title("Leaderboard")
    whole = choose_evaluation()
    if whole is None:
        return
    if not whole.rollouts:
        st.info("This evaluation has no rollouts yet: reload when the workers have finished some.")
        return
    chosen = _filters(whole)
    evaluated = replace(whole, rollouts=tuple(sliced(whole.rollouts, chosen)))
    if not evaluated.rollouts:
        st.info("No rollout is of all of these: choose another task, scene or world.")
        return
    judge, people = evaluated.board(), _people(evaluated)
    asked = people is not None and st.radio("Ranked by", [JUDGE, PEOPLE], horizontal=True) == PEOPLE
    shown = people if people is not None and asked else judge
    ranking = shown.ranking
    _ranking(ranking, preliminary(shown.board))
    rows = table(judge, ranking, _links(evaluated, chosen))
    st.dataframe(rows, hide_index=True, width="stretch", column_config=_columns())
    _wins(people.ballots if people is not None and asked else judge.board.fit.data.ballots, ranking)
    _beside(judge, people)
    _notes(evaluated, shown, judge)


def _filters(evaluated: Evaluated) -> dict[str, str]:
    """What the user wants to see: a value for each axis that has several."""
    axes = [(axis, options(evaluated.rollouts, axis)) for axis in AXES]
    axes = [(axis, values) for axis, values in axes if values]
    chosen = {}
    for place, (axis, values) in zip(st.columns(max(1, len(axes))), axes, strict=False):
        asked = st.query_params.get(axis)
        first = 1 + values.index(asked) if asked in values else 0
        value = place.selectbox(AXES[axis], [None, *values], first, format_func=lambda v: "all" if v is None else v)
        if value is not None:
            chosen[axis] = value
    return chosen


def _people(evaluated: Evaluated) -> PeopleBoard | None:
    weighed = open_booth(load_settings()).tally.weighed()
    return build_people_board(weighed, {rollout.id for rollout in evaluated.rollouts})


def _ranking(ranking: Ranking, too_little: str | None) -> None:
    st.subheader(plain(headline(ranking)))
    if too_little:
        st.warning(plain(too_little), icon=":material/hourglass_top:")
    for number, names in enumerate(ranking.groups, start=1):
        places = [place for place in ranking.policies if place.policy in names]
        if len(ranking.groups) > 1:
            st.caption(f"Group {number} of {len(ranking.groups)}: its scores say nothing about the other groups")
        st.plotly_chart(forest(places), width="stretch", key=f"forest-{number}", config=PLAIN)


def table(board: Leaderboard, ranking: Ranking, links: Mapping[str, Mapping[str, str]]) -> list[dict[str, Any]]:
    """One row for each policy of `ranking`, with its rates by the judge. Cells are text, which nobody interprets.

    `links` leads, for a policy, from its name and its number of rollouts to their pages.
    """
    summaries = {summary.policy: summary for summary in board.policies}
    rows = [_row(place, summaries[place.policy], links[place.policy]) for place in ranking.policies]
    if not any(summary.true for summary in board.policies):
        rows = [{name: cell for name, cell in row.items() if name != "True success"} for row in rows]
    return rows


def _row(place: RankedPolicy, summary: PolicySummary, links: Mapping[str, str]) -> dict[str, Any]:
    return {
        "Place": place_of(place),
        "Policy": place.policy,
        "Strength": f"{place.score:+.2f}",
        "Comparisons": str(place.comparisons),
        "Judged success": rate_text(summary.judged),
        "True success": rate_text(summary.true) if summary.true else "–",
        "Progress": "–" if summary.progress is None else f"{summary.progress:.0f}",
        "Rollouts": f"{links['rollouts']}#{summary.rollouts}",
        "Abstained": str(summary.abstentions),
        "Card": links["policies"],
        "Note": place.note,
    }


def _links(evaluated: Evaluated, chosen: Mapping[str, str]) -> dict[str, dict[str, str]]:
    query = {"evaluation": evaluated.record.id, **chosen}
    names = {rollout.policy for rollout in evaluated.rollouts}
    return {
        name: {page: f"{page}?{urlencode({**query, 'policy': name})}" for page in ("rollouts", "policies")}
        for name in names
    }


def _columns() -> dict[str, Any]:
    return {
        "Rollouts": st.column_config.LinkColumn(display_text=r"#(\d+)$", help="Watch them"),
        "Card": st.column_config.LinkColumn(display_text="card and tasks"),
    }


def _wins(ballots: Ballots, ranking: Ranking) -> None:
    if not len(ballots) or len(ranking.policies) < 2:
        return
    with st.expander("Who beat whom: the row's wins–losses against the column, and ties", expanded=True):
        order = [place.policy for place in ranking.policies if place.policy in ballots.policies]
        st.plotly_chart(matrix(win_matrix(ballots, order)), width="stretch", key="matrix", config=PLAIN)


def _beside(judge: Leaderboard, people: PeopleBoard | None) -> None:
    st.subheader("Do people agree with the judge?", anchor=False)
    if people is None:
        st.info("Nobody has voted on these rollouts yet: [vote](vote), and the two rankings appear side by side.")
        return
    st.plotly_chart(beside(people.ranking, judge.ranking), width="stretch", key="beside", config=PLAIN)
    st.caption(plain(people.weighing) + ". What a voter's votes weigh, and why: `dreamarena votes voters`.")
    try:
        found = agreement(people.board, judge.board, draws=DRAWS)
    except InvalidInput as error:
        st.caption(plain(f"Agreement cannot be told: {error}."))
        return
    st.markdown("\n".join(f"- {plain(line)}" for line in agreeing(found)))


def agreeing(found: Agreement) -> list[str]:
    """How far people and the judge agree, a line for each way of telling."""
    rho = found.spearman
    lines = [
        f"Rank correlation {rho.value:.2f} (95% interval {rho.low:.2f} to {rho.high:.2f}) over "
        f"{len(found.policies)} policies; Pearson {found.pearson.value:.2f}"
    ]
    if found.told_apart_by_both:
        lines.append(
            f"Of {found.told_apart_by_both} pairs that both tell apart, "
            f"{len(found.contradictions)} are in opposite order"
            + "".join(f"; people put {a} above {b}" for a, b in found.contradictions[:3])
        )
    else:
        lines.append("No pair is told apart by both yet")
    if found.votes is not None:
        kappa = "" if found.votes.kappa is None else f", kappa {found.votes.kappa:.2f}"
        lines.append(f"Same winner in {percent(found.votes.share)} of {found.votes.compared} meetings{kappa}")
    return lines + list(found.notes)


def _notes(evaluated: Evaluated, shown: Leaderboard | PeopleBoard, judge: Leaderboard) -> None:
    if judge.ranking.judge:
        st.caption(f"Judged by {plain(judge.ranking.judge)} · {judge.ranking.comparisons} comparisons")
        st.markdown(_audit(evaluated, judge.ranking.judge))
    # What limits the one says nothing of the other.
    more = [shown.weighing] if isinstance(shown, PeopleBoard) else evaluated.notes
    notes = dict.fromkeys([*shown.ranking.notes, *more])
    if notes:
        st.markdown("**How far this can be trusted**\n\n" + "\n".join(f"- {plain(note)}" for note in notes))


def _audit(evaluated: Evaluated, judge: str) -> str:
    """Where the judge's audit card is, or how to make one."""
    if judge == TRUTH:
        return "This judge passes on what the simulator knows: there is nothing to audit."
    sha256 = next((verdict.judge_sha256 for verdict in evaluated.verdicts.values()), "")
    passed = audit_passed(open_store(load_settings().store_url), sha256)
    if passed is None:
        return "The judge was **not audited**: `dreamarena judge audit --help`."
    return f"The judge {'passed' if passed else '**failed**'} {link('its audit', f'audit/{sha256}')}."
