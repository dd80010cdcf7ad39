"""An evaluator against reality, from results to every number: what is compared, what is left out and said so."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.power import NormalIndPower
from statsmodels.stats.proportion import proportion_effectsize

from arena.contracts import InvalidInput
from arena.validation import Results, TrialResult, Validation, read_evaluator, read_real, validate
from arena.validation.agreement import MEASURES
from arena.validation.separation import separations, trials_needed
from arena.validation.table import tabulate
from tests.arena.validation.making import rates, results, simulate, write_csv

SKILL = {"a": 0.1, "b": 0.4, "c": 0.6, "d": 0.8}


def plain(found: Validation) -> dict[str, Any]:
    """As the command prints it: NaN or infinity anywhere is an error."""
    data: dict[str, Any] = json.loads(json.dumps(asdict(found), allow_nan=False))
    return data


def validated(evaluator: Results, real: Results, draws: int = 100) -> dict[str, Any]:
    return plain(validate(evaluator=evaluator, real=real, draws=draws))


def test_published_tables_are_reproduced_from_csv(shared: Path, tmp_path: Path) -> None:
    """All tables of one robot in one file: published rates are multiples of a thousandth, so so many real trials."""
    golden = json.loads((shared / "golden" / "simpler_metrics.json").read_text())["tasks"]
    tables = {task: table for task, table in golden.items() if task.startswith("google_robot")}
    said = [[policy, task, "s", 0, score] for task, table in tables.items()
            for policy, score in zip(table["policies"], table["evaluator"], strict=True)]  # fmt: skip
    successes = [(policy, task, round(1000 * rate)) for task, table in tables.items()
                 for policy, rate in zip(table["policies"], table["real"], strict=True)]  # fmt: skip
    came = [[policy, task, n, 0, int(n < count)] for policy, task, count in successes for n in range(1000)]
    evaluator, real = (write_csv(tmp_path / f"{name}.csv", rows) for name, rows in (("e", said), ("r", came)))
    found = validate(evaluator=read_evaluator(evaluator), real=read_real(real), draws=100)
    assert {task.task for task in found.tasks} == set(tables)
    for task in found.tasks:
        assert task.pearson.value == pytest.approx(tables[task.task]["pearson"], abs=1e-12)
        assert task.mmrv.value == pytest.approx(tables[task.task]["mmrv"], abs=1e-12)


def test_every_number_follows_from_the_scores() -> None:
    found = validated(*simulate(1))
    evaluator, real = ([row[side]["value"] for row in found["scores"]] for side in ("evaluator", "real"))
    for name, measure in MEASURES.items():
        value = float(measure(evaluator=np.array(evaluator), real=np.array(real)))
        assert found[name]["value"] == pytest.approx(value)
        assert found[name]["low"] <= found[name]["value"] <= found[name]["high"]
        assert found[name]["low"] < found[name]["high"]
    for task in found["tasks"]:
        pairs = [(row["evaluator"]["value"], row["real"]["value"]) for row in task["scores"]]
        assert task["optimism"]["value"] == pytest.approx(np.mean([one - other for one, other in pairs]))
    without = [row["pearson"] for row in found["drop_one"]["without"]]
    assert (found["drop_one"]["min"], found["drop_one"]["max"]) == (min(without), max(without))
    assert real == sorted(real, reverse=True)
    assert (found["policies"], found["preliminary"]) == (8, False)


def test_a_task_counts_once_however_often_it_was_tried() -> None:
    rows = [("a", "easy", str(scene), 1.0) for scene in range(30)] + [
        ("a", "hard", str(scene), 0.0) for scene in (1, 2)
    ]
    others = [(policy, task, str(scene), float(scene % 2)) for policy in "bc" for task in ("easy", "hard")
              for scene in range(4)]  # fmt: skip
    found = validated(results(rows + others, "e"), results(rows + others, "r"))
    scores = {row["policy"]: row for row in found["scores"]}
    assert scores["a"]["real"]["value"] == 0.5
    assert scores["a"]["trials"] == {"evaluator": 32, "real": 32}


def test_scores_that_are_equal_stay_ties() -> None:
    """0.1 + 0.2 + 0.3 and 0.3 + 0.2 + 0.1 differ in floating point, but no evaluator that ties a and b orders them."""
    said = {"a": (0.1, 0.2, 0.3), "b": (0.3, 0.2, 0.1), "c": (0.9, 0.9, 0.9)}
    came = {"a": (1, 0, 0), "b": (0, 0, 0), "c": (1, 1, 1)}
    evaluator, real = (
        results(((p, t, "s", float(v)) for p, values in side.items() for t, v in zip("xyz", values, strict=True)), name)
        for side, name in ((said, "e"), (came, "r"))
    )
    assert validated(evaluator, real)["mmrv"]["value"] == pytest.approx(1 / 9)


def test_means_that_are_equal_stay_ties() -> None:
    """Halves in one task and thirds in the other, or the other way round: the same mean, and nothing to separate."""
    counts = {"a": {"x": 2, "y": 3}, "b": {"x": 3, "y": 2}, "c": {"x": 1, "y": 1}}
    rows = [(p, t, str(s), float(s == 0)) for p, tasks in counts.items() for t, n in tasks.items() for s in range(n)]
    found = validated(results(rows, "e"), results(rows, "r"))
    assert [row["real"]["value"] for row in found["scores"]] == [1, pytest.approx(5 / 12), pytest.approx(5 / 12)]
    assert [row["more"] is None for row in found["separation"]] == [False, True]


def test_the_seed_decides_the_intervals() -> None:
    sides = dict(zip(("evaluator", "real"), simulate(2), strict=True))
    first, again, other = (validate(**sides, seed=seed, draws=100) for seed in (0, 0, 1))
    assert plain(first) == plain(again)
    assert first.pearson.value == other.pearson.value
    assert first.pearson.low != other.pearson.low
    assert (other.seed, other.draws) == (1, 100)


def test_where_it_came_from_is_told() -> None:
    evaluator, real = rates(SKILL, "e.csv", 10), rates(SKILL, "r.csv", 10)
    found = validated(evaluator, real)
    assert (found["evaluator"], found["real"]) == (dict(evaluator.source), dict(real.source))


# What is left out, and what is missing


def test_policies_and_tasks_of_one_side_are_named() -> None:
    evaluator = [*trials_of(SKILL), *trials_of({"e": 0.5}), *trials_of({"a": 0.5}, "only-imagined")]
    real = [*trials_of(SKILL), *trials_of({"g": 0.5, "f": 0.5}), *trials_of({"a": 0.5}, "only-real")]
    found = validated(results(evaluator, "e"), results(real, "r"))
    assert found["policies"] == 4
    for note in (
        "left out, only in the evaluator's results: policy e",
        "left out, only in the real results: policies f, g",
        "left out, only in the evaluator's results: task only-imagined",
        "left out, only in the real results: task only-real",
    ):
        assert note in found["notes"]
    assert [task["task"] for task in found["tasks"]] == ["task"]


def test_cells_of_one_side_are_named() -> None:
    evaluator = [*trials_of(SKILL), *trials_of(SKILL, "second")]
    real = [*trials_of(SKILL), *trials_of({"a": 0.1, "b": 0.4, "c": 0.5}, "second")]
    found = validated(results(evaluator, "e"), results(real, "r"))
    assert any("scores differ by the tasks too: d in second left out" in note for note in found["notes"])
    assert [task["policies"] for task in found["tasks"]] == [3, 4]


def test_missing_verdicts_are_missing_and_counted() -> None:
    rows = trials_of(SKILL)
    said = [(p, t, s, None if p == "d" and v == 0 else v) for p, t, s, v in rows]
    found = validated(results(said, "e"), results(rows, "r"))
    best = found["scores"][0]
    assert (best["policy"], best["evaluator"]["value"], best["real"]["value"]) == ("d", 1.0, 0.8)
    assert (best["missing"], best["trials"]) == ({"evaluator": 2, "real": 0}, {"evaluator": 8, "real": 10})
    assert "2 of 40 evaluator trials have no outcome: missing, not failures" in found["notes"]


def test_a_policy_without_any_verdict_is_left_out_by_name() -> None:
    said = [(p, t, s, None if p == "d" else v) for p, t, s, v in trials_of(SKILL)]
    found = validated(results(said, "e"), results(trials_of(SKILL), "r"))
    assert found["policies"] == 3
    assert "left out, without an outcome on both sides: policy d" in found["notes"]


def test_an_abstention_is_no_word_on_the_scenes_it_leaves_out() -> None:
    """The evaluator is silent wherever the policy fails: its own rate is 1, the corrected one must not be."""
    random = np.random.default_rng(0)
    real = [(policy, "t", str(s), float(random.random() < 0.5)) for policy in "abc" for s in range(400)]
    said = [(p, t, s, v if v else None) for p, t, s, v in real]
    tried = [row for row in real if int(row[2]) < 60]
    for row in validated(results(said, "e"), results(tried, "r"))["scores"]:
        assert row["evaluator"]["value"] == 1
        assert row["corrected"]["rate"]["value"] == pytest.approx(row["real"]["value"])
        assert row["corrected"]["rate"]["high"] < 0.8
        assert (row["corrected"]["pairs"], row["corrected"]["evaluator_only"]) == (60, 340)


# What is not defined


def test_fewer_than_three_policies_are_refused() -> None:
    evaluator, real = rates({"a": 0.1, "b": 0.4, "x": 0.3}, "e", 10), rates({"a": 0.1, "b": 0.4, "y": 0.6}, "r", 10)
    with pytest.raises(InvalidInput, match=r"at least 3 policies .*, not 2 \(a, b\): the evaluator has a, b, x; re"):
        validate(evaluator=evaluator, real=real)


@pytest.mark.parametrize("policies", [3, 6, 7])
def test_few_policies_are_preliminary(policies: int) -> None:
    found = validated(*simulate(0, policies=policies))
    said = any(note.startswith(f"preliminary: {policies} policies") for note in found["notes"])
    assert found["preliminary"] == said == (policies < 7)


def test_of_three_policies_none_can_be_dropped() -> None:
    found = validated(*simulate(0, policies=3))
    assert found["drop_one"] == {"min": None, "max": None, "without": []}
    assert "dropping one of 3 policies leaves 2, which have no correlation" in found["notes"]


@pytest.mark.parametrize("side", ["evaluator", "real"])
def test_constant_scores_have_no_correlation(side: str) -> None:
    sides = {"evaluator": rates(SKILL, "e", 10), "real": rates(SKILL, "r", 10)}
    sides[side] = rates(dict.fromkeys(SKILL, 0.5), side, 10)
    found = validated(sides["evaluator"], sides["real"])
    for name in ("pearson", "spearman", "kendall"):
        assert found[name] == {"value": None, "low": None, "high": None}
    assert f"all policies have the same {side} score, so that no correlation is defined" in found["notes"]
    assert found["drop_one"]["min"] is None
    assert found["mmrv"]["value"] is not None


def test_one_scene_gives_no_interval() -> None:
    rows = [(policy, "t", "s", float(n < 10 * score)) for policy, score in SKILL.items() for n in range(10)]
    found = validated(results(rows, "e"), results(rows, "r"))
    assert found["pearson"] == {"value": pytest.approx(1), "low": None, "high": None}
    assert any("no intervals" in note for note in found["notes"])
    assert all(row["corrected"] is None for row in found["scores"])
    assert any(note.startswith("no corrected rate of d, c, b, a") for note in found["notes"])


def test_tasks_of_one_scene_give_intervals_over_all_and_none_alone() -> None:
    rows = [(p, f"t{n}", "s", float(n < 8 * score)) for p, score in SKILL.items() for n in range(8)]
    found = validated(results(rows, "e"), results(rows, "r"))
    assert found["optimism"]["low"] is not None
    assert all(task["optimism"] == {"value": 0, "low": None, "high": None} for task in found["tasks"])


def test_scenes_of_both_sides_are_drawn_apart_from_those_of_one() -> None:
    table = tabulate(evaluator=results(trials_of(SKILL), "e"), real=results(trials_of(SKILL)[:3], "r"))
    assert [scene for _, scene in table.scenes] == [str(scene) for scene in range(10)]
    assert table.strata().tolist() == [0] * 3 + [1] * 7


def test_sides_without_a_common_scene_have_no_calibration_but_intervals() -> None:
    real = [(p, t, f"real-{s}", v) for p, t, s, v in trials_of(SKILL)]
    found = validated(results(trials_of(SKILL), "e"), results(real, "r"))
    assert found["calibration"] is None
    assert found["pearson"]["low"] is not None
    assert any("no policy was tried in the same scene on both sides" in note for note in found["notes"])


def test_results_compared_with_themselves_are_called_so() -> None:
    side = rates(SKILL, "same", 10)
    assert "evaluator and real are the same results, which therefore agree" in validated(side, side)["notes"]


def trials_of(scores: dict[str, float], task: str = "task") -> list[tuple[str, str, str, float | None]]:
    return [
        (p, task, str(scene), float(scene < round(10 * score))) for p, score in scores.items() for scene in range(10)
    ]


# What is refused


def test_without_anything_in_common_both_sides_are_listed() -> None:
    with pytest.raises(InvalidInput, match="no common policy: e has a, b, c, d; r has w, x"):
        validate(evaluator=rates(SKILL, "e", 10), real=rates({"x": 0.5, "w": 0.1}, "r", 10))
    with pytest.raises(InvalidInput, match="in a common task: e has push; r has task"):
        validate(evaluator=rates(SKILL, "e", 10, "push"), real=rates(SKILL, "r", 10))


def test_probabilities_are_no_reality() -> None:
    said = results([(policy, "t", "s", score) for policy, score in SKILL.items()], "e.csv")
    with pytest.raises(InvalidInput, match=r"e\.csv has success 0.1 for a real trial.*is it the evaluator's\?"):
        validate(evaluator=rates(SKILL, "r", 10), real=said)


@pytest.mark.parametrize(("option", "value"), [("draws", 99), ("draws", 100_001), ("seed", -1)])
def test_options_out_of_range_are_refused(option: str, value: int) -> None:
    with pytest.raises(InvalidInput, match=str(value)):
        validate(evaluator=rates(SKILL, "e", 10), real=rates(SKILL, "r", 10), **{option: value})


@pytest.mark.parametrize("success", [math.nan, -0.1, 1.1, math.inf])
def test_results_are_checked_however_they_are_made(success: float) -> None:
    with pytest.raises(InvalidInput, match=r"must be in \[0, 1\]"):
        results([("a", "t", "s", success)])
    trial = TrialResult("a", "t", "s", 0, 1.0)
    with pytest.raises(InvalidInput, match="twice"):
        Results((trial, replace(trial, success=0.0)), {"file": "f"})
    with pytest.raises(InvalidInput, match="has no trials"):
        Results((), {"file": "f"})


cell = st.sampled_from([0.0, 1.0, None])


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_whatever_was_tried_there_are_numbers_or_a_reason(data: st.DataObject) -> None:
    """Any holes in the table: JSON without NaN, intervals around their values, or one line."""
    places = [(p, t, s) for p in "abcd" for t in "xy" for s in "123"]
    sides = []
    for name in ("e", "r"):
        kept = data.draw(st.lists(st.sampled_from(places), min_size=1, unique=True))
        sides.append(results(((*place, data.draw(cell)) for place in kept), name))
    try:
        found = validated(*sides)
    except InvalidInput:
        return
    for estimate in estimates(found):
        if estimate["low"] is not None:
            assert estimate["low"] - 1e-9 <= estimate["value"] <= estimate["high"] + 1e-9


def estimates(value: Any) -> Iterator[dict[str, float | None]]:
    if isinstance(value, dict) and set(value) == {"value", "low", "high"}:
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from estimates(item)


# Calibration and separation


def test_a_calibrated_evaluator_has_little_error_and_a_bold_one_much() -> None:
    random = np.random.default_rng(0)
    chance = {(policy, str(scene)): random.random() for policy in "abcd" for scene in range(250)}
    real = results(((p, "t", s, float(random.random() < c)) for (p, s), c in chance.items()), "r")
    fair = results(((p, "t", s, c) for (p, s), c in chance.items()), "e")
    bold = results(((p, "t", s, min(1.0, c + 0.3)) for (p, s), c in chance.items()), "b")
    errors = [validated(side, real)["calibration"]["error"] for side in (fair, bold)]
    assert errors[0]["value"] < 0.05
    assert errors[1]["value"] == pytest.approx(0.25, abs=0.05)
    assert errors[1]["low"] > errors[0]["high"]


def test_calibration_is_the_mean_distance_over_pairs() -> None:
    said = [("a", 0.15, 0), ("a", 0.1, 1), ("b", 0.95, 1), ("c", 1.0, 1)]
    evaluator = results([(policy, "t", str(i), value) for i, (policy, value, _) in enumerate(said)], "e")
    real = results([(policy, "t", str(i), float(value)) for i, (policy, _, value) in enumerate(said)], "r")
    found = validated(evaluator, real)["calibration"]
    assert found["error"]["value"] == pytest.approx((2 * abs(0.125 - 0.5) + 2 * abs(0.975 - 1)) / 4)
    assert found["pairs"] == 4
    assert [(row["low"], row["high"], row["pairs"]) for row in found["bins"]] == [(0.1, 0.2, 2), (0.9, 1.0, 2)]


@given(st.floats(0, 1), st.floats(0, 1))
def test_trials_needed_are_those_of_statsmodels(first: float, second: float) -> None:
    needed = trials_needed(first, second)
    effect = abs(proportion_effectsize(first, second))
    if effect < 1e-3:
        assert needed is None or needed > 1_000_000
        return
    power = NormalIndPower().power(effect, needed, 0.05)
    less = NormalIndPower().power(effect, needed - 1, 0.05) if needed and needed > 1 else 0
    assert power >= 0.8 - 1e-6
    assert less < 0.8 + 1e-6


def test_neighbours_are_those_in_reality() -> None:
    found = separations(["a", "b", "c", "d"], [0.2, 0.9, 0.2, 0.6], [10, 20, 10, 400])
    assert [(pair.better, pair.worse) for pair in found] == [("b", "d"), ("d", "a"), ("a", "c")]
    assert [pair.trials for pair in found] == [20, 10, 10]
    assert found[0].more == (found[0].needed or 0) - 20 > 0
    assert (found[2].gap, found[2].needed, found[2].more) == (0, None, None)


def test_enough_trials_are_enough() -> None:
    [pair] = separations(["a", "b"], [0.9, 0.1], [100, 100])
    assert pair.more == 0
