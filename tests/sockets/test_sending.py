"""The send calls: what they take, wait for and raise, and cancellation to the byte."""

from __future__ import annotations

import array
import ctypes
import functools
import random
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from tests.support import EventRecorder, RawPeer, check_grammar, raw_listener, settle, until
from tests.support.pairs import clog, linked
from tests.support.sums import cancelled_send_beside_close
from trio_xsock import (
    EventChannel,
    LostConnectionError,
    SendComplete,
    SocketClosedError,
    SocketError,
    TCPSocket,
)
from trio_xsock._platform import sockets

LOTS = 3_000_000


def completes(channel: EventChannel) -> list[tuple[bool, int, int]]:
    """All ``SendComplete`` that wait, as tuples."""
    found = []
    while channel.statistics().current_buffer_used:
        event = channel.receive_nowait()
        if isinstance(event, SendComplete):
            found.append((event.user_aborted, event.bytes_sent, event.bytes_unsent))
    return found


# What is taken

BUFFERS = [
    pytest.param(b"\x01\x02\x03\x04", id="bytes"),
    pytest.param(bytearray(b"\x01\x02\x03\x04"), id="bytearray"),
    pytest.param(memoryview(b"\x01\x02\x03\x04"), id="memoryview"),
    pytest.param(memoryview(b"\x04\x03\x02\x01")[::-1], id="backwards"),
    pytest.param(memoryview(b"\x01\xff\x02\xff\x03\xff\x04\xff")[::2], id="strided"),
    pytest.param(memoryview(b"\x01\x02\x03\x04").cast("B", (2, 2)), id="two dimensions"),
    pytest.param(array.array("H", [0x0201, 0x0403]), id="array"),
    pytest.param((ctypes.c_uint16 * 2)(0x0201, 0x0403), id="ctypes"),
    pytest.param(ctypes.c_uint32(0x04030201), id="no dimension"),
]


@pytest.mark.parametrize("call", ["write", "send_all"])
@pytest.mark.parametrize("data", BUFFERS)
async def test_any_buffer_is_sent_byte_by_byte(data: Any, call: str) -> None:
    """Whatever its items and its shape; it is counted in bytes."""
    async with linked() as (sock, peer):
        if call == "write":
            sock.write(data)
        else:
            await sock.send_all(data)
        assert sock.bytes_sent == 4
        assert await peer.recv_exactly(4) == b"\x01\x02\x03\x04"


@pytest.mark.parametrize(
    "data", [b"", bytearray(), memoryview(b"x")[:0], array.array("d"), (ctypes.c_int * 0)()]
)
async def test_nothing_is_legal(data: Any) -> None:
    """Not a byte, no event, and a checkpoint all the same."""
    async with linked() as (sock, _):
        channel = sock.events
        sock.write(data)
        with trio.testing.assert_checkpoints():
            await sock.send_all(data)
        assert channel.statistics().current_buffer_used == 1
        assert sock.bytes_sent == 0


async def test_text_is_encoded() -> None:
    """As UTF-8, or as told."""
    async with linked() as (sock, peer):
        sock.write("äöü")
        sock.write("äöü", "latin-1")
        sock.write("äöü", encoding="utf-16-le")
        expected = "äöü".encode() + "äöü".encode("latin-1") + "äöü".encode("utf-16-le")
        assert await peer.recv_exactly(len(expected)) == expected


async def test_wrong_types_and_encodings_are_refused() -> None:
    """Nothing is queued; also where the socket is closed, for the type is wrong anyway."""
    wrong: Any
    async with linked() as (sock, _):
        for wrong in (1, None, [1], object()):
            with pytest.raises(TypeError):
                sock.write(wrong)
            with pytest.raises(TypeError):
                await sock.send_all(wrong)
        with pytest.raises(TypeError):
            await sock.send_all("text")  # type: ignore[arg-type]
        with pytest.raises(LookupError):
            sock.write("x", "no-such-encoding")
        with pytest.raises(UnicodeEncodeError):
            sock.write("ä", "ascii")
        assert sock.bytes_sent == 0
        sock.close()
        with pytest.raises(TypeError):
            sock.write(1)  # type: ignore[arg-type]


