"""The composition root: names in commands and jobs become objects here, and nowhere else.

Heavy rooms are imported inside the functions, so that a command pays only for what it uses.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from arena.contracts import Episode, InvalidInput, Kinematics, World
from workers.content import fingerprint
from workers.sizing import Sizing

if TYPE_CHECKING:
    from arena.episodes.ingest import IngestReport, Progress
    from arena.policies.specs import PolicyFactory
    from arena.synthesis.joints import InverseKinematics
    from worldmodels.model import WorldModel

STAND_IN = "metaworld"
"""The world that is not a checkpoint's folder: the stand-in reality."""
TWIN = "twin.json"
"""What a digital twin's folder has (`real2sim.twin.bundle`)."""
WORLD, JUDGE = "small-metaworld", "judge-metaworld"
"""The world model and the judge that ship; the policies that do are `workers.lineup.LINEUP`."""


def pretrained(name: str) -> Path:
    """The folder of weights that ship with dreamarena. Raises `InvalidInput` where there are none of that name."""
    from importlib.util import find_spec

    for room in ("worldmodels", "arena.learned"):
        spec = find_spec(room)
        for place in (spec.submodule_search_locations or ()) if spec else ():
            if (folder := Path(place) / "pretrained" / name).is_dir():
                return folder
    raise InvalidInput(f"no weights named {name!r} ship with this installation: `make train-demo` makes them")


def read_dataset(path: Path, layout: Path | None, progress: Progress | None = None) -> IngestReport:
    """The episodes of a dataset, and what was refused of it. Raises `InvalidInput` where it has no known layout."""
    from arena.episodes.ingest import ingest

    return ingest(path, layout=layout, progress=progress)


class Workshop:
    """Makes what steps ask for by name, and keeps the last world, model and dataset for the next step.

    One of each, because a model may fill a GPU. Not to be shared between threads. Unless `private_policies`, policies
    that are servers have to be on the public internet. `lerobot_python` is the interpreter that has lerobot.
    """

    def __init__(self, private_policies: bool = True, lerobot_python: str | None = None) -> None:
        from arena.policies.server import Access

        # Kept, as it remembers which servers failed.
        self._access = Access(allow_private=private_policies)
        self._lerobot_python = lerobot_python
        self._kept: dict[str, tuple[object, Any]] = {}
        self.sizing = Sizing()

    def episodes(self, path: Path, layout: Path | None = None, progress: Progress | None = None) -> tuple[Episode, ...]:
        """The good episodes of a dataset. Raises `InvalidInput` where there are none."""
        key = (path, layout, fingerprint(path, *([layout] if layout else [])))
        found = self._keep("dataset", key, lambda: read_dataset(path, layout, progress).episodes)
        if not found:
            raise InvalidInput(f"{path} holds no episode that can be used; `dreamarena ingest {path}` says why")
        return cast("tuple[Episode, ...]", found)

    def world(self, name: str, sampler_steps: int, guidance: float) -> World:
        """The stand-in reality, or the digital twins or the world model's checkpoint in the folder `name`."""
        if name == STAND_IN:
            return cast(World, self._keep("world", name, _stand_in))
        if holds_twins(folder := Path(name)):
            return cast(World, self._keep("world", (folder, fingerprint(folder)), lambda: _twins(folder)))
        model = self.model(Path(name))

        def imagined() -> World:
            from worldmodels.sampler import SamplerConfig
            from worldmodels.world import ImaginedWorld

            return ImaginedWorld(model, SamplerConfig(sampler_steps, guidance))

        return cast(World, self._keep("world", (model.sha256, sampler_steps, guidance), imagined))

    def model(self, folder: Path) -> WorldModel:
        """A world model's checkpoint, on the GPU where there is one."""
        return cast("WorldModel", self._keep("model", (folder, fingerprint(folder)), lambda: _load_model(folder)))

    def policy(self, spec: str) -> PolicyFactory:
        """The policy that a spec names, e.g. `hold`, `openpi://host:8000?...`, `bc:FOLDER` or `lerobot:FOLDER?...`."""
        from arena.policies.registry import default_parsers, parse_spec
        from arena.policies.specs import ADAPTED

        more = {"bc": _cloned, "lerobot": self._lerobot, ADAPTED: self._adapted}
        return parse_spec(spec, {**default_parsers(self._access), **more})

    def _adapted(self, spec: str) -> PolicyFactory:
        from arena.policies.adapted import adapted
        from arena.policies.served import parse_served
        from arena.policies.specs import split_adapted
        from worldmodels.adapter import load_adapter

        file, server = split_adapted(spec)
        adapter = self._keep("adapter", (file, fingerprint(Path(file))), lambda: load_adapter(Path(file)))
        return adapted(spec, parse_served(server, self._access), adapter)

    def _lerobot(self, spec: str) -> PolicyFactory:
        from arena.learned.lerobot import parse_lerobot

        return parse_lerobot(spec, self._access, self._lerobot_python)

    def kinematics(self, robot: str) -> Kinematics | None:
        """The geometry of a robot, for policies that command its joints. None for robots that we have none of."""
        from real2sim.robot import ArmKinematics
        from real2sim.robots import known_robots

        known = next((each for each in known_robots() if robot in each.names), None)
        return (
            None if known is None else cast(Kinematics, self._keep("kinematics", robot, lambda: ArmKinematics(known)))
        )

    def inverse_kinematics(self, robot: str) -> InverseKinematics | None:
        """The same backwards, for data in joint spaces."""
        return cast("InverseKinematics | None", self.kinematics(robot))

    def close(self) -> None:
        """Let go of everything that is kept."""
        for kind in list(self._kept):
            self._drop(kind)

    def _keep(self, kind: str, key: object, make: Any) -> Any:
        if kind in self._kept and self._kept[kind][0] != key:
            self._drop(kind)
        if kind not in self._kept:
            self._kept[kind] = (key, make())
        return self._kept[kind][1]

    def _drop(self, kind: str) -> None:
        _, thing = self._kept.pop(kind)
        if kind == "world":
            thing.close()


def _cloned(spec: str) -> PolicyFactory:
    # torch is loaded only for those who clone.
    from arena.learned.cloning import parse_cloning

    return parse_cloning(spec)


def holds_twins(folder: Path) -> bool:
    """Whether a folder is a digital twin's, or has such folders in it."""
    return (folder / TWIN).is_file() or (folder.is_dir() and any(folder.glob(f"*/{TWIN}")))


def _twins(folder: Path) -> World:
    from real2sim.twin.world import TwinWorld

    return TwinWorld.load(folder)


def _stand_in() -> World:
    from real2sim.reality.metaworld import MetaWorldWorld

    return MetaWorldWorld()


def _load_model(folder: Path) -> WorldModel:
    if not folder.is_dir():
        raise InvalidInput(
            f"there is no world {str(folder)!r}: give {STAND_IN!r}, a digital twin's folder or a checkpoint's"
        )
    import torch

    from worldmodels.model import WorldModel

    return WorldModel.load(folder, "cuda" if torch.cuda.is_available() else "cpu")
