"""``MayStop``: the block in which a ``serve`` handler waits for its next request."""

from __future__ import annotations

from types import TracebackType

import trio

from trio_xsock._engine.connection import Connection
from trio_xsock._runtime.guard import protect_from_ki


@protect_from_ki
class MayStop:
    """The context manager that ``may_stop()`` returns; to be entered once.

    A scope of its own is cancelled rather than the handler's, so that a request which has just
    come is still answered. If the wait was cancelled the cancellation goes on to the handler's
    scope, which ends the handler.

    Args:
        connection: the connection; if no server has accepted it nothing is done.
    """

    __slots__ = ("_connection", "_owner", "_scope")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._owner = connection.owner
        self._scope: trio.CancelScope | None = None

    def __enter__(self) -> None:
        if self._owner is not None:
            self._scope = trio.CancelScope()
            self._scope.__enter__()
            self._owner.wait_begins(self._connection, self._scope)

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
            owner.wait_ends(self._connection, scope, scope.cancelled_caught)
