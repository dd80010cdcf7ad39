"""The images' descriptions hold to rules, as hadolint would have them: there is no Docker where the tests run."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.docker.files import DOCKER, IMAGES, OURS, REPOSITORY, Image

KNOWN = {"FROM", "RUN", "COPY", "WORKDIR", "ARG", "USER", "ENV", "ENTRYPOINT", "CMD"}
HEAVY = ("torch", "torchvision", "diffusers", "transformers", "gsplat", "open3d", "mujoco", "metaworld", "accelerate")


@pytest.fixture(params=IMAGES)
def image(request: pytest.FixtureRequest) -> Image:
    return Image(request.param)


def test_every_image_is_looked_at() -> None:
    assert {path.name for path in DOCKER.glob("Dockerfile.*")} == {
        name for each in IMAGES for name in (f"Dockerfile.{each}", f"Dockerfile.{each}.dockerignore")
    }
    assert set(OURS.values()) == set(IMAGES)


def test_base_images_are_pinned_to_a_patch(image: Image) -> None:
    for base in image.of("FROM"):
        assert re.match(r"[a-z/]+:\d+\.\d+\.\d+-[a-z0-9.-]+(?: AS \w+)?$", base), base
        assert "latest" not in base


def test_only_known_instructions_in_json_form(image: Image) -> None:
    """ADD fetches and unpacks; a shell form of ENTRYPOINT would keep signals from the program."""
    assert {name for name, _ in image.instructions} <= KNOWN
    for name in ("ENTRYPOINT", "CMD"):
        [form] = image.of(name)
        assert form.startswith("[")
        assert image.words(name)
    assert len(image.of("ENTRYPOINT")) == 1
    assert all(place.startswith("/") for place in image.of("WORKDIR"))


def test_the_image_runs_as_nobody_special(image: Image) -> None:
    names = [name for name, _ in image.instructions]
    assert image.of("USER") == ["arena"]
    assert "useradd --create-home --uid 1000 arena" in " ".join(image.of("RUN"))
    assert not {"RUN", "COPY"} & set(names[names.index("USER") :])
    assert "sudo" not in " ".join(image.of("RUN"))


def test_nothing_is_fetched_but_by_apt_and_pip(image: Image) -> None:
    said = " ".join(rest for _, rest in image.instructions)
    assert not re.search(r"https?://|curl|wget|git clone", said)
    assert not re.search(r"--(extra-)?index-url|--find-links", said), "registries are build arguments"


def test_apt_leaves_nothing_behind(image: Image) -> None:
    for command in (command for command in image.of("RUN") if "apt-get" in command):
        assert "apt-get install -y --no-install-recommends" in command
        assert command.startswith("apt-get update")
        assert command.endswith("rm -rf /var/lib/apt/lists/*")


def test_pip_is_pinned_and_keeps_no_cache(image: Image) -> None:
    installs = re.findall(r"pip install [^&]*", " ".join(image.of("RUN")))
    assert installs
    for command in installs:
        assert "--no-cache-dir" in command
        if "-c constraints.txt" not in command:
            [file] = re.findall(r"-r /app/(\S+)", command)
            lines = (DOCKER / file).read_text().split()
            assert all(re.fullmatch(r"[a-z0-9-]+==[0-9.]+", line) for line in lines), file


def test_what_the_image_copies_exists_and_reaches_the_build(image: Image) -> None:
    assert set(image.copied) == image.kept
    for source in image.copied:
        assert (REPOSITORY / source).exists(), source
    ignored = image.path.with_name(image.path.name + ".dockerignore").read_text().splitlines()
    assert next(line for line in ignored if not line.startswith("#")) == "*"


def test_no_secret_is_in_an_image(image: Image) -> None:
    said = " ".join([*image.of("ENV"), *image.of("ARG")])
    assert not re.search(r"(?i)password|secret|token|key=", said)


def test_rendering_has_what_the_system_packages_script_names() -> None:
    script = (REPOSITORY / "scripts" / "system-packages.sh").read_text()
    wanted = set(re.findall(r":(lib[a-z0-9.-]+)", script))
    gpu = {word for command in Image("gpu").of("RUN") for word in command.split()}
    assert wanted <= gpu
    cpu = {word for command in Image("cpu").of("RUN") for word in command.split()}
    assert {"libegl1", "libgles2", "libgl1-mesa-dri"} <= cpu


def test_the_toolkit_is_of_the_version_that_the_build_checks() -> None:
    gpu = Image("gpu")
    [major] = re.findall(r"nvidia/cuda:(\d+)\.", gpu.of("FROM")[0])
    assert f"found.startswith('{major}.')" in " ".join(gpu.of("RUN"))


def test_extras_that_images_name_exist() -> None:
    import tomllib

    extras = set(tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    for name in ("cpu", "gpu"):
        [named] = re.findall(r'"\.\[([a-z0-9,]+)\]"', " ".join(Image(name).of("RUN")))
        assert set(named.split(",")) <= extras


LOADED = """
import sys
ABSENT = set(sys.argv[1].split())
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ABSENT:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
import importlib
for name in ("workers.cli", "workers.service", "workers.launch", "workers.tasks", "workers.app", "workers.api.app",
             "workers.cli.api", "workers.cli.ui", "ui.app", "ui.server", "ui.leaderboard", "ui.jobs", "ui.rollouts",
             "ui.policies", "ui.voters", "ui.worlds", "ui.reality", "ui.vote.routes"):
    importlib.import_module(name)
