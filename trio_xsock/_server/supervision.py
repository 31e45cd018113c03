"""Supervision: the handlers of a server's connections, and what happens when one fails."""

from __future__ import annotations

import contextvars
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

import trio

from trio_xsock._runtime.groups import without_cancelled
from trio_xsock._runtime.guard import Parking, await_unprotected, protect_from_ki
from trio_xsock._sockets.listening import ListeningCalls
from trio_xsock._values.errors import SocketError

from .handler_errors import log_handler_error
from .reception import Reception
from .served import Served, only_closed

S = TypeVar("S", bound=ListeningCalls)


@protect_from_ki
class Service(Generic[S]):
    """One running ``serve``.

    Args:
        handler: the user's.
        nursery: where the handlers run.
        run: runs one of them to its end.
        escaped: collects what has to leave ``serve``.

    Attributes:
        handler: as above.
        parking: where ``serve`` waits; is given the error that stopped the listening, if any.
    """

    __slots__ = ("_context", "_escaped", "_nursery", "_run", "handler", "parking")

    def __init__(
        self,
        handler: Callable[[S], Awaitable[object]],
        nursery: trio.Nursery,
        run: Callable[[Service[S], S], Awaitable[None]],
        escaped: list[BaseException],
    ) -> None:
        self.handler: Callable[[S], Awaitable[object]] = handler
        self.parking: Parking[SocketError] = Parking()
        self._escaped = escaped
        self._nursery = nursery
        self._run: Callable[[Service[S], S], Awaitable[None]] = run
        # Connections arrive in tasks of the library's; handlers are children of this one.
        self._context = contextvars.copy_context()

    def take(self, socket: S) -> None:
        """Start a handler for ``socket``."""

        def start() -> None:
            self._nursery.start_soon(self._run, self, socket, name=self.handler)

        self._context.run(start)

    def escape(self, error: BaseException) -> None:
        """Cancel everything and let ``error`` leave ``serve``."""
        self._escaped.append(error)
        self._nursery.cancel_scope.cancel("a connection's handler failed")