# Whose memory


@pytest.mark.parametrize("blocked", [True, False])
async def test_write_takes_a_snapshot(blocked: bool) -> None:
    """F17: the caller may change its buffer at once, also its size."""
    async with linked(small=True) as (sock, peer):
        before = await clog(sock) if blocked else 0
        data = bytearray(b"before")
        sock.write(data)
        data[:] = b"afterwards"
        data.clear()
        assert (await peer.recv_exactly(before + 6))[before:] == b"before"


@pytest.mark.parametrize("end", ["returns", "cancelled", "aborted", "lost", "found dead", "closed"])
async def test_send_all_gives_the_buffer_back(end: str) -> None:
    """F17: however the call ends, the buffer is unlocked, while an error is still held."""
    data = bytearray(LOTS)
    caught: BaseException | None = None
    async with linked(small=True) as (sock, peer), trio.open_nursery() as nursery:
        if end == "returns":
            nursery.start_soon(peer.recv_exactly, LOTS)
        elif end == "found dead":
            peer.reset()
        else:
            nursery.start_soon(end_soon, end, sock, peer)
        with trio.move_on_after(0.01 if end == "cancelled" else 100):
            try:
                await sock.send_all(data)
            except SocketError as error:
                caught = error
        data.extend(b"x")
        assert (caught is None) is (end in ("returns", "cancelled"))


async def end_soon(end: str, sock: TCPSocket, peer: RawPeer) -> None:
    await settle()
    if end == "aborted":
        sock.abort_send()
    elif end == "lost":
        peer.reset()
    elif end == "closed":
        sock.close()


async def test_send_all_does_not_copy() -> None:
    """F16: a large buffer goes out as it is."""
    data = bytes(32 * 2**20)
    async with linked() as (sock, peer), trio.open_nursery() as nursery:
        channel = sock.events
        nursery.start_soon(peer.count_to_eof)
        tracemalloc.start()
        try:
            await sock.send_all(data)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 2**21
        assert channel.statistics().current_buffer_used <= 10
        sock.close()


@pytest.mark.slow
async def test_send_all_of_256_mib() -> None:
    """F16: less than 8 MB more memory than before, measured for the whole process."""

    def high_water(*, forget: bool = False) -> int:
        if forget:
            Path("/proc/self/clear_refs").write_text("5")  # proc(5)
        [line] = [
            line
            for line in Path("/proc/self/status").read_text().splitlines()
            if line.startswith("VmHWM")
        ]
        return int(line.split()[1]) * 1024

    size = 256 * 2**20
    data = memoryview(bytearray(size))
    async with linked() as (sock, peer), trio.open_nursery() as nursery:
        nursery.start_soon(peer.count_to_eof)
        await sock.send_all(data[:1000_000])
        before = high_water(forget=True)
        await sock.send_all(data)
        assert high_water() - before < 8_000_000
        assert sock.bytes_sent == size + 1_000_000
        sock.close()


@pytest.mark.slow
async def test_very_many_single_bytes() -> None:
    """F22: linear time, whether they go at once or have to be queued."""
    count = 100_000
    seconds = []
    async with linked(small=True) as (sock, peer):
        for amount in (count // 4, count):
            sock.write(bytes(LOTS))
            started = time.process_time()
            for _ in range(amount):
                sock.write(b"x")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(sock.flush)
                assert len(await peer.recv_exactly(LOTS + amount)) == LOTS + amount
            seconds.append(time.process_time() - started)
    assert seconds[1] < 12 * seconds[0]


# Exclusion


async def test_two_senders_get_in_each_other_s_way() -> None:
    """Busy at once; ``write`` and ``flush`` take no part in that."""
    async with linked(small=True) as (sock, _):
        for first in ("send_all", "wait_send_all_might_not_block", "send_eof"):
            sock.write(bytes(LOTS))
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    if first == "send_all":
                        nursery.start_soon(sock.send_all, b"x")
                    else:
                        nursery.start_soon(getattr(sock, first))
                    await settle()
                    for call in (
                        lambda: sock.send_all(b"y"),
                        lambda: sock.send_all(b""),
                        sock.send_eof,
                        sock.wait_send_all_might_not_block,
                    ):
                        with pytest.raises(trio.BusyResourceError, match="another task is sending"):
                            await call()
                    if first != "send_eof":
                        sock.write(b"z")
                    nursery.start_soon(sock.flush)
                    nursery.start_soon(sock.flush)
                    await settle()
                    scope.cancel()
            sock.abort_send()


# Cancellation


async def test_cancelling_a_lone_send_all_ends_the_batch_at_once() -> None:
    """What the OS has is counted, the rest removed; the connection stays usable."""
    async with linked(small=True) as (sock, peer):
        channel = sock.events
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(sock.send_all, bytes(LOTS))
                await settle()
                scope.cancel()
        assert scope.cancelled_caught
        sent = sock.bytes_sent
        assert 0 < sent < LOTS
        assert sock.bytes_left_to_send == 0
        assert completes(channel) == [(True, sent, LOTS - sent)]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sock.send_all, b"more")
            assert (await peer.recv_exactly(sent + 4))[sent:] == b"more"
        assert completes(channel) == [(False, 4, 0)]


