"""One instruction in other words, from templates: no model is asked, so nothing has to be checked for its meaning."""

from __future__ import annotations

import numpy as np

from arena.contracts import InvalidInput

FRAMES = (
    "please {}", "{} please", "could you {}", "can you {}", "now {}", "I want you to {}", "you should {}",
    "the robot should {}", "go and {}", "your task is to {}", "try to {}", "would you kindly {}",
)  # fmt: skip
"""What a wish is wrapped in. None changes what is wanted."""
SYNONYMS = {
    "close": ("shut",), "open": ("pull open",), "pick up": ("grab", "lift"), "put": ("place",), "push": ("shove",),
    "press": ("push",), "turn": ("rotate",), "move": ("bring",), "slide": ("shift",), "pull": ("tug",),
}  # fmt: skip
"""Of the verb that an instruction begins with. Only words that mean the same for every object."""


def paraphrases(instruction: str, count: int, seed: int) -> tuple[str, ...]:
    """`count` different wordings of an instruction, none of them its own, drawn from the templates by `seed`.

    Raises `InvalidInput` for an empty instruction, and where the templates have fewer wordings than asked for.
    """
    words = " ".join(instruction.split())
    if not words:
        raise InvalidInput("an empty instruction cannot be put in other words")
    known = _wordings(words)
    if not 0 <= count <= len(known):
        raise InvalidInput(f"there are templates for up to {len(known)} wordings of {words!r}, not for {count}")
    order = np.random.default_rng(seed).permutation(len(known))[:count]
    return tuple(known[index] for index in order)


def _wordings(words: str) -> list[str]:
    said = [words, *_with_synonyms(words)]
    framed = [frame.format(each) for each in said for frame in FRAMES]
    return [each for each in dict.fromkeys([*said[1:], *framed]) if each != words]


def _with_synonyms(words: str) -> list[str]:
    found = []
    for verb, others in SYNONYMS.items():
        if words == verb or words.startswith(f"{verb} "):
            found += [other + words[len(verb) :] for other in others]
    return found
