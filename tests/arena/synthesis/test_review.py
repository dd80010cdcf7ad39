"""A review's file: decisions survive, trims have to exist, and whatever else is in the file is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from arena.contracts import InvalidInput
from arena.synthesis.review import Decision, Item, Review, read_review, reviews, write_review

ITEMS = tuple(Item(f"{n}" * 64, f"rollouts/{n}", "drawer", "open the drawer", 0.9, 20, 12) for n in range(3))


def test_decisions_are_kept_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    review = Review("data/a", ITEMS)
    assert review.waiting == 3
    decided = review.decided("0" * 64, Decision.ACCEPTED, 2, 5).decided("1" * 64, Decision.REJECTED)
    write_review(path, decided)
    again = read_review(path)
    assert again == decided
    assert again.waiting == 1
    assert [(item.first, item.frames) for item in again.accepted] == [(2, 5)]
    assert reviews(tmp_path) == [path]
    assert list(reviews(tmp_path / "nowhere")) == []


@pytest.mark.parametrize(("first", "frames"), [(0, 1), (-1, 5), (15, 6), (20, 2)])
def test_trims_that_cannot_be(first: int, frames: int) -> None:
    with pytest.raises(InvalidInput, match="cannot be kept"):
        Review("a", ITEMS).decided("0" * 64, Decision.ACCEPTED, first, frames)
    with pytest.raises(InvalidInput, match="has no trial"):
        Review("a", ITEMS).decided("9" * 64, Decision.ACCEPTED)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", "7", '{"format": "other"}', '{"format": "dreamarena-review-1", "dataset": "a", "items": [7]}', "["
     * 100_000],
)  # fmt: skip
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(InvalidInput):
        read_review(path)
    with pytest.raises(InvalidInput, match="no review"):
        read_review(tmp_path / "nowhere.json")


def test_a_decision_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_review(path, Review("a", ITEMS))
    described = json.loads(path.read_text())
    described["items"][0]["decision"] = "maybe"
    path.write_text(json.dumps(described))
    with pytest.raises(InvalidInput, match="maybe"):
        read_review(path)
