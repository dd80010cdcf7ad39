"""Recordings: experts succeed, replaying a recording reproduces it, and a kill loses nothing that was finished."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from arena.contracts import InvalidInput
from arena.episodes.ingest import ingest
from real2sim.reality.plans import KINDS, plan
from real2sim.reality.record import RecordedEpisode, episodes, record
from real2sim.reality.simulator import Simulation

TASKS = ("drawer-open-v3", "drawer-close-v3", "button-press-topdown-v3")
SMALL = {"height": 16, "width": 24}
REPOSITORY = Path(__file__).resolve().parents[2]


class Interrupted(Exception):
    """Stands for a kill in the middle of a recording."""


@pytest.fixture(scope="module")
def experts() -> list[RecordedEpisode]:
    return list(episodes(plan(TASKS, 2, 0, {"expert": 1}), **SMALL))


def test_experts_succeed_in_about_a_second(experts: list[RecordedEpisode]) -> None:
    assert [(each.task, each.success) for each in experts] == [(task, True) for task in TASKS for _ in range(2)]
    assert all(8 <= len(each.state) < 24 for each in experts)


def test_recorded_rows_belong_together(experts: list[RecordedEpisode]) -> None:
    for each in experts:
        length = len(each.state)
        assert each.state.shape == each.action.shape == each.joint_position.shape == (length, 7)
        assert {frames.shape for frames in each.frames.values()} == {(length, 16, 24, 3)}
        assert ((each.action[:, 6] >= 0) & (each.action[:, 6] <= 1)).all()
        # A target leads the hand: row t is what the hand moves to after frame t, so it fits t + 1 better than t - 1.
        after = np.linalg.norm(each.action[:-2, :3] - each.state[2:, :3], axis=1).mean()
        before = np.linalg.norm(each.action[2:, :3] - each.state[:-2, :3], axis=1).mean()
        assert after < before


def test_replaying_the_actions_reproduces_the_recording(experts: list[RecordedEpisode]) -> None:
    for each in experts:
        simulation = Simulation(each.task)
        simulation.reset(each.reset_seed)
        states = [simulation.state]
        for action in each.action[:-1]:
            simulation.act(action)
            states.append(simulation.state)
        assert simulation.succeeded == each.success
        # Within an action (up to 8 cm) the expert may turn, where its replay goes straight: it is soon back.
        apart = np.linalg.norm(np.stack(states)[:, :3] - each.state[:, :3], axis=1)
        assert apart.max() < 3e-2
        assert np.median(apart) < 3e-3


def test_failures_fail_and_are_as_long_as_successes(experts: list[RecordedEpisode]) -> None:
    kinds = {"wrong_goal": 2, "early_stop": 2, "random": 2}
    failures = list(episodes(plan(["button-press-topdown-v3"], 6, 0, kinds), **SMALL))
    assert Counter(each.kind for each in failures) == kinds
    assert not any(each.success for each in failures)
    assert min(len(each.state) for each in failures) < max(len(each.state) for each in experts)


def test_a_plan_keeps_the_shares_and_extends_a_shorter_one() -> None:
    whole = plan(["reach-v3"], 130, 7)
    assert Counter(each.kind for each in whole) == KINDS
    assert plan(["reach-v3"], 40, 7) == whole[:40]
    assert len({each.seed for each in whole + plan(["push-v3"], 130, 7) + plan(["reach-v3"], 130, 8)}) == 390


def test_a_killed_recording_continues_and_repeats_nothing(tmp_path: Path) -> None:
    def kill(done: int, total: int, stage: str) -> None:
        if done == 2:
            raise Interrupted

    options = {"kinds": {"expert": 1, "early_stop": 1}, **SMALL}
    with pytest.raises(Interrupted):
        record(["drawer-close-v3"], 4, 0, tmp_path / "killed", progress=kill, **options)
    seen: list[int] = []
    second = record(
        ["drawer-close-v3"], 4, 0, tmp_path / "killed", progress=lambda done, *_: seen.append(done), **options
    )
    assert (second.kept, second.recorded, seen) == (2, 2, [3, 4])
    record(["drawer-close-v3"], 4, 0, tmp_path / "whole", **options)
    left, right = (ingest(tmp_path / name).episodes for name in ("killed", "whole"))
    assert len(left) == 4
    for one, other in zip(left, right, strict=True):
        assert (one.id, one.success) == (other.id, other.success)
        assert one.metadata == other.metadata  # the pictures' hash is in there
        np.testing.assert_array_equal(one.state, other.state)
    assert record(["drawer-close-v3"], 4, 0, tmp_path / "whole", **options).recorded == 0


def test_what_is_written_is_what_was_recorded(tmp_path: Path, experts: list[RecordedEpisode]) -> None:
    record(TASKS, 2, 0, tmp_path, kinds={"expert": 1}, **SMALL)
    read = ingest(tmp_path).episodes
    for one, other in zip(read, experts, strict=True):
        assert (one.id, one.task, one.instruction) == (other.id, other.task, other.instruction)
        assert (one.success, one.fps, one.robot) == (True, 10.0, "sawyer")
        assert (one.metadata["reset_seed"], one.metadata["kind"]) == (other.reset_seed, "expert")
        np.testing.assert_allclose(one.state, other.state, atol=1e-6)
        assert one.action is not None
        np.testing.assert_allclose(one.action.values, other.action, atol=1e-6)


def test_workers_do_not_change_the_result(tmp_path: Path) -> None:
    options = {"kinds": {"random": 1}, "max_frames": 3, **SMALL}
    for workers in (1, 2):
        record(["reach-v3"], 9, 0, tmp_path / str(workers), workers=workers, **options)
    for one, other in zip(*(ingest(tmp_path / name).episodes for name in ("1", "2")), strict=True):
        assert one.id == other.id
        np.testing.assert_array_equal(one.state, other.state)


def test_a_killed_recorder_leaves_no_process_behind(tmp_path: Path) -> None:
    call = f"record(['reach-v3'], 40, 0, Path({str(tmp_path)!r}), workers=2, height=16, width=24, progress=print)"
    script = f"from pathlib import Path\nfrom real2sim.reality.record import record\n{call}"
    recorder = subprocess.Popen(
        [sys.executable, "-u", "-c", script], stdout=subprocess.PIPE, start_new_session=True, cwd=REPOSITORY
    )
    assert recorder.stdout is not None
    with recorder.stdout as progress:
        assert progress.readline().startswith(b"1 40")
        recorder.kill()
        recorder.wait()
    ends = time.monotonic() + 20
    while _is_alive(recorder.pid):
        assert time.monotonic() < ends, "the recorder's workers outlive it"
        time.sleep(0.1)


def _is_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tasks": ["drawer-opn-v3"]}, "did you mean drawer-open-v3"),
        ({"tasks": []}, "one or more tasks"),
        ({"tasks": ["reach-v3", "reach-v3"]}, "each once"),
        ({"kinds": {"clumsy": 1}}, "there are expert, noisy"),
        ({"kinds": {"expert": 0}}, "weights of the kinds"),
        ({"episodes_per_task": 0}, "at least 1"),
        ({"workers": 0}, "1 worker and 2 frames at least, not 0"),
        ({"width": 95}, "even sides for their videos, not 95x64"),
    ],
)
def test_bad_requests_are_refused(tmp_path: Path, change: dict, message: str) -> None:
    request = {"tasks": ["reach-v3"], "episodes_per_task": 1, "seed": 0, "out": tmp_path / "never"} | change
    with pytest.raises(InvalidInput, match=message):
        record(**request)
    assert not (tmp_path / "never").exists()
