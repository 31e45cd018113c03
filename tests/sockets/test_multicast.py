"""Groups, broadcasts, hops and interfaces of UDP sockets, on the loopback device."""

from __future__ import annotations

import errno
import socket
from typing import Any

import pytest

from tests.support import EventRecorder, until
from tests.support.datagrams import RawUDP, bound
from tests.support.peers import LOOPBACK
from trio_xsock import (
    Datagram,
    InvalidStateError,
    NetworkInterface,
    SocketClosedError,
    UDPSocket,
    network_interfaces,
)
from trio_xsock._network.interface import broadcast_address
from trio_xsock._platform import sockets

GROUP, OTHER_GROUP = "239.77.1.2", "239.77.1.3"
LO = NetworkInterface.loopback()


# Hops


async def test_router_hops_are_for_multicasts_and_broadcasts_first() -> None:
    """Unicasts pass as many routers as the OS lets them, until hops are set."""
    with RawUDP("0.0.0.0") as peer:
        peer.join(GROUP)
        normal = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with normal:
            default = normal.getsockopt(socket.IPPROTO_IP, socket.IP_TTL)
        async with bound() as sock:
            sock.write_to(GROUP, b"", peer.port)
            assert await peer.hops_of_next() == 32
            sock.write_to("127.255.255.255", b"", peer.port)
            assert await peer.hops_of_next() == 32
            sock.write_to(LOOPBACK, b"", peer.port)
            assert await peer.hops_of_next() == default
            sock.router_hops = 3
            for address in (GROUP, "127.255.255.255", LOOPBACK):
                sock.write_to(address, b"", peer.port)
                assert await peer.hops_of_next() == 3


async def test_hops_are_remembered_while_unbound() -> None:
    """Set before, and kept after."""
    with RawUDP("0.0.0.0") as peer:
        async with UDPSocket(network_interface=LO) as sock:
            sock.router_hops = 0
            for _ in range(2):
                await sock.bind()
                sock.write_to(LOOPBACK, b"", peer.port)
                assert await peer.hops_of_next() == 1  # unicasts need one, by the OS's rules
                sock.close()
                assert sock.router_hops == 0


# Groups


@pytest.fixture(params=["", "0.0.0.0", LOOPBACK, "interface"])
def place(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Each way to be bound so that loopback's multicasts are heard."""
    if request.param in ("", "0.0.0.0", "interface"):
        address = "" if request.param == "interface" else request.param
        return {"address": address, "network_interface": LO}
    return {"address": request.param}


async def test_a_group_is_heard_from_joining_to_leaving(place: dict[str, Any]) -> None:
    """Joined twice it is joined once; unicasts come in any case."""
    with RawUDP() as peer:
        peer.send_multicasts_by()
        async with bound(**place) as sock:
            for _ in range(2):
                assert sock.join_multicast_group(GROUP) is True
                assert sock.join_multicast_group(GROUP) is True
                peer.send(b"to all", sock.port, GROUP)
                assert await sock.receive() == Datagram(LOOPBACK, peer.port, b"to all")
                sock.leave_multicast_group(GROUP)
                peer.send(b"too late", sock.port, GROUP)
                peer.send(b"to one", sock.port)
                assert await sock.receive() == Datagram(LOOPBACK, peer.port, b"to one")
                sock.leave_multicast_group(GROUP)
                sock.leave_multicast_group(OTHER_GROUP)


@pytest.mark.skipif(not sockets.IP_MULTICAST_ALL, reason="Linux cannot be told")
async def test_groups_that_others_joined_are_not_heard(place: dict[str, Any]) -> None:
    """F72: two sockets on one port, each hears its own group; and both the one they share."""
    shared = "239.77.1.4"
    with RawUDP() as peer:
        peer.send_multicasts_by()
        async with bound(**place) as one:
            assert one.join_multicast_group(GROUP)
            assert one.join_multicast_group(shared)
            place["address"] = place["address"] or "0.0.0.0"
            if place["address"] == LOOPBACK:
                place["address"] = "127.0.0.2"
            async with bound(one.port, **place) as other:
                assert other.join_multicast_group(OTHER_GROUP)
                assert other.join_multicast_group(shared)
                for group in (GROUP, OTHER_GROUP, shared):
                    peer.send(group.encode(), one.port, group)
                for sock, group in ((one, GROUP), (other, OTHER_GROUP)):
                    taken = {(await sock.receive()).data for _ in range(2)}
                    assert taken == {group.encode(), shared.encode()}
                    assert await sock.poll() is False


async def test_our_own_multicasts_are_for_others(place: dict[str, Any]) -> None:
    """Other programs on this machine hear them; this socket only if it wants to."""
    with RawUDP("0.0.0.0", shared=True) as witness:
        witness.join(GROUP)
        async with bound(**place) as sock, bound(witness.port, **place) as twin:
            assert twin.join_multicast_group(GROUP)
            assert sock.join_multicast_group(GROUP)
            sock.write_to(GROUP, b"1", witness.port)
            assert (await witness.receive())[0] == b"1"
            assert (await twin.receive()) == Datagram(sender_of(sock), sock.port, b"1")
            twin.write_to(GROUP, b"2", witness.port)
            assert (await witness.receive())[0] == b"2"
            twin.send_to_self = True
            twin.write_to(GROUP, b"3", witness.port)
            assert (await twin.receive()).data == b"3"
            twin.send_to_self = False
            twin.write_to(GROUP, b"4", witness.port)
            sock.write_to(GROUP, b"5", witness.port)
            assert (await twin.receive()).data == b"5"
            assert twin.packets_available == 0


def sender_of(sock: UDPSocket) -> str:
    """The address that multicasts of ``sock`` by loopback come from."""
    return sock.local_address if sock.address == LOOPBACK else _own_address()


def _own_address() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        index = socket.if_nametoindex("lo")
        request = bytes(8) + index.to_bytes(4, "little")
        probe.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, request)
        probe.connect((GROUP, 9))
        return str(probe.getsockname()[0])


