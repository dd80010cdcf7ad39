"""What a build uses that is not ours: a segmenter's weights, an image-to-3D plug-in, nerfstudio's commands."""

from __future__ import annotations

import hashlib
from pathlib import Path

from arena.episodes.atomic import file_sha256
from real2sim.reconstruct.settings import NERFSTUDIO, BuildSettings
from real2sim.segment.models import weights_in
from real2sim.splats.splatfacto import commands
from real2sim.twin.generated import find_generator, version_of


def check_tools(settings: BuildSettings) -> None:
    """Raises `InvalidInput` for one that is asked for and not there: it would be missed only minutes later."""
    if settings.segmenter:
        weights_in(Path(settings.segmenter))
    if settings.generator:
        find_generator(settings.generator)
    if settings.engine == NERFSTUDIO:
        commands()


def tools_digest(settings: BuildSettings) -> str:
    """Of the weights and the plug-in's version, which a path and a name do not tell. Raises `InvalidInput` as
    `check_tools` does."""
    digest = hashlib.sha256()
    for file in weights_in(Path(settings.segmenter)) if settings.segmenter else ():
        digest.update(file_sha256(file).encode())
    if settings.generator:
        digest.update(version_of(settings.generator).encode())
    return digest.hexdigest()
