"""Writing: chunks, batches, progress, and exact books whatever happens in between."""

from __future__ import annotations

import io
import random
from typing import Any

import pytest
import trio
import trio.testing

from tests.support import EventRecorder, RawPeer, check_grammar, check_merged, settle, until
from tests.support.pairs import linked, shrink_send_buffer
from trio_xsock import (
    Connected,
    ErrorOccurred,
    InvalidStateError,
    LostConnectionError,
    SendComplete,
    SendProgress,
    SocketClosedError,
    SocketError,
    SocketState,
    TCPSocket,
)
from trio_xsock._engine.outlet import Outlet
from trio_xsock._runtime import delivery

LOTS = 3_000_000


async def read_slowly(peer: RawPeer, random: random.Random) -> None:
    """At odd speeds: pieces of any size, with any number of scheduler passes in between."""
    while await peer.recv_some(random.choice((1, 100, 5000, 100_000))):
        for _ in range(random.randrange(3)):
            await trio.lowlevel.checkpoint()


# Exclusivity


async def test_the_second_at_once_is_refused() -> None:
    """A conflict is an error of the one who comes second, and it ends with the first."""
    async with linked() as (sock, _):
        outlet = sock._connection.outlet
        outlet.enter()
        for _ in range(2):  # the refusal does not let the next one in
            with pytest.raises(trio.BusyResourceError, match="another task is sending"):
                outlet.enter()
        outlet.leave()
        outlet.enter()
        outlet.leave()


@pytest.mark.parametrize(
    "call", ["send_all", "send_file", "send_eof", "wait_send_all_might_not_block"]
)
async def test_an_exception_ends_the_exclusivity(call: str) -> None:
    """Whatever leaves a call, as itself, lets the next one in."""
    arguments: dict[str, tuple[Any, ...]] = {"send_all": (b"x",), "send_file": (io.BytesIO(b"x"),)}
    async with linked() as (sock, _):
        with trio.CancelScope() as scope:
            scope.cancel()
            await getattr(sock, call)(*arguments.get(call, ()))
        assert scope.cancelled_caught
        await sock.send_all(b"more")


# Chunks and progress


@pytest.mark.parametrize("interval", [1000, 65536, 10**9])
async def test_progress_tells_of_at_most_one_interval(interval: int) -> None:
    """The sums are right, and the last one has nothing left."""
    recorder = EventRecorder()
    async with linked(handler=recorder, progress_interval=interval) as (sock, peer):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.recv_exactly, 500_000)
            await sock.send_all(bytes(500_000))
    check_grammar(recorder.events, queued=500_000, progress_interval=interval)
    progress = recorder.of(SendProgress)
    assert progress[-1].bytes_left == 0
    assert [event.total_sent for event in progress] == sorted(
        event.total_sent for event in progress
    )
    assert len(progress) >= 500_000 / interval
    assert len(recorder.of(SendComplete)) == 1


async def test_progress_in_a_channel() -> None:
    """Unmerged as long as it is read, with all fields."""
    async with linked(progress_interval=1000) as (sock, peer):
        channel = sock.events
        await channel.receive()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.recv_exactly, 2500)
            await sock.send_all(bytes(2500))
        events = [channel.receive_nowait() for _ in range(2)]
        assert events == [SendProgress(sock, 2500, 0, 2500), SendComplete(sock, False, 2500, 0)]


async def test_the_interval_may_change_at_any_time() -> None:
    """It takes effect at the next chunk."""
    recorder = EventRecorder()
    async with linked(handler=recorder) as (sock, peer):
        sock.progress_interval = 10
        await sock.send_all(bytes(100))
        sock.progress_interval = 50
        await sock.send_all(bytes(100))
        assert [event.bytes_sent for event in recorder.of(SendProgress)] == [10] * 10 + [50, 50]
        await peer.recv_exactly(200)


async def test_small_writes_of_a_handler_go_out_together() -> None:
    """They are one batch; a send at the end of the handler takes them all."""
    recorder = EventRecorder()

    def write(socket: TCPSocket) -> None:
        for number in range(100):
            socket.write(b"%d " % number)

    recorder = EventRecorder(reactions={"on_connected": write})
    async with linked(handler=recorder) as (sock, peer):
        await sock.flush()
        expected = b"".join(b"%d " % number for number in range(100))
        assert await peer.recv_exactly(len(expected)) == expected
    assert recorder.names == ["on_connected", "on_send_progress", "on_send_complete"]


