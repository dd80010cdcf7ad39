"""`dreamarena twin`: digital twins made from robot episodes."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from tyro.conf import Positional, subcommand

from arena.contracts import InvalidInput
from workers.cli.session import Answer, Session
from workers.cli.twin_correct import Correct
from workers.cli.twin_use import Agree, Perturb, Replay, Rollout, View, chosen_episode

if TYPE_CHECKING:
    from real2sim.reconstruct import Built


@dataclass(frozen=True)
class Build:
    """Make a twin of an episode's scene: cameras, table, things, Gaussians and physics, each with a gate.

    Runs on where it was cut off. Exits with 2 where the twin is refused, and says at which stage and by which number.
    """

    episodes: Positional[Path]
    """A dataset of robot episodes (DROID, LeRobot, clips)."""
    out: Path
    """The twin's folder."""
    episode: str | None = None
    """Which of its episodes, by id; the first by default."""
    wrist_frames: int = 48
    """Of the wrist camera, that the scene is fitted to."""
    steps: int = 1200
    """Of the scene's fit."""
    seed: int = 0
    focal: tuple[str, ...] = ()
    """Focal lengths that are known, in pixels of the films, as in `wrist=183 exterior_1=126`."""
    filmed_as: str | None = None
    """Shape of the pictures before they were resized, as in `16:9`, where that changed it and the dataset does not say
    so itself: their pixels are not square then."""
    cameras: Path | None = None
    """A JSON file of cameras whose poses are known, by their names; docs/twins.md has an example. Each is checked, and
    searched for where the films contradict it."""
    segmenter: Path | None = None
    """A folder of `owlv2/` and `sam2/` (as `save_pretrained` writes them): what the instruction names is then found by
    masks, and called by its name."""
    generator: str | None = None
    """An installed image-to-3D plug-in that makes the meshes of what the masks show."""
    engine: Literal["own", "nerfstudio"] = "own"
    """What fits the scene: our own code, on CUDA where gsplat's kernels are there, else on the CPU; or nerfstudio's
    splatfacto in an environment of its own, whose bin folder DREAMARENA_NERFSTUDIO names."""
    json: bool = False
    """Print JSON and nothing else on stdout."""

    def run(self, session: Session) -> Answer:
        from arena.rollout import code_version
        from real2sim.reconstruct import BuildSettings, read_report
        from workers.evaluation import Dataset
        from workers.jobs import Request
        from workers.steps.reconstruct import ReconstructInputs, TwinSettings

        settings = BuildSettings(
            wrist_frames=self.wrist_frames,
            steps=self.steps,
            seed=self.seed,
            engine=self.engine,
            segmenter="" if self.segmenter is None else str(self.segmenter),
            generator=self.generator or "",
            focals=tuple(_focal(each) for each in self.focal),
            filmed_as=None if self.filmed_as is None else _shape(self.filmed_as),
            calibration={} if self.cameras is None else _calibration(self.cameras),
        )
        episode = chosen_episode(session.context.workshop.episodes(self.episodes), self.episode, self.episodes)
        inputs = ReconstructInputs(
            dataset=Dataset.at(self.episodes), episode=episode.id, out=str(self.out.resolve()),
            settings=TwinSettings(**asdict(settings)), code=code_version(),
        )  # fmt: skip
        session.run([Request("reconstruct", inputs)])
        built = read_report(self.out)
        found = {"episode": episode.id, "out": str(self.out), **built.facts()}
        return Answer(found, lambda console: show_built(built, self.out, console), 0 if built.accepted else 2)


def _focal(text: str) -> tuple[str, float]:
    """A camera's name and its focal length, of `wrist=183`."""
    name, _, pixels = text.partition("=")
    try:
        value = float(pixels)
    except ValueError:
        value = 0.0
    if not name or not 0 < value < float("inf"):
        raise InvalidInput(f"--focal {text} is no focal length: give a camera and its pixels, as in wrist=183")
    return name, value


def _calibration(file: Path) -> dict[str, Any]:
    from real2sim.camera import CALIBRATION, calibrated

    try:
        told = dict(json.loads(file.read_text()))
        calibrated({CALIBRATION: told})
    except (TypeError, ValueError, InvalidInput) as error:
        raise InvalidInput(f"{file} tells of no cameras: {error}") from error
    return told


def _shape(text: str) -> float:
    """Width by height of `16:9`."""
    width, _, height = text.partition(":")
    try:
        return float(width) / float(height)
    except (ValueError, ZeroDivisionError):
        raise InvalidInput(f"--filmed-as {text} is no shape: give width and height, as in 16:9") from None


def show_built(built: Built, out: Path, console: Console) -> None:
    """Every gate's number, and the verdict."""
    table = Table("stage", "measure", "value", "asked", "", box=SIMPLE)
    for gate in built.gates:
        mark = "[green]passed[/green]" if gate.passed else "[red]failed[/red]"
        table.add_row(gate.stage, gate.metric, f"{gate.value:.3g}", f"{gate.threshold:.3g}", mark)
    console.print(table)
    for name in built.left_out:
        console.print(
            f"{name} is left out: it was not found with certainty, see its gate above", markup=False, highlight=False
        )
    seconds = sum(built.seconds.values())
    if built.accepted:
        console.print(f"[green]accepted[/green] in {seconds:.0f} s: {escape(str(out))}, real and twin: replay.png")
    else:
        console.print(f"[red]refused[/red]: {escape(built.reason)}")


@dataclass(frozen=True)
class Twin:
    """Make digital twins of robot episodes, look at them, and act in them."""

    command: (
        Annotated[Build, subcommand("build")]
        | Annotated[View, subcommand("view")]
        | Annotated[Replay, subcommand("replay")]
        | Annotated[Rollout, subcommand("rollout")]
        | Annotated[Perturb, subcommand("perturb")]
        | Annotated[Correct, subcommand("correct")]
        | Annotated[Agree, subcommand("agree")]
    )
