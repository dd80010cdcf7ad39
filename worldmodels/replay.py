"""Replaying recorded actions: does the imagination show what the camera saw, and does it follow the actions?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from arena.contracts import ActionChunk, ActionSpace, Episode, FloatArray, Frames, InvalidInput, Observation, Scene
from arena.metrics import psnr, ssim
from worldmodels.latents import frames_at
from worldmodels.model import WorldModel
from worldmodels.sampler import SamplerConfig
from worldmodels.world import ImaginedWorld

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Fidelity:
    """Mean PSNR (dB) and SSIM of one horizon and view, over `episodes` replays.

    `model`: imagined with the recorded actions. `copy`: the first frame again. `wrong_action`: imagined
    with another episode's motion from the same start. `ceiling`: the true frame through the autoencoder.
    """

    view: str
    seconds: float
    frame: int
    episodes: int
    psnr: Mapping[str, float]
    ssim: Mapping[str, float]


@dataclass(frozen=True)
class ReplayReport:
    """Fidelity per view and horizon, and over all views under the view name `all`."""

    fidelity: tuple[Fidelity, ...]
    world: str
    sampler: SamplerConfig
    seed: int
    skipped: tuple[str, ...]

    def at(self, seconds: float, view: str = "all") -> Fidelity:
        """The fidelity at a horizon that was asked for."""
        return next(f for f in self.fidelity if f.view == view and abs(f.seconds - seconds) < 1e-6)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def replay(
    model: WorldModel,
    episodes: Sequence[Episode],
    seconds: Sequence[float] = (0.5, 1.0),
    sampler: SamplerConfig | None = None,
    seed: int = 0,
    batch: int = 8,
    progress: Progress | None = None,
) -> ReplayReport:
    """Imagine episodes from their first frame with their own and with wrong actions, and compare at horizons.

    An episode counts for the horizons that it is long enough for. Raises `InvalidInput` where none is.
    """
    sampler = sampler or SamplerConfig()
    horizons = {max(1, round(s * model.config.fps)): s for s in sorted(seconds)}
    usable = [e for e in episodes if len(e) > min(horizons)]
    if len(usable) < 2:
        raise InvalidInput(
            f"replay needs at least 2 episodes (the wrong actions are another's) of more than {min(horizons)} frames; "
            f"{len(usable)} of {len(episodes)} are long enough"
        )
    measured: dict[tuple[str, int], list[dict[str, tuple[float, float]]]] = {}
    donors = _donors(usable, seed)
    for start in range(0, len(usable), batch):
        chosen = list(range(start, min(start + batch, len(usable))))
        own = [usable[i] for i in chosen]
        imagined = imagine_episodes(model, own, [recorded_actions(model, e) for e in own], max(horizons), sampler, seed)
        wrong = [
            _reanchored(recorded_actions(model, usable[d]), usable[d], usable[i])
            for i, d in ((i, donors[i]) for i in chosen)
        ]
        misled = imagine_episodes(model, own, wrong, max(horizons), sampler, seed)
        for episode, right, misguided in zip(own, imagined, misled, strict=True):
            for frame in (f for f in horizons if f < len(episode)):
                _measure(model, episode, frame, right, misguided, measured)
        if progress is not None:
            progress(chosen[-1] + 1, len(usable), "replaying episodes")
    rows = [_summary(view, frame, horizons[frame], pairs) for (view, frame), pairs in sorted(measured.items())]
    skipped = tuple(e.id for e in episodes if len(e) <= min(horizons))
    return ReplayReport(tuple(rows), model.sha256, sampler, seed, skipped)


def imagine_episodes(
    model: WorldModel,
    episodes: Sequence[Episode],
    actions: Sequence[FloatArray],
    frames: int,
    sampler: SamplerConfig,
    seed: int = 0,
    views: Sequence[str] | None = None,
) -> list[dict[str, Frames]]:
    """Imagine `frames` frames after each episode's first, `(frames, H, W, 3)` a view, under `(N, 7)` actions.

    Actions that end early are held.
    """
    world = ImaginedWorld(model, sampler, views)
    world.start([first_scene(model, episode) for episode in episodes], [seed] * len(episodes))
    size = world.card.frames_per_step
    videos: list[dict[str, list[Frames]]] = [{} for _ in episodes]
    for begin in range(0, frames, size):
        rows = np.arange(begin, min(begin + size, frames))
        chunks = [
            ActionChunk(a[np.minimum(rows, len(a) - 1)], ActionSpace.CARTESIAN_POSITION, world.card.fps)
            for a in actions
        ]
        for video, step in zip(videos, world.step(chunks), strict=True):
            for name, new in step.frames.items():
                video.setdefault(name, []).append(new)
    return [{name: np.concatenate(parts) for name, parts in video.items()} for video in videos]


def first_scene(model: WorldModel, episode: Episode) -> Scene:
    """The start of an episode as a scene at the model's size, with one frame of history."""
    views = frames_at(episode, model.config, 0, 1)
    observation = Observation(
        cameras={name: video[0] for name, video in views.items()},
        cartesian_position=episode.cartesian_position[0],
        gripper_position=episode.gripper_position[0],
        instruction=episode.instruction,
    )
    return Scene(episode.id, observation, views, episode.state[:1], episode.instruction, model.config.fps)


