"""Dead peers: keepalive, ``unacknowledged_timeout`` and ``idle_timeout`` on one machine.

Time is a mock clock's, and what the kernel says of a dead peer is made up; real links that die
are in ``tests/netns``.
"""

from __future__ import annotations

import math
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing

from tests.support import EventRecorder, RawPeer, accept, check_grammar, raw_listener, until
from tests.support.pairs import clog, descriptor_of, linked
from trio_xsock import (
    ErrorOccurred,
    LossReason,
    LostConnectionError,
    SendComplete,
    SocketState,
    TCPSocket,
)
from trio_xsock._machines.dead_peers import Sample
from trio_xsock._network import tcp_info

IDLE = Sample(in_flight=False, unanswered=False, last_ack=0.0)
WAITING = Sample(in_flight=True, unanswered=False, last_ack=0.0)
LOTS = 3_000_000


class Samples:
    """What the kernel says from now on; ``taken`` counts how often it was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.taken = 0
        self.answer: Callable[[], Sample | None] = lambda: IDLE
        monkeypatch.setattr(tcp_info, "take_sample", self._take)

    def _take(self, _: object) -> Sample | None:
        self.taken += 1
        return self.answer()

    def nothing_comes_back(self) -> None:
        """Data is in flight, was sent again, and the last acknowledgement is of now."""
        since = trio.current_time()
        self.answer = lambda: Sample(True, True, trio.current_time() - since)


@pytest.fixture
def samples(monkeypatch: pytest.MonkeyPatch) -> Samples:
    """Made up answers of the kernel; at first nothing is in flight."""
    return Samples(monkeypatch)


async def let(clock: trio.testing.MockClock, seconds: float) -> None:
    """Let time pass, in small steps, and everything happen that is due."""
    await trio.testing.wait_all_tasks_blocked()
    for _ in range(10):
        clock.jump(seconds / 10)
        await trio.testing.wait_all_tasks_blocked()


def keepalive_of(sock: TCPSocket) -> tuple[bool, int, int, int]:
    options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
    with descriptor_of(sock) as raw:
        idle, interval, count = (raw.getsockopt(socket.IPPROTO_TCP, each) for each in options)
        return bool(raw.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)), idle, interval, count


# Options


def test_all_are_off_at_first() -> None:
    """As with the OS."""
    sock = TCPSocket()
    assert (sock.keepalive, sock.unacknowledged_timeout, sock.idle_timeout) == (None, None, None)


def test_the_constructor_takes_them() -> None:
    """They are attributes, too."""
    sock = TCPSocket(keepalive=(60, 10, 3), unacknowledged_timeout=30, idle_timeout=0.5)
    assert sock.keepalive == (60, 10, 3)
    assert (sock.unacknowledged_timeout, sock.idle_timeout) == (30.0, 0.5)


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("keepalive", 60, TypeError),
        ("keepalive", (60, 10), TypeError),
        ("keepalive", (60, 10, 0), ValueError),
        ("keepalive", (32768, 10, 3), ValueError),
        ("unacknowledged_timeout", "3", TypeError),
        ("unacknowledged_timeout", 0, ValueError),
        ("unacknowledged_timeout", math.nan, ValueError),
        ("idle_timeout", True, TypeError),
        ("idle_timeout", -1, ValueError),
    ],
)
async def test_what_is_wrong_is_refused_and_changes_nothing(
    name: str, value: Any, error: type[Exception]
) -> None:
    """At construction and at assignment, also while connected."""
    with pytest.raises(error, match=name):
        TCPSocket(**{name: value})
    good: dict[str, Any] = {
        "keepalive": (60, 10, 3),
        "unacknowledged_timeout": 5.0,
        "idle_timeout": 7.0,
    }
    async with linked(**good) as (sock, _):
        with pytest.raises(error, match=name):
            setattr(sock, name, value)
        assert getattr(sock, name) == good[name]
        assert keepalive_of(sock) == (True, 60, 10, 3)


# Keepalive


async def test_keepalive_is_off_in_the_kernel_unless_asked_for() -> None:
    """The default of the OS is left alone."""
    async with linked() as (sock, _):
        assert not keepalive_of(sock)[0]


async def test_keepalive_of_a_client() -> None:
    """Set when it connects, changed at once, and kept for the next connection."""
    with raw_listener() as listener:
        async with TCPSocket("127.0.0.1", listener.getsockname()[1], keepalive=(60, 10, 3)) as sock:
            await sock.connect()
            assert keepalive_of(sock) == (True, 60, 10, 3)
            sock.keepalive = (5, 6, 7)
            assert keepalive_of(sock) == (True, 5, 6, 7)
            sock.keepalive = None
            assert not keepalive_of(sock)[0]
            sock.close()
            sock.keepalive = (8, 9, 10)
            await sock.connect()
            assert keepalive_of(sock) == (True, 8, 9, 10)


async def test_keepalive_of_one_that_was_reached() -> None:
    """A socket that listened for its peer has it, too."""
    async with TCPSocket(keepalive=(60, 10, 3)) as sock:
        await sock.listen()
        with await RawPeer.connect(sock.port):
            await until(lambda: sock.is_connected)
            assert keepalive_of(sock) == (True, 60, 10, 3)


async def test_keepalive_of_a_unix_socket_is_nothing() -> None:
    """There is no network in between that could die; nothing fails."""
    ours, theirs = socket.socketpair()
    with theirs:
        options: dict[str, Any] = {"keepalive": (60, 10, 3), "unacknowledged_timeout": 1.0}
        async with TCPSocket.from_socket(ours, **options) as sock:
            sock.keepalive = (1, 2, 3)
            await sock.send_all(b"hello")
            assert theirs.recv(100) == b"hello"


# Idle connections


async def test_an_idle_connection_times_out(mock_clock: trio.testing.MockClock) -> None:
    """The reader gets the loss, which is posted once, and the socket is closed."""
    recorder = EventRecorder()
    async with linked(handler=recorder, idle_timeout=10) as (sock, peer):
        await let(mock_clock, 9.9)
        assert sock.is_connected
        await let(mock_clock, 0.2)
        assert sock.state is SocketState.CLOSED
        assert sock.handle == -1
        with pytest.raises(LostConnectionError, match="no byte went either way for 10 sec") as one:
            await sock.receive_some()
        assert one.value.reason is LossReason.TIMED_OUT
        assert recorder.errors == [one.value]
        assert sock.last_error is one.value
        check_grammar(recorder.events)
        assert await peer.recv_some() == b""


async def test_a_waiting_reader_gets_the_time_out(mock_clock: trio.testing.MockClock) -> None:
    """Whoever waits is woken."""
    async with linked(idle_timeout=10) as (sock, _):
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def read() -> None:
                with pytest.raises(LostConnectionError, match="no byte"):
                    await sock.receive_exactly(5)

            await let(mock_clock, 10.1)


async def test_bytes_either_way_start_the_time_anew(mock_clock: trio.testing.MockClock) -> None:
    """A byte received, a byte sent, also by a plain ``write``."""
    async with linked(idle_timeout=10) as (sock, peer):
        await let(mock_clock, 8)
        await peer.send(b"x")
        await until(lambda: sock.bytes_available)
        await let(mock_clock, 8)
        await sock.send_all(b"y")
        await let(mock_clock, 8)
        sock.write(b"z")
        await let(mock_clock, 8)
        assert sock.is_connected
        await let(mock_clock, 2.1)
        assert not sock.is_connected
        assert sock.read_all() == b"x"


async def test_a_clogged_connection_is_idle(mock_clock: trio.testing.MockClock) -> None:
    """What is queued does not count, what moves does; the books stay exact."""
    recorder = EventRecorder()
    async with linked(small=True, handler=recorder, idle_timeout=10) as (sock, peer):
        await clog(sock)
        sent = sock.bytes_sent
        sock.write(bytes(1000))
        await let(mock_clock, 10.1)
        assert sock.state is SocketState.CLOSED
        assert recorder.of(SendComplete)[-1].user_aborted
        assert sock.bytes_sent == sent
        assert await peer.count_to_eof() == sent


async def test_the_idle_time_changes_at_once(mock_clock: trio.testing.MockClock) -> None:
    """Assigned while connected it counts from now; ``None`` is for ever."""
    async with linked() as (sock, _):
        await let(mock_clock, 100)
        sock.idle_timeout = 10
        await let(mock_clock, 9)
        sock.idle_timeout = None
        await let(mock_clock, 100)
        assert sock.is_connected
        sock.idle_timeout = 10
        await let(mock_clock, 10.1)
        assert not sock.is_connected


async def test_the_idle_time_may_end_an_aclose(mock_clock: trio.testing.MockClock) -> None:
    """A peer that neither reads nor ends cannot hold a closing socket for longer than that."""
    async with linked(small=True, idle_timeout=3) as (sock, peer):
        await clog(sock)
        sock.write(bytes(1000))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sock.aclose, 1000)
            await let(mock_clock, 3.1)
        assert sock.state is SocketState.CLOSED
        assert peer.sock.fileno() >= 0


async def test_while_closed_nothing_is_watched(mock_clock: trio.testing.MockClock) -> None:
    """The options may be set, and the time does not run."""
    async with linked(idle_timeout=1, unacknowledged_timeout=1) as (sock, _):
        sock.close()
        sock.idle_timeout = sock.unacknowledged_timeout = 2
        await let(mock_clock, 10)
        assert sock.last_error is None


# Data in flight


async def test_a_dead_peer_times_out(mock_clock: trio.testing.MockClock, samples: Samples) -> None:
    """What is queued is dropped and accounted for, and the sender gets the loss."""
    recorder = EventRecorder()
    async with linked(small=True, handler=recorder, unacknowledged_timeout=3) as (sock, peer):
        samples.nothing_comes_back()
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def send() -> None:
                with pytest.raises(LostConnectionError, match="nothing for 3 sec") as caught:
                    await sock.send_all(bytes(LOTS))
                assert caught.value.reason is LossReason.TIMED_OUT

            await let(mock_clock, 2.9)
            assert sock.is_connected
            await let(mock_clock, 0.2)
        (complete,) = recorder.of(SendComplete)
        assert complete.user_aborted
        assert complete.bytes_sent == sock.bytes_sent
        assert isinstance(recorder.events[-1], ErrorOccurred)
        check_grammar(recorder.events)
        assert await peer.count_to_eof() == sock.bytes_sent


async def test_a_peer_that_does_not_read_is_not_ended(
    mock_clock: trio.testing.MockClock,
) -> None:
    """The real kernel says of a closed window that the peer answers."""
    async with linked(small=True, unacknowledged_timeout=1) as (sock, peer):
        count = await clog(sock)
        sock.write(b"the end")
        await let(mock_clock, 1000)
        assert sock.is_connected
        assert len(await peer.recv_exactly(count + 7)) == count + 7


async def test_nothing_is_sampled_while_nothing_is_in_flight(
    mock_clock: trio.testing.MockClock, samples: Samples
) -> None:
    """Neither in times of rest nor for what is received."""
    async with linked(unacknowledged_timeout=8) as (sock, peer):
        await trio.testing.wait_all_tasks_blocked()
        assert samples.taken == 1
        await peer.send(b"x" * 1000)
        assert await sock.receive_exactly(1000) == b"x" * 1000
        await let(mock_clock, 100)
        assert samples.taken == 1
        samples.answer = lambda: WAITING
        await sock.send_all(b"x")
        await trio.testing.wait_all_tasks_blocked()
        assert samples.taken == 2
        for _ in range(3):  # an eighth of the time passes between two samples
            await let(mock_clock, 1.01)
        assert samples.taken == 5
        await sock.send_all(b"y")
        await trio.testing.wait_all_tasks_blocked()
        assert samples.taken == 5
        samples.answer = lambda: IDLE
        await let(mock_clock, 100)
        assert samples.taken == 6


async def test_the_end_of_our_direction_has_to_be_acknowledged_too(
    mock_clock: trio.testing.MockClock, samples: Samples
) -> None:
    """Else a reader would wait for the answer of a dead peer for ever."""
    async with linked(unacknowledged_timeout=3) as (sock, _):
        await trio.testing.wait_all_tasks_blocked()
        samples.nothing_comes_back()
        await sock.send_eof()
        await let(mock_clock, 3.1)
        with pytest.raises(LostConnectionError, match="nothing for 3 sec"):
            await sock.receive_some()


async def test_the_end_is_not_sampled_twice_or_unasked(
    mock_clock: trio.testing.MockClock, samples: Samples
) -> None:
    """What is already watched goes on; without the option there is nothing."""
    async with linked() as (sock, _):
        await sock.send_eof()
        await let(mock_clock, 10)
    assert samples.taken == 0
    async with linked(unacknowledged_timeout=8) as (sock, _):
        samples.answer = lambda: WAITING
        await sock.send_all(b"x")
        await let(mock_clock, 0.5)
        taken = samples.taken
        await sock.send_eof()
        await trio.testing.wait_all_tasks_blocked()
        assert samples.taken == taken


async def test_a_kernel_that_does_not_tell_ends_nothing(
    mock_clock: trio.testing.MockClock, samples: Samples
) -> None:
    """The option then has no effect."""
    samples.answer = lambda: None
    async with linked(unacknowledged_timeout=3) as (sock, _):
        await sock.send_all(b"x")
        await let(mock_clock, 100)
        assert sock.is_connected
        assert samples.taken <= 2


async def test_the_time_for_acknowledgements_changes_at_once(
    mock_clock: trio.testing.MockClock, samples: Samples
) -> None:
    """Assigned while data is in flight; ``None`` is for ever."""
    async with linked() as (sock, _):
        samples.nothing_comes_back()
        sock.unacknowledged_timeout = 5
        await let(mock_clock, 4.9)
        sock.unacknowledged_timeout = None
        await let(mock_clock, 100)
        assert sock.is_connected
        sock.unacknowledged_timeout = 5
        assert sock.unacknowledged_timeout == 5.0
        await let(mock_clock, 5.1)
        assert not sock.is_connected


async def test_a_new_connection_starts_with_a_clean_slate(
    mock_clock: trio.testing.MockClock, samples: Samples
) -> None:
    """What was suspected of the last one's peer says nothing about this one's."""
    with raw_listener() as listener:
        port = listener.getsockname()[1]
        async with TCPSocket("127.0.0.1", port, unacknowledged_timeout=5) as sock:
            await sock.connect()
            samples.nothing_comes_back()
            with await accept(listener):
                sock.write(b"x")
                await let(mock_clock, 4.9)
            sock.close()
            await sock.connect()
            with await accept(listener):
                sock.write(b"x")
                await let(mock_clock, 4.9)
                assert sock.is_connected
                await let(mock_clock, 0.2)
                assert not sock.is_connected


async def test_each_watchdog_minds_its_own_time(
    mock_clock: trio.testing.MockClock, samples: Samples
) -> None:
    """The one that is due first is looked at, and the other one is not hurried."""
    samples.answer = lambda: WAITING
    async with linked(unacknowledged_timeout=100, idle_timeout=0.5) as (sock, _):
        await let(mock_clock, 0.4)
        assert samples.taken == 1
        sock.write(b"x")
        await let(mock_clock, 0.4)
        assert samples.taken == 1
        assert sock.is_connected
        await let(mock_clock, 0.2)
        assert not sock.is_connected


async def test_a_dead_peer_may_end_an_aclose(
    mock_clock: trio.testing.MockClock, samples: Samples
) -> None:
    """There is no point in waiting for the end of the grace period."""
    async with linked(small=True, unacknowledged_timeout=3) as (sock, _):
        samples.nothing_comes_back()
        await clog(sock)
        sock.write(bytes(1000))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sock.aclose, 1000)
            await let(mock_clock, 3.1)
        assert sock.state is SocketState.CLOSED


async def test_a_graceful_end_beside_the_watchdogs(mock_clock: trio.testing.MockClock) -> None:
    """The grace period still ends an ``aclose`` that nothing else ends."""
    async with linked(small=True, unacknowledged_timeout=100, idle_timeout=100) as (sock, _):
        await clog(sock)
        sock.write(bytes(1000))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sock.aclose, 2)
            await let(mock_clock, 2.1)
        assert sock.state is SocketState.CLOSED
        assert sock.last_error is None


async def test_a_dead_peer_is_judged_after_a_look_at_what_had_come(samples: Samples) -> None:
    """When the loop has stood still: its last words can be read, and then the loss is told."""
    async with linked(unacknowledged_timeout=0.2) as (sock, peer):
        await trio.testing.wait_all_tasks_blocked()
        samples.nothing_comes_back()
        sock.write(b"x")
        await until(lambda: samples.taken > 2)
        peer.send_nowait(b"last words")
        time.sleep(0.5)  # noqa: ASYNC251 - as a slow callback does
        assert await sock.receive_exactly(10) == b"last words"
        with pytest.raises(LostConnectionError, match=r"nothing for 0\.2 sec"):
            await sock.receive_some()


async def test_a_peer_that_answers_outlives_a_loop_that_stood_still(samples: Samples) -> None:
    """It is asked anew, however late that is."""
    async with linked(unacknowledged_timeout=0.2) as (sock, _):
        await trio.testing.wait_all_tasks_blocked()
        samples.nothing_comes_back()
        sock.write(b"x")
        await until(lambda: samples.taken > 2)
        samples.answer = lambda: WAITING
        taken = samples.taken
        time.sleep(0.5)  # noqa: ASYNC251 - as a slow callback does
        await until(lambda: samples.taken > taken + 1)
        assert sock.is_connected
