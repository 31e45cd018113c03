"""Binding to a port and giving it back."""

from __future__ import annotations

import contextvars
import errno
import math
import os
import socket
from typing import Any, cast

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.support import EventRecorder
from tests.support.datagrams import RawUDP, bound
from tests.support.fake_ports import SOMEBODY, FakeOpener, FakePort, fake_delivery
from tests.support.pairs import GatedResolver
from tests.support.peers import LOOPBACK
from trio_xsock import (
    AddressInUseError,
    Connected,
    Datagram,
    EasyUDPSocket,
    ErrorOccurred,
    InvalidPortError,
    InvalidStateError,
    NameResolutionError,
    NetworkInterface,
    SocketClosedError,
    SocketError,
    SocketState,
    UDPSocket,
)
from trio_xsock._engine.datagram_inbox import DatagramInbox
from trio_xsock._engine.datagram_port import DatagramPort
from trio_xsock._machines.endpoint import ResolvedAddress
from trio_xsock._machines.udp_groups import Group
from trio_xsock._machines.udp_queue import Departure
from trio_xsock._network import udp_options as _udp_options
from trio_xsock._network.udp_port import Sharing

GROUP = "239.1.2.3"


async def test_binding_posts_connected_and_closing_nothing() -> None:
    """``connect`` is the same; the channel ends with the binding, and goes on with the next."""
    recorder = EventRecorder()
    async with UDPSocket(address=LOOPBACK, handler=recorder) as sock:
        events = sock.events
        for call in (sock.bind, sock.connect):
            await call()
            sock.close()
            assert [event async for event in events] == [Connected(sock)]
    assert recorder.names == ["on_connected", "on_connected"]


async def test_all_addresses_of_both_families_are_bound() -> None:
    """By one descriptor, and so with one port."""
    async with bound(address="") as sock:
        for host in (LOOPBACK, "::1"):
            with RawUDP(host) as peer:
                peer.send(b"from " + host.encode(), sock.port, host)
                datagram = await sock.receive()
                assert (datagram.address, datagram.port) == (host, peer.port)
                sock.write_to(host, b"answer", peer.port)
                assert (await peer.receive())[0] == b"answer"


@pytest.mark.parametrize(
    ("address", "hears", "is_deaf_to"),
    [("0.0.0.0", LOOPBACK, "::1"), ("::", "::1", LOOPBACK)],
)
async def test_a_wildcard_is_of_its_family(address: str, hears: str, is_deaf_to: str) -> None:
    """And what is of the other cannot be reached."""
    async with bound(address=address) as sock:
        with RawUDP(hears) as peer:
            peer.send(b"data", sock.port, hears)
            assert (await sock.receive()).address == hears
        with pytest.raises(SocketError, match="address of the other family") as caught:
            sock.write_to(is_deaf_to, b"data", 7)
        assert caught.value.errno == errno.EAFNOSUPPORT
        assert sock.local_address not in ("", "0.0.0.0", "::")


