"""The channel that events are taken from, with posters that are no sockets."""

from __future__ import annotations

import random
from typing import Any

import pytest
import trio
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from trio_xsock import (
    Connected,
    DataAvailable,
    ErrorOccurred,
    Event,
    EventChannel,
    EventChannelStatistics,
    SendProgress,
    SocketError,
)
from trio_xsock._runtime.channel import Source


class FakePoster:
    """Stands for a socket's event hub."""

    def __init__(self) -> None:
        self.busy = False
        self.thread = 0
        self.detached: list[EventChannel] = []

    def detach(self, channel: EventChannel, /) -> None:
        self.detached.append(channel)


def bound() -> tuple[EventChannel, Source]:
    """A socket's own channel and the socket's side of it."""
    poster = FakePoster()
    channel = EventChannel._bound_to(poster)
    return channel, channel._sources[poster]


def shared(count: int) -> tuple[EventChannel, list[Source]]:
    """A channel of many sockets."""
    channel = EventChannel()
    return channel, [channel._attach(FakePoster()) for _ in range(count)]


async def consume(channel: EventChannel, results: list[Any]) -> None:
    """Take one event and note it, or what was raised instead."""
    try:
        results.append(await channel.receive())
    except (trio.EndOfChannel, trio.ClosedResourceError) as exc:
        results.append(type(exc))


# Taking


async def test_events_come_in_order() -> None:
    """What was posted is taken, oldest first, with and without waiting."""
    channel, source = bound()
    events: list[Event] = [Connected(1), DataAvailable(1), ErrorOccurred(1, SocketError())]
    for event in events:
        source.post(event)
    assert await channel.receive() is events[0]
    assert channel.receive_nowait() is events[1]
    assert await channel.receive() is events[2]
    with pytest.raises(trio.WouldBlock):
        channel.receive_nowait()


async def test_receiving_is_a_checkpoint() -> None:
    """Also when an event is there already."""
    channel, source = bound()
    source.post(Connected(1))
    with assert_checkpoints():
        await channel.receive()


async def test_a_cancelled_receive_takes_nothing() -> None:
    """An event that was there stays for the next one who asks."""
    channel, source = bound()
    source.post(Connected(1))
    with trio.CancelScope() as scope:
        scope.cancel()
        await channel.receive()
    assert scope.cancelled_caught
    assert channel.receive_nowait() == Connected(1)


async def test_a_consumer_waits_for_an_event() -> None:
    """It sleeps until something is posted, and gets just that."""
    channel, source = bound()
    results: list[Any] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(consume, channel, results)
        await wait_all_tasks_blocked()
        assert channel.statistics().tasks_waiting_receive == 1
        source.post(Connected(1))
        assert channel.statistics().tasks_waiting_receive == 0
    assert results == [Connected(1)]


async def test_consumers_are_served_in_turn() -> None:
    """Who waits longest gets the next event; each event goes to one consumer."""
    channel, source = bound()
    results: list[list[Any]] = [[], [], []]
    async with trio.open_nursery() as nursery:
        for mine in results:
            nursery.start_soon(consume, channel, mine)
            await wait_all_tasks_blocked()
        source.post(Connected(1))
        source.post(DataAvailable(1))
        source.post(DataAvailable(1))  # the one before is with its consumer: nothing merges
    assert results == [[Connected(1)], [DataAvailable(1)], [DataAvailable(1)]]


@pytest.mark.parametrize("posted_first", [True, False])
async def test_no_event_is_lost_to_a_cancelled_consumer(posted_first: bool) -> None:
    """It goes to the consumer if it came before the cancellation, and else stays."""
    channel, source = bound()
    results: list[Any] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(consume, channel, results)
        await wait_all_tasks_blocked()
        if posted_first:
            source.post(Connected(1))
            nursery.cancel_scope.cancel()
        else:
            nursery.cancel_scope.cancel()
            source.post(Connected(1))
    if not posted_first:
        assert results == []
        results.append(channel.receive_nowait())
    assert results == [Connected(1)]
    assert channel.statistics().tasks_waiting_receive == 0


async def test_a_cancelled_consumer_leaves_its_place_to_the_next() -> None:
    """The others go on waiting, and are served."""
    channel, source = bound()
    first: list[Any] = []
    second: list[Any] = []
    scope = trio.CancelScope()

    async def cancellable() -> None:
        with scope:
            await consume(channel, first)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(cancellable)
        await wait_all_tasks_blocked()
        nursery.start_soon(consume, channel, second)
        await wait_all_tasks_blocked()
        scope.cancel()
        source.post(Connected(1))
    assert (first, second) == ([], [Connected(1)])


