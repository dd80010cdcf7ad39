"""What the demo says of a world model whose ranking deserves no trust."""

from __future__ import annotations

from typing import Any

import pytest

from workers.demo import distrust


def row(seconds: float, model: float, copy: float, wrong: float, view: str = "all") -> dict[str, Any]:
    return {"view": view, "seconds": seconds, "psnr": {"model": model, "copy": copy, "wrong_action": wrong}}


@pytest.mark.parametrize(
    ("model", "copy", "wrong", "said"),
    [
        (25.0, 18.0, 19.0, ()),
        (16.0, 22.0, 15.0, ("copying the first frame (22.0 dB) beats it (16.0 dB)",)),
        (25.0, 18.0, 24.9, ("another episode's actions (24.9 dB) look the same to it",)),
        (16.0, 22.0, 16.0, ("copying the first frame", "and another episode's actions")),
    ],
)
def test_a_model_that_is_no_better_than_its_controls_is_not_trusted(
    model: float, copy: float, wrong: float, said: tuple[str, ...]
) -> None:
    # Neither a shorter horizon nor a single view counts.
    others = [row(0.5, 1.0, 30.0, 30.0), row(1.0, 1.0, 30.0, 30.0, view="wrist")]
    notes = distrust([*others, row(1.0, model, copy, wrong)])
    assert len(notes) == bool(said)
    assert all(part in notes[0] for part in said)
    assert all("1 s ahead" in note for note in notes)
