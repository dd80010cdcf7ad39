"""Batches that shrink to what memory has room for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch

from workers.sizing import Sizing, out_of_memory


def doing(room: int, tried: list[int], error: Callable[[], Exception] = MemoryError) -> Callable[[Sequence[int]], int]:
    def do(items: Sequence[int]) -> int:
        tried.append(len(items))
        if len(items) > room:
            raise error()
        return sum(items)

    return do


def test_what_has_no_room_is_done_in_halves_and_never_tried_again() -> None:
    sizing, tried = Sizing(), []
    assert list(sizing.in_parts("world", range(11), doing(3, tried))) == [0 + 1, 2 + 3, 4 + 5, 6 + 7, 8 + 9, 10]
    assert tried == [11, 5, 2, 2, 2, 2, 2, 1]
    tried.clear()
    list(sizing.in_parts("world", range(4), doing(3, tried)))
    assert tried == [2, 2]
    tried.clear()
    list(sizing.in_parts("another", range(3), doing(3, tried)))
    assert tried == [3]


@pytest.mark.parametrize(
    ("room", "error"), [(0, MemoryError), (3, lambda: ValueError("memory of elephants")), (3, KeyError)]
)
def test_what_fits_nowhere_and_what_is_no_lack_of_memory_is_raised(room: int, error: Callable[[], Exception]) -> None:
    tried: list[int] = []
    with pytest.raises(type(error())):
        list(Sizing().in_parts("world", range(4), doing(room, tried, error)))
    assert tried == ([4, 2, 1] if room == 0 else [4])


def test_the_allocators_errors_are_known() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50, dtype=torch.uint8)
    assert out_of_memory(caught.value)
    assert out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"))
    assert not out_of_memory(RuntimeError("shapes disagree"))
