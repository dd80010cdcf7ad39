"""`dreamarena validate`: from CSV files or stored evaluations to JSON and a page."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arena.contracts import ActionChunk, ActionSpace, Provenance, Rollout, Verdict
from arena.store import Store
from arena.validation import Results
from tests.arena.validation.making import as_rows, simulate, write_csv
from tests.workers.test_report import HOSTILE, Page
from workers.cli import main
from workers.settings import load_settings
from workers.truth import TruthJudge
from workers.validation_charts import LEAST_SPAN, score_square, strip
from workers.validation_page import render_validation

REPOSITORY = Path(__file__).resolve().parents[2]
ESTIMATE = {"value", "low", "high"}
SKILL = {"good": 0.9, "fair": 0.6, "poor": 0.3, "bad": 0.0}
SCENES = 10
pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture(scope="module")
def sides() -> tuple[Results, Results]:
    """Eight policies in two tasks; reality has a third of the scenes, and the evaluator gave no verdict once."""
    evaluator, real = simulate(1, scenes=18, real_scenes=6)
    trials = (replace(evaluator.trials[0], success=None), *evaluator.trials[1:])
    return replace(evaluator, trials=trials), real


@pytest.fixture
def files(sides: tuple[Results, Results], tmp_path: Path) -> tuple[Path, Path]:
    evaluator, real = (
        write_csv(tmp_path / f"{name}.csv", as_rows(side)) for name, side in zip("AB", sides, strict=True)
    )
    return evaluator, real


Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command with `--json` and returns what is on stdout: JSON without NaN, and nothing else."""

    def validate(evaluator: object, real: object, *more: str) -> dict[str, Any]:
        arguments = ["--evaluator", str(evaluator), "--real", str(real), "--draws", "200", "--json", *more]
        assert main(["validate", *arguments]) == 0

        def refuse(constant: str) -> None:
            pytest.fail(f"{constant} in JSON")

        found: dict[str, Any] = json.loads(capsys.readouterr().out, parse_constant=refuse)
        return found

    return validate


def test_the_json_is_as_documented(run: Run, files: tuple[Path, Path]) -> None:
    found = run(*files)
    for name in ("pearson", "spearman", "kendall", "mmrv", "optimism"):
        assert set(found[name]) == ESTIMATE
        assert found[name]["low"] <= found[name]["value"] <= found[name]["high"]
    assert found["drop_one"]["min"] <= found["pearson"]["value"] <= found["drop_one"]["max"]
    assert found["policies"] == len(found["scores"]) == 8
    assert [task["task"] for task in found["tasks"]] == ["a", "b"]
    assert set(found["calibration"]["error"]) == ESTIMATE
    assert len(found["separation"]) == 7
    assert all(row["corrected"]["pairs"] == 12 for row in found["scores"])
    assert found["notes"] == ["1 of 288 evaluator trials have no outcome: missing, not failures"]


