"""``ServerSocket``: many connections on one port."""

from __future__ import annotations

import math
import socket as stdlib_socket
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Generic, Self, cast

import trio

from ._acceptor import Acceptor
from ._channel import EventChannel
from ._connection import Connection
from ._core import check_interface
from ._endpoint import address_text, check_address, check_port, format_endpoint
from ._errors import InvalidStateError, SocketClosedError, SocketError
from ._events import ErrorOccurred, Event
from ._guard import Parking, protect_from_ki
from ._interface import NetworkInterface, local_address_of
from ._listen import check_backlog, listen_addresses, open_listeners
from ._options import check_count, check_positive, check_seconds
from ._pool import SocketPool
from ._scoped import Scoped
from ._server_statistics import ServerStatistics
from ._supervision import Supervisor
from ._tcp import TCPSocket

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    S = TypeVar("S", bound=Connection, default=TCPSocket)
else:  # `typing` knows defaults only from Python 3.13 on
    from typing import TypeVar

    S = TypeVar("S", bound=Connection)

_GRACE = 5.0


@protect_from_ki
class ServerSocket(Scoped, trio.abc.Listener[Any], Generic[S]):
    """Listens on a port and gives each connection a socket. Xojo: ``ServerSocket``.

    Lives in ``async with``, like the sockets it hands out, whose scopes are children of its
    own::

        async with ServerSocket(8080) as server:
            await server.serve(handle_connection)

    Sockets without a handler or channel of their own come out of ``accept()`` and ``serve()``;
    those that have one are live at once.

    Args:
        port: to listen on; 0 lets the OS pick one.
        address: a local address or name; ``""`` for all, IPv4 and IPv6 on one port.
        network_interface: the interface to listen on.
        minimum_sockets_available: sockets that ``add_socket`` makes ahead; also how many
            connections wait ready while nobody accepts (at least one).
        maximum_sockets_connected: the ceiling; ``None`` for none. At the ceiling accepting
            stops, and newcomers wait in the backlog.
        add_socket: makes one new, unconnected socket for each connection.
        handler: a callback object; ``on_error(server, error)`` is called.
        backlog: connections that the OS lets wait; ``None`` for as many as it does.
        reuse_port: let other programs of this user listen on the same port (SO_REUSEPORT).
        raise_handler_errors: let an exception of a connection's handler out of ``serve()``, or
            out of the server's block, instead of logging it.

    Raises:
        InvalidPortError: ``port`` is outside 0..65535.
        TypeError, ValueError: another option is of a wrong type, or out of its range.
    """

    __slots__ = (
        "_accepted",
        "_acceptor",
        "_address",
        "_backlog",
        "_connections",
        "_failed",
        "_failure",
        "_idle",
        "_maximum",
        "_minimum",
        "_network_interface",
        "_open",
        "_pool",
        "_port",
        "_ready",
        "_reuse_port",
        "_stopped",
        "_supervisor",
        "_waiting",
    )

    _HANDLER_METHODS = ("on_error",)

    def __init__(
        self,
        port: int = 0,
        *,
        address: str = "",
        network_interface: NetworkInterface | None = None,
        minimum_sockets_available: int = 2,
        maximum_sockets_connected: int | None = None,
        add_socket: Callable[[], S] = cast("Callable[[], S]", TCPSocket),
        handler: object = None,
        backlog: int | None = None,
        reuse_port: bool = False,
        raise_handler_errors: bool = False,
    ) -> None:
        super().__init__(handler, None)
        if not callable(add_socket):
            raise TypeError(f"add_socket must be callable, not {type(add_socket).__name__}")
        check_backlog(backlog)
        self._port = check_port(port, allow_zero=True)
        self._address = check_address(address)
        self._network_interface = check_interface(network_interface)
        self._minimum = check_count("minimum_sockets_available", minimum_sockets_available)
        self._maximum = _check_maximum(maximum_sockets_connected)
        self._backlog = backlog
        self._reuse_port = reuse_port
        self._pool = SocketPool(add_socket)
        self._supervisor = Supervisor(self, raise_handler_errors)
        self._acceptor: Acceptor | None = None
        self._open: set[S] = set()  # every connection that has a descriptor
        self._connections: dict[S, None] = {}  # those that count, in order of arrival
        self._ready: deque[S] = deque()
        self._waiting: deque[Parking[S]] = deque()
        self._idle: list[Parking[None]] = []
        self._failure: SocketError | None = None
        self._stopped = False
        self._accepted = self._failed = 0

    # Facts

    @property
    def is_listening(self) -> bool:
        """Whether connections are taken, or wait in the backlog. Xojo: ``IsListening``."""
        return self._acceptor is not None

    @property
    def handle(self) -> int:
        """The listening descriptor (the first one), -1 when there is none. Xojo: ``Handle``."""
        return self._acceptor.listeners[0].fileno() if self._acceptor else -1

    @property
    def port(self) -> int:
        """The port; settable while not listening. Xojo: ``Port``.

        While listening the OS is asked on every read.

        Raises (assignment):
            InvalidStateError: the server is listening.
            InvalidPortError: outside 0..65535.
            TypeError: not an int.
        """
        if self._acceptor is None:
            return self._port
        return int(self._acceptor.listeners[0].getsockname()[1])

    @port.setter
    def port(self, port: int) -> None:
        if self._acceptor is not None:
            raise InvalidStateError("port can be set only while not listening; stop_listening()")
        self._port = check_port(port, allow_zero=True)

    @property
    def local_address(self) -> str:
        """The address listened on; never raises. Xojo: ``LocalAddress``.

        A wildcard, or before listening: the chosen interface's address, else the default
        route's, else loopback.
        """
        if self._acceptor is not None:
            address = address_text(self._acceptor.listeners[0].getsockname())
            if address not in ("0.0.0.0", "::"):
                return address
        return local_address_of(self._network_interface)

    @property
    def network_interface(self) -> NetworkInterface | None:
        """The interface to listen on; an assignment takes effect at the next ``listen``."""
        return self._network_interface

    @network_interface.setter
    def network_interface(self, interface: NetworkInterface | None) -> None:
        self._network_interface = check_interface(interface)

    @property
    def minimum_sockets_available(self) -> int:
        """Sockets made ahead; may change at any time."""
        return self._minimum

    @minimum_sockets_available.setter
    def minimum_sockets_available(self, minimum: int) -> None:
        self._minimum = check_count("minimum_sockets_available", minimum)
        if self._acceptor is not None:
            self._refill()
        self._update()

    @property
    def maximum_sockets_connected(self) -> int | None:
        """The ceiling, ``None`` for none; may change at any time. Lowering it ends nobody."""
        return self._maximum

    @maximum_sockets_connected.setter
    def maximum_sockets_connected(self, maximum: int | None) -> None:
        self._maximum = _check_maximum(maximum)
        self._update()

    def active_connections(self) -> list[S]:
        """The sockets that are connected now, oldest first; a new list each time.

        Those that wait to be accepted are among them. Xojo: ``ActiveConnections``.
        """
        return list(self._connections)

    def statistics(self) -> ServerStatistics:
        """Counters since the server was made."""
        return ServerStatistics(
            accepted=self._accepted,
            failed=self._failed,
            live=len(self._connections),
            ready=len(self._ready),
            events_posted=self._hub.posted,
            events_merged=self._hub.merged,
        )

    def _events_now(self) -> list[Event]:
        return [] if self._failure is None else [ErrorOccurred(self, self._failure)]

    def __repr__(self) -> str:
        state = "listening" if self._acceptor else "not listening"
        endpoint = format_endpoint(self._address or "*", self.port)
        return f"<ServerSocket {state} on {endpoint}, {len(self._connections)} connections>"

    # Listening

    async def __aenter__(self) -> Self:
        return await super().__aenter__()

    async def listen(self) -> None:
        """Start to listen; ``port`` is known when this returns. Xojo: ``Listen``.

        Raises:
            InvalidStateError: outside the block, or listening already; ``add_socket`` raised
                or returned no new socket.
            AddressInUseError: the port is taken.
            InvalidPortError: the port needs privileges.
            NameResolutionError: ``address`` means nothing on this machine.
            OpenDriverError, OutOfMemoryError, SocketError: what else the OS said.

        Cancellation: nothing is left over.
        """
        keeper = self._require_block("listen()")
        if self._acceptor is not None:
            raise InvalidStateError(f"{self!r}: it is listening already")
        self._pool.fill(self._minimum)
        addresses = await listen_addresses(
            self._address, self._port, interface=self._network_interface
        )
        if self._acceptor is not None:  # somebody else was faster
            raise InvalidStateError(f"{self!r}: it is listening already")
        listeners = open_listeners(addresses, backlog=self._backlog, reuse_port=self._reuse_port)
        self._failure = None
        self._stopped = False
        self._hub.begin()
        self._acceptor = Acceptor(
            keeper,
            listeners,
            may_accept=self._may_accept,
            welcome=self._welcome,
            failed=self._accepting_failed,
        )
        self._update()

    def stop_listening(self) -> None:
        """Accept no more; connections live on. Idempotent. Xojo: ``StopListening``.

        ``accept`` raises ``SocketClosedError`` from now on and ``serve`` returns when its
        handlers have ended. ``listen`` may be called again.
        """
        acceptor, self._acceptor = self._acceptor, None
        self._stopped = True
        if acceptor is not None:
            acceptor.close()
        while self._waiting:
            self._waiting.popleft().fail(self._why_not_accepting())
        self._pool.clear()
        self._check_idle()

    def _may_accept(self) -> bool:
        if self._maximum is not None and len(self._connections) >= self._maximum:
            return False
        if self._waiting or len(self._ready) < max(1, self._minimum):
            return True
        try:
            return _is_live(self._pool.first())
        except InvalidStateError as error:
            self._accepting_failed(error, True)
            return False

    def _update(self) -> None:
        if self._acceptor is not None:
            self._acceptor.update()

    def _welcome(self, sock: stdlib_socket.socket, peer: tuple[Any, ...]) -> None:
        """A connection was accepted: give it a socket."""
        try:
            socket = self._take_socket()
        except InvalidStateError as error:
            sock.close()
            self._accepting_failed(error, True)
            return
        self._accepted += 1
        self._open.add(socket)
        self._connections[socket] = None
        assert self._block is not None
        live = _is_live(socket)
        socket._open_accepted(self._supervisor, self._block.nursery, sock, peer)
        if not live:
            self._offer(socket)
        self._refill()

    def _take_socket(self) -> S:
        self._pool.first()
        return self._pool.take()

    def _refill(self) -> None:
        try:
            self._pool.fill(self._minimum)
        except InvalidStateError as error:
            self._accepting_failed(error, True)

    def _offer(self, socket: S) -> None:
        if self._waiting:
            self._waiting.popleft().unpark(socket)
        else:
            self._ready.append(socket)

    def _accepting_failed(self, error: SocketError, final: bool) -> None:
        """The listener is in trouble, or ``add_socket`` is."""
        if final:
            if self._failure is not None:
                return
            self._failure = error
        self._post_error(error)
        if final:
            self.stop_listening()
        elif self._keeper is not None:
            self._keeper.wake()

    def _post_error(self, error: SocketError) -> None:
        if self._hub.active:
            self._hub.post(ErrorOccurred(self, error))
            self._schedule_pump()

    # Taking connections

    async def accept(self) -> S:
        """Wait for the next connection; the contract of ``trio.abc.Listener``.

        Returns:
            An open socket. ``async with`` on it is allowed once and closes it.

        Raises:
            InvalidStateError: not listening; ``add_socket`` failed.
            SocketClosedError: ``stop_listening()`` was called, before or meanwhile.
            SocketError: the listener can accept no more.

        Cancellation: no connection is lost.
        """
        if self._acceptor is None:
            raise self._why_not_accepting()
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._ready:
            socket = self._ready.popleft()
            self._update()
            await trio.lowlevel.cancel_shielded_checkpoint()
            return socket
        parking: Parking[S] = Parking()
        self._waiting.append(parking)
        self._update()
        accepted = await parking.park(lambda: self._waiting.remove(parking))
        assert accepted is not None
        return accepted

    def _why_not_accepting(self) -> SocketError:
        if self._failure is not None:
            return self._failure.with_traceback(None)
        if self._stopped:
            return SocketClosedError(f"{self!r}: it has stopped listening")
        return InvalidStateError(f"{self!r}: not listening; `await listen()` first")

    async def serve(
        self,
        handler: Callable[[S], Awaitable[object]],
        *,
        task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve connections, each in a task of its own, until listening stops.

        Listens if need be, and reports ``started(port)``. A connection is closed when its
        handler returns: gracefully, or at once after an exception. Returns when listening has
        stopped and the handlers have ended.

        Args:
            handler: an async function that is given the socket.

        Raises:
            InvalidStateError and other ``SocketError``: as for ``listen`` and ``accept``.
            Exception: a handler's, with ``raise_handler_errors=True``.

        Cancellation: the handlers are cancelled, their connections closed.
        """
        if self._acceptor is None:
            await self.listen()
        await self._supervisor.serve(handler, task_status)

    def _connection_ending(self, socket: Connection) -> None:
        """A connection gives its place back; it may still linger."""
        if self._connections.pop(cast("S", socket), self) is not self:
            if socket in self._ready:
                self._ready.remove(cast("S", socket))
            self._update()

    def _connection_closed(self, socket: Connection) -> None:
        self._connection_ending(socket)
        self._open.discard(cast("S", socket))
        self._check_idle()

    def _check_idle(self) -> None:
        if not self._open and not self._supervisor.serving:
            while self._idle:
                self._idle.pop().unpark()

    # The end

    def close(self) -> None:
        """Stop listening, close all connections at once, and cancel their handlers.

        Always legal, idempotent.
        """
        self.stop_listening()
        for socket in list(self._open):
            socket.close()
        self._ready.clear()
        self._supervisor.cancel_handlers()
        self._hub.end()
        if self._closed_event is not None:
            self._closed_event.set()

    async def aclose(self, grace: float = _GRACE) -> None:
        """Stop listening, let the handlers finish, then close. Always legal, idempotent.

        Connections that no ``serve`` handler looks after are closed as by their own ``aclose``.

        Args:
            grace: how many seconds handlers and connections may take; then as ``close()``.

        Cancellation: everything is closed at once.
        """
        check_seconds("grace", grace)
        self.stop_listening()
        for socket in list(self._open):
            if socket not in self._supervisor.serving:
                socket._start_closing(grace)
        try:
            if self._open or self._supervisor.serving:
                with trio.move_on_after(grace):
                    parking: Parking[None] = Parking()
                    self._idle.append(parking)
                    await parking.park()
            else:
                await trio.lowlevel.checkpoint()
        finally:
            self.close()

    async def _end_scope(self) -> None:
        self.close()
        with trio.CancelScope(shield=True):
            await self._supervisor.wait_for_handlers()
        assert self._block is not None
        self._block.cancel_tasks()
        await super()._end_scope()

    def _next_deadline(self) -> float:
        acceptor = self._acceptor
        if acceptor is None:
            return math.inf
        if trio.current_time() >= acceptor.retry_at:
            acceptor.retry()
        return acceptor.retry_at

    def _send_some(self) -> bool:
        return False

    def _abort_from_handler(self) -> None:
        """A server sends nothing."""


def _is_live(socket: Connection) -> bool:
    return socket.handler is not None or socket._hub.active


def _check_maximum(maximum: int | None) -> int | None:
    return None if maximum is None else check_positive("maximum_sockets_connected", maximum)
