"""``ServerSocket``: many connections on one port."""

from __future__ import annotations

import inspect
import math
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, overload

import trio

from ._acceptor import Acceptor
from ._connection import Connection
from ._core import check_interface
from ._endpoint import address_text, check_address, check_port, format_endpoint
from ._errors import InvalidStateError, SocketClosedError
from ._guard import protect_from_ki
from ._interface import NetworkInterface, local_address_of
from ._listen import check_backlog, listen_addresses, open_listeners
from ._options import check_seconds
from ._supervision import Supervision
from ._tcp import TCPSocket

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    S = TypeVar("S", bound=Connection, default=TCPSocket)
else:  # `typing` knows defaults only from Python 3.13 on
    from typing import TypeVar

    S = TypeVar("S", bound=Connection)

_GRACE = 5.0
_TCP_SOCKET: Any = TCPSocket  # what the first overload promises


@protect_from_ki
class ServerSocket(Supervision[S], trio.abc.Listener[S]):
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
        "_address",
        "_backlog",
        "_guests",
        "_left",
        "_network_interface",
        "_port",
        "_reuse_port",
    )

    _HANDLER_METHODS = ("on_error",)

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
        backlog: int | None = ...,
        reuse_port: bool = ...,
        raise_handler_errors: bool = ...,
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
        backlog: int | None = ...,
        reuse_port: bool = ...,
        raise_handler_errors: bool = ...,
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
        backlog: int | None = None,
        reuse_port: bool = False,
        raise_handler_errors: bool = False,
    ) -> None:
        _check_add_socket(add_socket)
        check_backlog(backlog)
        super().__init__(
            handler,
            add_socket,
            minimum_sockets_available,
            maximum_sockets_connected,
            raise_handler_errors,
        )
        self._port = check_port(port, allow_zero=True)
        self._address = check_address(address)
        self._network_interface = check_interface(network_interface)
        self._backlog = backlog
        self._reuse_port = reuse_port
        self._left = False  # the block is being left
        self._guests: list[trio.lowlevel.Task] = []  # those who entered it once more

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
        self._check_not_listening("port can be set only while not listening")
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
        """The interface to listen on; an assignment takes effect at the next ``listen``.

        Raises (assignment):
            TypeError: neither a ``NetworkInterface`` nor ``None``.
        """
        return self._network_interface

    @network_interface.setter
    def network_interface(self, interface: NetworkInterface | None) -> None:
        self._network_interface = check_interface(interface)

    def __repr__(self) -> str:
        state = "listening" if self._acceptor else "not listening"
        endpoint = format_endpoint(self._address or "*", self.port)
        return f"<ServerSocket {state} on {endpoint}, {len(self._connections)} connections>"

    # The block

    async def __aenter__(self) -> Self:
        """Open the server's block; a checkpoint.

        Inside of it, what takes a ``trio.abc.Listener`` may enter it once more, as
        ``trio.serve_listeners`` does; that closes the server at its end.

        Raises:
            InvalidStateError: the block has been left.
        """
        if self._block is None or self._left:
            return await super().__aenter__()
        self._guests.append(trio.lowlevel.current_task())
        await trio.lowlevel.cancel_shielded_checkpoint()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the server, and let out what failed; see ``aclose`` and ``close``."""
        task = trio.lowlevel.current_task()
        if task not in self._guests:
            await super().__aexit__(exc_type, exc, traceback)  # noqa: ASYNC102 - it sees to itself
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
            NameResolutionError: ``address`` means nothing on this machine.
            SocketClosedError: ``stop_listening()`` or ``close()`` was called meanwhile.
            OpenDriverError, OutOfMemoryError, SocketError: what else the OS said.

        Cancellation: nothing is left over.
        """
        keeper = self._require_block("listen()")
        self._check_not_listening("it is listening already")
        stops = self._stops
        self._pool.fill(self._minimum, keeper.context)
        addresses = await listen_addresses(
            self._address, self._port, interface=self._network_interface
        )
        self._check_not_listening("it is listening already")  # somebody else was faster
        if self._left or self._stops != stops:
            raise SocketClosedError(f"{self!r}: stopped while it was about to listen")
        listeners = open_listeners(addresses, backlog=self._backlog, reuse_port=self._reuse_port)
        self._failure = None
        self._hub.begin()
        self._acceptor = Acceptor(
            keeper,
            listeners,
            may_accept=self._may_accept,
            welcome=self._welcome,
            failed=self._accepting_failed,
        )
        self._update()

    def _check_not_listening(self, text: str) -> None:
        if self._acceptor is not None:
            raise InvalidStateError(f"{self!r}: {text}; stop_listening() first")

    def stop_listening(self) -> None:
        """Accept no more; connections live on. Idempotent. Xojo: ``StopListening``.

        ``accept`` raises ``SocketClosedError`` from now on, and ``serve`` returns when its
        handlers have ended. ``listen`` may be called again; connections that wait ready go on
        waiting to be accepted then.
        """
        self._stop()

    async def serve(  # noqa: ASYNC128 - Supervision._serve calls it
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
            task_status: for ``nursery.start``.

        Raises:
            InvalidStateError and other ``SocketError``: as for ``listen`` and ``accept``.
            TypeError: the handler is not callable.
            Exception: a handler's, with ``raise_handler_errors=True``.

        Cancellation: the handlers are cancelled, their connections closed.
        """
        if not callable(handler):
            raise TypeError(f"handler must be an async function, not {handler!r}")
        if self._acceptor is None:
            await self.listen()
        await self._serve(handler, task_status, self.port)

    # The end

    def close(self) -> None:
        """Stop listening, close all connections at once, and cancel their handlers.

        Always legal, idempotent.
        """
        self.stop_listening()
        for socket in list(self._open):
            socket.close()
        self._cancel_handlers()
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
            if socket not in self._serving:
                socket._start_closing(grace)
        try:
            with trio.move_on_after(grace):
                await self._wait_until_idle()
        finally:
            self.close()
        await self._wait_until_idle()

    async def _end_scope(self) -> None:
        self._left = True
        self.close()
        with trio.CancelScope(shield=True):
            await self._wait_until_idle()
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


def _check_add_socket(add_socket: object) -> None:
    if not callable(add_socket):
        raise TypeError(f"add_socket must be callable, not {type(add_socket).__name__}")
    if inspect.iscoroutinefunction(add_socket):
        raise TypeError("add_socket must be a plain function that returns a new socket")
