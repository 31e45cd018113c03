"""Sending datagrams: at once, else queued; what the OS refuses, and what it has no room for."""

from __future__ import annotations

import errno
import socket
import time
from typing import Any, cast

import pytest
import trio
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from tests.support import EventRecorder, until
from tests.support.datagrams import Congestion, RawUDP, bound
from tests.support.fake_ports import SOMEBODY, FakePort, FakeWatch, fake_delivery, why
from tests.support.peers import LOOPBACK
from trio_xsock import (
    Connected,
    Datagram,
    ErrorOccurred,
    OutOfMemoryError,
    SendComplete,
    SocketClosedError,
    SocketError,
    UDPSocket,
)
from trio_xsock._engine.datagram_outlet import DatagramOutlet
from trio_xsock._machines.endpoint import ResolvedAddress
from trio_xsock._machines.udp_queue import Departure
from trio_xsock._runtime.guard import Parking
from trio_xsock._runtime.hub import EventHub
from trio_xsock._runtime.steps import StepPair

DATA = Datagram("127.0.0.2", 9, b"data")


def numbered(count: int, port: int = 9) -> list[Datagram]:
    return [Datagram(LOOPBACK, port, b"%d" % number) for number in range(count)]


async def test_a_datagram_goes_at_once() -> None:
    """By the plain calls and by ``send``; each time the queue is empty again, that is told."""
    recorder = EventRecorder()
    with RawUDP() as peer:
        async with bound(handler=recorder) as sock:
            events = sock.subscribe()
            sock.write(Datagram(LOOPBACK, peer.port, b"one"))
            sock.write_to(LOOPBACK, memoryview(b"two!"), peer.port)
            with assert_checkpoints():
                await sock.send(Datagram(LOOPBACK, peer.port, b""))
            assert sock.packets_left_to_send == 0
            for data in (b"one", b"two!", b""):
                assert await peer.receive() == (data, LOOPBACK, sock.port)
            assert recorder.names == ["on_connected", *["on_send_complete"] * 3]
            assert (await events.receive()) == Connected(sock)
            assert (await events.receive()) == SendComplete(sock, False, 7, 0)


@pytest.mark.parametrize("data", ["text", None, 7])
async def test_data_are_bytes(data: Any) -> None:
    """Anything else is a mistake, before anything is sent."""
    async with bound() as sock:
        with pytest.raises(TypeError):
            sock.write_to(LOOPBACK, data, 9)
        with pytest.raises(TypeError):
            await sock.send(Datagram(LOOPBACK, 9, data))
        assert sock.statistics().packets_out == 0


@pytest.mark.parametrize("host", [LOOPBACK, "::1"])
async def test_what_is_too_large_is_refused(host: str) -> None:
    """F66: EMSGSIZE at the call, nothing is sent, nothing is posted, and the socket goes on."""
    recorder = EventRecorder()
    largest = 65507 if host == LOOPBACK else 65527
    with RawUDP(host) as peer:
        async with bound(address="", handler=recorder) as sock:
            datagram = Datagram(host, peer.port, bytes(largest + 1))
            with pytest.raises(SocketError, match="too large") as caught:
                sock.write(datagram)
            assert caught.value.errno == errno.EMSGSIZE
            with pytest.raises(SocketError) as caught:
                await sock.send(datagram)
            assert caught.value.errno == errno.EMSGSIZE
            assert recorder.names == ["on_connected"]
            assert sock.statistics().packets_out == 0
            await sock.send(Datagram(host, peer.port, bytes(largest)))
            assert len((await peer.receive())[0]) == largest


async def test_nobody_there_is_no_error() -> None:
    """F67: what ICMP says of one peer ends nothing, for the others least of all."""
    recorder = EventRecorder()
    with RawUDP() as gone, RawUDP() as peer:
        nowhere = gone.port
        gone.sock.close()
        async with bound(handler=recorder) as sock:
            for _ in range(10):
                sock.write_to(LOOPBACK, b"anybody?", nowhere)
                await sock.send(Datagram(LOOPBACK, nowhere, b"anybody?"))
            sock.write_to(LOOPBACK, b"you?", peer.port)
            assert (await peer.receive())[0] == b"you?"
            peer.send(b"yes", sock.port)
            assert (await sock.receive()).data == b"yes"
            assert sock.is_connected
            assert recorder.errors == []


async def test_an_error_of_an_earlier_datagram_is_not_this_ones() -> None:
    """Systems that tell of ICMP errors at the next call lose nothing by it."""
    async with bound() as sock:
        network = Congestion(sock, errno.ECONNREFUSED)
        sock.write(DATA)
        assert network.sent == [b"data"]
        network.for_ever = errno.ECONNREFUSED
        with pytest.raises(SocketError) as caught:
            sock.write(DATA)
        assert caught.value.errno == errno.ECONNREFUSED


