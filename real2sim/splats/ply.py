"""The standard PLY file of 3D Gaussian splatting, written and read without trusting what is read.

Binary little endian, one float32 property per number: `x y z nx ny nz f_dc_0..2 f_rest_* opacity scale_0..2
rot_0..3`, as the authors' code writes it (github.com/graphdeco-inria/gaussian-splatting, `save_ply`). `f_rest` lists
all of red, then green, then blue.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from arena.contracts import InvalidInput
from arena.episodes.atomic import atomic_write
from real2sim.splats.gaussians import MAX_DEGREE, Gaussians

MAX_GAUSSIANS = 20_000_000
"""A file that claims more is refused before memory is taken: ten times the largest published scenes."""
MAX_HEADER = 16_384
_END = b"end_header\n"
_TYPES = {
    "char": "<i1", "int8": "<i1", "uchar": "<u1", "uint8": "<u1", "short": "<i2", "int16": "<i2", "ushort": "<u2",
    "uint16": "<u2", "int": "<i4", "int32": "<i4", "uint": "<u4", "uint32": "<u4", "float": "<f4", "float32": "<f4",
    "double": "<f8", "float64": "<f8",
}  # fmt: skip
_PLACE, _NORMAL, _CONSTANT = ("x", "y", "z"), ("nx", "ny", "nz"), ("f_dc_0", "f_dc_1", "f_dc_2")
_SCALE, _ROTATION = ("scale_0", "scale_1", "scale_2"), ("rot_0", "rot_1", "rot_2", "rot_3")


def write_ply(path: Path, gaussians: Gaussians) -> None:
    """Write a scene as float32. Raises `InvalidInput` where numbers are not finite: no viewer could show it."""
    parts = {name: tensor.detach().cpu().float().numpy() for name, tensor in gaussians.tensors().items()}
    harmonics, n = parts["harmonics"], len(gaussians)
    table = np.concatenate(
        [
            parts["means"],
            np.zeros((n, 3), np.float32),
            harmonics[:, 0],
            harmonics[:, 1:].transpose(0, 2, 1).reshape(n, 3 * (harmonics.shape[1] - 1)),
            parts["opacity_logits"][:, None],
            parts["log_scales"],
            parts["quaternions"],
        ],
        axis=1,
    )
    if not np.isfinite(table).all():
        raise InvalidInput(f"{path} is not written: the Gaussians hold NaN or infinite numbers")
    names = [*_PLACE, *_NORMAL, *_CONSTANT, *_rest(harmonics.shape[1]), "opacity", *_SCALE, *_ROTATION]
    row = np.dtype([(name, "<f4") for name in names])
    write_vertices(path, table.astype("<f4").view(row)[:, 0])


def read_ply(path: Path) -> Gaussians:
    """A scene from a file, float32. Properties may come in any order; unknown ones are passed over.

    Raises `InvalidInput` for anything but a binary little-endian PLY whose only element is `vertex`, with every
    property of a Gaussian once, exactly as many bytes as its header says, and finite numbers.
    """
    table = read_vertices(path)
    return _from_table(path, table, list(table.dtype.names or ()))


def read_vertices(path: Path) -> NDArray[np.void]:
    """The rows of a PLY's only element, `vertex`, by property. Raises `InvalidInput` as `read_ply`, for its layout."""
    if not path.is_file():
        raise InvalidInput(f"{path} is missing")
    with path.open("rb") as file:
        start, row, count = _read_header(path, file.read(MAX_HEADER))
        expected = start + count * row.itemsize
        if path.stat().st_size != expected:
            raise InvalidInput(f"{path} has {path.stat().st_size} bytes where its header says {expected}")
        file.seek(start)
        return np.frombuffer(file.read(), dtype=row)


