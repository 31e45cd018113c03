"""Messages to named groups and to single machines, as raw sockets see them."""

from __future__ import annotations

import errno
from decimal import Decimal
from typing import Any

import pytest
import trio.abc

from tests.support.groups import easy_udp, free_port, raw_sender
from tests.support.peers import LOOPBACK
from trio_xsock import (
    AddressInUseError,
    AutoDiscovery,
    Connected,
    EasyUDPSocket,
    InvalidPortError,
    InvalidStateError,
    NameResolutionError,
    ReceivedMessage,
    SendComplete,
    SocketCore,
    SocketError,
    SocketStatistics,
    UDPSocket,
)
from trio_xsock._machines.packets import encode_group_message
from trio_xsock._machines.udp_groups import group_address


def test_it_is_no_socket_for_datagrams() -> None:
    """It has the options, the groups and the statistics of one, and the life of a socket."""
    for kind in (EasyUDPSocket, AutoDiscovery):
        assert issubclass(kind, SocketCore)
        assert issubclass(kind, trio.abc.AsyncResource)
        assert not issubclass(kind, UDPSocket | trio.abc.SendChannel | trio.abc.ReceiveChannel)
    assert issubclass(AutoDiscovery, EasyUDPSocket)
    sock = EasyUDPSocket(4711, address=LOOPBACK, receive_packet_limit=5)
    assert (sock.port, sock.address, sock.receive_packet_limit) == (4711, LOOPBACK, 5)
    sock.router_hops, sock.send_to_self, sock.receive_packet_limit = 3, True, 6
    assert (sock.router_hops, sock.send_to_self, sock.receive_packet_limit) == (3, True, 6)
    assert sock.broadcast_address == "127.255.255.255"
    assert (sock.packets_left_to_send, sock.packets_dropped_by_system) == (0, 0)
    assert sock.statistics() == SocketStatistics()


async def test_groups_by_name() -> None:
    """Only registered ones are heard, by their name, whatever shares their address."""
    async with easy_udp() as sock:
        with raw_sender() as peer:
            for _ in range(2):
                sock.register("orchard")
            sock.register("garden")
            for group in ("orchard", "garden", "nobody's"):
                for at in ("orchard", "garden"):
                    packet = encode_group_message(group, 1, f"{group} at {at}".encode())
                    peer.sendto(packet, (group_address(at), sock.port))
            peer.sendto(b"junk", (group_address("orchard"), sock.port))
            sock.unregister("garden")
            sock.unregister("never registered")
            peer.sendto(encode_group_message("", 2, b"last"), (LOOPBACK, sock.port))
            assert await sock.wait_for_message(2) == b"last"
            assert sock.messages_available == sock.packets_available
            got = [sock.events.receive_nowait() for _ in range(1 + sock.messages_available)][1:]
        assert {event.data for event in got} <= {
            f"{group} at {at}".encode()
            for group in ("orchard", "garden")
            for at in ("orchard", "garden")
        }
        assert b"orchard at orchard" in {event.data for event in got}
        peer_port = got[0].from_port
        assert got[0] == ReceivedMessage(sock, 1, got[0].data, LOOPBACK, peer_port)


async def test_what_is_sent() -> None:
    """The documented packet, to the group's address and our port, or to one machine."""
    async with easy_udp() as sock:
        with raw_sender() as peer:
            peer.settimeout(5)
            sock.send_message_to_individual(LOOPBACK, 7, "ä", port=peer.getsockname()[1])
            packet, source = peer.recvfrom(1000)
            assert packet == encode_group_message("", 7, "ä".encode())
            assert source[1] == sock.port
    port = free_port()
    async with (
        easy_udp(port, address=LOOPBACK, network_interface=None) as sock,
        easy_udp(port, address="127.0.0.2", network_interface=None) as other,
    ):
        sock.send_message_to_individual("127.0.0.2", 8, bytearray(b"x"))
        assert await other.wait_for_message(8, LOOPBACK) == b"x"
    async with easy_udp() as sock:
        sock.register("orchard")
        sock.send_to_self = True
        sock.send_message_to_group("orchard", 9, b"to all")
        assert await sock.wait_for_message(9) == b"to all"
        sock.send_to_self = False
        sock.send_message_to_group("orchard", 9, b"to the others")
        sock.send_message_to_individual(LOOPBACK, 10)
        assert await sock.wait_for_message(10) == b""
        assert sock.messages_available == 0


