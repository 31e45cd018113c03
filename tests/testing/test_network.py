"""The network within the program: what arrives, when, and that it is the same each time."""

from __future__ import annotations

import errno
import weakref
from collections import Counter
from typing import Any

import pytest
import trio
import trio.abc
from trio.testing import MockClock

from tests.support import until
from tests.support.datagrams import Congestion
from trio_xsock import (
    AddressInUseError,
    AutoDiscovery,
    Datagram,
    EasyUDPSocket,
    InvalidStateError,
    SocketError,
    TCPSocket,
    UDPSocket,
)
from trio_xsock.testing import DatagramNetwork

ONE, OTHER, THIRD = "10.0.0.1", "10.0.0.2", "2001:db8::3"
GROUP = "239.1.2.3"


async def test_sockets_on_different_hosts() -> None:
    """They are used as all others are: bound, answered, closed."""
    network = DatagramNetwork()

    class Echo:
        def on_data_available(self, sock: Any) -> None:
            while (datagram := sock.read()) is not None:
                sock.write(datagram)

    server = network.attach(UDPSocket(4711, handler=Echo()), ONE)
    client = network.attach(UDPSocket(), OTHER)
    async with server, client:
        await server.bind()
        await client.bind()
        assert (server.local_address, server.port, server.handle) == (ONE, 4711, -1)
        assert (client.local_address, client.port) == (OTHER, 49152)
        for data in (b"", b"data", bytes(65507)):
            await client.send(Datagram(ONE, 4711, data))
            assert await client.receive() == Datagram(ONE, 4711, data)
        with pytest.raises(SocketError) as caught:
            client.write_to(ONE, bytes(65508), 4711)
        assert caught.value.errno == errno.EMSGSIZE
        server.close()
        client.write_to(ONE, b"nobody there", 4711)
        await server.bind()
        assert not await server.poll()
        assert client.statistics().packets_dropped == 0
    assert network.sent == 6


async def test_groups_and_broadcasts() -> None:
    """Members hear the group, all hear a broadcast, and each only what is for its port."""
    network = DatagramNetwork()
    sockets = [
        network.attach(UDPSocket(port), host)
        for host, port in ((ONE, 7), (OTHER, 7), (THIRD, 7), (ONE, 8))
    ]
    one, other, third, elsewhere = sockets
    async with one, other, third, elsewhere:
        for sock in sockets:
            await sock.bind()
            assert sock.join_multicast_group("ff02::1")
        for sock in (one, other):
            assert sock.join_multicast_group(GROUP)
        one.write_to(GROUP, b"group")
        assert await other.receive() == Datagram(ONE, 7, b"group")
        one.send_to_self = True
        third.write_to(GROUP, b"from outside")
        for sock in (one, other):
            assert (await sock.receive()).data == b"from outside"
        one.write_to(GROUP, b"self")
        for sock in (one, other):
            assert (await sock.receive()).data == b"self"
        other.leave_multicast_group(GROUP)
        one.router_hops = 0
        one.write_to("ff02::1", b"stays here")
        assert (await one.receive()).data == b"stays here"
        other.write_to("255.255.255.255", b"all")
        for sock in (one, other, third):
            assert await sock.receive() == Datagram(OTHER, 7, b"all")
        for sock in sockets:
            assert not await sock.poll()


async def test_ports_are_taken_and_shared() -> None:
    """As on a machine: one has it, or all who join groups."""
    network = DatagramNetwork()
    first, second, far = (network.attach(UDPSocket(7), host) for host in (ONE, ONE, OTHER))
    async with first, second, far:
        await first.bind()
        await far.bind()
        with pytest.raises(AddressInUseError):
            await second.bind()
        assert first.join_multicast_group(GROUP)
        await second.bind()
        far.write_to(ONE, b"the last one has it")
        assert (await second.receive()).data == b"the last one has it"
        assert not await first.poll()
    stranger = network.attach(UDPSocket(address=OTHER), ONE)
    async with stranger:
        with pytest.raises(SocketError) as caught:
            await stranger.bind()
        assert caught.value.errno == errno.EADDRNOTAVAIL


async def exchange(count: int = 500, **weather: float) -> tuple[list[int], DatagramNetwork]:
    """What arrives of so many datagrams, and the network that they went through."""
    network = DatagramNetwork(seed=3, **weather)
    sender = network.attach(UDPSocket(), ONE)
    receiver = network.attach(UDPSocket(7, receive_packet_limit=10_000), OTHER)
    async with sender, receiver:
        await sender.bind()
        await receiver.bind()
        for number in range(count):
            sender.write_to(OTHER, b"%d" % number, 7)
            await trio.sleep(0.001)
        await trio.sleep(1)
        taken = []
        while (datagram := receiver.read()) is not None:
            taken.append(int(datagram.data))
    return taken, network


def under_mock_clock(**weather: float) -> tuple[list[int], DatagramNetwork]:
    return trio.run(
        lambda: exchange(**weather),  # type: ignore[arg-type]
        clock=MockClock(autojump_threshold=0),
    )


def test_without_weather_all_arrive_in_order() -> None:
    """Once each."""
    taken, network = under_mock_clock(delay=0.5)
    assert taken == list(range(500))
    assert (network.sent, network.lost, network.doubled, network.late) == (500, 0, 0, 0)


def test_loss() -> None:
    """What is lost is lost, the rest is in order."""
    taken, network = under_mock_clock(loss=0.2)
    assert taken == sorted(set(taken))
    assert len(taken) == 500 - network.lost
    assert 50 < network.lost < 150


