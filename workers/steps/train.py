"""The step `train`: a world model from recorded episodes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from arena.contracts import InvalidInput
from workers.evaluation import Dataset
from workers.jobs import Context, Inputs, Json, Queue, Step


class TrainInputs(Inputs):
    """`start` is a checkpoint folder to fine-tune, `start_fingerprint` the state of its files."""

    preset: str
    datasets: tuple[Dataset, ...]
    out: str
    steps: int
    autoencoder_steps: int
    batch: int
    learning_rate: float
    autoencoder_batch: int
    tracker_steps: int
    autoencoder_learning_rate: float
    seed: int
    start: str | None
    start_fingerprint: str | None


def train(inputs: TrainInputs, context: Context) -> Json:
    """Train, or go on where an interrupted run was. Returns where the checkpoint is and its hash."""
    import torch

    from worldmodels.checkpoint import load_checkpoint
    from worldmodels.config import preset
    from worldmodels.text import load_clip_text
    from worldmodels.train import RECIPES, TrainConfig, training_folder
    from worldmodels.train import train as train_model

    out = Path(inputs.out)
    # A kill may have come between the checkpoint and the job's end: what is there is then made again, from its state.
    if out.exists() and not training_folder(out).exists():
        raise InvalidInput(f"{out} already exists: choose another --out, or remove it")
    episodes = [episode for dataset in inputs.datasets for episode in dataset.episodes(context)]
    recipe = RECIPES[preset(inputs.preset).name]
    run = TrainConfig(
        autoencoder=replace(
            recipe.autoencoder,
            steps=inputs.autoencoder_steps,
            batch=inputs.autoencoder_batch,
            learning_rate=inputs.autoencoder_learning_rate,
        ),
        denoiser=replace(recipe.denoiser, steps=inputs.steps, batch=inputs.batch, learning_rate=inputs.learning_rate),
        tracker=replace(recipe.tracker, steps=inputs.tracker_steps),
        images=recipe.images,
        seed=inputs.seed,
        device="cuda" if torch.cuda.is_available() else "cpu",
        bfloat16=recipe.bfloat16,
    )
    start = load_checkpoint(Path(inputs.start)) if inputs.start else None
    text = load_clip_text(Path(inputs.start), start) if inputs.start and start else None
    try:
        train_model(
            preset(inputs.preset),
            episodes,
            out,
            run,
            start,
            embed_text=text.embed if text else None,
            progress=context.progress,
        )
    except torch.cuda.OutOfMemoryError as error:
        raise InvalidInput(f"the GPU's memory does not hold a batch of {inputs.batch}: lower --batch") from error
    checkpoint = load_checkpoint(out)
    return {"world": str(out), "sha256": checkpoint.sha256, "episodes": len(episodes), "preset": checkpoint.config.name}


def intact(inputs: TrainInputs, context: Context) -> bool:
    """The manifest is written last."""
    return (Path(inputs.out) / "manifest.json").is_file()


STEP = Step("train", TrainInputs, train, intact, needs=Queue.GPU)
