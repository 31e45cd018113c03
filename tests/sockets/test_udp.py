"""``UDPSocket`` as a whole: its options, and what it sends and receives."""

from __future__ import annotations

import dataclasses
import inspect
from decimal import Decimal
from typing import Any

import pytest
import trio.abc

from tests.support import EventRecorder, until
from tests.support.datagrams import RawUDP, bound
from tests.support.peers import LOOPBACK
from trio_xsock import (
    Connected,
    DataAvailable,
    Datagram,
    EventChannel,
    NetworkInterface,
    SendComplete,
    SocketCore,
    SocketError,
    UDPSocket,
)
from trio_xsock._platform import sockets

GROUP, OTHER_GROUP = "239.77.1.2", "239.77.1.3"
LO = NetworkInterface.loopback()


def test_the_defaults() -> None:
    """The port is positional, all else is named, and each is an attribute."""
    sock = UDPSocket()
    assert (sock.port, sock.address, sock.receive_packet_limit) == (0, "", 1024)
    assert (sock.network_interface, sock.handler) == (None, None)
    assert (sock.router_hops, sock.send_to_self) == (32, False)
    parameters = inspect.signature(UDPSocket).parameters
    assert next(iter(parameters)) == "port"
    for name in ("address", "handler", "events", "network_interface", "receive_packet_limit"):
        assert parameters[name].kind is inspect.Parameter.KEYWORD_ONLY


async def test_it_is_a_channel_of_datagrams() -> None:
    """And a socket of the family."""
    assert issubclass(UDPSocket, trio.abc.Channel)
    assert issubclass(UDPSocket, SocketCore)
    async with bound() as one, bound() as other:
        channel: trio.abc.Channel[Datagram] = one
        await channel.send(Datagram(LOOPBACK, other.port, b"data"))
        assert await other.receive() == Datagram(LOOPBACK, one.port, b"data")


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("router_hops", -1, ValueError),
        ("router_hops", 256, ValueError),
        ("router_hops", "1", TypeError),
        ("router_hops", True, TypeError),
        ("send_to_self", 1, TypeError),
    ],
)
def test_wrong_values_are_refused(name: str, value: Any, error: type[Exception]) -> None:
    """And change nothing."""
    sock = UDPSocket()
    before = getattr(sock, name)
    with pytest.raises(error):
        setattr(sock, name, value)
    assert getattr(sock, name) == before


async def test_a_shared_channel_carries_the_events_of_both() -> None:
    """Fan-in works with datagrams, too."""
    channel = EventChannel()
    with RawUDP() as peer:
        async with bound(events=channel) as one, bound(events=channel) as other:
            peer.send(b"1", one.port)
            peer.send(b"2", other.port)
            seen: set[tuple[type, object]] = set()
            while len(seen) < 4:
                event = await channel.receive()
                seen.add((type(event), event.socket))
            assert seen == {(k, s) for k in (Connected, DataAvailable) for s in (one, other)}
    channel.close()


async def test_poll_does_one_step() -> None:
    """It takes in what is there, for all ports of the socket, and tells if there was anything."""
    recorder = EventRecorder()
    with RawUDP() as peer:
        async with bound(handler=recorder) as sock:
            assert sock.join_multicast_group(GROUP)
            for watch in sock._datagrams._watches.values():
                watch.reading(False)
            assert not await sock.poll()
            peer.send(b"data", sock.port)
            peer.send_multicasts_by()
            peer.send(b"to the group", sock.port, GROUP)
            assert await sock.poll()
            assert sock.packets_available == 2
            assert recorder.of(DataAvailable)
            assert not await sock.poll()


async def test_events_and_calls_together() -> None:
    """A handler that answers, a caller that waits; each datagram goes to one of them."""

    class Echo:
        def on_data_available(self, sock: Any) -> None:
            while (datagram := sock.read()) is not None:
                sock.write(datagram)

    async with bound(handler=Echo()) as server, bound() as client:
        events = client.events
        for size in (0, 1, 1000):
            await client.send(Datagram(LOOPBACK, server.port, bytes(size)))
            assert await client.receive() == Datagram(LOOPBACK, server.port, bytes(size))
        assert isinstance(await events.receive(), Connected)
        assert isinstance(await events.receive(), SendComplete)


