"""``MayStop``: the block in which a ``serve`` handler waits for its next request."""

from __future__ import annotations

from types import TracebackType
from typing import Any

import trio

from trio_xsock._engine.owner import Owner
from trio_xsock._runtime.guard import protect_from_ki


@protect_from_ki
class MayStop:
    """What ``may_stop()`` returns; entered once.

    A scope of its own is cancelled rather than the handler's, so that a request which has just
    come is still answered. If the wait was cancelled the cancellation goes on to the handler's
    scope, which ends the handler.

    Args:
        owner: the server that accepted the connection, if one did.
        socket: the connection's socket.
    """

    __slots__ = ("_owner", "_scope", "_socket")

    def __init__(self, owner: Owner | None, socket: object) -> None:
        self._owner = owner
        self._socket: Any = socket
        self._scope: trio.CancelScope | None = None

    def __enter__(self) -> None:
        if self._owner is not None:
            self._scope = trio.CancelScope()
            self._scope.__enter__()
            self._owner._handler_waits(self._socket, self._scope)

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        owner, scope = self._owner, self._scope
        if owner is None or scope is None:
            return
        try:
            scope.__exit__(exc_type, exc, traceback)
        finally:
            owner._handler_goes_on(self._socket, scope, scope.cancelled_caught)
