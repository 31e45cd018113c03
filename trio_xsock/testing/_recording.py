"""A handler object that records its calls."""

from __future__ import annotations

from typing import Any, NamedTuple

import trio

from trio_xsock._runtime.handlers import METHODS, SocketHandler
from trio_xsock._values.errors import SocketError


class HandlerCall(NamedTuple):
    """One call of a handler's method."""

    name: str
    """The method, such as ``"on_connected"``."""
    arguments: tuple[Any, ...]
    """Its arguments; the socket comes first."""


class RecordingHandler(SocketHandler):
    """A handler for ``handler=`` that records every call, in order.

    To make it do something as well, derive from it and call ``super()`` first.

    Attributes:
        calls: what was called so far. It may be cleared.
    """

    def __init__(self) -> None:
        self.calls: list[HandlerCall] = []
        self._waiting = trio.lowlevel.ParkingLot()

    @property
    def names(self) -> list[str]:
        """The names of the methods that were called, in order."""
        return [call.name for call in self.calls]

    async def wait_for(self, name: str, count: int = 1) -> HandlerCall:
        """Wait until a method was called.

        Args:
            name: the method, such as ``"on_error"``.
            count: how many calls of it there have to be in ``calls``.

        Returns:
            The last of these.

        Raises:
            ValueError: there is no such method, or ``count`` is less than 1.

        Cancellation: nothing is lost.
        """
        if name not in METHODS:
            raise ValueError(f"{name!r} is none of {', '.join(METHODS)}")
        if count < 1:
            raise ValueError(f"count must be at least 1, not {count}")
        await trio.lowlevel.checkpoint()
        while len(found := [call for call in self.calls if call.name == name]) < count:
            await self._waiting.park()
        return found[count - 1]

    def on_connected(self, socket: Any) -> None:
        """See ``SocketHandler``."""
        self._record("on_connected", socket)

    def on_data_available(self, socket: Any) -> None:
        """See ``SocketHandler``."""
        self._record("on_data_available", socket)

    def on_send_progress(self, socket: Any, bytes_sent: int, bytes_left: int) -> bool | None:
        """See ``SocketHandler``."""
        self._record("on_send_progress", socket, bytes_sent, bytes_left)
        return None

    def on_send_complete(self, socket: Any, user_aborted: bool) -> None:
        """See ``SocketHandler``."""
        self._record("on_send_complete", socket, user_aborted)

    def on_error(self, socket: Any, error: SocketError) -> None:
        """See ``SocketHandler``."""
        self._record("on_error", socket, error)

    def _record(self, name: str, *arguments: Any) -> None:
        self.calls.append(HandlerCall(name, arguments))
        self._waiting.unpark_all()
