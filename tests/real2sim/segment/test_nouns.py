"""What instructions of real datasets name."""

from __future__ import annotations

import pytest

from real2sim.segment.nouns import nouns_of


@pytest.mark.parametrize(
    ("instruction", "nouns"),
    [
        ("Put the red block in the blue bowl.", ("red block", "blue bowl")),
        ("pick up the banana", ("banana",)),
        ("Move the towel to the left, then close the laptop", ("towel", "laptop")),
        ("put the marker on top of the table", ("marker",)),
        ("take an orange and a lemon from the box", ("orange", "lemon", "box")),
        ("wave", ()),
        ("", ()),
        ("Put the cup on the cup", ("cup",)),
    ],
)
def test_the_nouns_of_an_instruction(instruction: str, nouns: tuple[str, ...]) -> None:
    assert nouns_of(instruction) == nouns
