"""nerfstudio's splatfacto as the engine of a fit: its own environment, files in, a Gaussian PLY out.

nerfstudio pins what the rest of a user's environment may want newer, so it is never imported: its two commands run
wherever they are installed (`docker/nerfstudio.Dockerfile`, or any environment whose `bin` folder is given). splatfacto
trains on CUDA only.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from arena.contracts import InvalidInput
from real2sim.splats.gaussians import Gaussians
from real2sim.splats.nerfstudio import PARSER_OPTIONS, Dataset, write_dataset
from real2sim.splats.ply import read_ply

TRAIN, EXPORT = "ns-train", "ns-export"
ENVIRONMENT = "DREAMARENA_NERFSTUDIO"
"""The environment variable that names the `bin` folder of nerfstudio's environment; the path is searched without it."""
DATA, RUNS, EXPORTED, PLY = "data", "runs", "exported", "splat.ply"
LAST_LINES = 3


def fit_with_splatfacto(
    dataset: Dataset, folder: Path, steps: int, seed: int = 0, report: Callable[[str], None] = lambda line: None
) -> Gaussians:
    """Train splatfacto on a dataset and read what it exports: metres, in the base frame.

    `folder` keeps the dataset, the run and the export; what a cut-off call left there is done again. Raises
    `InvalidInput` where nerfstudio is not installed, or one of its commands fails, with its last lines.
    """
    train, export = commands()
    shutil.rmtree(folder, ignore_errors=True)
    write_dataset(folder / DATA, dataset)
    _run([
        train, "splatfacto", "--data", str(folder / DATA), "--output-dir", str(folder / RUNS),
        "--max-num-iterations", str(steps), "--machine.seed", str(seed), "--vis", "tensorboard",
        "--viewer.quit-on-train-completion", "True", *PARSER_OPTIONS,
    ], report)  # fmt: skip
    configs = sorted((folder / RUNS).glob("**/config.yml"))
    if len(configs) != 1:
        raise InvalidInput(f"{TRAIN} left {len(configs)} runs in {folder / RUNS}, one was asked for")
    _run([
        export, "gaussian-splat", "--load-config", str(configs[0]), "--output-dir", str(folder / EXPORTED),
        "--output-filename", PLY,
    ], report)  # fmt: skip
    return read_ply(folder / EXPORTED / PLY)


def commands() -> tuple[str, str]:
    """Where nerfstudio's two commands are. Raises `InvalidInput` for one that is not there."""
    return _command(TRAIN), _command(EXPORT)


def _command(name: str) -> str:
    folder = os.environ.get(ENVIRONMENT)
    found = shutil.which(name, path=folder)
    if found is None:
        where = f"in {folder}" if folder else "on the path"
        raise InvalidInput(
            f"there is no {name} {where}: install nerfstudio 1.1 into an environment of its own and set {ENVIRONMENT} "
            "to its bin folder"
        )
    return found


def _run(command: list[str], report: Callable[[str], None]) -> None:
    """Run to the end, its output as progress."""
    last: list[str] = []
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as run:
        assert run.stdout is not None
        for line in run.stdout:
            if line.strip():
                last = [*last, line.strip()][-LAST_LINES:]
                report(line.strip()[:120])
    if run.returncode != 0:
        raise InvalidInput(f"{Path(command[0]).name} failed ({run.returncode}): {' | '.join(last)[:400]}")
