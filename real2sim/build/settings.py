"""How a twin is built."""

from __future__ import annotations

from dataclasses import dataclass

from arena.contracts import InvalidInput

OWN, NERFSTUDIO = "own", "nerfstudio"
ENGINES = (OWN, NERFSTUDIO)


@dataclass(frozen=True)
class BuildSettings:
    """`wrist_frames` are fitted in `steps` by `engine`, our own or `nerfstudio`. `focals` are focal lengths in pixels,
    where they are known, by camera."""

    wrist_frames: int = 48
    steps: int = 600
    seed: int = 0
    engine: str = OWN
    focals: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise InvalidInput(f"there is no engine {self.engine!r}, only {' and '.join(ENGINES)}")

    def focal(self, name: str) -> float | None:
        return dict(self.focals).get(name)
