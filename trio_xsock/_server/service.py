"""``Service``: one running ``serve``, and the nursery that its handlers run in."""

from __future__ import annotations

import contextvars
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import trio

from trio_xsock._engine.connection import Connection
from trio_xsock._runtime.guard import Parking, protect_from_ki
from trio_xsock._values.errors import SocketError

S = TypeVar("S")


@protect_from_ki
class Service(Generic[S]):
    """One running ``serve``.

    Args:
        handler: the user's.
        nursery: where the handlers run.
        run: runs one of them to its end, and then calls ``over``.
        over: one of them has ended.
        escaped: collects what has to leave ``serve``.

    Attributes:
        handler, over: as above.
        parking: where ``serve`` waits; gets the error that stopped the listening, if any.
    """

    __slots__ = ("_context", "_escaped", "_nursery", "_run", "handler", "over", "parking")

    def __init__(
        self,
        handler: Callable[[S], Awaitable[object]],
        nursery: trio.Nursery,
        run: Callable[[Service[S], Connection, S], Awaitable[None]],
        over: Callable[[], None],
        escaped: list[BaseException],
    ) -> None:
        self.handler: Callable[[S], Awaitable[object]] = handler
        self.over: Callable[[], None] = over
        self.parking: Parking[SocketError | None] = Parking()
        self._escaped = escaped
        self._nursery = nursery
        self._run: Callable[[Service[S], Connection, S], Awaitable[None]] = run
        # Connections arrive in tasks of the library; handlers are children of this task.
        self._context = contextvars.copy_context()

    def take(self, connection: Connection, socket: S) -> None:
        """Start a handler for a connection."""

        def start() -> None:
            self._nursery.start_soon(self._run, self, connection, socket, name=self.handler)

        self._context.run(start)

    def escape(self, error: BaseException) -> None:
        """Cancel everything and let ``error`` leave ``serve``."""
        self._escaped.append(error)
        self._nursery.cancel_scope.cancel("a connection's handler failed")

    async def wait(self, withdraw: Callable[[], None]) -> None:  # noqa: ASYNC910 - parking is one
        """Wait until listening stops; exceptions that leave ``serve`` have escaped by then.

        Args:
            withdraw: called if the wait is cancelled.

        Cancellation: the handlers continue until the nursery is left.
        """
        try:
            failure = await self.parking.park(withdraw)
        except trio.Cancelled:
            raise
        except BaseException as exc:  # noqa: ASYNC103 - Ctrl-C; raised by raise_all
            self.escape(exc)  # the nursery would wrap it in a group
        else:
            if failure is not None:
                self._escaped.append(failure)


def raise_all(errors: list[BaseException]) -> None:
    """Raise ``errors``, a single one without a group; empties the list."""
    taken = errors[:]
    errors.clear()
    try:
        if len(taken) > 1:
            raise BaseExceptionGroup("several errors leave serve()", taken)
        if taken:
            raise taken[0]
    finally:
        del taken  # their tracebacks refer to this frame