async def test_calls_for_datagrams_are_refused() -> None:
    """They are there, and say what to use."""
    async with easy_udp() as sock:
        for call in (sock.read, sock.write, sock.write_to):
            with pytest.raises(InvalidStateError, match="is for sockets that move datagrams"):
                call()
        for wait in (sock.send, sock.receive, sock.__anext__):
            with pytest.raises(InvalidStateError, match="is for sockets that move datagrams"):
                await wait()


async def test_what_cannot_be_done() -> None:
    """Each refused before anything was sent."""
    async with EasyUDPSocket() as sock:
        for call in (
            lambda: sock.register("a"),
            lambda: sock.unregister("a"),
            lambda: sock.send_message_to_group("a", 1),
            lambda: sock.send_message_to_individual(LOOPBACK, 1),
        ):
            with pytest.raises(InvalidStateError, match="not bound"):
                call()
        await sock.bind()
        with pytest.raises(InvalidPortError):
            sock.send_message_to_group("a", 1)
    async with easy_udp() as sock:
        with pytest.raises(NameResolutionError):
            sock.send_message_to_individual("localhost", 1)
        with pytest.raises(SocketError) as caught:
            sock.send_message_to_individual(LOOPBACK, 1, bytes(65507))
        assert caught.value.errno == errno.EMSGSIZE
        for name in ("", "x" * 65):
            with pytest.raises(ValueError, match="group must have"):
                sock.register(name)
        for command in (-1, 2**31):
            with pytest.raises(ValueError, match="command"):
                sock.send_message_to_group("a", command)
        with pytest.raises(TypeError, match="data must be a str, or bytes in any buffer, not int"):
            sock.send_message_to_individual(LOOPBACK, 1, 5)  # type: ignore[arg-type]
        for data in (None, ("a", "b"), ["a"], object()):
            with pytest.raises(TypeError, match="data must be"):
                sock.send_message_to_group("a", 1, data)  # type: ignore[arg-type]
        with pytest.raises(UnicodeEncodeError):
            sock.send_message_to_group("a", 1, "\ud800")
        for port in (0, -1, 65536):
            with pytest.raises(InvalidPortError, match="port must be in"):
                sock.send_message_to_individual(LOOPBACK, 1, port=port)
        with pytest.raises(TypeError, match="port must be an int"):
            sock.send_message_to_individual(LOOPBACK, 1, port="7")  # type: ignore[arg-type]
        assert sock.statistics().packets_out == 0


async def test_a_group_that_the_system_refuses() -> None:
    """No membership, no name: the next attempt is a new one."""
    async with easy_udp() as sock:
        refusing = sock.join_multicast_group
        object.__setattr__(sock, "join_multicast_group", lambda _: False)
        with pytest.raises(SocketError, match=r"refuses to join 239\.255"):
            sock.register("orchard")
        object.__setattr__(sock, "join_multicast_group", refusing)
        sock.register("orchard")


async def test_the_port_is_exclusive() -> None:
    """Also after a group was joined."""
    async with easy_udp(network_interface=None) as sock:
        sock.register("orchard")
        async with EasyUDPSocket() as other:
            with pytest.raises(AddressInUseError):
                await other.bind(sock.port)


async def test_events_of_sending() -> None:
    """One ``SendComplete`` for each message that went at once."""
    async with easy_udp() as sock:
        channel = sock.events
        sock.send_message_to_individual(LOOPBACK, 1, b"x")
        assert channel.receive_nowait() == Connected(sock)
        assert isinstance(channel.receive_nowait(), SendComplete)


@pytest.mark.parametrize("port", [9.0, Decimal(9), 9 + 0j, True])
async def test_what_is_no_port_is_refused_also_for_a_known_address(port: Any) -> None:
    """Such values equal a port that is known already."""
    async with easy_udp(free_port()) as sock:
        sock.send_message_to_individual(LOOPBACK, 1, b"", 1 if port is True else 9)
        before = sock.statistics().packets_out
        with pytest.raises(TypeError, match="port must be"):
            sock.send_message_to_individual(LOOPBACK, 1, b"", port)
        assert sock.statistics().packets_out == before
