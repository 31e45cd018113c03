"""``Served``: the handler of one connection, and how the server stops it."""

from __future__ import annotations

from typing import Generic, TypeVar

import trio

from trio_xsock._runtime.groups import leaves
from trio_xsock._runtime.guard import protect_from_ki
from trio_xsock._values.errors import SocketClosedError

S = TypeVar("S")


@protect_from_ki
class Served(Generic[S]):
    """The handler of one connection.

    Args:
        service: the ``serve`` that it belongs to.

    Attributes:
        service: as above.
        scope: the cancel scope of the handler, and afterwards of the graceful close.
        stopped: the server has stopped the handler.
    """

    __slots__ = ("_waits", "scope", "service", "stopped")

    def __init__(self, service: S) -> None:
        self.service: S = service
        self.scope = trio.CancelScope()
        self.stopped = False
        self._waits: list[trio.CancelScope] | None = None  # usually there are none

    # Waits that a stop may cancel

    def wait_begins(self, scope: trio.CancelScope, *, stopping: bool) -> None:
        """The handler begins to wait in ``scope`` for its next request."""
        if self._waits is None:
            self._waits = []
        self._waits.append(scope)
        if stopping:
            self.stop_waiting()

    def wait_ends(self, scope: trio.CancelScope, *, cancelled: bool) -> None:
        """The wait in ``scope`` is over; if it was cancelled, so is the rest of the handler."""
        if self._waits is not None:
            self._waits.remove(scope)
        if cancelled:
            self.stop()

    def stop_waiting(self) -> None:
        """The server stops: cancel the handler if it waits for its next request.

        Only the wait is cancelled here. If the request has just arrived the handler answers it.
        """
        for scope in self._waits or ():
            scope.cancel("the server stops")

    # The end

    def stop(self) -> None:
        """Cancel the handler, or the graceful close of its connection."""
        self.stopped = True
        self.scope.cancel("the server stops")

    def open_closing(self) -> trio.CancelScope:
        """The handler was stopped: a scope for the graceful close of its connection."""
        self.scope = trio.CancelScope()
        return self.scope

    def is_caused_by_stop(self, error: BaseException) -> bool:
        """Whether ``error`` is only a consequence of the stop, which closed the connection."""
        return self.stopped and only_closed(error)


def only_closed(error: BaseException) -> bool:
    """Whether ``error`` consists of nothing but ``SocketClosedError``."""
    return all(isinstance(each, SocketClosedError) for each in leaves(error))