@protect_from_ki
class Supervision(Reception[S]):
    """Runs the handlers of one server's connections."""

    __slots__ = ("_raise_handler_errors", "_services", "_serving", "_stopping")

    def __init__(
        self,
        handler: object,
        add_socket: Callable[[], S],
        minimum: int,
        maximum: int | None,
        raise_handler_errors: bool,
    ) -> None:
        super().__init__(handler, add_socket, minimum, maximum)
        self._raise_handler_errors = raise_handler_errors
        self._services: deque[Service[S]] = deque()
        self._serving: dict[ListeningCalls, Served[Service[S]]] = {}
        self._stopping = trio.Event()

    async def _serve(
        self, handler: Callable[[S], Awaitable[object]], started: Callable[[], None]
    ) -> None:
        """Serve until listening stops; see ``ServerSocket.serve``."""
        escaped: list[BaseException] = []
        try:
            async with trio.open_nursery() as nursery:
                service = Service(handler, nursery, self._serve_connection, escaped)
                started()
                self._enter_service(service)
                try:
                    failure = await service.parking.park(lambda: self._services.remove(service))
                except trio.Cancelled:
                    raise
                except BaseException as exc:  # Ctrl-C; the nursery would wrap it in a group
                    service.escape(exc)  # noqa: ASYNC103 - raised below
                else:
                    if failure is not None:
                        escaped.append(failure)
        finally:
            _raise_all(escaped)

    def _enter_service(self, service: Service[S]) -> None:
        """Let ``service`` have what waits, and what comes."""
        self._services.append(service)
        while self._ready:
            self._offer(self._ready.popleft())
        self._update()

    def _is_wanted(self) -> bool:
        return bool(self._services) or super()._is_wanted()

    def _offer(self, socket: S) -> None:
        if self._waiting or not self._services:
            super()._offer(socket)
            return
        service = self._services[0]
        self._services.rotate()
        self._serving[socket] = Served(service)
        service.take(socket)

    def _stop(self) -> None:
        super()._stop()
        while self._services:
            self._services.popleft().parking.unpark(self._failure)

    # Handlers

    async def _serve_connection(  # noqa: ASYNC910 - a task of its own
        self, service: Service[S], socket: S
    ) -> None:
        """Run one connection's handler to its end, and then end the connection."""
        served = self._serving[socket]
        error: BaseException | None = None
        try:
            try:
                with served.scope as scope:
                    await await_unprotected(service.handler, socket)
                    await self._end_served(socket)
                if scope.cancelled_caught and served.stopped:
                    with served.open_closing():  # what is queued is still sent
                        await self._end_served(socket)
            finally:
                socket.close()
                await socket._end_scope()  # noqa: ASYNC102 - it is shielded where it waits
        except BaseException as exc:  # noqa: ASYNC103 - its cancellations are raised, the rest judged
            error = without_cancelled(exc)
            if error is None:
                raise
        finally:
            del self._serving[socket]
            self._judge(served, socket, error)
            self._check_idle()

    async def _end_served(self, socket: S) -> None:  # noqa: ASYNC910 - aclose has a checkpoint
        """A handler has ended gracefully: so does its connection."""
        assert socket._keeper is not None
        socket._keeper.leaving = socket._keeper.exiting = True
        try:
            await socket.aclose()
        except Exception as exc:  # no failure of the handler's
            self._peer_failed(socket, exc)

    def _judge(self, served: Served[Service[S]], socket: S, error: BaseException | None) -> None:
        """A handler has ended; ``error`` is what it raised."""
        assert socket._keeper is not None
        errors = [] if error is None else [error]
        if socket._block is None:  # else its block has raised them
            errors += socket._keeper.failures
        errors = [each for each in errors if not served.is_caused_by_stop(each)]
        if len(errors) > 1:
            error = BaseExceptionGroup("several errors of one connection", errors)
            self._handler_failed(served.service, socket, error)
        elif errors:
            self._handler_failed(served.service, socket, errors[0])

    def _connection_failed(self, socket: Any, /) -> None:
        """See ``Owner``: the connection's handler object, or a task of its, raised."""
        if socket in self._serving:  # _judge has it in the end
            self._serving[socket].scope.cancel("a handler or task of the socket failed")
            return
        failures, socket._keeper.failures = socket._keeper.failures, ()
        for error in failures:
            if not (self._stopping.is_set() and only_closed(error)):
                service = self._services[0] if self._services else None
                self._handler_failed(service, socket, error)

    def _handler_failed(
        self, service: Service[S] | None, socket: ListeningCalls, error: BaseException
    ) -> None:
        """Log what a handler raised and post it as the server's error, or let it out."""
        self._failed += 1
        if isinstance(error, Exception) and not self._raise_handler_errors:
            where = socket._connection.endpoint
            log_handler_error(where, error)
            posted = SocketError(f"the handler of the connection from {where} raised {error!r}")
            posted.__cause__ = error
            self._post_error(posted)
        elif service is not None:
            service.escape(error)
        else:
            assert self._keeper is not None
            self._keeper.fail(error)

    # Stopping

    @property
    def stopping(self) -> trio.Event:
        """Set when the server begins to stop; ``await server.stopping.wait()`` waits for that.

        ``aclose``, ``close`` and the end of the block set it, and so does nothing else:
        ``stop_listening`` lets handlers go on. When the server listens again it is a new one.
        For a handler that only waits for its next request there is ``sock.may_stop()``.
        """
        return self._stopping

    def _renew_stopping(self) -> None:
        """The server listens again."""
        if self._stopping.is_set():
            self._stopping = trio.Event()

    def _begin_stopping(self) -> None:
        """Let those know who wait for it, and stop the handlers that wait for a request."""
        self._stopping.set()
        for served in self._serving.values():
            served.stop_waiting()
        for socket in self._open:
            # Tasks of a connection that is closed now, and that find it closed, have not failed.
            if socket._keeper is not None and socket not in self._serving:
                socket._keeper.leaving = True

    def _handler_waits(self, socket: Any, scope: trio.CancelScope, /) -> None:
        """See ``Owner``."""
        if socket in self._serving:
            self._serving[socket].wait_begins(scope, stopping=self._stopping.is_set())

    def _handler_goes_on(self, socket: Any, scope: trio.CancelScope, cancelled: bool, /) -> None:
        """See ``Owner``."""
        if socket in self._serving:
            self._serving[socket].wait_ends(scope, cancelled=cancelled)

    def _is_idle(self) -> bool:
        return not self._serving and super()._is_idle()

    def _cancel_handlers(self) -> None:
        """Stop all handlers; before their connections are closed, lest they find them so."""
        for socket, served in self._serving.items():
            assert socket._keeper is not None
            socket._keeper.leaving = True
            socket._keeper.cancel_user_tasks("the server was closed")
            served.stop()


def _raise_all(errors: list[BaseException]) -> None:
    """Raise what is in ``errors``, a single one as itself; empties the list."""
    taken = errors[:]
    errors.clear()
    try:
        if len(taken) > 1:
            raise BaseExceptionGroup("several errors leave serve()", taken)
        if taken:
            raise taken[0]
    finally:
        del taken  # their tracebacks refer to this frame
