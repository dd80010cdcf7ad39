"""`dreamarena policy`: what is known of a policy before it is evaluated, and how it becomes a better one."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from rich.console import Console
from tyro.conf import Positional, subcommand

from workers.cli.session import Answer, Session

if TYPE_CHECKING:
    from arena.contracts import Kinematics, Scene

SCENES = 3


@dataclass(frozen=True)
class Probe:
    """Look at a policy server before it is submitted: what it wants and answers, and which typical mistakes it makes.

    Some twenty calls: the same one again and again, then with one thing changed (the robot's place, the gripper, each
    camera, the instruction), then in three scenes.
    """

    spec: Positional[str]
    """E.g. openpi://HOST:8000, roboarena://HOST:8000 or groot://HOST:5555; or the whole spec of a submission."""
    action_space: str | None = None
    """Check the answers against joint_velocity, joint_position, cartesian_position or cartesian_velocity."""
    calls: int = 8
    """How often it is asked the same."""
    episodes: Path | None = None
    """A dataset to take the three scenes from, so that what it would do is compared with what was recorded."""
    server: str | None = None
    """Have the API at this address look, e.g. https://HOST, with the token in DREAMARENA_TOKEN."""
    json: bool = False
    """Print JSON and nothing else on stdout."""

    def run(self, session: Session) -> Answer:
        found = self._here(session) if self.server is None else self._elsewhere(self.server)
        return Answer(found, lambda console: show_report(found, console), 0 if found["ok"] else 2)

    def _elsewhere(self, url: str) -> dict[str, Any]:
        from arena.contracts import InvalidInput
        from workers.client import connect

        if self.episodes is not None:
            raise InvalidInput("--episodes are of this machine: the API looks with scenes that are made up")
        return connect(url).probe(self.spec, self.action_space, self.calls)

    def _here(self, session: Session) -> dict[str, Any]:
        from arena.contracts import ActionSpace, InvalidInput
        from arena.policies.preflight import probe
        from arena.policies.server import Access

        spaces = [space.value for space in ActionSpace]
        if self.action_space is not None and self.action_space not in spaces:
            raise InvalidInput(f"there is no action space {self.action_space!r}, only {', '.join(spaces)}")
        if self.calls < 1:
            raise InvalidInput(f"--calls must be at least 1, not {self.calls}")
        space = None if self.action_space is None else ActionSpace(self.action_space)
        access = Access(allow_private=session.settings.private_policies is not False)
        scenes, kinematics = (None, None) if self.episodes is None else self._scenes(self.episodes, session)
        with session.progress() as progress:
            return probe(self.spec, space, self.calls, access, scenes, kinematics, progress).to_json()

    def _scenes(self, dataset: Path, session: Session) -> tuple[list[Scene], Kinematics | None]:
        from arena.scenes import choose_episodes, scene_from_episode

        workshop = session.context.workshop
        chosen = choose_episodes(workshop.episodes(dataset), SCENES)
        scenes = [scene_from_episode(episode) for episode in chosen]
        return scenes, workshop.kinematics(scenes[0].robot)


def show_report(found: dict[str, Any], console: Console) -> None:
    """A probe's report: what was measured, how the scenes went, and last what matters most."""
    from arena.policies.report import told

    lines = [f"{name}: {value}" for name, value in told(found).items()]
    lines += [f"note: {note}" for note in found["notes"]]
    lines += [f"{'mistake' if each['certain'] else 'suspicion'}: {each['says']}" for each in found["mistakes"]]
    lines += [f"problem: {problem}" for problem in found["problems"]]
    if found["submit_as"] is not None:
        lines.append(f"submit as: {found['submit_as']}")
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class Listed:
    """List the policies that evaluations have met, and what each declared itself to be."""

    json: bool = False
    """Print JSON and nothing else on stdout."""

    def run(self, session: Session) -> Answer:
        cards = [record.card for record in session.context.store.catalog.policies()]

        def show(console: Console) -> None:
            for card in cards:
                console.print(f"{card.name}: {card.action_space} at {card.control_hz:g} Hz, {card.spec}", markup=False)
            console.print(f"{len(cards)} policies")

        return Answer({"policies": [asdict(card) for card in cards]}, show)


