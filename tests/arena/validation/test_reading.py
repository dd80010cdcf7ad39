"""CSV files of results: what is read, and one line for whatever is wrong with them."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arena.contracts import InvalidInput
from arena.validation import TrialResult, read_evaluator, read_real, reading, trials
from tests.arena.validation.making import write_csv

GOOD = "policy,task,scene,seed,success\na,push,s1,0,1\n"


def write(folder: Path, content: str | bytes) -> Path:
    path = folder / "results.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_columns_in_any_order_and_others_beside_them(tmp_path: Path) -> None:
    text = '\ufeffNotes,success,SEED,scene, task,progress,policy\r\n"said ""no""\nat 5",0.25,3,s1,push,50,a\r\n\r\n'
    read = read_evaluator(write(tmp_path, text + ",TRUE,4,s1,push,,a\n"))
    assert read.trials == (TrialResult("a", "push", "s1", 3, 0.25), TrialResult("a", "push", "s1", 4, 1.0))


def test_where_results_come_from_is_kept(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    assert dict(read_real(path).source) == {
        "file": str(path),
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", 1.0), ("0", 0.0), ("0.0", 0.0), ("1.0", 1.0), ("true", 1.0), ("False", 0.0), ("", None), ("  ", None)],
)
def test_both_sides_read_outcomes(tmp_path: Path, text: str, value: float | None) -> None:
    path = write(tmp_path, f"policy,task,scene,seed,success\na,push,s1,0,{text}\n")
    assert read_real(path).trials[0].success == read_evaluator(path).trials[0].success == value


@pytest.mark.parametrize("text", ["0.5", "1e-3", "0.999"])
def test_probabilities_are_the_evaluators_alone(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, f"policy,task,scene,seed,success\na,push,s1,0,{text}\n")
    assert read_evaluator(path).trials[0].success == float(text)
    with pytest.raises(InvalidInput, match=f"row 2: success of a real trial must be 0, 1, true or false.*not '{text}'"):
        read_real(path)


BAD = [
    ("", "is empty: it needs a header policy,task,scene,seed,success and a row for each trial"),
    ("\n\n\n", "is empty: it needs a header"),
    ("policy,task,scene,seed,success\n", "is empty: it needs a header"),
    ("policy,task,scene,success\na,push,s1,1\n", "row 1: no column seed: the header must name policy,task,scene,seed"),
    ("\n\npolicy,task,scene,success\na,push,s1,1\n", "row 3: no column seed"),
    ("policy;task;scene;seed;success\na;push;s1;0;1\n", "row 1: no column policy, task"),
    ("policy,task,scene,seed,success,task\na,push,s1,0,1,b\n", "row 1: column task is there more than once"),
    ("policy,task,scene,seed,success\na,push,s1,0\n", "row 2: 4 values where the header names 5 columns"),
    ("policy,task,scene,seed,success\na,push,s1,0,1,,\n", "row 2: 7 values where the header names 5 columns"),
    (GOOD + "a,push,s2,0,nan\n", "row 3: success must be a probability between 0 and 1, true or false, or empty"),
    (GOOD + "a,push,s2,0,inf\n", "row 3: success must be a probability"),
    (GOOD + "a,push,s2,0,1.01\n", "row 3: success must be a probability"),
    (GOOD + "a,push,s2,0,-0.1\n", "row 3: success must be a probability"),
    (GOOD + "a,push,s2,0,yes\n", "row 3: success must be a probability.*not 'yes'"),
    (GOOD + f"a,push,s2,0,{'9' * 5000}\n", "row 3: success must be a probability"),
    (GOOD + "a,push,s2,zero,1\n", "row 3: seed must be a whole number, not 'zero'"),
    (GOOD + f"a,push,s2,{'9' * 5000},1\n", "row 3: seed must be a whole number, not '9{60}…'"),
    (GOOD + "a,push,s2,0.5,1\n", "row 3: seed must be a whole number"),
    (GOOD + " ,push,s2,0,1\n", "row 3: policy is empty"),
    (GOOD + "a,,s2,0,1\n", "row 3: task is empty"),
    (GOOD + f"{'a' * 201},push,s2,0,1\n", "row 3: policy must be at most 200 printable characters"),
    (GOOD + "a,push,\x1b[31m,0,1\n", "row 3: scene must be at most 200 printable characters"),
    (GOOD + "a,push,s1,0,0\n", "row 3: policy 'a', task 'push', scene 's1', seed 0 is in row 2 already"),
    (GOOD + 'a,push,"s2,0,1\n', "row 3: unexpected end of data: write comma-separated values"),
    (GOOD + f'a,push,"{"x" * 200_000}",0,1\n', "row 3: field larger than field limit"),
    (GOOD.encode("utf-16"), "is not UTF-8 text"),
    (GOOD.encode() + "ä,push,s2,0,1\n".encode("latin-1"), r"is not UTF-8 text \(byte 45\)"),
]


@pytest.mark.parametrize(("content", "message"), BAD)
def test_what_is_wrong_is_one_line(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(InvalidInput, match=rf"results\.csv,? {message}") as caught:
        read_evaluator(write(tmp_path, content))
    line = str(caught.value)
    assert "\n" not in line
    assert line.isprintable()
    assert len(line) < 400 + len(str(tmp_path))


def test_the_same_trial_with_another_seed_is_another(tmp_path: Path) -> None:
    assert len(read_real(write(tmp_path, GOOD + "a,push,s1,1,0\n")).trials) == 2


def test_paths_that_are_no_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"gone\.csv does not exist"):
        read_real(tmp_path / "gone.csv")
    with pytest.raises(InvalidInput, match="is not a file"):
        read_real(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidInput, match="pipe is not a file"):
        read_real(tmp_path / "pipe")


def test_size_is_capped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_BYTES", 1 << 20)
    with pytest.raises(InvalidInput, match="larger than 1 MiB: no more is read"):
        read_real(write(tmp_path, b"x" * ((1 << 20) + 1)))
    monkeypatch.setattr(reading, "MAX_TRIALS", 3)
    path = write_csv(tmp_path / "many.csv", (["a", "push", scene, 0, 1] for scene in range(4)))
    with pytest.raises(InvalidInput, match="more than 3 trials"):
        read_real(path)


@pytest.mark.parametrize(("column", "what"), [(0, "policies"), (1, "tasks")])
def test_what_work_grows_with_is_capped(tmp_path: Path, column: int, what: str) -> None:
    most = {"policies": trials.MAX_POLICIES, "tasks": trials.MAX_TASKS}[what]
    rows = [["a", "push", "s", 0, 1] for _ in range(most + 1)]
    for number, row in enumerate(rows):
        row[column] = f"name-{number}"
    with pytest.raises(InvalidInput, match=f"has {most + 1} {what}: at most {most}"):
        read_real(write_csv(tmp_path / "many.csv", rows))


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, noise: bytes) -> None:
    path = tmp_path_factory.mktemp("noise") / "results.csv"
    path.write_bytes(GOOD.encode() + noise)
    try:
        read = read_evaluator(path)
    except InvalidInput:
        return
    assert read.trials[0] == TrialResult("a", "push", "s1", 0, 1.0)