@pytest.mark.parametrize(
    ("number", "error", "match"),
    [
        (errno.ENETUNREACH, SocketError, "check the routes"),
        (errno.EPERM, SocketError, "firewall"),
        (errno.EHOSTUNREACH, SocketError, "127.0.0.2:9"),
        (errno.ENOBUFS, OutOfMemoryError, "127.0.0.2:9"),
        (errno.ENOMEM, OutOfMemoryError, "127.0.0.2:9"),
    ],
)
async def test_what_the_os_refuses_is_raised(
    number: int, error: type[SocketError], match: str
) -> None:
    """With its number; the socket goes on, and it works again when the network does."""
    async with bound() as sock:
        network = Congestion(sock, for_ever=number)
        with pytest.raises(error, match=match) as caught:
            sock.write(DATA)
        assert type(caught.value) is error
        assert caught.value.errno == number
        assert isinstance(caught.value.__cause__, OSError)
        network.end()
        sock.write(DATA)
        assert network.sent == [b"data"]
        network.for_ever = number
        with pytest.raises(error):
            sock.write(DATA)
        assert sock.is_connected


async def test_a_flood_never_blocks() -> None:
    """Whether or not anybody reads it: the OS takes all, and drops what finds no room there."""
    with RawUDP() as peer:
        async with bound() as sock:
            datagram = Datagram(LOOPBACK, peer.port, bytes(100))
            for _ in range(10_000):
                sock.write(datagram)
            assert sock.packets_left_to_send == 0
            assert sock.statistics().packets_out == 10_000
            assert sock.statistics().bytes_out == 1_000_000


async def test_what_finds_no_room_waits_its_turn() -> None:
    """In order, and one ``SendComplete`` tells when all has gone."""
    recorder = EventRecorder()
    with RawUDP() as peer:
        async with bound(handler=recorder) as sock:
            network = Congestion(sock, for_ever=errno.EAGAIN)
            for datagram in numbered(150, peer.port):
                sock.write(datagram)
            assert sock.packets_left_to_send == 150
            assert sock.statistics().bytes_left_to_send == 340
            network.end()
            await recorder.wait_for(SendComplete)
            assert network.sent == [b"%d" % number for number in range(150)]
            assert sock.packets_left_to_send == 0
            assert recorder.names == ["on_connected", "on_send_complete"]
            assert sock.statistics().packets_out == 150
            sock.write(Datagram(LOOPBACK, peer.port, b"at once again"))
            assert network.sent[-1] == b"at once again"


async def test_the_batch_of_a_queue_is_counted() -> None:
    """All that went out of it, in one event."""
    async with bound() as sock:
        events = sock.events
        await events.receive()
        network = Congestion(sock, errno.EAGAIN, 0, errno.EAGAIN)
        for datagram in numbered(5):
            sock.write(datagram)
        assert await events.receive() == SendComplete(sock, False, 5, 0)
        assert len(network.sent) == 5


async def test_send_waits_for_room() -> None:
    """Its datagram keeps its place among what was written."""
    async with bound() as sock, trio.open_nursery() as nursery:
        network = Congestion(sock, for_ever=errno.EAGAIN)
        sock.write(Datagram(LOOPBACK, 9, b"first"))
        nursery.start_soon(sock.send, Datagram(LOOPBACK, 9, b"second"))
        await trio.lowlevel.checkpoint()
        await until(lambda: sock.packets_left_to_send == 2)
        sock.write(Datagram(LOOPBACK, 9, b"third"))
        network.end()
        await until(lambda: not sock.packets_left_to_send)
        assert network.sent == [b"first", b"second", b"third"]


async def test_a_cancelled_send_is_not_sent() -> None:
    """The others are; and a queue that is empty for it is one all the same."""
    recorder = EventRecorder()
    async with bound(handler=recorder) as sock:
        network = Congestion(sock, for_ever=errno.EAGAIN)
        for others in (0, 1):
            for _ in range(others):
                sock.write(Datagram(LOOPBACK, 9, b"another"))
            with trio.move_on_after(0.01) as scope:
                await sock.send(DATA)
            assert scope.cancelled_caught
            assert sock.packets_left_to_send == others
        network.end()
        await recorder.wait_for(SendComplete, 2)
        assert network.sent == [b"another"]
        with trio.CancelScope() as scope:
            scope.cancel()
            await sock.send(DATA)
        assert scope.cancelled_caught
        assert network.sent == [b"another"]


