"""Datagrams that arrive, by each way to receive them."""

from __future__ import annotations

import contextvars
import socket
import struct
from typing import Any

import pytest
import trio
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from tests.support import EventRecorder, until
from tests.support.datagrams import RawUDP, bound
from tests.support.fake_ports import SOMEBODY, fake_delivery, why
from tests.support.peers import LOOPBACK
from trio_xsock import (
    Connected,
    DataAvailable,
    Datagram,
    InvalidStateError,
    SocketClosedError,
    UDPSocket,
)
from trio_xsock._engine.datagram_inbox import DatagramInbox
from trio_xsock._platform import sockets


class Collector:
    """A handler that takes what there is."""

    def __init__(self) -> None:
        self.taken: list[Datagram] = []
        self.calls = 0

    def on_data_available(self, sock: Any) -> None:
        self.calls += 1
        while (datagram := sock.read()) is not None:
            self.taken.append(datagram)


async def test_the_three_ways_to_receive() -> None:
    """``receive``, iteration and ``read`` take from one queue, in order."""
    with RawUDP() as peer:
        async with bound() as sock:
            assert sock.read() is None
            for number in range(4):
                peer.send(b"%d" % number, sock.port)
            with assert_checkpoints():
                taken = [await sock.receive()]
            async for datagram in sock:
                taken.append(datagram)
                if len(taken) == 3:
                    break
            last = sock.read()
            assert last is not None
            taken.append(last)
            assert taken == [Datagram(LOOPBACK, peer.port, b"%d" % n) for n in range(4)]
            assert sock.packets_available == 0


