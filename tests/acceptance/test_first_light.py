"""What the library promises first of all, against raw peers that know nothing of it.

The command line has its tests in ``tests/cli``, the README in ``tests/docs``.
"""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing

from tests.support import (
    EventRecorder,
    RawPeer,
    accept,
    check_grammar,
    raw_listener,
)
from tests.support.pairs import shrink_send_buffer
from trio_xsock import (
    Connected,
    DataAvailable,
    ErrorOccurred,
    Event,
    EventChannel,
    SendComplete,
    SocketError,
    TCPSocket,
)
from trio_xsock._platform.memory import keep_freed_memory

ROUNDS = 200


async def read_at_odd_speeds(peer: RawPeer, rng: random.Random) -> None:
    """Until the end: nothing for a while, then a byte, then a lot."""
    while await peer.recv_some(rng.choice((1, 500, 4096, 20_000, 200_000))):
        for _ in range(rng.choice((0, 0, 1, 3, 10))):
            await trio.lowlevel.checkpoint()


class Round:
    """One connection to a peer at odd speeds; counts what each side says."""

    def __init__(self, seed: int, **options: Any) -> None:
        self.rng = random.Random(seed)
        self.options = options
        self.size = self.rng.choice((1, 5000, 70_000, 300_000, 1_000_000))
        self.small = self.rng.random() < 0.7

    async def run(self, act: Callable[[TCPSocket, Round], Any]) -> tuple[list[Event], int, int]:
        """Let ``act`` send and abort; close gracefully; returns the events, ours, the peer's."""
        events: list[Event] = []
        with raw_listener(small=self.small) as listener:
            port = listener.getsockname()[1]
            async with trio.open_nursery() as nursery:
                async with TCPSocket("127.0.0.1", port, **self.options) as sock:
                    channel = sock.events
                    nursery.start_soon(collect, channel, events)
                    await sock.connect()
                    if self.small:
                        shrink_send_buffer(sock)
                    peer = await accept(listener)
                    nursery.start_soon(read_at_odd_speeds, peer, self.rng)
                    await act(sock, self)
                    await sock.send_all(b"still usable")
                    await sock.aclose(30)
            peer.close()
        return events, sock.bytes_sent, peer.received


async def collect(channel: EventChannel, events: list[Event]) -> None:
    async for event in channel:
        events.append(event)  # noqa: PERF401 - what came before a cancellation counts


async def dawdle(rng: random.Random) -> None:
    for _ in range(rng.choice((0, 1, 2, 5, 20, 60))):
        await trio.lowlevel.checkpoint()


@pytest.mark.slow
@pytest.mark.timeout(60)
async def test_200_random_cancellations_of_send_all() -> None:
    """Each one that removed something gives one aborted batch, exact to the byte."""
    aborted = 0

    async def cancel(sock: TCPSocket, round_: Round) -> None:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(sock.send_all, bytes(round_.size))
                await dawdle(round_.rng)
                scope.cancel()
        round_.cancelled = scope.cancelled_caught  # type: ignore[attr-defined]

    seed = 0
    while aborted < ROUNDS:
        seed += 1
        round_ = Round(seed)
        events, sent, received = await round_.run(cancel)
        completes = [event for event in events if isinstance(event, SendComplete)]
        assert sent == received
        if round_.cancelled:  # type: ignore[attr-defined]
            aborted += 1
            [ended] = [event for event in completes if event.user_aborted]
            assert ended.bytes_sent + ended.bytes_unsent == round_.size
            assert ended.bytes_sent + len(b"still usable") == received
            assert ended.bytes_unsent > 0
        else:
            assert not any(event.user_aborted for event in completes)
            assert received == round_.size + len(b"still usable")
    assert seed < 4 * ROUNDS


