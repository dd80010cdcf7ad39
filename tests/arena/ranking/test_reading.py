"""Votes from files: what is accepted, and the one line that says what is wrong and what would be right."""

from __future__ import annotations

import contextlib
import hashlib
import random
from pathlib import Path

import pytest

from arena.contracts import InvalidInput
from arena.ranking import read_votes, reading

HEADER = "left,right,winner,worker\n"
GOOD = HEADER + "a,b,left,u\nb,a,right,v\n"


def write(tmp_path: Path, content: str | bytes, name: str = "votes.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    "content",
    [
        GOOD,
        "\ufeff" + GOOD,
        GOOD.replace("\n", "\r\n"),
        GOOD.replace("\n", "\n\n"),
        "\n" + GOOD.rstrip(),
        "Winner , WORKER,x,left,right\nLEFT,u,0, a ,b\n right,v,1,b,a \n",
        '"left","right","winner","worker"\n"a","b","left","u"\nb,a,right,v\n',
    ],
)
def test_what_spreadsheets_write_is_read(content: str, tmp_path: Path) -> None:
    file = read_votes(write(tmp_path, content))
    ballots = file.ballots
    assert ballots.policies == ("a", "b")
    assert ballots.left.tolist() == [0, 1]
    assert ballots.right.tolist() == [1, 0]
    assert ballots.choice.tolist() == [0, 1]
    assert [ballots.voter.values[code] for code in ballots.voter.codes] == ["u", "v"]
    assert file.sha256 == hashlib.sha256((tmp_path / "votes.csv").read_bytes()).hexdigest()


def test_scene_and_covariates_are_kept(tmp_path: Path) -> None:
    content = "left,right,winner,worker,scene,Kind,other\na,b,tie,u,s1,push,\nb,a,both_bad,u,,,x\n"
    ballots = read_votes(write(tmp_path, content), ["kind"]).ballots
    assert ballots.choice.tolist() == [2, 3]
    assert ballots.scene is not None
    assert [ballots.scene.values[code] for code in ballots.scene.codes] == ["s1", ""]
    kind = ballots.covariates["kind"]
    assert [kind.values[code] for code in kind.codes] == ["push", ""]