async def test_order_is_kept_whoever_sends() -> None:
    """``write``, ``send_all`` and handlers share one queue."""
    rng = random.Random(1)
    expected = bytearray()

    def echo(socket: TCPSocket) -> None:
        piece = socket.read_all()
        socket.write(piece)
        expected.extend(piece)

    recorder = EventRecorder(reactions={"on_data_available": echo})
    async with linked(small=True, handler=recorder) as (sock, peer):
        received = bytearray()
        async with trio.open_nursery() as nursery:

            async def read() -> None:
                received.extend(await peer.recv_all_to_eof())

            nursery.start_soon(read)
            for number in range(300):
                piece = rng.randbytes(rng.choice((1, 10, 1000, 20_000)))
                expected.extend(piece)
                if number % 3:
                    sock.write(piece)
                else:
                    await sock.send_all(piece)
                if number % 10 == 0:
                    peer.send_nowait(b"echo")
            await sock.aclose()
    assert received == expected
    check_grammar(recorder.events, queued=len(expected), peer_received=len(received))


# Batches


async def test_each_time_the_queue_runs_empty_is_a_batch() -> None:
    """A write after that begins a new one."""
    recorder = EventRecorder()
    async with linked(handler=recorder) as (sock, _):
        sock.write(b"a")
        sock.write(b"bc")
        await sock.send_all(b"def")
        await sock.flush()
    sums = [event.bytes_sent for event in recorder.of(SendComplete)]
    assert sums == [1, 2, 3]


async def test_empty_writes_make_no_batch() -> None:
    """F22: legal, and without any effect."""
    recorder = EventRecorder()
    async with linked(handler=recorder) as (sock, peer):
        sock.write(b"")
        sock.write("")
        sock.write(bytearray())
        await sock.send_all(b"")
        await sock.flush()
        assert recorder.names == ["on_connected"]
        await sock.send_all(b"x")
        assert await peer.recv_some() == b"x"


async def test_what_is_queued_together_is_one_batch() -> None:
    """Whoever queued it, and however it goes out."""
    recorder = EventRecorder()
    async with linked(small=True, handler=recorder) as (sock, peer):
        sock.write(bytes(LOTS))
        assert sock.bytes_left_to_send
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sock.send_all, bytes(LOTS))
            await settle()
            sock.write(b"x")
            nursery.start_soon(peer.recv_exactly, 2 * LOTS + 1)
    [complete] = recorder.of(SendComplete)
    assert complete.bytes_sent == 2 * LOTS + 1
    check_grammar(recorder.events, queued=2 * LOTS + 1)


# Abort


@pytest.mark.parametrize("call", ["write", "send_all"])
@pytest.mark.parametrize("small", [True, False])
async def test_a_handler_aborts_by_answering_true(call: str, small: bool) -> None:
    """From the very chunk it was told of: nothing more goes out."""
    recorder = EventRecorder(abort_after=1, reactions={"on_send_complete": lambda _: None})
    async with linked(small=small, handler=recorder, progress_interval=5000) as (sock, peer):
        if call == "write":
            sock.write(bytes(LOTS))
            await recorder.wait_for(SendComplete)
        else:
            with pytest.raises(SocketError, match="aborted after"):
                await sock.send_all(bytes(LOTS))
        assert recorder.calls[1:] == [
            ("on_send_progress", sock.bytes_sent, LOTS - sock.bytes_sent),
            ("on_send_complete", True),
        ]
        assert sock.bytes_sent <= 5000
        await sock.aclose()
        assert await peer.count_to_eof() == sock.bytes_sent
    check_grammar(recorder.events, peer_received=sock.bytes_sent)


async def test_a_handler_aborts_later_while_the_peer_reads() -> None:
    """Also in the middle, when the OS had to be waited for: one chunk too many at the most."""
    rng = random.Random(2)
    for limit in (1, 100_000, 777_777, LOTS - 1):
        recorder = EventRecorder(abort_after=limit)
        async with linked(small=True, handler=recorder, progress_interval=4096) as (sock, peer):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(read_slowly, peer, rng)
                sock.write(bytes(LOTS))
                await recorder.wait_for(SendComplete)
                assert limit <= sock.bytes_sent < limit + 4096
                await sock.aclose()
        check_grammar(recorder.events, peer_received=peer.received)


async def test_true_after_the_last_byte_aborts_nothing() -> None:
    """There is nothing left to be dropped."""
    recorder = EventRecorder(abort_after=1)
    async with linked(handler=recorder) as (sock, _):
        await sock.send_all(b"x")
        await sock.send_all(b"y")
    assert recorder.calls[1:] == [("on_send_progress", 1, 0), ("on_send_complete", False)] * 2


