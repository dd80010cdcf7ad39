"""Features that pictures of one camera share, by pycolmap's SIFT: run as a process of its own, which PyAV never enters.

python -m real2sim.cameras.matching FILM.npy MATCHES.npz
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from arena.contracts import FloatArray, Frames, InvalidInput

SHARP_WIDTH = 480
"""Smaller pictures are enlarged to at least this: SIFT finds little in 160 columns."""
PEAK = 0.003
"""SIFT's threshold: half of the usual, for smooth tables."""
MOST_SECONDS = 900


@dataclass(frozen=True)
class Matches:
    """`M` features of frames `first` and `second` `(M,)` that look alike; `pixels` `(M, 2, 2)` are where, as x and y
    with pixel centres at a half; `feature` `(M, 2)` numbers the features of all frames."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    pixels: FloatArray
    feature: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.first)

    def subset(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> Matches:
        return Matches(self.first[chosen], self.second[chosen], self.pixels[chosen], self.feature[chosen])


def match_frames(film: Frames) -> Matches:
    """Features of `film` `(T, H, W, 3)`, each frame with each other. Cameras are not known here, so many are wrong.

    Raises `InvalidInput` where pycolmap is missing or fails.
    """
    with tempfile.TemporaryDirectory(prefix="dreamarena-") as folder:
        given, found = Path(folder) / "film.npy", Path(folder) / "matches.npz"
        np.save(given, film)
        command = [sys.executable, "-m", "real2sim.cameras.matching", str(given), str(found)]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=MOST_SECONDS, check=False, cwd=_root()
            )
        except subprocess.TimeoutExpired as error:
            raise InvalidInput(f"matching {len(film)} frames took more than {MOST_SECONDS} s: give fewer") from error
        if done.returncode != 0 or not found.is_file():
            lines = done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"]
            raise InvalidInput(f"frames cannot be matched: {lines[-1]} (pip install 'dreamarena[twins]')")
        with np.load(found, allow_pickle=False) as parts:
            return Matches(*(parts[name] for name in ("first", "second", "pixels", "feature")))


def _root() -> Path:
    return Path(__file__).resolve().parents[2]


def _match(film: Frames, folder: Path) -> dict[str, NDArray[np.generic]]:
    """In the process of its own: SIFT, and each frame's features against each other frame's."""
    import pycolmap
    from PIL import Image

    pycolmap.logging.minloglevel = 2
    enlarged = max(1, -(-SHARP_WIDTH // film.shape[2]))
    pictures, database = folder / "pictures", folder / "features.db"
    pictures.mkdir()
    for index, frame in enumerate(film):
        size = (enlarged * film.shape[2], enlarged * film.shape[1])
        Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC).save(pictures / f"{index:06d}.png")
    extraction = pycolmap.FeatureExtractionOptions(use_gpu=False)
    extraction.sift.peak_threshold = PEAK
    pycolmap.extract_features(database, pictures, camera_mode=pycolmap.CameraMode.SINGLE, extraction_options=extraction)
    matching = pycolmap.FeatureMatchingOptions(use_gpu=False, skip_geometric_verification=True)
    pycolmap.match_exhaustive(database, matching_options=matching)
    return _read(pycolmap, database, enlarged)


def _read(pycolmap: object, database: Path, enlarged: int) -> dict[str, NDArray[np.generic]]:
    opened = pycolmap.Database.open(database)  # type: ignore[attr-defined]
    frame_of, places, offset, total = {}, {}, {}, 0
    for image in opened.read_all_images():
        keypoints = opened.read_keypoints(image.image_id)
        frame_of[image.image_id] = int(Path(image.name).stem)
        places[image.image_id] = np.asarray(keypoints, np.float64).reshape(-1, keypoints.shape[-1])[:, :2] / enlarged
        offset[image.image_id], total = total, total + len(keypoints)
    first, second, pixels, feature = [], [], [], []
    for pair, matches in zip(*opened.read_all_matches(), strict=True):
        a, b = pycolmap.pair_id_to_image_pair(pair)  # type: ignore[attr-defined]
        indices = np.asarray(matches, np.int64).reshape(-1, 2)
        first.append(np.full(len(indices), frame_of[a]))
        second.append(np.full(len(indices), frame_of[b]))
        pixels.append(np.stack([places[a][indices[:, 0]], places[b][indices[:, 1]]], axis=1))
        feature.append(indices + np.array([offset[a], offset[b]]))
    empty = {"first": np.zeros(0, np.int64), "second": np.zeros(0, np.int64), "pixels": np.zeros((0, 2, 2))}
    if not first:
        return {**empty, "feature": np.zeros((0, 2), np.int64)}
    joined = {"first": first, "second": second, "pixels": pixels, "feature": feature}
    return {name: np.concatenate(parts) for name, parts in joined.items()}


def _main(given: Path, found: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="dreamarena-") as folder:
        matches = _match(np.load(given, allow_pickle=False), Path(folder))
    np.savez(found, **matches)  # type: ignore[arg-type]


if __name__ == "__main__":
    _main(Path(sys.argv[1]), Path(sys.argv[2]))
