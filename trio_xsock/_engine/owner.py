"""``Owner``: what a connection tells the server that accepted it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import trio

if TYPE_CHECKING:
    from .connection import Connection


class Owner(Protocol):
    """A server, as far as the connections that it accepted need it."""

    def connection_ending(self, connection: Connection, /) -> None:
        """The connection gives its place back; it may still linger."""

    def connection_closed(self, connection: Connection, /) -> None:
        """The connection has no descriptor any more."""

    def connection_failed(self, connection: Connection, /) -> None:
        """The connection's handler object, or a task of its, raised."""

    def connection_broke(self, connection: Connection, error: Exception, /) -> None:
        """The library's own work for the connection raised; never raises itself."""

    def wait_begins(self, connection: Connection, scope: trio.CancelScope, /) -> None:
        """The connection's handler waits in ``scope``, which is cancelled if the server stops."""

    def wait_ends(
        self, connection: Connection, scope: trio.CancelScope, cancelled: bool, /
    ) -> None:
        """That wait is over; ``cancelled`` says if it ended by the cancellation of ``scope``."""