@pytest.mark.skipif(not sockets.IP_RECVPKTINFO, reason="arrivals are unknown")
async def test_two_on_one_port_are_told_apart() -> None:
    """They send from the same address and port, and each hears the other and not itself."""
    async with bound(address="", network_interface=LO) as one:
        assert one.join_multicast_group(GROUP)
        async with bound(one.port, address="", network_interface=LO) as other:
            assert other.join_multicast_group(GROUP)
            for number in range(50):
                one.write_to(GROUP, b"one %d" % number, one.port)
                other.write_to(GROUP, b"other %d" % number, one.port)
                one.write_to(GROUP, b"same", one.port)
                other.write_to(GROUP, b"same", one.port)
            for sock, name in ((one, b"other"), (other, b"one")):
                await until(lambda: sock.packets_available == 100)  # noqa: B023
                taken = [(await sock.receive()).data for _ in range(100)]
                assert taken == [
                    each for number in range(50) for each in (name + b" %d" % number, b"same")
                ]


async def test_a_unicast_to_ourselves_is_heard() -> None:
    """Only what went to a group is not for us."""
    async with bound(address="", network_interface=LO) as sock:
        assert sock.join_multicast_group(GROUP)
        sock.write_to(GROUP, b"same", sock.port)
        sock.write_to(LOOPBACK, b"same", sock.port)
        assert (await sock.receive()).data == b"same"
        assert await sock.poll() is False


async def test_a_remote_twin_is_heard() -> None:
    """What somebody else sends from a port like ours is not ours, even if it is the same."""
    async with bound(address="", network_interface=LO) as sock:
        assert sock.join_multicast_group(GROUP)
        port: Any = sock._datagrams.bound
        sock.write_to(GROUP, b"same", sock.port)
        destination = socket.inet_aton(GROUP)
        came = type("came", (), {"destination": destination, "interface": port._scope.index})()
        assert port._arrivals._is_wanted(b"same", came, ("::ffff:192.0.2.99", sock.port, 0, 0))
        assert not port._arrivals._is_wanted(b"same", came, (f"::ffff:{LOOPBACK}", sock.port, 0, 0))
        assert port._arrivals._is_wanted(b"same", came, (f"::ffff:{LOOPBACK}", sock.port, 0, 0))


async def test_what_cannot_be_joined() -> None:
    """False, and nothing is posted: no group, another family, too many, no such interface."""
    recorder = EventRecorder()
    async with bound(handler=recorder) as sock:
        for group in ("192.0.2.1", "nonsense", "", "ff02::1", "ff02::1%nowhere"):
            assert sock.join_multicast_group(group) is False
            sock.leave_multicast_group(group)
        assert recorder.names == ["on_connected"]
    async with bound(address="::1") as sock:
        assert sock.join_multicast_group(GROUP) is False
    async with bound(address="", network_interface=LO) as sock:
        joined = [sock.join_multicast_group(f"239.77.3.{number}") for number in range(30)]
        limit = joined.count(True)
        assert joined == [True] * limit + [False] * (30 - limit)
    async with bound(address="") as sock:
        assert sock.join_multicast_group("ff02::77%2147483647") is False


async def test_groups_need_a_bound_socket() -> None:
    """They are of a binding: closed, they are left."""
    sock = UDPSocket(network_interface=LO)
    for call in (sock.join_multicast_group, sock.leave_multicast_group):
        with pytest.raises(InvalidStateError, match="async with"):
            call(GROUP)
        with pytest.raises(TypeError):
            call(None)  # type: ignore[arg-type]
    with RawUDP() as peer:
        peer.send_multicasts_by()
        async with sock:
            await sock.bind()
            assert sock.join_multicast_group(GROUP)
            sock.close()
            with pytest.raises(SocketClosedError):
                sock.join_multicast_group(GROUP)
            await sock.bind()
            peer.send(b"to all", sock.port, GROUP)
            peer.send(b"to one", sock.port)
            assert (await sock.receive()).data == b"to one"