@pytest.mark.slow
@pytest.mark.timeout(60)
@pytest.mark.parametrize("call", ["write", "send_all"])
async def test_200_random_abort_sends(call: str) -> None:
    """The same numbers; a running ``send_all`` raises how far it came."""
    aborted = 0

    async def abort(sock: TCPSocket, round_: Round) -> None:
        if call == "write":
            sock.write(bytes(round_.size))
            await dawdle(round_.rng)
            sock.abort_send()
            return

        async def send() -> None:
            try:
                await sock.send_all(bytes(round_.size))
            except SocketError as error:
                assert f"after {sock.bytes_sent} of {round_.size} bytes" in str(error)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            await dawdle(round_.rng)
            sock.abort_send()

    seed = 10_000
    while aborted < ROUNDS:
        seed += 1
        round_ = Round(seed)
        events, sent, received = await round_.run(abort)
        completes = [event for event in events if isinstance(event, SendComplete)]
        assert sent == received
        ended = [event for event in completes if event.user_aborted]
        if ended:
            aborted += 1
            assert len(ended) == 1
            assert ended[0].bytes_sent + ended[0].bytes_unsent == round_.size
            assert ended[0].bytes_sent + len(b"still usable") == received
    assert seed < 10_000 + 4 * ROUNDS


@pytest.mark.slow
@pytest.mark.timeout(60)
async def test_200_times_a_handler_answers_true() -> None:
    """It aborts at that very chunk; the next batch goes through."""
    for seed in range(20_000, 20_000 + ROUNDS):
        rng = random.Random(seed)
        size = rng.choice((10_000, 200_000, 1_000_000))
        interval = rng.choice((1000, 5000, 65536))
        limit = rng.randrange(1, size - len(b"still usable"))
        recorder = EventRecorder(abort_after=limit)
        round_ = Round(seed, handler=recorder, progress_interval=interval)

        async def send(
            sock: TCPSocket, _: Round, recorder: EventRecorder = recorder, size: int = size
        ) -> None:
            sock.write(bytes(size))
            await recorder.wait_for(SendComplete)
            recorder._abort_after = None

        _, sent, received = await round_.run(send)
        assert sent == received
        first, second = recorder.of(SendComplete)
        if first.user_aborted:
            assert limit <= first.bytes_sent < limit + interval
            assert second.bytes_sent == len(b"still usable")
        assert first.user_aborted or size - limit < interval
        check_grammar(recorder.events, progress_interval=interval, peer_received=received)


