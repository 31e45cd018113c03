"""Connections that nobody listens to: whoever asks for input takes it in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.support import raw_pair, until
from tests.support.cancelling import cancel_at_step
from tests.support.pairs import linked
from tests.support.recorder import EventRecorder
from tests.support.tls import tls_linked
from trio_xsock import (
    DataAvailable,
    LossReason,
    LostConnectionError,
    SocketClosedError,
    SocketState,
    TCPSocket,
)
from trio_xsock._network.transport import PlainTransport
from trio_xsock._platform.system import is_linux
from trio_xsock.testing import memory_socket_pair

pytestmark = pytest.mark.skipif(not is_linux(), reason="without epoll all connections are served")

CALLS: dict[str, Callable[[TCPSocket], Awaitable[Any]]] = {
    "receive_some": lambda sock: sock.receive_some(),
    "receive_exactly": lambda sock: sock.receive_exactly(2),
    "receive_until": lambda sock: sock.receive_until(b"\n"),
    "lines": lambda sock: anext(sock.lines(encoding=None)),
    "anext": lambda sock: anext(sock),
}
every_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())


@pytest.fixture(autouse=True)
def hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere all connections are served."""
    monkeypatch.delenv("TRIO_XSOCK_READINESS", raising=False)


def is_served(sock: TCPSocket) -> bool:
    """Whether the OS is asked to report its input."""
    return sock._connection.intake.served


async def waiting_call(
    nursery: trio.Nursery, call: Callable[[TCPSocket], Awaitable[Any]], sock: TCPSocket
) -> list[object]:
    """Start the call in a task and wait until it waits; return the list that gets its result."""
    got: list[object] = []

    @nursery.start_soon
    async def receive() -> None:
        got.append(await call(sock))

    await wait_all_tasks_blocked()
    return got


# Nothing is read that nobody asks for


async def test_nothing_is_read_ahead() -> None:
    """What comes stays with the OS, which holds the peer back, until somebody asks."""
    async with linked() as (sock, peer):
        assert not is_served(sock)
        peer.send_nowait(b"abc")
        await wait_all_tasks_blocked()
        assert sock._inbox.size == 0
        assert sock.bytes_available == 3


QUESTIONS: dict[str, tuple[Callable[[TCPSocket], object], object]] = {
    "bytes_available": (lambda sock: sock.bytes_available, 3),
    "end_of_file": (lambda sock: sock.end_of_file, False),
    "read": (lambda sock: sock.read(2), b"ab"),
    "read_text": (lambda sock: sock.read(9, "ascii"), "abc"),
    "read_all": (lambda sock: sock.read_all(), b"abc"),
    "lookahead": (lambda sock: sock.lookahead(), b"abc"),
    "bytes_received": (lambda sock: sock.bytes_received, 3),
    "statistics": (lambda sock: sock.statistics().bytes_available, 3),
    "subscribe": (lambda sock: type(list_of(sock.subscribe())[-1]), DataAvailable),
}


def list_of(channel: Any) -> list[Any]:
    """The events that wait."""
    events = []
    while True:
        try:
            events.append(channel.receive_nowait())
        except (trio.WouldBlock, trio.EndOfChannel):
            return events


@pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS.keys())
async def test_every_question_takes_in_first_what_has_arrived(
    question: tuple[Callable[[TCPSocket], object], object],
) -> None:
    """Without any turn of the scheduler between."""
    ask, answer = question
    async with linked() as (sock, peer):
        peer.send_nowait(b"abc")
        assert ask(sock) == answer


async def test_purge_drops_what_has_arrived() -> None:
    """Whoever holds it."""
    async with linked() as (sock, peer):
        peer.send_nowait(b"abc")
        sock.purge()
        assert sock.read_all() == b""
        peer.send_nowait(b"d")
        assert sock.read_all() == b"d"