WINNER = "winner must be left, right, tie or both_bad, not"
NAMES = "the first line must name the columns left,right,winner,worker"
PRINTABLE = "must be at most 200 printable characters, not"
BAD = {
    "unknown winner": (HEADER + "a,b,left,u\na,b,Alice,u\n", f"line 3: {WINNER} 'Alice'"),
    "no winner": (HEADER + "a,b,,u\n", f"line 2: {WINNER} ''"),
    "NaN winner": (HEADER + "a,b,nan,u\n", f"line 2: {WINNER} 'nan'"),
    "missing columns": ("left,right,who\na,b,u\n", f"line 1: no column winner, worker: {NAMES}, not 'left,right,who'"),
    "itself": (HEADER + "a,b,left,u\n\na , a,left,u\n", "line 4: 'a ' is compared with itself: left and right must"),
    "empty policy": (HEADER + "a, ,left,u\n", "line 2: right is empty: every vote needs one"),
    "empty worker": (HEADER + "a,b,left,\n", "line 2: worker is empty: every vote needs one"),
    "NaN policy": (HEADER + "NaN,b,left,u\n", "line 2: left is NaN: every vote needs one"),
    "doubled column": ("left,right,winner,worker,left\n", "line 1: column left is there more than once: keep one"),
    "header again": (GOOD + HEADER + "a,b,left,u\n", "line 4: the header again: a file has one"),
    "too few values": (HEADER + "a,b,left\n", "line 2: 3 values where the header names 4 columns"),
    "too many values": (GOOD + "a,b,left,u,x\n", "line 4: 5 values where the header names 4 columns"),
    "quote": (HEADER + 'a,b,left,u\na,"b"x,left,u\n', "line 3: ',' expected after '\"': write comma-separated values"),
    "break in quotes": (HEADER + 'a,b,left,"u\nv"\n', f"line 3: worker {PRINTABLE} 'u\\nv'"),
    "long name": (HEADER + "a" * 300 + ",b,left,u\n", f"line 2: policy {PRINTABLE} 'aaa"),
    "control character": (HEADER + "a\x1b[31m,b,left,u\n", f"line 2: policy {PRINTABLE} 'a\\x1b[31m'"),
    "no votes": (HEADER, f"has no votes: {NAMES}, and each"),
    "empty": ("", f"is empty: {NAMES}"),
    "binary": (GOOD.encode() + b"a,\xff\xfe,left,u\n", "line 4: not UTF-8 text: save the file as CSV in UTF-8"),
    "utf-16": (GOOD.encode("utf-16"), "line 1: not UTF-8 text"),
    "one endless line": ("x" * (reading.MAX_LINE + 5), "line 1: longer than 1048576 bytes: is this a CSV file?"),
    "huge value": (GOOD + "a" * 200_000 + ",b,left,u\n", "line 4: field larger than field limit (131072)"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named_with_its_line(case: str, tmp_path: Path) -> None:
    content, message = BAD[case]
    path = write(tmp_path, content)
    with pytest.raises(InvalidInput) as refused:
        read_votes(path)
    assert str(refused.value).startswith(str(path))
    assert message in str(refused.value)
    assert len(str(refused.value)) < 500


def test_lines_are_counted_beyond_the_first_chunk(tmp_path: Path) -> None:
    rows = ["a,b,left,u\n"] * (3 * reading.AT_ONCE)
    rows[2 * reading.AT_ONCE + 17] = "a,b,lfet,u\n"
    with pytest.raises(InvalidInput, match=rf"line {2 * reading.AT_ONCE + 19}: .*'lfet'"):
        read_votes(write(tmp_path, HEADER + "".join(rows)))


def test_limits_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, GOOD)
    monkeypatch.setattr(reading, "MAX_POLICIES", 1)
    with pytest.raises(InvalidInput, match="line 3: more than 1 policies"):
        read_votes(path)
    monkeypatch.setattr(reading, "MAX_POLICIES", 5)
    monkeypatch.setattr(reading, "MAX_VOTES", 1)
    with pytest.raises(InvalidInput, match="more than 1 votes"):
        read_votes(path)
    monkeypatch.setattr(reading, "MAX_BYTES", 10)
    with pytest.raises(InvalidInput, match="is larger than"):
        read_votes(path)


@pytest.mark.parametrize(("name", "message"), [("gone.csv", "does not exist"), (".", "is not a file")])
def test_what_is_no_file_is_named(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=message):
        read_votes(tmp_path / name)


def test_a_missing_covariate_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="line 1: no column kind"):
        read_votes(write(tmp_path, GOOD), ["kind"])


def test_noise_is_refused_and_never_crashes(tmp_path: Path) -> None:
    rng = random.Random(0)
    for number in range(60):
        content = bytearray(GOOD.encode() * 3)
        for _ in range(rng.randrange(1, 8)):
            content[rng.randrange(len(content))] = rng.choice(b'\x00\n\r,"\xff\xc3aLeft9')
        with contextlib.suppress(InvalidInput):
            assert len(read_votes(write(tmp_path, bytes(content), f"{number}.csv")).ballots)


def test_a_column_of_weights_says_what_each_vote_counts_for(tmp_path: Path) -> None:
    file = tmp_path / "votes.csv"
    file.write_text("left,right,winner,worker,weight\na,b,left,v,1\na,b,right,w,0.25\nc,b,tie,x,0\na,b,left,y, 1e-3\n")
    ballots = read_votes(file).ballots
    assert ballots.weight is not None
    assert ballots.weight.tolist() == [1.0, 0.25, 0.001]
    assert ballots.policies == ("a", "b", "c")


@pytest.mark.parametrize("weight", ["", "-1", "nan", "inf", "1e9", "1.5", "heavy"])
def test_a_weight_that_is_none_is_refused_with_its_line(tmp_path: Path, weight: str) -> None:
    file = tmp_path / "votes.csv"
    file.write_text(f"left,right,winner,worker,weight\na,b,left,v,1\na,b,left,v,{weight}\n")
    with pytest.raises(InvalidInput, match=r"line 3: weight must be a number from 0 to 1"):
        read_votes(file)
