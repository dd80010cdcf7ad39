"""How a twin is built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from arena.contracts import Episode, InvalidInput
from real2sim.camera import CALIBRATION

FILMED_AS = "filmed_as"
"""In an episode's metadata: the width by height that its films had before they were resized."""
LEAST_WRIST_FRAMES = 8
OWN, NERFSTUDIO = "own", "nerfstudio"
ENGINES = (OWN, NERFSTUDIO)


@dataclass(frozen=True)
class BuildSettings:
    """`wrist_frames` are fitted in `steps` by `engine`, our own or `nerfstudio`. `focals` are focal lengths in pixels,
    where they are known, by camera. `filmed_as` is the films' width by height before they were resized, where that
    changed their shape and the dataset does not say so itself. `segmenter` is a folder of a segmentation model's
    weights, which finds what the instruction names; `generator` makes the meshes of that. `calibration` are cameras
    that are known (`camera.camera_facts`, by name; the wrist's on its flange), before what the dataset says of them."""

    wrist_frames: int = 48
    steps: int = 1200
    seed: int = 0
    engine: str = OWN
    segmenter: str = ""
    generator: str = ""
    focals: tuple[tuple[str, float], ...] = ()
    filmed_as: float | None = None
    calibration: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.steps < 1 or self.seed < 0 or self.wrist_frames < LEAST_WRIST_FRAMES:
            raise InvalidInput(
                f"a twin needs at least 1 step, {LEAST_WRIST_FRAMES} wrist frames and a seed of 0, not "
                f"{self.steps}, {self.wrist_frames} and {self.seed}"
            )
        if self.engine not in ENGINES:
            raise InvalidInput(f"there is no engine {self.engine!r}, only {' and '.join(ENGINES)}")
        if self.generator and not self.segmenter:
            raise InvalidInput("an image-to-3D generator needs the masks of a segmenter: give its weights too")
        if self.filmed_as is not None and not 0.2 < self.filmed_as < 5:
            raise InvalidInput(f"films are not {self.filmed_as} times as wide as high: 16:9 is 1.778, 4:3 is 1.333")

    def told(self, episode: Episode) -> Episode:
        """The episode with what is known of its cameras besides."""
        if not self.calibration:
            return episode
        known = {**episode.metadata.get(CALIBRATION, {}), **self.calibration}
        return replace(episode, metadata={**episode.metadata, CALIBRATION: known})

    def focal(self, name: str) -> float | None:
        return dict(self.focals).get(name)

    def aspect(self, episode: Episode, name: str) -> float:
        """`fy / fx` of a camera: 1 where its film has the shape it was taken in."""
        filmed_as = self.filmed_as or episode.metadata.get(FILMED_AS)
        if filmed_as is None:
            return 1.0
        height, width = episode.cameras[name].shape[1:3]
        return float(filmed_as * height / width)