async def test_an_end_is_seen_by_who_asks() -> None:
    """The peer's FIN, and a reset."""
    async with linked() as (sock, peer):
        peer.send_nowait(b"abc")
        peer.fin()
        assert not sock.at_eof
        assert sock.read_all() == b"abc"
        assert sock.at_eof
        assert sock.last_error is not None
        assert sock.is_connected
    async with linked() as (sock, peer):
        peer.reset()
        assert sock.state is SocketState.CLOSED
        assert not sock.is_connected


async def test_a_reset_is_noticed_though_nobody_asks() -> None:
    """What arrived before stays readable; who sends meanwhile is woken."""
    async with linked(small=True) as (sock, peer):
        peer.send_nowait(b"abc")
        await wait_all_tasks_blocked()
        peer.reset()
        await until(lambda: sock._connection.transport is None)
        assert sock.read_all() == b"abc"
        with pytest.raises(LostConnectionError):
            sock.write(b"x")
    async with linked(small=True) as (sock, peer), trio.open_nursery() as nursery:

        @nursery.start_soon
        async def send() -> None:
            with pytest.raises(LostConnectionError) as caught:
                await sock.send_all(bytes(2**24))
            assert caught.value.reason is LossReason.RESET

        await wait_all_tasks_blocked()
        peer.reset()


async def test_what_has_arrived_outlives_our_own_close() -> None:
    """Closing takes it in, as it does where somebody listens."""
    async with linked() as (sock, peer):
        peer.send_nowait(b"abc")
        sock.close()
        assert sock.read_all() == b"abc"
    async with linked() as (sock, peer):
        peer.send_nowait(b"abc")
        await sock.aclose(grace=0)
        assert sock.read_all() == b"abc"


async def test_a_full_buffer_takes_no_more() -> None:
    """Whoever asks, and however often; it goes on when there is room."""
    async with linked(receive_buffer_limit=4) as (sock, peer):
        peer.send_nowait(b"0123456789")
        for _ in range(3):
            assert sock.bytes_available == 4
        assert sock.statistics().read_pauses == 1
        assert await sock.receive_exactly(10) == b"0123456789"


async def test_another_thread_sees_what_was_taken_in_last() -> None:
    """It must not read; that would be in the way of the loop's thread."""
    async with linked() as (sock, peer):
        peer.send_nowait(b"abc")
        assert await trio.to_thread.run_sync(lambda: sock.bytes_available) == 0
        assert sock.bytes_available == 3


async def test_half_close_that_is_off_needs_no_reader() -> None:
    """The socket closes when the peer's end comes."""
    async with linked(allow_half_close=False) as (sock, peer):
        assert is_served(sock)
        peer.fin()
        await until(lambda: sock._connection.transport is None)
    async with linked() as (sock, peer):
        sock.allow_half_close = False
        assert is_served(sock)


# Waiting


@every_call
async def test_a_caller_waits_itself(call: Any) -> None:
    """It is woken by its descriptor; the hub has nothing to do with it."""
    async with linked() as (sock, peer), trio.open_nursery() as nursery:
        got = await waiting_call(nursery, call, sock)
        wait = sock._connection.intake.own_wait
        assert wait is not None
        assert wait.descriptor == sock.handle
        peer.send_nowait(b"a\n")
        await until(lambda: got)
        assert got[0] in (b"a\n", b"a")
        assert not is_served(sock)
        with pytest.raises(trio.BusyResourceError):
            nursery.start_soon(call, sock)
            await wait_all_tasks_blocked()
            await call(sock)
        peer.send_nowait(b"b\n")