@pytest.mark.parametrize("address", ["", "::1"])
async def test_ipv6_groups(address: str) -> None:
    """They are joined by the interface that has the address, or by the one in the zone."""
    index = socket.if_nametoindex("lo")
    with RawUDP("::1") as peer:
        peer.sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
        async with bound(address=address) as sock:
            assert sock.join_multicast_group("ff01::77%lo")
            try:
                peer.send(b"to all", sock.port, "ff01::77%lo")
            except OSError as exc:
                assert exc.errno in (errno.ENETUNREACH, errno.EADDRNOTAVAIL)
            else:
                assert await sock.receive() == Datagram("::1", peer.port, b"to all")
            sock.leave_multicast_group("ff01::77%lo")


# Broadcasts


async def test_the_broadcast_address_is_of_the_interface_in_use() -> None:
    """Of the chosen one, of the one with the socket's address, of the default route's."""
    assert UDPSocket(network_interface=LO).broadcast_address == "127.255.255.255"
    assert UDPSocket(address="127.0.0.9").broadcast_address == "127.255.255.255"
    assert UDPSocket(address="192.0.2.123").broadcast_address == "255.255.255.255"
    async with bound() as sock:
        assert sock.broadcast_address == "127.255.255.255"
    mine = UDPSocket().local_address
    owner = next((each for each in network_interfaces() if mine in each.addresses), None)
    assert UDPSocket().broadcast_address == broadcast_address(owner)
    async with bound(address="0.0.0.0") as sock:
        assert sock.broadcast_address == broadcast_address(owner)


async def test_a_broadcast_reaches_all_who_listen() -> None:
    """Ourselves, too."""
    with RawUDP("0.0.0.0") as peer:
        async with bound(address="", network_interface=LO) as sock:
            sock.write_to(sock.broadcast_address, b"to all", peer.port)
            assert (await peer.receive())[0] == b"to all"
            peer.send(b"answer to all", sock.port, "127.255.255.255")
            assert (await sock.receive()).data == b"answer to all"
            sock.write_to(sock.broadcast_address, b"to myself", sock.port)
            assert (await sock.receive()).data == b"to myself"


# The interface


@pytest.mark.skipif(not sockets.IP_RECVPKTINFO, reason="arrivals are unknown")
async def test_an_interface_hears_only_what_is_its() -> None:
    """What this machine sends to its other addresses passes through loopback, too."""
    others = [each for each in network_interfaces() if not each.is_loopback and each.ip_address]
    if not others:
        pytest.skip("this machine has no interface but loopback")
    eth = others[0]
    with RawUDP("0.0.0.0") as peer:
        async with bound(address="", network_interface=eth) as sock:
            assert sock.local_address == eth.ip_address
            for host in (LOOPBACK, eth.ip_address):
                peer.send(host.encode(), sock.port, host)
            assert (await sock.receive()).data == eth.ip_address.encode()
            sock.write_to(eth.ip_address, b"hello", peer.port)
            assert await peer.receive() == (b"hello", eth.ip_address, sock.port)
        async with bound(address="", network_interface=LO) as sock:
            assert sock.local_address == LOOPBACK
            for host in (eth.ip_address, LOOPBACK):
                peer.send(host.encode(), sock.port, host)
            assert (await sock.receive()).data == LOOPBACK.encode()
            assert sock.packets_available == 0


async def test_an_interface_and_an_address() -> None:
    """Bound to the address; multicasts go by the interface."""
    with RawUDP("0.0.0.0") as peer:
        peer.join(GROUP)
        async with bound(address="127.0.0.2", network_interface=LO) as sock:
            assert sock.local_address == "127.0.0.2"
            sock.write_to(GROUP, b"data", peer.port)
            assert await peer.receive() == (b"data", "127.0.0.2", sock.port)


async def test_an_interface_that_changed_is_looked_for_again() -> None:
    """Its number is another one after it was removed and made again; then sends work again."""
    async with bound(address="", network_interface=LO) as sock:
        assert sock.join_multicast_group(GROUP)
        port: Any = sock._datagrams.bound
        assert port.refresh() is False
        port._scope.index = 999_999
        assert port.refresh() is True
        assert port._scope.index == socket.if_nametoindex("lo")
    async with bound() as sock:
        port = sock._datagrams.bound
        assert port.refresh() is False


async def test_why_a_group_was_not_joined() -> None:
    """The system's limit, and what is no group at all."""
    async with bound(address="", network_interface=LO) as sock:
        joined = [sock.join_multicast_group(f"239.1.2.{number}") for number in range(1, 200)]
        if not all(joined):  # the limit of this machine may be higher
            assert sock.last_error is not None
            assert sock.last_error.errno == errno.ENOBUFS
            assert "igmp_max_memberships" in str(sock.last_error)
        assert not sock.join_multicast_group("192.0.2.1")
        assert "no multicast group" in str(sock.last_error)
