"""`dreamarena twin view`, `replay`, `rollout` and `perturb`: what twins are made for."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from tyro.conf import Positional

from workers.cli.session import Answer, Session

if TYPE_CHECKING:
    from arena.contracts import Episode, Judge


@dataclass(frozen=True)
class View:
    """Look around in a twin in the browser; Ctrl-C ends it."""

    twin: Positional[Path]
    """The twin's folder."""
    host: str = "127.0.0.1"
    port: int = 8090
    json: bool = False
    """Print JSON and nothing else on stdout."""

    def run(self, session: Session) -> Answer:
        import time

        from real2sim.twin.bundle import load_twin
        from real2sim.twin.view import serve

        twin = load_twin(self.twin)
        server = serve(twin, self.host, self.port)
        address = f"http://{self.host}:{server.get_port()}"
        session.say(f"{self.twin} is at {address}")
        try:
            while True:
                time.sleep(1)
        except KeyboardInterrupt:
            server.stop()
        return Answer({"address": address}, lambda console: None)


@dataclass(frozen=True)
class Replay:
    """Carry out an episode's recorded actions in its twin: a film of both, and how far apart they are."""

    twin: Positional[Path]
    """The twin's folder."""
    episodes: Positional[Path]
    """The dataset that has the episode."""
    out: Path
    """The film, an mp4: for each camera the real one above the twin's."""
    json: bool = False
    """Print JSON and nothing else on stdout."""

    def run(self, session: Session) -> Answer:
        import numpy as np

        from arena.contracts import InvalidInput
        from arena.episodes.encode import write_video
        from arena.metrics import psnr, ssim
        from real2sim.reconstruct.verify import drive
        from real2sim.twin.bundle import load_twin
        from workers.twins import side_by_side
        from worldmodels.latents import resize

        twin = load_twin(self.twin)
        episode = chosen_episode(
            session.context.workshop.episodes(self.episodes), twin.beginning.episode_id, self.episodes
        )
        twin.beginning.check(episode)
        if self.out.suffix != ".mp4":
            raise InvalidInput(f"{self.out} is no film's name: give one that ends in .mp4")
        if not (shared := [name for name in twin.cameras if name in episode.cameras]):
            films = ", ".join(sorted(episode.cameras))
            raise InvalidInput(f"{episode.id} has none of the twin's cameras ({', '.join(twin.cameras)}), only {films}")
        driven = drive(twin, episode)
        # A twin of several episodes may have smaller cameras than their films are.
        real = {name: resize(episode.cameras[name].read(), driven.frames[name].shape[1:3]) for name in shared}
        film = np.concatenate([side_by_side(real), side_by_side({name: driven.frames[name] for name in real})], axis=1)
        write_video(self.out, film, episode.fps)
        cameras = {
            name: {"psnr": float(psnr(driven.frames[name], real[name]).mean()),
                   "ssim": float(ssim(driven.frames[name], real[name]).mean())}
            for name in real
        }  # fmt: skip
        found = {"film": str(self.out), "reached_mm": driven.reached_mm, "reached_deg": driven.reached_deg,
                 "cameras": cameras}  # fmt: skip
        return Answer(found, lambda console: _show_replay(found, console))


