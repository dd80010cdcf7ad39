"""Batches as large as memory holds: what has no room is done in halves, and how many had room is remembered."""

from __future__ import annotations

import gc
import logging
import sys
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import TypeVar

LOGGER = logging.getLogger(__name__)
Item = TypeVar("Item")
Done = TypeVar("Done")


class Sizing:
    """How many items at once were found to have room, by what they are done with. Kept as long as that is warm."""

    def __init__(self) -> None:
        self._most: dict[Hashable, int] = {}

    def in_parts(self, key: Hashable, items: Sequence[Item], do: Callable[[Sequence[Item]], Done]) -> Iterator[Done]:
        """What `do` makes of all items in order, as many at a time as have room.

        Raises what `do` raises; of a lack of memory only where a single item has no room.
        """
        rest = list(items)
        while rest:
            part = rest[: self._most.get(key, len(rest))]
            try:
                done = do(part)
            except Exception as error:
                if len(part) == 1 or not out_of_memory(error):
                    raise
                self._most[key] = len(part) // 2
                LOGGER.warning("memory has no room for %d at once: from now on %d (%s)", len(part), len(part) // 2, key)
            else:
                yield done
                rest = rest[len(part) :]
                continue
            # Here, and not where the error is at hand: its traceback holds what was allocated.
            _release()


def out_of_memory(error: Exception) -> bool:
    """Whether an error says that memory, a GPU's or the machine's, has no room for what was asked of it."""
    torch = sys.modules.get("torch")
    if isinstance(error, MemoryError) or (torch is not None and isinstance(error, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)


def _release() -> None:
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
