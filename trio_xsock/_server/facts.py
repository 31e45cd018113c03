"""The options and facts of a server: limits, times, addresses, connections."""

from __future__ import annotations

import socket as stdlib_socket
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

import trio

from trio_xsock._machines.endpoint import address_text, format_endpoint
from trio_xsock._network.interface import NetworkInterface, local_address_of
from trio_xsock._runtime.channel import EventChannel
from trio_xsock._runtime.guard import protect_from_ki
from trio_xsock._runtime.scoped import Scoped
from trio_xsock._sockets.connected import ConnectedSocket
from trio_xsock._values.errors import InvalidStateError
from trio_xsock._values.events import ErrorOccurred, Event, ListenerEvent
from trio_xsock._values.server_statistics import ServerStatistics
from trio_xsock._values.typing import Address

from .binding import Binding, address_of
from .connections import ServerConnections
from .parts import ServerParts, check_maximum, check_minimum

S = TypeVar("S", bound=ConnectedSocket)


@protect_from_ki
class ServerFacts(Scoped, Generic[S]):
    """The options and facts of a server."""

    __slots__ = ()

    _binding: Binding
    _connections: ServerConnections[S]
    _parts: ServerParts[S]

    # Places

    @property
    def minimum_sockets_available(self) -> int:
        """Sockets made ahead; may change at any time. Xojo: ``MinimumSocketsAvailable``.

        Raises (assignment):
            ValueError, TypeError: negative, or not an int.
        """
        return self._parts.roster.minimum

    @minimum_sockets_available.setter
    def minimum_sockets_available(self, minimum: int) -> None:
        roster = self._parts.roster
        roster.limit(check_minimum(minimum), roster.maximum)
        self._connections.refill()
        self._connections.update()

    @property
    def maximum_sockets_connected(self) -> int | None:
        """The maximum, ``None`` for none; may change at any time. Lowering it closes nothing.

        Raises (assignment):
            ValueError, TypeError: less than 1, or not an int. Xojo: ``MaximumSocketsConnected``.
        """
        return self._parts.roster.maximum

    @maximum_sockets_connected.setter
    def maximum_sockets_connected(self, maximum: int | None) -> None:
        roster = self._parts.roster
        roster.limit(roster.minimum, check_maximum(maximum))
        self._connections.update()

    def active_connections(self) -> list[S]:
        """The sockets that are connected now, oldest first; a new list each time.

        Those that wait to be accepted are among them. Xojo: ``ActiveConnections``.
        """
        return list(self._parts.roster.placed.values())

    def statistics(self) -> ServerStatistics:
        """Counters since the server was made."""
        parts, hub = self._parts, self._delivery.hub
        return ServerStatistics(
            accepted=parts.roster.accepted,
            refused=parts.lobby.refused,
            failed=parts.staff.failed,
            live=len(parts.roster.placed),
            ready=parts.roster.ready,
            handshaking=parts.lobby.count,
            events_posted=hub.posted,
            events_merged=hub.merged,
        )

    # New connections

    @property
    def idle_timeout(self) -> float | None:
        """Seconds; ``None`` for off. An assignment applies to new connections.

        Ends a connection, as ``TIMED_OUT``, on which no byte was sent or received for this time;
        a socket that has an ``idle_timeout`` of its own keeps that.

        Raises (assignment):
            TypeError, ValueError: not a number of seconds above 0, or ``None``.
        """
        return self._parts.admission.idle_timeout

    @idle_timeout.setter
    def idle_timeout(self, timeout: float | None) -> None:
        self._parts.admission.limit_idleness(timeout)

    @property
    def maximum_handshakes(self) -> int:
        """How many new connections may be unannounced at a time; may change at any time.

        Raises (assignment):
            ValueError, TypeError: less than 1, or not an int.
        """
        return self._parts.lobby.maximum

    @maximum_handshakes.setter
    def maximum_handshakes(self, maximum: int) -> None:
        self._parts.lobby.limit(maximum, self._parts.lobby.timeout)
        self._connections.update()

    @property
    def handshake_timeout(self) -> float:
        """Seconds that a handshake may take; an assignment applies to new handshakes.

        Raises (assignment):
            TypeError, ValueError: not a number of seconds above 0.
        """
        return self._parts.lobby.timeout

    @handshake_timeout.setter
    def handshake_timeout(self, timeout: float) -> None:
        self._parts.lobby.limit(self._parts.lobby.maximum, timeout)

    @property
    def proxy_protocol(self) -> bool:
        """Whether every connection begins with a header of the PROXY protocol."""
        return self._parts.proxied.enabled

    @property
    def trusted_proxies(self) -> tuple[str, ...]:
        """The networks that proxies may speak from."""
        return tuple(map(str, self._parts.proxied.networks))

    # Where it listens

    @property
    def is_listening(self) -> bool:
        """Whether the server listens. Xojo: ``IsListening``."""
        return bool(self._parts.accepting.listeners)

    @property
    def handle(self) -> int:
        """The listening descriptor (the first one), -1 when there is none. Xojo: ``Handle``."""
        listeners = self._parts.accepting.listeners
        return listeners[0].fileno() if listeners else -1

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
        return listening[1] if listening else self._binding.port

    @port.setter
    def port(self, port: int) -> None:
        self._check_not_listening("port can be set only while not listening")
        self._binding.set_port(port)

    @property
    def local_address(self) -> str:
        """The address listened on; never raises. Xojo: ``LocalAddress``.

        A wildcard, or before listening: the chosen interface's address, else the default
        route's, else loopback.
        """
        listening = self._listening_on()
        if listening and listening[0] not in ("", "0.0.0.0", "::"):
            return address_text(listening)
        return local_address_of(self._binding.interface)

    def stop_listening(self) -> None:
        """Stop accepting; connections stay open. Idempotent. Xojo: ``StopListening``.

        ``accept`` raises ``SocketClosedError`` from now on, and ``serve`` returns when its
        handlers have ended. ``listen`` may be called again; connections that wait to be accepted
        keep waiting. Connections in a handshake are refused, like those in the backlog.
        """
        self._check_thread()
        self._connections.stop()

    def _listening_on(self) -> Address | None:
        listeners = self._parts.accepting.listeners
        return address_of(listeners[0]) if listeners else None

    def _check_not_listening(self, text: str) -> None:
        if self.is_listening:
            raise InvalidStateError(f"{self!r}: {text}; stop_listening() first")

    @property
    def network_interface(self) -> NetworkInterface | None:
        """The interface to listen on; an assignment takes effect at the next ``listen``.

        Raises (assignment):
            TypeError: neither a ``NetworkInterface`` nor ``None``.
        """
        return self._binding.interface

    @network_interface.setter
    def network_interface(self, interface: NetworkInterface | None) -> None:
        self._binding.set_interface(interface)

    def __repr__(self) -> str:
        state = "listening" if self.is_listening else "not listening"
        endpoint = format_endpoint(self._binding.address or "*", self.port)
        return f"<ServerSocket {state} on {endpoint}, {len(self._parts.roster.placed)} connections>"

    # What happens

    @property
    def stopping(self) -> trio.Event:
        """Set when the server begins to stop; ``await server.stopping.wait()`` waits for that.

        Only ``aclose``, ``close`` and the end of the block set it; after ``stop_listening``
        handlers continue. When the server listens again it is a new event.
        For a handler that only waits for its next request there is ``sock.may_stop()``.
        """
        return self._parts.staff.stopping

    if TYPE_CHECKING:

        @property
        def events(self) -> EventChannel[ListenerEvent[Self]]: ...

    def subscribe(self, *, connections: bool = False) -> EventChannel[ListenerEvent[Self]]:
        """A further channel of its own; each channel sees every event.

        Args:
            connections: also ``ConnectionsChanged``, for connections that come and go.
        """
        channel: EventChannel[Any] = super().subscribe()
        if connections:
            self._parts.changes.follow(channel)
        return channel

    def _events_now(self) -> list[Event]:
        failure = self._parts.accepting.failure
        return [] if failure is None else [ErrorOccurred(self, failure)]

    # From outside

    @classmethod
    def from_socket(cls, *socks: stdlib_socket.socket, **options: Any) -> Self:
        """Make a server of sockets that listen already.

        For socket activation (see ``activation_sockets``), and for servers that pass their
        sockets to the next process. The next ``listen`` or ``serve`` takes over the sockets, and
        they are closed when listening stops; until then they stay the caller's. If another
        process has the same socket, no connection is lost: it gets those in the backlog.
        A later ``listen`` binds the same address again.

        Args:
            socks: listening stream sockets, at least one.
            options: as for the constructor, but for where to listen.

        Raises:
            TypeError: not a ``socket.socket``, none at all, or a wrong option.
            ValueError: not a listening stream socket.

        Raises (``listen``):
            InvalidStateError: a socket was closed meanwhile.
        """
        server = cls(**options)
        server._binding.give(socks)
        return server
