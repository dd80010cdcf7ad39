"""What strangers may send: bodies that are huge, deep or of the wrong kind, and archives that are not what they say."""

from __future__ import annotations

import io
import json
import stat
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load, save

from arena.contracts import InvalidInput
from arena.store import Scope
from tests.workers.api.conftest import SERVER, Api
from workers import uploads
from workers.api.app import MAX_BODY
from workers.artifacts import Artifacts

POLICY = Path(__file__).parents[3] / "arena" / "learned" / "pretrained" / "bc-keypoints-brief"
CONFIG, WEIGHTS = (POLICY / uploads.CONFIG).read_bytes(), (POLICY / uploads.WEIGHTS).read_bytes()


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"null", b"[]", b"7", b'"x"', b"\xff\xfe", b"[" * 100_000, b'{"policy":' * 20_000, b'{"policy": NaN}',
     b'{"policy": 1e999}', b'{"policy": ["x"]}', b'{"policy": {"a": 1}}', b'{"policy": ""}', b'{"policy": "a\\u0000b"}',
     b'{"policy": "\\ud800"}', b'{"policy": "hold", "evaluation": "../x"}', b'{"policy": "hold", "more": 1}',
     b'{"policy": "hold", "private": "yes"}', b'{"policy": "hold", "priority": 1.5}',
     b'{"policy": "hold", "priority": ' + b"9" * 5000 + b"}", json.dumps({"policy": "x" * 1001}).encode()],
)  # fmt: skip
def test_a_body_that_is_no_submission_is_refused_in_one_line(api: Api, body: bytes) -> None:
    headers = {"Authorization": f"Bearer {api.token('root', Scope.ADMIN)}", "Content-Type": "application/json"}
    answer = api.client.post("/v1/submissions", content=body, headers=headers)
    assert answer.status_code in (400, 422), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == answer.status_code
    assert "\n" not in problem["detail"]
    assert len(problem["detail"]) <= 1000
    assert "Traceback" not in answer.text


