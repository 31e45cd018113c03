"""Reading: limits, pauses, ends, and who gets what arrives."""

from __future__ import annotations

import random
import socket
from typing import Any

import pytest
import trio
import trio.testing

from tests.support import EventRecorder, check_grammar, until
from tests.support.pairs import linked
from trio_xsock import (
    DataAvailable,
    ErrorOccurred,
    IncompleteReadError,
    LossReason,
    LostConnectionError,
    SocketClosedError,
    SocketState,
    TCPSocket,
)
from trio_xsock._engine.intake import Intake
from trio_xsock._engine.reading import read_step
from trio_xsock._engine.reasons import CLEAN_END

KIB64 = 2**16


class Spy:
    """A socket that notes how much was asked of it, and what it gave."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self.asked: list[int] = []
        self.given: list[int] = []

    def recv(self, count: int) -> bytes:
        data: bytes = self._sock.recv(count)
        self.asked.append(count)
        self.given.append(len(data))
        return data

    def holds_input(self) -> bool:
        held: bool = self._sock.holds_input()
        return held


class Script:
    """A socket from which comes what the test says: so many bytes, or an exception."""

    def __init__(self, *answers: int | Exception) -> None:
        self._answers = list(answers)
        self.asked: list[int] = []

    def recv(self, count: int) -> bytes:
        self.asked.append(count)
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return bytes(min(answer, count))


def play(sock: TCPSocket, *answers: int | Exception) -> list[int]:
    """Have the socket read from a script, step by step; returns what it asked for."""
    script = Script(*answers)
    link = sock._connection.link
    real, link.transport = link.transport, script  # type: ignore[assignment]
    try:
        while script._answers:
            read_step(sock._connection)
    finally:
        link.transport = real
    return script.asked


# Limits


@pytest.mark.parametrize("limit", [1, 10, 64, 70000])
async def test_a_read_never_asks_for_more_than_the_limit_leaves(limit: int) -> None:
    """However much the peer sends, the limit is kept within one read."""
    async with linked(receive_buffer_limit=limit) as (sock, peer):
        link = sock._connection.link
        real = link.transport
        link.transport = spy = Spy(real)  # type: ignore[assignment]
        await peer.send(bytes(limit * 2 + 5))
        await until(lambda: sock.statistics().read_pauses)
        link.transport = real
        assert sock.bytes_available == limit
        left = limit
        for asked, given in zip(spy.asked, spy.given, strict=True):
            assert asked <= left
            left -= given


async def test_reading_goes_on_when_half_the_limit_is_read() -> None:
    """A paused socket takes in more once half of its limit has been read, not earlier."""
    async with linked(receive_buffer_limit=10) as (sock, peer):
        peer.send_nowait(b"0123456789abcdef")
        await until(lambda: sock.statistics().read_pauses)
        assert sock.read(4) == b"0123"
        await trio.testing.wait_all_tasks_blocked()
        assert sock.bytes_available == 6
        assert sock.read(1) == b"4"
        await until(lambda: sock.statistics().read_pauses == 2)
        assert sock.read_all() == b"56789abcde"
        await until(lambda: sock.bytes_available)
        assert sock.read_all() == b"f"


async def test_a_higher_limit_takes_effect_at_once() -> None:
    """Raising the limit of a paused socket lets it read on."""
    async with linked(receive_buffer_limit=2) as (sock, peer):
        peer.send_nowait(b"abcdef")
        await until(lambda: sock.statistics().read_pauses)
        sock.receive_buffer_limit = 4
        await until(lambda: sock.bytes_available == 4)
        sock.receive_buffer_limit = 12
        await until(lambda: sock.bytes_available == 6)
        assert sock.read_all() == b"abcdef"


async def test_a_lower_limit_drops_nothing() -> None:
    """Data is never dropped to stay within a limit that was lowered."""
    async with linked() as (sock, peer):
        peer.send_nowait(b"abcdef")
        await until(lambda: sock.bytes_available == 6)
        sock.receive_buffer_limit = 2
        peer.send_nowait(b"gh")
        await until(lambda: sock.statistics().read_pauses)
        assert sock.bytes_available == 6
        assert await sock.receive_exactly(8) == b"abcdefgh"


async def test_a_buffer_just_full_is_no_pause() -> None:
    """A pause is counted only when there is more to be read than the limit leaves room for."""
    async with linked(receive_buffer_limit=4) as (sock, peer):
        peer.send_nowait(b"abcd")
        await until(lambda: sock.bytes_available == 4)
        await trio.testing.wait_all_tasks_blocked()
        assert sock.statistics().read_pauses == 0
        peer.send_nowait(b"e")
        await until(lambda: sock.statistics().read_pauses)
        assert not await sock.poll()
        assert sock.statistics().read_pauses == 1


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 64])
async def test_pauses_crossed_thousands_of_times_lose_nothing(limit: int) -> None:
    """A reader of random sizes at a tiny limit gets every byte, and the limit holds throughout."""
    rng = random.Random(limit)
    sent = rng.randbytes(limit * 700)
    got = bytearray()
    async with linked(receive_buffer_limit=limit) as (sock, peer), trio.open_nursery() as nursery:

        def is_paused() -> bool:
            reading = sock._connection.intake.reading
            return not reading or sock.bytes_available == len(sent) - len(got)

        nursery.start_soon(peer.send, sent)
        while len(got) < len(sent):
            await until(is_paused)
            assert sock.bytes_available <= limit
            got += sock.read(rng.randint(1, limit))
        assert got == sent
        assert sock.statistics().read_pauses >= 690


async def test_pauses_and_waiting_readers_cross_without_a_deadlock() -> None:
    """Readers that lift a tiny limit for a moment leave the socket reading as it should."""
    rng = random.Random(25)
    sent = rng.randbytes(20000)
    got = bytearray()
    async with linked(receive_buffer_limit=5) as (sock, peer), trio.open_nursery() as nursery:
        nursery.start_soon(peer.send, sent)
        while len(got) < len(sent):
            size = min(rng.randint(1, 12), len(sent) - len(got))
            if rng.random() < 0.5:
                got += await sock.receive_exactly(size)
            else:
                got += await sock.receive_some(size)
        assert got == sent
        assert sock.statistics().bytes_in == len(sent)


# One read


async def test_the_size_of_a_read_follows_what_arrives() -> None:
    """Reads grow fourfold up to 1 MiB while they come back full, and shrink back at once."""
    async with linked(receive_buffer_limit=2**26) as (sock, _):
        full = 2**20
        asked = play(sock, full, full, full, full, 100, 10)
        assert asked == [KIB64, KIB64 * 4, 2**20, 2**20, 2**20, KIB64]
        # Neither full nor small: as before.
        assert play(sock, KIB64, KIB64, 10) == [KIB64, KIB64 * 4, KIB64 * 4]


@pytest.mark.parametrize("error", [BlockingIOError(), InterruptedError()])
async def test_a_read_that_finds_nothing_changes_nothing(error: Exception) -> None:
    """Readiness may be a false alarm."""
    async with linked() as (sock, _):
        assert play(sock, error) == [KIB64]
        assert sock.statistics().bytes_in == 0
        assert sock.is_connected


async def test_poll_takes_in_what_has_arrived() -> None:
    """One step by hand reads, and says whether anything happened."""
    async with linked() as (sock, peer):
        assert not await sock.poll()
        with peer:
            peer.send_nowait(b"abc")
            while not sock.bytes_available:
                await sock.poll()
            assert sock.read_all() == b"abc"
        await until(lambda: sock.at_eof)
        assert not await sock.poll()


async def test_arrivals_count_as_activity() -> None:
    """Whoever watches over an idle connection is told of each arrival."""
    async with linked(idle_timeout=1e6) as (sock, peer):
        noted = []
        watchdogs = sock._connection.watchdogs
        assert watchdogs is not None

        class Noting:
            """The watchdogs, and whether they were told."""

            def __getattr__(self, name: str) -> Any:
                return getattr(watchdogs, name)

            def note(self, moved: int, sent: int, now: float) -> bool:
                noted.append(moved)
                return watchdogs.note(moved, sent, now)

        await trio.testing.wait_all_tasks_blocked()
        sock._connection.watchdogs = Noting()  # type: ignore[assignment]
        peer.send_nowait(b"abc")
        assert await sock.receive_some() == b"abc"
        assert noted == [3]


async def test_an_urgent_byte_does_no_harm() -> None:
    """Out-of-band data is left where it is; the stream carries the normal bytes (F14)."""
    async with linked() as (sock, peer):
        peer.send_nowait(b"ab")
        peer.sock.send(b"!", socket.MSG_OOB)
        peer.send_nowait(b"cd")
        assert await sock.receive_exactly(4) == b"abcd"
        await trio.testing.wait_all_tasks_blocked()


# Purging


async def test_purge_empties_the_receive_buffer_only() -> None:
    """The receive buffer and its announcement are gone; what is queued is still sent."""
    async with linked(small=True) as (sock, peer):
        events = sock.events
        peer.send_nowait(b"abc")
        await until(lambda: sock.bytes_available == 3)
        sock.write(bytes(2**20))
        sock.purge()
        assert sock.read_all() == b""
        assert sock.bytes_left_to_send
        kinds = set()
        while events.statistics().current_buffer_used:
            kinds.add(type(events.receive_nowait()))
        assert DataAvailable not in kinds
        assert len(await peer.recv_exactly(2**20)) == 2**20


async def test_purge_lets_a_paused_socket_read_on() -> None:
    """Purging makes room as reading does."""
    async with linked(receive_buffer_limit=3) as (sock, peer):
        peer.send_nowait(b"abcde")
        await until(lambda: sock.statistics().read_pauses)
        sock.purge()
        await until(lambda: sock.bytes_available == 2)
        assert sock.read_all() == b"de"
        statistics = sock.statistics()
        assert statistics.bytes_in == 5


# Who gets what


async def test_what_nobody_waits_for_is_announced() -> None:
    """Without a waiting receiver each arrival is announced."""
    recorder = EventRecorder(read=True)
    async with linked(handler=recorder) as (_, peer):
        peer.send_nowait(b"a")
        await recorder.wait_for(DataAvailable)
        peer.send_nowait(b"b")
        await recorder.wait_for(DataAvailable, 2)
        assert recorder.received == b"ab"


async def test_a_waiting_receiver_is_served_first() -> None:
    """Nothing is announced if the receiver took it all."""
    recorder = EventRecorder()
    async with linked(handler=recorder) as (sock, peer), trio.open_nursery() as nursery:
        got = []

        async def receive() -> None:
            got.append(await sock.receive_some())

        nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked()
        peer.send_nowait(b"abc")
        await until(lambda: got)
        await trio.testing.wait_all_tasks_blocked()
        assert got == [b"abc"]
        assert recorder.of(DataAvailable) == []


async def test_what_a_receiver_leaves_is_announced() -> None:
    """The rest of what arrived is announced once the receiver has taken its part."""
    recorder = EventRecorder(read=True)
    async with linked(handler=recorder) as (sock, peer), trio.open_nursery() as nursery:

        async def receive() -> None:
            assert await sock.receive_exactly(2) == b"ab"

        nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked()
        peer.send_nowait(b"abc")
        await recorder.wait_for(DataAvailable)
        assert recorder.received == b"c"


async def test_what_a_receiver_waits_on_is_not_announced() -> None:
    """Bytes that a receiver is still collecting are its own."""
    recorder = EventRecorder()
    async with linked(handler=recorder) as (sock, peer), trio.open_nursery() as nursery:
        got = []

        async def receive() -> None:
            got.append(await sock.receive_exactly(4))

        nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked()
        peer.send_nowait(b"ab")
        await until(lambda: sock.bytes_available == 2)
        await trio.testing.wait_all_tasks_blocked()
        assert recorder.of(DataAvailable) == []
        peer.send_nowait(b"cd")
        await until(lambda: got)
        assert recorder.of(DataAvailable) == []


async def test_what_a_cancelled_receiver_leaves_is_announced() -> None:
    """Whoever listens learns of the bytes that the receiver did not take."""
    async with linked() as (sock, peer):
        events = sock.events
        with trio.move_on_after(1e6) as scope:
            async with trio.open_nursery() as nursery:

                async def watch() -> None:
                    await until(lambda: sock.bytes_available == 2)
                    assert events.receive_nowait().socket is sock  # Connected
                    with pytest.raises(trio.WouldBlock):
                        events.receive_nowait()
                    scope.cancel()

                nursery.start_soon(watch)
                peer.send_nowait(b"ab")
                await sock.receive_exactly(4)
        assert events.receive_nowait() == DataAvailable(sock)
        assert sock.read_all() == b"ab"


async def test_what_a_failed_receiver_leaves_is_announced() -> None:
    """A line that is too long is announced to whoever can deal with it."""
    recorder = EventRecorder()
    async with linked(handler=recorder) as (sock, peer), trio.open_nursery() as nursery:
        failures = []

        async def receive() -> None:
            try:
                await sock.receive_until(b"\n", 3)
            except Exception as exc:
                failures.append(exc)

        nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked()
        peer.send_nowait(b"abcdef")
        await recorder.wait_for(DataAvailable)
        await until(lambda: failures)
        assert sock.bytes_available == 6


async def test_bytes_taken_while_a_receiver_waits_are_not_announced_later() -> None:
    """No phantom: what somebody else read in the meantime is not announced at a cancellation."""
    recorder = EventRecorder()
    async with linked(handler=recorder) as (sock, peer), trio.open_nursery() as nursery:
        nursery.start_soon(sock.receive_exactly, 4)
        await trio.testing.wait_all_tasks_blocked()
        peer.send_nowait(b"ab")
        await until(lambda: sock.bytes_available == 2)
        assert sock.read(2) == b"ab"
        nursery.cancel_scope.cancel()
    assert recorder.of(DataAvailable) == []


# The ends


async def test_data_comes_before_the_end_that_follows_it() -> None:
    """The peer's FIN is seen after its data, which stays readable."""
    recorder = EventRecorder()
    async with linked(handler=recorder, allow_half_close=True) as (sock, peer):
        peer.send_nowait(b"abc")
        peer.fin()
        error = (await recorder.wait_for(ErrorOccurred)).error
        assert isinstance(error, LostConnectionError)
        assert error.reason is LossReason.REMOTE_CLOSED
        assert recorder.names == ["on_connected", "on_data_available", "on_error"]
        assert not sock.at_eof
        assert sock.read_all() == b"abc"
        assert sock.at_eof
        assert await sock.receive_some() == b""