@dataclass(frozen=True)
class Submit:
    """Let one more policy act in the scenes of an evaluation, and rank it among the others.

    A server is looked at first, as `dreamarena policy probe` does, in three of those scenes. Only what the new policy
    adds is done.
    """

    policy: Positional[str]
    """E.g. openpi://HOST:PORT?action_space=joint_velocity&control_hz=15&chunk=8, or bc:FOLDER."""
    evaluation: str | None = None
    """The evaluation that it joins, by id; the newest finished one by default."""
    server: str | None = None
    """Submit it to the API at this address, e.g. https://HOST, with the token in DREAMARENA_TOKEN."""
    private: bool = False
    """With --server: whether only the token's owner may see what comes of it."""
    no_wait: bool = False
    """With --server: do not wait for it; `dreamarena jobs list --server` says how far it is."""
    json: bool = False
    """Print JSON and nothing else on stdout."""

    def run(self, session: Session) -> Answer:
        if self.server is not None:
            return self._elsewhere(self.server, session)
        from arena.contracts import InvalidInput

        if self.private or self.no_wait:
            raise InvalidInput("--private and --no-wait are for policies that are submitted with --server")
        return self._here(session)

    def _elsewhere(self, url: str, session: Session) -> Answer:
        from workers.cli.evaluate import show_ranking
        from workers.cli.jobs import from_server
        from workers.client import connect

        server = connect(url)
        job = server.submit(self.policy, self.evaluation, self.private)
        if not self.no_wait:
            with session.progress() as progress:

                def watch(now: dict[str, Any]) -> None:
                    progress(now["done"], now["total"], now["stage"] or now["status"])

                job = server.wait(job["key"], watch)
        if job["status"] != "done":
            return from_server(job)
        ranking = server.leaderboard(job["result"]["evaluation"])
        return Answer({**job["result"], "ranking": ranking}, lambda console: show_ranking(ranking, console))

    def _here(self, session: Session) -> Answer:
        from workers.cli.evaluate import finished_evaluation, show_ranking
        from workers.jobs import Request
        from workers.steps.submit_policy import submission

        joins = finished_evaluation(session, self.evaluation).id
        inputs = submission(self.policy, joins, session.context.workshop)
        [found] = session.run([Request("submit_policy", inputs)])
        ranking = dict(finished_evaluation(session, found["evaluation"]).result or {})

        def show(console: Console) -> None:
            for note in found["notes"]:
                console.print(f"{found['policy']}: {note}", markup=False, highlight=False)
            show_ranking(ranking, console)

        return Answer({**found, "ranking": ranking}, show)


@dataclass(frozen=True)
class Finetune:
    """Train a cloned policy on with recorded, synthetic or mixed episodes, or print how others are fine-tuned.

    Run again with the same arguments, it goes on where it was interrupted.
    """

    policy: Positional[str]
    """bc:FOLDER; or lerobot or openpi, for the command line that fine-tunes theirs on the (first) dataset."""
    episodes: tuple[Path, ...]
    """The datasets to learn from, e.g. synthetic ones, and the old ones so that nothing is forgotten."""
    out: Path | None = None
    """Where the fine-tuned policy goes."""
    shares: tuple[float, ...] = ()
    """Of every batch, one for each dataset, e.g. 1 1; by default equal ones."""
    steps: int = 600
    batch: int = 32
    learning_rate: float = 1e-3
    failures: bool = False
    """Learn from episodes that failed, too."""
    seed: int = 0
    json: bool = False
    """Print JSON and nothing else on stdout."""

    def run(self, session: Session) -> Answer:
        from arena.contracts import InvalidInput
        from workers.finetuning_commands import FRAMEWORKS

        if not self.episodes:
            raise InvalidInput("give the datasets to learn from: --episodes DATASET ...")
        if self.policy in FRAMEWORKS:
            return self._elsewhere()
        if not self.policy.startswith("bc:"):
            raise InvalidInput(
                f"only cloned policies (bc:FOLDER), lerobot and openpi are fine-tuned, not {self.policy!r}"
            )
        if self.out is None:
            raise InvalidInput("say where the fine-tuned policy goes: --out FOLDER")
        return self._here(self.out, session)

    def _elsewhere(self) -> Answer:
        from workers.finetuning_commands import command_for

        line = command_for(self.policy, self.episodes[0].resolve())
        return Answer({"command": line}, lambda console: console.print(line, markup=False, soft_wrap=True))

    def _here(self, out: Path, session: Session) -> Answer:
        from workers.evaluation import Dataset
        from workers.jobs import Request
        from workers.steps.finetune import FinetuneInputs

        folder = self.policy.removeprefix("bc:")
        inputs = FinetuneInputs(
            policy=str(Path(folder).resolve()), policy_sha256=session.context.workshop.policy(self.policy).card.sha256,
            datasets=tuple(Dataset.at(path) for path in self.episodes),
            shares=self.shares or (1.0,) * len(self.episodes), out=str(out.resolve()), steps=self.steps,
            batch=self.batch, learning_rate=self.learning_rate, only_successes=not self.failures, seed=self.seed,
        )  # fmt: skip
        [found] = session.run([Request("finetune", inputs)])
        said = f"fine-tuned on {found['episodes']} episodes (loss {found['loss']:.4f}): bc:{found['policy']}"
        return Answer(found, lambda console: console.print(said, markup=False, soft_wrap=True))


@dataclass(frozen=True)
class Policy:
    """Look at policies before and after evaluating them, submit one, and fine-tune one."""

    command: (
        Annotated[Probe, subcommand("probe")]
        | Annotated[Submit, subcommand("submit")]
        | Annotated[Finetune, subcommand("finetune")]
        | Annotated[Listed, subcommand("list")]
    )
