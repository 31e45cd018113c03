"""Hosts that cannot be reached: each way in which a network says so, or does not (SPEC 7)."""

from __future__ import annotations

import errno
import os
import socket
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.netns.conftest import MakeLink
from tests.support import EventRecorder, until
from tests.support.hosts import far_listener
from tests.support.link import Link
from trio_xsock import ConnectError, ErrorOccurred, SocketState, TCPSocket

pytestmark = pytest.mark.netns

PORT = 4711


@pytest.fixture
def link(make_link: MakeLink) -> Link:
    """Two hosts, and no way to anywhere else."""
    return make_link()


async def connect_error(address: str) -> ConnectError:
    """What ``connect`` raises, having checked what it leaves behind."""
    recorder = EventRecorder()
    async with TCPSocket(address, PORT, handler=recorder) as sock:
        with pytest.raises(ConnectError) as caught:
            await sock.connect()
        error = caught.value
        assert (sock.state, sock.handle) == (SocketState.CLOSED, -1)
        assert sock.last_error is error
        assert [type(event) for event in recorder.events] == [ErrorOccurred]
        assert recorder.errors == [error]
    assert isinstance(error, OSError)
    assert error.error_number is None
    assert f"{address}:{PORT}" in str(error)
    assert [each.errno for each in error.errors] == [error.errno]
    return error


async def test_nobody_listens_there(link: Link) -> None:
    """ECONNREFUSED, at once."""
    error = await connect_error(link.far.address)
    assert error.errno == errno.ECONNREFUSED
    assert os.strerror(errno.ECONNREFUSED) in str(error)


async def test_there_is_no_route(link: Link) -> None:
    """ENETUNREACH, at once."""
    assert (await connect_error("192.0.2.1")).errno == errno.ENETUNREACH


@pytest.mark.parametrize(
    ("kind", "number"), [("unreachable", errno.EHOSTUNREACH), ("prohibit", errno.EACCES)]
)
async def test_our_own_host_refuses(link: Link, kind: str, number: int) -> None:
    """What a route of the kind says."""
    link.near.ip(f"route add {kind} 192.0.2.0/24")
    assert (await connect_error("192.0.2.1")).errno == number


@pytest.mark.parametrize(
    ("kind", "number"), [("unreachable", errno.EHOSTUNREACH), ("prohibit", errno.EHOSTUNREACH)]
)
async def test_a_router_refuses(link: Link, kind: str, number: int) -> None:
    """Its ICMP message is the answer, and comes at once."""
    link.near.ip(f"route add 192.0.2.0/24 via {link.far.address}")
    link.far.ip(f"route add {kind} 192.0.2.0/24")
    link.far.sysctl("ip_forward", 1)
    assert (await connect_error("192.0.2.1")).errno == number


async def test_nobody_has_the_address(link: Link) -> None:
    """EHOSTUNREACH, when nobody has answered for a while."""
    link.near.sysctl("neigh/link0/mcast_solicit", 1)
    link.near.sysctl("neigh/link0/retrans_time_ms", 50)
    assert (await connect_error("10.88.0.77")).errno == errno.EHOSTUNREACH


@pytest.mark.parametrize("end", ["time-out", "close"])
async def test_nobody_answers_at_all(link: Link, end: str) -> None:
    """It waits, but not longer than its caller; nothing is left over, and it may try again."""
    recorder = EventRecorder()
    with far_listener(link) as listener:
        port = listener.getsockname()[1]
        async with TCPSocket(link.far.address, port, handler=recorder) as sock:
            link.down = True
            with trio.move_on_after(0.1) as scope:
                await sock.connect()
            assert scope.cancelled_caught
            assert (sock.state, sock.handle) == (SocketState.CLOSED, -1)
            if end == "close":
                async with trio.open_nursery() as nursery:

                    @nursery.start_soon
                    async def connect() -> None:
                        with pytest.raises(trio.ClosedResourceError):
                            await sock.connect()

                    await wait_all_tasks_blocked()
                    sock.close()
            assert recorder.events == []
            assert sock.last_error is None
            link.down = False
            await sock.connect()
            assert sock.is_connected


async def test_all_addresses_of_a_name_are_tried(link: Link) -> None:
    """Each attempt's error is kept, the last one's number is ours."""
    link.near.ip("route add unreachable 192.0.2.0/24", "route add prohibit 198.51.100.0/24")
    addresses = ["192.0.2.1", "198.51.100.1", "203.0.113.1", link.far.address]
    resolve_to(*addresses)
    async with TCPSocket("a.name.example", PORT) as sock:
        with pytest.raises(ConnectError) as caught:
            await sock.connect()
    numbers = [errno.EHOSTUNREACH, errno.EACCES, errno.ENETUNREACH, errno.ECONNREFUSED]
    assert [each.errno for each in caught.value.errors] == numbers
    assert caught.value.errno == errno.ECONNREFUSED


async def test_one_good_address_is_enough(link: Link) -> None:
    """The dead ones before it cost a quarter of a second at most, those that refuse nothing."""
    link.near.ip("route add unreachable 192.0.2.0/24")
    link.near.sysctl("neigh/link0/retrans_time_ms", 60_000)
    with far_listener(link) as listener:
        resolve_to("192.0.2.1", "10.88.0.77", link.far.address)
        async with TCPSocket("a.name.example", listener.getsockname()[1]) as sock:
            began = trio.current_time()
            await sock.connect()
            assert trio.current_time() - began < 1
            assert sock.remote_address == link.far.address


async def test_a_link_that_drops_the_first_packets(link: Link) -> None:
    """The OS tries again, and the connection comes up."""
    with far_listener(link) as listener:
        async with TCPSocket(*listener.getsockname()) as sock, trio.open_nursery() as nursery:
            link.down = True
            nursery.start_soon(sock.connect)
            await until(lambda: link.lost)
            link.down = False
    assert sock.last_error is None


def resolve_to(*addresses: str) -> None:
    """Let every name have these addresses, in this order."""

    class Resolver(trio.abc.HostnameResolver):
        async def getaddrinfo(self, *question: Any, **_: Any) -> Any:
            kind = (socket.AF_INET, socket.SOCK_STREAM, 0, "")
            return [(*kind, (address, question[1])) for address in addresses]

        async def getnameinfo(self, sockaddr: Any, flags: int) -> Any:
            raise NotImplementedError

    trio.socket.set_custom_hostname_resolver(Resolver())
