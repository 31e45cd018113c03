"""A simulated network of connections: servers and clients without the OS.

Hosts have names and made-up addresses; a connection is a pair of transports in memory. The sockets
above them are ordinary ones.
"""

from __future__ import annotations

import errno as errnos
import itertools
import os
import socket as stdlib_socket
from collections import deque
from collections.abc import Sequence
from typing import Any, Final, TypeVar

import trio

from trio_xsock._machines.endpoint import format_endpoint, packed_address
from trio_xsock._network.options import check_positive
from trio_xsock._network.routes import Origin
from trio_xsock._runtime.guard import protect_from_ki
from trio_xsock._runtime.keeper import Keeper
from trio_xsock._runtime.readiness import Watch
from trio_xsock._runtime.steps import Steps
from trio_xsock._server.server import ServerSocket
from trio_xsock._sockets.connected import ConnectedSocket
from trio_xsock._values.errors import AddressInUseError, ConnectError, NameResolutionError
from trio_xsock._values.typing import Address

from ._memory import MemoryTransport, memory_transports, os_error
from ._seam import use_network
from ._watch import NEVER, NOW, SelfWatch

S = TypeVar("S", bound=ConnectedSocket | ServerSocket[Any])

_FIRST_FREE: Final = 49152
_OURSELVES: Final = ("localhost", "127.0.0.1", "::1")


@protect_from_ki
class MemoryNetwork:
    """Hosts whose servers and clients reach each other by name, without the OS.

    ::

        network = MemoryNetwork()
        server = network.attach(ServerSocket(4711), "server.test")
        client = network.attach(TCPSocket("server.test", 4711), "client.test")

    From then on they are used like any others, and so are ``SSLSocket`` and ``EasyTCPSocket``, and
    the sockets that a server accepts. Nothing depends on real time, so that it works under a
    ``trio.testing.MockClock`` that jumps. For datagrams there is ``DatagramNetwork``.

    A host's address is made up (10.0.0.1 is the first one's) unless its name is an address.
    ``localhost`` is the host itself. There are no descriptors: ``handle`` is -1, and options of
    the kernel (``keepalive``) have no effect.

    Args:
        capacity: how many bytes there may be in transit, each way of each connection.

    Raises:
        TypeError, ValueError: ``capacity`` is no whole number of at least 1.
    """

    def __init__(self, *, capacity: int = 65536) -> None:
        self._capacity = check_positive("capacity", capacity)
        self._hosts: dict[str, _Host] = {}

    def attach(self, sock: S, host: str) -> S:
        """Put a socket or a server on one of the network's hosts, from now on.

        Args:
            sock: a ``TCPSocket``, ``SSLSocket``, ``EasyTCPSocket`` or ``ServerSocket``; closed.
            host: the host's name, in any case of letters, or IP address; several sockets may be
                on one host.

        Returns:
            The socket.

        Raises:
            TypeError: another kind of socket, or ``host`` is not a str.
            ValueError: ``host`` is empty.
            InvalidStateError: the socket is open.
        """
        if not isinstance(host, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"host must be a str, not {type(host).__name__}")
        if not host:
            raise ValueError("host must not be empty")
        place = self._hosts.get(host.lower())
        use_network(sock, place or self._add(host))
        return sock

    def _add(self, host: str) -> _Host:
        number = len(self._hosts) + 1
        made_up = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
        place = _Host(self, host if packed_address(host) else made_up)
        return self._hosts.setdefault(host.lower(), place)

    def _find(self, name: str) -> _Host:
        host = self._hosts.get(name.lower())
        if host is None:
            host = next((each for each in self._hosts.values() if each.address == name), None)
        if host is None:
            known = ", ".join(sorted(self._hosts))
            text = f"no host of this network is called {name!a}; there are: {known}"
            raise NameResolutionError(text)
        return host


@protect_from_ki
class _Host:
    """A host; see ``ForeignNetwork`` for its methods."""

    def __init__(self, network: MemoryNetwork, address: str) -> None:
        self.address = address
        self._network = network
        self._listeners: dict[int, _Listener] = {}
        self._free = itertools.count(_FIRST_FREE)

    async def connect(
        self, address: str, port: int, origin: Origin, /
    ) -> tuple[MemoryTransport, tuple[str, int]]:
        await trio.lowlevel.checkpoint()
        host = self if address.lower() in _OURSELVES else self._network._find(address)
        listener = host._listeners.get(port)
        error = errnos.ECONNREFUSED if listener is None else 0
        if origin.address not in ("", self.address):
            error = errnos.EADDRNOTAVAIL
        if listener is None or error:
            endpoint = format_endpoint(address, port)
            text = f"cannot connect to {endpoint}: {os.strerror(error)}"
            raise ConnectError(text, errors=(os_error(error),))
        own = (self.address, origin.port or self._free_port())
        ours, theirs = memory_transports(self._network._capacity, own, (host.address, port))
        listener.take(theirs, own)
        return ours, (host.address, port)

    async def resolve(self) -> None:
        await trio.lowlevel.checkpoint()

    def listen(self, port: int, /) -> Sequence[_Listener]:
        if port in self._listeners:
            endpoint = format_endpoint(self.address, port)
            text = f"cannot listen on {endpoint}: {os.strerror(errnos.EADDRINUSE)}"
            raise AddressInUseError(text, errno=errnos.EADDRINUSE)
        number = port or self._free_port()
        listener = self._listeners[number] = _Listener(self, number)
        return [listener]

    def forget(self, number: int) -> None:
        """Nobody listens there any more."""
        del self._listeners[number]

    def _free_port(self) -> int:
        return next(number for number in self._free if number not in self._listeners)


@protect_from_ki
class _Listener:
    """What listens on a port of a host; see ``Listener`` for its methods."""

    family: int = int(stdlib_socket.AF_INET)

    def __init__(self, host: _Host, number: int) -> None:
        self._host = host
        self._number = number
        self._closed = False
        self._backlog: deque[tuple[MemoryTransport, Address]] = deque()
        self._watch: SelfWatch | None = None

    def take(self, transport: MemoryTransport, peer: Address) -> None:
        """A connection for whoever accepts."""
        self._backlog.append((transport, peer))
        if self._watch is not None:
            self._watch.update()

    def accept(self) -> tuple[MemoryTransport, Address]:
        if not self._backlog:
            raise os_error(errnos.EAGAIN)
        return self._backlog.popleft()

    def make_watch(self, keeper: Keeper, steps: Steps, /) -> Watch:
        self._watch = SelfWatch(keeper, self, steps)
        return self._watch

    def readable_at(self) -> float:
        """See ``Readiness``."""
        return NOW if self._backlog else NEVER

    def writable_at(self) -> float:
        """See ``Readiness``."""
        return NEVER

    def fileno(self) -> int:
        return -1

    def getsockname(self) -> Address:
        return self._host.address, self._number

    def getpeername(self) -> Any:
        raise os_error(errnos.ENOTCONN)

    def getsockopt(self, _level: int, _option: int, _size: int = 0, /) -> int:
        """All options are off."""
        return 0

    def setsockopt(self, _level: int, _option: int, /, *_value: object) -> None:
        """Nothing here depends on a kernel's options."""

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._watch = None
        self._host.forget(self._number)
        while self._backlog:
            self._backlog.popleft()[0].reset()