@pytest.mark.parametrize("answer", [1, "yes", object()])
async def test_only_true_itself_aborts(answer: Any) -> None:
    """A handler that happens to return something does not."""
    recorder = EventRecorder(reactions={"on_send_progress": lambda _: answer})
    async with linked(handler=recorder, progress_interval=10) as (sock, _):
        await sock.send_all(bytes(100))
    assert recorder.calls[-1] == ("on_send_complete", False)


async def test_true_from_other_methods_means_nothing() -> None:
    """Only progress may abort."""
    recorder = EventRecorder(reactions={"on_connected": lambda sock: sock.write(b"x") or True})
    async with linked(handler=recorder) as (sock, _):
        await sock.flush()
        assert sock.bytes_sent == 1


# Waiting for the OS


async def test_a_clogged_peer_costs_no_cpu_and_bounded_memory() -> None:
    """Nothing is tried until the OS says that it would take something."""
    async with linked(small=True) as (sock, _):
        sock.write(bytes(LOTS))
        before = trio.lowlevel.current_statistics().tasks_living
        for _ in range(1000):
            sock.write(b"x")
        assert sock.bytes_sent + sock.bytes_left_to_send == LOTS + 1000
        assert trio.lowlevel.current_statistics().tasks_living == before


async def test_many_chunks_let_others_run() -> None:
    """A queue that the OS takes as fast as it can is sent in bounded steps."""
    async with linked() as (sock, peer):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.recv_exactly, 100_000_000)
            sock.write(bytes(50_000_000))
            sock.write(bytes(14_000_000))
            passes = 0
            nursery.start_soon(sock.send_all, bytes(36_000_000))
            await trio.lowlevel.checkpoint()
            while sock.bytes_left_to_send:
                await trio.lowlevel.checkpoint()
                passes += 1
            assert passes > 3
        assert sock.bytes_sent == 100_000_000


async def test_a_handler_writes_while_the_queue_is_blocked() -> None:
    """What it writes waits its turn."""
    recorder = EventRecorder(reactions={"on_data_available": lambda sock: sock.write(b"late")})
    async with linked(small=True, handler=recorder) as (sock, peer):
        sock.write(bytes(LOTS))
        peer.send_nowait(b"x")
        await settle()
        assert (await peer.recv_exactly(LOTS + 4))[-4:] == b"late"


async def test_writing_again_and_again_while_progress_is_watched() -> None:
    """The keeper goes on where a plain call had to stop for the handler's answer."""
    recorder = EventRecorder()
    async with linked(handler=recorder, progress_interval=10) as (sock, peer):
        sock.write(bytes(1000))
        sock.write(bytes(1000))
        assert sock.bytes_left_to_send > 1900
        assert len(await peer.recv_exactly(2000)) == 2000
        await sock.flush()
    check_grammar(recorder.events, queued=2000, progress_interval=10)


