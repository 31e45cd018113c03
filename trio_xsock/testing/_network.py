"""A simulated network of datagrams, with loss, and reproducible.

A program over UDP must handle loss, duplication and reordering, which tests on a real machine
never show. Here a random generator with a seed decides what happens to each datagram. Time is
Trio's, so delays cost nothing under a ``MockClock``.
"""

from __future__ import annotations

import errno as errnos
import functools
import heapq
import itertools
import os
import random
import socket as stdlib_socket
from typing import Any, Final, TypeVar

import trio

from trio_xsock._machines.endpoint import ResolvedAddress, is_multicast, literal_address
from trio_xsock._machines.udp_groups import Group, Memberships
from trio_xsock._machines.udp_queue import Packet
from trio_xsock._network.interface import NetworkInterface
from trio_xsock._network.socket_view import Descriptor
from trio_xsock._network.udp_port import Port, Route, Sharing
from trio_xsock._runtime.guard import protect_from_ki
from trio_xsock._runtime.keeper import Keeper
from trio_xsock._runtime.readiness import Watch
from trio_xsock._runtime.steps import Steps
from trio_xsock._sockets.easy_udp import EasyUDPSocket
from trio_xsock._sockets.udp import UDPSocket
from trio_xsock._values.typing import Address, Buffer

from ._seam import use_ports_of
from ._watch import NEVER, NOW, SelfWatch

S = TypeVar("S", bound=UDPSocket | EasyUDPSocket)

_FIRST_FREE: Final = 49152
_MOST_AT_ONCE: Final = 64
_LARGEST: Final = 65507
_EVERYBODY: Final = "255.255.255.255"


