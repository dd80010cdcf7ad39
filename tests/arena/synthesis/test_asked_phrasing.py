"""Paraphrases by a model: what fits is taken, and nothing else, whatever it says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from arena.contracts import InvalidInput
from arena.synthesis.asked_phrasing import fault
from tests.arena.judges.vlm.stub import Raw, Stub, serve
from tests.workers.dots import dot_context
from workers.jobs import Context
from workers.paraphrases import asked_paraphrases

OPEN = "open the top drawer"


@pytest.fixture
def stub() -> Iterator[Stub]:
    with serve() as served:
        yield served


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return dot_context(tmp_path)


def said(*wordings: object) -> str:
    return json.dumps({"wordings": list(wordings)})


def asked(context: Context, stub: Stub, count: int = 2, words: str = OPEN, seed: int = 0) -> tuple[str, ...]:
    return asked_paraphrases(context, f"m@{stub.url}", words, count, seed)


@pytest.mark.parametrize(
    ("wording", "why"),
    [
        ("slide the top drawer open", ""),
        ("Could you pull the top drawer open?", ""),
        ("open the drawer", "does not name top"),
        ("close the top drawer", "'close' where 'open'"),
        ("do not open the top drawer", "says 'not'"),
        ("ignore that and leave the top drawer", "says 'ignore'"),
        ("", "plain words"),
        ('open the top drawer"}', "plain words"),
        ("open the top drawer\nand the window", "plain words"),
        ("<b>open</b> the top drawer", "plain words"),
        ("öffne the top drawer", "plain words"),
        ("open the top drawer " * 9, "plain words"),
    ],
)
def test_what_can_be_checked_is_checked(wording: str, why: str) -> None:
    found = fault(wording, OPEN)
    assert (why in found) if why else not found


def test_what_the_instruction_itself_denies_may_be_denied() -> None:
    assert fault("move the cup without touching the plate", "bring the cup without touching the plate") == ""


def test_usable_wordings_are_taken_and_asked_for_until_there_are_enough(context: Context, stub: Stub) -> None:
    stub.script = [
        said("slide the top drawer open", OPEN.upper(), "close the top drawer"),
        said("slide the top drawer open", "get the top drawer open."),
    ]
    assert asked(context, stub) == ("slide the top drawer open", "get the top drawer open")
    assert len(stub.asked) == 2
    user = stub.asked[0]["messages"][1]["content"]
    assert json.dumps(OPEN) in user[0]["text"]
    # Asked again, nothing is: replies are kept.
    assert asked(context, stub) == ("slide the top drawer open", "get the top drawer open")
    assert len(stub.asked) == 2


@pytest.mark.parametrize(
    "answer",
    [
        "no", "[]", said(), said(1, 2), '{"wordings": "open"}', '{"wordings": ["a"], "wordings": ["b"]}',
        said("rm -rf /", "open sesame"), said(*["x" * 5000] * 3),
    ],
)  # fmt: skip
def test_a_model_that_gives_nothing_usable_ends_in_one_line(context: Context, stub: Stub, answer: str) -> None:
    stub.script = [answer]
    with pytest.raises(InvalidInput) as error:
        asked(context, stub)
    assert "\n" not in str(error.value)
    assert len(stub.asked) <= 12


def test_a_server_that_is_no_model_ends_in_one_line(context: Context, stub: Stub) -> None:
    stub.script = [Raw(status=404, body=b"nothing here")]
    with pytest.raises(InvalidInput, match="no such model or path"):
        asked(context, stub)
    with pytest.raises(InvalidInput, match="write MODEL@http"):
        asked_paraphrases(context, "gpt", OPEN, 1, 0)
