"""Replaying recorded actions: does the imagination show what the camera saw, and does it follow the actions?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arena.contracts import ActionChunk, ActionSpace, Episode, FloatArray, Frames, InvalidInput, Observation, Scene
from arena.metrics import psnr, ssim
from worldmodels.latents import frames_at
from worldmodels.model import WorldModel
from worldmodels.sampler import SamplerConfig
from worldmodels.world import ImaginedWorld

Progress = Callable[[int, int, str], None]
ALL_VIEWS = "all"


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
class ReplayScores:
    """One replayed episode against its recording, frame by frame.

    `frames` `(F,)` counts from the first frame. `psnr` (dB) and `ssim` map a view (`ALL_VIEWS`: their mean) and what is
    compared (see `Fidelity`) to `(F,)`.
    """

    episode: str
    frames: NDArray[np.intp]
    psnr: Mapping[str, Mapping[str, FloatArray]]
    ssim: Mapping[str, Mapping[str, FloatArray]]


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
    sampler = (sampler or SamplerConfig()).for_rollout()
    horizons = {max(1, round(s * model.config.fps)): s for s in sorted(seconds)}
    scores = score_replays(model, episodes, list(horizons), sampler, seed, batch, progress)
    rows = [
        _summary(view, frame, second, scores)
        for view in sorted(scores[0].psnr)
        for frame, second in horizons.items()
        if any(frame in each.frames for each in scores)
    ]
    skipped = tuple(e.id for e in episodes if len(e) <= min(horizons))
    return ReplayReport(tuple(rows), model.sha256, sampler, seed, skipped)


def score_replays(
    model: WorldModel,
    episodes: Sequence[Episode],
    frames: Sequence[int],
    sampler: SamplerConfig | None = None,
    seed: int = 0,
    batch: int = 8,
    progress: Progress | None = None,
) -> list[ReplayScores]:
    """Imagine episodes with their own and with wrong actions, and compare each at `frames`, counted from its first.

    Episodes without any of these frames are left out, the others compared at those that they have. Raises
    `InvalidInput` where fewer than two are left.
    """
    usable = [e for e in episodes if len(e) > min(frames)]
    if len(usable) < 2:
        raise InvalidInput(
            f"replay needs at least 2 episodes (the wrong actions are another's) of more than {min(frames)} frames; "
            f"{len(usable)} of {len(episodes)} are long enough"
        )
    sampler, donors = sampler or SamplerConfig(), _donors(usable, seed)
    scores: list[ReplayScores] = []
    for start in range(0, len(usable), batch):
        own = usable[start : start + batch]
        lent = [usable[donor] for donor in donors[start : start + batch]]
        right = [recorded_actions(model, episode) for episode in own]
        wrong = [_reanchored(recorded_actions(model, d), d, e) for d, e in zip(lent, own, strict=True)]
        length = min(max(frames), max(map(len, own)) - 1)
        imagined, misled = (imagine_episodes(model, own, actions, length, sampler, seed) for actions in (right, wrong))
        scores += [_scored(model, *each, frames=frames) for each in zip(own, imagined, misled, strict=True)]
        if progress is not None:
            progress(len(scores), len(usable), "replaying episodes")
    return scores


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


def _scored(
    model: WorldModel,
    episode: Episode,
    imagined: Mapping[str, Frames],
    misled: Mapping[str, Frames],
    frames: Sequence[int],
) -> ReplayScores:
    shown = np.array([frame for frame in sorted(frames) if frame < len(episode)])
    recorded = frames_at(episode, model.config, 0, int(shown[-1]) + 1)
    true = {view: video[shown] for view, video in recorded.items()}
    candidates = {
        "model": {view: imagined[view][shown - 1] for view in true},
        "copy": {view: np.repeat(video[:1], len(shown), axis=0) for view, video in recorded.items()},
        "wrong_action": {view: misled[view][shown - 1] for view in true},
        "ceiling": model.autoencoder.decode(model.autoencoder.encode(true)),
    }

    def compare(measure: Callable[[Frames, Frames], FloatArray]) -> dict[str, dict[str, FloatArray]]:
        found = {view: {name: measure(c[view], true[view]) for name, c in candidates.items()} for view in true}
        means = {name: np.mean([found[view][name] for view in true], axis=0) for name in candidates}
        return {ALL_VIEWS: means, **found}

    return ReplayScores(episode.id, shown, compare(psnr), compare(ssim))


def _summary(view: str, frame: int, seconds: float, scores: Sequence[ReplayScores]) -> Fidelity:
    counted = [each for each in scores if frame in each.frames]

    def mean(measure: str, digits: int) -> dict[str, float]:
        rows = [getattr(each, measure)[view] for each in counted]
        at = [np.searchsorted(each.frames, frame) for each in counted]
        return {
            name: round(float(np.mean([row[name][i] for row, i in zip(rows, at, strict=True)])), digits)
            for name in rows[0]
        }

    return Fidelity(view, seconds, frame, len(counted), psnr=mean("psnr", 3), ssim=mean("ssim", 4))
