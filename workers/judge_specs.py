"""Which judge an evaluation or an audit is asked for: from what a user writes to what a worker is told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from arena.contracts import Episode, InvalidInput
from arena.episodes.atomic import MANIFEST, file_sha256
from workers.content import content_address
from workers.evaluation import Dataset
from workers.jobs import Inputs
from workers.registry import JUDGE, pretrained

LEARNED, DEMONSTRATIONS, TRUTH, VLM, ENSEMBLE = "learned", "demonstrations", "truth", "vlm", "ensemble"
NAMES = ("auto", LEARNED, DEMONSTRATIONS, TRUTH)
OTHERS = f"{LEARNED}:FOLDER, {VLM}:MODEL@URL, {ENSEMBLE}:A,B or a FILE.toml"


class JudgeSpec(Inputs):
    """How a judge is made. `name` is `learned`, `learned:FOLDER`, `demonstrations`, `vlm:MODEL@URL`, `vlm:FILE.toml`,
    `ensemble:` and such names, or `truth` in worlds that know.

    At most `labelled` labelled episodes of `dataset` are replayed in the world model to calibrate a judge by
    demonstrations. `fingerprint` is that of a learned judge's files, of all that shapes the verdicts of one over an
    endpoint, or of both in an ensemble.
    """

    name: str
    dataset: Dataset
    seed: int
    labelled: int
    fingerprint: str | None = None


def judge_spec(asked: str, dataset: Dataset, seed: int, labelled: int) -> JudgeSpec:
    """The judge that `asked` names, wherever a worker runs in the same file system.

    Raises `InvalidInput` where there is none of that name, or its folder or file is not what it has to be.
    """
    name = _canonical(asked)
    return JudgeSpec(name=name, dataset=dataset, seed=seed, labelled=labelled, fingerprint=_fingerprint(name))


def members_of(name: str) -> list[str]:
    """Of `ensemble:A,B` its members' names."""
    return [member.strip() for member in name.partition(":")[2].split(",") if member.strip()]


def kind_of(name: str) -> str:
    return name.partition(":")[0]


def learned_folder(name: str) -> Path:
    """Of `learned` the judge that ships, of `learned:FOLDER` the folder. Raises `InvalidInput` where there is none."""
    folder = name.partition(":")[2]
    if not folder:
        return pretrained(JUDGE)
    if not Path(folder).is_dir():
        raise InvalidInput(f"there is no judge in {folder!r}: `dreamarena judge train` makes one")
    return Path(folder).resolve()


def learned_fingerprint(folder: Path) -> str:
    """The same for the same judge wherever it lies: its manifest has the hash of every file."""
    if not (folder / MANIFEST).is_file():
        raise InvalidInput(f"{folder} has no {MANIFEST}: it holds no judge, or one that was never finished")
    return file_sha256(folder / MANIFEST)


def shipped_judge_covers(episodes: Sequence[Episode]) -> bool:
    """Whether the judge that ships has learned everything that these episodes want, and seen their robots."""
    from arena.learned.judging.folder import read_card

    try:
        card = read_card(pretrained(JUDGE))
    except InvalidInput:
        return False
    return card.covers({episode.instruction for episode in episodes}, {episode.robot for episode in episodes})


def _canonical(asked: str) -> str:
    """The name with absolute paths. A learned judge that ships keeps its short one: it is everywhere."""
    kind = kind_of(asked)
    if asked in (LEARNED, DEMONSTRATIONS, TRUTH):
        return asked
    if kind == LEARNED and ":" in asked:
        return f"{LEARNED}:{learned_folder(asked)}"
    if kind == ENSEMBLE and ":" in asked:
        return _ensemble(members_of(asked))
    if kind == VLM and ":" in asked and not asked.endswith(".toml"):
        return asked
    if asked.endswith(".toml"):
        return _from_file(Path(asked.removeprefix(f"{VLM}:")))
    raise InvalidInput(f"there is no judge {asked!r}, only {', '.join(NAMES)} and {OTHERS}")


def _from_file(path: Path) -> str:
    """A TOML describes a judge over an endpoint, or with `kind = "ensemble"` has the `members` of one."""
    from arena.judges.vlm.config import read_toml

    values = read_toml(path)
    kind = values.get("kind", VLM)
    if kind == VLM:
        return f"{VLM}:{path.resolve()}"
    if kind != ENSEMBLE:
        raise InvalidInput(f"{path}: kind = {kind!r} must be {VLM!r} or {ENSEMBLE!r}")
    members = values.get("members")
    if set(values) != {"kind", "members"} or not isinstance(members, list) or not all(map(_is_text, members)):
        raise InvalidInput(f'{path}: an ensemble has its members and nothing else: members = ["{LEARNED}", "a.toml"]')
    # Files are named from where the file is that names them.
    files = {member for member in members if member.endswith(".toml") and ":" not in member}
    return _ensemble([str(path.parent / member) if member in files else member for member in members])


def _ensemble(members: Sequence[str]) -> str:
    names = [_canonical(member) for member in members]
    for name in names:
        if "," in name or kind_of(name) in (ENSEMBLE, TRUTH):
            raise InvalidInput(f"{name!r} cannot be in an ensemble: it has a comma, knows the truth, or is one itself")
    return f"{ENSEMBLE}:{','.join(names)}"


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _fingerprint(name: str) -> str | None:
    kind = kind_of(name)
    if kind == LEARNED:
        return learned_fingerprint(learned_folder(name))
    if kind == VLM:
        from arena.judges.vlm.config import parse_vlm

        return parse_vlm(name).sha256
    if kind == ENSEMBLE:
        return content_address([[member, _fingerprint(member)] for member in members_of(name)])
    return None
