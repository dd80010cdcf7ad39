"""The images' descriptions and the compose file, read."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
DOCKER = REPOSITORY / "docker"
IMAGES = ("cpu", "gpu", "nerfstudio", "ui")
OURS = {"worker": "cpu", "gpu-worker": "gpu", "api": "ui", "ui": "ui", "nerfstudio": "nerfstudio"}
"""Services, and the image of each."""
LASTING = ("worker", "gpu-worker", "api", "ui")
"""Those of them that stay up."""


def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((DOCKER / "compose.yaml").read_text()))


def services() -> dict[str, Any]:
    return dict(compose()["services"])


class Image:
    """A Dockerfile: its instructions, with continued lines joined and comments left out."""

    def __init__(self, name: str) -> None:
        self.name, self.path = name, DOCKER / f"Dockerfile.{name}"
        lines = [line for line in self.path.read_text().splitlines() if not line.lstrip().startswith("#")]
        joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
        self.instructions = [
            (line.split()[0], line.partition(" ")[2].strip()) for line in joined.splitlines() if line.strip()
        ]

    def of(self, name: str) -> list[str]:
        return [rest for instruction, rest in self.instructions if instruction == name]

    @property
    def copied(self) -> dict[str, str]:
        """Where in the image what of the repository is: `{source: target}`, not counting other stages."""
        found: dict[str, str] = {}
        for rest in self.of("COPY"):
            words = shlex.split(rest)
            if not words[0].startswith("--from"):
                found |= dict.fromkeys(words[:-1], words[-1])
        return found

    @property
    def kept(self) -> set[str]:
        """What reaches the build, by its .dockerignore."""
        lines = self.path.with_name(self.path.name + ".dockerignore").read_text().splitlines()
        return {line[1:] for line in lines if line.startswith("!")}

    def words(self, name: str) -> list[str]:
        """An instruction in its JSON form, the last one that there is."""
        return re.findall(r'"([^"]*)"', self.of(name)[-1]) if self.of(name) else []