async def test_cancelling_removes_only_one_s_own_bytes() -> None:
    """The batch ends when the others' are gone, as aborted, with all that was removed."""
    async with linked(small=True) as (sock, peer):
        channel = sock.events
        sock.write(bytes(LOTS))
        sock.write(b"before ")
        removed = 0
        for size in (1000, 2000):
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(sock.send_all, bytes(size))
                    await settle()
                    sock.write(b"between ")
                    scope.cancel()
            assert scope.cancelled_caught
            removed += size
        sock.write(b"after")
        assert completes(channel) == []
        expected = bytes(LOTS) + b"before between between after"
        assert sock.bytes_sent + sock.bytes_left_to_send == len(expected)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sock.flush)
            assert await peer.recv_exactly(len(expected)) == expected
        assert completes(channel) == [(True, len(expected), removed)]


async def test_entered_in_a_cancelled_scope_nothing_is_sent() -> None:
    """It counts as queued and aborted."""
    async with linked() as (sock, peer):
        channel = sock.events
        for _ in range(2):
            with trio.CancelScope() as scope:
                scope.cancel()
                await sock.send_all(b"never")
            assert scope.cancelled_caught
            assert completes(channel) == [(True, 0, 5)]
        with trio.CancelScope() as scope:
            scope.cancel()
            await sock.send_all(b"")
        assert scope.cancelled_caught
        assert completes(channel) == []
        await sock.aclose()
        assert await peer.recv_all_to_eof() == b""


async def test_entered_in_a_cancelled_scope_behind_others() -> None:
    """Their bytes stay queued, and nothing of ours goes."""
    async with linked(small=True) as (sock, peer):
        channel = sock.events
        sock.write(bytes(LOTS))
        with trio.CancelScope() as scope:
            scope.cancel()
            await sock.send_all(b"ours")
        assert sock.bytes_sent + sock.bytes_left_to_send == LOTS
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sock.flush)
            assert await peer.recv_exactly(LOTS) == bytes(LOTS)
        assert completes(channel) == [(True, LOTS, 4)]


async def test_entered_in_a_cancelled_scope_while_another_task_closes() -> None:
    """It is in the sums: what a cancelled call counts, it counts before others run."""
    for _ in range(20):  # which of the two tasks is first is up to Trio
        async with linked() as (sock, _):
            accepted, counted = await cancelled_send_beside_close(
                sock, functools.partial(sock.send_all, bytes(1000))
            )
            assert counted == 1000 * accepted


async def test_a_shield_is_no_cancelled_scope() -> None:
    """Inside it everything is sent."""
    async with linked() as (sock, peer):
        with trio.CancelScope() as scope:
            scope.cancel()
            with trio.CancelScope(shield=True):
                await sock.send_all(b"shielded")
        assert not scope.cancelled_caught
        assert await peer.recv_some() == b"shielded"


