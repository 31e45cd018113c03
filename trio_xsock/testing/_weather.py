"""The faults that a connection can have, and what they amount to together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

MOST = 2**16
"""Bytes that pass in one go, faults or not."""


class Stall:
    """Nothing moves."""


class Drop:
    """What is sent is lost."""


class Delay:
    """What arrives is late.

    Args:
        seconds: by how much.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds


class Cut:
    """The connection will be reset.

    Args:
        left: how many bytes may still pass, both ways together.
    """

    def __init__(self, left: int) -> None:
        self.left = left


Fault: TypeAlias = Stall | Drop | Delay | Cut


@dataclass(frozen=True, slots=True)
class Weather:
    """What the faults that are on amount to."""

    stalled: bool = False
    dropping: bool = False
    latency: float = 0.0
    """Seconds; delays add up."""
    passable: int = MOST
    """Bytes that may pass before the connection is reset."""

    @classmethod
    def of(cls, faults: list[Fault]) -> Weather:
        """Combine faults; their order does not matter."""
        return cls(
            stalled=any(isinstance(fault, Stall) for fault in faults),
            dropping=any(isinstance(fault, Drop) for fault in faults),
            latency=sum(fault.seconds for fault in faults if isinstance(fault, Delay)),
            passable=min([MOST, *(fault.left for fault in faults if isinstance(fault, Cut))]),
        )

    @property
    def lets_out(self) -> bool:
        """Whether anything that is sent goes to the inner transport."""
        return not (self.stalled or self.dropping)
