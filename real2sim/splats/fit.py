"""Fit Gaussians to posed photographs: 3DGS's loop with gsplat's densification, on a CPU or on CUDA."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from gsplat import DefaultStrategy
from torch import Tensor

from arena.contracts import FloatArray, InvalidInput
from real2sim.splats.fit_state import FitState, load_state, save_state
from real2sim.splats.gaussians import Gaussians
from real2sim.splats.losses import photometric_loss, roughness
from real2sim.splats.raster import Rendering, rasterize
from real2sim.splats.views import View, check_views, colors_of

MIN_VIEWS = 2


@dataclass(frozen=True)
class FitSettings:
    """How long and how a scene is fitted. Rates are per step of Adam and, for `means`, per metre of scene.

    Densification runs from `densify_from` to `densify_until` (shares of all steps), every `densify_every` steps and
    while there are fewer than `max_gaussians`. Weights of what few views leave open: `roughness` of depth, `emptiness`
    of pixels that nothing covers, `fog` of opacities between 0 and 1, `depth` of differences to depths that are given.
    """

    steps: int = 2000
    degree: int = 1
    ssim_share: float = 0.2
    rate_means: float = 8e-4
    rate_quaternions: float = 2e-3
    rate_scales: float = 8e-3
    rate_opacities: float = 5e-2
    rate_harmonics: float = 5e-3
    densify_from: float = 0.1
    densify_until: float = 0.6
    densify_every: int = 100
    densify_gradient: float = 2e-4
    max_gaussians: int = 20_000
    roughness: float = 0.1
    emptiness: float = 0.05
    fog: float = 0.01
    depth: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.densify_every < 1 or self.max_gaussians < 4 or not 0 <= self.degree <= 4:
            raise InvalidInput("a fit needs at least one step, four Gaussians, and harmonics of degree 0 to 4")


@dataclass(frozen=True)
class Progress:
    """After a step: `step` of `steps` are done, the last loss, and how many Gaussians there are."""

    step: int
    steps: int
    loss: float
    gaussians: int


def fit(
    views: Sequence[View],
    start: Gaussians,
    settings: FitSettings,
    *,
    depths: FloatArray | None = None,
    checkpoint: Path | None = None,
    checkpoint_every: int = 500,
    report: Callable[[Progress], None] | None = None,
) -> Gaussians:
    """Fit a scene to `views` from `start` (`start.start_from_points`), on the device of `start`.

    `depths` `(len(views), H, W)` m are what is known of it otherwise (`sweep`, `planar`), 0 where nothing is.

    Deterministic on a CPU for one number of threads: what a step does depends on the settings' seed and its number,
    so a fit that resumes from `checkpoint` (a safetensors file, written every `checkpoint_every` steps and at the
    end) ends where an uninterrupted one does. Raises `InvalidInput` for unusable views, or another fit's checkpoint.
    """
    check_views(views, MIN_VIEWS)
    masks = [torch.from_numpy(view.mask).to(start.means.device) for view in views]
    photographs = [colors_of(view).to(mask.device) * mask[..., None] for view, mask in zip(views, masks, strict=True)]
    targets = [Target(*parts) for parts in zip(views, photographs, masks, _known(views, depths, start), strict=True)]
    state = FitState.begin(start.with_degree(settings.degree), _rates(settings), _scene_size(views))
    if checkpoint is not None and checkpoint.exists():
        state = load_state(checkpoint, state, settings)
    strategy = _strategy(settings)
    while state.step < settings.steps:
        view = _choose(len(views), state.step, settings.seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed * 1_000_003 + state.step)
            loss = _step(state, strategy, settings, targets[view])
        state.step += 1
        if report is not None:
            report(Progress(state.step, settings.steps, loss, len(state.parameters["means"])))
        if checkpoint is not None and (state.step % checkpoint_every == 0 or state.step == settings.steps):
            save_state(checkpoint, state, settings)
    return state.gaussians().detach()


@dataclass(frozen=True)
class Target:
    """What one step is held against: a photograph `(H, W, 3)`, its mask, and depths `(H, W)` m, 0 where unknown."""

    view: View
    photograph: Tensor
    mask: Tensor
    depth: Tensor


def _loss(scene: Gaussians, seen: Rendering, target: Target, settings: FitSettings) -> Tensor:
    photograph, mask, opacities = target.photograph, target.mask, scene.opacities
    loss = photometric_loss(seen.color[0], photograph, mask, settings.ssim_share)
    loss = loss + settings.roughness * roughness(seen.depth[0], photograph, mask)
    loss = loss + settings.emptiness * ((1 - seen.alpha[0]) * mask).mean()
    loss = loss + settings.fog * (opacities * (1 - opacities)).mean()
    known = (target.depth > 0) & mask
    off = (seen.depth[0] / target.depth.clamp(min=1e-3) - 1).abs()
    return loss + settings.depth * (off * known).mean()


def _step(state: FitState, strategy: DefaultStrategy, settings: FitSettings, target: Target) -> float:
    """One photograph, one step of every optimiser, and densification when it is due."""
    done, scene = state.step / settings.steps, state.gaussians()
    backdrop = torch.rand(3).to(scene.means.device)  # a new colour each time, so that holes cannot hide in it
    seen = rasterize(scene, [target.view.camera], background=backdrop)
    loss = _loss(scene, seen, target, settings)
    growing = len(state.parameters["means"]) < settings.max_gaussians and done < settings.densify_until
    if growing:
        strategy.step_pre_backward(state.parameters, state.optimizers, state.densification, state.step, seen.splats)
    loss.backward()  # type: ignore[no-untyped-call]
    state.set_rate("means", settings.rate_means * state.scene_size * 0.01**done)
    for optimizer in state.optimizers.values():
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    if growing:
        strategy.step_post_backward(
            state.parameters, state.optimizers, state.densification, state.step, seen.splats, packed=True
        )
    return float(loss.detach())


def _strategy(settings: FitSettings) -> DefaultStrategy:
    """gsplat's: duplicate and split what the picture pulls at, prune what is faint. Opacities are never reset, which
    in a short fit of a closed room costs more than it frees."""
    return DefaultStrategy(
        grow_grad2d=settings.densify_gradient,
        refine_start_iter=int(settings.densify_from * settings.steps),
        refine_stop_iter=int(settings.densify_until * settings.steps),
        refine_every=settings.densify_every,
        reset_every=10 * settings.steps,
    )


def _known(views: Sequence[View], depths: FloatArray | None, start: Gaussians) -> list[Tensor]:
    """Each view's given depths, or zeros. Raises `InvalidInput` for other shapes, and numbers that are not finite."""
    if depths is None:
        return [start.means.new_zeros(view.mask.shape) for view in views]
    if [depth.shape for depth in depths] != [view.mask.shape for view in views] or not np.isfinite(depths).all():
        raise InvalidInput(f"given depths must be finite and of the views' sizes, not {np.shape(depths)}")
    return [torch.from_numpy(depth).to(start.means) for depth in depths]