@pytest.mark.slow
@pytest.mark.timeout(60)
async def test_an_unread_channel_stays_small_while_100_000_messages_pass() -> None:
    """Under 16 events, whoever else reads; and the sums in it are exact."""
    count = 100_000
    most = 0
    with raw_listener() as listener:
        async with TCPSocket("127.0.0.1", listener.getsockname()[1]) as sock:
            unread, other = sock.events, sock.subscribe()
            await sock.connect()
            with await accept(listener) as peer:
                async with trio.open_nursery() as nursery:

                    async def answer() -> None:
                        for _ in range(count // 100):
                            await peer.recv_exactly(400)
                            await peer.send(b"pong" * 100)

                    nursery.start_soon(answer)
                    received = 0
                    for number in range(count):
                        sock.write(b"ping")
                        most = max(most, unread.statistics().current_buffer_used)
                        if number % 100 == 99:
                            received += len(await sock.receive_some())
                    while received < 4 * count:
                        received += len(await sock.receive_some())
                await sock.send_all(b"last")
                await sock.aclose()
                assert unread.statistics().current_buffer_used <= 10
            events = [event async for event in unread]
            other.close()
    assert most < 16
    assert {type(event) for event in events} >= {Connected, SendComplete}
    assert sum(event.bytes_sent for event in events if isinstance(event, SendComplete)) == (
        4 * count + 4
    )


@pytest.mark.slow
async def test_a_slow_reader_costs_bounded_memory() -> None:
    """The peer sends for as long as it can; what is held is the limit, and TCP holds the rest."""
    with raw_listener() as listener:
        async with TCPSocket("127.0.0.1", listener.getsockname()[1]) as sock:
            channel = sock.events
            await sock.connect()
            with await accept(listener) as peer:
                piece = bytes(65536)
                keep_freed_memory()  # the first call in a process takes 4 MiB for a moment
                tracemalloc.start()
                try:
                    while peer.stuff(piece):
                        await trio.testing.wait_all_tasks_blocked()
                    peak = tracemalloc.get_traced_memory()[1]
                finally:
                    tracemalloc.stop()
                assert sock.bytes_available == sock.receive_buffer_limit == 2**20
                assert peak < 3 * 2**20
                assert channel.statistics().current_buffer_used == 2
                assert channel.receive_nowait() == Connected(sock)
                assert channel.receive_nowait() == DataAvailable(sock)
                async with trio.open_nursery() as nursery:  # and nothing of it is lost

                    async def read_all() -> None:
                        async for chunk in sock:
                            read.append(len(chunk))  # noqa: PERF401

                    read: list[int] = []
                    nursery.start_soon(read_all)
                    peer.fin()
                assert sum(read) == sock.statistics().bytes_in


@pytest.mark.slow
async def test_a_slow_peer_costs_bounded_memory() -> None:
    """``write`` refuses beyond its limit, ``send_all`` waits and copies nothing."""
    with raw_listener(small=True) as listener:
        async with TCPSocket(
            "127.0.0.1", listener.getsockname()[1], send_buffer_limit=2**20
        ) as sock:
            await sock.connect()
            shrink_send_buffer(sock)
            with await accept(listener):
                data = bytes(64 * 2**20)
                tracemalloc.start()
                try:
                    refused = 0
                    for _ in range(10_000):
                        try:
                            sock.write(bytes(1000))
                        except SocketError as error:
                            assert error.error_number == 108
                            refused += 1
                    with trio.move_on_after(0.05):
                        await sock.send_all(data)
                    peak = tracemalloc.get_traced_memory()[1]
                finally:
                    tracemalloc.stop()
                assert refused > 8000
                assert sock.bytes_left_to_send <= 2**20
                assert peak < 3 * 2**20
                sock.close()


@pytest.mark.slow
async def test_pausing_and_resuming_thousands_of_times() -> None:
    """F25: tiny limits, a reader at random, nothing lost, no deadlock, the limit respected."""
    rng = random.Random(5)
    crossings = 0
    while crossings < 10_000:
        limit = rng.randrange(1, 65)
        with raw_listener() as listener:
            port = listener.getsockname()[1]
            async with TCPSocket("127.0.0.1", port, receive_buffer_limit=limit) as sock:
                await sock.connect()
                with await accept(listener) as peer:
                    expected = rng.randbytes(20_000)
                    async with trio.open_nursery() as nursery:

                        async def feed(peer: RawPeer = peer, data: bytes = expected) -> None:
                            await peer.send(data)
                            peer.fin()

                        nursery.start_soon(feed)
                        received = await read_at_random(sock, rng, limit)
                    assert received == expected
                    crossings += sock.statistics().read_pauses


async def read_at_random(sock: TCPSocket, rng: random.Random, limit: int) -> bytes:
    received = bytearray()
    while not sock.at_eof:
        assert sock.bytes_available <= limit
        way = rng.randrange(4)
        if way == 0:
            received += sock.read(rng.randrange(1, 100))
        elif way == 1:
            received += sock.read_all()
        elif way == 2:
            received += await sock.receive_some(rng.randrange(1, 100))
        else:
            await trio.lowlevel.checkpoint()
    return bytes(received)


async def test_the_three_kinds_of_users_see_the_same() -> None:
    """A caller, a channel and a handler on one socket: nothing is missing, nothing double."""
    recorder = EventRecorder(read=True)
    with raw_listener() as listener:
        port = listener.getsockname()[1]
        async with TCPSocket("127.0.0.1", port, handler=recorder, allow_half_close=True) as sock:
            channel = sock.events
            seen: list[Event] = []
            async with trio.open_nursery() as nursery:
                nursery.start_soon(collect, channel, seen)
                await sock.connect()
                with await accept(listener) as peer:
                    await peer.send(b"for the caller")
                    assert await sock.receive_exactly(14) == b"for the caller"
                    await peer.send(b"for the handler")
                    await recorder.wait_for(DataAvailable)
                    await sock.send_all(b"x")
                    peer.fin()
                    await recorder.wait_for(ErrorOccurred)
    assert recorder.received == b"for the handler"
    check_grammar(recorder.events, queued=1)
    assert [type(event) for event in seen] == [type(event) for event in recorder.events]