def test_a_huge_body_is_not_read(api: Api) -> None:
    headers = {"Authorization": f"Bearer {api.token('bob', Scope.SUBMIT)}"}
    declared = api.client.post("/v1/submissions", content=b"x" * (MAX_BODY + 1), headers=headers)
    assert declared.status_code == 413
    sent = 0

    def drip() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(100):
            sent += 1
            yield b"x" * (MAX_BODY // 4)

    undeclared = api.client.post("/v1/submissions", content=drip(), headers=headers)
    assert undeclared.status_code == 413
    assert undeclared.json()["type"] == "urn:dreamarena:too-large"


@pytest.mark.parametrize(
    "path",
    ["evaluations/%00/leaderboard", "evaluations/..%2f..%2fetc/leaderboard", "rollouts/%ff", "evaluations?limit=-1",
     "evaluations?limit=x", "jobs?cursor=99999999999999999999", "jobs?cursor=1e3", "evaluations?cursor=%00"],
)  # fmt: skip
def test_an_address_that_makes_no_sense_is_refused(api: Api, path: str) -> None:
    answer = api.as_("root", Scope.ADMIN).get(path)
    assert answer.status_code in (404, 422), answer.text
    assert answer.headers["content-type"] == "application/problem+json"


def test_an_error_of_ours_tells_nothing_of_us(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("/secret/path")

    monkeypatch.setattr(api.store.jobs, "counts", fails)
    answer = api.as_("bob", Scope.VOTE).get("status")
    assert (answer.status_code, answer.json()["type"]) == (500, "urn:dreamarena:bug")
    assert "secret" not in answer.text


def archive(files: dict[str, bytes], change: Callable[[zipfile.ZipInfo], None] = lambda info: None) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in files.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            change(info)
            file.writestr(info, data)
    return out.getvalue()


def as_link(info: zipfile.ZipInfo) -> None:
    info.external_attr = (stat.S_IFLNK | 0o777) << 16


def header(**tensors: Any) -> bytes:
    text = json.dumps(tensors).encode()
    return struct.pack("<Q", len(text)) + text


def test_an_upload_is_kept_and_can_be_submitted(api: Api) -> None:
    bob = api.as_("bob", Scope.SUBMIT)
    body = archive({uploads.CONFIG: CONFIG, uploads.WEIGHTS: WEIGHTS, "README.md": b"hello"})
    kept = bob.post("uploads", content=body)
    assert kept.status_code == 201, kept.text
    assert kept.json()["size"] == len(CONFIG) + len(WEIGHTS)
    assert bob.post("uploads", content=body).json() == kept.json()
    submitted = bob.post("submissions", {"policy": kept.json()["policy"] + "?name=cloned"})
    assert submitted.status_code == 202, submitted.text
    assert api.store.jobs.get(submitted.json()["key"]).inputs["policy"].endswith("?name=cloned")


GOOD = {uploads.CONFIG: CONFIG, uploads.WEIGHTS: WEIGHTS}
NAN = save(
    {name: value * np.float16(np.nan) if value.dtype.kind == "f" else value for name, value in load(WEIGHTS).items()}
)
HOSTILE = {
    "no zip": b"not a zip",
    "a pickle": b"\x80\x04\x95\x00",
    "a pickle for weights": archive({**GOOD, uploads.WEIGHTS: b"\x80\x04\x95" + b"\0" * 100}),
    "a zip for weights": archive({**GOOD, uploads.WEIGHTS: archive(GOOD)}),
    "slip": archive({**GOOD, "../../outside": b"x"}),
    "absolute": archive({**GOOD, "/tmp/outside": b"x"}),
    "backslash": archive({**GOOD, "..\\outside": b"x"}),
    "a folder": archive({**GOOD, "sub/": b""}),
    "code": archive({**GOOD, "policy.py": b"import os"}),
    "links": archive(GOOD, as_link),
    "no weights": archive({uploads.CONFIG: CONFIG}),
    "cut short": archive(GOOD)[:-200],
    "no JSON": archive({**GOOD, uploads.CONFIG: b"{"}),
    "NaN in the config": archive({**GOOD, uploads.CONFIG: b'{"a": NaN}'}),
    "a deep config": archive({**GOOD, uploads.CONFIG: b"[" * 60_000}),
    "a config of another kind": archive({**GOOD, uploads.CONFIG: b"{}"}),
    "a config that blows up": archive({**GOOD, uploads.CONFIG: b" " * (20 << 20)}),
    "a header that is too long": archive({**GOOD, uploads.WEIGHTS: struct.pack("<Q", 2**60) + b"{}"}),
    "fewer bytes than said": archive({**GOOD, uploads.WEIGHTS: WEIGHTS[:-4]}),
    "more bytes than said": archive({**GOOD, uploads.WEIGHTS: WEIGHTS + b"more"}),
    "overlapping": archive({**GOOD, uploads.WEIGHTS: header(
        a={"dtype": "U8", "shape": [4], "data_offsets": [0, 4]},
        b={"dtype": "U8", "shape": [4], "data_offsets": [2, 6]}) + b"\0" * 6}),
    "a shape of 2^40": archive({**GOOD, uploads.WEIGHTS: header(
        a={"dtype": "F32", "shape": [2**20, 2**20], "data_offsets": [0, 4]}) + b"\0" * 4}),
    "a type of its own": archive({**GOOD, uploads.WEIGHTS: header(
        a={"dtype": "OBJ", "shape": [1], "data_offsets": [0, 1]}) + b"\0"}),
    "NaN weights": archive({**GOOD, uploads.WEIGHTS: NAN}),
}  # fmt: skip


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE.keys())
def test_an_archive_that_is_no_policy_leaves_nothing_behind(api: Api, body: bytes, tmp_path: Path) -> None:
    before = {path for path in tmp_path.rglob("*") if path.is_file() and "arena.db" not in path.name}
    answer = api.as_("bob", Scope.SUBMIT).post("uploads", content=body)
    assert answer.status_code == 400, answer.text
    assert "\n" not in answer.json()["detail"]
    after = {path for path in tmp_path.rglob("*") if path.is_file() and "arena.db" not in path.name}
    assert after == before
    assert not Path("/tmp/outside").exists()


def test_what_comes_out_of_an_archive_is_counted_whatever_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever its directory says."""
    monkeypatch.setattr(uploads, "MAX_UPLOAD", 1 << 20)
    path = tmp_path / "bomb.zip"
    path.write_bytes(archive({**GOOD, uploads.WEIGHTS: b"\0" * (8 << 20)}))
    (tmp_path / "out").mkdir()
    with pytest.raises(InvalidInput, match="holds at most"):
        uploads._unpack(path, tmp_path / "out")
    assert (tmp_path / "out" / uploads.WEIGHTS).stat().st_size <= 1 << 20


def test_policies_that_differ_in_spelling_alone_are_one(api: Api) -> None:
    bob = api.as_("bob", Scope.SUBMIT)
    keys = {bob.post("submissions", {"policy": f"{space}{SERVER}{space}"}).json()["key"] for space in ("", " ")}
    assert len(keys) == 1


def test_an_archive_whose_insides_are_damaged_is_refused(tmp_path: Path) -> None:
    """What `make fuzz` found: a place before the archive's beginning, and data that does not inflate."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(uploads.CONFIG, CONFIG)
        archive.writestr(uploads.WEIGHTS, WEIGHTS)
    good = stream.getvalue()
    artifacts = Artifacts(str(tmp_path / "artifacts"), tmp_path / "cache")
    inflated = bytearray(good)
    inflated[43:60] = b"\xff" * 17
    earlier = bytearray(good)
    end = good.rfind(b"PK\x05\x06")
    earlier[end + 16 : end + 20] = struct.pack("<I", struct.unpack_from("<I", good, end + 16)[0] + 5000)
    shorter = good[60:]
    for number, data in enumerate((inflated, earlier, shorter)):
        path = tmp_path / f"{number}" / "policy.zip"
        path.parent.mkdir()
        path.write_bytes(bytes(data))
        with pytest.raises(InvalidInput):
            uploads.keep_upload(path, artifacts)
    assert not list((tmp_path / "artifacts").rglob("*.json"))
