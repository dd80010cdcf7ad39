"""How the robot's controller follows what it is told: identified from an episode, commanded against reached."""

from __future__ import annotations

from dataclasses import dataclass

from arena.contracts import InvalidInput


@dataclass(frozen=True)
class Servo:
    """A second-order response of every joint to its command, after a delay.

    `frequency` in rad/s, `damping` relative to critical, `delay` in s. `residual` is the root mean square of what it
    leaves unexplained, in rad, and NaN for the one that is only assumed.
    """

    frequency: float = 15.0
    damping: float = 1.0
    delay: float = 0.0
    residual: float = float("nan")

    def __post_init__(self) -> None:
        if not (0 < self.frequency < 1000 and 0 < self.damping < 10 and 0 <= self.delay < 2):
            raise InvalidInput(f"a servo of {self.frequency} rad/s, damping {self.damping}, delay {self.delay} s")
