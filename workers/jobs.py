"""What a job is: a step, its inputs, and what the step works with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, cached_property
from importlib.metadata import version
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from arena.store import Store
from workers.artifacts import Artifacts
from workers.content import content_address
from workers.registry import Workshop
from workers.settings import Settings

Progress = Callable[[int, int, str], None]
"""Called with how much is done, of how much, and what is being done."""
Json = dict[str, Any]


class Inputs(BaseModel):
    """What a step is asked to do: JSON that may come from a queue, so it is checked strictly."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


I = TypeVar("I", bound=Inputs)  # noqa: E741


@dataclass(frozen=True)
class Context:
    """What a step works with: where to read and keep things, and whom to tell how far it is."""

    settings: Settings
    store: Store
    artifacts: Artifacts
    progress: Progress
    workshop: Workshop
    leaving: Callable[[], bool] = lambda: False
    """Whether this process is to end soon, so that a step has to be broken off at its next report."""


class Queue(StrEnum):
    """What a job needs, and so the queue that it waits in. Workers take from all, or from those that they name."""

    GPU = "gpu"
    """A model that imagines or learns. `gpu.2` is the queue of the GPU with index 2 (`dreamarena worker --gpu 2`)."""
    CPU = "cpu"
    JUDGE = "judge"
    """A judge: a model that is asked over the network, or one of our own."""


class Incomplete(Exception):
    """A step did what it could, and the rest may work later, as a server was away: `result` is what there is by now.

    Not an error. The job is put off a few times, and then done with what there is.
    """

    def __init__(self, result: Json, reason: str) -> None:
        super().__init__(reason)
        self.result, self.reason = result, reason


@dataclass(frozen=True)
class Step(Generic[I]):
    """A kind of job. `intact` says whether what a finished one made is still there.

    `run` may raise `Incomplete`.
    """

    name: str
    inputs: type[I]
    run: Callable[[I, Context], Json]
    intact: Callable[[I, Context], bool] = lambda _inputs, _context: True
    needs: Queue = Queue.CPU


Steps = Mapping[str, Step[Any]]


@dataclass(frozen=True)
class Request:
    """A step to be run on some inputs. `key` is the content address of both."""

    kind: str
    inputs: Inputs

    @cached_property
    def key(self) -> str:
        asked = {"kind": self.kind, "inputs": self.inputs.model_dump(mode="json"), "release": _release()}
        return content_address(asked)


@cache
def _release() -> str:
    """Read once: finding it among what is installed takes longer than all the rest of a key."""
    return version("dreamarena")
