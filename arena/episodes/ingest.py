"""From a path to checked episodes: finds the datasets below it, reads what is good and says what is not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from arena.contracts import Episode, InvalidInput, Kinematics
from arena.episodes import clips, droid
from arena.episodes.assemble import Pending
from arena.episodes.declaration import DECLARATION, read_declaration
from arena.episodes.errors import UndeclaredLayout, UnknownLayout
from arena.episodes.lerobot import find_lerobot, is_lerobot

Progress = Callable[[int, int, str], None]
"""Called with how many are done, how many there are, and the stage's name."""

_MAX_DEPTH = 4
_MAX_FOLDERS = 20_000

RECOGNISED = (
    "the DROID layout of Ctrl-World (annotation/SPLIT/ID.json and videos/), "
    "LeRobotDataset v3.0 or v2.1 (meta/info.json), "
    f"or mp4 + npz clips with a {DECLARATION} that declares their columns"
)


@dataclass(frozen=True)
class Refusal:
    """An episode or dataset that was not taken: `reason` is one line that begins with the error's name."""

    path: str
    reason: str


@dataclass(frozen=True)
class IngestReport:
    """What `ingest` found."""

    episodes: tuple[Episode, ...]
    refused: tuple[Refusal, ...]

    def as_json(self) -> dict[str, Any]:
        """`{"episodes": [...], "refused": [{"path", "reason"}]}`, ready for `json.dumps`."""
        return {
            "episodes": [summary(episode) for episode in self.episodes],
            "refused": [asdict(refusal) for refusal in self.refused],
        }


def ingest(
    path: Path,
    layout: Path | None = None,
    progress: Progress | None = None,
    kinematics: Kinematics | None = None,
) -> IngestReport:
    """Read all episodes of the datasets at or below `path`; a bad one is refused by name and the others are still read.

    `layout` is a TOML that declares what the columns of clips or of a LeRobot dataset are (by default the
    `dreamarena.toml` inside the dataset). `kinematics` turns joints into Cartesian positions where a dataset has joints
    only. Frames are not decoded. Raises `UnknownLayout` where no dataset is found, and `BadAnnotation`
    for a `layout` that cannot be read.
    """
    path = Path(path)
    if not path.is_dir():
        raise UnknownLayout(f"{path} is not a folder; expected one with {RECOGNISED}")
    if layout is not None:
        read_declaration(layout)
    pending: list[Pending] = []
    refused: list[Refusal] = []
    for root in find_datasets(path, declared=layout is not None):
        try:
            pending += _find_episodes(root, layout, kinematics)
        except InvalidInput as error:
            refused.append(_refusal(root, error))
    if not pending and not refused:
        raise UnknownLayout(f"nothing at or below {path} is recognised; expected {RECOGNISED}")
    episodes: list[Episode] = []
    for done, item in enumerate(pending):
        if progress is not None:
            progress(done, len(pending), "reading episodes")
        try:
            episodes.append(item.load())
        except InvalidInput as error:
            refused.append(_refusal(item.path, error))
    if progress is not None:
        progress(len(pending), len(pending), "reading episodes")
    return IngestReport(tuple(_with_unique_ids(episodes)), tuple(refused))


def find_datasets(path: Path, *, declared: bool = False) -> Iterator[Path]:
    """The dataset roots at or below `path`, in order; a root's own folders are not searched further.

    A folder of mp4 + npz pairs counts as a root too, so that it can be refused by name where nothing declares it.
    `declared` says that a layout is given, so that `path` itself may hold clips in folders below it.
    """
    level, visited = [path], 0
    for depth in range(_MAX_DEPTH + 1):
        below: list[Path] = []
        for folder in level:
            visited += 1
            if visited > _MAX_FOLDERS:
                raise UnknownLayout(f"{path} has more than {_MAX_FOLDERS} folders; point to the dataset itself")
            if _is_root(folder) or (declared and depth == 0):
                yield folder
            else:
                below += sorted(
                    child
                    for child in folder.iterdir()
                    if child.is_dir() and not child.is_symlink() and not child.name.startswith(".")
                )
        level = below


def summary(episode: Episode) -> dict[str, Any]:
    """What a listing shows of an episode, ready for JSON; cameras are `{name: [H, W]}`."""
    return {
        "id": episode.id,
        "length": len(episode),
        "cameras": {name: list(frames.shape[1:3]) for name, frames in episode.cameras.items()},
        "fps": episode.fps,
        "instruction": episode.instruction,
        "success": episode.success,
        "task": episode.task,
        "robot": episode.robot,
        "format": episode.source.format,
        "path": episode.source.path,
        "index": episode.source.index,
        "sha256": episode.source.sha256,
        "has_joints": episode.joint_position is not None,
        "action_space": episode.action.space.value if episode.action else None,
    }


def _is_root(folder: Path) -> bool:
    return droid.is_droid(folder) or is_lerobot(folder) or clips.is_clips(folder)


def _find_episodes(root: Path, layout: Path | None, kinematics: Kinematics | None) -> list[Pending]:
    if droid.is_droid(root):
        return droid.find_droid(root)
    own = root / DECLARATION
    declaration = read_declaration(layout or own) if layout or own.is_file() else None
    if is_lerobot(root):
        return find_lerobot(root, declaration, kinematics)
    if declaration is None:
        raise UndeclaredLayout(
            f"{root} holds mp4 and npz clips, but nothing says what their columns are; "
            f"write {DECLARATION} beside them, or pass one with --layout"
        )
    return clips.find_clips(root, declaration, kinematics)


def _refusal(path: Path, error: InvalidInput) -> Refusal:
    return Refusal(str(path), f"{type(error).__name__}: {error}")


def _with_unique_ids(episodes: list[Episode]) -> Iterator[Episode]:
    """Two datasets of the same name may hold an episode of the same name: the later one's id gets its hash."""
    seen: set[str] = set()
    for episode in episodes:
        id = episode.id if episode.id not in seen else f"{episode.id}-{episode.source.sha256[:8]}"
        if id not in seen:  # the very same episode twice is taken once
            seen.add(id)
            yield replace(episode, id=id)
