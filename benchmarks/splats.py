"""How fast the CPU rasteriser draws, held against what its memory traffic alone would take on this machine.

The scene is a room of Gaussians on a table, a box and the walls, each as large as its neighbours are away and most of
them nearly opaque. The estimate counts every array that a tensor program has to pass through memory, each written once
and read once: per Gaussian its parameters and its projection, per hit of a Gaussian on a tile its row, per pixel of a
hit four numbers (exponent, alpha, light, weight), per pixel the result. Hits behind a finished tile do not count. The
bandwidth is that of copying an array that fits in no cache, measured in the same process.

    python benchmarks/splats.py [--gaussians 6000] [--threads 1]
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
import tyro
from common import as_json, in_own_process, write

FLOAT = 4
PAIR_ARRAYS, SPLAT_NUMBERS, ROW_NUMBERS, RESULT_NUMBERS = 4, 14, 11, 5


@dataclass(frozen=True)
class Options:
    """`views` are the batches that are timed; medians are over `rounds`."""

    gaussians: int = 6000
    width: int = 160
    height: int = 96
    views: tuple[int, ...] = (1, 3, 8)
    rounds: int = 15
    threads: int = 1
    seed: int = 0


def room(options: Options) -> Any:
    """Gaussians on surfaces, seen from within: half on the table, the rest on a box and the walls."""
    import torch

    from real2sim.splats.start import start_from_points

    draw = np.random.default_rng(options.seed)
    n = options.gaussians // 2
    table = np.stack([draw.uniform(0.1, 0.9, n), draw.uniform(-0.5, 0.5, n), np.zeros(n)], axis=1)
    walls = draw.uniform(-1.5, 1.5, (options.gaussians - n - n // 8, 3))
    side = draw.integers(0, 3, len(walls))
    walls[np.arange(len(walls)), side] = np.sign(walls[np.arange(len(walls)), side]) * 1.5
    box = draw.uniform(-0.06, 0.06, (n // 8, 3))
    box[np.arange(len(box)), draw.integers(0, 3, len(box))] = 0.06
    points = np.concatenate([table, walls, box + np.array([0.5, 0.1, 0.06])])
    scene = start_from_points(points, draw.uniform(0, 1, points.shape), degree=1)
    scene.opacity_logits[:] = torch.from_numpy(draw.normal(2.5, 1.5, len(points)).astype(np.float32))
    return scene


def cameras(options: Options, count: int) -> list[Any]:
    from real2sim.camera import Camera

    found = []
    for angle in np.linspace(0, 2 * np.pi, count, endpoint=False):
        eye, at = np.array([0.5 + 0.5 * np.cos(angle), 0.5 * np.sin(angle), 0.45]), np.array([0.5, 0.0, 0.05])
        forward = (at - eye) / np.linalg.norm(at - eye)
        right = np.cross(forward, [0, 0, 1])
        right /= np.linalg.norm(right)
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = np.stack([right, np.cross(forward, right), forward], axis=1), eye
        focal = 0.75 * options.width
        found.append(Camera(options.width, options.height, focal, focal, options.width / 2, options.height / 2, pose))
    return found


def measure(options: Options) -> dict[str, Any]:
    import torch

    from real2sim.splats.gaussians import Gaussians
    from real2sim.splats.raster import rasterize

    torch.set_num_threads(options.threads)
    scene, bandwidth = room(options), copy_bandwidth()
    figures = {"gaussians": len(scene), "bandwidth_gb_s": round(bandwidth / 1e9, 2), "batches": {}}
    for views in options.views:
        seen_by = cameras(options, views)
        with torch.no_grad():
            draw = seconds(lambda: rasterize(scene, seen_by), options.rounds)  # noqa: B023 (called at once)
        load = workload(scene, seen_by)
        estimate = load["bytes"] / bandwidth
        figures["batches"][str(views)] = {
            **load, "draw_ms": round(1e3 * draw, 2), "estimate_ms": round(1e3 * estimate, 2),
            "times_estimate": round(draw / estimate, 2), "frames_per_second": round(views / draw, 1),
        }  # fmt: skip

    def learn() -> None:
        wanted = Gaussians(**{name: tensor.clone().requires_grad_() for name, tensor in scene.tensors().items()})
        seen = rasterize(wanted, cameras(options, 1))
        (seen.color.square().mean() + seen.depth.mean()).backward()

    return {**figures, "draw_and_gradient_ms": round(1e3 * seconds(learn, options.rounds), 2)}


def workload(scene: Any, seen_by: list[Any]) -> dict[str, int]:
    """How many splats, rows and pairs of a row and a pixel are composited for these cameras, and their bytes."""
    import real2sim.splats.composite as composite
    import real2sim.splats.raster as raster

    counted = {"splats": 0, "rows": 0}
    original = composite.composite

    def counting(coefficients: Any, values: Any, starts: Any, counts: Any) -> Any:
        counted["rows"] = needed_rows(coefficients, starts, counts)
        return original(coefficients, values, starts, counts)

    with replaced(raster, "composite", counting):
        seen = raster.rasterize(scene.detach(), seen_by)
    counted["splats"] = len(seen.splats["depths"])
    pairs = counted["rows"] * composite.TILE**2
    pixels = len(seen_by) * seen_by[0].width * seen_by[0].height
    parameters = sum(tensor[0].numel() for tensor in scene.tensors().values())
    numbers = len(scene) * parameters + 2 * counted["splats"] * SPLAT_NUMBERS + 2 * counted["rows"] * ROW_NUMBERS
    numbers += 2 * PAIR_ARRAYS * pairs + RESULT_NUMBERS * pixels
    return {**counted, "pairs": pairs, "bytes": FLOAT * numbers}


def needed_rows(coefficients: Any, starts: Any, counts: Any) -> int:
    """Rows until every pixel of their tile is finished, or the tile has no more."""
    import torch

    from real2sim.splats.composite import MAX_ALPHA, MIN_LIGHT, pixel_polynomial
    from real2sim.splats.tiles import MIN_ALPHA

    basis, light = pixel_polynomial(coefficients.dtype), coefficients.new_ones(len(starts), 64)
    needed = 0
    for k in range(int(counts.max())):
        tiles = torch.nonzero((counts > k) & (light.amax(dim=1) > MIN_LIGHT))[:, 0]
        needed += len(tiles)
        alpha = (coefficients[starts[tiles] + k] @ basis).exp().clamp(max=MAX_ALPHA)
        light[tiles] *= 1 - alpha * (alpha >= MIN_ALPHA)
    return needed


@contextmanager
def replaced(module: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)


def copy_bandwidth() -> float:
    """Bytes per second, read and written, of copying 256 MB."""
    import torch

    source = torch.rand(64 * 2**20)
    target = torch.empty_like(source)
    return 2 * source.numel() * FLOAT / seconds(lambda: target.copy_(source), 7)


def seconds(work: Callable[[], Any], rounds: int) -> float:
    work()
    taken = []
    for _ in range(rounds):
        begin = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begin)
    return median(taken)


if __name__ == "__main__":
    chosen = tyro.cli(Options)
    path = write("splats", {"options": as_json(chosen), **in_own_process(measure, chosen)})
    print(path.read_text())