def _rates(settings: FitSettings) -> dict[str, float]:
    return {
        "means": settings.rate_means,
        "quats": settings.rate_quaternions,
        "scales": settings.rate_scales,
        "opacities": settings.rate_opacities,
        "constant": settings.rate_harmonics,
        "varying": settings.rate_harmonics / 20,
    }


def _scene_size(views: Sequence[View]) -> float:
    """Metres: how far apart the cameras are, which 3DGS takes for a scene's size."""
    places = np.stack([view.camera.camera_to_base[:3, 3] for view in views])
    return max(0.1, 1.1 * float(np.linalg.norm(places - places.mean(axis=0), axis=1).max()))


def _choose(views: int, step: int, seed: int) -> int:
    """Every view once in an order of its own, then every view once again."""
    order = np.random.default_rng([seed, step // views]).permutation(views)
    return int(order[step % views])


@torch.no_grad()
def psnr_of(gaussians: Gaussians, views: Sequence[View]) -> FloatArray:
    """`(len(views),)` dB over each view's unmasked pixels: of views that were held out, how well a scene is known."""
    found: list[float] = []
    for view in views:
        color = rasterize(gaussians, [view.camera]).color[0].clamp(0, 1).cpu().numpy()
        error = float(np.mean((color - view.image / 255.0)[view.mask] ** 2))
        found.append(-10 * np.log10(max(error, 1e-12)))
    return np.array(found)
