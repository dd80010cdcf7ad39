"""`dreamarena worldmodel`: train, replay, import and check world models."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from rich.console import Console
from rich.table import Table
from tyro.conf import subcommand

from workers.cli.session import Answer, Session
from workers.settings import SAMPLER_STEPS


@dataclass(frozen=True)
class Train:
    """Train a world model on recorded episodes. Run again with the same arguments, it resumes."""

    episodes: tuple[Path, ...]
    """The datasets to train on."""
    out: Path
    """Where the checkpoint goes."""
    preset: str = "tiny"
    """`tiny`, `small` or `ctrl-world`."""
    layout: Path | None = None
    """A TOML that declares the dataset's columns, where it does not do so itself."""
    steps: int | None = None
    """Training steps of the denoiser; this and the next five are the preset's recipe unless given."""
    batch: int | None = None
    learning_rate: float | None = None
    autoencoder_steps: int | None = None
    """Training steps of a small preset's own autoencoder; 0 keeps the one of --start."""
    autoencoder_batch: int | None = None
    autoencoder_learning_rate: float | None = None
    tracker_steps: int | None = None
    """Training steps of the network that turns commands into poses."""
    seed: int = 0
    start: Path | None = None
    """A checkpoint folder to fine-tune."""
    json: bool = False
    """Print JSON and nothing else on stdout."""

    def run(self, session: Session) -> Answer:
        from arena.contracts import InvalidInput
        from workers.content import fingerprint
        from workers.evaluation import Dataset
        from workers.jobs import Request
        from workers.steps.train import TrainInputs

        inputs = TrainInputs(
            preset=self.preset,
            datasets=tuple(Dataset.at(path, self.layout) for path in self.episodes),
            out=str(self.out.resolve()),
            **self._schedules(),
            seed=self.seed,
            start=None if self.start is None else str(self.start.resolve()),
            start_fingerprint=None if self.start is None else fingerprint(self.start),
        )
        if min(inputs.steps, inputs.batch) < 1 or inputs.autoencoder_steps < 0 or not inputs.learning_rate > 0:
            raise InvalidInput("--steps and --batch must be at least 1, --learning-rate positive")
        [found] = session.run([Request("train", inputs)])
        return Answer(found, lambda console: console.print(f"world model {found['sha256'][:12]} in {found['world']}"))

    def _schedules(self) -> dict[str, Any]:
        """What was given, and the preset's recipe for the rest. Raises `InvalidInput` for an unknown preset."""
        from worldmodels.config import preset
        from worldmodels.train import RECIPES

        recipe = RECIPES[preset(self.preset).name]
        defaults = {
            "steps": recipe.denoiser.steps,
            "batch": recipe.denoiser.batch,
            "learning_rate": recipe.denoiser.learning_rate,
            "autoencoder_steps": recipe.autoencoder.steps,
            "tracker_steps": recipe.tracker.steps,
            "autoencoder_batch": recipe.autoencoder.batch,
            "autoencoder_learning_rate": recipe.autoencoder.learning_rate,
        }
        return {name: value if getattr(self, name) is None else getattr(self, name) for name, value in defaults.items()}


@dataclass(frozen=True)
class Replay:
    """Imagine recorded episodes with their own and with wrong actions, and compare with the true video."""

    world: Path
    """A world model's checkpoint folder."""
    episodes: Path
    """The dataset to replay; best one that the model was not trained on."""
    layout: Path | None = None
    """A TOML that declares the dataset's columns, where it does not do so itself."""
    seconds: tuple[float, ...] = (0.5, 1.0)
    """Horizons to compare at."""
    beginnings: int = 1
    """From how many frames of each episode it is imagined, evenly along it."""
    limit: int | None = None
    """Replays at most."""
    sampler_steps: int = SAMPLER_STEPS
    guidance: float = 1.0
    batch: int = 8
    seed: int = 0
    json: bool = False
    """Print JSON and nothing else on stdout."""

    def run(self, session: Session) -> Answer:
        from arena.contracts import InvalidInput
        from workers.content import fingerprint
        from workers.evaluation import Dataset, WorldSpec
        from workers.jobs import Request
        from workers.steps.replay import ReplayInputs

        if not self.seconds or min(self.seconds) <= 0 or self.batch < 1 or self.sampler_steps < 1:
            raise InvalidInput("--seconds must be positive, --batch and --sampler-steps at least 1")
        name = str(self.world.resolve())
        inputs = ReplayInputs(
            world=WorldSpec(name=name, sampler_steps=self.sampler_steps, guidance=self.guidance),
            world_fingerprint=fingerprint(self.world),
            dataset=Dataset.at(self.episodes, self.layout),
            seconds=self.seconds,
            beginnings=self.beginnings,
            limit=self.limit,
            seed=self.seed,
            batch=self.batch,
        )
        [found] = session.run([Request("replay", inputs)])
        return Answer(found, lambda console: show_fidelity(found, console))


@dataclass(frozen=True)
class Import:
    """Turn a released Ctrl-World checkpoint into ours, checked key by key."""

    checkpoint: Path
    """The released .pt or .safetensors."""
    svd: str
    """Stable Video Diffusion: a folder, or a hub name where there is a network."""
    out: Path
    """Where the checkpoint goes."""
    clip: str | None = None
    """A CLIP text encoder: a folder or a hub name; without it the model runs without text."""
    statistics: Path | None = None
    """The p01 and p99 of the states that it was trained with (stat.json)."""
    json: bool = False
    """Print JSON and nothing else on stdout."""

    def run(self, session: Session) -> Answer:
        from worldmodels.released import import_released

        svd, clip = _local_or_hub(self.svd), None if self.clip is None else _local_or_hub(self.clip)
        with session.progress() as progress:
            report = import_released(self.checkpoint, svd, clip, self.out, self.statistics, progress=progress)
        found = {name: str(value) if isinstance(value, Path) else value for name, value in asdict(report).items()}
        return Answer(found, lambda console: console.print(f"imported to {self.out}"))


@dataclass(frozen=True)
class Parity:
    """Recompute golden numbers of the authors' code, and print the largest relative error of each output."""

    golden: Path
    """PREFIX of PREFIX.safetensors and PREFIX.json."""
    json: bool = False
    """Print JSON and nothing else on stdout."""

    def run(self, session: Session) -> Answer:
        from worldmodels.parity import parity

        with session.progress() as progress:
            found = parity(self.golden, progress)

        def show(console: Console) -> None:
            for name, error in found["outputs"].items():
                console.print(f"{error:.2e}  {name}", highlight=False)
            console.print(f"{found['max_error']:.2e}  largest", highlight=False)

        return Answer(found, show)


@dataclass(frozen=True)
class WorldModel:
    """Train, replay, import and check world models."""

    command: (
        Annotated[Train, subcommand("train")]
        | Annotated[Replay, subcommand("replay")]
        | Annotated[Import, subcommand("import")]
        | Annotated[Parity, subcommand("parity")]
    )


def show_fidelity(found: dict[str, Any], console: Console) -> None:
    """PSNR of each view and horizon beside its baselines."""
    table = Table("view", "seconds", "replays", "PSNR", "copy", "wrong action", "ceiling", "SSIM")
    for row in found["fidelity"]:
        psnr = [f"{row['psnr'][name]:.2f}" for name in ("model", "copy", "wrong_action", "ceiling")]
        table.add_row(row["view"], f"{row['seconds']:g}", str(row["episodes"]), *psnr, f"{row['ssim']['model']:.3f}")
    console.print(table)


def _local_or_hub(name: str) -> Path | str:
    return Path(name) if Path(name).exists() else name