async def test_cancelled_is_raised_if_and_only_if_something_was_removed() -> None:
    """200 times at random moments, with the books exact each time."""
    rng = random.Random(4)
    outcomes = set()
    async with linked(small=True) as (sock, peer), trio.open_nursery() as nursery:
        channel = sock.events
        completes(channel)

        async def read() -> None:
            while await peer.recv_some(rng.choice((100, 10_000))):
                pass

        nursery.start_soon(read)
        for _ in range(200):
            size = rng.choice((1, 1000, 30_000, 100_000))
            before = sock.bytes_sent
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as inner:
                    inner.start_soon(sock.send_all, bytes(size))
                    for _ in range(rng.randrange(8)):
                        await trio.lowlevel.checkpoint()
                    scope.cancel()
            sent = sock.bytes_sent - before
            assert scope.cancelled_caught is (sent < size)
            assert completes(channel) == [(sent < size, sent, size - sent)]
            outcomes.add(scope.cancelled_caught)
        await sock.aclose()
    assert outcomes == {True, False}
    assert peer.received == sock.bytes_sent


async def test_a_cancelled_send_all_delivers_its_events_first() -> None:
    """The handler knows of the abort when ``Cancelled`` comes out."""
    recorder = EventRecorder()
    async with linked(small=True, handler=recorder) as (sock, _):
        with trio.move_on_after(0.01):
            try:
                await sock.send_all(bytes(LOTS))
            finally:
                assert recorder.calls[-1] == ("on_send_complete", True)
        check_grammar(recorder.events)


async def test_send_all_returns_after_all_handlers_that_were_due() -> None:
    """However many that are."""
    recorder = EventRecorder()
    async with linked(handler=recorder) as (sock, _):
        for _ in range(300):
            sock.write(b"x")
        await sock.send_all(b"y")
        assert len(recorder.of(SendComplete)) == 301


async def test_a_handler_writes() -> None:
    """What it writes goes out when it has returned."""

    def write(sock: TCPSocket) -> None:
        sock.write(b"a")
        assert sock.bytes_left_to_send == 1

    recorder = EventRecorder(reactions={"on_connected": write})
    async with linked(handler=recorder) as (sock, peer):
        assert sock.bytes_left_to_send == 0
        assert await peer.recv_some() == b"a"


async def test_a_send_all_of_the_connection_before() -> None:
    """It ends late, for many handlers are due, and does not get in the way of the next one."""
    recorder = EventRecorder()

    async def send() -> None:
        with pytest.raises(SocketClosedError):
            await sock.send_all(bytes(LOTS))

    with raw_listener(small=True, backlog=100) as listener:
        async with TCPSocket("127.0.0.1", listener.getsockname()[1], handler=recorder) as sock:
            for _ in range(10):
                await sock.connect()
                async with trio.open_nursery() as nursery:
                    for _ in range(700):
                        sock.write(b"x")
                    nursery.start_soon(send)
                    await until(lambda: sock.bytes_sent > 700)
                    sock.close()
                    await sock.connect()
                    with trio.move_on_after(0.02) as scope:
                        await sock.send_all(bytes(LOTS))
                    assert scope.cancelled_caught
                sock.close()
    assert recorder.names.count("on_connected") == 20


# send_eof()


async def test_send_eof_ends_our_direction_after_the_queue() -> None:
    """Idempotent; afterwards nothing can be sent."""
    async with linked(small=True) as (sock, peer):
        sock.write(bytes(LOTS))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sock.send_eof)
            assert await peer.count_to_eof() == LOTS
        for _ in range(2):
            with trio.testing.assert_checkpoints():
                await sock.send_eof()
        with pytest.raises(SocketClosedError, match="our direction was ended by send_eof"):
            sock.write(b"x")
        with pytest.raises(trio.ClosedResourceError):
            await sock.send_all(b"x")
        with pytest.raises(trio.ClosedResourceError):
            await sock.wait_send_all_might_not_block()
        sock.close()
        with pytest.raises(SocketClosedError):
            await sock.send_eof()


async def test_send_eof_cancelled_at_the_start_changes_nothing() -> None:
    """Like anything that raises ``Cancelled`` at once."""
    async with linked() as (sock, _):
        with trio.CancelScope() as scope:
            scope.cancel()
            await sock.send_eof()
        assert scope.cancelled_caught
        assert sock.is_connected
        await sock.send_all(b"x")


