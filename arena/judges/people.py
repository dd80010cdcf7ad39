"""What people said of trials, from a CSV, and how far a judge agrees with them and they with each other."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from arena.contracts import Choice, InvalidInput, Verdict
from arena.judges.agreement import bootstrapped, cohen_kappa, krippendorff_alpha
from arena.pairing import compare
from arena.validation.shares import Estimate

RATINGS = ("trial", "voter", "success")
PREFERENCES = ("left", "right", "voter", "choice")
MAX_BYTES, MAX_ROWS, MAX_FIELD = 32 << 20, 200_000, 200
_YES = {"1": True, "true": True, "0": False, "false": False}

Pair = tuple[str, str]


@dataclass(frozen=True)
class People:
    """Each voter's word on trials (did it succeed?), or on pairs of trials (which went better?), by trials' ids."""

    ratings: Mapping[tuple[str, str], bool]
    """By voter and trial."""
    preferences: Mapping[tuple[str, Pair], Choice]
    """By voter and pair, the left one's id being the smaller."""


@dataclass(frozen=True)
class PeopleAgreement:
    """On `units` that the judge spoke of (trials, or pairs), by `voters`; votes on others are `elsewhere`.

    `among_people` is Krippendorff's alpha of the voters, `with_judge` that with the judge as one more of them, and
    `kappa` Cohen's of the judge and the voters' majority, without the units on which the voters are split.
    """

    what: str
    voters: int
    votes: int
    units: int
    elsewhere: int
    among_people: Estimate
    with_judge: Estimate
    kappa: Estimate


def read_people(path: Path) -> People:
    """A CSV in UTF-8 with the columns `trial,voter,success` or `left,right,voter,choice`; others are ignored.

    `success` is 0, 1, true or false, or empty for no opinion; `choice` is left, right, tie or both_bad. Raises
    `InvalidInput` naming file and row: for another header, value or encoding, a voter's second word on the same, a file
    too large.
    """
    rows = _rows(path)
    header = next(rows, (0, []))[1]
    columns = next((kind for kind in (RATINGS, PREFERENCES) if set(kind) <= set(header)), None)
    if columns is None:
        raise InvalidInput(f"{path}: the first row must name {','.join(RATINGS)} or {','.join(PREFERENCES)}")
    ratings: dict[tuple[str, str], bool] = {}
    preferences: dict[tuple[str, Pair], Choice] = {}
    for row, fields in rows:
        if len(fields) != len(header):
            raise InvalidInput(f"{path}, row {row}: {len(fields)} values under {len(header)} columns")
        values = [fields[header.index(column)].strip() for column in columns]
        try:
            fresh = _rating(ratings, *values) if columns is RATINGS else _preference(preferences, *values)
        except ValueError as error:
            raise InvalidInput(f"{path}, row {row}: {error}") from None
        if not fresh:
            raise InvalidInput(f"{path}, row {row}: this voter's word on this is in an earlier row already")
    return People(ratings, preferences)


def agreement_with(people: People, verdicts: Sequence[Verdict], threshold: float, seed: int) -> PeopleAgreement:
    """How a judge's `verdicts` go with what people said. Those that it abstained on count for nothing."""
    spoken = {v.rollout_id: v for v in verdicts if not v.abstained and v.success_probability is not None}
    if people.ratings:
        said = {(voter, trial): str(rated) for (voter, trial), rated in people.ratings.items()}
        own = {id: str((v.success_probability or 0.0) >= threshold) for id, v in spoken.items()}
        return _agreement("trials", said, own, seed)
    by_pair = {(voter, "\n".join(pair)): str(choice) for (voter, pair), choice in people.preferences.items()}
    pairs = {pair for _, pair in people.preferences if pair[0] in spoken and pair[1] in spoken}
    own = {"\n".join(pair): str(compare(spoken[pair[0]], spoken[pair[1]], threshold=threshold)) for pair in pairs}
    return _agreement("pairs", by_pair, own, seed)


def _agreement(what: str, said: Mapping[tuple[str, str], str], own: Mapping[str, str], seed: int) -> PeopleAgreement:
    units = sorted({unit for _, unit in said if unit in own})
    voters = sorted({voter for voter, unit in said if unit in own})
    table = [[said.get((voter, unit)) for unit in units] for voter in voters]
    judge = [own[unit] for unit in units]
    majority = [_majority([row[column] for row in table]) for column in range(len(units))]
    decided = [index for index, word in enumerate(majority) if word is not None]

    def alpha(rows: Sequence[Sequence[str | None]]) -> Estimate:
        return bootstrapped(lambda drawn: krippendorff_alpha([[r[i] for i in drawn] for r in rows]), len(units), seed)

    def kappa() -> Estimate:
        return bootstrapped(
            lambda drawn: cohen_kappa([judge[decided[i]] for i in drawn], [str(majority[decided[i]]) for i in drawn]),
            len(decided), seed,
        )  # fmt: skip

    return PeopleAgreement(
        what=what,
        voters=len(voters),
        votes=sum(unit in own for _, unit in said),
        units=len(units),
        elsewhere=sum(unit not in own for _, unit in said),
        among_people=alpha(table) if len(voters) > 1 else Estimate(None),
        with_judge=alpha([*table, judge]) if units else Estimate(None),
        kappa=kappa() if decided else Estimate(None),
    )


def _majority(words: Sequence[str | None]) -> str | None:
    counts = Counter(word for word in words if word is not None).most_common(2)
    if not counts or (len(counts) > 1 and counts[0][1] == counts[1][1]):
        return None
    return counts[0][0]


def _rating(found: dict[tuple[str, str], bool], trial: str, voter: str, success: str) -> bool:
    _check_names(trial, voter)
    if not success:
        return True
    if success.lower() not in _YES:
        raise ValueError(f"success is {success[:60]!r}, it must be 0, 1, true or false, or empty")
    fresh = (voter, trial) not in found
    found[voter, trial] = _YES[success.lower()]
    return fresh


def _preference(found: dict[tuple[str, Pair], Choice], left: str, right: str, voter: str, choice: str) -> bool:
    _check_names(left, right, voter)
    if left == right:
        raise ValueError("a trial is not compared with itself")
    if choice not in [each.value for each in Choice]:
        raise ValueError(f"choice is {choice[:60]!r}, it must be one of {', '.join(Choice)}")
    word = Choice(choice)
    if left > right:
        left, right = right, left
        word = word.swapped
    fresh = (voter, (left, right)) not in found
    found[voter, (left, right)] = word
    return fresh


def _check_names(*names: str) -> None:
    for name in names:
        if not name or len(name) > MAX_FIELD or not name.isprintable():
            raise ValueError(f"{name[:60]!r} is not a name of at most {MAX_FIELD} printable characters")


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Rows that are not blank, with their number as a spreadsheet counts them."""
    if not path.is_file():
        raise InvalidInput(f"{path} is not a file" if path.exists() else f"{path} does not exist")
    if path.stat().st_size > MAX_BYTES:
        raise InvalidInput(f"{path} is larger than {MAX_BYTES >> 20} MiB: no more is read")
    try:
        # Spreadsheets write a byte order mark.
        reader = csv.reader(io.StringIO(path.read_bytes().decode("utf-8-sig"), newline=""), strict=True)
        for row, fields in enumerate(reader, start=1):
            if row > MAX_ROWS:
                raise InvalidInput(f"{path} has more than {MAX_ROWS} rows")
            if fields:
                yield row, fields
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path} is not UTF-8 text (byte {error.start})") from None
    except csv.Error as error:
        raise InvalidInput(f"{path} is not CSV: {error}") from None
