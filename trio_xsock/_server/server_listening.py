"""Where a server listens, and what it is asked for that."""

from __future__ import annotations

import math
import socket as stdlib_socket
from collections.abc import Callable, Sequence
from typing import Any, Self, TypeVar

import trio

from trio_xsock._engine.core import check_interface
from trio_xsock._machines.endpoint import address_text, check_address, check_port, format_endpoint
from trio_xsock._network.acceptor import Acceptor
from trio_xsock._network.foreign import ForeignNetwork, Listener
from trio_xsock._network.interface import NetworkInterface, local_address_of
from trio_xsock._network.listen import check_backlog, is_listening, listen_addresses, open_listeners
from trio_xsock._runtime.guard import protect_from_ki
from trio_xsock._sockets.listening import ListeningCalls
from trio_xsock._values.errors import InvalidStateError, SocketClosedError
from trio_xsock._values.typing import Address

from .supervision import Supervision

S = TypeVar("S", bound=ListeningCalls)


@protect_from_ki
class ServerListening(Supervision[S]):
    """The listening half of a server."""

    __slots__ = (
        "_address",
        "_backlog",
        "_given",
        "_left",
        "_network_interface",
        "_port",
        "_reuse_port",
    )

    _network: ForeignNetwork | None = None
    """What takes the OS's place; ``None`` for the OS."""

    def __init__(
        self,
        handler: object,
        add_socket: Callable[[], S],
        minimum: int,
        maximum: int | None,
        raise_handler_errors: bool,
        port: int,
        address: str,
        network_interface: NetworkInterface | None,
        backlog: int | None,
        reuse_port: bool,
    ) -> None:
        check_backlog(backlog)
        self._port = check_port(port, allow_zero=True)
        self._address = check_address(address)
        self._network_interface = check_interface(network_interface)
        self._backlog = backlog
        self._reuse_port = reuse_port
        self._given: tuple[stdlib_socket.socket, ...] = ()
        self._left = False  # the block is being left
        super().__init__(handler, add_socket, minimum, maximum, raise_handler_errors)

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
        listening = self._listening_on()
        return listening[1] if listening else self._port

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
        listening = self._listening_on()
        if listening and listening[0] not in ("", "0.0.0.0", "::"):
            return address_text(listening)
        return local_address_of(self._network_interface)

    def _listening_on(self) -> Address | None:
        return _address_of(self._acceptor.listeners[0]) if self._acceptor else None

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
        network = self._network
        if network is not None:
            await network.resolve()
            addresses = []
        else:
            addresses = await listen_addresses(
                self._address, self._port, interface=self._network_interface
            )
        self._check_not_listening("it is listening already")  # somebody else was faster
        if self._left or self._stops != stops:
            raise SocketClosedError(f"{self!r}: stopped while it was about to listen")
        listeners: Sequence[stdlib_socket.socket | Listener] = self._take_given()
        if not listeners and network is not None:
            listeners = network.listen(self._port)
        elif not listeners:
            listeners = open_listeners(
                addresses, backlog=self._backlog, reuse_port=self._reuse_port
            )
        self._failure = None
        self._renew_stopping()
        self._forget_refusals()
        self._delivery.hub.begin()
        self._acceptor = Acceptor(
            keeper,
            listeners,
            may_accept=self._may_accept,
            welcome=self._welcome_proxied if self._proxy_protocol else self._welcome,
            failed=self._accepting_failed,
        )
        self._update()

    def _take_given(self) -> Sequence[stdlib_socket.socket]:
        given, self._given = self._given, ()
        for sock in given:
            if not is_listening(sock):
                text = "a socket given to from_socket() was closed, or listens no more"
                raise InvalidStateError(f"{self!r}: {text}")
            sock.setblocking(False)
        return given

    def _check_not_listening(self, text: str) -> None:
        if self._acceptor is not None:
            raise InvalidStateError(f"{self!r}: {text}; stop_listening() first")

    def stop_listening(self) -> None:
        """Accept no more; connections live on. Idempotent. Xojo: ``StopListening``.

        ``accept`` raises ``SocketClosedError`` from now on, and ``serve`` returns when its
        handlers have ended. ``listen`` may be called again; connections that wait ready go on
        waiting to be accepted then. Who is in a handshake is refused, like those in the backlog.
        """
        self._check_thread()
        self._stop()

    def _next_deadline(self) -> float:
        acceptor = self._acceptor
        if acceptor is None:
            return math.inf
        if trio.current_time() >= acceptor.retry_at:
            acceptor.retry()
        return min(acceptor.retry_at, self._end_slow_handshakes())

    # From outside

    @classmethod
    def from_socket(cls, *socks: stdlib_socket.socket, **options: Any) -> Self:
        """Make a server of sockets that listen already.

        For socket activation (see ``activation_sockets``), and for servers that hand their
        sockets on to the next process. The sockets become ours with the next ``listen`` or
        ``serve``, and are closed when listening stops; until then they stay the caller's.
        Where another process has the same socket, no connection is lost by that: those that
        wait in its backlog are that process's. A later ``listen`` binds the same address anew.

        Args:
            socks: listening stream sockets, at least one.
            options: as for the constructor, but for where to listen.

        Raises:
            TypeError: not a ``socket.socket``, none at all, or a wrong option.
            ValueError: not a listening stream socket.

        Raises (``listen``):
            InvalidStateError: a socket was closed meanwhile.
        """
        if not socks:
            raise TypeError("from_socket() needs at least one listening socket")
        for sock in socks:
            if not isinstance(sock, stdlib_socket.socket):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise TypeError(f"sock must be a socket.socket, not {type(sock).__name__}")
            if sock.type != stdlib_socket.SOCK_STREAM or not is_listening(sock):
                raise ValueError(f"sock must be a listening stream socket, not {sock!r}")
        server = cls(**options)
        server._given = socks
        address = _address_of(socks[0])
        server._address, server._port = address_text(address), address[1]
        return server


def _address_of(sock: stdlib_socket.socket | Listener) -> Address:
    """What a socket is bound to; a Unix socket, which has no address of our kind, to none."""
    address: Any = sock.getsockname()
    return ("", 0) if isinstance(address, str | bytes) else address
