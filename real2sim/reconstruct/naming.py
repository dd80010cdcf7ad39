"""The things that an episode's instruction names, by a segmentation model's masks of its frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from real2sim.frames import spread_over
from real2sim.reconstruct.settings import BuildSettings
from real2sim.segment.nouns import nouns_of
from real2sim.splats.views import View
from real2sim.twin.generated import find_generator
from real2sim.twin.named import named_things
from real2sim.twin.objects import TwinObject
from real2sim.twin.support import SupportPlane

MASKED_VIEWS = 16
"""A forward pass of both models takes seconds on a CPU."""


def named_in(
    instruction: str,
    views: Sequence[View],
    plane: SupportPlane,
    settings: BuildSettings,
    report: Callable[[str], None] = lambda line: None,
) -> list[TwinObject]:
    """Things by the nouns of `instruction`; none where `settings` name no segmenter."""
    if not settings.segmenter:
        return []
    from real2sim.segment.models import Segmenter

    generator = find_generator(settings.generator) if settings.generator else None
    nouns = nouns_of(instruction)
    if not nouns:
        report(f"the instruction {instruction!r} names no thing: the segmenter is not asked")
        return []
    device = "cuda" if torch.cuda.is_available() else "cpu"
    segmenter = Segmenter.from_local(Path(settings.segmenter), device)
    chosen = spread_over(len(views), MASKED_VIEWS)
    masks = []
    for done, index in enumerate(chosen):
        report(f"masks {done}/{len(chosen)} ({', '.join(nouns)})")
        masks.append(segmenter.masks(views[index].image, nouns))
    return named_things([views[index] for index in chosen], plane, masks, generator)
