"""What every benchmark shares: the machine, the commit, a process of its own for each measurement, the output file."""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
OUTPUT = REPOSITORY / "docs" / "benchmarks"


def machine() -> dict[str, Any]:
    """The processor, cores and versions that figures depend on."""
    import torch

    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.processor(),
    )
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "gpu": gpu,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def commit() -> str:
    """The commit measured, with `+` where files differ from it."""
    run = lambda *words: subprocess.run(  # noqa: E731
        ["git", *words], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout.strip()
    return run("rev-parse", "--short", "HEAD") + ("+" if run("status", "--porcelain", "--untracked-files=no") else "")


def in_own_process(measure: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """`measure(*arguments)` in a fresh process, with its peak resident memory in MB added as `peak_memory_mb`."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(sender, measure, arguments))
    process.start()
    sender.close()
    try:
        result: dict[str, Any] = receiver.recv()
    except EOFError:
        raise RuntimeError(f"{measure.__name__} ended without a result") from None
    finally:
        process.join()
    return result


def _child(sender: Any, measure: Callable[..., dict[str, Any]], arguments: tuple[Any, ...]) -> None:
    result = measure(*arguments)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sender.send({**result, "peak_memory_mb": round(peak)})


def as_json(options: Any) -> Any:
    """A dataclass of paths and numbers as JSON; paths are relative to the repository, or a bare name outside it."""

    def path(value: Any) -> str:
        if not isinstance(value, Path):
            return str(value)
        inside = value.resolve().is_relative_to(REPOSITORY)
        return str(value.resolve().relative_to(REPOSITORY)) if inside else value.name

    return json.loads(json.dumps(asdict(options), default=path))


def write(name: str, figures: dict[str, Any]) -> Path:
    """Write `docs/benchmarks/NAME.json`: the figures, the machine, the command, the commit."""
    OUTPUT.mkdir(parents=True, exist_ok=True)
    path = OUTPUT / f"{name}.json"
    command = " ".join(["python", os.path.relpath(sys.argv[0], REPOSITORY), *sys.argv[1:]])
    path.write_text(
        json.dumps({**figures, "machine": machine(), "command": command, "commit": commit()}, indent=2) + "\n"
    )
    return path
