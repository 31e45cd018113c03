"""``ServerSocket``: many connections on one port."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeAlias, overload

import trio

from trio_xsock._network.interface import NetworkInterface
from trio_xsock._network.options import check_seconds
from trio_xsock._network.proxies import THIS_MACHINE
from trio_xsock._runtime.faults import log_fault
from trio_xsock._runtime.guard import Parking, let_others_run, protect_from_ki
from trio_xsock._runtime.handlers import SERVER_METHODS, check_async_function
from trio_xsock._runtime.scoped import finish
from trio_xsock._sockets.connected import ConnectedSocket
from trio_xsock._sockets.tcp import TCPSocket
from trio_xsock._values.errors import SocketClosedError

from .binding import Binding
from .connections import ServerConnections
from .facts import ServerFacts
from .parts import ServerParts

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    S = TypeVar("S", bound=ConnectedSocket, default=TCPSocket)
else:  # `typing` knows defaults only from Python 3.13 on
    from typing import TypeVar

    S = TypeVar("S", bound=ConnectedSocket)

_IPAddress: TypeAlias = IPv4Address | IPv6Address
_IPNetwork: TypeAlias = IPv4Network | IPv6Network

_GRACE = 5.0
_TCP_SOCKET: Any = TCPSocket  # the default of the first overload


@protect_from_ki
class ServerSocket(ServerFacts[S], trio.abc.Listener[S]):
    """Listens on a port and gives each connection a socket. Xojo: ``ServerSocket``.

    Used with ``async with``, like its sockets, whose scopes are children of its own::

        async with ServerSocket(8080) as server:
            await server.serve(handle_connection)

    Sockets without a handler or channel of their own are returned by ``accept()``, or passed to
    the handler of ``serve()``; those that have one are active at once.

    Args:
        port: the port to listen on; 0 lets the OS choose one.
        address: a local address or name; ``""`` for all, IPv4 and IPv6 on one port.
        network_interface: the interface to listen on.
        minimum_sockets_available: sockets that ``add_socket`` makes ahead; also how many
            connections are accepted ahead while no ``accept()`` waits (at least one).
        maximum_sockets_connected: the maximum; ``None`` for none. At the maximum accepting
            stops, and new connections wait in the backlog.
        add_socket: makes one new, unconnected socket for each connection.
        handler: a callback object; of the methods ``on_error(server, error)`` and
            ``on_connections_changed(server, opened, closed, live)`` those it has are called.
        idle_timeout: seconds without a byte in either direction after which a connection ends, as
            ``TIMED_OUT``; for sockets that have none of their own. ``None`` for off.
        maximum_handshakes: how many connections may be in their handshake (of TLS, or with a
            proxy) at a time; they do not count as connected.
        handshake_timeout: seconds that a handshake may take.
        backlog: how many connections may wait in the OS; ``None`` for its maximum.
        reuse_port: let other programs of this user listen on the same port (SO_REUSEPORT).
        raise_handler_errors: let an exception of a connection's handler out of ``serve()``, or
            out of the server's block, instead of logging it.
        proxy_protocol: every connection begins with a header of the PROXY protocol, version 1
            or 2, and ``remote_address`` is the client's. Connections without one are refused.
        trusted_proxies: IP addresses and networks of proxies; by default this machine only.
            Connections from other addresses are refused.

    All limits and times may change while the server listens. Its ``events`` are
    ``ErrorOccurred``, for errors of listening and exceptions of handlers; and
    ``ConnectionsChanged`` in channels from ``subscribe(connections=True)``.

    Raises:
        InvalidPortError: ``port`` is outside 0..65535.
        TypeError, ValueError: another option is of a wrong type, or out of its range.
    """

    __slots__ = ("_binding", "_connections", "_guests", "_left", "_parts")

    _HANDLER_METHODS = SERVER_METHODS

    @overload
    def __init__(
        self: ServerSocket[TCPSocket],
        port: int = ...,
        *,
        address: str = ...,
        network_interface: NetworkInterface | None = ...,
        minimum_sockets_available: int = ...,
        maximum_sockets_connected: int | None = ...,
        handler: object = ...,
        idle_timeout: float | None = ...,
        maximum_handshakes: int = ...,
        handshake_timeout: float = ...,
        backlog: int | None = ...,
        reuse_port: bool = ...,
        raise_handler_errors: bool = ...,
        proxy_protocol: bool = ...,
        trusted_proxies: Iterable[str | _IPAddress | _IPNetwork] = ...,
    ) -> None: ...
    @overload
    def __init__(
        self,
        port: int = ...,
        *,
        address: str = ...,
        network_interface: NetworkInterface | None = ...,
        minimum_sockets_available: int = ...,
        maximum_sockets_connected: int | None = ...,
        add_socket: Callable[[], S],
        handler: object = ...,
        idle_timeout: float | None = ...,
        maximum_handshakes: int = ...,
        handshake_timeout: float = ...,
        backlog: int | None = ...,
        reuse_port: bool = ...,
        raise_handler_errors: bool = ...,
        proxy_protocol: bool = ...,
        trusted_proxies: Iterable[str | _IPAddress | _IPNetwork] = ...,
    ) -> None: ...
    def __init__(
        self,
        port: int = 0,
        *,
        address: str = "",
        network_interface: NetworkInterface | None = None,
        minimum_sockets_available: int = 2,
        maximum_sockets_connected: int | None = None,
        add_socket: Callable[[], S] = _TCP_SOCKET,
        handler: object = None,
        idle_timeout: float | None = None,
        maximum_handshakes: int = 100,
        handshake_timeout: float = 30.0,
        backlog: int | None = None,
        reuse_port: bool = False,
        raise_handler_errors: bool = False,
        proxy_protocol: bool = False,
        trusted_proxies: Iterable[str | _IPAddress | _IPNetwork] = THIS_MACHINE,
    ) -> None:
        super().__init__(handler, None)
        self._binding = Binding(port, address, network_interface, backlog, reuse_port)
        self._parts = ServerParts(
            self._delivery,
            add_socket,
            minimum=minimum_sockets_available,
            maximum=maximum_sockets_connected,
            idle_timeout=idle_timeout,
            maximum_handshakes=maximum_handshakes,
            handshake_timeout=handshake_timeout,
            raise_handler_errors=raise_handler_errors,
            proxy_protocol=proxy_protocol,
            trusted_proxies=trusted_proxies,
        )
        self._connections = ServerConnections(self._delivery, self._parts)
        self._left = False  # the block is being left
        self._guests: list[trio.lowlevel.Task] = []  # tasks that entered the block once more

    # The block

    async def __aenter__(self) -> Self:
        """Open the server's block; a checkpoint.

        In the block, code that takes a ``trio.abc.Listener`` may enter it once more, as
        ``trio.serve_listeners`` does; leaving that closes the server.

        Raises:
            InvalidStateError: the block has been left.
        """
        if self._block is None or self._left:
            return await super().__aenter__()
        self._check_thread()
        self._guests.append(trio.lowlevel.current_task())
        await trio.lowlevel.cancel_shielded_checkpoint()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the server, and raise what has failed; see ``aclose`` and ``close``."""
        task = trio.lowlevel.current_task()
        if task not in self._guests:
            await super().__aexit__(exc_type, exc, traceback)  # noqa: ASYNC102 - it is shielded
            return
        self._guests.remove(task)
        if exc is not None:
            self.close()
            await trio.lowlevel.cancel_shielded_checkpoint()
        else:
            await self.aclose()

    # Listening

    async def listen(self) -> None:
        """Start to listen; ``port`` is known when this returns. Xojo: ``Listen``.

        Raises:
            InvalidStateError: outside the block, or listening already; ``add_socket`` raised
                or returned no new socket.
            AddressInUseError: the port is taken.
            InvalidPortError: the port needs privileges.
            NameResolutionError: ``address`` cannot be resolved, or is not one of this machine.
            SocketClosedError: ``stop_listening()`` or ``close()`` was called meanwhile.
            OpenDriverError, OutOfMemoryError, SocketError: another error of the OS.

        Cancellation: nothing is left over.
        """
        self._require_block("listen()")
        self._check_not_listening("it is listening already")
        stops = self._parts.accepting.stops
        self._connections.fill()
        addresses = await self._binding.find()
        self._check_not_listening("it is listening already")  # another task was faster
        if self._left or self._parts.accepting.stops != stops:
            raise SocketClosedError(f"{self!r}: stopped while it was about to listen")
        self._connections.start(self._binding.open(addresses, self))

    # Taking connections

    async def accept(self) -> S:
        """Wait for the next connection; the contract of ``trio.abc.Listener``.

        Returns:
            An open socket. ``async with`` on it is allowed once and closes it. It is for
            this one connection: ``connect()`` is refused.

        Raises:
            InvalidStateError: not listening; ``add_socket`` failed.
            SocketClosedError: ``stop_listening()`` was called, before or meanwhile.
            SocketError: the listening socket has failed.

        Cancellation: no connection is lost.
        """
        if not self.is_listening:
            raise self._parts.accepting.why_not(self)
        await trio.lowlevel.checkpoint_if_cancelled()
        socket = self._connections.take_ready()
        if socket is not None:
            await let_others_run()
            return socket
        self._check_thread()
        parking: Parking[S] = Parking()
        return await parking.park(self._connections.wait_for_one(parking))

    async def serve(  # noqa: ASYNC128 - it is called below
        self,
        handler: Callable[[S], Awaitable[object]],
        *,
        task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve connections, each in a task of its own, until listening stops.

        Listens if it does not yet, and reports ``started(port)``. A connection is closed when its
        handler returns: gracefully, or at once after an exception. Returns when listening has
        stopped and the handlers have ended.

        Args:
            handler: an async function that takes the socket.
            task_status: for ``nursery.start``.

        Raises:
            InvalidStateError and other ``SocketError``: as for ``listen`` and ``accept``.
            TypeError: the handler is no async function.
            Exception: a handler's, with ``raise_handler_errors=True``.

        Cancellation: the handlers are cancelled, their connections closed.
        """
        check_async_function("handler", handler)
        if not self.is_listening:
            await self.listen()
        self._check_thread()
        await self._connections.serve(handler, lambda: task_status.started(self.port))

    # The end

    def close(self) -> None:
        """Stop listening, close all connections at once, and cancel their handlers.

        Always legal, idempotent. A handler that this cancels has not failed, not even if it
        raises because its socket is closed.
        """
        self._check_thread()
        self._connections.close()
        if self._keeper is not None:
            self._keeper.note_closed()

    async def aclose(self, grace: float = _GRACE) -> None:
        """Stop listening, let the handlers finish, then cancel them. Always legal, idempotent.

        Handlers that wait for their next request, in ``sock.may_stop()``, are cancelled at once;
        what they have queued is still sent. Connections without a ``serve`` handler
        are closed as by their own ``aclose``. A handler that is cancelled has not failed.

        Args:
            grace: how many seconds handlers and connections may take; then as ``close()``.

        Cancellation: everything is closed at once.
        """
        check_seconds("grace", grace)
        self._check_thread()
        self._connections.begin_closing(grace)
        try:
            with trio.move_on_after(grace):
                await self._connections.wait_until_idle()
        finally:
            self.close()
        await self._connections.wait_until_idle()

    async def _end_scope(self) -> None:
        self._left = True
        self.close()
        with trio.CancelScope(shield=True):
            await self._connections.wait_until_idle()
        assert self._block is not None
        self._block.cancel_tasks()
        await finish(self._delivery, self)

    # Called by the keeper and by ``Delivery``

    def _next_deadline(self) -> float:
        return self._connections.tick()

    def _contain(self, error: Exception) -> bool:
        """See ``Kept``: a server continues."""
        log_fault("the server goes on", error)
        return True

    def _send_some(self) -> bool:
        return False

    def _abort_from_handler(self) -> None:
        """A server sends nothing."""
