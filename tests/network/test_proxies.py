"""Which proxies are believed, and that only their header is taken off a connection."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

import pytest
import trio
import trio.testing

from tests.machines.test_proxy_protocol import TCP4, block
from tests.support import RawPeer, raw_pair
from trio_xsock._machines.proxy_protocol import ProxyProtocolError
from trio_xsock._network.proxies import HeaderReader, check_trusted_proxies, is_trusted

LINE = b"PROXY TCP4 192.0.2.1 192.0.2.2 1025 443\r\n"
PROXY = ("127.0.0.1", 4711)


def test_networks_and_addresses_are_understood() -> None:
    """As text or as objects, with bits of the host set or not."""
    networks = check_trusted_proxies(
        ["10.1.2.3/8", "::1", ipaddress.ip_address("192.0.2.7"), ipaddress.ip_network("fd00::/8")]
    )
    assert list(map(str, networks)) == ["10.0.0.0/8", "::1/128", "192.0.2.7/32", "fd00::/8"]


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ("127.0.0.1", TypeError),
        (b"127.0.0.1", TypeError),
        (None, TypeError),
        ([1], TypeError),
        (["localhost"], ValueError),
        (["10.0.0.0/33"], ValueError),
        ([], ValueError),
    ],
)
def test_what_names_no_network_is_refused(value: Any, error: type[Exception]) -> None:
    """A single text too, which would be a series of characters."""
    with pytest.raises(error, match="trusted_proxies"):
        check_trusted_proxies(value)


@pytest.mark.parametrize(
    ("peer", "trusted"),
    [
        (("10.255.0.1", 1), True),
        (("11.0.0.1", 1), False),
        (("::ffff:10.0.0.1", 1, 0, 0), True),
        (("fe80::1", 1, 0, 1), True),
        (("fe81::1", 1, 0, 1), False),
        (("", 0), False),
    ],
)
def test_trust_goes_by_network(peer: Any, trusted: bool) -> None:
    """Mapped addresses are IPv4 ones, zones do not matter, a Unix socket's peer is nobody."""
    assert is_trusted(peer, check_trusted_proxies(["10.0.0.0/8", "fe80::/16"])) is trusted


def test_the_rest_of_the_stream_is_left_alone() -> None:
    """The header is taken off, and what came with it stays in the socket."""
    for header in (LINE, block(0x21, 0x11, TCP4 + bytes(5000))):
        sock, peer = raw_pair()
        with sock, peer:
            reader = HeaderReader(sock, PROXY)
            assert not reader.step()
            assert reader.peer == PROXY
            peer.send_nowait(header + b"hello")
            assert reader.step()
            assert reader.peer == ("192.0.2.1", 1025)
            assert sock.recv(100) == b"hello"
            assert reader.step()


async def test_a_header_may_come_in_pieces() -> None:
    """However it is cut; waiting costs nothing and can be cancelled."""
    sock, peer = raw_pair()
    with sock, peer:
        reader = HeaderReader(sock, PROXY)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reader.read)
            for index in range(len(LINE)):
                await trio.testing.wait_all_tasks_blocked()
                assert len(nursery.child_tasks) == 1
                peer.send_nowait(LINE[index : index + 1])
        assert reader.peer == ("192.0.2.1", 1025)
    sock, peer = raw_pair()
    with sock, peer:
        with trio.move_on_after(0) as scope:
            await HeaderReader(sock, PROXY).read()
        assert scope.cancelled_caught


def test_a_proxy_that_speaks_for_itself_is_the_peer() -> None:
    """Health checks: LOCAL in version 2, UNKNOWN in version 1."""
    for header in (b"PROXY UNKNOWN\r\n", block(0x20, 0, b"")):
        sock, peer = raw_pair()
        with sock, peer:
            peer.send_nowait(header)
            reader = HeaderReader(sock, PROXY)
            assert reader.step()
            assert reader.peer == PROXY


def test_an_end_before_the_header_is_an_error() -> None:
    """A clean one and a reset."""
    sock, peer = raw_pair()
    with sock, peer:
        peer.send_nowait(LINE[:-1])
        peer.fin()
        with pytest.raises(ProxyProtocolError, match="ended"):
            HeaderReader(sock, PROXY).step()
    sock, peer = raw_pair()
    with sock:
        RawPeer.reset(peer)
        with pytest.raises(ConnectionResetError):
            HeaderReader(sock, PROXY).step()
    assert isinstance(sock, socket.socket)
