"""The wire format: byte for byte as the released servers speak it, and closed to anything else."""

from __future__ import annotations

import struct
import time
import tracemalloc
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from arena.policies import wire

NUMBER_DTYPES = st.sampled_from(["?", "|u1", "<i2", ">i4", "<u8", "<f2", "<f4", ">f8", "<i8"])


def array_map(**changes: Any) -> bytes:
    """The packed map of a good float32 array of shape (2, 2), with some of its fields changed."""
    fields = {"__ndarray__": True, "data": bytes(16), "dtype": "<f4", "shape": [2, 2], **changes}
    return msgpack.packb({key.encode(): value for key, value in fields.items() if value is not None})


@pytest.mark.parametrize("dialect", ["openpi", "roboarena", "roboarena_missing_endpoint"])
def test_golden_frames_survive_byte_for_byte(transcripts: dict[str, Any], dialect: str) -> None:
    binary = [frame["data"] for frame in transcripts[dialect] if frame.get("type") == "binary"]
    assert len(binary) >= 2
    for frame in binary:
        assert wire.encode(wire.decode(frame)) == frame


def test_golden_answer_is_read_as_openpi_reads_it(transcripts: dict[str, Any]) -> None:
    answer = wire.decode(transcripts["openpi"][2]["data"])
    np.testing.assert_allclose(answer["actions"], np.linspace(-1, 1, 120).reshape(15, 8), atol=1e-7)
    assert answer["actions"].dtype == np.dtype("<f4")
    assert answer["server_timing"]["infer_ms"] > 0


def test_agrees_with_the_openpi_client(transcripts: dict[str, Any]) -> None:
    oracle = pytest.importorskip("openpi_client.msgpack_numpy", reason="openpi-client is not installed")
    message = {"a": np.arange(6, dtype="<f8").reshape(2, 3), "b": np.float32(0.5), "c": [1, None, True, "é", b"x"]}
    assert wire.encode(message) == oracle.packb(message)
    assert wire.decode(oracle.packb(message))["b"] == oracle.unpackb(wire.encode(message))["b"]


@given(arrays.arrays(NUMBER_DTYPES, arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)))
@settings(deadline=None, max_examples=40)
def test_arrays_round_trip(array: np.ndarray) -> None:
    back = wire.decode(wire.encode({"x": array}))["x"]
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    assert back.tobytes() == array.tobytes()


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=8,
)


@given(values)
@settings(deadline=None, max_examples=40)
def test_plain_values_round_trip(value: Any) -> None:
    assert wire.decode(wire.encode(value)) == value


@given(st.binary(max_size=60))
@settings(deadline=None, max_examples=100)
def test_any_bytes_are_read_as_msgpack_reads_them_or_refused(message: bytes) -> None:
    try:
        value = wire.decode(message)
    except wire.WireError:
        return
    assert repr(value) == repr(msgpack.unpackb(message))


def test_every_prefix_of_a_message_is_refused(transcripts: dict[str, Any]) -> None:
    frame = transcripts["openpi"][2]["data"]
    for end in range(len(frame)):
        with pytest.raises(wire.WireError):
            wire.decode(frame[:end])


@pytest.mark.parametrize(
    ("message", "says"),
    [
        (array_map(dtype="|O"), "dtype"),
        (array_map(dtype="O"), "dtype"),
        (array_map(dtype="|V8"), "dtype"),
        (array_map(dtype="<U2"), "dtype"),
        (array_map(dtype="<M8[s]"), "dtype"),
        (array_map(dtype="<c8"), "dtype"),
        (array_map(dtype="f4,f4"), "dtype"),
        (array_map(dtype=["<f4"]), "dtype"),
        (array_map(dtype="f4\n"), "dtype"),
        (array_map(data=bytes(15)), "cannot be filled by 15 bytes"),
        (array_map(data="text of 16 bytes"), "cannot be filled by str"),
        (array_map(shape=[-2, -2]), "shape"),
        (array_map(shape=[True, 4]), "shape"),
        (array_map(shape=[2.0, 2.0]), "shape"),
        (array_map(shape=[2**32, 2**32]), "shape"),
        (array_map(shape=[0, 2**62]), "shape"),
        (array_map(shape=[1] * 40), "shape"),
        (array_map(shape=4), "shape"),
        (array_map(shape=None), "exactly the keys"),
        (array_map(__ndarray__=False), "exactly the keys"),
        (array_map(extra=1), "exactly the keys"),
        (msgpack.packb({b"__npgeneric__": True, b"data": b"\x80", b"dtype": "|O"}), "numpy scalar"),
        (msgpack.packb({b"__npgeneric__": True, b"data": 3, b"dtype": "|O"}), "dtype"),
        (msgpack.packb({b"__npgeneric__": True, b"data": 300, b"dtype": "|u1"}), "fit"),
        (msgpack.packb({1: 2}), "msgpack"),
        (b"\xa2\xff\xfe", "msgpack"),
        (msgpack.packb(msgpack.ExtType(4, b"abc")), "type 0x"),
        (msgpack.packb(msgpack.Timestamp(1, 1)), "type 0x"),
        (b"\xc1", "type 0xc1"),
        (b"", "cut short"),
        (b"\x01\x01", "after its end"),
        (b"\x91" * 40 + b"\x01", "deeper"),
        (b"\xdd\xff\xff\xff\xff", "more than"),
        (b"\xdf\xff\xff\xff\xff", "more than"),
        (b"\xc6\xff\xff\xff\xff", "cut short"),
    ],
)
def test_hostile_messages_are_refused_with_a_reason(message: bytes, says: str) -> None:
    with pytest.raises(wire.WireError, match=says):
        wire.decode(message)


@pytest.mark.parametrize(
    "bomb",
    [
        b"\xdd" + struct.pack(">I", 15_000_000) + b"\x80" * 15_000_000,
        (b"\xdc\x03\xe8" + b"\x80" * 1000) * 15_000,
        b"\xdc\x03\xe8" + (b"\xdc\x03\xe8" + b"\x80" * 1000) * 1000,
    ],
    ids=["one list of maps", "lists side by side", "lists of lists"],
)
def test_a_bomb_of_maps_costs_nothing(bomb: bytes) -> None:
    tracemalloc.start()
    with pytest.raises(wire.WireError):
        wire.decode(bomb)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5e6


def test_a_long_list_of_containers_is_refused_at_its_header() -> None:
    started = time.process_time()
    with pytest.raises(wire.WireError, match="more than"):
        wire.decode(b"\xdd" + struct.pack(">I", 15_000_000) + b"\x80" * 15_000_000)
    assert time.process_time() - started < 0.1


def test_a_message_beyond_the_cap_is_not_looked_at() -> None:
    with pytest.raises(wire.WireError, match="at most"):
        wire.decode(bytes(wire.MAX_MESSAGE_BYTES + 1))


@pytest.mark.parametrize(
    "value",
    [np.array([object()]), np.array([1j]), np.array(["2020-01-01"], dtype="M8[D]"), np.array(["a"]), {1, 2}, 2**70],
)
def test_what_may_not_travel_is_not_sent(value: Any) -> None:
    with pytest.raises(wire.WireError):
        wire.encode({"x": value})
