"""Cartesian trials of a Panda become what openpi's configs read: joint positions, and velocities in DROID's units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from arena.contracts import ActionChunk, ActionSpace, InvalidInput, World, WorldCard, WorldStep
from arena.episodes.lerobot_writer import LeRobotWriter
from arena.policies.droid import DROID_ACHIEVED_VELOCITY
from arena.synthesis.diversity import Diversity
from arena.synthesis.export import ExportSpec
from arena.synthesis.plan import Budget
from real2sim.robot import PandaKinematics
from tests.workers.dots import DotWorld, dot_context, picture
from tests.workers.test_synthesis import WORDS, here, read, request
from workers.finetuning_commands import command_for
from workers.registry import Workshop

EYES = ("exterior_1", "wrist")


def write_panda(root: Path) -> Path:
    """A Panda whose flange goes along x as the dot does, with the joints that it has there."""
    panda = PandaKinematics()
    writer = LeRobotWriter(
        root, fps=10.0, cameras=dict.fromkeys(EYES, (16, 16)), robot="panda",
        action_space=ActionSpace.CARTESIAN_POSITION,
    )  # fmt: skip
    home = np.array([0.0, -0.8, 0.0, -2.3, 0.0, 1.6, 0.8])
    for index in range(3):
        pose = np.tile(panda.forward(home[None]), (9, 1))
        pose[:, 0] += np.linspace(0.0, 0.1, 9)
        pose[:, 1] += 0.01 * index
        state = np.concatenate([pose, np.linspace(0.0, 0.5, 9)[:, None]], axis=1)
        frames = np.stack([picture(row) for row in state])
        writer.add_episode(
            f"panda-{index}", frames={"exterior_1": frames, "wrist": frames}, cartesian_position=pose,
            gripper_position=state[:, 6:], joint_position=panda.inverse(pose, home),
            action=np.concatenate([state[1:], state[-1:]]), instruction=WORDS, success=True, task="x", metadata={},
        )  # fmt: skip
    writer.finish()
    return root


class PandaWorkshop(Workshop):
    """A workshop whose every world is the dot's, seen by two cameras."""

    def world(self, name: str, sampler_steps: int, guidance: float) -> World:
        return TwoEyes()


class TwoEyes(DotWorld):
    """The dot's world with an exterior camera that shows what the wrist's does."""

    @property
    def card(self) -> WorldCard:
        return replace(super().card, cameras=EYES, robot="panda")

    def step(self, chunks: Sequence[ActionChunk]) -> list[WorldStep]:
        return [self._seen_twice(step) for step in super().step(chunks)]

    def _seen_twice(self, step: WorldStep) -> WorldStep:
        shown = step.frames["wrist"]
        observation = replace(step.observation, cameras=dict.fromkeys(EYES, shown[-1]))
        return replace(step, frames=dict.fromkeys(EYES, shown), observation=observation)


def test_a_pandas_trials_become_openpis_joint_velocities(tmp_path: Path) -> None:
    dataset = write_panda(tmp_path / "panda")
    context = replace(dot_context(tmp_path / "home"), workshop=PandaWorkshop())
    export = ExportSpec("openpi-v2.1", "pi05_droid_finetune", blank_cameras=True)
    asked = request(dataset, tmp_path / "out", export=export, diversity=Diversity((0.0,)))
    made = here(context, replace(asked, budget=Budget(wanted=3, attempts=3, minutes=None)))
    assert made["synthetic"] == 3
    rows = pq.read_table(tmp_path / "out/data/chunk-000/episode_000000.parquet").to_pydict()
    recorded = read(dataset)[0]
    assert recorded.joint_position is not None
    length = len(rows["actions"])
    joints, actions = np.array(rows["joint_position"]), np.array(rows["actions"])
    np.testing.assert_allclose(joints, recorded.joint_position[:length], atol=5e-3)
    moved = np.diff(recorded.joint_position, axis=0)[: length - 1] * 10.0 / DROID_ACHIEVED_VELOCITY
    np.testing.assert_allclose(actions[: len(moved), :7], moved, atol=0.02)
    assert command_for("openpi", tmp_path / "out").startswith("HF_LEROBOT_HOME=")
    # Where a trial begins within another one, its joints are not known.
    with pytest.raises(InvalidInput, match="expects joint_velocity actions"):
        here(context, replace(asked, out=tmp_path / "other", resets=2))