async def test_what_is_refused_in_its_turn_is_told() -> None:
    """To who waits for it, else to everybody; the rest goes."""
    recorder = EventRecorder()

    async def send() -> None:
        with pytest.raises(SocketError) as caught:
            await sock.send(DATA)
        assert caught.value.errno == errno.EHOSTUNREACH

    async with bound(handler=recorder) as sock, trio.open_nursery() as nursery:
        network = Congestion(sock, for_ever=errno.EAGAIN)
        sock.write(DATA)
        nursery.start_soon(send)
        await until(lambda: sock.packets_left_to_send == 2)
        sock.write(Datagram(LOOPBACK, 9, b"last"))
        network.errors.extend([errno.EHOSTUNREACH, errno.EHOSTUNREACH])
        network.for_ever = 0
        await recorder.wait_for(SendComplete)
        assert network.sent == [b"last"]
        assert [type(event) for event in recorder.events] == [
            Connected,
            ErrorOccurred,
            SendComplete,
        ]
        assert sock.last_error is recorder.errors[0]
        assert sock.is_connected


async def test_the_queue_is_bounded() -> None:
    """What finds no place is refused, and nothing of it queued."""
    async with bound() as sock:
        Congestion(sock, for_ever=errno.EAGAIN)
        large = Datagram(LOOPBACK, 9, bytes(65507))
        with pytest.raises(OutOfMemoryError, match="the send queue is full"):
            while True:
                sock.write(large)
        queued = sock.packets_left_to_send
        assert 1000 < queued < 1100
        with pytest.raises(OutOfMemoryError):
            await sock.send(large)
        assert sock.packets_left_to_send == queued
        sock.close()


async def test_closing_drops_what_is_queued() -> None:
    """Without an event; who waits is told."""
    recorder = EventRecorder()

    async def send() -> None:
        with pytest.raises(SocketClosedError, match="before the datagram was sent"):
            await sock.send(DATA)

    async with bound(handler=recorder) as sock, trio.open_nursery() as nursery:
        Congestion(sock, for_ever=errno.EAGAIN)
        sock.write(DATA)
        nursery.start_soon(send)
        await until(lambda: sock.packets_left_to_send == 2)
        sock.close()
        assert sock.packets_left_to_send == 0
    assert recorder.names == ["on_connected"]


async def test_a_graceful_close_sends_what_is_queued() -> None:
    """Nothing new meanwhile; who waits in ``receive`` is told at once."""
    recorder = EventRecorder()

    async def receive() -> None:
        with pytest.raises(SocketClosedError):
            await sock.receive()

    async with bound(handler=recorder) as sock, trio.open_nursery() as nursery:
        network = Congestion(sock, for_ever=errno.EAGAIN)
        sock.write(DATA)
        nursery.start_soon(receive)
        await trio.lowlevel.checkpoint()
        nursery.start_soon(sock.aclose)
        await until(lambda: sock._datagrams.closed_by_us)
        with pytest.raises(SocketClosedError):
            sock.write(DATA)
        network.end()
    assert network.sent == [b"data"]
    assert recorder.names == ["on_connected", "on_send_complete"]
    assert not sock.is_connected


@pytest.mark.parametrize("cancelled", [False, True])
async def test_a_graceful_close_has_an_end(cancelled: bool) -> None:
    """After ``grace`` seconds, and at once if it is cancelled."""
    async with bound() as sock:
        Congestion(sock, for_ever=errno.EAGAIN)
        sock.write(DATA)
        with trio.move_on_after(0.01 if cancelled else 10):
            await sock.aclose(10 if cancelled else 0.01)
        assert not sock.is_connected
    for wrong, error in ((-1, ValueError), ("1", TypeError)):
        with pytest.raises(error):
            await sock.aclose(wrong)  # type: ignore[arg-type]


async def test_leaving_the_block_sends_what_is_queued() -> None:
    """As ``aclose`` does."""
    async with bound() as sock:
        network = Congestion(sock, errno.EAGAIN)
        sock.write(DATA)
    assert network.sent == [b"data"]


async def test_a_handler_that_writes_from_on_send_complete_lets_others_run() -> None:
    """F21: no recursion, however often."""

    class Writer:
        count = depth = deepest = 0

        def on_send_complete(self, sock: UDPSocket, user_aborted: bool) -> None:
            assert not user_aborted
            self.count += 1
            self.depth += 1
            self.deepest = max(self.deepest, self.depth)
            if self.count < 5000:
                sock.write(DATA)
            self.depth -= 1

    turns = 0
    writer = Writer()
    async with bound(handler=writer) as sock:
        sock.write(DATA)
        while writer.count < 5000:
            await trio.lowlevel.checkpoint()
            turns += 1
        await wait_all_tasks_blocked()
        assert (writer.count, writer.deepest) == (5000, 1)
        assert turns > 30


