"""`dreamarena synth`: synthetic fine-tuning data from a policy's own imagined successes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from workers.cli.session import Answer, Session
from workers.settings import SAMPLER_STEPS

if TYPE_CHECKING:
    from workers.synthesis_plan import SynthesisRequest

FORMATS = {"lerobot": "lerobot-v3.0", "openpi": "openpi-v2.1"}
STAND_IN_SEED = 11
"""Of the placements that are tried where no episodes are given: neither trained nor measured on."""


@dataclass(frozen=True)
class Synth:
    """Let a policy act in a world model, judge what happened, and export the successes as a dataset for fine-tuning.

    Run again with the same arguments, it goes on where it was interrupted.
    """

    policy: str
    """E.g. bc:FOLDER or openpi://HOST:PORT?action_space=joint_velocity&control_hz=15&chunk=8."""
    out: Path
    """The dataset's folder."""
    task: tuple[str, ...] = ()
    """Names or instructions of tasks of the episodes; all by default. Without --episodes, Meta-World tasks."""
    episodes: Path | None = None
    """The dataset whose episodes trials begin at; by default placements of the stand-in robot."""
    layout: Path | None = None
    """A TOML that declares the dataset's columns, where it does not do so itself."""
    world: str | None = None
    """A world model's checkpoint folder, or `metaworld`, the stand-in reality; the model that ships by default."""
    instructions: tuple[str, ...] = ()
    """Other words for the one task, under which trajectories are kept while the policy is told the scene's own."""
    paraphrases: int = 0
    """As many other wordings of each instruction, from templates."""
    paraphraser: str | None = None
    """A language model that words them instead, MODEL@URL of an OpenAI-compatible endpoint; every answer is checked."""
    count: int = 40
    """Trajectories that are wanted."""
    attempts: int | None = None
    """Trials at most; four for each trajectory by default."""
    minutes: float | None = 7.0
    """After so long no other batch of trials is begun."""
    scenes: int = 20
    """Scenes of each task at most."""
    beginnings: int = 1
    """From how many frames of each episode trials begin, evenly along it."""
    per_scene: int = 3
    """Trajectories from one scene at most."""
    resets: int = 0
    """Trials that begin in the middle of earlier imagined ones."""
    perturbed: int = 0
    """Where --world is a digital twin: so many others of it along each of --axes, whose first frames are scenes too."""
    axes: tuple[str, ...] = ("object_pose",)
    """With --perturbed: what differs, as in `dreamarena twin perturb`."""
    noises: tuple[float, ...] = (0.0, 0.01, 0.02)
    """Attempts at a scene take turns in these deviations, in m, by which the hand is pushed off its way."""
    chunks: tuple[int, ...] = ()
    """Attempts take turns in carrying out so many actions of each answer; by default as many as the policy says."""
    policy_weights: tuple[float, ...] = ()
    """Policy-guided sampling: motions are drawn from recorded ones times the policy's likelihood to this power, from 0
    (recorded motions only) up. Attempts take turns in these; by default the policy is followed."""
    steps: int = 24
    """Actions in each trial, at the world's rate."""
    judge: str = "auto"
    """As in `dreamarena evaluate`."""
    margin: float = 0.0
    """How far above the judge's threshold a success has to be, as a share of what is left to 1."""
    apart: float = 0.9
    """How far the robot in the pictures may be from its states, as a share of what the judge finds usual at most."""
    format: str = "lerobot"
    """`lerobot` (v3.0) or `openpi` (LeRobot v2.1 with openpi's names)."""
    target: str | None = None
    """A config of openpi's that is to read it, e.g. pi05_droid_finetune: what it cannot read is refused."""
    blank_cameras: bool = False
    """Write black frames for cameras that openpi's config names and the robot lacks."""
    real: Path | None = None
    """A dataset of recorded episodes to mix in."""
    ratio: float = 0.5
    """With --real: the share of recorded episodes."""
    review: bool = False
    """Let a person accept, reject or trim what was selected (`dreamarena ui`); run again to export it."""
    batch: int = 12
    """Trials that are run together."""
    sampler_steps: int = SAMPLER_STEPS
    guidance: float = 1.0
    seed: int = 0
    json: bool = False
    """Print JSON and nothing else on stdout."""

    def run(self, session: Session) -> Answer:
        from workers.synthesis import synthesize
        from workers.synthesis_review import Waiting

        request = self._request()
        if self.episodes is None:
            request = replace(request, episodes=self._placements(session))
        try:
            found = synthesize(session.context, request, session.run, session.say)
        except Waiting as waiting:
            return Answer(waiting.facts, partial(_wait, str(waiting)))
        found["next"] = _next_commands(found, self.policy)
        return Answer(found, lambda console: _show(found, console))

    def _request(self) -> SynthesisRequest:
        """Raises `InvalidInput` for what cannot be asked for, before anything is opened."""
        from arena.contracts import InvalidInput
        from arena.synthesis.diversity import Diversity
        from arena.synthesis.export import ExportSpec
        from arena.synthesis.plan import Budget
        from arena.synthesis.select import Rules
        from workers.registry import WORLD, pretrained
        from workers.synthesis_plan import SynthesisRequest

        if self.format not in FORMATS:
            raise InvalidInput(f"there is no format {self.format!r}, only {', '.join(FORMATS)}")
        if self.episodes is None and not self.task:
            raise InvalidInput("name a --task of the stand-in robot, e.g. --task drawer-open-v3, or give --episodes")
        return SynthesisRequest(
            world=self.world or str(pretrained(WORLD)), policy=self.policy, episodes=self.episodes or Path(),
            out=self.out, tasks=self.task, layout=self.layout, instructions=self.instructions,
            paraphrases=self.paraphrases, paraphraser=self.paraphraser, perturbed=self.perturbed, axes=self.axes,
            scenes=self.scenes, beginnings=self.beginnings, resets=self.resets,
            steps=self.steps, judge=self.judge, batch=self.batch, sampler_steps=self.sampler_steps,
            guidance=self.guidance, real=self.real, ratio=self.ratio, review=self.review, seed=self.seed,
            budget=Budget(self.count, self.attempts or 4 * self.count, self.minutes, self.per_scene),
            diversity=Diversity(self.noises, self.chunks or (None,), self.policy_weights or (None,)),
            rules=Rules(self.margin, self.apart),
            export=ExportSpec(FORMATS[self.format], self.target, blank_cameras=self.blank_cameras),
        )  # fmt: skip

    def _placements(self, session: Session) -> Path:
        """First frames of the stand-in robot's scenes, as a dataset in the home."""
        from workers.jobs import Request
        from workers.steps.record import RecordInputs

        name = f"placements-{'-'.join(sorted(self.task))}-{self.scenes}"
        inputs = RecordInputs(
            out=str(session.settings.home.absolute() / "synth" / name), tasks=self.task, seed=STAND_IN_SEED,
            episodes_per_task=self.scenes, height=64, width=96, kinds=(("expert", 1.0),), max_frames=2,
        )  # fmt: skip
        [recorded] = session.run([Request("record", inputs)])
        return Path(recorded["dataset"])


def _next_commands(found: dict[str, Any], policy: str) -> list[str]:
    """What to type next, with the dataset that was made."""
    from workers.finetuning_commands import commands

    return commands(Path(found["dataset"]), found["format"], policy)


def _wait(told: str, console: Console) -> None:
    console.print(told, markup=False, soft_wrap=True)


def _show(found: dict[str, Any], console: Console) -> None:
    said = f"{found['synthetic']} synthetic and {found['recorded']} recorded episodes, {found['frames']} frames"
    console.print(f"{said} in {found['dataset']}", markup=False, soft_wrap=True)
    console.print(f"{found['judged_successes']} of {found['attempts']} attempts were judged successes", markup=False)
    for reason, count in sorted(found["dropped"].items()):
        console.print(f"  {count} {reason}", markup=False, highlight=False)
    for line in found["next"]:
        console.print(f"next: {line}", markup=False, highlight=False, soft_wrap=True)
