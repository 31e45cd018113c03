"""Datagram sockets for tests: ours, bound in one line, and raw peers of the standard library."""

from __future__ import annotations

import errno
import socket
import struct
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Self

import trio

from trio_xsock import UDPSocket
from trio_xsock._network.udp_port import Route

from .peers import LOOPBACK

_IP_RECVTTL = 12  # Linux; the socket module has no name for it
LOOPBACK_INDEX = socket.if_nametoindex("lo")


@asynccontextmanager
async def bound(
    port: int = 0, *, address: str = LOOPBACK, **options: Any
) -> AsyncIterator[UDPSocket]:
    """A socket of ours in its block, bound."""
    async with UDPSocket(port, address=address, **options) as sock:
        await sock.bind()
        yield sock


class RawUDP:
    """A UDP socket of the standard library, driven by Trio; closed at the end of a ``with``.

    Args:
        host: to bind to.
        port: to bind to.
        shared: with others that do the same.
    """

    def __init__(self, host: str = LOOPBACK, port: int = 0, *, shared: bool = False) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_DGRAM)
        try:
            self.sock.setblocking(False)
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            if shared:
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.sock.bind((host, port))
        except BaseException:
            self.sock.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    @property
    def port(self) -> int:
        return int(self.sock.getsockname()[1])

    def send(self, data: bytes, port: int, host: str = LOOPBACK) -> None:
        assert self.sock.sendto(data, (host, port)) == len(data)

    async def receive(self) -> tuple[bytes, str, int]:
        """The next datagram, its sender's address and port."""
        while True:
            try:
                data, address = self.sock.recvfrom(65536)
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self.sock)
            else:
                return data, address[0], address[1]

    def join(self, group: str, index: int = LOOPBACK_INDEX) -> None:
        request = struct.pack("4s4si", socket.inet_aton(group), bytes(4), index)
        self.sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)

    def send_multicasts_by(self, index: int = LOOPBACK_INDEX) -> None:
        request = struct.pack("4s4si", bytes(4), bytes(4), index)
        self.sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, request)

    async def hops_of_next(self) -> int:
        """How many routers the next datagram might still have passed."""
        self.sock.setsockopt(socket.IPPROTO_IP, _IP_RECVTTL, 1)
        while True:
            try:
                _, ancillary, _, _ = self.sock.recvmsg(100, 100)
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self.sock)
            else:
                return int(struct.unpack("i", ancillary[0][2])[0])


class Congestion:
    """Lets the ways out of a bound socket fail, one error after the other, as the OS may do.

    A loopback device is never busy, so this stands for a network that is.

    Args:
        sock: a bound socket.
        errors: what the next attempts to send meet, errors by their numbers; once these are
            used up everything goes.
        for_ever: instead, what all attempts meet.
    """

    def __init__(self, sock: UDPSocket, *errors: int, for_ever: int = 0) -> None:
        self.errors = deque(errors)
        self.for_ever = for_ever
        self.sent: list[bytes] = []
        outlet: Any = sock._datagrams.outlet
        outlet._port = self._through(outlet._port)
        outlet._routes.clear()

    def _through(self, port: Any) -> Any:
        congestion = self

        class Congested:
            def __getattr__(self, name: str) -> Any:
                return getattr(port, name)

            def route(self, *address: Any) -> Route:
                send, target = port.route(*address)

                def send_or_fail(data: Any, where: Any) -> int:
                    congestion.meet()
                    congestion.sent.append(bytes(data))
                    return int(send(data, where))

                return Route(send_or_fail, target)

        return Congested()

    def meet(self) -> None:
        number = self.for_ever or (self.errors.popleft() if self.errors else 0)
        if number:
            raise OSError(number, errno.errorcode[number])

    def end(self) -> None:
        self.for_ever = 0
        self.errors.clear()