@protect_from_ki
class DatagramNetwork:
    """Hosts that send each other datagrams, without the OS.

    ::

        network = DatagramNetwork(seed=1, loss=0.1)
        server = network.attach(UDPSocket(4711), "10.0.0.1")
        client = network.attach(UDPSocket(), "10.0.0.2")

    A ``UDPSocket``, an ``EasyUDPSocket`` or an ``AutoDiscovery`` can be attached. From then on
    the sockets are used like any others. Unicasts, multicasts and broadcasts to
    255.255.255.255 arrive; there are no interfaces, routers or names.

    Args:
        seed: of the random generator; the same seed and the same sends give the same results.
        loss: the fraction of datagrams that is lost, 0 to 1.
        duplication: the fraction that arrives twice, 0 to 1.
        delay: seconds in transit.
        reordering: the fraction that is late, 0 to 1, so that later datagrams overtake it.
        lateness: by how many seconds these are late, at the most.

    All but the seed are attributes, which may change at any time.

    Attributes:
        sent: datagrams so far, one for each receiver that they were meant for.
        lost: those of them that never arrive.
        doubled: those that arrive twice.
        late: those that arrive late.
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        loss: float = 0.0,
        duplication: float = 0.0,
        delay: float = 0.0,
        reordering: float = 0.0,
        lateness: float = 0.01,
    ) -> None:
        self.loss = loss
        self.duplication = duplication
        self.delay = delay
        self.reordering = reordering
        self.lateness = lateness
        self.sent: int = 0
        self.lost: int = 0
        self.doubled: int = 0
        self.late: int = 0
        self._dice = random.Random(seed)
        self._number = itertools.count()
        self._ports: list[_Port] = []

    def attach(self, sock: S, address: str) -> S:
        """Put a socket on one of the network's hosts, from its next ``bind`` on.

        Args:
            sock: a ``UDPSocket`` or an ``EasyUDPSocket``; closed.
            address: the host's IP address; several sockets may be on one host.

        Returns:
            The socket.

        Raises:
            ValueError: ``address`` is no IP address.
            InvalidStateError: the socket is bound.
            TypeError: it is neither.
        """
        literal = literal_address(address, 0)
        if literal is None:
            raise ValueError(f"address must be an IP address, not {address!a}")
        use_ports_of(sock, functools.partial(self._open, literal.address[0]))
        return sock

    def _open(
        self,
        host: str,
        local: ResolvedAddress | None,
        number: int,
        interface: NetworkInterface | None,
        _memberships: Memberships,
        /,
        *,
        sharing: Sharing,
    ) -> Port:
        if local is not None and local.address[0] not in (host, "0.0.0.0", "::"):
            raise OSError(errnos.EADDRNOTAVAIL, os.strerror(errnos.EADDRNOTAVAIL))
        others = [port for port in self._ports if port.host == host]
        if not number:
            taken = {port.number for port in others}
            number = next(free for free in itertools.count(_FIRST_FREE) if free not in taken)
        port = _Port(self, host, number, sharing)
        if not all(port.may_be_beside(other) for other in others):
            raise OSError(errnos.EADDRINUSE, os.strerror(errnos.EADDRINUSE))
        self._ports.append(port)
        return port

    def _close(self, port: _Port) -> None:
        self._ports.remove(port)

    def _send(self, sender: _Port, target: ResolvedAddress, data: Buffer, _: Address) -> int:
        payload = bytes(data)
        if len(payload) > _LARGEST:
            raise OSError(errnos.EMSGSIZE, os.strerror(errnos.EMSGSIZE))
        for port in self._receivers(sender, target):
            self._carry(payload, sender, target.address[0], port)
        return len(payload)

    def _receivers(self, sender: _Port, target: ResolvedAddress) -> list[_Port]:
        host, number = target.address[:2]
        there = [port for port in self._ports if port.number == number]
        if is_multicast(target):
            return [port for port in there if port.hears(host, sender)]
        if host == _EVERYBODY:
            return there
        return [port for port in there if port.host == host][-1:]  # who shares it and came last

    def _carry(self, data: bytes, sender: _Port, target: str, port: _Port) -> None:
        """Decide what happens to one datagram; always draws the same number of random values."""
        loss, duplication, lateness = (self._dice.random() for _ in range(3))
        self.sent += 1
        if loss < self.loss:
            self.lost += 1
            return
        due = trio.current_time() + self.delay
        if lateness < self.reordering:
            self.late += 1
            due += self.lateness * (1 - lateness / self.reordering)
        copies = 2 if duplication < self.duplication else 1
        self.doubled += copies - 1
        for _ in range(copies):
            port.take(due, next(self._number), (data, (sender.host, sender.number), target))


@protect_from_ki
class _Port:
    """A port of one of the hosts; see ``Port`` for its methods."""

    def __init__(
        self,
        network: DatagramNetwork,
        host: str,
        number: int,
        sharing: Sharing,
    ) -> None:
        self.host = host
        self.number = number
        self._network = network
        self._joined: set[Group] = set()
        self._sharing = sharing
        self._hops = 0
        self._hears_itself = False
        self._arriving: list[tuple[float, int, Packet]] = []
        self._watch: SelfWatch | None = None

    @property
    def family(self) -> int:
        return int(stdlib_socket.AF_UNSPEC)

    def fileno(self) -> int:
        return -1

    def getsockname(self) -> Address:
        return self.host, self.number

    def descriptor(self) -> Descriptor:
        return self

    def getpeername(self) -> Address:
        raise OSError(errnos.ENOTCONN, os.strerror(errnos.ENOTCONN))

    def getsockopt(self, _level: int, _option: int, _length: int = 0, /) -> int:
        """All options are off."""
        return 0

    def setsockopt(self, _level: int, _option: int, /, *_value: object) -> None:
        """Nothing here depends on a kernel's options."""

    @property
    def own_address(self) -> str:
        return self.host

    def watch(self, keeper: Keeper, steps: Steps) -> Watch:
        self._watch = SelfWatch(keeper, self, steps)
        return self._watch

    def readable_at(self) -> float:
        """See ``Readiness``."""
        return self._arriving[0][0] if self._arriving else NEVER

    def writable_at(self) -> float:
        """See ``Readiness``."""
        return NOW

    def may_be_beside(self, other: _Port) -> bool:
        """Whether both may be on one host."""
        if self.number != other.number:
            return True
        return self._sharing is not Sharing.NEVER and other._is_shared()

    def _is_shared(self) -> bool:
        if self._sharing is Sharing.IN_A_GROUP:
            return bool(self._joined)
        return self._sharing is Sharing.AT_ONCE

    def hears(self, group: str, sender: _Port) -> bool:
        """Whether a datagram of ``sender`` to a group arrives here."""
        if sender is self and not self._hears_itself:
            return False
        if sender.host != self.host and not sender._hops:
            return False
        return any(each.address == group for each in self._joined)

    def take(self, due: float, number: int, packet: Packet) -> None:
        """A datagram is in transit."""
        heapq.heappush(self._arriving, (due, number, packet))
        assert self._watch is not None
        self._watch.update()

    def receive(self) -> list[Packet]:
        packets: list[Packet] = []
        now = trio.current_time()
        while self.readable_at() <= now and len(packets) < _MOST_AT_ONCE:
            packets.append(heapq.heappop(self._arriving)[2])
        return packets

    def route(self, address: ResolvedAddress, source: str = "") -> Route:
        literal = literal_address(source, 0)
        ours = (self.host, _EVERYBODY)
        if literal is not None and literal.address[0] not in ours and not is_multicast(literal):
            raise OSError(errnos.EINVAL, os.strerror(errnos.EINVAL))
        send: Any = functools.partial(self._network._send, self, address)
        return Route(send, address.address)

    def join(self, group: Group) -> Port | None:
        self._joined.add(group)
        return None

    def leave(self, group: Group) -> None:
        self._joined.discard(group)

    def set_hops(self, hops: int, unicast: bool) -> None:
        self._hops = hops

    def set_send_to_self(self, wanted: bool) -> None:
        self._hears_itself = wanted

    def dropped(self) -> int:
        return 0

    def refresh(self) -> bool:
        return False

    @property
    def needs_renewal(self) -> bool:
        return False

    def renew(self) -> OSError | None:
        return None

    def close(self) -> None:
        self._network._close(self)
        self._arriving.clear()
