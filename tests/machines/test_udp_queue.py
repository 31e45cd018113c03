"""The queues of a datagram socket, against plain lists."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_xsock._machines.udp_queue import ArrivalQueue, Departure, DepartureQueue, Packet

SENDER = ("192.0.2.1", 7)
LOCAL = "192.0.2.2"


def packets(first: int, count: int) -> list[Packet]:
    return [(b"%d" % number, SENDER, LOCAL) for number in range(first, first + count)]


@given(st.integers(1, 20), st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30))))
def test_what_finds_no_room_is_dropped_and_counted(
    limit: int, rounds: list[tuple[int, int]]
) -> None:
    """The newest are lost, the order is kept, and all are accounted for."""
    queue = ArrivalQueue(limit)
    expected: deque[Packet] = deque()
    put = dropped = taken = size = 0
    for arriving, leaving in rounds:
        arrived = packets(put, arriving)
        put += arriving
        kept = arrived[: limit - len(expected)]
        dropped += len(arrived) - len(kept)
        size += sum(len(data) for data, *_ in kept)
        expected += kept
        assert queue.put(arrived) is bool(kept)
        for _ in range(min(leaving, len(expected))):
            assert queue.packets.popleft() == expected.popleft()
            taken += 1
        assert queue.packets == expected
        assert queue.size() == sum(len(data) for data, *_ in expected)
    assert (queue.dropped, queue.received) == (dropped, put - dropped)
    assert queue.bytes_received == size
    assert taken + len(expected) + dropped == put


def test_a_lower_limit_keeps_what_is_there() -> None:
    """Only what comes now finds no room."""
    queue = ArrivalQueue(5)
    queue.put(packets(0, 5))
    queue.limit = 2
    assert not queue.put(packets(5, 3))
    assert (len(queue.packets), queue.dropped) == (5, 3)


def test_empty_datagrams_are_datagrams() -> None:
    """They take a place, and no bytes."""
    queue = ArrivalQueue(2)
    assert queue.put([(b"", SENDER, LOCAL)])
    assert (len(queue.packets), queue.size(), queue.received) == (1, 0, 1)


def test_what_came_from_port_0_is_dropped_and_counted() -> None:
    """Nobody could answer it; the others keep their order, also where room is scarce."""
    queue = ArrivalQueue(2)
    nobody = (b"zero", ("192.0.2.1", 0), LOCAL)
    assert not queue.put([nobody])
    assert queue.put([nobody, *packets(0, 1), nobody, *packets(1, 2)])
    assert list(queue.packets) == packets(0, 2)
    assert (queue.received, queue.dropped, queue.bytes_received) == (2, 4, 2)


def test_packets_with_and_without_the_address_that_they_were_sent_to() -> None:
    """Both kinds in one queue, as they came."""
    queue = ArrivalQueue(5)
    mixed: list[Packet] = [(b"plain", SENDER), (b"told", SENDER, LOCAL), (b"0", ("192.0.2.1", 0))]
    assert queue.put(mixed)
    assert list(queue.packets) == mixed[:2]
    assert (queue.size(), queue.dropped) == (9, 1)


def departure(data: bytes) -> Departure[str, str]:
    return Departure(data, "way")


def test_departures_leave_in_order_and_are_accounted_for() -> None:
    """Sent, refused, withdrawn: each leaves the queue, and only the first counts as sent."""
    queue: DepartureQueue[str, str] = DepartureQueue(10_000)
    waiting = [departure(b"x" * size) for size in (1, 2, 3, 4)]
    for each in waiting:
        queue.put(each)
    assert queue.size == 10
    assert queue.sent_first() is waiting[0]
    queue.withdraw(waiting[2])
    assert queue.drop_first() is waiting[1]
    assert queue.sent_first() is waiting[3]
    assert (queue.size, len(queue.departures), queue.batch_sent) == (0, 0, 5)
    assert queue.end_batch() == 5
    assert queue.end_batch() == 0


def test_clearing_gives_back_what_was_queued() -> None:
    """And the books are those of an empty queue."""
    queue: DepartureQueue[str, str] = DepartureQueue(10_000)
    waiting = [departure(b"a"), departure(b"bc")]
    for each in waiting:
        queue.put(each)
    assert queue.clear() == waiting
    assert (queue.size, len(queue.departures), queue.batch_sent) == (0, 0, 0)


@pytest.mark.parametrize("size", [0, 1000])
def test_the_queue_is_bounded(size: int) -> None:
    """Empty datagrams are bounded, too."""
    queue: DepartureQueue[str, str] = DepartureQueue(10_000)
    while queue.has_room_for(size):
        queue.put(departure(bytes(size)))
    assert 5 <= len(queue.departures) < 50
    queue.drop_first()
    assert queue.has_room_for(size)
    assert not queue.has_room_for(10_001)