def write_vertices(path: Path, table: NDArray[np.void]) -> None:
    """Write rows of float32 and uint8 columns as a PLY's only element, `vertex`."""
    kinds = {"<f4": "float", "|u1": "uchar"}
    properties = [f"property {kinds[table.dtype[name].str]} {name}" for name in table.dtype.names or ()]
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(table)}", *properties, "end_header", ""]
    atomic_write(path, "\n".join(header).encode() + table.tobytes())


def _rest(bases: int) -> list[str]:
    return [f"f_rest_{index}" for index in range(3 * (bases - 1))]


def _read_header(path: Path, start: bytes) -> tuple[int, np.dtype[np.void], int]:
    """How long the header is, the type of a row, and how many rows."""
    head, found, _ = start.partition(_END)
    lines = [line.split() for line in head.decode("ascii", errors="replace").splitlines()]
    lines = [line for line in lines if line and line[0] not in ("comment", "obj_info")]
    if not found or lines[:2] != [["ply"], ["format", "binary_little_endian", "1.0"]]:
        raise InvalidInput(f"{path} is no binary little-endian PLY with a header of at most {MAX_HEADER} bytes")
    element, properties = lines[2] if len(lines) > 2 else [], lines[3:]
    if len(element) != 3 or element[:2] != ["element", "vertex"] or not element[2].isdecimal():
        raise InvalidInput(f"{path}: after the format must come `element vertex N`")
    if len(element[2]) > 9 or int(element[2]) > MAX_GAUSSIANS:
        raise InvalidInput(f"{path} claims {element[2][:20]} Gaussians; at most {MAX_GAUSSIANS} are read")
    for line in properties:
        if len(line) != 3 or line[0] != "property" or line[1] not in _TYPES:
            raise InvalidInput(f"{path}: only plain properties of a `vertex` are read, not {' '.join(line)!r}")
    names = [line[2] for line in properties]
    if not names:
        raise InvalidInput(f"{path} has a `vertex` without properties")
    if len(set(names)) != len(names):
        raise InvalidInput(f"{path} names a property twice")
    row = np.dtype([(line[2], _TYPES[line[1]]) for line in properties])
    return len(head + found), row, int(element[2])


def _from_table(path: Path, table: NDArray[np.void], names: list[str]) -> Gaussians:
    rest = sum(name.startswith("f_rest_") for name in names)
    bases = [(degree + 1) ** 2 for degree in range(MAX_DEGREE + 1) if 3 * ((degree + 1) ** 2 - 1) == rest]
    if not bases:
        raise InvalidInput(f"{path} has {rest} f_rest properties; 0, 9, 24, 45 or 72 make spherical harmonics")
    needed = [*_PLACE, *_CONSTANT, *_rest(bases[0]), "opacity", *_SCALE, *_ROTATION]
    if missing := [name for name in needed if name not in names]:
        raise InvalidInput(f"{path} lacks the property {missing[0]!r}: it is no scene of Gaussians")

    def columns(*wanted: str) -> NDArray[np.float32]:
        with np.errstate(over="ignore"):  # a double beyond float32 becomes infinite, and is refused below
            values = np.stack([table[name].astype(np.float32) for name in wanted], axis=1)
        if not np.isfinite(values).all():
            raise InvalidInput(f"{path}: {wanted[0]} and its neighbours hold NaN or infinite numbers")
        return values

    n, constant = len(table), columns(*_CONSTANT)[:, None]
    others = columns(*_rest(bases[0])).reshape(n, 3, -1).transpose(0, 2, 1) if rest else constant[:, :0]
    quaternions = columns(*_ROTATION)
    if (np.linalg.norm(quaternions, axis=1) < 1e-12).any():
        raise InvalidInput(f"{path} has a rotation of length zero")
    arrays = (columns(*_PLACE), quaternions, columns(*_SCALE), columns("opacity")[:, 0])
    means, turns, scales, opacities = (torch.from_numpy(array) for array in arrays)
    return Gaussians(means, turns, scales, opacities, torch.from_numpy(np.concatenate([constant, others], axis=1)))