@dataclass(frozen=True)
class Rollout:
    """Run policies in a twin, in all twins of a folder, or in a suite of `dreamarena twin perturb`.

    To rank policies, use `dreamarena evaluate --world DIR`: this shows what they do, and what perturbations change.
    """

    twin: Positional[Path]
    """A twin's folder, or a folder of twins."""
    policies: tuple[str, ...]
    """E.g. hold noise bc:FOLDER openpi://HOST:PORT?action_space=joint_velocity&control_hz=15&chunk=8."""
    out: Path
    """The folder for films and rollouts.json."""
    seeds: int = 1
    """Trials of each policy in each twin: the seed draws masses and frictions."""
    seed: int = 0
    """The first one."""
    steps: int = 20
    """Actions in each trial, at the twin's rate."""
    batch: int = 8
    judge: str | None = None
    """Who says what succeeded: `learned`, `learned:FOLDER` or `vlm:MODEL@URL`; nobody by default."""
    json: bool = False
    """Print JSON and nothing else on stdout."""

    def run(self, session: Session) -> Answer:
        from arena.contracts import InvalidInput
        from real2sim.twin.suite import partners
        from real2sim.twin.world import TwinWorld
        from workers.twins import judged, report_changes, roll_out, save_films

        if self.seeds < 1 or self.batch < 1:
            raise InvalidInput(f"give at least one seed and one trial a batch, not {self.seeds} and {self.batch}")
        context = session.context
        factories = [context.workshop.policy(spec) for spec in self.policies]
        judge = None if self.judge is None else _judge(self.judge, self.seed, session)
        world = TwinWorld.load(self.twin)
        try:
            seeds = range(self.seed, self.seed + self.seeds)
            with session.progress() as progress:
                outcomes = roll_out(world, factories, seeds, self.steps, self.batch, context, progress)
        finally:
            world.close()
        save_films(self.out, outcomes)
        success = None if judge is None else judged(outcomes, judge)
        failed = [str(each.error) for _, each in outcomes if hasattr(each, "error")]
        found = {
            "out": str(self.out),
            "trials": len(outcomes),
            "failed": failed,
            "success": _means(success),
            "changes": report_changes(outcomes, partners(self.twin), success),
        }
        return Answer(found, lambda console: _show_rollouts(found, console), 1 if len(failed) == len(outcomes) else 0)


@dataclass(frozen=True)
class Perturb:
    """Make a suite: a twin and others that differ from it in one thing each, to see what a policy hangs on."""

    twin: Positional[Path]
    """The twin's folder."""
    out: Path
    """The suite's folder, for `dreamarena twin rollout`."""
    axes: tuple[str, ...] = ()
    """Which of: background table_color object_color lighting camera object_pose object_swap distractors instruction
    friction_mass. All by default."""
    each: int = 3
    """Twins for each axis."""
    seed: int = 0
    strength: float = 1.0
    """The part of each axis's range that is drawn from, 0 to 1."""
    json: bool = False
    """Print JSON and nothing else on stdout."""

    def run(self, session: Session) -> Answer:
        from real2sim.twin.bundle import load_twin
        from real2sim.twin.perturb import AXES
        from real2sim.twin.suite import write_suite

        twin, axes = load_twin(self.twin), self.axes or tuple(AXES)
        with session.progress() as progress:
            keys, left_out = write_suite(twin, self.out, axes, self.each, self.seed, self.strength, progress)
        ranges = {axis: AXES[axis].range for axis in axes if axis not in left_out}
        found = {"out": str(self.out), "twins": keys, "ranges": ranges, "left_out": left_out}
        return Answer(found, lambda console: _show_suite(found, console))


@dataclass(frozen=True)
class Agree:
    """Cross-check two worlds, such as a twin and a world model: the same policies from the same beginnings.

    Both are ids of evaluations (`dreamarena evaluate`). Trials that came out differently are listed, for a person to
    look at.
    """

    first: Positional[str]
    second: Positional[str]
    json: bool = False
    """Print JSON and nothing else on stdout."""

    def run(self, session: Session) -> Answer:
        from arena.validation.worlds import compare_worlds

        found = asdict(compare_worlds(session.context.store, self.first, self.second))
        return Answer(found, lambda console: _show_agreement(found, console))


def chosen_episode(episodes: tuple[Episode, ...], wanted: str | None, path: Path) -> Episode:
    """The episode of that id, the first where none is asked for. Raises `InvalidInput` where it is not there."""
    from arena.contracts import InvalidInput

    if wanted is None:
        return episodes[0]
    for episode in episodes:
        if episode.id == wanted:
            return episode
    raise InvalidInput(f"{path} has no episode {wanted!r}, only {', '.join(episode.id for episode in episodes[:10])}")


