"""The facts about a datagram socket, in each state of its life."""

from __future__ import annotations

import weakref
from typing import Any

import pytest
import trio.testing

from tests.support import until
from tests.support.datagrams import RawUDP, bound
from tests.support.fake_ports import SOMEBODY, FakeOpener, FakePort
from tests.support.peers import LOOPBACK
from trio_xsock import (
    AutoDiscovery,
    Connected,
    DataAvailable,
    Datagram,
    InvalidPortError,
    InvalidStateError,
    SocketState,
    SocketStatistics,
    UDPSocket,
)


async def test_the_facts_of_a_life() -> None:
    """Closed, bound, closed; the port is the OS's while bound, and then what was set."""
    sock = UDPSocket(address=LOOPBACK)
    assert (sock.state, sock.is_connected, sock.handle) == (SocketState.CLOSED, False, -1)
    assert (sock.port, sock.local_port, sock.remote_port) == (0, 0, 0)
    async with sock:
        await sock.bind()
        assert (sock.state, sock.is_connected) == (SocketState.BOUND, True)
        assert sock.handle >= 0
        assert sock.port == sock.local_port > 0
        assert (sock.local_address, sock.remote_port) == (LOOPBACK, 0)
        sock.close()
        assert (sock.state, sock.is_connected, sock.handle) == (SocketState.CLOSED, False, -1)
        assert (sock.port, sock.local_port) == (0, 0)


async def test_address_and_port_are_settable_while_closed() -> None:
    """And only then."""
    sock = UDPSocket(1, address="::1")
    sock.address, sock.port = LOOPBACK, 0
    async with sock:
        await sock.bind()
        for name, value in (("address", "::1"), ("port", 7)):
            with pytest.raises(InvalidStateError, match=f"{name} can be set only while"):
                setattr(sock, name, value)
    assert (sock.address, sock.port) == (LOOPBACK, 0)
    with pytest.raises(TypeError):
        sock.address = b"::1"  # type: ignore[assignment]
    with pytest.raises(InvalidPortError):
        sock.port = 65536


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"port": -1}, InvalidPortError),
        ({"port": 65536}, InvalidPortError),
        ({"port": "1"}, TypeError),
        ({"port": True}, TypeError),
        ({"address": None}, TypeError),
        ({"receive_packet_limit": 0}, ValueError),
        ({"receive_packet_limit": 1.0}, TypeError),
        ({"network_interface": "lo"}, TypeError),
        ({"events": []}, TypeError),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], error: type[Exception]) -> None:
    """At construction."""
    with pytest.raises(error):
        UDPSocket(**options)


async def test_statistics_count_both_ways() -> None:
    """Datagrams and bytes, over several bindings."""
    with RawUDP() as peer:
        async with UDPSocket(address=LOOPBACK) as sock:
            assert sock.statistics() == SocketStatistics()
            for _ in range(2):
                await sock.bind()
                sock.write_to(LOOPBACK, b"four", peer.port)
                peer.send(b"", sock.port)
                peer.send(b"sixsix", sock.port)
                await until(lambda: sock.packets_available == 2)
                assert sock.statistics().bytes_available == 6
                sock.close()
        numbers = sock.statistics()
        assert (numbers.packets_in, numbers.bytes_in) == (4, 12)
        assert (numbers.packets_out, numbers.bytes_out) == (2, 8)
        assert (numbers.packets_dropped, numbers.bytes_left_to_send) == (0, 0)


async def test_who_asks_late_gets_what_is_so_now() -> None:
    """``Connected`` while bound, ``DataAvailable`` if something is unread."""
    with RawUDP() as peer:
        async with bound() as sock:
            assert sock.events.receive_nowait() == Connected(sock)
            peer.send(b"data", sock.port)
            await until(lambda: sock.packets_available)
            late = sock.subscribe()
            assert late.receive_nowait() == Connected(sock)
            assert late.receive_nowait() == DataAvailable(sock)
            sock.close()
            later = sock.subscribe()
            assert later.receive_nowait() == DataAvailable(sock)


async def test_the_text_tells_what_it_is() -> None:
    """State, where it is bound, and what waits."""
    sock = UDPSocket(4711)
    assert repr(sock) == "<UDPSocket closed, port 4711, 0 datagrams buffered, 0 queued>"
    with RawUDP() as peer:
        async with bound() as sock:
            peer.send(b"data", sock.port)
            await until(lambda: sock.packets_available)
            where = f"to 127.0.0.1:{sock.port}"
            assert repr(sock) == f"<UDPSocket bound {where}, 1 datagrams buffered, 0 queued>"


async def test_a_socket_goes_when_nobody_has_it() -> None:
    """Without the help of the cyclic garbage collector."""
    with RawUDP() as peer:
        async with bound() as sock:
            sock.send_to_self = True
            assert sock.join_multicast_group("239.1.2.3")
            await sock.send(Datagram(LOOPBACK, peer.port, b"data"))
            peer.send(b"data", sock.port)
            await sock.receive()
        gone = weakref.ref(sock)
        del sock
        assert gone() is None


async def test_what_lies_unread_is_looked_at_before_a_deadline(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Also where nothing has told that it arrived: it may change what is due."""
    own, shared = FakePort(), FakePort()
    sock = AutoDiscovery(4711)
    sock._datagrams.open_by(FakeOpener(own, shared))
    async with sock:
        await sock.bind()
        sock.register("orchard")
        own.arriving.append([(b"junk", SOMEBODY)])
        shared.arriving.append([(b"junk", SOMEBODY)])
        await trio.sleep(3)
        assert sock.statistics().packets_in == 2
