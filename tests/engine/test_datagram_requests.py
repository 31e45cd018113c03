"""The way to an address, and what is said if there is none."""

from __future__ import annotations

import errno
import socket
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.support.datagrams import RawUDP, bound
from tests.support.pairs import GatedResolver
from tests.support.peers import LOOPBACK
from trio_xsock import (
    Datagram,
    InvalidPortError,
    InvalidStateError,
    NameResolutionError,
    NetworkInterface,
    SocketClosedError,
    SocketError,
    UDPSocket,
)
from trio_xsock._engine.datagram_requests import find_route


class Answers(GatedResolver):
    """A resolver that knows several addresses of every host."""

    def __init__(self, *addresses: str) -> None:
        super().__init__()
        self.answer.set()
        self._addresses = addresses

    async def getaddrinfo(self, host: Any, port: Any, *arguments: Any, **__: Any) -> list[Any]:
        await super().getaddrinfo(host, port)
        return [(0, 0, 0, "", (address, port)) for address in self._addresses]


class Counting(Answers):
    """A resolver that counts what it is asked."""

    asked = 0

    async def getaddrinfo(self, *arguments: Any, **options: Any) -> list[Any]:
        self.asked += 1
        return await super().getaddrinfo(*arguments, **options)


async def test_names_are_resolved_by_send_only() -> None:
    """``write`` never waits, so it takes IP addresses."""
    with RawUDP() as peer:
        async with bound() as sock:
            Answers(LOOPBACK)
            await sock.send(Datagram("peer.example", peer.port, b"sent"))
            assert await peer.receive() == (b"sent", LOOPBACK, sock.port)
            with pytest.raises(NameResolutionError, match="no IP address; `await send"):
                sock.write(Datagram("far.example", peer.port, b"data"))
            with pytest.raises(NameResolutionError):
                sock.write_to("localhost", b"data", peer.port)
            with pytest.raises(NameResolutionError, match="empty"):
                await sock.send(Datagram("", peer.port, b"data"))


async def test_a_name_is_looked_up_once_for_many_datagrams() -> None:
    """Also for datagrams that leave from different addresses, and after binding again."""
    resolver = Counting(LOOPBACK)
    async with UDPSocket(address="") as sock:
        await sock.bind()
        for _ in range(100):
            await sock.send(Datagram("peer.example", 9, b"data"))
        await sock.send(Datagram("peer.example", 9, b"data", "127.0.0.2"))
        sock.close()
        await sock.bind()
        await sock.send(Datagram("peer.example", 9, b"data"))
        assert sock.statistics().packets_out == 102
        assert resolver.asked == 1


async def test_of_a_hosts_addresses_the_first_reachable_one_is_used() -> None:
    """Those of a family that is not there, or to which no route leads, are passed over."""
    with RawUDP() as peer:
        async with bound(address="") as sock:
            outlet: Any = sock._datagrams.outlet
            outlet._port = Unreachable(outlet._port)
            Answers("192.0.2.1", LOOPBACK)
            await sock.send(Datagram("peer.example", peer.port, b"sent"))
            assert (await peer.receive())[0] == b"sent"
            Answers("192.0.2.1", "192.0.2.2")
            with pytest.raises(SocketError) as caught:
                await sock.send(Datagram("far.example", peer.port, b"data"))
            assert caught.value.errno == errno.ENETUNREACH
            Answers("192.0.2.1", LOOPBACK)
            with pytest.raises(SocketError) as caught:
                await sock.send(Datagram("near.example", peer.port, bytes(70_000)))
            assert caught.value.errno == errno.EMSGSIZE


class Unreachable:
    """A port from which no way leads to the documentation's addresses, and that is too small."""

    def __init__(self, port: Any) -> None:
        self._port = port

    def __getattr__(self, name: str) -> Any:
        return getattr(self._port, name)

    def route(self, address: Any, source: str = "") -> Any:
        route = self._port.route(address)

        def send(data: Any, target: Any) -> int:
            if len(data) > 65507:
                raise OSError(errno.EMSGSIZE, "too large")
            if "192.0.2." in target[0]:
                raise OSError(errno.ENETUNREACH, "no route")
            return int(route.send(data, target))

        return route._replace(send=send)


async def test_a_family_that_the_socket_lacks() -> None:
    """A host that has addresses of the other family only cannot be reached."""
    async with bound() as sock:
        Answers("::1")
        with pytest.raises(NameResolutionError, match="no IPv4 address"):
            await sock.send(Datagram("peer.example", 7, b"data"))
        with pytest.raises(SocketError) as caught:
            await sock.send(Datagram("::1", 7, b"data"))
        assert caught.value.errno == errno.EAFNOSUPPORT


