"""The Streamlit application: `dreamarena ui`, or `streamlit run ui/app.py`."""

from __future__ import annotations

import streamlit as st

from ui import jobs, leaderboard, policies, review, rollouts, voters, worlds
from ui.vote import page as vote


def main() -> None:
    st.set_page_config(page_title="dreamarena", page_icon=":material/leaderboard:", layout="wide")
    pages = [
        st.Page(vote.page, title="Vote", icon=":material/how_to_vote:", url_path="vote"),
        st.Page(leaderboard.page, title="Leaderboard", icon=":material/leaderboard:", url_path="board", default=True),
        st.Page(rollouts.page, title="Rollouts", icon=":material/movie:", url_path="rollouts"),
        st.Page(review.page, title="Review", icon=":material/rate_review:", url_path="review"),
        st.Page(policies.page, title="Policies", icon=":material/smart_toy:", url_path="policies"),
        st.Page(worlds.page, title="Worlds", icon=":material/public:", url_path="worlds"),
        st.Page(jobs.page, title="Jobs", icon=":material/pending_actions:", url_path="jobs"),
        st.Page(voters.page, title="Voters", icon=":material/group:", url_path="voters"),
    ]
    st.navigation(pages, position="top").run()


# Streamlit runs this file as a script, once for every interaction.
if __name__ == "__main__":
    main()
