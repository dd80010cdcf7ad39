"""`dreamarena policy`: what is known of a policy before it is evaluated."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated

from rich.console import Console
from tyro.conf import Positional, subcommand

from workers.cli.session import Answer, Session


@dataclass(frozen=True)
class Probe:
    """Shake hands with an openpi policy server, call it with a grey observation, and print what it found."""

    url: Positional[str]
    """E.g. openpi://HOST:8000 or ws://HOST:8000."""
    action_space: str | None = None
    """Check the answers against joint_velocity, joint_position, cartesian_position or cartesian_velocity."""
    calls: int = 4
    json: bool = False
    """Print JSON and nothing else on stdout."""

    def run(self, session: Session) -> Answer:
        from arena.contracts import ActionSpace, InvalidInput
        from arena.policies.preflight import probe

        spaces = [space.value for space in ActionSpace]
        if self.action_space is not None and self.action_space not in spaces:
            raise InvalidInput(f"there is no action space {self.action_space!r}, only {', '.join(spaces)}")
        if self.calls < 1:
            raise InvalidInput(f"--calls must be at least 1, not {self.calls}")
        space = None if self.action_space is None else ActionSpace(self.action_space)
        with session.progress() as progress:
            report = probe(self.url, space, self.calls, progress=progress)
        found = report.to_json()

        def show(console: Console) -> None:
            for name, value in found.items():
                console.print(f"{name}: {value}", markup=False, highlight=False)

        return Answer(found, show, 0 if report.ok else 2)


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

    A server is called a few times first. Only what the new policy adds is done.
    """

    policy: Positional[str]
    """E.g. openpi://HOST:PORT?action_space=joint_velocity&control_hz=15&chunk=8, or bc:FOLDER."""
    evaluation: str | None = None
    """The evaluation that it joins, by id; the newest finished one by default."""
    json: bool = False
    """Print JSON and nothing else on stdout."""

    def run(self, session: Session) -> Answer:
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
class Policy:
    """Look at policies before and after evaluating them, and submit one."""

    command: (
        Annotated[Probe, subcommand("probe")]
        | Annotated[Submit, subcommand("submit")]
        | Annotated[Listed, subcommand("list")]
    )
