"""The policies that a ranking is validated with: cloned from the stand-in robot's recordings, and why each differs.

None is another one with another seed. They differ in how they look (three encoders), in what they learned from, in
how far ahead they commit, in what they are told and in how long they were trained, so that their true success
spreads from hardly ever to nearly always.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from arena.contracts import Episode, InvalidInput

if TYPE_CHECKING:
    from arena.learned.network import CloningConfig

TASKS = (
    "reach-v3", "push-v3", "pick-place-v3", "button-press-topdown-v3", "drawer-open-v3", "drawer-close-v3",
    "door-open-v3", "window-open-v3", "faucet-open-v3", "handle-press-v3", "plate-slide-v3",
)  # fmt: skip
"""What the shipped world model and judge are trained on."""
HELD_OUT_TASKS = ("door-close-v3", "window-close-v3")
"""What policies know and the world model has never seen; reported apart."""
SUCCESSFUL = ("expert", "noisy", "detour")
"""Kinds of recording whose successes are worth imitating; the kinds are `real2sim.reality.plans.KINDS`."""


@dataclass(frozen=True)
class Recipe:
    """One policy: changes to the default `CloningConfig`, and which episodes it learns from.

    `share` of each task's episodes of the named `kinds`, the first recorded ones.
    """

    why: str
    changes: Mapping[str, object]
    kinds: tuple[str, ...] = SUCCESSFUL
    share: float = 1.0

    def config(self) -> CloningConfig:
        from dataclasses import replace

        from arena.learned.network import CloningConfig

        # CloningConfig refuses values that do not fit its fields.
        return replace(CloningConfig(), **self.changes)  # type: ignore[arg-type]


LINEUP: Mapping[str, Recipe] = MappingProxyType(
    {
        "bc-keypoints": Recipe(
            "the reference: everything at its best",
            {"steps": 12_000, "batch": 48, "channels": 48, "keypoints": 48, "hidden": 384, "shift_pixels": 1},
        ),
        "bc-keypoints-long": Recipe("commits to 0.8 s at a time", {"steps": 3000, "chunk_length": 8}),
        "bc-keypoints-brief": Recipe("a tenth of the training", {"steps": 300}),
        "bc-keypoints-few": Recipe("learned from three episodes of each task", {"steps": 600}, share=0.03),
        "bc-keypoints-untold": Recipe("is not told what is wanted", {"steps": 2000, "instructed": False}),
        "bc-keypoints-noisy": Recipe(
            "learned from noisy experts, their failures included",
            {"steps": 2000, "only_successes": False},
            kinds=("noisy", "near_miss"),
        ),
        "bc-keypoints-exterior": Recipe("has no wrist camera", {"steps": 2000, "cameras": ("exterior_1",)}),
        "bc-patches": Recipe("a small vision transformer", {"steps": 2500, "encoder": "patches"}),
        "bc-patches-brief": Recipe("the same after a tenth of the training", {"steps": 250, "encoder": "patches"}),
        "bc-pooled": Recipe("sees only roughly where things are", {"steps": 2000, "encoder": "pooled"}),
        "bc-pooled-wrist": Recipe(
            "the same, through the wrist camera alone",
            {"steps": 800, "encoder": "pooled", "cameras": ("wrist",), "chunk_length": 8},
        ),
    }
)
SPARRING: Mapping[str, Recipe] = MappingProxyType(
    {
        "spar-keypoints": Recipe("half trained, in half of the data", {"steps": 700, "keypoints": 24}, share=0.5),
        "spar-pooled": Recipe("hardly trained", {"steps": 300, "encoder": "pooled", "hidden": 128}),
    }
)
"""Never ranked: what they do in the stand-in reality teaches the judge how learned policies fail."""
CONTROLS = ("replay", "hold", "noise")
"""Of every line-up besides: what the recorded expert did, open loop, and two that want nothing."""


RECIPES: Mapping[str, Recipe] = MappingProxyType({**LINEUP, **SPARRING})


def demonstrations(recipe: Recipe, episodes: Sequence[Episode]) -> tuple[str, ...]:
    """The ids of the episodes that a recipe learns from. Raises `InvalidInput` where there is none."""
    of_kind = [episode for episode in episodes if episode.metadata.get("kind") in recipe.kinds]
    chosen: list[str] = []
    for task in sorted({episode.task for episode in of_kind}):
        ids = [episode.id for episode in of_kind if episode.task == task]
        chosen += ids[: max(1, round(recipe.share * len(ids)))]
    if not chosen:
        raise InvalidInput(f"no episode was recorded of the kinds {', '.join(recipe.kinds)}")
    return tuple(chosen)