# The end of a connection


async def test_iteration_ends_when_the_connection_has_ended_and_all_was_taken() -> None:
    """What waits is taken first; the end comes again for who asks again."""
    channel, source = bound()
    source.post(Connected(1))
    source.end()
    assert [event async for event in channel] == [Connected(1)]
    assert [event async for event in channel] == []
    with pytest.raises(trio.EndOfChannel):
        channel.receive_nowait()
    with pytest.raises(trio.EndOfChannel):
        await channel.receive()


async def test_the_end_wakes_all_consumers() -> None:
    """None of them waits on."""
    channel, source = bound()
    results: list[Any] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(consume, channel, results)
        nursery.start_soon(consume, channel, results)
        await wait_all_tasks_blocked()
        source.end()
    assert results == [trio.EndOfChannel] * 2


async def test_a_channel_that_ended_stays_ended_until_the_next_connection() -> None:
    """Stray events do not revive it; a new connection does."""
    channel, source = bound()
    source.end()
    assert [event async for event in channel] == []
    source.post(DataAvailable(1))
    with pytest.raises(trio.EndOfChannel):
        channel.receive_nowait()
    source.begin()
    with pytest.raises(trio.WouldBlock):
        channel.receive_nowait()
    source.post(Connected(1))
    source.end()
    assert [event async for event in channel] == [Connected(1)]


async def test_who_did_not_see_the_end_reads_on_in_the_next_connection() -> None:
    """A slow consumer gets what is left of both connections in one go."""
    channel, source = bound()
    source.begin()
    source.post(Connected(1))
    source.end()
    source.begin()
    source.post(Connected(2))
    source.end()
    assert [event async for event in channel] == [Connected(1), Connected(2)]


async def test_taking_back_the_last_event_ends_an_ended_channel() -> None:
    """``read_all`` after the end leaves nothing to announce: who waits is told so."""
    channel, source = bound()
    source.post(DataAvailable(1))
    source.end()
    channel._withdraw_data(source)
    with pytest.raises(trio.EndOfChannel):
        channel.receive_nowait()


async def test_taking_data_back_leaves_the_rest() -> None:
    """Other events keep their place, and an empty channel stays in order."""
    channel, source = bound()
    channel._withdraw_data(source)
    for event in (Connected(1), DataAvailable(1)):
        source.post(event)
    channel._withdraw_data(source)
    channel._withdraw_data(source)
    assert channel.receive_nowait() == Connected(1)
    source.post(DataAvailable(1))
    channel._withdraw_data(source)
    with pytest.raises(trio.WouldBlock):
        channel.receive_nowait()
    source.post(DataAvailable(1))
    assert channel.receive_nowait() == DataAvailable(1)


# Many sockets


async def test_no_socket_starves_the_others() -> None:
    """Sockets take turns, however much one of them posts."""
    channel, (noisy, quiet, late) = shared(3)
    for _ in range(100):
        noisy.post(Connected("noisy"))
        noisy.post(DataAvailable("noisy"))
        noisy.post(SendProgress("noisy", 1, 1, 1))
    quiet.post(Connected("quiet"))
    taken = [channel.receive_nowait().socket for _ in range(2)]
    assert taken == ["noisy", "quiet"]
    late.post(Connected("late"))
    assert [channel.receive_nowait().socket for _ in range(2)] == ["noisy", "late"]
    assert channel.receive_nowait().socket == "noisy"


async def test_a_shared_channel_outlives_its_sockets() -> None:
    """It ends when it is closed, not with connections or blocks, and loses nothing of them."""
    channel, (first, second) = shared(2)
    first.post(Connected("first"))
    first.end()
    channel._forget(first.poster)
    channel._forget(first.poster)
    assert channel.receive_nowait() == Connected("first")
    second.end()
    with pytest.raises(trio.WouldBlock):
        channel.receive_nowait()
    results: list[Any] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(consume, channel, results)
        await wait_all_tasks_blocked()
        second.begin()
        second.post(Connected("second"))
    assert results == [Connected("second")]


async def test_leaving_the_block_ends_a_socket_s_own_channel() -> None:
    """Whoever waits would wait for ever: nothing can follow."""
    channel, source = bound()
    results: list[Any] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(consume, channel, results)
        await wait_all_tasks_blocked()
        channel._forget(source.poster)
    assert results == [trio.EndOfChannel]


def test_a_socket_is_attached_once() -> None:
    """Asked twice, the channel gives the same side."""
    channel, poster = EventChannel(), FakePoster()
    assert channel._attach(poster) is channel._attach(poster)
    assert channel.statistics().open_send_channels == 1


