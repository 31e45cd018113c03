"""The options of UDP sockets, asked back from the OS."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator

import pytest

from tests.support.datagrams import LOOPBACK_INDEX, RawUDP
from trio_xsock._machines.endpoint import literal_address
from trio_xsock._machines.udp_groups import Group
from trio_xsock._network import udp_options as options
from trio_xsock._platform import sockets

IP, IPV6 = socket.IPPROTO_IP, socket.IPPROTO_IPV6
GROUP = Group("239.77.8.8", False, 0)


@pytest.fixture(params=["both", "IPv4", "IPv6"])
def sock(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    """A socket of each kind."""
    host = {"IPv4": "127.0.0.1", "IPv6": "::1"}.get(request.param)
    local = literal_address(host, 0) if host else None
    with options.open_socket(local, 0) as opened:
        yield opened


def test_a_socket_is_open_for_all_that_it_may_do(sock: socket.socket) -> None:
    """Non-blocking, not inherited, for broadcasts, with a large buffer, and alone on its port."""
    assert not sock.getblocking()
    assert not sock.get_inheritable()
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST)
    assert not sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
    with RawUDP() as normal:
        usual = normal.sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) >= usual
    host, port = sock.getsockname()[:2]
    local = None if host == "::" else literal_address(host, port)
    with pytest.raises(OSError, match="in use"):
        options.open_socket(local, port)
    options.share_port(sock)
    options.open_socket(local, port, shared=True).close()


def test_families() -> None:
    """Both, by one descriptor, where no address says otherwise."""
    for host, expected in ((None, (True, True)), ("0.0.0.0", (True, False)), ("::", (False, True))):
        local = literal_address(host, 0) if host else None
        with options.open_socket(local, 0) as sock:
            assert options.speaks(sock) == expected


def test_hops(sock: socket.socket) -> None:
    """Of multicasts; of unicasts too if wanted, which need one at least."""
    levels = [(IP, socket.IP_MULTICAST_TTL, socket.IP_TTL)]
    if sock.family == socket.AF_INET6:
        levels.append((IPV6, socket.IPV6_MULTICAST_HOPS, socket.IPV6_UNICAST_HOPS))
    before = [sock.getsockopt(level, unicast) for level, _, unicast in levels]
    options.set_hops(sock, 7, unicast=False)
    assert [sock.getsockopt(level, multicast) for level, multicast, _ in levels] == [7] * len(
        levels
    )
    assert [sock.getsockopt(level, unicast) for level, _, unicast in levels] == before
    options.set_hops(sock, 0, unicast=True)
    for level, multicast, unicast in levels:
        assert (sock.getsockopt(level, multicast), sock.getsockopt(level, unicast)) == (0, 1)
    assert options.hops_value(0) == options.hops_value(1) == struct.pack("i", 1)


def test_interfaces(sock: socket.socket) -> None:
    """Multicasts go by the chosen one, or by the one that has an address."""
    options.send_by(sock, LOOPBACK_INDEX, unicasts=True)
    if sock.family == socket.AF_INET6:
        assert sock.getsockopt(IPV6, socket.IPV6_MULTICAST_IF) == LOOPBACK_INDEX
    options.send_multicasts_from(sock, "127.0.0.1")
    assert sock.getsockopt(IP, socket.IP_MULTICAST_IF, 4) == socket.inet_aton("127.0.0.1")


def test_groups_are_joined_and_left_once() -> None:
    """The OS counts them."""
    with options.open_socket(None, 0) as sock:
        options.join(sock, GROUP, "", LOOPBACK_INDEX)
        with pytest.raises(OSError, match="in use"):
            options.join(sock, GROUP, "127.0.0.1", 0)
        options.leave(sock, GROUP, "", LOOPBACK_INDEX)
        with pytest.raises(OSError, match="assign") as caught:
            options.leave(sock, GROUP, "", LOOPBACK_INDEX)
        assert caught.value.errno == errno.EADDRNOTAVAIL


def test_what_the_os_drops_is_counted() -> None:
    """Where it tells, else it is 0."""
    with options.open_socket(literal_address("127.0.0.1", 0), 0) as sock, RawUDP() as peer:
        assert options.dropped_by_system(sock) == 0
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        for _ in range(100):
            peer.send(b"x" * 100, sock.getsockname()[1])
        sock.setblocking(False)
        received = 0
        with pytest.raises(BlockingIOError):
            while True:
                sock.recv(100)
                received += 1
        assert options.dropped_by_system(sock) == (100 - received if sockets.SO_MEMINFO else 0)
    assert options.dropped_by_system(sock) == 0  # it is closed


def test_options_that_a_system_lacks_are_passed_over() -> None:
    """They are for those that have them."""
    with options.open_socket(None, 0) as sock:
        assert options._set(sock, IP, 9999, 1) is False
        assert options._set(sock, IP, socket.IP_TTL, 9) is True


def test_other_hops_for_a_while() -> None:
    """Also when sending fails; then the number is what it was."""
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        before = sock.getsockopt(socket.IPPROTO_IP, socket.IP_TTL)
        with pytest.raises(OSError, match="broken"), options.other_hops(sock, struct.pack("i", 3)):
            assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_TTL) == 3
            raise OSError("broken")
        assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_TTL) == before