async def test_an_end_behind_a_full_buffer_is_seen_when_that_is_read() -> None:
    """A paused socket does not look past its limit, not even for the end."""
    async with linked(receive_buffer_limit=4) as (sock, peer):
        peer.send_nowait(b"abcdef")
        peer.fin()
        await until(lambda: sock.statistics().read_pauses)
        assert sock.last_error is None
        assert await sock.receive_exactly(6) == b"abcdef"
        assert await sock.receive_some() == b""
        assert sock.last_error is not None


async def test_a_reset_comes_after_the_bytes_before_it() -> None:
    """Bytes first, then LostConnectionError and never b"", on every call."""
    async with linked() as (sock, peer):
        peer.send_nowait(b"abc")
        await until(lambda: sock.bytes_available == 3)
        peer.reset()
        await until(lambda: sock.last_error)
        assert await sock.receive_some(2) == b"ab"
        assert await sock.receive_some() == b"c"
        for _ in range(2):
            with pytest.raises(LostConnectionError) as caught:
                await sock.receive_some()
            assert caught.value is sock.last_error
            assert caught.value.reason is LossReason.RESET


async def test_a_reset_behind_a_full_buffer_is_seen_when_that_is_read() -> None:
    """A loss that waits behind unread input is no clean end either."""
    async with linked(receive_buffer_limit=2) as (sock, peer):
        peer.send_nowait(b"abcd")
        await until(lambda: sock.statistics().read_pauses)
        peer.reset()
        received = b""
        with pytest.raises(LostConnectionError) as caught:
            while piece := await sock.receive_some():
                received += piece
        assert caught.value.reason is LossReason.RESET
        assert received == b"abcd"


