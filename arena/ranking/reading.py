"""Votes from CSV files. They are written by others: size, encoding, columns and every value are checked.

A message names the file, the line as an editor counts them, what is wrong there and what would be right. Rows are
taken many at a time and values looked at once each, so that a million votes are read in about two seconds.
"""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from arena.contracts import FloatArray, InvalidInput
from arena.ranking.ballots import CHOICES, Ballots, Codes, Column

REQUIRED = ("left", "right", "winner", "worker")
SCENE, WEIGHT = "scene", "weight"
WEIGHTS = re.compile(r"1(\.0{0,12})?|0(\.\d{0,12})?|\d(\.\d{0,12})?[eE]-\d{1,3}")
MAX_BYTES = 1 << 30
MAX_VOTES = 5_000_000
MAX_POLICIES = 1000
"""Arrays of policies by policies are kept."""
MAX_NAME = 200
MAX_LINE = 1 << 20
BLOCK = 1 << 18
"""Bytes read at once."""
SHOWN = 60
"""Characters of a refused value that a message repeats."""
AT_ONCE = 4000
"""Rows: few enough to stay in the processor's cache."""
EXAMPLE = f"the first line must name the columns {','.join(REQUIRED)}"


@dataclass(frozen=True)
class VoteFile:
    """A file's votes, and what it was: `name` and the `sha256` of its bytes."""

    ballots: Ballots
    name: str
    sha256: str


def read_votes(path: Path, covariates: Sequence[str] = ()) -> VoteFile:
    """The votes of a CSV with columns left, right, winner (left, right, tie or both_bad) and worker, in any order.

    A column `scene` is kept, as are those named in `covariates`; a column `weight` says what each vote counts for
    (`dreamarena votes export` writes it), and one of 0 leaves it out. Others are ignored. Raises `InvalidInput`.
    """
    if not path.is_file():
        raise InvalidInput(f"{path} is not a file" if path.exists() else f"{path} does not exist")
    # The name may hold bytes that are no text.
    name = str(path).encode(errors="replace").decode()
    if path.stat().st_size > MAX_BYTES:
        raise InvalidInput(f"{name} is larger than {MAX_BYTES >> 20} MiB: split it, or leave out columns")
    with path.open("rb") as stream:
        hashed = _Hashed(stream, name)
        reader = _Reader(name, covariates)
        # Spreadsheets write a byte order mark.
        text = io.TextIOWrapper(io.BufferedReader(hashed, BLOCK), encoding="utf-8-sig", newline="")
        try:
            reader.read(text)
        except UnicodeDecodeError:
            what = "not UTF-8 text: save the file as CSV in UTF-8"
            raise InvalidInput(f"{name}, line {_undecodable_line(path)}: {what}") from None
    return VoteFile(reader.ballots(), name, hashed.digest.hexdigest())


class _Hashed(io.RawIOBase):
    """Passes bytes on, hashes them, so that the hash is of what was read, and stops at a line that would fill the
    memory.
    """

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self.digest = hashlib.sha256()
        self._stream, self._name = stream, name
        self._line, self._length = 1, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        data = self._stream.read(min(len(buffer), BLOCK))
        self.digest.update(data)
        last = data.rfind(b"\n")
        self._line += data.count(b"\n")
        self._length = self._length + len(data) if last < 0 else len(data) - last - 1
        if self._length > MAX_LINE:
            what = f"longer than {MAX_LINE} bytes: is this a CSV file?"
            raise InvalidInput(f"{self._name}, line {self._line}: {what}")
        buffer[: len(data)] = data
        return len(data)


class _Refused(ValueError):
    """A value that a column cannot have: the message says what would be right."""