async def test_a_graceful_close_sends_what_the_network_would_have_taken_meanwhile() -> None:
    """Its time is over when the loop goes on, but the network has had room for long."""
    async with bound() as sock, trio.open_nursery() as nursery:
        network = Congestion(sock, for_ever=errno.EAGAIN)
        sock.write(DATA)
        nursery.start_soon(sock.aclose, 0.3)
        await until(lambda: sock._datagrams.closed_by_us)
        await trio.lowlevel.checkpoint()
        network.for_ever = 0
        time.sleep(0.6)  # noqa: ASYNC251 - as a slow callback does
    assert network.sent == [b"data"]


# The outlet alone, without an operating system


def attached(hub: EventHub | None = None) -> tuple[DatagramOutlet, FakePort, FakeWatch]:
    """An outlet with a port."""
    outlet, port = DatagramOutlet(fake_delivery(hub)), FakePort()
    watch = FakeWatch(StepPair(lambda: None, lambda: None))
    outlet.attach(port, cast("Any", watch))
    return outlet, port, watch


THERE = ResolvedAddress(socket.AF_INET, SOMEBODY)


def test_the_short_way_is_for_known_routes() -> None:
    """Nothing queued, and nobody who listens to sends."""
    outlet, port, _ = attached()
    datagram = Datagram(*SOMEBODY, b"data")
    assert not outlet.send_known(datagram)
    route = outlet.route(THERE, "")
    assert outlet.known_route(*SOMEBODY, "") is route
    assert outlet.send_known(datagram)
    assert port.sent == [(b"data", SOMEBODY)]
    assert (outlet.packets_out, outlet.bytes_out) == (1, 4)
    outlet.queue(Departure(b"first", route))
    assert not outlet.send_known(datagram)
    hub = EventHub()
    hub.set_handler({"on_send_complete": lambda *_: None})
    outlet, _, _ = attached(hub)
    outlet.route(THERE, "")
    assert not outlet.send_known(datagram)


def test_the_short_way_leaves_what_may_go_yet_to_the_long_one() -> None:
    """No room now, and the error of an earlier datagram; all else is raised, and not counted."""
    outlet, port, _ = attached()
    outlet.route(THERE, "")
    datagram = Datagram(*SOMEBODY, b"data")
    port.refusals.extend([BlockingIOError(), ConnectionRefusedError()])
    assert [outlet.send_known(datagram) for _ in range(3)] == [False, False, True]
    port.refusals.append(OSError(errno.EMSGSIZE, "too large"))
    with pytest.raises(SocketError) as caught:
        outlet.send_known(datagram)
    assert caught.value.errno == errno.EMSGSIZE
    assert outlet.packets_out == 1


def test_it_watches_for_room_while_something_is_queued() -> None:
    """Until it has gone, was withdrawn, or was dropped."""
    outlet, port, watch = attached()
    route = outlet.route(THERE, "")
    first, second = Departure(b"first", route), Departure(b"second", route)
    outlet.queue(first)
    outlet.queue(second)
    drained = outlet.wait_until_empty()
    assert (watch.is_writing, outlet.is_empty) == (True, False)
    outlet.withdraw(first)
    assert outlet.write_step()
    assert port.sent == [(b"second", SOMEBODY)]
    assert (watch.is_writing, outlet.is_empty, drained.done) == (False, True, True)
    assert not outlet.write_step()


def test_a_closed_outlet_knows_no_way() -> None:
    """Those who wait are told, and nothing goes by a port that is gone."""
    outlet, port, _ = attached()
    waiting = Departure(b"data", outlet.route(THERE, ""), Parking())
    outlet.queue(waiting)
    outlet.close(why)
    assert waiting.waiter is not None
    assert waiting.waiter.done
    assert outlet.known_route(*SOMEBODY, "") is None
    with pytest.raises(SocketError) as caught:
        outlet.route(THERE, "")
    assert caught.value.errno == errno.EBADF
    assert port.sent == []


def test_a_long_queue_goes_in_portions() -> None:
    """Other sockets have their turn in between."""
    outlet, port, _ = attached()
    route = outlet.route(THERE, "")
    for number in range(100):
        outlet.queue(Departure(b"%d" % number, route))
    outlet.write_step()
    assert len(port.sent) == 64
    outlet.write_step()
    assert [data for data, _ in port.sent] == [b"%d" % number for number in range(100)]
