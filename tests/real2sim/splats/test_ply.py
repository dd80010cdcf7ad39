"""The PLY of 3D Gaussian splatting: an exact round trip, the standard's order, and hostile files."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from arena.contracts import InvalidInput
from real2sim.splats.gaussians import Gaussians
from real2sim.splats.ply import read_ply, write_ply


def scene(degree: int = 3, count: int = 7) -> Gaussians:
    draw = torch.Generator().manual_seed(degree)
    shapes = [(count, 3), (count, 4), (count, 3), (count,), (count, (degree + 1) ** 2, 3)]
    return Gaussians(*(torch.randn(shape, generator=draw) for shape in shapes))


@pytest.mark.parametrize("degree", [0, 1, 2, 3, 4])
def test_a_round_trip_is_exact(tmp_path: Path, degree: int) -> None:
    write_ply(tmp_path / "scene.ply", scene(degree))
    back = read_ply(tmp_path / "scene.ply")
    for name, tensor in scene(degree).tensors().items():
        assert torch.equal(back.tensors()[name], tensor), name


def test_the_files_bytes_are_the_standards(tmp_path: Path) -> None:
    """Read without our reader: what viewers and gsplat expect, with `f_rest` listing red before green."""
    path = tmp_path / "scene.ply"
    write_ply(path, scene(1))
    head, body = path.read_bytes().split(b"end_header\n")
    names = [line.split()[2].decode() for line in head.splitlines() if line.startswith(b"property float")]
    table = np.frombuffer(body, "<f4").reshape(7, len(names))
    assert names[:9] == ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2"]
    assert names[9:18] == [f"f_rest_{index}" for index in range(9)]
    assert names[18:] == ["opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"]
    np.testing.assert_array_equal(table[:, 9:12], scene(1).harmonics[:, 1:, 0])


def test_other_orders_types_comments_and_properties_are_read(tmp_path: Path) -> None:
    path = tmp_path / "scene.ply"
    write_ply(path, scene(0))
    head, body = path.read_bytes().split(b"end_header\n")
    names = [line.split()[2].decode() for line in head.splitlines() if line.startswith(b"property")]
    table = np.frombuffer(body, np.dtype([(name, "<f4") for name in names]))
    order = [*reversed(names), "segment"]
    changed = np.zeros(7, np.dtype([(name, "<f8" if name != "segment" else "u1") for name in order]))
    for name in names:
        changed[name] = table[name]
    lines = [f"property {'double' if name != 'segment' else 'uchar'} {name}" for name in order]
    header = ["ply", "format binary_little_endian 1.0", "comment a viewer", "element vertex 7", *lines, "end_header"]
    path.write_bytes("\n".join([*header, ""]).encode() + changed.tobytes())
    assert torch.equal(read_ply(path).means, scene(0).means)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"binary_little_endian", b"ascii", "no binary little-endian PLY"),
        (b"end_header", b"end_heated", "no binary little-endian PLY"),
        (b"vertex 7", b"vertex 8", "bytes where its header says"),
        (b"vertex 7", b"vertex 99999999999999999999", "at most 20000000"),
        (b"vertex 7", b"vertex -7", "element vertex N"),
        (b"property float opacity", b"property list uchar float opacity", "plain properties"),
        (b"property float opacity", b"element face 3", "plain properties"),
        (b"float opacity", b"float density", "lacks the property 'opacity'"),
        (b"float opacity", b"float rot_0", "names a property twice"),
        (b"float f_rest_8", b"float f_rost_8", "8 f_rest properties"),
    ],
)
def test_a_damaged_header_is_refused(tmp_path: Path, old: bytes, new: bytes, message: str) -> None:
    path = tmp_path / "scene.ply"
    write_ply(path, scene(1))
    path.write_bytes(path.read_bytes().replace(old, new, 1))
    with pytest.raises(InvalidInput, match=message):
        read_ply(path)


def test_a_header_without_properties_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "scene.ply"
    path.write_bytes(b"ply\nformat binary_little_endian 1.0\nelement vertex 3\nend_header\n")
    with pytest.raises(InvalidInput, match="without properties"):
        read_ply(path)


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_numbers_that_are_not_finite_are_refused_both_ways(tmp_path: Path, number: float) -> None:
    path, broken = tmp_path / "scene.ply", scene(0)
    write_ply(path, broken)
    data = bytearray(path.read_bytes())
    data[-4:] = np.float32(number).tobytes()
    path.write_bytes(bytes(data))
    with pytest.raises(InvalidInput, match="rot_0 and its neighbours hold NaN"):
        read_ply(path)
    broken.means[2, 1] = number
    with pytest.raises(InvalidInput, match="is not written"):
        write_ply(path, broken)


def test_truncated_padded_and_missing_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "scene.ply"
    write_ply(path, scene(0))
    whole = path.read_bytes()
    for data in (whole[:-1], whole + b"\0", whole[:40], b"", b"ply\n"):
        path.write_bytes(data)
        with pytest.raises(InvalidInput):
            read_ply(path)
    with pytest.raises(InvalidInput, match="is missing"):
        read_ply(tmp_path / "none.ply")
