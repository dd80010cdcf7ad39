"""The step `clone`: a behaviour-cloning policy from recorded episodes, by one of the line-up's recipes."""

from __future__ import annotations

from pathlib import Path

from arena.contracts import Episode, InvalidInput
from workers.evaluation import Dataset
from workers.jobs import Context, Inputs, Json, Queue, Step
from workers.lineup import RECIPES, demonstrations


class CloneInputs(Inputs):
    """`recipe` is a name of `workers.lineup.RECIPES`; `steps` None is the recipe's own number."""

    recipe: str
    datasets: tuple[Dataset, ...]
    out: str
    seed: int
    steps: int | None = None


def clone(inputs: CloneInputs, context: Context) -> Json:
    """Train, or go on where an interrupted run was. Returns where the policy is."""
    from dataclasses import replace

    from arena.learned.cloning import train_cloning

    if inputs.recipe not in RECIPES:
        raise InvalidInput(f"no policy is called {inputs.recipe!r}; there are {', '.join(RECIPES)}")
    recipe = RECIPES[inputs.recipe]
    recorded: list[Episode] = [e for dataset in inputs.datasets for e in dataset.episodes(context)]
    chosen = set(demonstrations(recipe, recorded))
    config = recipe.config() if inputs.steps is None else replace(recipe.config(), steps=inputs.steps)
    episodes = [episode for episode in recorded if episode.id in chosen]
    return {"policy": str(train_cloning(episodes, config, Path(inputs.out), inputs.seed, context.progress))}


def intact(inputs: CloneInputs, context: Context) -> bool:
    """The manifest is written last."""
    return (Path(inputs.out) / "manifest.json").is_file()


STEP = Step("clone", CloneInputs, clone, intact, needs=Queue.GPU)
"""The job."""
