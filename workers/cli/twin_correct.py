"""`dreamarena twin correct`: training data that leads a hand back to its path."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from tyro.conf import Positional

from workers.cli.session import Answer, Session
from workers.cli.synth import FORMATS


@dataclass(frozen=True)
class Correct:
    """Make corrective training data (SPARTN): what a twin's cameras see off a path, and the actions that lead back.

    The path is the recorded episode's, or a policy's in the twin. Only its part before anything is touched is used.
    """

    twin: Positional[Path]
    """The twin's folder."""
    episodes: Positional[Path]
    """The dataset that has the episode."""
    out: Path
    """The dataset's folder."""
    policy: str | None = None
    """Return to what this policy does in the twin, e.g. bc:FOLDER, instead of to the recording."""
    steps: int = 40
    """With --policy: the actions of its trial."""
    views: int = 40
    """Ways back, from frames evenly along the path."""
    metres: float = 0.03
    """How far off they begin at most."""
    degrees: float = 10.0
    frames: int = 4
    """In how many frames the hand is back; 1 is the published method's."""
    format: str = "lerobot"
    """`lerobot` (v3.0) or `openpi` (LeRobot v2.1 with openpi's names)."""
    blank_cameras: bool = False
    """Write black frames for cameras that openpi's config names and the twin lacks."""
    seed: int = 0
    json: bool = False
    """Print JSON and nothing else on stdout."""

    def run(self, session: Session) -> Answer:
        from arena.contracts import InvalidInput
        from arena.rollout import code_version
        from arena.synthesis.export import ExportSpec, export_dataset
        from real2sim.twin.bundle import load_twin, twin_sha256
        from real2sim.twin.corrective import Spread
        from workers.cli.twin_use import chosen_episode
        from workers.corrections import acted_path, corrective_trajectories, notes_on, recorded_path

        if self.format not in FORMATS:
            raise InvalidInput(f"there is no format {self.format!r}, only {', '.join(FORMATS)}")
        spread = Spread(self.metres, self.degrees, self.frames)
        spec = ExportSpec(FORMATS[self.format], blank_cameras=self.blank_cameras)
        twin, context = load_twin(self.twin), session.context
        if self.policy is not None:
            path = acted_path(self.twin, twin, self.policy, self.steps, self.seed, context)
        else:
            episodes = context.workshop.episodes(self.episodes)
            path = recorded_path(twin, chosen_episode(episodes, twin.beginning.episode_id, self.episodes))
        found = corrective_trajectories(
            twin, twin_sha256(self.twin), self.twin.name, path, self.views, spread, self.seed, spec, context
        )
        with session.progress() as progress:
            notes = notes_on(path, spread, code_version())
            report = export_dataset(self.out, found, spec, notes, progress, self.views)
        made = {"dataset": str(report.path), "episodes": report.episodes, "frames": report.frames, "path": path.source}
        return Answer(made, lambda console: _show(made, console))


def _show(made: dict[str, Any], console: Console) -> None:
    said = f"{made['episodes']} ways back to {made['path']}, {made['frames']} frames in {made['dataset']}"
    console.print(said, markup=False, soft_wrap=True)
