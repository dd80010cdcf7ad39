"""How a policy that is elsewhere can fail, and whose fault each failure is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from arena.contracts import DreamarenaError, InvalidInput
from arena.policies.address import AddressRefused
from arena.policies.transport import ConnectionLost, DeadlinePassed, TransportError, one_line


class PolicyError(DreamarenaError):
    """A policy did not do its part; the message names the policy and the step."""


class PolicyConnectionError(PolicyError):
    """The server cannot be reached, may not be, hung up twice, or breaks its protocol."""


class PolicyTimeout(PolicyError):
    """The server stalled or dripped beyond the step's deadline."""


class PolicyServerError(PolicyError):
    """The server answered with an error of its own; the message has its last line."""


class InvalidAction(PolicyError, InvalidInput):
    """The server answered something that is not a chunk of finite actions of the declared space."""


class UnfitObservation(PolicyError, InvalidInput):
    """The policy needs what it cannot be given: a camera that the world lacks, an action space other than declared."""


class ServerTraceback(DreamarenaError):
    """The server said that it failed. Made from what it said."""

    def __init__(self, said: str) -> None:
        super().__init__(f"the server answered with an error: {last_line(said)}")


class ServerResting(DreamarenaError):
    """The server failed so often in a row that it is not called for a while."""


UNREACHED = (PolicyConnectionError, PolicyTimeout)
"""Failures of a server as such: any request would have met them."""


def worth_another_try(error: BaseException | None) -> bool:
    """Whether what a policy broke off may work later: its server was away, slow, or hung up. One that answers with an
    error or with nonsense would do so again, and one that may not be called stays so.
    """
    causes: list[BaseException] = []
    while error is not None:
        causes.append(error)
        error = error.__cause__
    away = any(isinstance(cause, UNREACHED) for cause in causes)
    return away and not any(isinstance(cause, AddressRefused) for cause in causes)


_CLASSES: tuple[tuple[type[DreamarenaError], type[PolicyError]], ...] = (
    (ServerTraceback, PolicyServerError),
    (DeadlinePassed, PolicyTimeout),
    (TransportError, PolicyConnectionError),
    (ConnectionLost, PolicyConnectionError),
    (AddressRefused, PolicyConnectionError),
    (ServerResting, PolicyConnectionError),
)


@contextmanager
def named(policy: str, where: str, invalid: type[PolicyError] = InvalidAction) -> Iterator[None]:
    """Give an error on its way out the policy's name and the step, and the class that says whose fault it is."""
    try:
        yield
    except PolicyError:
        raise
    except DreamarenaError as error:
        kind = next((policys for plain, policys in _CLASSES if isinstance(error, plain)), invalid)
        raise kind(f"policy {policy!r} failed at {where}: {error}") from error


def last_line(traceback: str) -> str:
    """The line of a traceback that says what happened."""
    lines = [line for line in traceback.splitlines() if line.strip()]
    return one_line(lines[-1]) if lines else "(an empty message)"
