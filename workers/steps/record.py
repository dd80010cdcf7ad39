"""The step `record`: episodes of the stand-in robot, as a LeRobot v3.0 dataset."""

from __future__ import annotations

from pathlib import Path

from arena.contracts import ActionSpace
from workers.jobs import Context, Inputs, Json, Step


class RecordInputs(Inputs):
    out: str
    tasks: tuple[str, ...]
    episodes_per_task: int
    seed: int
    height: int
    width: int


def record(inputs: RecordInputs, context: Context) -> Json:
    """Record what is not yet in `out`, one episode at a time, so that an interruption costs one at most."""
    from arena.episodes.lerobot_writer import LeRobotWriter
    from real2sim.reality.metaworld import ROBOT
    from real2sim.reality.record import episodes, plan
    from real2sim.reality.simulator import CAMERAS, FPS

    plans = plan(inputs.tasks, inputs.episodes_per_task, inputs.seed)
    sizes = dict.fromkeys(CAMERAS, (inputs.height, inputs.width))
    writer = LeRobotWriter(
        Path(inputs.out), fps=FPS, cameras=sizes, robot=ROBOT, action_space=ActionSpace.CARTESIAN_POSITION
    )
    done = writer.episode_ids
    context.progress(len(done), len(plans), "recording")
    for episode in episodes(plans, inputs.height, inputs.width, done=done):
        writer.add_episode(
            episode.id,
            frames=episode.frames,
            cartesian_position=episode.state[:, :6],
            gripper_position=episode.state[:, 6:],
            joint_position=episode.joint_position,
            action=episode.action,
            instruction=episode.instruction,
            success=episode.success,
            task=episode.task,
            metadata=episode.metadata,
        )
        context.progress(len(writer.episode_ids), len(plans), "recording")
    writer.finish()
    return {"dataset": inputs.out, "episodes": len(plans), "recorded": len(plans) - len(done)}


def intact(inputs: RecordInputs, context: Context) -> bool:
    """`info.json` is written last."""
    return (Path(inputs.out) / "meta" / "info.json").is_file()


STEP = Step("record", RecordInputs, record, intact)
