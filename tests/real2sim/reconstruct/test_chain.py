"""The chain from an episode to a twin: what it refuses at once, how it resumes, and once as a whole."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from arena.contracts import ActionChunk, ActionSpace, Episode, InvalidInput, Source
from real2sim.cameras.gates import Gate
from real2sim.frames import MemoryFrames
from real2sim.reconstruct import BuildSettings, build_twin, chain, tools_digest
from real2sim.reconstruct.ledger import Ledger, Refused, episode_key
from real2sim.twin.objects import TwinObject
from real2sim.twin.physics import Settled
from tests.real2sim.twin.small import make_small_twin

FILM = np.random.default_rng(0).integers(0, 256, (20, 24, 40, 3), dtype=np.uint8)


def an_episode(frames: int = 20) -> Episode:
    film = np.random.default_rng(0).integers(0, 256, (frames, 24, 40, 3), dtype=np.uint8)
    return Episode(
        id="episode-1",
        cameras={"exterior_1": MemoryFrames(film), "wrist": MemoryFrames(film)},
        fps=5.0,
        cartesian_position=np.zeros((frames, 6)),
        gripper_position=np.zeros((frames, 1)),
        instruction="",
        source=Source("truth", ""),
        joint_position=np.random.default_rng(1).normal(0, 0.3, (frames, 7)),
        robot="panda",
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda e: replace(e, joint_position=None), "needs the robot's joints in rad"),
        (lambda e: replace(e, joint_position=np.degrees(e.joint_position)), "must be in rad"),
        (lambda e: an_episode(5), "5 frames"),
        (lambda e: replace(e, robot="widowx"), "no model of a 'widowx'"),
        (lambda e: replace(e, cameras={}), "needs the films"),
        (lambda e: replace(e, cameras={"exterior_1": MemoryFrames(FILM)}), "has no wrist camera"),
        (
            lambda e: replace(e, cameras={**e.cameras, "wrist": MemoryFrames(FILM[:, :12])}),
            "exterior_1 40x24, wrist 40x12",
        ),
    ],
)
def test_an_episode_that_no_twin_can_be_made_of_is_refused_with_one_line(
    change: Callable[[Episode], Episode], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInput, match=message) as refusal:
        build_twin(change(an_episode()), tmp_path / "twin")
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "twin").exists()


def test_a_camera_that_was_knocked_refuses_the_twin_at_once(tmp_path: Path) -> None:
    film = np.kron(np.random.default_rng(0).integers(0, 256, (12, 20, 3)), np.ones((2, 2, 1))).astype(np.uint8)
    frames = np.stack([np.roll(film, 6 * (t >= 10), axis=1) for t in range(20)])
    episode = replace(an_episode(), cameras={"exterior_1": MemoryFrames(frames), "wrist": MemoryFrames(frames)})
    built = build_twin(episode, tmp_path)
    assert not built.accepted
    assert "exterior_1 moved" in built.reason
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["accepted"] is False
    assert report["gates"][0]["passed"] is False
    assert not (tmp_path / "twin.json").exists()


def counted(calls: list[int]) -> Callable[[], tuple[dict[str, Any], list[Gate]]]:
    def compute() -> tuple[dict[str, Any], list[Gate]]:
        calls.append(1)
        return {"value": 3}, [Gate("stage", "metric", 1.0, 2.0, False, "too low")]

    return compute


def test_a_stage_that_is_done_is_not_done_again_until_its_inputs_change(tmp_path: Path) -> None:
    calls: list[int] = []
    for key, expected in (("a", 1), ("a", 1), ("b", 2)):
        ledger = Ledger(tmp_path, key, lambda line: None)
        assert ledger.run("stage", counted(calls)) == {"value": 3}
        assert len(calls) == expected
        with pytest.raises(Refused, match="too low"):
            ledger.insist("stage")


def test_a_stage_that_was_cut_off_while_writing_is_done_again(tmp_path: Path) -> None:
    calls: list[int] = []
    Ledger(tmp_path, "a", lambda line: None).run("stage", counted(calls))
    (tmp_path / "stages" / "stage.json").write_text('{"found": {"va')
    Ledger(tmp_path, "a", lambda line: None).run("stage", counted(calls))
    assert len(calls) == 2


def test_a_key_is_of_pictures_joints_settings_and_code() -> None:
    episode = an_episode()
    other = replace(episode, joint_position=np.asarray(episode.joint_position) + 1e-6)
    keys = {episode_key(episode, "s", "c"), episode_key(other, "s", "c"), episode_key(episode, "t", "c")}
    assert len(keys | {episode_key(episode, "s", "d"), episode_key(an_episode(19), "s", "c")}) == 5
    assert episode_key(an_episode(), "s", "c") == episode_key(episode, "s", "c")


def test_what_the_dataset_says_of_actions_and_cameras_belongs_to_the_key() -> None:
    episode = an_episode()
    action = ActionChunk(np.zeros((20, 8)), ActionSpace.JOINT_POSITION, 5.0)
    others = [
        replace(episode, action=action),
        replace(episode, action=replace(action, space=ActionSpace.JOINT_VELOCITY)),
        replace(episode, metadata={"filmed_as": 1.5}),
        replace(episode, metadata={"calibration": {"exterior_1": {"fx": 100.0}}}),
        replace(episode, robot="droid"),
    ]
    assert len({episode_key(each, "s", "c") for each in (episode, *others)}) == 6


def test_a_focal_length_of_a_camera_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"of 'wirst'.* only exterior_1, wrist"):
        build_twin(an_episode(), tmp_path, BuildSettings(focals=(("wirst", 100.0),)))


def test_a_pose_of_a_camera_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"a pose is given of 'wirst'.* only exterior_1, wrist"):
        build_twin(an_episode(), tmp_path, BuildSettings(calibration={"wirst": {}}))
    with pytest.raises(InvalidInput, match="calibration are no cameras"):
        build_twin(an_episode(), tmp_path, BuildSettings(calibration={"wrist": {"fx": 100.0}}))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"segmenter": "nowhere"}, r"nowhere/owlv2 has no config\.json"),
        ({"engine": "nerfstudio"}, "there is no ns-train"),
    ],
)
def test_a_tool_that_is_missing_is_said_at_once(
    asked: dict[str, str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DREAMARENA_NERFSTUDIO", str(tmp_path))
    with pytest.raises(InvalidInput, match=message):
        build_twin(an_episode(), tmp_path / "twin", BuildSettings(**asked))  # type: ignore[arg-type]
    assert not (tmp_path / "twin").exists()


def test_other_weights_in_a_segmenters_folder_are_another_tool(tmp_path: Path) -> None:
    for name in ("owlv2", "sam2"):
        (tmp_path / name).mkdir()
        for file in ("config.json", "model.safetensors"):
            (tmp_path / name / file).write_text("{}")
    settings = BuildSettings(segmenter=str(tmp_path))
    before = tools_digest(settings)
    assert tools_digest(settings) == before != tools_digest(BuildSettings())
    (tmp_path / "sam2" / "model.safetensors").write_text("other")
    assert tools_digest(settings) != before


def test_a_build_of_another_episode_leaves_nothing_of_the_twin_before(tmp_path: Path) -> None:
    Ledger(tmp_path, "one", print, leaves=("twin.json",))
    (tmp_path / "twin.json").write_text("{}")
    Ledger(tmp_path, "one", print, leaves=("twin.json",))
    assert (tmp_path / "twin.json").exists()
    Ledger(tmp_path, "another", print, leaves=("twin.json", "report.json"))
    assert not (tmp_path / "twin.json").exists()


def test_the_engine_of_the_settings_fits_the_scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, int, int]] = []
    monkeypatch.setattr(chain, "fit_there", lambda p, steps, seed, folder, report: asked.append(("there", steps, seed)))
    monkeypatch.setattr(chain, "fit_here", lambda p, steps, checkpoint, step, seed: asked.append(("here", steps, seed)))
    for engine in ("own", "nerfstudio"):
        settings = BuildSettings(steps=7, seed=3, engine=engine)
        ledger = Ledger(tmp_path, "key", print)
        chain._Chain(an_episode(), tmp_path, settings, ledger, print)._engine(None)  # type: ignore[arg-type]
    assert asked == [("here", 7, 3), ("there", 7, 3)]


def test_things_that_were_taken_away_are_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    twin, asked = make_small_twin(), []

    def standing(self: Any, views: Any, plane: Any, handled: Any) -> list[TwinObject]:
        asked.append(1)
        return list(twin.objects)

    monkeypatch.setattr(chain._Chain, "_standing", standing)
    stages = chain._Chain(an_episode(), tmp_path, BuildSettings(), Ledger(tmp_path, "key", print), print)
    footage: Any = SimpleNamespace(
        exterior=dict(twin.exterior), wrist=twin.wrist, handled=lambda plane: np.zeros((0, 3))
    )
    for _ in range(2):
        found = stages._things([], twin.plane, footage)
    assert asked == [1]
    (tmp_path / "stages" / "things" / "background.ply").write_bytes(b"ply")
    again = stages._things([], twin.plane, footage)
    assert asked == [1, 1]
    assert [thing.name for thing in again.objects] == [thing.name for thing in found.objects]


def test_a_thing_that_turns_where_it_stands_is_refused_by_its_angle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain, "TwinPhysics", lambda *parts: None)
    monkeypatch.setattr(chain, "settle", lambda physics: (Settled("cup", 0.001, 6.0), Settled("can", 0.002, 1.0)))
    _, (distance, angle) = chain._settled(None, ("cup", "can"))  # type: ignore[arg-type]
    assert (distance.value, distance.passed) == (0.002, True)
    assert (angle.value, angle.passed) == (6.0, False)
    assert angle.reason.startswith("cup would not stay")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_an_episode_becomes_a_twin(tmp_path: Path) -> None:
    from real2sim.truth import make_truth
    from real2sim.truth.objects import object_errors
    from real2sim.twin.bundle import load_twin

    truth = make_truth(4)
    built = build_twin(truth.episode, tmp_path)
    assert built.accepted, built.reason
    twin = load_twin(tmp_path)
    assert twin.wrist is not None
    assert np.linalg.norm(twin.wrist.camera_to_base[:3, 3] - truth.hand_eye[:3, 3]) < 0.005
    errors = object_errors(twin.objects, truth.objects)
    assert np.median(errors.position_cm) < 1
    assert not errors.stray
    for name, camera in twin.exterior.items():
        apart = camera.camera_to_base[:3, 3] - truth.exterior[name].camera_to_base[:3, 3]
        assert np.linalg.norm(apart) < 0.02
        assert built.measures["cameras"][name]["robot_mask_iou"] > 0.6
    assert next(gate.value for gate in built.gates if gate.stage == "scene") > 25
    lines: list[str] = []
    again = build_twin(truth.episode, tmp_path, report=lines.append)
    assert lines == []  # every stage was read
    assert again.seconds.keys() == built.seconds.keys()