"""


def test_the_light_list_is_enough_for_the_pages_and_the_api() -> None:
    """They are imported with everything else of this environment hidden, torch and the simulators among it."""
    light = [line for line in (DOCKER / "light.txt").read_text().splitlines() if not line.startswith("#")]
    allowed = _with_dependencies(light) | {"dreamarena", "setuptools"}
    owners = importlib.metadata.packages_distributions()
    absent = {name for name, those in owners.items() if not allowed & {_plain(each) for each in those}}
    assert set(HEAVY) - absent <= {name for name in HEAVY if name not in owners}
    done = subprocess.run(
        [sys.executable, "-c", LOADED, " ".join(absent)], capture_output=True, text=True, timeout=200, cwd=REPOSITORY
    )
    assert done.returncode == 0, done.stderr


def test_the_light_list_is_of_what_pyproject_names() -> None:
    text = (REPOSITORY / "pyproject.toml").read_text()
    for line in (DOCKER / "light.txt").read_text().splitlines():
        if not line.startswith("#"):
            assert f'"{line}>=' in text, line


def _with_dependencies(wanted: list[str]) -> set[str]:
    """Distributions, with the extras that are asked for, and all that they need."""
    found: set[tuple[str, str]] = set()
    waiting = [Requirement(line) for line in wanted]
    while waiting:
        asked = waiting.pop()
        for extra in {"", *asked.extras}:
            if (_plain(asked.name), extra) in found:
                continue
            found.add((_plain(asked.name), extra))
            try:
                needed = [Requirement(each) for each in importlib.metadata.requires(asked.name) or []]
            except importlib.metadata.PackageNotFoundError:
                continue
            waiting += [each for each in needed if each.marker is None or each.marker.evaluate({"extra": extra})]
    return {name for name, _ in found}


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


FAKE = """#!/bin/sh
echo "$(basename "$0") $*" >> {log}
case "$(basename "$0")" in
    ns-train) : ;;
    ns-export) out=$(echo "$*" | sed 's/.*--output-dir //'); mkdir -p "$out"; echo ply > "$out/splat.ply" ;;
esac
"""


def test_nerfstudio_is_run_as_our_reader_expects(tmp_path: Path) -> None:
    from real2sim.splats.nerfstudio import PARSER_OPTIONS

    programs, folder, out = tmp_path / "bin", tmp_path / "in", tmp_path / "out"
    for each in (programs, folder, out):
        each.mkdir()
    for name in ("ns-train", "ns-export"):
        (programs / name).write_text(FAKE.format(log=tmp_path / "log"))
        (programs / name).chmod(0o755)
    entry = Image("nerfstudio").words("ENTRYPOINT")
    targets = {target: source for source, target in Image("nerfstudio").copied.items()}
    command = [str(REPOSITORY / targets[word]) if word in targets else word for word in entry]
    environment = {"PATH": f"{programs}:/usr/bin:/bin"}
    refused = subprocess.run([*command, str(folder), str(out)], env=environment, capture_output=True, text=True)
    assert refused.returncode == 2
    assert "has no transforms.json" in refused.stderr
    (folder / "transforms.json").write_text("{}")
    done = subprocess.run([*command, str(folder), str(out)], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    train, export = (tmp_path / "log").read_text().splitlines()
    assert train.startswith("ns-train splatfacto ")
    assert f"--data {folder}" in train
    assert train.endswith(" ".join(PARSER_OPTIONS))
    assert export.startswith("ns-export gaussian-splat ")
    assert [path.name for path in out.iterdir()] == ["splat.ply"]
