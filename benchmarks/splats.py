"""How fast the CPU rasteriser draws, held against what its memory traffic alone would take on this machine.

The scene is a room of Gaussians on a table, a box and the walls, each as large as its neighbours are away and most of
them nearly opaque. Three estimates stand beside the time it takes:

- `tensor_program`: every array that a program of whole-array operations has to pass through memory, each written once
  and read once: per Gaussian its parameters and its projection, per hit of a Gaussian on a tile its row, per pixel of
  a hit four numbers (exponent, alpha, light, weight), per pixel the result. Hits behind a finished tile do not count.
- `fused`: the same without what a loop that composites at once keeps in registers: a hit costs its index and a look
  at its Gaussian, a pixel of a hit nothing.
- `arithmetic`: the operations of those pixels of hits that count at all (alpha at least 1/255), at the rate of torch's
  matrix product.

The bandwidth is that of copying an array that fits in no cache. Everything is measured in one process, the best of its
rounds, in processor time where one thread is used (`clock`): other work on the machine makes either longer, never
shorter, but waiting for a processor says nothing of the code. `first_call_cpu_s` is what the first picture and
gradient of a process cost (numba compiles then, or loads what it kept), less what a later one costs.

    python benchmarks/splats.py [--gaussians 6000] [--threads 1]
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import tyro
from common import as_json, in_own_process, write

FLOAT = 4
PAIR_ARRAYS, SPLAT_NUMBERS, ROW_NUMBERS, RESULT_NUMBERS = 4, 14, 11, 5
FUSED_RESULT_NUMBERS = 7
"""With the two that the gradient needs."""
PAIR_OPERATIONS = 52
"""Additions, products and comparisons of a pixel and a Gaussian: `kernels._show`, counted by hand (exp is 16)."""


@dataclass(frozen=True)
class Options:
    """`views` are the batches that are timed, each `rounds` times."""

    gaussians: int = 6000
    width: int = 160
    height: int = 96
    views: tuple[int, ...] = (1, 3, 8)
    rounds: int = 30
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
    scene = room(options)

    def learn() -> None:
        wanted = Gaussians(**{name: tensor.clone().requires_grad_() for name, tensor in scene.tensors().items()})
        seen = rasterize(wanted, cameras(options, 1))
        (seen.color.square().mean() + seen.depth.mean()).backward()

    first, again = cpu_seconds(learn), cpu_seconds(learn)
    rates = {"bandwidth": copy_bandwidth(), "operations": product_rate()}
    batches = {}
    for views in options.views:
        seen_by = cameras(options, views)
        with torch.no_grad():
            draw = seconds(lambda: rasterize(scene, seen_by), options.rounds)  # noqa: B023 (called at once)
        batches[str(views)] = {
            "draw_ms": round(1e3 * draw, 2), "frames_per_second": round(views / draw, 1),
            **against_estimates(draw, workload(scene, seen_by), rates),
        }  # fmt: skip
    return {
        "gaussians": len(scene), "bandwidth_gb_s": round(rates["bandwidth"] / 1e9, 2),
        "operations_g_s": round(rates["operations"] / 1e9, 2), "batches": batches,
        "draw_and_gradient_ms": round(1e3 * seconds(learn, options.rounds), 2),
        "clock": clock(), "first_call_cpu_s": round(first - again, 2), "compiled_before": compiled_before(),
    }  # fmt: skip


def against_estimates(draw: float, load: dict[str, int], rates: dict[str, float]) -> dict[str, Any]:
    """What was counted, and per estimate its milliseconds and how many times that `draw` (seconds) is."""
    floors = {
        "tensor_program": load["tensor_bytes"] / rates["bandwidth"],
        "fused": load["fused_bytes"] / rates["bandwidth"],
        "arithmetic": load["shown_pairs"] * PAIR_OPERATIONS / rates["operations"],
    }
    found = {name: {"ms": round(1e3 * floor, 2), "times": round(draw / floor, 2)} for name, floor in floors.items()}
    return {**load, "estimates": found}


def workload(scene: Any, seen_by: list[Any]) -> dict[str, int]:
    """How many splats, rows and pairs of a row and a pixel are composited for these cameras, and their bytes."""
    import real2sim.splats.composite as composite
    import real2sim.splats.raster as raster
    from real2sim.splats.kernels import PIXELS

    counted = {}
    original = composite.composite

    def counting(splats: Any, hits: Any, grid: Any) -> Any:
        counted["rows"], counted["shown_pairs"] = needed(splats, hits, grid)
        return original(splats, hits, grid)

    with replaced(raster, "composite", counting):
        seen = raster.rasterize(scene.detach(), seen_by)
    splats, rows = len(seen.splats["depths"]), counted["rows"]
    pixels = len(seen_by) * seen_by[0].width * seen_by[0].height
    numbers = len(scene) * sum(tensor[0].numel() for tensor in scene.tensors().values()) + 2 * splats * SPLAT_NUMBERS
    tensors = 2 * rows * ROW_NUMBERS + 2 * PAIR_ARRAYS * rows * PIXELS + RESULT_NUMBERS * pixels
    fused = rows * (1 + ROW_NUMBERS) + FUSED_RESULT_NUMBERS * pixels
    return {
        "splats": splats, **counted, "pairs": rows * PIXELS,
        "tensor_bytes": FLOAT * (numbers + tensors), "fused_bytes": FLOAT * (numbers + fused),
    }  # fmt: skip


def needed(splats: Any, hits: Any, grid: Any) -> tuple[int, int]:
    """Rows until every pixel of their tile is finished, or the tile has no more; and their pixels that count."""
    import torch

    from real2sim.splats.kernels import MAX_ALPHA, MIN_ALPHA, MIN_LIGHT, PIXELS, TILE

    starts, gaussian = torch.from_numpy(hits.starts), torch.from_numpy(hits.gaussian).long()
    counts, light, rows, pairs = starts.diff(), splats.new_ones(grid.tiles, PIXELS), 0, 0
    inner = torch.arange(PIXELS)
    for k in range(int(counts.max())):
        tiles = torch.nonzero((counts > k) & (light.amax(dim=1) > MIN_LIGHT))[:, 0]
        one = splats[gaussian[starts[tiles] + k]]
        dx = ((tiles % grid.columns) * TILE)[:, None] + inner % TILE + 0.5 - one[:, 3, None]
        dy = ((tiles // grid.columns % grid.rows) * TILE)[:, None] + inner // TILE + 0.5 - one[:, 4, None]
        a, b, c, log_opacity = (one[:, column, None] for column in (0, 1, 2, 5))
        alpha = (log_opacity - 0.5 * (a * dx * dx + c * dy * dy) - b * dx * dy).exp().clamp(max=MAX_ALPHA)
        counts_here = (alpha >= MIN_ALPHA) & (light[tiles] > MIN_LIGHT)
        rows, pairs = rows + len(tiles), pairs + int(counts_here.sum())
        light[tiles] *= 1 - alpha * counts_here
    return rows, pairs


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


def product_rate() -> float:
    """Additions and products per second of a matrix product that fits in the caches."""
    import torch

    a = torch.rand(384, 384)
    return 2 * 384**3 / seconds(lambda: a @ a, 30)


def compiled_before() -> bool:
    """Whether numba had the compiled loops from an earlier process."""
    from real2sim.splats import kernels

    return bool(kernels.composite_tiles.stats.cache_hits)


def cpu_seconds(work: Callable[[], Any]) -> float:
    begin = time.process_time()
    work()
    return time.process_time() - begin


def clock() -> str:
    """Which of `time`'s clocks measures: with several threads processor time adds up what they do at once."""
    import torch

    return "thread_time" if torch.get_num_threads() == 1 else "perf_counter"


def seconds(work: Callable[[], Any], rounds: int) -> float:
    """Of the fastest of `rounds`, after one that does not count."""
    now = getattr(time, clock())
    work()
    taken = []
    for _ in range(rounds):
        begin = now()
        work()
        taken.append(now() - begin)
    return min(taken)


if __name__ == "__main__":
    chosen = tyro.cli(Options)
    path = write("splats", {"options": as_json(chosen), **in_own_process(measure, chosen)})
    print(path.read_text())
