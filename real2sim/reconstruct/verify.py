"""The recorded joints replayed in a twin: its pictures beside the real ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.spatial.transform import Rotation

from arena.contracts import Episode, Frames
from arena.metrics import psnr, ssim
from real2sim.mount import flange_poses
from real2sim.reconstruct.dress import sampled
from real2sim.twin.bundle import Twin
from real2sim.twin.enact import carried_out, commands_of
from real2sim.twin.pictures import Instant, TwinPictures, kinematics_of

Moving = Callable[[str, int], NDArray[np.bool_]]


@dataclass(frozen=True)
class Replay:
    """Of one camera: `real` and `twin` `(K, H, W, 3)`, their mean `psnr` in dB and `ssim`.

    `still_psnr` is without what was moved: in a replay things stay where they stood.
    """

    real: Frames
    twin: Frames
    psnr: float
    ssim: float
    still_psnr: float


def replay(twin: Twin, episode: Episode, moved: Moving | None = None) -> dict[str, Replay]:
    """Twelve frames of the episode, in all of the twin's cameras. Joints are set, not driven; things do not move, and
    `moved` says where a camera's frame shows what did, `(H, W)`."""
    chosen, instants = sampled(twin, episode)
    real = {name: episode.cameras[name].read()[chosen] for name in twin.cameras}
    drawn = _frames(twin, instants)
    replays = {}
    for name in twin.cameras:
        still = np.ones(real[name].shape[:3], bool)
        if moved is not None:
            still = np.stack([~moved(name, int(frame)) for frame in chosen])
        likeness = _likeness(drawn[name], real[name], still)
        replays[name] = Replay(real[name], drawn[name], *likeness)
    return replays


@dataclass(frozen=True)
class Driven:
    """An episode's commands carried out in a twin, things moving: `frames` of each camera `(T, H, W, 3)`, and medians
    over time of how far the flange was from where it had been, in mm and degrees."""

    frames: dict[str, Frames]
    reached_mm: float
    reached_deg: float


def drive(twin: Twin, episode: Episode, *, pictures: bool = True) -> Driven:
    """Carry out what the arm was told or, where the episode does not say, where it was a frame later."""
    told, gripper = commands_of(episode)
    joints = np.asarray(episode.joint_position)
    instants = carried_out(twin, told, gripper)[:-1]
    found, wanted = (
        flange_poses(each, kinematics_of(twin))
        for each in (np.stack([each.joint_position for each in instants]), joints)
    )
    apart = np.linalg.norm(found[:, :3, 3] - wanted[:, :3, 3], axis=1)
    turned = Rotation.from_matrix(found[:, :3, :3].transpose(0, 2, 1) @ wanted[:, :3, :3]).magnitude()
    frames = _frames(twin, instants) if pictures else {}
    return Driven(frames, float(1000 * np.median(apart)), float(np.degrees(np.median(turned))))


def _frames(twin: Twin, instants: Sequence[Instant], batch: int = 16) -> dict[str, Frames]:
    pictures = TwinPictures(twin)
    try:
        parts = [pictures.draw(instants[start : start + batch]) for start in range(0, len(instants), batch)]
    finally:
        pictures.close()
    return {name: np.concatenate([part[name] for part in parts]) for name in twin.cameras}


def picture_of(replays: Mapping[str, Replay], path: Path, columns: int = 6) -> None:
    """A PNG with two rows a camera, the real frames above the twin's."""
    rows = []
    for each in replays.values():
        chosen = np.linspace(0, len(each.real) - 1, columns).astype(int)
        rows += [np.concatenate(each.real[chosen], axis=1), np.concatenate(each.twin[chosen], axis=1)]
    Image.fromarray(np.concatenate(rows)).save(path)


def _likeness(drawn: Frames, real: Frames, still: NDArray[np.bool_]) -> tuple[float, float, float]:
    """PSNR and SSIM, and PSNR of what is `still` `(K, H, W)`, means over frames that show some of it."""
    squared = ((drawn / 255.0 - real / 255.0) ** 2).mean(-1)
    errors = [max(float(off[mask].mean()), 1e-12) for off, mask in zip(squared, still, strict=True) if mask.any()]
    kept = float(np.mean(-10 * np.log10(errors))) if errors else 0.0
    return float(psnr(drawn, real).mean()), float(ssim(drawn, real).mean()), kept
