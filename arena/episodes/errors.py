"""What can be wrong with episodes that come from outside. Each error is one line naming the file."""

from __future__ import annotations

from arena.contracts import InvalidInput


class UnreadableVideo(InvalidInput):
    """Not a video container of a kind that we open, or its header is damaged."""


class EmptyVideo(InvalidInput):
    """A video without a single frame."""


class TruncatedVideo(InvalidInput):
    """A video with fewer frames than its own header, or the episode, promises."""


class VideoTooLarge(InvalidInput):
    """A video whose decoded size is beyond the limits; refused before it is decoded."""


class LengthMismatch(InvalidInput):
    """Videos, states or actions of one episode that do not have the same number of rows."""


class MissingCamera(InvalidInput):
    """A camera that the dataset declares but that the episode does not have."""


class InvalidStates(InvalidInput):
    """States or actions with the wrong shape, or with NaN or infinite numbers."""


class BadAnnotation(InvalidInput):
    """A JSON, TOML, npz or parquet file that is not what its name promises."""


class UndeclaredLayout(InvalidInput):
    """Columns whose meaning nothing declares: they are never guessed."""


class UnknownLayout(InvalidInput):
    """A path where no known dataset layout was found."""


class DamagedArtifact(InvalidInput):
    """An artifact that its manifest does not match."""