def test_duplication() -> None:
    """Some come twice."""
    taken, network = under_mock_clock(duplication=0.2)
    assert set(taken) == set(range(500))
    assert sum(count == 2 for count in Counter(taken).values()) == network.doubled
    assert len(taken) == 500 + network.doubled
    assert 50 < network.doubled < 150


def test_reordering() -> None:
    """All come, some later than those that were sent after them."""
    taken, network = under_mock_clock(reordering=0.2)
    assert sorted(taken) == list(range(500))
    assert taken != sorted(taken)
    assert 50 < network.late < 150


def test_delay() -> None:
    """Not before its time."""

    async def main() -> None:
        network = DatagramNetwork(delay=3)
        sender = network.attach(UDPSocket(), ONE)
        receiver = network.attach(UDPSocket(7), OTHER)
        async with sender, receiver:
            await sender.bind()
            await receiver.bind()
            began = trio.current_time()
            sender.write_to(OTHER, b"slow", 7)
            network.delay = 1
            sender.write_to(OTHER, b"fast", 7)
            for data, seconds in ((b"fast", 1), (b"slow", 3)):
                assert (await receiver.receive()).data == data
                assert trio.current_time() - began == pytest.approx(seconds)

    trio.run(main, clock=MockClock(autojump_threshold=0))


def test_the_same_seed_gives_the_same_fates() -> None:
    """And another weather does not change what other dice say."""
    weather = {"loss": 0.1, "duplication": 0.1, "reordering": 0.1}
    assert under_mock_clock(**weather)[0] == under_mock_clock(**weather)[0]
    lossy = set(under_mock_clock(loss=0.1)[0])
    assert set(under_mock_clock(loss=0.1, duplication=0.5)[0]) == lossy


async def test_names_are_looked_up_as_ever() -> None:
    """By Trio's resolver, which a test can replace."""

    class Resolver(trio.abc.HostnameResolver):
        async def getaddrinfo(self, host: Any, port: Any, *_: Any, **__: Any) -> Any:
            return [(0, 0, 0, "", (OTHER, port))]

        async def getnameinfo(self, *_: Any) -> Any:
            raise NotImplementedError

    trio.socket.set_custom_hostname_resolver(Resolver())
    network = DatagramNetwork()
    sender, receiver = network.attach(UDPSocket(), ONE), network.attach(UDPSocket(7), OTHER)
    async with sender, receiver:
        await sender.bind()
        await receiver.bind()
        await sender.send(Datagram("other.example", 7, b"data"))
        assert (await receiver.receive()).data == b"data"


async def test_congestion_can_be_added() -> None:
    """A port that takes nothing for a while, and then does, as a device may be."""
    network = DatagramNetwork()
    sender, receiver = network.attach(UDPSocket(), ONE), network.attach(UDPSocket(7), OTHER)
    async with sender, receiver:
        await sender.bind()
        await receiver.bind()
        Congestion(sender, errno.EAGAIN, errno.ENETDOWN)
        sender.write_to(OTHER, b"1", 7)
        sender.write_to(OTHER, b"2", 7)
        assert (await receiver.receive()).data == b"2"
        assert isinstance(sender.last_error, SocketError)


async def test_messages_to_groups() -> None:
    """An ``EasyUDPSocket`` hears the groups that it has registered."""
    network = DatagramNetwork()
    one = network.attach(EasyUDPSocket(4711), ONE)
    other = network.attach(EasyUDPSocket(4711), OTHER)
    async with one, other:
        for sock in (one, other):
            await sock.bind()
        other.register("orchard")
        one.send_message_to_group("garden", 1, b"not for you")
        one.send_message_to_group("orchard", 2, b"hello")
        assert await other.wait_for_message(2, ONE) == b"hello"
        other.unregister("orchard")
        one.send_message_to_group("orchard", 3)
        one.send_message_to_individual(OTHER, 4)
        assert await other.wait_for_message(4) == b""
        assert other.messages_available == 0


async def test_members_find_each_other_and_miss_who_is_cut_off(
    autojump_clock: MockClock,
) -> None:
    """Three on two hosts, although much is lost; without waiting for the time to pass."""
    network = DatagramNetwork(seed=3, loss=0.2, delay=0.02)
    socks = [
        network.attach(AutoDiscovery(4711, name=name), host)
        for name, host in (("a", ONE), ("b", OTHER), ("c", OTHER))
    ]
    async with socks[0], socks[1], socks[2]:
        for sock in socks:
            await sock.bind()
            sock.register("orchard")
        await trio.sleep(5)
        for sock in socks:
            assert {member.name for member in sock.get_member_list()} == {"a", "b", "c"}
        network.loss = 1.0
        await trio.sleep(20)
        assert [len(sock.get_member_list()) for sock in socks] == [1, 1, 1]


async def test_what_cannot_be_attached() -> None:
    """No address, no datagram socket, one that is bound."""
    network = DatagramNetwork()
    with pytest.raises(ValueError, match="IP address"):
        network.attach(UDPSocket(), "host")
    with pytest.raises(TypeError, match="UDPSocket"):
        network.attach(TCPSocket(), ONE)  # type: ignore[type-var]
    async with UDPSocket(address="127.0.0.1") as sock:
        await sock.bind()
        with pytest.raises(InvalidStateError, match="bound already"):
            network.attach(sock, ONE)


async def test_nothing_is_left_of_closed_sockets() -> None:
    """The network does not keep them, nor what was on its way to them."""
    network = DatagramNetwork(delay=10)
    sock = network.attach(UDPSocket(7), ONE)
    async with sock:
        await sock.bind()
        sock.write_to(ONE, b"to myself", 7)
        await until(lambda: network.sent == 1)
    gone = weakref.ref(sock)
    del sock
    assert gone() is None
    assert network._ports == []