async def test_a_call_after_one_that_found_nothing_waits_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It does not look first, but for once in a while; and gets what has come meanwhile."""
    looks: list[bytes | None] = []
    read = PlainTransport.recv

    def recv(transport: PlainTransport, count: int, flags: int = 0) -> bytes:
        looks.append(None)
        looks[-1] = read(transport, count, flags)
        return looks[-1]

    monkeypatch.setattr(PlainTransport, "recv", recv)
    async with linked() as (sock, peer):
        for _ in range(32):
            async with trio.open_nursery() as nursery:
                got = await waiting_call(nursery, TCPSocket.receive_some, sock)
                await peer.send(b"answer")
            assert got == [b"answer"]
        assert (looks.count(b"answer"), looks.count(None)) == (32, 4)
        for _ in range(16):  # now the answers come first
            await peer.send(b"answer")
            assert await sock.receive_exactly(6) == b"answer"
        assert looks.count(None) == 4


@every_call
@pytest.mark.parametrize("end", ["close", "aclose", "reset", "fin"])
async def test_an_end_wakes_a_caller(call: Any, end: str) -> None:
    """With the error that says which, or with the end of the stream."""
    async with linked() as (sock, peer), trio.open_nursery() as nursery:
        raised: list[type] = []

        @nursery.start_soon
        async def receive() -> None:
            try:
                await call(sock)
            except Exception as error:
                raised.append(type(error))

        await wait_all_tasks_blocked()
        if end == "close":
            sock.close()
        elif end == "aclose":
            await sock.aclose()
        elif end == "reset":
            peer.reset()
        else:
            peer.fin()
    error = {"reset": LostConnectionError, "fin": None}.get(end, SocketClosedError)
    assert error is None or raised == [error]


@every_call
async def test_who_asks_while_a_caller_waits(call: Any) -> None:
    """The question takes the bytes in, and the caller gets them all the same."""
    async with linked() as (sock, peer), trio.open_nursery() as nursery:
        got = await waiting_call(nursery, call, sock)
        peer.send_nowait(b"a\n")
        assert sock.bytes_available == 2
        await until(lambda: got)
        assert got[0] in (b"a\n", b"a")
        assert sock.bytes_available == 0


@every_call
@pytest.mark.parametrize("sent_at", range(4))
@pytest.mark.parametrize("cancelled_at", range(4))
async def test_a_cancellation_at_any_step_loses_nothing(
    call: Any, sent_at: int, cancelled_at: int
) -> None:
    """Before the bytes come, when they have come and the task has not run yet, and after."""
    await cancel_at_step(call, sent_at, cancelled_at)


async def test_many_reads_on_end_leave_others_their_turn() -> None:
    """One call that wants a lot of a fast peer."""
    async with linked(receive_buffer_limit=2**24) as (sock, peer), trio.open_nursery() as nursery:
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                await trio.lowlevel.checkpoint()
                turns += 1

        nursery.start_soon(peer.send, bytes(2**24))
        nursery.start_soon(count)
        assert len(await sock.receive_exactly(2**24)) == 2**24
        assert turns > 2
        nursery.cancel_scope.cancel()


# Somebody begins to listen


@every_call
@pytest.mark.parametrize("sent", ["before", "at once", "after"])
async def test_a_subscriber_comes_while_a_caller_waits(call: Any, sent: str) -> None:
    """The caller is served first; nothing of it is announced unless something is left."""
    async with linked() as (sock, peer), trio.open_nursery() as nursery:
        got = await waiting_call(nursery, call, sock)
        if sent == "before":
            peer.send_nowait(b"a\n")
        channel = sock.subscribe()
        assert is_served(sock)
        if sent == "at once":
            peer.send_nowait(b"a\n")
        elif sent == "after":
            await wait_all_tasks_blocked()
            peer.send_nowait(b"a\n")
        await until(lambda: got)
        assert got[0] in (b"a\n", b"a")
        peer.send_nowait(b"more")
        await until(lambda: sock.bytes_available)
        await wait_all_tasks_blocked()
        assert sock.read_all() == b"more"
        kinds = [type(event) for event in list_of(channel)]
        assert kinds.count(DataAvailable) <= (sent == "before")


@pytest.mark.parametrize("step", range(4))
async def test_what_a_caller_leaves_is_announced_to_a_new_subscriber(step: int) -> None:
    """Bytes that came while the caller was being woken, and are left over by it."""
    async with linked() as (sock, peer), trio.open_nursery() as nursery:
        got: list[bytes] = []

        @nursery.start_soon
        async def receive() -> None:
            got.append(await sock.receive_some(1))

        await wait_all_tasks_blocked()
        channel = sock.subscribe()
        list_of(channel)
        for _ in range(step):
            await trio.lowlevel.checkpoint()
        peer.send_nowait(b"ab")
        await until(lambda: got)
        assert got == [b"a"]
        with trio.fail_after(5):
            event = await channel.receive()
        assert isinstance(event, DataAvailable)
        assert sock.read_all() == b"b"


@pytest.mark.parametrize("step", range(3))
async def test_a_caller_cancelled_as_a_subscriber_comes(step: int) -> None:
    """What it did not take is announced."""
    async with linked() as (sock, peer):
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(sock.receive_exactly, 5)
                await wait_all_tasks_blocked()
                channel = sock.subscribe()
                list_of(channel)
                if step == 0:
                    scope.cancel()
                peer.send_nowait(b"abc")
                with trio.CancelScope(shield=True):
                    for _ in range(step):
                        await trio.lowlevel.checkpoint()
                scope.cancel()
        with trio.fail_after(5):
            assert isinstance(await channel.receive(), DataAvailable)
        assert sock.read_all() == b"abc"


async def test_a_handler_that_is_set_while_a_caller_waits() -> None:
    """The caller first, then the handler; what waits with the OS is announced."""
    recorder = EventRecorder()
    async with linked() as (sock, peer), trio.open_nursery() as nursery:
        got: list[bytes] = []

        @nursery.start_soon
        async def receive() -> None:
            got.append(await sock.receive_some())

        await wait_all_tasks_blocked()
        sock.handler = recorder
        peer.send_nowait(b"a")
        await until(lambda: got)
        peer.send_nowait(b"b")
        await until(lambda: "on_data_available" in recorder.names)
    async with linked() as (sock, peer):
        peer.send_nowait(b"a")
        sock.handler = again = EventRecorder()
        await until(lambda: "on_data_available" in again.names)


# Other ways to be connected


async def test_a_socket_from_elsewhere() -> None:
    """The same rule."""
    ours, peer = raw_pair()
    with peer:
        async with TCPSocket.from_socket(ours) as sock:
            assert not is_served(sock)
            peer.send_nowait(b"abc")
            assert sock.bytes_available == 3
            assert await sock.receive_some() == b"abc"


async def test_what_cannot_tell_of_a_reset_is_served() -> None:
    """In memory, and with Trio's functions only."""
    async with memory_socket_pair() as (left, right):
        assert is_served(left)
        await left.send_all(b"abc")
        assert await right.receive_some() == b"abc"