async def test_without_ipv6_it_is_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine where IPv6 is switched off."""
    really_open = _udp_options._open

    def refuse(family: int, *arguments: Any, **options: Any) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "no IPv6")
        return really_open(family, *arguments, **options)

    async with UDPSocket() as sock:
        with monkeypatch.context() as patch:
            patch.setattr(_udp_options, "_open", refuse)
            await sock.bind()
        with RawUDP() as peer:
            peer.send(b"data", sock.port)
            assert (await sock.receive()).address == LOOPBACK


async def test_a_port_may_be_given_to_bind() -> None:
    """It stays the port to bind to."""
    with RawUDP() as free:
        number = free.port
    async with UDPSocket(7, address=LOOPBACK) as sock:
        await sock.bind(number)
        assert sock.port == number
        sock.close()
        assert sock.port == number
        for port, error in ((-1, InvalidPortError), (65536, InvalidPortError), ("7", TypeError)):
            with pytest.raises(error):
                await sock.bind(port)  # type: ignore[arg-type]
        assert (sock.port, sock.state) == (number, SocketState.CLOSED)


async def test_a_taken_port_is_an_error_that_is_posted() -> None:
    """And bind() may be tried again."""
    recorder = EventRecorder()
    with RawUDP() as other:
        async with UDPSocket(other.port, address=LOOPBACK, handler=recorder) as sock:
            with pytest.raises(AddressInUseError, match=f"127.0.0.1:{other.port}") as caught:
                await sock.bind()
            assert caught.value.errno == errno.EADDRINUSE
            assert (sock.state, sock.handle) == (SocketState.CLOSED, -1)
            assert sock.last_error is caught.value
            assert recorder.events == [ErrorOccurred(sock, caught.value)]
            await sock.bind(0)
            assert sock.last_error is None


async def test_a_port_is_shared_only_with_those_who_share() -> None:
    """From the first group on, and never of a class that does not share."""

    async with bound(address="") as first:
        number = first.port
        async with UDPSocket(number) as second, EasyUDPSocket(number) as third:
            with pytest.raises(AddressInUseError):
                await second.bind()
            assert first.join_multicast_group(GROUP)
            await second.bind()
            with pytest.raises(AddressInUseError):
                await third.bind()
    async with EasyUDPSocket() as third, UDPSocket() as second:
        await third.bind()
        assert third.join_multicast_group(GROUP)
        with pytest.raises(AddressInUseError):
            await second.bind(third.port)


async def test_binding_needs_a_closed_socket_in_its_block() -> None:
    """Else it is refused, and changes nothing."""
    sock = UDPSocket(address=LOOPBACK)
    with pytest.raises(InvalidStateError, match="async with"):
        await sock.bind()
    async with sock:
        await sock.bind()
        handle = sock.handle
        with pytest.raises(InvalidStateError, match="bind\\(\\) is not possible"):
            await sock.bind(0)
        assert sock.handle == handle
    with pytest.raises(InvalidStateError, match="make a new UDPSocket"):
        await sock.bind()


async def test_a_privileged_port_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not posted; as all refusals."""
    recorder = EventRecorder()

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    async with UDPSocket(7, address=LOOPBACK, handler=recorder) as sock:
        with monkeypatch.context() as patch:
            patch.setattr(_udp_options, "_open", refuse)
            with pytest.raises(InvalidPortError, match=r"cannot bind to 127\.0\.0\.1:7"):
                await sock.bind()
        assert (sock.state, recorder.events) == (SocketState.CLOSED, [])


@pytest.mark.parametrize(
    ("address", "error"),
    [("192.0.2.77", SocketError), ("no such host.invalid", NameResolutionError)],
)
async def test_an_address_that_is_not_ours(address: str, error: type[SocketError]) -> None:
    """The text names it."""
    async with UDPSocket(address=address) as sock:
        with pytest.raises(error, match=address[:5]):
            await sock.bind()
        assert isinstance(sock.last_error, error)


async def test_an_interface_that_is_not_there() -> None:
    """The text names it."""
    gone = NetworkInterface("gone0", "192.0.2.1", "", "", ("192.0.2.1",), True, False, 1500)
    async with UDPSocket(network_interface=gone) as sock:
        with pytest.raises(SocketError, match="cannot bind to \\*:0 on gone0"):
            await sock.bind()
        assert sock.state is SocketState.CLOSED


async def test_a_local_name_is_resolved() -> None:
    """And what happens meanwhile is seen."""
    resolver = GatedResolver()
    async with UDPSocket(address="here.example") as sock, trio.open_nursery() as nursery:
        nursery.start_soon(sock.bind)
        await resolver.called.wait()
        with pytest.raises(InvalidStateError, match="another task is binding"):
            await sock.bind()
        resolver.answer.set()
        await wait_all_tasks_blocked()
        assert (sock.state, sock.local_address) == (SocketState.BOUND, LOOPBACK)


@pytest.mark.parametrize("answered", [False, True])
async def test_closing_ends_a_bind_that_waits(answered: bool) -> None:
    """It says so, and nothing is bound; also where the answer comes in the same moment."""
    resolver = GatedResolver()

    async def bind() -> None:
        with pytest.raises(SocketClosedError, match="closed while it was being bound"):
            await sock.bind()

    async with UDPSocket(address="here.example") as sock, trio.open_nursery() as nursery:
        nursery.start_soon(bind)
        await resolver.called.wait()
        if answered:
            resolver.answer.set()
        sock.close()
    assert sock.state is SocketState.CLOSED


