"""Finding datasets, listing episodes, and the hash that says whether two are the same."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from arena.episodes import ArrayFrames, episode_sha256, ingest
from arena.episodes.errors import UnknownLayout
from tests.arena.episodes.making import droid_root, moving_frames


def test_several_datasets_below_a_folder(shared: Path) -> None:
    report = ingest(shared / "data")
    assert len(report.episodes) == 12
    assert len(report.refused) == 2  # an episode of unequal lengths, and the clips that nothing declares
    assert len({episode.id for episode in report.episodes}) == 12


def test_what_is_not_known_says_what_would_be(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("nothing")
    for path in (tmp_path, tmp_path / "absent", tmp_path / "notes" / "a.txt"):
        with pytest.raises(UnknownLayout, match=r"annotation/SPLIT/ID\.json.*meta/info\.json.*dreamarena\.toml"):
            ingest(path)


def test_listing_is_json(tmp_path: Path) -> None:
    report = ingest(droid_root(tmp_path / "mini"))
    listed = json.loads(json.dumps(report.as_json()))
    (episode,) = listed["episodes"]
    assert episode["cameras"] == {name: [64, 96] for name in ("exterior_1", "exterior_2", "wrist")}
    assert (episode["length"], episode["fps"], episode["success"]) == (6, 5.0, True)
    assert (episode["format"], episode["has_joints"], episode["action_space"]) == ("droid", True, "cartesian_position")
    assert listed["refused"] == []


def test_progress_counts_up_to_all(tmp_path: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    ingest(droid_root(tmp_path / "mini", ("a", "b")), progress=lambda *step: seen.append(step))
    assert [(done, total) for done, total, _ in seen] == [(0, 2), (1, 2), (2, 2)]


def test_same_names_in_two_places_stay_apart_and_copies_count_once(tmp_path: Path) -> None:
    droid_root(tmp_path / "x" / "mini", ("a",))
    shutil.copytree(tmp_path / "x", tmp_path / "y")
    droid_root(tmp_path / "z" / "mini", ("a",), count=7)
    ids = [episode.id for episode in ingest(tmp_path).episodes]
    assert ids[0] == "mini-train-a"
    assert len(ids) == len(set(ids)) == 3


def test_hash_follows_the_content_and_not_the_place(tmp_path: Path) -> None:
    (here,) = ingest(droid_root(tmp_path / "mini")).episodes
    shutil.copytree(tmp_path / "mini", tmp_path / "there" / "mini")
    (there,) = ingest(tmp_path / "there").episodes
    assert here.source.sha256 == there.source.sha256 == episode_sha256(here)
    changed = [
        replace(here, success=False),
        replace(here, cartesian_position=here.cartesian_position + 1e-9),
        replace(here, action=None),
        replace(here, cameras={**here.cameras, "wrist": here.cameras["exterior_1"]}),
        replace(here, cameras={**here.cameras, "wrist": ArrayFrames(moving_frames(6))}),
    ]
    hashes = {episode_sha256(episode) for episode in changed}
    assert len(hashes) == len(changed)
    assert here.source.sha256 not in hashes


def test_frames_are_not_decoded_by_ingesting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def decoded(*_: object, **__: object) -> None:
        raise AssertionError("a frame was decoded")

    monkeypatch.setattr("arena.episodes.video.VideoFrames._decode", decoded)
    (episode,) = ingest(droid_root(tmp_path / "mini")).episodes
    assert episode.cameras["wrist"].shape == (6, 64, 96, 3)
    with pytest.raises(AssertionError, match="decoded"):
        episode.cameras["wrist"].read(0, 1)
    assert np.isfinite(episode.state).all()
