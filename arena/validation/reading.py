"""Results from CSV files. They are written by others: size, encoding, columns and every value are checked.

A message names the file, the row as a spreadsheet counts them (the header is row 1), and what would be right.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path

from arena.contracts import InvalidInput
from arena.validation.trials import MAX_TRIALS, Results, TrialResult, describe

COLUMNS = ("policy", "task", "scene", "seed", "success")
MAX_BYTES = 32 * 2**20
MAX_NAME = 200
SHOWN = 60
"""Characters of a refused value that a message repeats."""
WORDS = {"true": 1.0, "false": 0.0}

ParseSuccess = Callable[[str], float]


def read_evaluator(path: Path) -> Results:
    """An evaluator's results: `success` is a probability in [0, 1], true or false, or empty where it has no verdict.

    The columns of `COLUMNS` may be in any order, and others are ignored. Raises `InvalidInput`.
    """
    return _read(path, _probability)


def read_real(path: Path) -> Results:
    """Results of real trials: `success` is 0, 1, true or false, or empty where the outcome is not known.

    The columns of `COLUMNS` may be in any order, and others are ignored. Raises `InvalidInput`.
    """
    return _read(path, _outcome)


def _read(path: Path, parse_success: ParseSuccess) -> Results:
    content = _content(path)
    # The name may hold bytes that are no text.
    name = str(path).encode(errors="replace").decode()
    trials: dict[tuple[str, str, str, int], int] = {}
    results = []
    for row, values in _rows(name, content):
        try:
            trial = _trial(values, parse_success)
        except ValueError as error:
            raise InvalidInput(f"{name}, row {row}: {error}") from None
        if (first := trials.setdefault(trial.key, row)) != row:
            raise InvalidInput(
                f"{name}, row {row}: {describe(trial)} is in row {first} already: give repeated trials different seeds"
            )
        results.append(trial)
    return Results(tuple(results), {"file": name, "sha256": hashlib.sha256(content).hexdigest()})


def _content(path: Path) -> bytes:
    if not path.is_file():
        raise InvalidInput(f"{path} is not a file" if path.exists() else f"{path} does not exist")
    with path.open("rb") as stream:
        content = stream.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise InvalidInput(f"{path} is larger than {MAX_BYTES // 2**20} MiB: no more is read")
    return content


def _rows(name: str, content: bytes) -> Iterator[tuple[int, dict[str, str]]]:
    """Row number and the values of `COLUMNS`, of each row that is not blank."""
    try:
        # Spreadsheets write a byte order mark.
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{name} is not UTF-8 text (byte {error.start}): save it as CSV in UTF-8") from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    row, trials, header = 0, 0, list[str]()
    try:
        for row, fields in enumerate(reader, start=1):
            if not fields:
                continue
            if not header:
                header = _header(name, row, fields)
                continue
            _check_row(name, row, fields, header)
            trials += 1
            yield row, {column: fields[header.index(column)].strip() for column in COLUMNS}
    except csv.Error as error:
        raise InvalidInput(f"{name}, row {row + 1}: {error}: write comma-separated values") from None
    if not trials:
        raise InvalidInput(f"{name} is empty: it needs a header {','.join(COLUMNS)} and a row for each trial")


def _header(name: str, row: int, fields: list[str]) -> list[str]:
    header = [field.strip().lower() for field in fields]
    if missing := [column for column in COLUMNS if column not in header]:
        found = _shown(",".join(fields))
        raise InvalidInput(
            f"{name}, row {row}: no column {', '.join(missing)}: the header must name {','.join(COLUMNS)}, not {found}"
        )
    if doubled := [column for column in COLUMNS if header.count(column) > 1]:
        raise InvalidInput(f"{name}, row {row}: column {doubled[0]} is there more than once")
    return header


def _check_row(name: str, row: int, fields: list[str], header: list[str]) -> None:
    if len(fields) != len(header):
        raise InvalidInput(f"{name}, row {row}: {len(fields)} values where the header names {len(header)} columns")
    if row - 1 > MAX_TRIALS:
        raise InvalidInput(f"{name} has more than {MAX_TRIALS} trials: no more can be compared at once")


def _trial(values: dict[str, str], parse_success: ParseSuccess) -> TrialResult:
    """Raises `ValueError` with what would be right."""
    names = {column: _name(column, values[column]) for column in ("policy", "task", "scene")}
    return TrialResult(
        **names,
        seed=_seed(values["seed"]),
        success=parse_success(values["success"]) if values["success"] else None,
    )


def _name(column: str, text: str) -> str:
    if not text:
        raise ValueError(f"{column} is empty")
    if len(text) > MAX_NAME or not text.isprintable():
        raise ValueError(f"{column} must be at most {MAX_NAME} printable characters, not {_shown(text)}")
    return text


def _seed(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"seed must be a whole number, not {_shown(text)}") from None


def _probability(text: str) -> float:
    try:
        value = WORDS[text.lower()] if text.lower() in WORDS else float(text)
    except ValueError:
        value = float("nan")
    # Written so that NaN is refused too.
    if not 0 <= value <= 1:
        raise ValueError(
            f"success must be a probability between 0 and 1, true or false, or empty where there is no verdict, "
            f"not {_shown(text)}"
        )
    return value


def _outcome(text: str) -> float:
    try:
        value = _probability(text)
    except ValueError:
        value = float("nan")
    if value not in (0.0, 1.0):
        raise ValueError(
            f"success of a real trial must be 0, 1, true or false, or empty where it is not known, not {_shown(text)}"
        )
    return value


def _shown(text: str) -> str:
    return repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}…")