@pytest.mark.parametrize("size", [0, 1, 1472, 1473, 65507])
async def test_datagrams_of_all_sizes_arrive_whole(size: int) -> None:
    """F66: empty ones, too, and the largest there are."""
    data = bytes(range(256)) * (size // 256 + 1)
    with RawUDP() as peer:
        async with bound() as sock:
            peer.send(data[:size], sock.port)
            assert await sock.receive() == Datagram(LOOPBACK, peer.port, data[:size])
            sock.write_to(LOOPBACK, data[:size], peer.port)
            assert await peer.receive() == (data[:size], LOOPBACK, sock.port)


async def test_an_answer_goes_to_where_the_question_came_from() -> None:
    """Several senders are told apart."""
    with RawUDP() as one, RawUDP("127.0.0.2") as other:
        async with bound(address="0.0.0.0") as sock:
            one.send(b"one", sock.port)
            other.send(b"other", sock.port)
            for _ in range(2):
                sock.write(await sock.receive())
            assert await one.receive() == (b"one", LOOPBACK, sock.port)
            data, _, port = await other.receive()
            assert (data, port) == (b"other", sock.port)


async def test_a_handler_is_called_once_for_what_came_together() -> None:
    """And never for nothing; what it leaves is not announced again."""
    handler = Collector()
    with RawUDP() as peer:
        async with bound(handler=handler) as sock:
            for number in range(10):
                peer.send(b"%d" % number, sock.port)
            await until(lambda: len(handler.taken) == 10)
            assert [each.data for each in handler.taken] == [b"%d" % n for n in range(10)]
            assert 1 <= handler.calls <= 10


async def test_what_is_left_unread_is_announced_once() -> None:
    """Until something new comes."""
    recorder = EventRecorder()
    with RawUDP() as peer:
        async with bound(handler=recorder) as sock:
            events = sock.subscribe()
            assert isinstance(await events.receive(), Connected)
            peer.send(b"1", sock.port)
            await recorder.wait_for(DataAvailable)
            assert await events.receive() == DataAvailable(sock)
            await wait_all_tasks_blocked()
            assert len(recorder.of(DataAvailable)) == 1
            peer.send(b"2", sock.port)
            await recorder.wait_for(DataAvailable, 2)
            assert sock.packets_available == 2


async def test_reading_all_withdraws_a_waiting_event() -> None:
    """So do ``purge``, and only when nothing is left."""
    with RawUDP() as peer:
        async with bound() as sock:
            events = sock.events
            await events.receive()
            for take in (lambda: (sock.read(), sock.read()), sock.purge):
                for _ in range(2):
                    peer.send(b"data", sock.port)
                await until(lambda: sock.packets_available == 2)
                take()
                assert sock.packets_available == 0
                with pytest.raises(trio.WouldBlock):
                    events.receive_nowait()


async def test_waiting_tasks_are_served_in_their_order_before_events() -> None:
    """``DataAvailable`` tells only of what is then left."""
    taken: dict[str, bytes] = {}

    async def take(name: str) -> None:
        taken[name] = (await sock.receive()).data

    with RawUDP() as peer:
        async with bound() as sock, trio.open_nursery() as nursery:
            events = sock.events
            await events.receive()
            for name in ("first", "second"):
                nursery.start_soon(take, name)
                await wait_all_tasks_blocked()
            peer.send(b"1", sock.port)
            peer.send(b"2", sock.port)
            await until(lambda: len(taken) == 2)
            assert taken == {"first": b"1", "second": b"2"}
            with pytest.raises(trio.WouldBlock):
                events.receive_nowait()
            peer.send(b"3", sock.port)
            assert isinstance(await events.receive(), DataAvailable)


async def test_a_cancelled_receive_takes_nothing() -> None:
    """The datagram is for the next one."""
    with RawUDP() as peer:
        async with bound() as sock:
            with trio.move_on_after(0.01) as scope:
                await sock.receive()
            assert scope.cancelled_caught
            peer.send(b"data", sock.port)
            await until(lambda: sock.packets_available)
            with trio.CancelScope() as scope:
                scope.cancel()
                await sock.receive()
            assert scope.cancelled_caught
            assert (await sock.receive()).data == b"data"


async def test_closing_wakes_who_waits() -> None:
    """And what was received stays readable, by the plain calls."""

    async def wait() -> None:
        with pytest.raises(SocketClosedError):
            await sock.receive()

    with RawUDP() as peer:
        async with bound() as sock:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(wait)
                nursery.start_soon(wait)
                await wait_all_tasks_blocked()
                sock.close()
            await sock.bind()
            peer.send(b"data", sock.port)
            await until(lambda: sock.packets_available)
            await sock.aclose()
            with pytest.raises(SocketClosedError):
                await sock.receive()
            with pytest.raises(trio.ClosedResourceError):
                async for _ in sock:
                    pytest.fail("the socket is closed")  # pragma: no cover
            assert sock.read() == Datagram(LOOPBACK, peer.port, b"data")


async def test_receiving_needs_a_bound_socket() -> None:
    """It says what to do."""
    sock = UDPSocket()
    with pytest.raises(InvalidStateError, match="async with"):
        await sock.receive()
    async with sock:
        with pytest.raises(InvalidStateError, match="await bind"):
            await sock.receive()
        assert sock.read() is None


async def test_iteration_lets_others_run() -> None:
    """A queue that is full of datagrams does not keep the other tasks from their turns."""
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    with RawUDP() as peer:
        async with bound(), trio.open_nursery() as nursery:
            async with bound(receive_packet_limit=300) as sock:
                for _ in range(200):
                    peer.send(b"data", sock.port)
                await until(lambda: sock.packets_available == 200)
                nursery.start_soon(others)
                await trio.lowlevel.checkpoint()
                before, count = turns, 0
                async for _ in sock:
                    count += 1
                    if count == 200:
                        break
                assert 2 <= turns - before <= 10
            nursery.cancel_scope.cancel()


async def test_the_newest_are_dropped_and_counted() -> None:
    """F68: the queue is bounded, and keeps the order."""
    with RawUDP() as peer:
        async with bound(receive_packet_limit=10) as sock:
            for number in range(100):
                peer.send(b"%d" % number, sock.port)
            await until(lambda: sock.statistics().packets_dropped == 90)
            numbers = sock.statistics()
            assert (numbers.packets_in, sock.packets_dropped_by_system) == (10, 0)
            sock.receive_packet_limit = 11
            peer.send(b"one more", sock.port)
            await until(lambda: sock.packets_available == 11)
            taken = [(await sock.receive()).data for _ in range(11)]
            assert taken == [*(b"%d" % number for number in range(10)), b"one more"]
            for wrong, error in ((0, ValueError), ("1", TypeError)):
                with pytest.raises(error):
                    sock.receive_packet_limit = wrong  # type: ignore[assignment]


@pytest.mark.skipif(not sockets.SO_MEMINFO, reason="the OS does not tell what it drops")
async def test_a_flood_while_nobody_reads_is_bounded_and_counted() -> None:
    """F68: 20,000 at once; what the kernel and what the socket dropped adds up."""
    with RawUDP() as peer:
        async with bound() as sock:
            for _ in range(20_000):
                peer.send(b"flood", sock.port)
            await until(lambda: received(sock) == 20_000)
            numbers = sock.statistics()
            assert 0 < sock.packets_dropped_by_system < numbers.packets_dropped
            assert sock.packets_available == sock.receive_packet_limit == numbers.packets_in
            sock.close()
            assert received(sock) == 20_000


def received(sock: UDPSocket) -> int:
    """How many datagrams are accounted for."""
    numbers = sock.statistics()
    return numbers.packets_in + numbers.packets_dropped


@pytest.mark.slow
async def test_a_hundred_thousand_arrive_once_in_order_with_their_sender() -> None:
    """A paced stream, empty ones among them, from two senders."""
    total, pace = 100_000, 100
    handler = Collector()
    with RawUDP() as one, RawUDP() as other:
        async with bound(handler=handler) as sock:
            for first in range(0, total, pace):
                for number in range(first, first + pace):
                    sender = one if number % 3 else other
                    sender.send(b"%d" % number if number % 10 else b"", sock.port)
                await until(lambda: len(handler.taken) == first + pace)  # noqa: B023
            ports = (other.port, one.port, one.port)
            for number, datagram in enumerate(handler.taken):
                assert datagram.data == (b"%d" % number if number % 10 else b"")
                assert (datagram.address, datagram.port) == (LOOPBACK, ports[number % 3])
            assert sock.statistics().packets_in == total
            assert sock.statistics().packets_dropped == 0


async def test_a_busy_socket_does_not_starve_the_others() -> None:
    """64 datagrams at a time, then it is the next one's turn."""
    order: list[str] = []

    class Note:
        def __init__(self, name: str) -> None:
            self.name = name

        def on_data_available(self, sock: Any) -> None:
            sock.purge()
            order.append(self.name)

    with RawUDP() as peer:
        async with bound(handler=Note("busy")) as busy, bound(handler=Note("other")) as other:
            for _ in range(500):
                peer.send(b"data", busy.port)
            peer.send(b"data", other.port)
            await until(lambda: "other" in order)
            assert order.index("other") <= 2


async def test_a_handler_that_fails_ends_its_socket() -> None:
    """Its exception leaves the block as itself."""

    class Failing:
        def on_data_available(self, sock: Any) -> None:
            raise LookupError("mine")

    with RawUDP() as peer:
        with pytest.raises(LookupError, match="mine"):
            async with bound(handler=Failing()) as sock:
                peer.send(b"data", sock.port)
                await trio.sleep_forever()
        assert not sock.is_connected


async def test_who_waits_elsewhere_learns_why_the_socket_was_closed() -> None:
    """The failure of a task is the cause of the error."""

    async def fail() -> None:
        await trio.lowlevel.checkpoint()
        raise LookupError("mine")

    async def wait() -> None:
        with pytest.raises(SocketClosedError) as caught:
            await sock.receive()
        assert isinstance(caught.value.__cause__, LookupError)

    async with trio.open_nursery() as nursery:
        with pytest.raises(LookupError):
            async with bound() as sock:
                nursery.start_soon(wait)
                await wait_all_tasks_blocked()
                sock.start_soon(fail)
                await trio.sleep_forever()


def send_from_port_0(data: bytes, port: int) -> None:
    """What a UDP socket of the OS cannot send; needs a raw one, and the right to have it."""
    try:
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)
    except PermissionError:
        pytest.skip("raw sockets are for root")
    with raw:
        header = struct.pack("!HHHH", 0, port, 8 + len(data), 0)
        raw.sendto(header + data, (LOOPBACK, 0))