@pytest.mark.parametrize("limit", [3, 100])
async def test_a_reset_that_a_send_saw_first_is_no_clean_end(limit: int) -> None:
    """A send eats the OS's error; the reader still gets the bytes, and then that error."""
    recorder = EventRecorder()
    async with linked(receive_buffer_limit=limit) as (sock, peer):
        sock.handler = recorder
        peer.send_nowait(b"abcde")
        await until(lambda: sock.bytes_available == min(limit, 5))
        await trio.testing.wait_all_tasks_blocked()
        peer.reset()
        while not sock._connection.ends.loss:
            try:
                sock.write(b"x")
            except LostConnectionError:
                break
        received = b""
        with pytest.raises(LostConnectionError) as caught:
            while piece := await sock.receive_some():
                received += piece
        assert caught.value.reason is LossReason.RESET
        assert received == b"abcde"[: max(len(received), limit)]
        check_grammar(recorder.events)


@pytest.mark.parametrize("how", ["close", "aclose", "disconnect"])
async def test_closing_wakes_a_waiting_receiver(how: str) -> None:
    """It gets SocketClosedError, whatever has come so far, which stays readable."""
    async with linked() as (sock, peer):
        async with trio.open_nursery() as nursery:

            async def receive() -> None:
                with pytest.raises(SocketClosedError):
                    await sock.receive_exactly(10)

            nursery.start_soon(receive)
            peer.send_nowait(b"abc")
            await until(lambda: sock.bytes_available == 3)
            if how == "close":
                sock.close()
            else:
                peer.close()
                await getattr(sock, how)()
        assert sock.read_all() == b"abc"
        with pytest.raises(SocketClosedError):
            await sock.receive_some()