@pytest.mark.parametrize("call", ["flush", "send_eof", "aclose", "disconnect"])
async def test_a_batch_that_somebody_waits_for_is_not_taken_back(
    call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A round of handler calls ended between a write and its sending; then came the call."""
    monkeypatch.setattr(delivery, "_CALLS_AT_A_TIME", 1)

    class Handler:
        def on_send_progress(self, *_: object) -> None:
            pass

        def on_send_complete(self, socket: TCPSocket, _: bool) -> None:
            if writing:
                socket.write(b"x")

    writing = True
    async with linked(handler=Handler()) as (sock, peer):
        sock.write(b"x")
        await until(lambda: sock.bytes_left_to_send)
        writing = False
        with trio.fail_after(2):
            await getattr(sock, call)()
        assert sock.bytes_left_to_send == 0
        await sock.aclose()
        assert await peer.count_to_eof() == sock.bytes_sent


# Loss while sending


@pytest.mark.parametrize("size", [1, LOTS])
async def test_write_finds_the_connection_dead(size: int) -> None:
    """It returns; the loss is posted, and raised by the next call."""
    recorder = EventRecorder()
    async with linked(handler=recorder) as (sock, peer):
        peer.reset()
        sock.write(bytes(size))
        assert not sock.is_connected
        with pytest.raises(LostConnectionError) as caught:
            sock.write(b"x")
        assert caught.value is sock.last_error
        assert sock.state is SocketState.CLOSED
        await settle()
    assert recorder.names == ["on_connected", "on_send_complete", "on_error"]
    check_grammar(recorder.events)


async def test_a_handler_finds_the_connection_dead() -> None:
    """What it wrote is dropped; what had arrived is announced, then the loss."""

    def echo(sock: TCPSocket) -> None:
        received.extend(sock.read_all())
        if sock.is_connected:
            sock.write(b"x")

    received = bytearray()
    recorder = EventRecorder(reactions={"on_data_available": echo})
    async with linked(handler=recorder, receive_buffer_limit=1) as (sock, peer):
        peer.send_nowait(b"abc")
        peer.reset()
        await recorder.wait_until(lambda recorder: "on_error" in recorder.names)
        assert received == b"abc"
        assert sock.state is SocketState.CLOSED
    check_grammar(recorder.events)


async def test_merged_events_add_up() -> None:
    """A channel that is read now and then sees the same sums."""
    rng = random.Random(3)
    async with linked(small=True) as (sock, peer):
        channel = sock.events
        events = []
        queued = 0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read_slowly, peer, rng)
            shrink_send_buffer(sock)
            for _ in range(300):
                size = rng.choice((1, 3000, 50_000))
                sock.write(bytes(size))
                queued += size
                if rng.random() < 0.1:
                    sock.abort_send()
                if rng.random() < 0.2:
                    await trio.lowlevel.checkpoint()
                    while channel.statistics().current_buffer_used:
                        events.append(channel.receive_nowait())
            await sock.aclose()
        events += [event async for event in channel]
    check_merged(events, queued=queued)
    assert peer.received == sock.bytes_sent


# What stands in the way of sending


async def test_why_nothing_can_be_sent() -> None:
    """Each reason has its own error."""
    with pytest.raises(InvalidStateError, match="never connected"):
        TCPSocket().write(b"x")
    async with linked() as (sock, peer):
        await sock.send_eof()
        with pytest.raises(SocketClosedError, match="ended by send_eof"):
            sock.write(b"x")
        sock.close()
        with pytest.raises(SocketClosedError, match="was closed"):
            sock.write(b"x")
    async with linked() as (sock, peer):
        peer.reset()
        await settle()
        with pytest.raises(LostConnectionError):
            sock.write(b"x")


async def test_a_peer_that_ended_may_be_written_to_until_it_resets() -> None:
    """Iteration over events has ended by then; the loss closes the socket."""
    async with linked() as (sock, peer):
        channel = sock.events
        peer.fin()
        kinds = [type(event) async for event in channel]
        assert kinds == [Connected, ErrorOccurred]
        sock.write(b"x")
        assert await peer.recv_some() == b"x"
        peer.close()
        while sock.is_connected:
            sock.write(b"y")
            await trio.lowlevel.checkpoint()
        assert sock.state is SocketState.CLOSED


# Odd sizes and moments


async def test_exactly_as_many_chunks_as_go_in_one_step() -> None:
    """The queue is empty when the step's turn ends."""
    async with linked(progress_interval=10) as (sock, peer):
        channel = sock.events
        sock.write(bytes(40))
        assert sock.bytes_left_to_send == 0
        assert await peer.recv_exactly(40) == bytes(40)
        assert channel.statistics().current_buffer_used == 3
        sock.write(bytes(41))
        assert sock.bytes_left_to_send == 1
        assert await peer.recv_exactly(41) == bytes(41)


async def test_a_handler_writes_more_than_the_os_takes() -> None:
    """The rest follows when it does."""
    recorder = EventRecorder(reactions={"on_data_available": lambda sock: sock.write(bytes(LOTS))})
    async with linked(small=True, handler=recorder) as (_, peer):
        peer.send_nowait(b"x")
        assert len(await peer.recv_exactly(LOTS)) == LOTS
        await recorder.wait_for(SendComplete)
    check_grammar(recorder.events, queued=LOTS)


async def test_a_transport_that_takes_nothing_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for the chunk of a file that has to be read instead: it is offered again."""
    real = Outlet._send_chunk
    answers = [0]

    def send_chunk(outlet: Outlet, transport: Any, chunk: Any) -> int:
        return answers.pop() if answers else real(outlet, transport, chunk)

    async with linked() as (sock, peer):
        monkeypatch.setattr(Outlet, "_send_chunk", send_chunk)
        sock.write(bytes(100_000))
        assert await peer.recv_exactly(100_000) == bytes(100_000)


async def test_sending_counts_as_activity() -> None:
    """For ``idle_timeout``; see there."""
    async with linked(idle_timeout=1000) as (sock, peer):
        sock.write(b"x")
        assert await peer.recv_some() == b"x"