async def test_send_eof_cancelled_while_it_waits() -> None:
    """Our direction ends all the same."""
    async with linked(small=True) as (sock, peer):
        sock.write(bytes(LOTS))
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(sock.send_eof)
                await settle()
                scope.cancel()
        assert scope.cancelled_caught
        assert not sock.is_connected
        assert await peer.count_to_eof() == LOTS
        await sock.send_eof()


async def test_send_eof_finds_the_connection_dead() -> None:
    """It raises the loss."""
    async with linked() as (sock, peer):
        peer.reset()
        with pytest.raises(LostConnectionError) as caught:
            await sock.send_eof()
        assert caught.value is sock.last_error


async def test_abort_send_while_send_eof_waits() -> None:
    """The end comes the sooner."""
    async with linked(small=True) as (sock, peer), trio.open_nursery() as nursery:
        sock.write(bytes(LOTS))
        nursery.start_soon(sock.send_eof)
        await settle()
        sock.abort_send()
        assert await peer.count_to_eof() == sock.bytes_sent


async def test_a_loss_while_send_eof_waits() -> None:
    """It raises."""
    async with linked(small=True) as (sock, peer), trio.open_nursery() as nursery:
        sock.write(bytes(LOTS))

        async def end() -> None:
            with pytest.raises(LostConnectionError):
                await sock.send_eof()

        nursery.start_soon(end)
        await settle()
        peer.reset()


# wait_send_all_might_not_block()


async def test_waiting_until_sending_might_not_block() -> None:
    """It returns when the OS takes bytes again."""
    async with linked(small=True) as (sock, peer):
        with trio.testing.assert_checkpoints():
            await sock.wait_send_all_might_not_block()
        await clog(sock, for_good=True)
        with trio.move_on_after(0) as scope:
            await sock.wait_send_all_might_not_block()
        assert scope.cancelled_caught
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.count_to_eof)
            await sock.wait_send_all_might_not_block()
            sock.write(b"x")
            assert sock.bytes_left_to_send == 0
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("how", ["abort_send", "poll", "write"])
async def test_waiting_while_others_send(how: str) -> None:
    """Whatever happens to their queue, it is not forgotten that somebody waits."""
    async with linked(small=True) as (sock, peer):
        await clog(sock, for_good=True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sock.wait_send_all_might_not_block)
            await settle()
            sock.write(b"x")
            if how == "abort_send":
                sock.abort_send()
                assert sock.bytes_left_to_send == 0
            elif how == "poll":
                peer.sock.recv(10**6)
                while sock.bytes_left_to_send:
                    await sock.poll()
            peer.received += len(await peer.recv_some(10**6))
        await sock.send_all(b"y")


async def test_cancelling_the_wait_changes_nothing() -> None:
    """At the start, and while it waits."""
    async with linked(small=True) as (sock, peer):
        before = await clog(sock, for_good=True)
        for early in (True, False):
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    if early:
                        scope.cancel()
                    nursery.start_soon(sock.wait_send_all_might_not_block)
                    with trio.CancelScope(shield=True):
                        await settle()
                    scope.cancel()
            assert scope.cancelled_caught
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sock.send_all, b"x")
            assert len(await peer.recv_exactly(before + 1)) == before + 1


# SIGPIPE

SIGPIPE = """
import signal, socket, sys, trio
from trio_xsock import LostConnectionError, TCPSocket

async def main():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with TCPSocket(*listener.getsockname()) as sock:
            await sock.connect()
            listener.accept()[0].close()
            await sock.receive_some()
            try:
                while True:
                    await sock.send_all(b"x")
            except LostConnectionError:
                print("survived", flush=True)

signal.signal(signal.SIGPIPE, signal.SIG_DFL)
trio.run(main)
"""


@pytest.mark.skipif(not sockets.NO_SIGNAL, reason="no MSG_NOSIGNAL")
def test_sigpipe_never_kills_the_program() -> None:
    """A program that restored its default action, as many tools do, lives on."""
    result = subprocess.run(
        [sys.executable, "-c", SIGPIPE],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=15,
        check=False,
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "survived\n", "")
