"""Corrective views of a twin as training data: the path they return to, and what a dataset says of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from arena.contracts import ActionChunk, ActionSpace, Episode, FloatArray, InvalidInput, Rollout
from arena.episodes.video import ArrayFrames
from arena.synthesis.export import ExportSpec, Origin, Trajectory
from arena.synthesis.export.card import CardNotes
from arena.synthesis.joints import in_joints
from workers.content import content_address
from workers.jobs import Context
from workers.twins import roll_out

if TYPE_CHECKING:
    from real2sim.twin.bundle import Twin
    from real2sim.twin.corrective import Correction, Spread
    from real2sim.twin.pictures import Instant

METHOD = "SPARTN (arXiv 2301.08556)"
ID_LETTERS = 12


@dataclass(frozen=True)
class TwinPath:
    """A path in a twin: `T + 1` instants, commanded by poses of the hand `(T, 6)` and `gripper` `(T,)`.

    `source` says whose it is; `policy` and `policy_sha256` are the policy's, if it is one's.
    """

    instants: list[Instant]
    commanded: FloatArray
    gripper: FloatArray
    source: str
    policy: str = ""
    policy_sha256: str = ""


def recorded_path(twin: Twin, episode: Episode) -> TwinPath:
    """The episode's commands carried out in its twin. Raises `InvalidInput` where it is another's, or has no joints."""
    from real2sim.twin.enact import carried_out, commands_of
    from real2sim.twin.pictures import kinematics_of

    twin.beginning.check(episode)
    told, gripper = commands_of(episode)
    poses = kinematics_of(twin).forward(told)
    return TwinPath(carried_out(twin, told, gripper), poses, gripper, f"episode {episode.id}")


def acted_path(folder: Path, twin: Twin, policy: str, steps: int, seed: int, context: Context) -> TwinPath:
    """What a policy does in the twin of `folder`, in a trial with `seed`. Raises `InvalidInput` where it breaks off."""
    from real2sim.twin.enact import carried_out
    from real2sim.twin.pictures import kinematics_of
    from real2sim.twin.world import TwinWorld

    factory = context.workshop.policy(policy)
    world = TwinWorld.load(folder)
    try:
        [(_, outcome)] = roll_out(world, [factory], [seed], steps, 1, context, context.progress)
    finally:
        world.close()
    if not isinstance(outcome, Rollout):
        raise InvalidInput(str(outcome.error))
    kinematics, joints = kinematics_of(twin), np.array(twin.beginning.joint_position)
    commanded, gripper = outcome.action.values[:, :6].astype(np.float64), outcome.action.values[:, 6]
    told = np.empty((len(commanded), 7))
    for row, pose in enumerate(commanded):
        # As `TwinWorld` does, so that it is the same path.
        joints = told[row] = kinematics.nearest(pose, joints)
    instants = carried_out(twin, told, gripper, seed)
    return TwinPath(instants, commanded, gripper, f"rollout {outcome.id}", factory.card.name, factory.card.sha256)


def corrective_trajectories(
    twin: Twin, sha256: str, name: str, path: TwinPath, count: int, spread: Spread, seed: int, spec: ExportSpec,
    context: Context,
) -> Iterator[Trajectory]:  # fmt: skip
    """`count` trajectories, one at a time, as the format wants them. `sha256` and `name` are the twin's.

    Raises `InvalidInput` as `real2sim.twin.corrective.corrections` does, before the first.
    """
    from real2sim.twin.corrective import corrections

    found = corrections(twin, path.instants, path.commanded, path.gripper, count, spread, seed)
    kinematics = context.workshop.inverse_kinematics(twin.beginning.robot)
    if spec.layout.openpi and kinematics is None:
        raise InvalidInput(f"{spec.format} wants joints, and the geometry of a {twin.beginning.robot} is not known")
    made_from = content_address([sha256, path.source, asdict(spread), count, seed])

    def trajectories() -> Iterator[Trajectory]:
        for number, each in enumerate(found):
            origin = _origin(each, sha256, name, path, spread, seed)
            made = _trajectory(f"corrective-{made_from[:ID_LETTERS]}-{number}", each, twin, origin)
            yield in_joints(made, kinematics, each.joint_position[0]) if spec.layout.openpi and kinematics else made

    return trajectories()


def notes_on(path: TwinPath, spread: Spread, code: str) -> CardNotes:
    """What the dataset's card says."""
    return CardNotes(
        judged=("Nobody judged them: a way back has no outcome of its own, so `success` is unknown.",),
        selection=(
            f"Corrective views after {METHOD} around {path.source}, before anything is touched or grasped.",
            f"Up to {100 * spread.metres:g} cm and {spread.degrees:g} degrees off, back in {spread.frames} frames; "
            "poses in which the arm touches something are left out.",
        ),
        made_with=f"Made by dreamarena {code}.",
    )


def _trajectory(id: str, each: Correction, twin: Twin, origin: Origin) -> Trajectory:
    begin = twin.beginning
    return Trajectory(
        id=id,
        cameras={name: ArrayFrames(frames) for name, frames in sorted(each.frames.items())},
        state=np.concatenate([each.cartesian_position, each.gripper_position], axis=1),
        action=ActionChunk(each.action, ActionSpace.CARTESIAN_POSITION, begin.fps),
        instruction=begin.instruction,
        task=begin.task,
        fps=begin.fps,
        robot=begin.robot,
        origin=origin,
        joint_position=each.joint_position,
    )


def _origin(each: Correction, sha256: str, name: str, path: TwinPath, spread: Spread, seed: int) -> Origin:
    return Origin(
        synthetic=True,
        success=None,
        world=name,
        world_sha256=sha256,
        policy=path.policy,
        policy_sha256=path.policy_sha256,
        seed=seed,
        details={
            "method": METHOD,
            "path": path.source,
            "frame": each.frame,
            "metres_off": float(each.metres[0]),
            "degrees_off": float(each.degrees[0]),
            "spread": asdict(spread),
        },
    )
