"""Trials of policies in one world, as many at a time as memory holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from arena.contracts import Policy, Rollout, Scene, World
from arena.rollout import FailedRollout, code_version, run_rollouts
from workers.jobs import Context, Progress


@dataclass(frozen=True)
class Planned:
    """A trial to be run: its policy is made when its turn comes, and closed after it."""

    scene: Scene
    seed: int
    policy: Callable[[], Policy]


def run_trials(
    world: World,
    trials: Sequence[Planned],
    steps: int,
    context: Context,
    *,
    config_sha256: str = "",
    progress: Progress | None = None,
) -> Iterator[Rollout | FailedRollout]:
    """What came of each trial, in order, as soon as those are through that it was run together with.

    All are run at once, or, where memory has no room for that, parts of them: what happens in a trial is the same, as
    long as the policies' chunks last equally long. Raises as `arena.rollout.run_rollouts` does.
    """
    through, code = 0, code_version()

    def run(part: Sequence[Planned]) -> list[Rollout | FailedRollout]:
        def tell(done: int, of: int, stage: str) -> None:
            if progress is not None:
                progress(round((through * of + len(part) * done) / len(trials)), of, stage)

        policies: list[Policy] = []
        try:
            policies.extend(trial.policy() for trial in part)
            return run_rollouts(
                world, policies, [trial.scene for trial in part], [trial.seed for trial in part], steps=steps,
                kinematics=context.workshop.kinematics(part[0].scene.robot), config_sha256=config_sha256,
                code=code, progress=tell,
            )  # fmt: skip
        finally:
            for policy in policies:
                policy.close()

    for outcomes in context.workshop.sizing.in_parts(world.card.sha256, trials, run):
        through += len(outcomes)
        yield from outcomes