@pytest.mark.parametrize("address", ["", LOOPBACK])
async def test_what_comes_from_port_0_does_not_end_a_server(address: str) -> None:
    """An echo by iteration and one by a handler: it is dropped and counted, the next is served."""

    async def echo(sock: UDPSocket) -> None:
        async for datagram in sock:
            sock.write(datagram)

    class Echo:
        def on_data_available(self, sock: UDPSocket) -> None:
            while (datagram := sock.read()) is not None:
                sock.write(datagram)

    async with bound(address=address) as by_task, bound(address=address, handler=Echo()) as called:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(echo, by_task)
            with RawUDP() as peer:
                for sock in (by_task, called):
                    send_from_port_0(b"nobody's", sock.port)
                    peer.send(b"question", sock.port)
                    assert await peer.receive() == (b"question", LOOPBACK, sock.port)
                    figures = sock.statistics()
                    assert (figures.packets_in, figures.packets_dropped) == (1, 1)
            nursery.cancel_scope.cancel()


# The inbox alone, without an operating system


def test_those_who_wait_get_what_comes_in_their_order() -> None:
    """The rest is kept, and counted; one who gave up gets nothing."""
    inbox = DatagramInbox(fake_delivery(), 10)
    inbox.begin("192.0.2.9")
    first, gone, second = (inbox.wait() for _ in range(3))
    inbox.forget(gone)
    inbox.take_in([(b"%d" % number, SOMEBODY) for number in range(3)])
    assert (first.done, gone.done, second.done) == (True, False, True)
    assert inbox.take() == Datagram(*SOMEBODY, b"2")
    assert inbox.take() is None
    assert inbox.arrivals.received == 3


