"""The step `finetune`: a cloned policy, trained on with recorded, synthetic or mixed datasets."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from arena.contracts import InvalidInput
from workers.evaluation import Dataset
from workers.jobs import Context, Inputs, Json, Queue, Step


class FinetuneInputs(Inputs):
    """`shares` are of every batch, one for each dataset, whatever they add up to."""

    policy: str
    policy_sha256: str
    datasets: tuple[Dataset, ...] = Field(min_length=1)
    shares: tuple[float, ...]
    out: str
    steps: int
    batch: int
    learning_rate: float
    only_successes: bool
    seed: int


def finetune(inputs: FinetuneInputs, context: Context) -> Json:
    """Train, or go on where an interrupted run was. Returns where the policy is and its hash."""
    from arena.learned.checkpoint import CloningModel
    from arena.learned.finetune import Finetuning, Part, finetune_cloning

    start = CloningModel.load(Path(inputs.policy))
    if start.sha256 != inputs.policy_sha256:
        raise InvalidInput(f"the policy in {inputs.policy} has changed since this was planned: start it again")
    if len(inputs.shares) != len(inputs.datasets):
        raise InvalidInput(f"{len(inputs.datasets)} datasets need as many shares, not {len(inputs.shares)}")
    parts = [
        Part(dataset.episodes(context), share) for dataset, share in zip(inputs.datasets, inputs.shares, strict=True)
    ]
    options = Finetuning(
        inputs.steps, inputs.batch, inputs.learning_rate, only_successes=inputs.only_successes
    )  # fmt: skip
    out = finetune_cloning(start, parts, Path(inputs.out), options, inputs.seed, context.progress)
    tuned = CloningModel.load(out)
    return {
        "policy": str(out),
        "sha256": tuned.sha256,
        "episodes": tuned.training.episodes,
        "loss": tuned.training.loss,
    }


def intact(inputs: FinetuneInputs, context: Context) -> bool:
    """The manifest is written last."""
    return (Path(inputs.out) / "manifest.json").is_file()


STEP = Step("finetune", FinetuneInputs, finetune, intact, needs=Queue.GPU)