async def test_closing_while_a_name_is_looked_up() -> None:
    """The send says so; so does one of a socket that was bound again meanwhile, or it goes."""
    resolver = GatedResolver()

    async def send() -> None:
        with pytest.raises(SocketClosedError):
            await sock.send(Datagram("peer.example", 7, b"data"))

    async with bound() as sock, trio.open_nursery() as nursery:
        nursery.start_soon(send)
        await resolver.called.wait()
        sock.close()
        resolver.answer.set()
        await wait_all_tasks_blocked()


@pytest.mark.parametrize(
    ("address", "port", "error"),
    [
        (LOOPBACK, 0, InvalidPortError),
        (LOOPBACK, 65536, InvalidPortError),
        (LOOPBACK, -1, InvalidPortError),
        (LOOPBACK, "7", TypeError),
        (LOOPBACK, True, TypeError),
        (None, 7, TypeError),
        (b"127.0.0.1", 7, TypeError),
    ],
)
async def test_wrong_destinations_are_refused(
    address: Any, port: Any, error: type[Exception]
) -> None:
    """F66: before any I/O, by each call."""
    async with bound() as sock:
        with pytest.raises(error):
            sock.write(Datagram(address, port, b"data"))
        with pytest.raises(error):
            await sock.send(Datagram(address, port, b"data"))
        with pytest.raises(error):
            sock.write_to(address, b"data", port)
        assert sock.statistics().packets_out == 0


async def test_sending_needs_a_bound_socket() -> None:
    """It says what to do."""
    sock = UDPSocket()
    await refused(sock, InvalidStateError, "async with")
    async with sock:
        await refused(sock, InvalidStateError, "await bind")
        await sock.bind()
        await sock.aclose()
        await refused(sock, SocketClosedError, "bind\\(\\) opens it again")
    await refused(sock, SocketClosedError, "make a new UDPSocket")


async def refused(sock: UDPSocket, error: type[SocketError], match: str) -> None:
    datagram = Datagram(LOOPBACK, 7, b"data")
    with pytest.raises(error, match=match):
        sock.write(datagram)
    with pytest.raises(error, match=match):
        sock.write_to(LOOPBACK, b"data")
    with pytest.raises(error, match=match):
        await sock.send(datagram)


async def test_without_a_port_it_is_our_own() -> None:
    """As for all who have agreed on one; where the OS picked ours there is none."""
    with RawUDP("127.0.0.2") as peer:
        async with bound(peer.port) as sock:
            sock.write_to("127.0.0.2", b"data")
            assert (await peer.receive())[0] == b"data"
    async with bound() as sock:
        with pytest.raises(InvalidPortError, match="a port is needed"):
            sock.write_to("127.0.0.2", b"data")


async def test_mapped_addresses_are_ipv4() -> None:
    """F74: they are shown as such, and may be given as such."""
    with RawUDP() as peer:
        async with bound(address="") as sock:
            sock.write_to(f"::ffff:{LOOPBACK}", b"question", peer.port)
            data, _, port = await peer.receive()
            assert data == b"question"
            peer.send(b"answer", port)
            assert await sock.receive() == Datagram(LOOPBACK, peer.port, b"answer")


async def test_a_link_local_address_needs_a_zone() -> None:
    """F74: without one, and without an interface, the text says what is missing."""
    async with bound(address="") as sock:
        with pytest.raises(SocketError, match="zone") as caught:
            sock.write_to("fe80::1", b"data", 7)
        assert caught.value.errno == errno.EINVAL
        with pytest.raises(NameResolutionError, match="no interface"):
            sock.write_to("fe80::1%nowhere", b"data", 7)
    async with bound(address="", network_interface=NetworkInterface.loopback()) as sock:
        route = find_route(sock._datagrams, "fe80::1", 7, "", sock)
        assert route.address == ("fe80::1", 7, 0, socket.if_nametoindex("lo"))


async def test_ways_are_remembered_and_bounded() -> None:
    """Those who are answered once each do not fill the memory."""
    async with bound() as sock:
        for port in range(1, 3000):
            sock.write_to("127.0.0.2", b"", port)
        assert len(sock._datagrams.outlet._routes) <= 1024
        assert find_route(sock._datagrams, "127.0.0.2", 5, "", sock) is not None