async def test_a_cancelled_bind_may_be_tried_again() -> None:
    """Nothing is left over."""
    resolver = GatedResolver()
    async with UDPSocket(address="here.example") as sock:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sock.bind)
            await resolver.called.wait()
            nursery.cancel_scope.cancel()
        assert (sock.state, sock.last_error) == (SocketState.CLOSED, None)
        resolver.answer.set()
        await sock.bind()


async def test_a_new_binding_begins_with_an_empty_queue() -> None:
    """What the last one left could be read until then."""
    with RawUDP() as peer:
        async with bound(address=LOOPBACK) as sock:
            peer.send(b"data", sock.port)
            peer.send(b"more", sock.port)
            await sock.receive()
            sock.close()
            await sock.bind()
            assert sock.packets_available == 0


async def test_closing_is_always_legal() -> None:
    """Never entered, never bound, twice, and after the block."""
    sock = UDPSocket()
    sock.close()
    async with sock:
        sock.close()
        await sock.aclose()
        await sock.bind()
        sock.close()
        sock.close()
        await sock.aclose()
    sock.close()
    await sock.aclose()


async def test_a_socket_in_a_task_of_its_own() -> None:
    """``run`` ends when the socket is closed."""
    async with trio.open_nursery() as nursery:
        sock: UDPSocket = await nursery.start(UDPSocket(address=LOOPBACK).run)
        await sock.bind()
        sock.close()


# The port alone, without an operating system


def opened(*ports: FakePort, sharing: Sharing = Sharing.IN_A_GROUP) -> tuple[DatagramPort, Any]:
    """A port that is bound, and its inbox."""
    delivery = fake_delivery()
    inbox = DatagramInbox(delivery, 10)
    port = DatagramPort(delivery, inbox, sharing)
    port.open_by(FakeOpener(*ports))
    port.open(None, 4711, None)
    return port, inbox


def test_a_port_that_was_opened_is_watched_until_it_is_closed() -> None:
    """And everything is given back, once."""
    network = FakePort()
    port, inbox = opened(network)
    assert (port.state, port.bound) == (SocketState.BOUND, network)
    assert network.watched.is_reading
    assert not network.watched.is_writing
    network.arriving.append([(b"data", SOMEBODY)])
    network.watched.steps.on_readable()
    assert inbox.take().data == b"data"
    waiting = inbox.wait()
    for _ in range(2):
        port.close()
        assert (port.state, port.bound, port.closed_by_us) == (SocketState.CLOSED, None, True)
    assert (network.is_closed, network.watched.is_closed, waiting.done) == (True, True, True)
    assert port.keeper is not None
    assert cast("Any", port.keeper).closed == 2


def test_what_cannot_be_opened_changes_nothing() -> None:
    """It is closed, and may be opened."""

    def refuse(*_: object, **__: object) -> Any:
        raise OSError(errno.EADDRINUSE, "taken")

    delivery = fake_delivery()
    port = DatagramPort(delivery, DatagramInbox(delivery, 10), Sharing.NEVER)
    port.open_by(refuse)
    with pytest.raises(OSError):
        port.open(None, 4711, None)
    assert (port.state, port.bound) == (SocketState.CLOSED, None)


def test_the_end_of_the_block_is_no_close_by_the_user() -> None:
    """What is true of the end stays true."""
    port, _ = opened(FakePort())
    port.end()
    assert (port.state, port.closed_by_us) == (SocketState.CLOSED, False)


def test_a_graceful_close_lets_nobody_wait_and_sends_the_rest() -> None:
    """No new datagram goes, what is queued does."""
    network = FakePort()
    port, inbox = opened(network)
    route = port.outlet.route(ResolvedAddress(socket.AF_INET, SOMEBODY), "")
    port.outlet.queue(Departure(b"queued", route))
    waiting = inbox.wait()
    port.stop()
    assert waiting.done
    assert not port.outlet.send_known(Datagram(*SOMEBODY, b"new"))
    network.watched.steps.on_writable()
    assert network.sent == [(b"queued", SOMEBODY)]


