"""``ServerConnections``: the connections of a server, from accept to their end.

It joins the parts: ``Accepting`` for the listening sockets, ``Admission`` and the ``Lobby`` for new
connections, the ``Roster`` for places, and the ``Staff`` for handlers. It is the ``Owner`` of the
connections: what happens to one of them is reported here.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Awaitable, Callable, Sequence
from socket import socket as stdlib_socket
from typing import Any, Generic, TypeVar

import trio

from trio_xsock._engine.connection import Connection
from trio_xsock._engine.ending import close, give_up
from trio_xsock._engine.losing import break_down
from trio_xsock._machines.proxy_protocol import ProxyProtocolError
from trio_xsock._network.foreign import Listener
from trio_xsock._network.proxies import HeaderReader
from trio_xsock._network.transport import Transport
from trio_xsock._runtime.delivery import Delivery
from trio_xsock._runtime.faults import give_back, log_fault
from trio_xsock._runtime.guard import Parking, protect_from_ki
from trio_xsock._runtime.keeper import Keeper
from trio_xsock._sockets.connected import ConnectedSocket
from trio_xsock._values.errors import SocketError

from .admission import attend
from .lobby import TOO_LONG
from .parts import ServerParts
from .service import Service, raise_all

S = TypeVar("S", bound=ConnectedSocket)


@protect_from_ki
class ServerConnections(Generic[S]):
    """The connections of one server, and its listening.

    Args:
        delivery: posts the server's events.
        parts: what it joins.
    """

    __slots__ = (
        "_accepting",
        "_admission",
        "_changes",
        "_delivery",
        "_idle",
        "_lobby",
        "_proxied",
        "_roster",
        "_staff",
    )

    def __init__(self, delivery: Delivery, parts: ServerParts[S]) -> None:
        self._delivery = delivery
        self._accepting = parts.accepting
        self._admission = parts.admission
        self._changes = parts.changes
        self._lobby = parts.lobby
        self._proxied = parts.proxied
        self._roster = parts.roster
        self._staff = parts.staff
        self._idle: list[Parking[None]] = []

    # Listening

    def start(self, listeners: Sequence[stdlib_socket | Listener]) -> None:
        """Begin to accept.

        Args:
            listeners: owned from now on.
        """
        self._staff.renew()
        self._lobby.open(self._roster.accepted)
        self._delivery.hub.begin(self._keeper.thread)
        self._accepting.start(
            self._keeper,
            listeners,
            may_accept=self._may_accept,
            welcome=self._welcome_proxied if self._proxied.enabled else self._welcome,
            failed=self.accepting_failed,
        )
        self.update()

    def stop(self) -> None:
        """Accept no more. Idempotent."""
        self._accepting.stop()
        self._staff.refuse_callers(lambda: self._accepting.why_not(self._delivery.socket))
        for connection in self._lobby.stop():
            attend(self, connection, close, connection)
        self._staff.end_services(self._accepting.failure)

    def tick(self) -> float:
        """Do what is due; returns when to call this again, on Trio's clock."""
        if not self._accepting.listeners:
            return math.inf
        retry_at = self._accepting.tick()
        next_look = self._admission.turn_slow_ones_away(self)
        self.update()
        return min(retry_at, next_look)

    def accepting_failed(self, error: SocketError, final: bool) -> None:
        """The listening socket or ``add_socket`` has failed."""
        self._delivery.post_error(error)
        if final:
            self._accepting.fail(error)
            self.stop()

    @property
    def _keeper(self) -> Keeper:
        return self._delivery.require_keeper()

    # New connections

    def _may_accept(self) -> bool:
        """Whether there is a place for one more; calls no user code."""
        if self._lobby.full:
            return False
        if self._roster.has_place(wanted=False):  # as a rule
            return True
        wanted = self._staff.wants or self._accepting.pool.next_is_live()
        return wanted and self._roster.has_place(wanted=True)

    def update(self) -> None:
        """A connection came or went, or a limit changed: announce and accept as places allow."""
        if self._lobby.waiting:
            self._admission.admit(self)
        self._accepting.update()

    def _welcome(
        self, transport: Transport, peer: tuple[Any, ...], deadline: float | None = None
    ) -> None:
        """A connection was accepted, and a proxy's header, if there is one, was read."""
        keeper = self._delivery.require_keeper()
        try:
            socket = self._accepting.pool.take(keeper.context)
        except BaseException as exc:  # noqa: ASYNC103 - of a plain function; it is passed on
            transport.close()
            self._pool_failed(exc)
            return  # noqa: ASYNC104
        try:
            self._admission.take_in(self, keeper, socket, transport, peer, deadline)
        except Exception as exc:  # the connection has not begun
            transport.close()
            keeper.fault(exc)
        self.refill()

    def fill(self) -> None:
        """Make sockets ahead; raises what ``SocketPool.fill`` does."""
        self._accepting.pool.fill(self._roster.minimum, self._delivery.context)

    def refill(self) -> None:
        """Make sockets ahead, while it listens; listening stops if that fails."""
        if not self._accepting.listeners:
            return
        try:
            self.fill()
        except BaseException as exc:  # noqa: ASYNC103 - of a plain function; it is passed on
            self._pool_failed(exc)

    def _pool_failed(self, exc: BaseException) -> None:
        if isinstance(exc, SocketError):
            self.accepting_failed(exc, final=True)
        else:  # KeyboardInterrupt and its like leave the block, as from a handler
            self._keeper.fault(exc)

    def _welcome_proxied(self, transport: Transport, peer: tuple[Any, ...]) -> None:
        """A connection was accepted that has to begin with a proxy's header."""
        try:
            reader, complete = self._proxied.begin(transport, peer)
        except (ProxyProtocolError, OSError) as exc:
            self._admission.refuse(transport, exc)
            return
        if complete:
            self._welcome(transport, reader.peer)
        else:
            read = functools.partial(self._read_header, reader, self._lobby.expect_header())
            self._keeper.serve(read, "trio_xsock proxy header")

    async def _read_header(self, reader: HeaderReader, scope: trio.CancelScope) -> None:
        why: object = TOO_LONG
        try:
            why = await self._lobby.read_header(reader, scope)
        finally:
            if why is None:
                self._welcome(reader.sock, reader.peer, scope.deadline)
            else:
                self._admission.refuse(reader.sock, why)
            self.update()
            self._check_idle()

    def handshake_over(self, connection: Connection, error: BaseException | None, /) -> None:
        """See ``Server``."""
        if not self._lobby.is_shaking(connection):  # it was closed meanwhile
            if error is not None and not isinstance(error, SocketError):
                self._keeper.fault(error)
            return
        if error is None:
            self._lobby.pass_on(connection)
        elif isinstance(error, Exception) and not isinstance(error, SocketError):
            self.connection_broke(connection, error)
        else:
            self._admission.turn_away(connection, error)
            if not isinstance(error, Exception):  # Ctrl-C and its like
                self._keeper.fail(error)
        self.update()

    # Connections that were announced

    def take_ready(self) -> S | None:
        """The connection that has waited longest to be taken, if there is one."""
        ready = self._roster.take_ready()
        if ready is None:
            return None
        self.update()
        return ready[1]

    def wait_for_one(self, parking: Parking[S]) -> Callable[[], None]:
        """Give ``parking`` the next connection; returns a function to call on cancellation."""
        withdraw = self._staff.wait(parking)
        self.update()
        return withdraw

    async def serve(
        self, handler: Callable[[S], Awaitable[object]], started: Callable[[], None]
    ) -> None:
        """Serve until listening stops; see ``ServerSocket.serve``."""
        escaped: list[BaseException] = []
        try:
            async with trio.open_nursery() as nursery:
                service = Service(handler, nursery, self._staff.run, self._check_idle, escaped)
                started()
                withdraw = self._staff.enter(service)
                while (ready := self._roster.take_ready()) is not None:
                    self._admission.offer(*ready)
                self.update()
                await service.wait(withdraw)
        finally:
            raise_all(escaped)

    # As their ``Owner``

    def connection_ending(self, connection: Connection, /) -> None:
        """See ``Owner``."""
        if self._roster.end(connection):
            self._changes.post(0, 1, len(self._roster.placed))
            if self._lobby.waiting or not self._accepting.accepts:
                self.update()  # there is a place

    def connection_closed(self, connection: Connection, /) -> None:
        """See ``Owner``."""
        if self._admission.forget(connection):
            self.update()
        self.connection_ending(connection)
        self._roster.close(connection)
        self._check_idle()

    def connection_broke(self, connection: Connection, error: Exception, /) -> None:
        """See ``Owner``: the one place that contains the library's own failures for a peer."""
        log_fault(f"the connection from {connection.endpoint} is ended", error)
        who = self._roster.open.get(connection)
        if self._lobby.has(connection):
            give_back(functools.partial(self._admission.turn_away, connection, error), self.update)
        else:
            give_back(functools.partial(break_down, connection, error))
        give_back(
            functools.partial(close, connection),
            functools.partial(give_up, connection, who),  # closing may have failed too
            functools.partial(self.connection_closed, connection),
        )

    def connection_failed(self, connection: Connection, /) -> None:
        """See ``Owner``."""
        self._staff.connection_failed(connection)

    def wait_begins(self, connection: Connection, scope: trio.CancelScope, /) -> None:
        """See ``Owner``."""
        self._staff.wait_begins(connection, scope)

    def wait_ends(
        self, connection: Connection, scope: trio.CancelScope, cancelled: bool, /
    ) -> None:
        """See ``Owner``."""
        self._staff.wait_ends(connection, scope, cancelled)

    # The end

    def begin_closing(self, grace: float) -> None:
        """Stop, and close all connections without a ``serve`` handler gracefully."""
        self._begin_stopping()
        for connection in list(self._roster.open):
            if not self._staff.looks_after(connection):
                attend(self, connection, close, connection, grace)

    def close(self) -> None:
        """Stop, close all connections at once, and stop their handlers."""
        self._begin_stopping()
        self._staff.stop_handlers()
        for connection in list(self._roster.open):
            attend(self, connection, close, connection)
        self._delivery.end()

    def _begin_stopping(self) -> None:
        self.stop()
        self._staff.begin_stopping(self._roster.open)

    def _check_idle(self) -> None:
        while self._idle and self._is_idle():
            self._idle.pop().unpark(None)

    def _is_idle(self) -> bool:
        return not (self._roster.open or self._staff.serving or self._lobby.reading)

    async def wait_until_idle(self) -> None:
        """Wait until no connection is open and no handler runs.

        Cancellation: changes nothing.
        """
        if self._is_idle():
            await trio.lowlevel.checkpoint()
            return
        parking: Parking[None] = Parking()
        self._idle.append(parking)
        await parking.park(lambda: self._idle.remove(parking))