class _Codes(dict[str, int]):
    """Codes of values by order of appearance. A value is checked when it is first met."""

    def __init__(self, column: str) -> None:
        super().__init__()
        self.column = column
        self.distinct = 0

    def __missing__(self, text: str) -> int:
        value = text.strip()
        if value != text:
            self[text] = self[value]
            return self[text]
        self.check(value)
        self[text] = self.distinct
        self.distinct += 1
        return self[text]

    def check(self, value: str) -> None:
        if not value or value.lower() == "nan":
            raise _Refused(f"{self.column} is {'empty' if not value else 'NaN'}: every vote needs one")
        if len(value) > MAX_NAME or not value.isprintable():
            raise _Refused(f"{self.column} must be at most {MAX_NAME} printable characters, not {_shown(value)}")


class _Policies(_Codes):
    def check(self, value: str) -> None:
        super().check(value)
        if self.distinct >= MAX_POLICIES:
            raise _Refused(f"more than {MAX_POLICIES} policies: no more can be compared at once")


class _Winner(_Codes):
    def __missing__(self, text: str) -> int:
        value = text.strip().lower()
        if value == self.column:
            raise _Refused("the header again: a file has one")
        if value not in tuple(CHOICES):
            raise _Refused(f"winner must be left, right, tie or both_bad, not {_shown(text)}")
        self[text] = CHOICES.index(value)
        return self[text]


class _Optional(_Codes):
    """Of a covariate: nothing said is a value of its own."""

    def check(self, value: str) -> None:
        if value:
            super().check(value)


class _Weight(_Codes):
    """Weights as texts: few are distinct, as a voter's votes mostly weigh the same."""

    def check(self, value: str) -> None:
        if not WEIGHTS.fullmatch(value):
            raise _Refused(f"weight must be a number from 0 to 1, not {_shown(value)}")

    def numbers(self, codes: Codes) -> FloatArray:
        found = {code: float(text) for text, code in self.items()}
        return np.array([found[code] for code in range(self.distinct)])[codes]


