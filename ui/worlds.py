"""The page with the worlds: what each is, how well it replays recordings, and what its ranking is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
import streamlit as st

from arena.contracts import DreamarenaError, WorldCard
from arena.store import Store
from ui.reality import compared, measured
from ui.stored import as_rows, complaining, link, open_store, plain
from workers.settings import load_settings

SERIES = {"model": "imagined", "copy": "first frame again", "wrong_action": "another episode's actions",
          "ceiling": "autoencoder alone"}  # fmt: skip
MEASURES = {"pearson": "Pearson r", "spearman": "Spearman ρ", "mmrv": "MMRV", "optimism": "Optimism"}
UNCOMPARED = """Its ranking was not compared with reality: let the same policies act in the same scenes of a world that
knows success, or give real trials to `dreamarena validate --evaluator EVALUATION --real trials.csv`."""
EMPTY = """**No world was used here yet.** Train one on your recordings, see whether it follows actions,
and compare its ranking with real trials:

```sh
dreamarena worldmodel train --episodes DATASET --out worlds/mine
dreamarena worldmodel replay --world worlds/mine --episodes HELD_OUT
dreamarena validate --evaluator EVALUATION --real trials.csv
```"""


@complaining
def page() -> None:
    st.title("Worlds")
    store = open_store(load_settings().store_url)
    worlds = store.catalog.worlds()
    if not worlds:
        st.info(EMPTY)
        return
    replays = replay_reports(store)
    for card in worlds:
        st.subheader(plain(card.name))
        st.dataframe(facts(card), hide_index=True, width="stretch")
        if card.knows_success:
            st.caption("This world knows success: what happens in it is the truth that others are compared with.")
            continue
        _against_reality(store, card)
        found = [report for report in replays if _of(report, card)]
        if not found:
            st.info("No replay was measured: `dreamarena worldmodel replay` says whether it follows actions.")
            continue
        st.plotly_chart(fidelity(found[0]["fidelity"]), width="stretch", key=card.sha256,
                        config={"displayModeBar": False})  # fmt: skip
        st.caption("PSNR of replays of held-out recordings, all views: the model has to be above both controls.")


def _against_reality(store: Store, card: WorldCard) -> None:
    """How far the ranking in this world agrees with that in reality, where both were made here."""
    pair = compared(card.sha256, store.results.evaluations())
    if pair is None:
        st.info(UNCOMPARED)
        return
    imagined, real = pair
    try:
        found = measured(store, imagined.id, real.id)
    except DreamarenaError as error:
        st.info(plain(f"Its ranking cannot be held against reality: {error}"))
        return
    for place, (name, title) in zip(st.columns(4), MEASURES.items(), strict=True):
        value = found[name]["value"]
        low, high = found[name]["low"], found[name]["high"]
        interval = "no interval" if low is None else f"95%: {low:+.2f} to {high:+.2f}"
        place.metric(title, "–" if value is None else f"{value:.2f}", interval, delta_color="off", delta_arrow="off")
    said = f"{found['policies']} policies against {real.config['world']['name']}"
    st.markdown(
        f"{plain(said)} · {link('the whole validation', f'validation/{imagined.id}/{real.id}')}"
        f" · {link('its leaderboard', '.', evaluation=imagined.id)}"
        f" · {link('the real one', '.', evaluation=real.id)}"
    )
    for note in found["notes"]:
        st.caption(plain(note))


def replay_reports(store: Store) -> Sequence[Mapping[str, Any]]:
    """What replays found, the newest first."""
    return [job.result | {"inputs": job.inputs} for job in store.jobs.finished("replay")]  # type: ignore[operator]


def _of(report: Mapping[str, Any], card: WorldCard) -> bool:
    """A replay is of a checkpoint with one content, whatever its folder is called."""
    return bool(report.get("world") == card.sha256)


def fidelity(rows: Sequence[Mapping[str, Any]]) -> go.Figure:
    """PSNR over seconds ahead, and what it is to be compared with."""
    rows = sorted((row for row in rows if row["view"] == "all"), key=lambda row: row["seconds"])
    figure = go.Figure()
    for name, title in SERIES.items():
        figure.add_scatter(
            x=[row["seconds"] for row in rows], y=[row["psnr"].get(name) for row in rows], name=title,
            mode="lines+markers", line={"dash": "solid" if name == "model" else "dot"},
        )  # fmt: skip
    figure.update_xaxes(title="seconds ahead")
    figure.update_yaxes(title="PSNR, dB")
    figure.update_layout(
        height=320, margin={"l": 10, "r": 10, "t": 10, "b": 10}, legend={"orientation": "h", "y": -0.3}
    )
    return figure


def facts(card: WorldCard) -> list[dict[str, str]]:
    """A card as rows of text."""
    rows = {
        "sha256": card.sha256,
        "rate": f"{card.fps:g} Hz",
        "actions a step": str(card.frames_per_step),
        "cameras": ", ".join(card.cameras),
        "action space": card.action_space.value,
        "robot": card.robot or "any",
    }
    return as_rows(rows)
