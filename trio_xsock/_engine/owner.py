"""``Owner``: what a connection tells the server that accepted it."""

from __future__ import annotations

from typing import Any, Protocol

import trio


class Owner(Protocol):
    """A server, as far as the connections that it accepted need it."""

    def _connection_ending(self, socket: Any, /) -> None:
        """The connection gives its place back; it may still linger."""

    def _connection_closed(self, socket: Any, /) -> None:
        """The connection has no descriptor any more."""

    def _connection_failed(self, socket: Any, /) -> None:
        """The connection's handler object, or a task of its, raised."""

    def _peer_failed(self, socket: Any, error: Exception, /) -> None:
        """The library's own work for the connection raised; never raises itself."""

    def _handler_waits(self, socket: Any, scope: trio.CancelScope, /) -> None:
        """The connection's handler waits in ``scope``, which is cancelled if the server stops."""

    def _handler_goes_on(self, socket: Any, scope: trio.CancelScope, cancelled: bool, /) -> None:
        """That wait is over; ``cancelled`` says if it ended by the cancellation of ``scope``."""