@pytest.mark.skipif(not sockets.IP_RECVPKTINFO, reason="arrivals are unknown")
async def test_an_answer_leaves_from_the_address_that_was_asked() -> None:
    """Bound to all addresses; the client takes answers of the one that it asked only."""
    async with bound(address="") as sock:
        for asked in ("127.0.0.1", "127.0.0.2"):
            with RawUDP() as peer:
                peer.sock.connect((asked, sock.port))
                peer.sock.send(b"question")
                datagram = await sock.receive()
                assert datagram.local_address == asked
                sock.write(dataclasses.replace(datagram, data=b"answer"))
                assert await peer.receive() == (b"answer", asked, sock.port)


@pytest.mark.skipif(not sockets.IP_RECVPKTINFO, reason="arrivals are unknown")
async def test_an_ipv6_answer_leaves_from_the_address_that_was_asked() -> None:
    """By a socket for both families: IPv6 addresses as such, mapped ones as IPv4."""
    async with bound(address="") as sock:
        for asked in ("::1", "127.0.0.3"):
            with RawUDP("::1" if asked == "::1" else LOOPBACK) as peer:
                peer.sock.connect((asked, sock.port))
                peer.sock.send(b"question")
                datagram = await sock.receive()
                assert (datagram.address, datagram.local_address) == (
                    peer.sock.getsockname()[0],
                    asked,
                )
                sock.write(dataclasses.replace(datagram, data=b"answer"))
                assert await peer.receive() == (b"answer", asked, sock.port)
        with pytest.raises(SocketError, match="local_address"):
            sock.write(Datagram("::1", 9, b"of the other family", "127.0.0.1"))


@pytest.mark.parametrize("address", [LOOPBACK, "::1"])
async def test_what_came_to_the_one_address_says_so(address: str) -> None:
    """Also when it is read after the socket was closed, and beside what came to a group."""
    async with bound(address=address, network_interface=LO) as sock, bound(address="") as sender:
        sock.send_to_self = True
        sender.write_to(address, b"one", sock.port)
        assert (await sock.receive()).local_address == address
        if address == LOOPBACK:
            assert sock.join_multicast_group(GROUP)
            sock.write_to(GROUP, b"to all", sock.port)
            assert (await sock.receive()).local_address == GROUP
        sender.write_to(address, b"last", sock.port)
        await until(lambda: sock.packets_available == 1)
        sock.close()
        left = sock.read()
        assert left is not None
        assert (left.data, left.local_address) == (b"last", address)


@pytest.mark.skipif(not sockets.IP_RECVPKTINFO, reason="the OS chooses the address")
async def test_an_address_that_is_not_ours_is_refused() -> None:
    """The OS says so, and the socket goes on."""
    async with bound(address="") as sock:
        with pytest.raises(SocketError, match="local_address"):
            sock.write(Datagram("127.0.0.1", 9, b"data", "192.0.2.1"))
        assert sock.is_connected


@pytest.mark.parametrize("port", [9.0, Decimal(9), 9 + 0j, True])
async def test_what_is_no_port_cannot_be_bound_or_sent_to(port: Any) -> None:
    """``bind``, and a datagram, which cannot be made with it."""
    async with UDPSocket(address=LOOPBACK) as sock:
        with pytest.raises(TypeError, match="port must be"):
            await sock.bind(port)
        assert not sock.is_connected
        with pytest.raises(TypeError, match="port must be"):
            dataclasses.replace(Datagram(LOOPBACK, 9, b""), port=port)


@pytest.mark.parametrize("port", [9.0, Decimal(9), 9 + 0j, True])
async def test_what_is_no_port_is_refused_also_for_a_known_address(port: Any) -> None:
    """Such values equal a port that is known already."""
    async with bound() as sock:
        known = 1 if port is True else 9
        sock.write_to("127.0.0.1", b"data", known)
        before = sock.statistics().packets_out
        with pytest.raises(TypeError, match="port must be"):
            sock.write_to("127.0.0.1", b"data", port)
        for datagram in (("127.0.0.1", 9, b"data"), "text", b"data"):
            with pytest.raises(TypeError, match="a Datagram is needed"):
                sock.write(datagram)  # type: ignore[arg-type]
            with pytest.raises(TypeError, match="a Datagram is needed"):
                await sock.send(datagram)  # type: ignore[arg-type]
        assert sock.statistics().packets_out == before
