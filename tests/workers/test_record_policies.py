"""Policies recorded in the stand-in reality: labelled, cut soon after success, and resumable."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from arena.episodes.ingest import ingest
from real2sim.reality.record import record
from workers.cli.session import Session
from workers.evaluation import Dataset
from workers.jobs import Request
from workers.settings import load_settings
from workers.steps.record_policies import RecordPoliciesInputs

STEPS = 16


def test_what_policies_do_becomes_labelled_episodes(home: Path, tmp_path: Path) -> None:
    record(["drawer-open-v3", "reach-v3"], 2, 3, tmp_path / "starts", kinds={"expert": 1})
    session = Session(load_settings())
    policies = ("replay", "hold")
    inputs = RecordPoliciesInputs(
        policies=policies, policy_sha256=tuple(session.context.workshop.policy(p).card.sha256 for p in policies),
        dataset=Dataset.at(tmp_path / "starts"), each=2, steps=STEPS, out=str(tmp_path / "played"), seed=0,
    )  # fmt: skip
    [done] = session.run([Request("record_policies", inputs)])
    assert done["episodes"] == 4
    starts = {episode.id: episode for episode in ingest(tmp_path / "starts").episodes}
    played = ingest(tmp_path / "played").episodes
    assert len(played) == 4
    for episode in played:
        start, _, policy = episode.id.partition("-by-")
        assert episode.metadata["kind"] == "policy"
        assert episode.metadata["policy"] == policy
        assert episode.task == starts[start].task
        # It begins where the other recording does, and a success ends soon after it.
        np.testing.assert_allclose(episode.state[0], starts[start].state[0], atol=1e-6)
        assert episode.success == (policy == "replay")
        assert len(episode) == STEPS + 1 or (episode.success and len(episode) < STEPS + 1)
    session.close()