def test_any_mixture_of_posting_and_taking_keeps_the_order_of_each_socket() -> None:
    """What is taken of one socket comes in the order in which it happened, and all of it."""
    draw = random.Random(7)
    channel, sources = shared(5)
    taken: dict[int, list[int]] = {number: [] for number in range(5)}
    posted = dict.fromkeys(range(5), 0)
    for _ in range(3000):
        number = draw.randrange(5)
        if draw.random() < 0.4 and len(sources[number].queue) < 5:
            posted[number] += 1
            sources[number].post(ErrorOccurred(number, SocketError(str(posted[number]))))
        else:
            take(channel, taken)
    while take(channel, taken):
        pass
    assert taken == {number: list(range(1, count + 1)) for number, count in posted.items()}


def take(channel: EventChannel, taken: dict[int, list[int]]) -> bool:
    try:
        event = channel.receive_nowait()
    except trio.WouldBlock:
        return False
    assert isinstance(event, ErrorOccurred)
    taken[event.socket].append(int(str(event.error)))
    return True


# Closing


async def test_closing_detaches_and_drops() -> None:
    """The sockets are told and go on; what waited is gone; it may be closed again."""
    channel, sources = shared(2)
    for source in sources:
        source.post(Connected(1))
    assert not channel.closed
    channel.close()
    channel.close()
    assert channel.closed
    for source in sources:
        assert isinstance(source.poster, FakePoster)
        assert source.poster.detached == [channel]
    with pytest.raises(trio.ClosedResourceError, match="this event channel was closed"):
        channel.receive_nowait()
    with pytest.raises(trio.ClosedResourceError, match="this event channel was closed"):
        await channel.receive()
    assert [event async for event in channel] == []


async def test_closing_wakes_all_consumers() -> None:
    """Who waits in ``receive`` gets an error, who iterates is done."""
    channel, _ = bound()
    results: list[Any] = []

    async def iterate() -> None:
        results.append([event async for event in channel])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(consume, channel, results)
        await wait_all_tasks_blocked()
        nursery.start_soon(iterate)
        await wait_all_tasks_blocked()
        channel.close()
    assert sorted(results, key=str) == [trio.ClosedResourceError, []]


async def test_a_closed_channel_of_a_socket_does_not_end_but_is_closed() -> None:
    """Closed beats ended."""
    channel, source = bound()
    source.end()
    channel.close()
    with pytest.raises(trio.ClosedResourceError):
        channel.receive_nowait()


async def test_a_block_closes_the_channel() -> None:
    """``with`` and ``async with`` both do."""
    with EventChannel() as channel:
        assert not channel.closed
    assert channel.closed
    async with EventChannel() as channel:
        assert not channel.closed
    assert channel.closed


async def test_aclose_is_a_checkpoint_and_closes_under_cancellation() -> None:
    """The contract of ``trio.abc.AsyncResource``."""
    channel = EventChannel()
    with assert_checkpoints():
        await channel.aclose()
    channel = EventChannel()
    await trio.aclose_forcefully(channel)
    assert channel.closed


# What it tells of itself


def test_statistics() -> None:
    """They have the fields of a memory channel's, and true numbers."""
    channel, (first, second) = shared(2)
    assert channel.statistics() == EventChannelStatistics(0, 20, 2, 1, 0, 0)
    first.post(Connected(1))
    first.post(DataAvailable(1))
    second.post(Connected(2))
    assert channel.statistics() == EventChannelStatistics(3, 20, 2, 1, 0, 0)
    assert repr(channel) == "<EventChannel 2 sockets, 3 events waiting>"
    channel.close()
    assert channel.statistics() == EventChannelStatistics(0, 10, 0, 0, 0, 0)
    assert repr(channel) == "<EventChannel closed, 0 events waiting>"
    memory_channel = trio.open_memory_channel[None](0)[0].statistics()
    names = {name for name in dir(memory_channel) if not name.startswith("_")}
    assert {name for name in dir(channel.statistics()) if not name.startswith("_")} <= names


def test_ten_events_of_a_socket_wait_at_the_most() -> None:
    """``max_buffer_size`` keeps its word, whatever is posted."""
    channel, source = bound()
    for number in range(1000):
        source.begin()
        source.post(Connected(number))
        source.post(SendProgress(number, 1, 1, 1))
        source.post(ErrorOccurred(number, SocketError()))
        used = channel.statistics()
        assert used.current_buffer_used <= used.max_buffer_size == 10