async def test_tls_holds_input_that_the_os_does_not_tell_of() -> None:
    """It is handed out without waiting, piece by piece."""
    async with tls_linked() as (sock, peer):
        assert not is_served(sock)
        await peer.send(bytes(range(100)))
        for number in range(100):
            with trio.fail_after(5):
                assert await sock.receive_some(1) == bytes([number])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.send, b"x" * 40000)
            assert len(await sock.receive_exactly(40000)) == 40000
        async with trio.open_nursery() as nursery:
            got: list[bytes] = []

            @nursery.start_soon
            async def receive() -> None:
                got.append(await sock.receive_some())

            await wait_all_tasks_blocked()
            await peer.send(b"yz")
        assert got == [b"yz"]


@every_call
async def test_the_users_own_wait_is_in_nobodys_way(call: Any) -> None:
    """Trio lets one task wait for a descriptor: the other is served then."""
    async with linked() as (sock, peer), trio.open_nursery() as nursery:
        nursery.start_soon(trio.lowlevel.wait_readable, sock.handle)
        await wait_all_tasks_blocked()
        got = await waiting_call(nursery, call, sock)
        assert is_served(sock)
        peer.send_nowait(b"a\n")
        await until(lambda: got)
        assert got[0] in (b"a\n", b"a")
        nursery.cancel_scope.cancel()