def test_every_number_can_be_traced(run: Run, files: tuple[Path, Path]) -> None:
    found = run(*files, "--seed", "5")
    for side, path in zip(("evaluator", "real"), files, strict=True):
        assert found[side] == {"file": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    assert (found["seed"], found["draws"]) == (5, 200)
    assert re.match(r"\d+\.\d+", found["code"])
    assert found == run(*files, "--seed", "5")
    assert found["pearson"] != run(*files, "--seed", "6")["pearson"]


def test_without_json_it_is_for_people(
    files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [[row[0] if row[0] != "policy-7" else "[red]", *row[1:]] for row in read(files[1])]
    real = write_csv(tmp_path / "named.csv", rows)
    assert main(["validate", "--evaluator", str(files[0]), "--real", str(real), "--draws", "200"]) == 0
    out = capsys.readouterr().out
    assert "Pearson r" in out
    assert "note: left out, only in the real results: policy [red]" in out


def read(path: Path) -> list[list[str]]:
    return [line.split(",") for line in path.read_text().splitlines()[1:]]


HEADER = "policy,task,scene,seed,success\n"
BAD_INPUT = {
    "gone.csv": (None, "--evaluator: gone.csv does not exist"),
    "some/where": (None, "--evaluator: some/where does not exist"),
    "nonesuch": (None, "--evaluator is neither a file nor a finished evaluation: there is no evaluation 'nonesuch'"),
    "empty.csv": ("", "empty.csv is empty"),
    "nan.csv": (HEADER + "a,push,s,0,nan\n", "nan.csv, row 2: success must be a probability"),
    "columns.csv": ("policy,success\na,1\n", "columns.csv, row 1: no column task, scene, seed"),
    "two.csv": (HEADER + "policy-0,a,scene-0,0,1\npolicy-1,a,scene-0,0,1\n", "at least 3 policies"),
    "others.csv": (HEADER + "x,a,scene-0,0,1\n", "no common policy: others.csv has x; "),
}


@pytest.mark.parametrize("given", BAD_INPUT)
def test_bad_input_is_one_line_and_exit_code_2(
    given: str, files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content, message = BAD_INPUT[given]
    if content is not None:
        (tmp_path / given).write_text(content)
    assert main(["validate", "--evaluator", given, "--real", str(files[1]), "--out", "out"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("dreamarena: ")
    assert err.count("\n") == 1
    assert message in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("arguments", ["validate", "validate --evaluator a.csv", "validate a.csv b.csv"])
def test_sides_must_be_named(arguments: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments.split()) == 2
    assert capsys.readouterr().err.startswith("dreamarena: ")


def test_the_documented_example_is_what_it_prints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(REPOSITORY / "docs" / "examples", tmp_path / "docs" / "examples")
    monkeypatch.setenv("COLUMNS", "80")
    page = (REPOSITORY / "docs" / "validation.md").read_text()
    example = re.search(r"```sh\ndreamarena (validate .*)\n```\n\n```\n([^`]*)```", page)
    assert example is not None
    assert main(example[1].split()) == 0
    printed, written = ([line.rstrip() for line in text.splitlines()] for text in (capsys.readouterr().out, example[2]))
    assert printed == written


# Evaluations in the store


def rollout(world: str, policy: str, scene: int) -> Rollout:
    return Rollout(
        id=f"{world}-{policy}-{scene}",
        policy=policy,
        world=world,
        scene_id=f"scene-{scene}",
        task="reach",
        instruction="reach",
        seed=scene,
        fps=5.0,
        frames={},
        state=np.zeros((2, 7)),
        action=ActionChunk(np.zeros((1, 7)), ActionSpace.CARTESIAN_POSITION, 5.0),
        step_seconds=(),
        provenance=Provenance("p", world, "s", "c", "code"),
        success=scene < SKILL[policy] * SCENES if world == "real" else None,
    )


def fill(store: Store, world: str, say: Callable[[Rollout], Verdict | None], finish: bool = True) -> str:
    """An evaluation of four policies in ten scenes, with the verdicts that `say` gives."""
    rollouts = [rollout(world, policy, scene) for policy in SKILL for scene in range(SCENES)]
    evaluation = f"evaluation-{world}"
    store.results.open_evaluation(evaluation, {}, "c" * 64, seed=0)
    said = [verdict for one in rollouts if (verdict := say(one))]
    for one in rollouts:
        store.results.add_rollout(one, "artifact")
    for verdict in said:
        store.results.add_verdict(verdict)
    store.results.link_rollouts(evaluation, [one.id for one in rollouts])
    if finish:
        judge = {"name": said[0].judge, "sha256": said[0].judge_sha256, "card": None}
        store.results.finish_evaluation(evaluation, {"judge": judge})
    return evaluation


def guess(one: Rollout) -> Verdict | None:
    """A judge that abstains from one rollout of the best policy, and was never asked about another."""
    number = int(one.scene_id.removeprefix("scene-"))
    if (one.policy, number) == ("good", 8):
        return None
    if (one.policy, number) == ("good", 9):
        return Verdict(one.id, "guesser", "f" * 64, 0.0, None, "unsure", abstained=True)
    return Verdict(one.id, "guesser", "f" * 64, 0.25 + SKILL[one.policy] / 2, None)


@pytest.fixture
def store(home: Path) -> Iterator[Store]:
    store = Store(load_settings().store_url)
    yield store
    store.close()


def test_evaluations_in_the_store_are_compared(run: Run, store: Store) -> None:
    imagined, real = fill(store, "dream", guess), fill(store, "real", TruthJudge().judge)
    # Another judge's word on the same rollouts is not this evaluation's.
    store.results.add_verdict(Verdict("dream-good-8", "another", "e" * 64, 0.0, None))
    found = run(imagined, real)
    scores = {row["policy"]: (row["evaluator"]["value"], row["real"]["value"]) for row in found["scores"]}
    assert scores == {name: (pytest.approx(0.25 + skill / 2), pytest.approx(skill)) for name, skill in SKILL.items()}
    assert found["scores"][0]["missing"] == {"evaluator": 2, "real": 0}
    assert found["pearson"]["value"] == pytest.approx(1, abs=1e-6)
    judged = {"judge": "guesser", "judge_sha256": "f" * 64}
    assert found["evaluator"] == {"evaluation": imagined, **judged, "config_sha256": "c" * 64}
    assert (found["real"]["judge"], found["real"]["judge_sha256"]) == ("truth", TruthJudge.sha256)


def test_an_evaluation_is_compared_with_real_trials_in_a_file(run: Run, store: Store, tmp_path: Path) -> None:
    rows = [[p, "reach", f"scene-{s}", 0, int(s < skill * SCENES)] for p, skill in SKILL.items() for s in range(SCENES)]
    found = run(fill(store, "dream", guess), write_csv(tmp_path / "real.csv", rows))
    assert found["calibration"]["pairs"] == 38
    assert (found["evaluator"]["judge"], set(found["real"])) == ("guesser", {"file", "sha256"})


@pytest.mark.parametrize(
    ("say", "finish", "message"),
    [
        (guess, True, "reality must be an evaluation with --judge truth, or a CSV"),
        (TruthJudge().judge, False, "evaluation evaluation-dream is not finished"),
        (TruthJudge().judge, True, "evaluation evaluation-dream has no success by the judge truth"),
    ],
)
def test_evaluations_that_are_no_reality(
    say: Callable[[Rollout], Verdict], finish: bool, message: str, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    sides = {"evaluator": fill(store, "real", TruthJudge().judge), "real": fill(store, "dream", say, finish)}
    assert main(["validate", "--evaluator", sides["evaluator"], "--real", sides["real"]]) == 2
    assert message in capsys.readouterr().err


# The page


class Numbers(Page):
    """A page whose axes' ticks and numbered dots are left out of its words."""

    def handle_data(self, data: str) -> None:
        # In SVG, `text` has ticks and numbered dots; `title` and all else are words.
        if self._open[-1:] not in (["text"], ["style"]):
            super().handle_data(data)


def test_the_page_shows_what_the_json_says(run: Run, files: tuple[Path, Path], tmp_path: Path) -> None:
    found = run(*files, "--out", str(tmp_path / "out"))
    assert json.loads((tmp_path / "out" / "validation.json").read_text()) == found
    page = Numbers(tmp_path / "out" / "validation.html")
    for section in ("agreement", "policies", "tasks", "dropped", "calibration", "corrected", "separation", "made"):
        assert section in page.attributes("id")
    for name in ("pearson", "spearman", "kendall", "mmrv", "optimism"):
        value, low, high = (f"{found[name][end]:.3f}".replace("-", "−") for end in ("value", "low", "high"))
        assert f"{value} {low} to {high}" in page.text
    for row in found["scores"]:
        evaluator, real, corrected = (
            f"{rate['value']:.2f} ({rate['low']:.2f}–{rate['high']:.2f})"
            for rate in (row["evaluator"], row["real"], row["corrected"]["rate"])
        )
        assert f"{row['policy']} {evaluator} {real}" in page.text
        assert f"{row['policy']} {real} {corrected}" in page.text
    for pair in found["separation"]:
        assert f"{pair['better']} {pair['worse']} {pair['gap']:.3f} {pair['trials']}" in page.text
    for piece in (*found["notes"], found["code"], found["evaluator"]["sha256"], found["real"]["sha256"]):
        assert piece in page.text


def test_every_number_on_the_page_is_in_the_json(run: Run, files: tuple[Path, Path], tmp_path: Path) -> None:
    found = run(*files, "--out", str(tmp_path / "out"))
    words = Numbers(tmp_path / "out" / "validation.html").text
    words = words.replace("sha256", "")
    for text in strings(found):
        words = words.replace(text, "")
    shown = re.findall(r"[−]?\d+(?:\.\d+)?", words.replace("95% interval", ""))
    assert len(shown) > 200
    # The ranks that number the dots of the scatter plot are counted, not measured.
    ranks = {str(rank) for rank in range(1, found["policies"] + 1)}
    known = {form for value in values(found) for form in forms(value)} | ranks
    assert {number for number in shown if number not in known} == set()


def values(data: Any) -> Iterator[float]:
    if isinstance(data, dict | list):
        for item in data.values() if isinstance(data, dict) else data:
            yield from values(item)
    elif isinstance(data, int | float) and not isinstance(data, bool):
        yield data


def strings(data: Any) -> Iterator[str]:
    """Longest first, so that one that is part of another is not taken out of it."""

    def all_strings(data: Any) -> Iterator[str]:
        if isinstance(data, dict | list):
            for item in data.values() if isinstance(data, dict) else data:
                yield from all_strings(item)
        elif isinstance(data, str):
            yield data

    return iter(sorted(set(all_strings(data)), key=len, reverse=True))


def forms(value: float) -> set[str]:
    return {str(value), *(f"{value:.{digits}f}".replace("-", "−") for digits in (1, 2, 3))}


def test_the_page_needs_nothing_else(run: Run, files: tuple[Path, Path], tmp_path: Path) -> None:
    run(*files, "--out", str(tmp_path / "out"))
    page = Page(tmp_path / "out" / "validation.html")
    assert not re.search(r"https?://|@import|url\(", page.source)
    assert not page.attributes("src")
    assert not page.scripts
    [policy] = [attrs["content"] for _, attrs in page.tags if attrs.get("http-equiv") == "Content-Security-Policy"]
    assert policy == "default-src 'none'; style-src 'unsafe-inline'"
    anchors = {address.removeprefix("#") for address in page.attributes("href")}
    assert anchors <= set(page.attributes("id"))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["validation.html", "validation.json"]


def test_hostile_names_stay_text(run: Run, files: tuple[Path, Path], tmp_path: Path) -> None:
    paths = []
    for path in files:
        rows = [
            [HOSTILE if row[0] == "policy-0" else row[0], HOSTILE if row[1] == "a" else row[1], *row[2:]]
            for row in read(path)
        ]
        paths.append(write_csv(tmp_path / f"hostile-{path.name}", rows))
    run(*paths, "--out", str(tmp_path / "out"))
    page = Page(tmp_path / "out" / "validation.html")
    assert not [tag for tag, _ in page.tags if tag in ("script", "img")]
    assert not page.attributes("onerror")
    assert page.text.count("onerror") >= 5


def test_what_is_not_there_is_left_out(run: Run, tmp_path: Path) -> None:
    """Three policies in one task, tried in different scenes, all alike to the evaluator."""
    said = write_csv(tmp_path / "e.csv", [[p, "t", f"e{s}", 0, 0.5] for p in "abc" for s in range(5)])
    came = write_csv(
        tmp_path / "r.csv", [[p, "t", f"r{s}", 0, int(s < "abc".index(p))] for p in "abc" for s in range(5)]
    )
    found = run(said, came, "--out", str(tmp_path / "out"))
    page = Page(tmp_path / "out" / "validation.html")
    assert not {"tasks", "dropped", "calibration"} & set(page.attributes("id"))
    assert "No correlation is defined over these 3 policies." in page.text
    assert "preliminary: 3 policies" in page.text
    assert "nan" not in page.text.lower().replace("dominant", "")
    assert all(row["corrected"] is None for row in found["scores"])


def test_a_preliminary_result_says_so_first(run: Run, files: tuple[Path, Path]) -> None:
    found = run(*files)
    assert "Preliminary" not in render_validation(found)
    assert "Preliminary: Pearson r is" in render_validation({**found, "preliminary": True})


def estimate(value: float | None, low: float | None = None, high: float | None = None) -> dict[str, float | None]:
    return {"value": value, "low": low, "high": high}


def test_dots_are_where_their_scores_are() -> None:
    rows: list[Mapping[str, Any]] = [
        {"policy": "a", "evaluator": estimate(0.0, 0.0, 0.3), "real": estimate(1.0, 0.6, 1.0)},
        {"policy": "b", "evaluator": estimate(0.5), "real": estimate(0.5)},
    ]
    drawn = score_square(rows, 200, labels=True)
    first, second = drawn.dots
    assert (first.x, first.y) == (drawn.right, drawn.bottom)
    assert drawn.left < first.left < first.right == drawn.right
    assert drawn.top < first.top < first.bottom == drawn.bottom
    assert (second.left, second.right, second.bottom, second.top) == (second.x, second.x, second.y, second.y)
    assert (second.x - drawn.left) / (drawn.right - drawn.left) == pytest.approx(0.5)
    assert [dot.label for dot in drawn.dots] == ["1", "2"]


def test_strips_span_all_they_show_and_do_not_magnify() -> None:
    drawn = strip([[estimate(0.98)], [estimate(None)], [estimate(0.985, 0.97, 0.99)]], 0.983)
    [[first], [none], [third]] = drawn.marks
    assert none is None
    assert first is not None
    assert third is not None
    assert 0 < third.low < first.at < (drawn.reference or 0) < third.at < third.high < 100
    assert third.high - third.low < 100 * 0.02 / LEAST_SPAN
    assert all(0 <= tick.at <= 100 for tick in drawn.ticks)
