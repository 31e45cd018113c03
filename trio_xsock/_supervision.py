"""Supervision: the handlers of a server's connections, and what happens when one fails."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import trio

from ._connection import Connection
from ._errors import SocketClosedError, SocketError
from ._guard import Parking, protect_from_ki

if TYPE_CHECKING:
    from ._server import ServerSocket

_logger = logging.getLogger("trio_xsock")


@protect_from_ki
class Supervisor:
    """Runs the handlers of one server; the owner of its connections.

    Attributes:
        serving: the connections that a ``serve`` handler looks after, and its cancel scope.
    """

    __slots__ = ("_idle", "_raise_errors", "_server", "serving")

    def __init__(self, server: ServerSocket[Any], raise_errors: bool) -> None:
        self._server = server
        self._raise_errors = raise_errors
        self._idle: list[Parking[None]] = []
        self.serving: dict[Connection, trio.CancelScope] = {}

    # As the owner of connections

    def connection_ending(self, socket: Connection) -> None:
        """The connection gives its place back; it may still linger."""
        self._server._connection_ending(socket)

    def connection_closed(self, socket: Connection) -> None:
        """The connection has no descriptor any more."""
        self._server._connection_closed(socket)

    def connection_failed(self, socket: Connection) -> None:
        """The connection's handler object, or a task of its, raised."""
        scope = self.serving.get(socket)
        if scope is not None:
            scope.cancel("a handler or task of the socket failed")
            return
        assert socket._keeper is not None
        for error in socket._keeper.failures:
            if isinstance(error, Exception) and not self._raise_errors:
                self._report(socket, error)
            else:
                assert self._server._keeper is not None
                self._server._keeper.fail(error)
        socket._keeper.failures.clear()

    # As the one who serves

    async def serve(
        self,
        handler: Callable[[Any], Awaitable[object]],
        task_status: trio.TaskStatus[int],
    ) -> None:
        """See ``ServerSocket.serve``."""
        escaped: list[BaseException] = []
        async with trio.open_nursery() as nursery:

            async def run(socket: Connection) -> None:
                error = await self._run_handler(handler, socket)
                if error is not None:
                    escaped.append(error)
                    nursery.cancel_scope.cancel("a connection's handler failed")

            task_status.started(self._server.port)
            try:
                while True:
                    socket = await self._server.accept()
                    self.serving[socket] = trio.CancelScope()
                    nursery.start_soon(run, socket)
            except SocketClosedError:
                pass
            except SocketError as error:
                escaped.append(error)
        if len(escaped) > 1:
            raise BaseExceptionGroup("several errors leave serve()", escaped)
        if escaped:
            raise escaped[0]

    async def _run_handler(
        self, handler: Callable[[Any], Awaitable[object]], socket: Connection
    ) -> BaseException | None:
        """Run one connection's handler to its end; returns what has to leave ``serve``."""
        errors: list[BaseException] = []
        try:
            try:
                with self.serving[socket]:
                    await handler(socket)
                    await socket.aclose()
            finally:
                socket.close()
                with trio.CancelScope(shield=True):
                    await socket._end_scope()
                self._forget(socket)
        except trio.Cancelled:
            raise
        except BaseException as exc:
            if isinstance(exc, BaseExceptionGroup) and exc.split(trio.Cancelled)[1] is None:
                raise
            errors.append(exc)
        assert socket._keeper is not None
        if socket._block is None:  # else its block has raised them
            errors += socket._keeper.failures
        return self._judge(socket, errors)

    def _judge(self, socket: Connection, errors: list[BaseException]) -> BaseException | None:
        if not errors:
            return None
        error = errors[0] if len(errors) == 1 else BaseExceptionGroup("handler errors", errors)
        if isinstance(error, Exception) and not self._raise_errors:
            self._report(socket, error)
            return None
        return error

    def _report(self, socket: Connection, error: Exception) -> None:
        """Log what a handler raised, and post it as the server's error."""
        self._server._failed += 1
        _logger.error("handler of %r failed", socket, exc_info=error)
        posted = SocketError(f"the handler of {socket!r} raised {error!r}")
        posted.__cause__ = error
        self._server._post_error(posted)

    def _forget(self, socket: Connection) -> None:
        del self.serving[socket]
        if not self.serving:
            while self._idle:
                self._idle.pop().unpark()
        self._server._check_idle()

    def cancel_handlers(self) -> None:
        """Cancel all handlers of ``serve``."""
        for scope in self.serving.values():
            scope.cancel("the server was closed")

    async def wait_for_handlers(self) -> None:
        """Wait until no handler runs any more."""
        if self.serving:
            parking: Parking[None] = Parking()
            self._idle.append(parking)
            await parking.park()
        else:
            await trio.lowlevel.checkpoint()
