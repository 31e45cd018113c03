"""``Staff``: the ``accept`` and ``serve`` calls of a server, and its handlers.

An ``accept`` call gets a socket, a running ``serve`` call starts a handler for it. When a handler
ends, its connection is closed, and an exception is either logged and posted as the server's error,
or leaves ``serve``, or is ignored because the server's stop has caused it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

import trio

from trio_xsock._engine.connection import Connection
from trio_xsock._engine.ending import close, forget_tracebacks
from trio_xsock._runtime.delivery import Delivery
from trio_xsock._runtime.groups import without_cancelled
from trio_xsock._runtime.guard import Parking, await_unprotected, protect_from_ki
from trio_xsock._runtime.keeper import Keeper
from trio_xsock._runtime.scoped import finish
from trio_xsock._sockets.connected import ConnectedSocket
from trio_xsock._values.errors import SocketError

from .handler_errors import log_handler_error
from .served import Served, only_closed
from .service import Service

S = TypeVar("S", bound=ConnectedSocket)


@protect_from_ki
class Staff(Generic[S]):
    """The calls that wait for connections, and the handlers of those that ``serve`` has taken.

    Args:
        delivery: posts the server's events.
        raise_handler_errors: raise exceptions of handlers, rather than log them.

    Attributes:
        failed: how many handlers have failed.
        stopping: set when the server begins to stop.
    """

    __slots__ = (
        "_callers",
        "_delivery",
        "_raise_handler_errors",
        "_services",
        "_serving",
        "failed",
        "stopping",
    )

    def __init__(self, delivery: Delivery, raise_handler_errors: bool) -> None:
        self.failed = 0
        self.stopping = trio.Event()
        self._delivery = delivery
        self._raise_handler_errors = raise_handler_errors
        self._callers: deque[Parking[S]] = deque()
        self._services: deque[Service[S]] = deque()
        self._serving: dict[Connection, Served[Service[S]]] = {}

    @property
    def serving(self) -> int:
        """How many connections have a handler of ``serve``."""
        return len(self._serving)

    def looks_after(self, connection: Connection) -> bool:
        """Whether the connection has a handler of ``serve``."""
        return connection in self._serving

    # Taking connections

    @property
    def wants(self) -> bool:
        """Whether a call waits for a connection."""
        return bool(self._callers or self._services)

    def wait(self, parking: Parking[S]) -> Callable[[], None]:
        """An ``accept`` call waits; returns a function to call on its cancellation."""
        self._callers.append(parking)
        return lambda: self._callers.remove(parking)

    def enter(self, service: Service[S]) -> Callable[[], None]:
        """A ``serve`` call begins; returns a function to call on its cancellation."""
        self._services.append(service)
        return lambda: self._services.remove(service)

    def take(self, connection: Connection, socket: S) -> bool:
        """Give a connection to a waiting call; returns whether there is one."""
        if self._callers:
            self._callers.popleft().unpark(socket)
        elif self._services:
            service = self._services[0]
            self._services.rotate()
            self._serving[connection] = Served(service)
            service.take(connection, socket)
        else:
            return False
        return True

    def refuse_callers(self, why: Callable[[], SocketError]) -> None:
        """Listening has stopped: let the ``accept`` calls raise."""
        while self._callers:
            self._callers.popleft().fail(why())

    def end_services(self, failure: SocketError | None) -> None:
        """Listening has stopped, with an error or without: no ``serve`` gets any more."""
        while self._services:
            self._services.popleft().parking.unpark(failure)

    # Handlers

    async def run(  # noqa: ASYNC910 - a task of its own
        self, service: Service[S], connection: Connection, socket: S
    ) -> None:
        """Run one connection's handler to its end, and then end the connection."""
        served, keeper = self._serving[connection], connection.delivery.require_keeper()
        error: BaseException | None = None
        try:
            try:
                with served.scope as scope:
                    await await_unprotected(service.handler, socket)
                    await _close(socket, keeper)
                if scope.cancelled_caught and served.stopped:
                    with served.open_closing():  # what is queued is still sent
                        await _close(socket, keeper)
            finally:
                try:
                    close(connection)
                except Exception as exc:  # not a failure of the handler
                    keeper.fault(exc)
                await finish(connection.delivery, connection)  # noqa: ASYNC102 - shielded
                forget_tracebacks(connection)
        except BaseException as exc:  # noqa: ASYNC103 - its cancellations are raised, the rest judged
            error = without_cancelled(exc)
            if error is None:
                raise
        finally:
            del self._serving[connection]
            service.over()
            self._judge(served, connection, error)  # may raise, if the error has no text

    def _judge(
        self, served: Served[Service[S]], connection: Connection, error: BaseException | None
    ) -> None:
        """A handler has ended; ``error`` is what it raised."""
        failures = connection.delivery.require_keeper().failures  # that its block has not raised
        if error is None and not failures:
            return
        errors = [*failures] if error is None else [error, *failures]
        errors = [each for each in errors if not served.is_caused_by_stop(each)]
        if len(errors) > 1:
            error = BaseExceptionGroup("several errors of one connection", errors)
            self._handler_failed(served.service, connection, error)
        elif errors:
            self._handler_failed(served.service, connection, errors[0])

    def connection_failed(self, connection: Connection) -> None:
        """See ``Owner``: the connection's handler object, or a task of its, raised."""
        if connection in self._serving:  # it is handled when the handler has ended
            self._serving[connection].scope.cancel("a handler or task of the socket failed")
            return
        for error in connection.delivery.require_keeper().take_failures():
            if not (self.stopping.is_set() and only_closed(error)):
                service = self._services[0] if self._services else None
                self._handler_failed(service, connection, error)

    def _handler_failed(
        self, service: Service[S] | None, connection: Connection, error: BaseException
    ) -> None:
        """Log a handler's exception and post it as the server's error, or raise it."""
        self.failed += 1
        if isinstance(error, Exception) and not self._raise_handler_errors:
            where = connection.endpoint
            log_handler_error(where, error)
            posted = SocketError(f"the handler of the connection from {where} raised {error!r}")
            posted.__cause__ = error
            self._delivery.post_error(posted)
        elif service is not None:
            service.escape(error)
        elif self._delivery.keeper is not None:
            self._delivery.keeper.fail(error)

    # Stopping

    def renew(self) -> None:
        """The server listens again."""
        if self.stopping.is_set():
            self.stopping = trio.Event()

    def begin_stopping(self, connections: Iterable[Connection]) -> None:
        """Set ``stopping``, and stop the handlers that wait for a request.

        Args:
            connections: all that are open.
        """
        self.stopping.set()
        for served in self._serving.values():
            served.stop_waiting()
        for connection in connections:
            # Tasks that raise because their connection is closed now have not failed.
            if connection not in self._serving:
                connection.delivery.require_keeper().leave()

    def stop_handlers(self) -> None:
        """Stop all handlers; call it before their connections are closed, which they would see."""
        for connection, served in self._serving.items():
            keeper = connection.delivery.require_keeper()
            keeper.leave()
            keeper.cancel_user_tasks("the server was closed")
            served.stop()

    def wait_begins(self, connection: Connection, scope: trio.CancelScope) -> None:
        """See ``Owner``."""
        if connection in self._serving:
            self._serving[connection].wait_begins(scope, stopping=self.stopping.is_set())

    def wait_ends(self, connection: Connection, scope: trio.CancelScope, cancelled: bool) -> None:
        """See ``Owner``."""
        if connection in self._serving:
            self._serving[connection].wait_ends(scope, cancelled=cancelled)


async def _close(socket: ConnectedSocket, keeper: Keeper) -> None:
    """Close the connection gracefully after its handler has returned."""
    keeper.leave(exiting=True)
    try:
        await socket.aclose()
    except Exception as exc:  # not a failure of the handler
        keeper.fault(exc)
        await trio.lowlevel.cancel_shielded_checkpoint()