def test_stopping_ends_the_waits_and_keeps_what_has_come() -> None:
    """Who asks later is not told by the inbox."""
    inbox = DatagramInbox(fake_delivery(), 10)
    waiting = inbox.wait()
    inbox.stop(why)
    assert waiting.done
    inbox.take_in([(b"data", SOMEBODY)])
    assert inbox.events_now("sock") == [DataAvailable("sock")]
    inbox.stop(why)
    assert inbox.take() is not None
    assert inbox.events_now("sock") == []


def test_what_was_sent_to_a_known_address_says_so() -> None:
    """By the packet, or by what the port is bound to."""
    inbox = DatagramInbox(fake_delivery(), 10)
    inbox.begin("192.0.2.9")
    inbox.take_in([(b"", SOMEBODY), (b"", SOMEBODY, "192.0.2.10")])
    taken = [inbox.take(), inbox.take()]
    assert [each.local_address for each in taken if each] == ["192.0.2.9", "192.0.2.10"]


def test_a_handler_is_called_at_once_only_in_a_step() -> None:
    """And only where no other call is due before."""
    delivery = fake_delivery()
    keeper: Any = delivery.keeper
    keeper.context = contextvars.copy_context()
    calls: list[str] = []
    delivery.set_handler(
        object(),
        {
            "on_data_available": lambda _: calls.append("data"),
            "on_connected": lambda _: calls.append("connected"),
        },
    )
    inbox = DatagramInbox(delivery, 10)
    inbox.take_in([(b"", SOMEBODY)])
    assert (calls, len(delivery.hub.calls), keeper.woken) == ([], 1, 1)
    delivery.hub.calls.clear()
    delivery.held = True
    inbox.take_in([(b"", SOMEBODY)])
    assert (calls, len(delivery.hub.calls)) == (["data"], 0)
    delivery.post(Connected)
    inbox.take_in([(b"", SOMEBODY)])
    assert (calls, len(delivery.hub.calls)) == (["data"], 2)
