"""The things that an instruction names."""

from __future__ import annotations

import re

DETERMINERS = frozenset({
    "a", "an", "the", "this", "that", "these", "those", "some", "any", "one", "two", "three", "both", "all",
    "its", "his", "her", "their",
})  # fmt: skip
BOUNDARIES = frozenset({
    "in", "into", "inside", "on", "onto", "upon", "to", "toward", "towards", "from", "off", "of", "at", "by",
    "near", "next", "beside", "under", "underneath", "over", "above", "below", "behind", "between", "around",
    "through", "with", "without", "and", "then", "or", "while", "using", "until", "so", "it", "them", "up",
    "down", "out", "away", "back", "left", "right", "put", "place", "pick", "push", "pull", "move", "take",
    "lift", "grasp", "grab", "drop", "open", "close", "turn", "rotate", "slide", "stack", "insert", "remove",
    "wipe", "fold", "unfold", "pour", "press", "set", "bring", "hold", "throw", "stir", "touch", "reach",
})  # fmt: skip
"""Words that end a thing's name: prepositions, conjunctions, and what robots are told to do."""
NOT_THINGS = frozenset({
    "side", "top", "bottom", "front", "middle", "center", "centre", "end", "edge", "corner", "table", "tabletop",
    "robot", "gripper",
})  # fmt: skip
"""Places rather than things; and the table, which is found by itself."""


def nouns_of(instruction: str) -> tuple[str, ...]:
    """Names of things, in order and each once: what follows a determiner up to the next preposition, verb or comma.

    A rule rather than a parser: it is right for imperative sentences about things in reach, which is what robot
    datasets hold, and what it wrongly takes for a thing is one that no segmentation finds.
    """
    found: list[str] = []
    for clause in re.split(r"[,.;:!?]", instruction.lower()):
        name: list[str] | None = None
        for word in [*re.findall(r"[a-z0-9'-]+", clause), ""]:
            if word in DETERMINERS or word in BOUNDARIES or not word:
                _keep(name, found)
                name = [] if word in DETERMINERS else None
            elif name is not None:
                name.append(word)
    return tuple(found)


def _keep(name: list[str] | None, found: list[str]) -> None:
    if name and name[-1] not in NOT_THINGS and " ".join(name) not in found:
        found.append(" ".join(name))