def test_options_hold_for_this_and_for_later_bindings() -> None:
    """Hops hold for unicasts once they were set."""
    first, second = FakePort(), FakePort()
    port, _ = opened(first, second)
    assert first.options == {"hops": (32, False), "send_to_self": False}
    port.set_hops(7)
    port.set_send_to_self(True)
    assert first.options == {"hops": (7, True), "send_to_self": True}
    port.close()
    port.open(None, 0, None)
    assert second.options == {"hops": (7, True), "send_to_self": True}


def test_a_group_may_need_a_port_of_its_own() -> None:
    """It is watched from joining to leaving, and what the OS dropped there stays counted."""
    network, extra = FakePort(), FakePort()
    network.extra = extra
    port, inbox = opened(network)
    group = Group("239.1.2.3", False, 0)
    port.join(cast("Any", network), group)
    assert port.is_member(group)
    extra.arriving.append([(b"to all", SOMEBODY)])
    extra.watched.steps.on_readable()
    assert inbox.take().data == b"to all"
    extra.drops = 3
    assert port.dropped_by_system == 3
    port.leave(cast("Any", network), group)
    assert (extra.is_closed, port.is_member(group), port.dropped_by_system) == (True, False, 3)


def test_a_shared_port_beside_our_own() -> None:
    """One that cannot join is given back at once."""
    own, refused, shared = FakePort(), FakePort(), FakePort()
    refused.refuses_to_join = OSError(errno.ENODEV, "no such device")
    port, _ = opened(own, refused, shared, sharing=Sharing.NEVER)
    group = Group("239.1.2.3", False, 0)
    with pytest.raises(OSError):
        port.open_group(group, 4712, None)
    assert (refused.is_closed, refused.watched.is_closed) == (True, True)
    port.open_group(group, 4712, None)
    assert shared.watched.is_reading
    port.close_group(group)
    assert (shared.is_closed, own.is_closed) == (True, False)
    port.close_group(group)


def test_a_look_takes_in_all_that_has_arrived() -> None:
    """Several portions, but not for ever."""
    network = FakePort()
    port, inbox = opened(network)
    network.arriving.extend([[(b"data", SOMEBODY)] for _ in range(20)])
    inbox.arrivals.limit = 100
    port.look()
    assert len(inbox.arrivals.packets) == 16
    assert port.step() is True
    assert len(inbox.arrivals.packets) == 17


def test_a_new_binding_knows_nothing_of_the_groups_before() -> None:
    """Nor of the ports that were theirs."""
    first, extra, second = FakePort(), FakePort(), FakePort()
    first.extra = extra
    port, _ = opened(first, second)
    group = Group("239.1.2.3", False, 0)
    port.join(cast("Any", first), group)
    port.close()
    assert (extra.is_closed, port.is_member(group)) == (True, False)
    port.open(None, 4711, None)
    port.join(cast("Any", second), group)
    port.leave(cast("Any", second), group)
    assert second.joined == set()


async def test_groups_are_looked_after_while_the_port_is_bound() -> None:
    """From joining until it is closed."""
    network = FakePort()
    network.needs_renewal = True
    port, _ = opened(network)
    assert port.tick() == math.inf
    port.join(cast("Any", network), Group("239.1.2.3", False, 0))
    assert trio.current_time() < port.tick() < math.inf
    port.close()
    assert port.tick() == math.inf


def test_a_look_ends_when_a_handler_closes_the_port() -> None:
    """What has arrived at its other ports is not for us any more."""
    network, extra = FakePort(), FakePort()
    network.extra = extra
    port, inbox = opened(network)
    port.join(cast("Any", network), Group("239.1.2.3", False, 0))
    keeper: Any = port.keeper
    keeper.context = contextvars.copy_context()
    closer = {"on_data_available": lambda _: port.close()}
    port._delivery.set_handler(object(), closer)
    for each in (network, extra):
        each.arriving.append([(b"data", SOMEBODY)])
    port.look()
    assert len(extra.arriving) == 1
    assert inbox.arrivals.received == 1