def recorded_actions(model: WorldModel, episode: Episode) -> FloatArray:
    """`(T - 1, 7)`: what led to each frame after the first, as the model takes it.

    The commands where they were recorded and the model knows how they are followed, else the states reached.
    """
    if model.tracker is not None and episode.action is not None:
        return np.asarray(episode.action.values[:-1])
    return episode.state[1:]


def _donors(episodes: Sequence[Episode], seed: int) -> list[int]:
    """For each episode another one: a random cycle, so that none gets its own actions."""
    order = np.random.default_rng(seed).permutation(len(episodes))
    donors = np.empty(len(episodes), dtype=int)
    donors[order] = np.roll(order, 1)
    return donors.tolist()


def _reanchored(actions: FloatArray, donor: Episode, episode: Episode) -> FloatArray:
    """Another episode's motion from this episode's start: a jump to a far pose would be too easy a control."""
    moved = actions.copy()
    moved[:, :3] += episode.state[0, :3] - donor.state[0, :3]
    return moved


def _measure(
    model: WorldModel,
    episode: Episode,
    frame: int,
    imagined: Mapping[str, Frames],
    misled: Mapping[str, Frames],
    measured: dict[tuple[str, int], list[dict[str, tuple[float, float]]]],
) -> None:
    first, true = frames_at(episode, model.config, 0, 1), frames_at(episode, model.config, frame, frame + 1)
    ceiling = model.autoencoder.decode(model.autoencoder.encode(true))
    scores: list[dict[str, tuple[float, float]]] = []
    for view, target in true.items():
        candidates = {
            "model": imagined[view][frame - 1 : frame],
            "copy": first[view],
            "wrong_action": misled[view][frame - 1 : frame],
            "ceiling": ceiling[view],
        }
        row = {name: (float(psnr(c, target)[0]), float(ssim(c, target)[0])) for name, c in candidates.items()}
        measured.setdefault((view, frame), []).append(row)
        scores.append(row)
    mean = {name: tuple(np.mean([row[name] for row in scores], axis=0).tolist()) for name in scores[0]}
    measured.setdefault(("all", frame), []).append(mean)  # type: ignore[arg-type]


def _summary(view: str, frame: int, seconds: float, rows: Sequence[Mapping[str, tuple[float, float]]]) -> Fidelity:
    means = {name: np.mean([row[name] for row in rows], axis=0) for name in rows[0]}
    return Fidelity(
        view=view,
        seconds=seconds,
        frame=frame,
        episodes=len(rows),
        psnr={name: round(float(values[0]), 3) for name, values in means.items()},
        ssim={name: round(float(values[1]), 4) for name, values in means.items()},
    )
