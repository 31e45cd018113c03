"""``Steps``: what a watch calls when its descriptor is ready."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Steps(Protocol):
    """The steps of a socket; they never wait. ``Keeper.fault`` gets their errors.

    One object for both, as each of many connections has one: two bound methods take 128 bytes.
    """

    def on_readable(self) -> object:
        """There is input, an end of it, or an error."""

    def on_writable(self) -> object:
        """The OS takes bytes again, or there is an error."""


class StepPair:
    """Steps that are two functions.

    Args:
        on_readable, on_writable: see ``Steps``.
    """

    def __init__(
        self, on_readable: Callable[[], object], on_writable: Callable[[], object]
    ) -> None:
        self.on_readable = on_readable
        self.on_writable = on_writable
