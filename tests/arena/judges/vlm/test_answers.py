"""What a model may answer: exactly the schema, and nothing that could be read in two ways."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arena.judges.vlm.answers import BadAnswer, preference_form, scores_form
from arena.judges.vlm.strict_json import NotStrictJson, loads, unfenced

GOOD = '{"reason": "lifted", "progress": [0, 50.5, 100], "success": 0.75}'
QUICK = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def test_an_answer_in_the_form_is_read() -> None:
    scores = scores_form(3).read(GOOD)
    assert (scores.progress, scores.success, scores.reason) == ((0.0, 50.5, 100.0), 0.75, "lifted")
    assert preference_form().read('{"better": "second", "reason": "x"}').better == "second"


@pytest.mark.parametrize("fence", ["```json\n%s\n```", "```\n%s\n```", "  ```json\n%s```\n"])
def test_one_fence_around_all_of_it_is_taken_off(fence: str) -> None:
    assert scores_form(3).read(fence % GOOD) == scores_form(3).read(GOOD)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (GOOD.replace("0.75", "NaN"), "NaN"),
        (GOOD.replace("0.75", "Infinity"), "Infinity"),
        (GOOD.replace("0.75", "1e999"), "too large"),
        (GOOD.replace("}", ', "success": 1}'), "'success' occurs twice"),
        (GOOD.replace("0.75", "true"), "'success' must be a number from 0 to 1"),
        (GOOD.replace("0.75", '"0.75"'), "'success' must be a number"),
        (GOOD.replace("0.75", "1.01"), "from 0 to 1"),
        (GOOD.replace("100]", "101]"), "'progress' must be a number from 0 to 100"),
        (GOOD.replace("100]", "-1]"), "from 0 to 100"),
        (GOOD.replace("100]", "null]"), "from 0 to 100"),
        (GOOD.replace(", 100]", "]"), "a list of 3"),
        (GOOD.replace("[0, 50.5, 100]", "50"), "a list of 3"),
        (GOOD.replace("}", ', "verdict": "success"}'), "fields"),
        (GOOD.replace('"reason": "lifted", ', ""), "fields"),
        (GOOD.replace('"lifted"', "7"), "'reason' must be a string"),
        (f"[{GOOD}]", "a JSON list"),
        (f"Sure! {GOOD}", "not JSON"),
        (f"```json\n{GOOD}\n``` as asked", "not JSON"),
        (f"```json\n{GOOD}\n```\n```json\n{GOOD}\n```", "not JSON"),
        (GOOD + GOOD, "not JSON"),
        ("I'm sorry, but I cannot judge this.", "not JSON"),
        ("", "not JSON"),
        ("[" * 100_000, "at most"),
        ("[" * 50_000, "not JSON"),
        ("9" * 5000, "not JSON"),
    ],
)
def test_anything_else_says_nothing(answer: str, message: str) -> None:
    with pytest.raises(BadAnswer, match=message):
        scores_form(3).read(answer)


def test_a_preference_is_one_of_four() -> None:
    for answer in ('{"better": "left", "reason": ""}', '{"better": ["first"], "reason": ""}', '{"better": "first"}'):
        with pytest.raises(BadAnswer):
            preference_form().read(answer)


def test_reasons_are_cut_and_made_printable() -> None:
    answer = json.dumps({"better": "tie", "reason": "a\x1b[31m\n\u202eb" + "c" * 1000})
    reason = preference_form().read(answer).reason
    assert reason.isprintable()
    assert reason.startswith("a [31m b")
    assert len(reason) == 300


@QUICK
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=8,
    )
)
def test_strict_json_reads_what_json_writes(value: object) -> None:
    assert loads(json.dumps(value)) == value


@QUICK
@given(st.text(max_size=60))
def test_no_text_gets_through_as_anything_but_an_answer(text: str) -> None:
    with pytest.raises(BadAnswer):
        scores_form(1).read(text)


def test_equal_keys_are_found_at_any_depth() -> None:
    with pytest.raises(NotStrictJson, match="'a' occurs twice"):
        loads('{"x": [{"a": 1, "a": 1}]}')


def test_a_fence_within_the_answer_stays() -> None:
    assert unfenced('{"reason": "```json"}') == '{"reason": "```json"}'