def _judge(name: str, seed: int, session: Session) -> Judge:
    from workers.evaluation import Dataset
    from workers.judge_specs import judge_spec
    from workers.judging import make_judge

    nothing = Dataset(path="", layout=None, fingerprint="")
    return make_judge(judge_spec(name, nothing, seed, 0), None, session.context)


def _means(success: dict[tuple[str, str, int], float] | None) -> dict[str, float] | None:
    """Mean success probability by policy, over all twins."""
    if success is None:
        return None
    policies = sorted({policy for policy, _, _ in success})
    values = {policy: [value for (other, _, _), value in success.items() if other == policy] for policy in policies}
    return {policy: sum(each) / len(each) for policy, each in values.items()}


def _show_replay(found: dict[str, Any], console: Console) -> None:
    table = Table("camera", "PSNR, dB", "SSIM", box=SIMPLE)
    for name, each in found["cameras"].items():
        table.add_row(name, f"{each['psnr']:.1f}", f"{each['ssim']:.3f}")
    console.print(table)
    apart = f"{found['reached_mm']:.1f} mm and {found['reached_deg']:.2f} degrees"
    console.print(f"the driven flange is {apart} (median) from the recorded one; film: {found['film']}", markup=False)


def _show_rollouts(found: dict[str, Any], console: Console) -> None:
    for line in found["failed"]:
        console.print(f"missing: {line}", markup=False)
    for policy, mean in (found["success"] or {}).items():
        console.print(f"{policy}: {mean:.0%} success", markup=False)
    if found["changes"]:
        table = Table("axis", "policy", "pairs", "path moved, cm", "change of success", box=SIMPLE)
        for each in found["changes"]:
            path, success = each.get("path_cm"), each.get("success")
            pairs = str((path or success)["pairs"])
            table.add_row(
                each["axis"], each["policy"], pairs, _with_interval(path, 1.0), _with_interval(success, 100.0)
            )
        console.print(table)
    console.print(f"{found['trials']} trials, films in {found['out']}", markup=False)


def _show_suite(found: dict[str, Any], console: Console) -> None:
    table = Table("axis", "range", box=SIMPLE)
    for axis, words in found["ranges"].items():
        table.add_row(axis, words)
    console.print(table)
    for axis, why in found["left_out"].items():
        console.print(f"{axis} is left out: {why}", markup=False)
    console.print(f"{len(found['twins'])} twins in {found['out']}", markup=False)


def _with_interval(change: dict[str, Any] | None, scale: float) -> str:
    if change is None:
        return "-"
    if change["low"] is None:
        return f"{scale * change['change']:+.1f}"
    return f"{scale * change['change']:+.1f} ({scale * change['low']:+.1f} to {scale * change['high']:+.1f})"


def _show_agreement(found: dict[str, Any], console: Console) -> None:
    share = found["agreement"]
    interval = "" if share["low"] is None else f" ({share['low']:.0%} to {share['high']:.0%})"
    kappa = "-" if found["kappa"] is None else f"{found['kappa']:.2f}"
    console.print(f"the worlds agree on {share['value']:.0%}{interval} of {found['trials']} trials, kappa {kappa}")
    if found["unpaired"]:
        console.print(f"{found['unpaired']} trials have no verdict in one of them")
    if found["disagreements"]:
        table = Table("policy", "beginning", "first", "second", "rollouts", box=SIMPLE)
        for each in found["disagreements"]:
            rollouts = f"{each['first_rollout'][:12]} {each['second_rollout'][:12]}"
            numbers = (f"{each[side]:.2f}" for side in ("first", "second"))
            table.add_row(each["policy"], each["beginning"], *numbers, rollouts)
        console.print(table)
