"""Twins with things at other places as scenes of a synthesis, and guided attempts, through the whole of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from arena.contracts import InvalidInput
from arena.episodes.lerobot import find_lerobot
from arena.synthesis.diversity import Diversity
from arena.synthesis.export import ExportSpec
from arena.synthesis.plan import Budget
from arena.synthesis.select import Rules
from real2sim.robot import PandaKinematics
from real2sim.twin.bundle import save_twin
from tests.real2sim.twin.small import make_small_twin
from tests.workers.dots import dot_context, write_dataset
from tests.workers.test_corrections import write_episode
from tests.workers.test_synthesis import here, read, request
from workers.jobs import Context
from workers.registry import Workshop
from workers.synthesis_plan import SynthesisRequest


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A twin's folder, and the dataset with its episode."""
    folder, twin = tmp_path_factory.mktemp("twins"), make_small_twin()
    save_twin(folder / "twin", twin)
    return folder / "twin", write_episode(folder / "episodes", twin)


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return replace(dot_context(tmp_path / "home"), workshop=Workshop())


def asked(made: tuple[Path, Path], out: Path, **changes: object) -> SynthesisRequest:
    twin, episodes = made
    wanted = SynthesisRequest(
        world=str(twin), policy="noise", episodes=episodes, out=out, steps=4, batch=3, judge="truth",
        rules=Rules(judged=False, alike=0.0), budget=Budget(wanted=9, attempts=3, minutes=None, per_scene=1),
        diversity=Diversity((0.0,)),
    )  # fmt: skip
    return replace(wanted, **changes)  # type: ignore[arg-type]


def test_perturbed_twins_are_scenes_and_become_openpis_joints(
    made: tuple[Path, Path], context: Context, tmp_path: Path
) -> None:
    export = ExportSpec("openpi-v2.1", "pi05_droid_finetune", blank_cameras=True)
    request = asked(made, tmp_path / "out", perturbed=2, export=export)
    assert here(context, request)["synthetic"] == 3
    found = [pending.load() for pending in find_lerobot(tmp_path / "out", None, PandaKinematics())]
    told = [episode.metadata for episode in found]
    assert [each["beginning"] for each in told] == [
        "episode-1@0",
        "episode-1+object_pose-0@0",
        "episode-1+object_pose-1@0",
    ]
    assert [each["began_in"] for each in told] == ["recording", "twin", "twin"]
    assert len({each["scene_sha256"] for each in told}) == 3
    # Things stand elsewhere in each.
    first = [episode.cameras["exterior_1"].read(0, 1)[0].astype(int) for episode in found]
    assert np.abs(first[1] - first[2]).max() > 40
    rows = pq.read_table(tmp_path / "out/data/chunk-000/episode_000001.parquet").to_pydict()
    np.testing.assert_allclose(rows["joint_position"][0], make_small_twin().beginning.joint_position, atol=1e-3)
    # Asked again, nothing is made again.
    assert here(context, request)["synthetic"] == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"perturbed": -1}, "must not be negative"),
        ({"perturbed": 1, "axes": ("colour",)}, "no axis 'colour'"),
        ({"resets": 1}, "use --perturbed"),
        ({"judge": "auto"}, "does not know what success is"),
        ({"paraphraser": "m@http://127.0.0.1:1/v1"}, "none are wanted"),
        ({"paraphraser": "gpt", "paraphrases": 1}, "write MODEL@http"),
    ],
)
def test_what_cannot_be_is_refused(
    made: tuple[Path, Path], context: Context, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        here(context, asked(made, tmp_path / "out", **changes))
    assert not (tmp_path / "out").exists()


def test_only_a_twin_can_be_perturbed(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "dots", 2)
    with pytest.raises(InvalidInput, match="digital twin"):
        here(dot_context(tmp_path / "home"), request(dataset, tmp_path / "out", perturbed=1))


def test_guided_attempts_stay_near_what_was_recorded(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "dots", 6)
    every = Rules(judged=False, alike=0.0)
    plain = request(dataset, tmp_path / "plain", policy="hold", rules=every)
    here(dot_context(tmp_path / "home"), plain)
    # Recorded hands go along x; a policy that holds still is led along it where it counts for nothing.
    led = replace(plain, out=tmp_path / "led", diversity=Diversity((0.0,), weights=(0.0,)))
    here(dot_context(tmp_path / "home"), led)
    went = [np.mean([e.state[-1, 0] - e.state[0, 0] for e in read(tmp_path / name)]) for name in ("plain", "led")]
    assert abs(went[0]) < 0.01
    assert went[1] > 0.05
    assert read(tmp_path / "led")[0].metadata["variation"] == {"noise": 0.0, "chunk": None, "weight": 0.0}