@dataclass
class _Reader:
    name: str
    covariates: Sequence[str]
    header: list[str] = field(default_factory=list)
    codes: dict[str, _Codes] = field(default_factory=dict)
    found: dict[str, list[Codes]] = field(default_factory=dict)
    votes: int = 0

    def read(self, text: io.TextIOWrapper) -> None:
        rows = csv.reader(text, strict=True)
        try:
            self._begin(rows)
            while chunk := list(itertools.islice(rows, AT_ONCE)):
                self._take(chunk, rows.line_num)
        except csv.Error as error:
            raise self._complaint(rows.line_num, f"{error}: write comma-separated values") from None
        if not self.votes:
            raise InvalidInput(f"{self.name} has no votes: {EXAMPLE}, and each further line is a vote")

    def ballots(self) -> Ballots:
        columns = {name: np.concatenate(parts) for name, parts in self.found.items()}
        policies, sides = _sorted(self.codes["left"], np.concatenate([columns["left"], columns["right"]]))
        rest = {
            name: Column(*_sorted(self.codes[name], columns[name]))
            for name in columns
            if name not in ("left", "right", "winner", WEIGHT)
        }
        scene = rest.get(SCENE)
        ballots = Ballots(
            policies,
            sides[: self.votes],
            sides[self.votes :],
            columns["winner"].astype(np.int8),
            rest["worker"],
            scene,
            {name: rest[name] for name in self.covariates if name != SCENE},
        )
        weights = self.codes.get(WEIGHT)
        return ballots.weighed(weights.numbers(columns[WEIGHT])) if isinstance(weights, _Weight) else ballots

    def _begin(self, rows: Any) -> None:
        first = next((row for row in rows if any(title.strip() for title in row)), None)
        if first is None:
            raise InvalidInput(f"{self.name} is empty: {EXAMPLE}")
        line = rows.line_num
        self.header = [title.strip().lower() for title in first]
        if wrong := {"left", "right", "winner", WEIGHT} & {name.lower() for name in self.covariates}:
            raise InvalidInput(f"{wrong.pop()} is what is explained, and no covariate: name another column")
        wanted = list(dict.fromkeys([*REQUIRED, *(name.lower() for name in self.covariates)]))
        if missing := [name for name in wanted if name not in self.header]:
            found = _shown(",".join(first))
            raise self._complaint(line, f"no column {', '.join(missing)}: {EXAMPLE}, not {found}")
        wanted += [name for name in (SCENE, WEIGHT) if name in self.header and name not in wanted]
        if doubled := [name for name in wanted if self.header.count(name) > 1]:
            raise self._complaint(line, f"column {doubled[0]} is there more than once: keep one")
        policies = _Policies("policy")
        self.codes = {name: _Codes("worker") if name == "worker" else _Optional(name) for name in wanted}
        self.codes |= {"left": policies, "right": policies, "winner": _Winner("winner")}
        if WEIGHT in wanted:
            self.codes[WEIGHT] = _Weight(WEIGHT)
        self.found = {name: [] for name in wanted}

    def _take(self, chunk: list[list[str]], last: int) -> None:
        """Add rows, the last of which ended on line `last` of the file."""
        width = len(self.header)
        if set(map(len, chunk)) != {width}:
            bad = next((i for i, row in enumerate(chunk) if row and len(row) != width), None)
            if bad is not None:
                what = f"{len(chunk[bad])} values where the header names {width} columns"
                raise self._complaint(_line_of(chunk, bad, last), what)
        rows = [row for row in chunk if row] if not all(chunk) else chunk
        columns = list(zip(*rows, strict=True)) or [()] * width
        coded = {name: self._coded(name, columns[self.header.index(name)], rows, chunk, last) for name in self.found}
        same = np.flatnonzero(coded["left"] == coded["right"])
        if len(same):
            row = rows[same[0]]
            policy = _shown(row[self.header.index("left")])
            what = f"{policy} is compared with itself: left and right must be two policies"
            raise self._complaint(_line_of(chunk, _index(chunk, row), last), what)
        for name, values in coded.items():
            self.found[name].append(values)
        self.votes += len(rows)
        if self.votes > MAX_VOTES:
            raise InvalidInput(f"{self.name} has more than {MAX_VOTES} votes: no more are read at once")

    def _coded(
        self, name: str, values: Sequence[str], rows: list[list[str]], chunk: list[list[str]], last: int
    ) -> Codes:
        codes = self.codes[name]
        try:
            return np.fromiter(map(codes.__getitem__, values), np.int64, len(values))
        except _Refused as error:
            # Known values raise nothing: the first unknown one that is refused again is the culprit.
            bad = next(i for i, value in enumerate(values) if value not in codes)
            what = str(error).replace("policy is", f"{name} is", 1)
            raise self._complaint(_line_of(chunk, _index(chunk, rows[bad]), last), what) from None

    def _complaint(self, line: int, what: str) -> InvalidInput:
        return InvalidInput(f"{self.name}, line {line}: {what}")


def _undecodable_line(path: Path) -> int:
    """The decoder reads ahead of the rows: the line is counted anew."""
    with path.open("rb") as stream:
        for number, line in enumerate(iter(lambda: stream.readline(MAX_LINE), b""), start=1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return number
    return 1


def _index(chunk: list[list[str]], row: list[str]) -> int:
    return next(i for i, other in enumerate(chunk) if other is row)


def _line_of(chunk: list[list[str]], index: int, last: int) -> int:
    """The line on which a row ends, counted back from the end of the chunk: quoted values may hold line breaks."""
    after = chunk[index + 1 :]
    return last - len(after) - sum(value.count("\n") for row in after for value in row)


def _sorted(codes: _Codes, values: Codes) -> tuple[tuple[str, ...], Codes]:
    """Values in alphabetical order, so that the order of rows changes nothing."""
    names = {code: text.strip() for text, code in codes.items()}
    order = sorted(names, key=lambda code: names[code])
    place = np.zeros(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    return tuple(names[code] for code in order), place[values]


def _shown(text: str) -> str:
    return repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}…")
