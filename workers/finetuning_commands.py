"""What to type next with a dataset: the command lines of dreamarena, LeRobot and openpi that fine-tune on it.

openpi's config reads the dataset `HF_LEROBOT_HOME/REPO_ID` and keeps the normalisation of the DROID checkpoint that it
starts from, so none has to be computed. LeRobot reads the folder `--dataset.root`, whatever its `repo_id` is called.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from arena.contracts import InvalidInput
from arena.episodes import lerobot_layout as layout
from arena.episodes.files import read_json
from arena.synthesis.export import FORMATS, TARGETS

OPENPI_CONFIG = "pi05_droid_finetune"
FRAMEWORKS = ("lerobot", "openpi")
"""Others whose policies dreamarena does not train itself."""


def commands(dataset: Path, format: str, policy: str, target: str | None = None) -> list[str]:
    """Every command line that fits a dataset of this format; dreamarena's own only for cloned policies (`bc:`)."""
    dataset = dataset.resolve()
    if FORMATS[format].openpi:
        return [openpi(dataset, target or OPENPI_CONFIG)]
    own = [dreamarena(dataset, policy)] if policy.startswith("bc:") else []
    return [*own, lerobot(dataset)]


def command_for(framework: str, dataset: Path) -> str:
    """The command line of `framework`, one of `FRAMEWORKS`, for a dataset that is there.

    Raises `InvalidInput` where it is no LeRobot dataset, or of a version that the framework does not read.
    """
    if not (dataset / layout.INFO).is_file():
        raise InvalidInput(f"{dataset} is no LeRobot dataset: it has no {layout.INFO}")
    version = read_json(dataset / layout.INFO).get("codebase_version")
    reads = layout.V21 if framework == "openpi" else layout.V30
    if version != reads:
        raise InvalidInput(f"{framework} reads LeRobot {reads} datasets; {dataset} is {version}")
    return openpi(dataset, OPENPI_CONFIG) if framework == "openpi" else lerobot(dataset)


def dreamarena(dataset: Path, policy: str) -> str:
    out = dataset.with_name(f"{dataset.name}-policy")
    return shlex.join(["dreamarena", "policy", "finetune", policy, "--episodes", str(dataset), "--out", str(out)])


def lerobot(dataset: Path, policy_type: str = "act") -> str:
    """For LeRobot 0.4, which has v3.0 datasets. Nothing is uploaded."""
    words = [
        "lerobot-train", f"--dataset.repo_id=local/{dataset.name}", f"--dataset.root={dataset}",
        f"--policy.type={policy_type}", "--policy.push_to_hub=false", f"--output_dir=outputs/{dataset.name}",
        f"--job_name={dataset.name}",
    ]  # fmt: skip
    return shlex.join(words)


def openpi(dataset: Path, config: str) -> str:
    """To be typed in a checkout of openpi. Raises `InvalidInput` for a config that does not read such datasets."""
    if config not in TARGETS:
        raise InvalidInput(f"openpi's config {config!r} is not known to read this, only {', '.join(TARGETS)}")
    home = shlex.join([f"HF_LEROBOT_HOME={dataset.parent.parent}"])
    repo = f"{dataset.parent.name}/{dataset.name}"
    words = ["uv", "run", "scripts/train.py", config, f"--exp-name={dataset.name}", f"--data.repo-id={repo}"]
    return f"{home} XLA_PYTHON_CLIENT_MEM_FRACTION=0.9 {shlex.join(words)}"