async def test_a_loss_wakes_a_waiting_receiver_with_what_there_is() -> None:
    """It fails with what came so far; that is announced, and then the loss."""
    recorder = EventRecorder()
    async with linked(handler=recorder) as (sock, peer):
        async with trio.open_nursery() as nursery:

            async def receive() -> None:
                with pytest.raises(IncompleteReadError) as caught:
                    await sock.receive_exactly(10)
                assert caught.value.partial == b"abc"
                assert isinstance(caught.value.__cause__, LostConnectionError)

            nursery.start_soon(receive)
            peer.send_nowait(b"abc")
            await until(lambda: sock.bytes_available == 3)
            peer.reset()
        await recorder.wait_for(ErrorOccurred)
        assert recorder.names == ["on_connected", "on_data_available", "on_error"]
        assert sock.read_all() == b"abc"


async def test_a_loss_gives_a_waiting_line_reader_the_last_line() -> None:
    """What the receiver takes at the end is not announced to others."""
    recorder = EventRecorder()
    async with linked(handler=recorder) as (sock, peer):
        async with trio.open_nursery() as nursery:

            async def receive() -> None:
                lines = sock.lines()
                assert await anext(lines) == "abc"
                with pytest.raises(LostConnectionError):
                    await anext(lines)

            nursery.start_soon(receive)
            await trio.testing.wait_all_tasks_blocked()
            peer.send_nowait(b"abc")
            await until(lambda: sock.bytes_available == 3)
            peer.reset()
        assert recorder.names == ["on_connected", "on_error"]


