"""``Owner``: the callbacks of a connection to the server that accepted it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import trio

if TYPE_CHECKING:
    from .connection import Connection


class Owner(Protocol):
    """The server of accepted connections, with the callbacks that they use."""

    def connection_ending(self, connection: Connection, /) -> None:
        """The connection frees its place; it may still linger."""

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
