"""What a user asks of a synthesis, checked before anything runs, and planned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from arena.contracts import ActionSpace, Episode, InvalidInput, PolicyCard, WorldCard
from arena.episodes.atomic import MANIFEST
from arena.scenes import beginnings, choose_episodes
from arena.synthesis.diversity import Diversity
from arena.synthesis.export import ExportSpec
from arena.synthesis.guided import check_space as check_guided
from arena.synthesis.phrasing import paraphrases
from arena.synthesis.plan import Beginning, Budget, SynthesisPlan, Wording, interleaved
from arena.synthesis.select import Rules
from workers.evaluation import Dataset, WorldSpec
from workers.jobs import Context
from workers.judge_specs import DEMONSTRATIONS, LEARNED, TRUTH, JudgeSpec, judge_spec, shipped_judge_covers
from workers.paraphrases import asked_paraphrases
from workers.plans import absolute, absolute_spec
from workers.registry import STAND_IN, holds_twins
from workers.settings import SAMPLER_STEPS
from workers.synthesis_specs import AttemptSpec, ImagineInputs
from workers.synthesis_twins import perturbed_twins, twin_beginnings


@dataclass(frozen=True)
class SynthesisRequest:
    """What a user asks for; see `dreamarena synth --help`. `tasks` are names of tasks, or instructions."""

    world: str
    policy: str
    episodes: Path
    out: Path
    tasks: tuple[str, ...] = ()
    layout: Path | None = None
    instructions: tuple[str, ...] = ()
    paraphrases: int = 0
    paraphraser: str | None = None
    """A language model that puts instructions in other words, `MODEL@URL`; templates where None."""
    scenes: int = 20
    beginnings: int = 1
    resets: int = 0
    perturbed: int = 0
    """So many others of the digital twin that is the world, along each of `axes`, each a scene too."""
    axes: tuple[str, ...] = ("object_pose",)
    steps: int = 24
    budget: Budget = field(default_factory=Budget)
    diversity: Diversity = field(default_factory=Diversity)
    rules: Rules = field(default_factory=Rules)
    judge: str = "auto"
    labelled: int = 48
    batch: int = 12
    sampler_steps: int = SAMPLER_STEPS
    guidance: float = 1.0
    export: ExportSpec = field(default_factory=ExportSpec)
    real: Path | None = None
    ratio: float = 0.5
    review: bool = False
    """Wait for a person to accept, reject or trim what was selected."""
    seed: int = 0


@dataclass(frozen=True)
class Prepared:
    """What every batch shares, and the plan."""

    batch: ImagineInputs
    plan: SynthesisPlan


def prepare(context: Context, request: SynthesisRequest) -> Prepared:
    """Everything is looked at before anything runs: raises `InvalidInput` for what cannot be."""
    _check(request)
    spec = WorldSpec(
        name=_world_name(context, request),
        sampler_steps=request.sampler_steps, guidance=request.guidance,
    )  # fmt: skip
    world = context.workshop.world(spec.name, spec.sampler_steps, spec.guidance).card
    policy = absolute_spec(request.policy)
    card = context.workshop.policy(policy).card
    dataset = Dataset.at(request.episodes, request.layout)
    episodes = wanted_episodes(dataset.episodes(context), request.tasks)
    _check_fit(request, world, card)
    _check_space(context, request, world, episodes)
    if any(weight is not None for weight in request.diversity.weights):
        check_guided(card.action_space)
    plan = _plan(context, request, episodes, Path(spec.name))
    batch = ImagineInputs(
        world=spec, world_sha256=world.sha256, policy=policy, policy_sha256=card.sha256, dataset=dataset,
        judge=_judge(request, world, dataset, episodes), steps=request.steps,
        attempts=(AttemptSpec.of(plan.round(0)[0]),),
    )  # fmt: skip
    return Prepared(batch, plan)


def _world_name(context: Context, request: SynthesisRequest) -> str:
    if request.world == STAND_IN:
        return STAND_IN
    name = absolute(request.world)
    if not request.perturbed:
        return name
    return str(perturbed_twins(context, Path(name), request.axes, request.perturbed, request.seed).resolve())


def _check(request: SynthesisRequest) -> None:
    if request.out.exists() and not (request.out / MANIFEST).is_file():
        raise InvalidInput(f"{request.out} already exists: choose another --out, or remove it")
    if request.steps < 2 or min(request.batch, request.scenes, request.beginnings) < 1:
        raise InvalidInput("a synthesis needs two steps or more, a scene, a beginning in it, and a batch of one")
    if min(request.resets, request.perturbed) < 0:
        raise InvalidInput(f"--resets and --perturbed must not be negative, not {request.resets}, {request.perturbed}")
    if request.resets and holds_twins(Path(request.world)):
        raise InvalidInput("a digital twin begins where its episode does: leave out --resets, or use --perturbed")
    if request.paraphraser is not None and not request.paraphrases:
        raise InvalidInput("--paraphraser is asked for so many --paraphrases, and none are wanted")
    if request.real is not None and not 0.0 < request.ratio < 1.0:
        raise InvalidInput(f"--ratio is the share of recorded episodes, above 0 and below 1, not {request.ratio}")
    if request.resets and request.world == STAND_IN:
        raise InvalidInput("the stand-in reality begins at recorded placements only: leave out --resets")


def _check_fit(request: SynthesisRequest, world: WorldCard, policy: PolicyCard) -> None:
    if missing := sorted(set(policy.cameras) - set(world.cameras)):
        raise InvalidInput(f"{policy.name} looks through {missing[0]!r}; {world.name} shows {', '.join(world.cameras)}")


def _check_space(context: Context, request: SynthesisRequest, world: WorldCard, episodes: Sequence[Episode]) -> None:
    """Formats with joint actions take Cartesian trials of robots whose joints can be found, from recorded joints on."""
    space = world.action_space
    known = all(
        episode.joint_position is not None and context.workshop.inverse_kinematics(episode.robot) is not None
        for episode in episodes
    )
    if request.export.layout.openpi and space is ActionSpace.CARTESIAN_POSITION and known and not request.resets:
        space = ActionSpace.JOINT_VELOCITY
    request.export.check_space(space)


def wanted_episodes(episodes: Sequence[Episode], tasks: Sequence[str]) -> list[Episode]:
    """Those of the tasks, which are named by name or by instruction. Raises `InvalidInput` listing what there is."""
    if not tasks:
        return list(episodes)
    known = {name for episode in episodes for name in (episode.task, episode.instruction) if name}
    for task in tasks:
        if task not in known:
            there = ", ".join(sorted({episode.task or episode.instruction for episode in episodes}))
            raise InvalidInput(f"no episode is of the task {task!r}; there are {there}")
    return [episode for episode in episodes if episode.task in tasks or episode.instruction in tasks]


def _plan(context: Context, request: SynthesisRequest, episodes: Sequence[Episode], world: Path) -> SynthesisPlan:
    begun = beginnings(choose_episodes(episodes), request.beginnings)
    asked = set(request.tasks)
    starts = [Beginning(episode.id, frame, episode.instruction, episode.task) for episode, frame in begun]
    starts += [each for each in twin_beginnings(world) if not request.tasks or {each.task, each.instruction} & asked]
    by_task: dict[str, int] = {}
    chosen = []
    for start in interleaved(starts):
        by_task[start.task] = by_task.get(start.task, 0) + 1
        if by_task[start.task] <= request.scenes:
            chosen.append(start)
    told = sorted({start.instruction for start in chosen})
    return SynthesisPlan(
        tuple(chosen), request.diversity, request.budget,
        {words: _wordings(context, request, words, told) for words in told},
        request.seed,
    )  # fmt: skip


def _wordings(context: Context, request: SynthesisRequest, words: str, told: Sequence[str]) -> tuple[Wording, ...]:
    """The policy is told what it was taught; the trajectory is kept under the words that it is to learn as well."""
    if request.instructions and len(told) > 1:
        raise InvalidInput(
            f"--instructions are of one task, but the scenes want {len(told)} things: choose one --tasks"
        )
    if request.paraphraser is None:
        others = paraphrases(words, request.paraphrases, request.seed)
    else:
        others = asked_paraphrases(context, request.paraphraser, words, request.paraphrases, request.seed)
    labels = (*request.instructions, *others) or (words,)
    return tuple(Wording(words, label) for label in labels)


def _judge(request: SynthesisRequest, world: WorldCard, dataset: Dataset, episodes: Sequence[Episode]) -> JudgeSpec:
    asked = request.judge
    if asked == "auto":
        if not world.knows_success and holds_twins(Path(request.world)) and not shipped_judge_covers(episodes):
            raise InvalidInput(
                f"a digital twin does not know what success is, and the judge that ships does not know this task of a "
                f"{world.robot}: give --judge learned:FOLDER or --judge vlm:MODEL@URL"
            )
        asked = TRUTH if world.knows_success else LEARNED if shipped_judge_covers(episodes) else DEMONSTRATIONS
    return judge_spec(asked, dataset, request.seed, request.labelled)


def judging_lines(work: Prepared) -> tuple[str, ...]:
    told = sorted({wording.told for each in work.plan.wordings.values() for wording in each})
    return (f"The judge `{work.batch.judge.name}` was asked about: {'; '.join(told)}.",)


def selection_lines(request: SynthesisRequest) -> tuple[str, ...]:
    rules, budget = request.rules, request.budget
    if not rules.judged:
        return ("Nothing was left out for what a judge said: this is a control.",)
    return (
        f"Success probability at least the judge's threshold plus {rules.margin:.0%} of what is left to 1.",
        f"Robot in the pictures at most {rules.apart:g} of the usual largest distance from its states.",
        f"No two from one scene nearer than {1000 * rules.alike:g} mm; {budget.per_scene} of a scene at most.",
        f"Cut {rules.settled} frames after the one in which the judge saw it done.",
    )