async def test_input_after_our_close_is_discarded() -> None:
    """While closing, what arrives is neither buffered nor counted, and what was buffered stays."""
    async with linked(small=True) as (sock, peer):
        peer.send_nowait(b"abc")
        await until(lambda: sock.bytes_available == 3)
        sock.write(bytes(2**18))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sock.aclose)
            await until(lambda: sock.state is SocketState.CLOSING)
            peer.send_nowait(b"defg")
            assert len(await peer.recv_all_to_eof()) == 2**18
            peer.close()
        assert sock.read_all() == b"abc"
        assert sock.statistics().bytes_in == 3


def test_the_clean_end_is_no_error_number() -> None:
    """What stands for a clean end inside never shows outside; it has neither code nor errno."""
    assert CLEAN_END.error_number is None
    assert CLEAN_END.errno is None


@pytest.mark.parametrize("reports", [True, False])
def test_a_connection_is_served_on_if_a_hang_up_cannot_be_reported_alone(reports: bool) -> None:
    """Of a transport in memory, say, which would end unnoticed otherwise."""

    class Watched:
        wanted = False

        def reading(self, wanted: bool, /) -> None:
            self.wanted = wanted

        def report_hang_up(self) -> bool:
            return reports

    watch = Watched()
    intake = Intake(1)
    intake.attach(watch, served=True, crowded=True)  # type: ignore[arg-type]
    intake.start()
    assert watch.wanted
    intake.leave_crowd(served=False)
    assert (intake.crowded, intake.served, watch.wanted) == (False, not reports, not reports)
