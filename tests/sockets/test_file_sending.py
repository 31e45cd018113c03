"""``send_file``: by the kernel or piece by piece, exact in every number, whatever the file does."""

from __future__ import annotations

import errno
import gzip
import hashlib
import io
import os
import random
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.support import EventRecorder, RawPeer, check_grammar, until
from tests.support.pairs import clog, linked
from trio_xsock import (
    InvalidStateError,
    LossReason,
    LostConnectionError,
    OutOfMemoryError,
    SendComplete,
    SendProgress,
    SocketClosedError,
    SocketError,
    TCPSocket,
)
from trio_xsock._engine.ending import close
from trio_xsock._network import file_sending as _file_sending
from trio_xsock._network import page_cache
from trio_xsock._network.transport import PlainTransport
from trio_xsock._platform import sockets
from trio_xsock._platform.system import is_linux

ROOT = Path(__file__).resolve().parents[2]
CONTENT = random.Random(1).randbytes(2_000_000)
INTERVAL = 65536
PIECE_AT_MOST = 2**18

kernel_only = pytest.mark.skipif(not is_linux(), reason="only Linux has this sendfile")


class Way:
    """How a file goes out.

    Attributes:
        calls: what each sendfile to a socket gave.
        error: what it raises instead.
        before: called before it.
        loading: called with offset and size before a part is loaded, which is sent to nowhere.
    """

    def __init__(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.name = name
        self.calls: list[int] = []
        self.error: OSError | None = None
        self.before: Callable[[], object] = lambda: None
        self.loading: Callable[[int, int], object] = lambda offset, size: None
        self._real = os.sendfile
        if name == "read":
            self.error = OSError(errno.EINVAL, "not for this file")
        monkeypatch.setattr(os, "sendfile", self._sendfile)

    def _sendfile(self, to: int, file: int, offset: int, count: int) -> int:
        if not stat.S_ISSOCK(os.fstat(to).st_mode):
            self.loading(offset, count)
            return self._real(to, file, offset, count)
        self.before()
        if self.error is not None:
            raise self.error
        sent = self._real(to, file, offset, count)
        self.calls.append(sent)
        return sent


@pytest.fixture(params=["kernel", "read"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Way:
    """Each test runs both ways: the kernel sends the file, or refuses to."""
    if not is_linux():
        pytest.skip("only Linux has this sendfile")
    return Way(request.param, monkeypatch)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Way:
    """The kernel sends the file."""
    return Way("kernel", monkeypatch)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file on a disk, some pieces long."""
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    """A named pipe."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


def completes(recorder: EventRecorder) -> list[SendComplete]:
    return recorder.of(SendComplete)


# What arrives


@pytest.mark.parametrize("by", ["path", "file", "memory"])
async def test_a_file_arrives_whole(path: Path, way: Way, by: str) -> None:
    """Passed as a path, open, or in memory: all of it, counted, as one batch."""
    recorder = EventRecorder()
    async with linked(handler=recorder) as (sock, peer), trio.open_nursery() as nursery:
        received: list[bytes] = []

        @nursery.start_soon
        async def receive() -> None:
            received.append(await peer.recv_exactly(len(CONTENT)))

        with path.open("rb") as opened:
            opened.read(100)
            file: Any = {"path": path, "file": opened, "memory": io.BytesIO(CONTENT)}[by]
            assert await sock.send_file(file) == len(CONTENT)
            assert not opened.closed
        assert sock.bytes_sent == len(CONTENT)
        assert len(completes(recorder)) == 1  # before the call returns
        check_grammar(recorder.events, queued=len(CONTENT), progress_interval=INTERVAL)
    assert received == [CONTENT]
    assert bool(way.calls) == (way.name == "kernel" and by != "memory")


@kernel_only
async def test_the_kernel_sends_what_is_on_a_disk(
    path: Path, kernel: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None of it passes through the program."""
    monkeypatch.setattr(os, "pread", None)
    async with linked() as (sock, peer), trio.open_nursery() as nursery:
        nursery.start_soon(peer.recv_exactly, len(CONTENT))
        await sock.send_file(path)
    assert sum(kernel.calls) == len(CONTENT)


async def test_a_compressed_file_is_sent_as_it_reads(tmp_path: Path, kernel: Way) -> None:
    """Its descriptor would give something else."""
    packed = tmp_path / "file.gz"
    with gzip.open(packed, "wb", compresslevel=1) as writer:
        writer.write(CONTENT)
    async with linked() as (sock, peer), trio.open_nursery() as nursery:
        received: list[bytes] = []

        @nursery.start_soon
        async def receive() -> None:
            received.append(await peer.recv_exactly(len(CONTENT)))

        with gzip.open(packed) as file:
            assert await sock.send_file(file) == len(CONTENT)  # type: ignore[arg-type]
    assert received == [CONTENT]
    assert not kernel.calls


@pytest.mark.parametrize(
    ("offset", "count"), [(0, 100), (1_999_990, None), (70_000, 70_000), (1_000_000, 1_000_000)]
)
async def test_a_part_of_a_file(path: Path, way: Way, offset: int, count: int | None) -> None:
    """From the offset on, as many bytes as asked for."""
    expected = CONTENT[offset:] if count is None else CONTENT[offset : offset + count]
    async with linked() as (sock, peer), trio.open_nursery() as nursery:
        received: list[bytes] = []

        @nursery.start_soon
        async def receive() -> None:
            received.append(await peer.recv_exactly(len(expected)))

        assert await sock.send_file(path, offset=offset, count=count) == len(expected)
    assert received == [expected]


@pytest.mark.parametrize(
    ("offset", "count"), [(2_000_000, None), (2_000_001, None), (0, 0), (2**40, 0)]
)
async def test_nothing_to_send(path: Path, way: Way, offset: int, count: int | None) -> None:
    """Past the end, or no bytes wanted: 0, a checkpoint, and no batch."""
    recorder = EventRecorder()
    async with linked(handler=recorder) as (sock, _):
        with trio.testing.assert_checkpoints():
            assert await sock.send_file(path, offset=offset, count=count) == 0
        with path.open("rb") as file, trio.testing.assert_checkpoints():
            assert await sock.send_file(file, offset=offset, count=count) == 0
        with trio.testing.assert_checkpoints():
            assert await sock.send_file(io.BytesIO()) == 0
        with trio.testing.assert_checkpoints():
            assert await sock.send_file("/dev/null") == 0
    assert recorder.names == ["on_connected"]


async def test_a_pipe_is_sent_as_it_comes(fifo: Path) -> None:
    """Each piece goes out when it is there; the end of the pipe is the end of the batch."""
    recorder = EventRecorder()
    async with linked(handler=recorder) as (sock, peer), trio.open_nursery() as nursery:
        sent: list[int] = []

        @nursery.start_soon
        async def send() -> None:
            sent.append(await sock.send_file(fifo))

        await wait_all_tasks_blocked()
        with fifo.open("wb", buffering=0) as writer:
            for piece in (b"one", b"two", b"three"):
                writer.write(piece)
                assert await peer.recv_exactly(len(piece)) == piece
            assert not completes(recorder)
        await recorder.wait_for(SendComplete)
    assert sent == [11]
    assert completes(recorder) == [SendComplete(sock, False, 11, 0)]
    assert [event.bytes_sent for event in recorder.of(SendProgress)] == [3, 3, 5]


async def test_a_pipe_keeps_its_place(fifo: Path) -> None:
    """What is written meanwhile follows it, and the queue is flushed when it has ended."""
    async with linked() as (sock, peer), trio.open_nursery() as nursery:
        sock.write(b"before ")
        nursery.start_soon(sock.send_file, fifo)
        await wait_all_tasks_blocked()
        with fifo.open("wb", buffering=0) as writer:
            writer.write(b"one ")
            assert await peer.recv_exactly(11) == b"before one "
            sock.write(b"after")
            assert sock.bytes_left_to_send == 5
            flushed = trio.Event()

            @nursery.start_soon
            async def flush() -> None:
                await sock.flush()
                flushed.set()

            await wait_all_tasks_blocked()
            assert not flushed.is_set()
            writer.write(b"two ")
            assert await peer.recv_exactly(4) == b"two "
        assert await peer.recv_exactly(5) == b"after"
        await flushed.wait()


async def test_writes_keep_their_order(path: Path, way: Way) -> None:
    """Before and after a file they stay before and after it."""
    async with linked(small=True) as (sock, peer), trio.open_nursery() as nursery:
        sock.write(b"before")
        nursery.start_soon(sock.send_file, path)
        await until(lambda: sock.bytes_left_to_send)
        sock.write(b"after")
        expected = b"before" + CONTENT + b"after"
        assert await peer.recv_exactly(len(expected)) == expected


async def test_progress_in_small_steps(path: Path, way: Way) -> None:
    """No ``SendProgress`` tells of more than ``progress_interval``; the sums agree."""
    recorder = EventRecorder()
    async with linked(handler=recorder, progress_interval=10_000) as (sock, peer):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.count_to_eof)
            await sock.send_file(path)
            await sock.aclose()
        assert len(recorder.of(SendProgress)) >= 200
        check_grammar(recorder.events, queued=len(CONTENT), progress_interval=10_000)


async def test_the_peer_and_the_books_agree(path: Path, way: Way) -> None:
    """Three files and some bytes in between, then a graceful end."""
    recorder = EventRecorder()
    async with linked(small=True, handler=recorder) as (sock, peer):
        digest = hashlib.sha256()

        async def receive() -> None:
            while data := await peer.recv_some():
                digest.update(data)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            for _ in range(3):
                await sock.send_file(path)
                await sock.send_all(b"...")
            await sock.aclose()
        total = 3 * (len(CONTENT) + 3)
        check_grammar(recorder.events, queued=total, peer_received=peer.received)
    assert digest.digest() == hashlib.sha256((CONTENT + b"...") * 3).digest()


# Files that change on the way


async def test_a_file_that_shrinks_on_the_way(path: Path, way: Way) -> None:
    """The call raises and names what went out, which the peer got; the connection lives on."""
    recorder = EventRecorder()
    async with linked(small=True, handler=recorder) as (sock, peer):
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def send() -> None:
                with pytest.raises(SocketError, match=r"ended after \d+ of 2000000") as caught:
                    await sock.send_file(path)
                assert type(caught.value) is SocketError
                assert f"after {sock.bytes_sent} of" in str(caught.value)

            await recorder.wait_for(SendProgress)
            os.truncate(path, 700_000)
            await peer.recv_exactly(700_000)
        (complete,) = completes(recorder)
        assert complete.user_aborted
        assert sock.bytes_sent >= 700_000
        assert sock.bytes_left_to_send == 0
        await sock.send_all(b"still there")
        await sock.aclose()
        rest = await peer.recv_all_to_eof()
        assert rest.endswith(b"still there")
        check_grammar(recorder.events, peer_received=peer.received)


async def test_a_file_that_grows_on_the_way(path: Path, way: Way) -> None:
    """What was there at the beginning is sent."""
    async with linked(small=True) as (sock, peer), trio.open_nursery() as nursery:

        @nursery.start_soon
        async def send() -> None:
            assert await sock.send_file(path) == len(CONTENT)
            await sock.aclose()

        assert await peer.recv_exactly(1000) == CONTENT[:1000]
        with path.open("ab") as file:
            file.write(b"more")
        assert await peer.recv_all_to_eof() == CONTENT[1000:]


async def test_a_count_that_is_too_large(path: Path, way: Way) -> None:
    """What there is goes out, then the call raises and tells how much that was."""
    recorder = EventRecorder()
    async with linked(handler=recorder) as (sock, peer):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.recv_exactly, 1000)
            with pytest.raises(SocketError, match="ended after 1000 of 5000 bytes"):
                await sock.send_file(path, offset=1_999_000, count=5000)
        with pytest.raises(SocketError, match="ended after 0 of 7 bytes"):
            await sock.send_file(path, offset=3_000_000, count=7)
        with pytest.raises(SocketError, match="ended after 5 of 9 bytes"):
            await sock.send_file(io.BytesIO(b"hello"), count=9)
        assert [(each.bytes_sent, sock.bytes_sent) for each in completes(recorder)] == [
            (1000, 1005),
            (0, 1005),
            (5, 1005),
        ]
        assert all(each.user_aborted for each in completes(recorder))


async def test_a_file_that_is_closed_on_the_way(path: Path, way: Way) -> None:
    """What was passed open may be closed by its owner: the descriptor in use is our own."""
    async with linked(small=True) as (sock, peer), trio.open_nursery() as nursery:
        file = path.open("rb")
        nursery.start_soon(sock.send_file, file)
        await until(lambda: sock.bytes_sent)
        file.close()
        assert await peer.recv_exactly(len(CONTENT)) == CONTENT


async def test_what_reading_says_is_raised(path: Path) -> None:
    """As itself; what went out before is accounted for."""
    error = OSError(errno.EIO, "the disk is broken")

    class Broken(io.BytesIO):
        def read1(self, count: int | None = -1, /) -> bytes:
            if self.tell() >= 1000:
                raise error
            return super().read1(min(count or 0, 1000))

    recorder = EventRecorder()
    async with linked(handler=recorder) as (sock, peer):
        with pytest.raises(OSError, match="broken") as caught:
            await sock.send_file(Broken(bytes(5000)), count=5000)
        assert caught.value is error
        assert await peer.recv_exactly(1000) == bytes(1000)
        assert completes(recorder)[0].bytes_sent == 1000
        assert completes(recorder)[0].user_aborted
        assert sock.is_connected


@pytest.mark.skipif(not os.path.exists("/sys/class/net/lo/address"), reason="needs Linux's /sys")
@pytest.mark.parametrize("kernel_file", [Path("/sys/class/net/lo/address"), Path("/proc/version")])
async def test_a_file_without_a_size_of_its_own_is_sent_to_its_end(kernel_file: Path) -> None:
    with kernel_file.open("rb") as file:
        data = file.read()
    async with linked() as (sock, peer):
        assert await sock.send_file(kernel_file) == len(data) > 0
        with kernel_file.open("rb") as file:
            assert await sock.send_file(file) == len(data)
        assert await peer.recv_exactly(2 * len(data)) == 2 * data


# What is refused


async def test_no_thread_left_is_out_of_memory(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To open a path, and to read where the kernel does not send; the connection lives."""

    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    recorder = EventRecorder()
    async with linked(handler=recorder) as (sock, peer):
        with monkeypatch.context() as patch:
            patch.setattr("trio._threads.start_thread_soon", refuse)
            with pytest.raises(OutOfMemoryError, match="no thread to open"):
                await sock.send_file(path)
            with (
                gzip.open(path) as file,
                pytest.raises(OutOfMemoryError, match="no thread to read"),
            ):
                await sock.send_file(file, count=5)  # type: ignore[arg-type]
        assert sock.bytes_left_to_send == 0
        await sock.send_all(b"x")
        assert await peer.recv_exactly(1) == b"x"


async def test_what_cannot_be_sent(tmp_path: Path, path: Path) -> None:
    """The OS's own words, or a ``TypeError`` or ``ValueError``; nothing is queued."""
    recorder = EventRecorder()
    async with linked(handler=recorder) as (sock, _):
        with pytest.raises(FileNotFoundError):
            await sock.send_file(tmp_path / "missing")
        with pytest.raises(IsADirectoryError):
            await sock.send_file(tmp_path)
        with path.open(encoding="latin-1") as text, pytest.raises(TypeError, match="binary"):
            await sock.send_file(text)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="bytes-like"):
            await sock.send_file(Texts())  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="offset must be at least 0"):
            await sock.send_file(path, offset=-1)
        with pytest.raises(TypeError, match="count must be an int"):
            await sock.send_file(path, count=1.5)  # type: ignore[arg-type]
        assert sock.is_connected
    assert recorder.names == ["on_connected"]


class Texts:
    """A file that gives text, and does not say so."""

    def read(self, _: int) -> str:
        return "text"


async def test_the_socket_must_be_open(path: Path) -> None:
    """The same errors as for every send; the file is not even opened."""
    with pytest.raises(InvalidStateError, match="use `async with`"):
        await TCPSocket().send_file(path)
    async with linked() as (sock, _):
        sock.close()
        with pytest.raises(SocketClosedError):
            await sock.send_file("no such file")


async def test_one_sender_at_a_time(path: Path, way: Way) -> None:
    """A second one gets ``BusyResourceError``, whatever it wants to send."""
    async with linked(small=True) as (sock, peer), trio.open_nursery() as nursery:
        nursery.start_soon(sock.send_file, path)
        await until(lambda: sock.bytes_sent)
        with pytest.raises(trio.BusyResourceError):
            await sock.send_file("no such file")
        with pytest.raises(trio.BusyResourceError):
            await sock.send_all(b"x")
        with pytest.raises(trio.BusyResourceError):
            await sock.send_eof()
        await peer.recv_exactly(len(CONTENT))


# Cancellation


@pytest.mark.parametrize("by", ["path", "memory"])
@pytest.mark.parametrize("after", [1, 100_000, 777_777])
async def test_cancellation_is_exact(path: Path, way: Way, by: str, after: int) -> None:
    """What the OS took is what the peer gets, the rest is removed, and the connection lives."""
    recorder = EventRecorder()
    async with linked(small=True, handler=recorder) as (sock, peer):
        received = bytearray()

        async def receive() -> None:
            while data := await peer.recv_some():
                received.extend(data)
                if len(received) >= after:
                    scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            with trio.CancelScope() as scope:
                await sock.send_file(path if by == "path" else io.BytesIO(CONTENT))
            assert scope.cancelled_caught
            sent = sock.bytes_sent
            assert after <= sent < len(CONTENT)
            await sock.send_all(b"and more")
            await sock.aclose()
        assert bytes(received) == CONTENT[:sent] + b"and more"
        first, second = completes(recorder)
        assert (first.user_aborted, first.bytes_sent) == (True, sent)
        assert (second.user_aborted, second.bytes_sent) == (False, 8)
        check_grammar(recorder.events, peer_received=len(received))


async def test_cancellation_leaves_what_others_wrote(path: Path, way: Way) -> None:
    """It goes out as if the file had never been; the batch tells what was removed."""
    async with linked(small=True) as (sock, peer):
        events = sock.subscribe()
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(sock.send_file, path)
                await until(lambda: sock.bytes_sent)
                sock.write(b">" * 100_000)
                scope.cancel()
        sent = sock.bytes_sent
        expected = CONTENT[:sent] + b">" * 100_000
        assert await peer.recv_exactly(len(expected)) == expected
        await sock.flush()
        found = [events.receive_nowait() for _ in range(events.statistics().current_buffer_used)]
        assert [event for event in found if isinstance(event, SendComplete)] == [
            SendComplete(sock, True, len(expected), len(CONTENT) - sent)
        ]


@pytest.mark.parametrize("by", ["path", "file", "memory"])
async def test_cancelled_beforehand(path: Path, way: Way, by: str) -> None:
    """An open file counts as queued and aborted; of a path nothing is known yet."""
    recorder = EventRecorder()
    async with linked(handler=recorder) as (sock, _):
        with path.open("rb") as opened, trio.CancelScope() as scope:
            scope.cancel()
            file: Any = {"path": path, "file": opened, "memory": io.BytesIO(CONTENT)}[by]
            await sock.send_file(file)
        assert scope.cancelled_caught
        assert sock.bytes_sent == 0
        assert sock.is_connected
        assert [(each.user_aborted, each.bytes_sent) for each in completes(recorder)] == (
            [] if by == "path" else [(True, 0)]
        )


async def test_all_sent_is_not_cancelled(path: Path, way: Way) -> None:
    """``Cancelled`` is raised if, and only if, something was removed."""

    class Handler:
        def on_send_complete(self, sock: TCPSocket, user_aborted: bool) -> None:
            scope.cancel()

    async with linked(handler=Handler()) as (sock, peer), trio.open_nursery() as nursery:
        nursery.start_soon(peer.recv_exactly, 50_000)
        with trio.CancelScope() as scope:
            assert await sock.send_file(path, count=50_000) == 50_000
        assert scope.cancel_called
        assert not scope.cancelled_caught


async def test_a_pipe_without_a_writer_is_cancelled_at_once(fifo: Path) -> None:
    """Opening it does not hang, and no thread is left."""
    threads = threading.active_count()
    async with linked() as (sock, _):
        with trio.move_on_after(0.01) as scope:
            await sock.send_file(fifo)
        assert scope.cancelled_caught
        assert sock.bytes_left_to_send == 0
        await sock.send_all(b"x")
    assert threading.active_count() <= threads + 1  # the one that opened it is kept for a while


async def test_a_pipe_is_cancelled_between_two_pieces(fifo: Path) -> None:
    """Nothing is queued at that time: the batch ends with what went out, and writes go on."""
    recorder = EventRecorder()
    async with linked(handler=recorder) as (sock, peer):
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(sock.send_file, fifo)
                await wait_all_tasks_blocked()
                with fifo.open("wb", buffering=0) as writer:
                    writer.write(b"one")
                    assert await peer.recv_exactly(3) == b"one"
                    sock.write(b"after")
                    scope.cancel()
                    await trio.lowlevel.checkpoint()
        assert scope.cancelled_caught
        assert await peer.recv_exactly(5) == b"after"
        await recorder.wait_for(SendComplete)
        assert completes(recorder) == [SendComplete(sock, False, 8, 0)]


# Other ends


@pytest.mark.parametrize("how", ["abort_send", "handler"])
async def test_abort_send_on_the_way(path: Path, way: Way, how: str) -> None:
    """The call raises; the books are exact, and the connection lives."""
    recorder = EventRecorder(abort_after=INTERVAL if how == "handler" else None)
    async with linked(small=True, handler=recorder) as (sock, peer):
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def send() -> None:
                with pytest.raises(SocketError, match=r"aborted after \d+ of 2000000") as caught:
                    await sock.send_file(path)
                assert type(caught.value) is SocketError

            nursery.start_soon(peer.recv_exactly, INTERVAL)
            await until(lambda: sock.bytes_sent >= INTERVAL)
            if how == "abort_send":
                sock.abort_send()
        sent = sock.bytes_sent
        assert (completes(recorder)[0].user_aborted, completes(recorder)[0].bytes_sent) == (
            True,
            sent,
        )
        assert sock.is_connected
        await sock.aclose()
        await peer.recv_all_to_eof()
        assert peer.received == sent


async def test_abort_send_while_reading(way: Way) -> None:
    """A piece that comes after that is not sent."""
    may_read, began = threading.Event(), threading.Event()

    class Slow(io.BytesIO):
        def read1(self, count: int | None = -1, /) -> bytes:
            began.set()
            may_read.wait(10)
            return super().read1(count)

    async with linked() as (sock, peer), trio.open_nursery() as nursery:

        @nursery.start_soon
        async def send() -> None:
            with pytest.raises(SocketError, match="aborted after 0 of 5 bytes"):
                await sock.send_file(Slow(b"hello"), count=5)

        await until(began.is_set)
        sock.abort_send()
        may_read.set()
        await until(lambda: not nursery.child_tasks)
        await sock.send_all(b"x")
        assert await peer.recv_some() == b"x"


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("end", ["abort_send", "close", "reset"])
async def test_a_silent_pipe_keeps_nobody(fifo: Path, begun: bool, end: str) -> None:
    """Whatever ends the send wakes who waits for the pipe, before its first byte or after."""
    async with linked() as (sock, peer), trio.open_nursery() as nursery:
        error = {"close": SocketClosedError, "reset": LostConnectionError}.get(end, SocketError)

        @nursery.start_soon
        async def send() -> None:
            with pytest.raises(error) as caught:
                await sock.send_file(fifo)
            assert type(caught.value) is error

        await wait_all_tasks_blocked()
        with fifo.open("wb", buffering=0) as writer:
            if begun:
                writer.write(b"one")
                assert await peer.recv_exactly(3) == b"one"
            await until(
                lambda: sock._connection.outlet.waits._interrupt is not None
            )  # it has opened the pipe and reads
            if end == "reset":
                peer.reset()
            elif end == "close":
                sock.close()
            else:
                sock.abort_send()
            await until(lambda: not nursery.child_tasks)


async def test_aborted_when_a_piece_of_a_pipe_has_just_gone(fifo: Path) -> None:
    """The next one is not waited for: there may be none for ever."""
    recorder = EventRecorder(abort_after=3)
    async with linked(handler=recorder) as (sock, peer), trio.open_nursery() as nursery:

        @nursery.start_soon
        async def send() -> None:
            with pytest.raises(SocketError, match="send aborted after 3 of 3 bytes"):
                await sock.send_file(fifo)

        await wait_all_tasks_blocked()
        with fifo.open("wb", buffering=0) as writer:
            writer.write(b"one")
            assert await peer.recv_exactly(3) == b"one"
            await until(lambda: not nursery.child_tasks)
        assert sock.is_connected
        assert completes(recorder) == [SendComplete(sock, False, 3, 0)]


async def test_aclose_sends_a_running_file(path: Path, way: Way) -> None:
    """Which then returns."""
    async with linked(small=True) as (sock, peer), trio.open_nursery() as nursery:

        @nursery.start_soon
        async def send() -> None:
            assert await sock.send_file(path) == len(CONTENT)

        await until(lambda: sock.bytes_sent)
        nursery.start_soon(sock.aclose)
        assert await peer.recv_all_to_eof() == CONTENT


async def test_aclose_sends_a_running_pipe(fifo: Path) -> None:
    """It waits for the end of the pipe, too."""
    async with linked() as (sock, peer), trio.open_nursery() as nursery:

        @nursery.start_soon
        async def send() -> None:
            assert await sock.send_file(fifo) == 6

        await wait_all_tasks_blocked()
        with fifo.open("wb", buffering=0) as writer:
            writer.write(b"one")
            assert await peer.recv_exactly(3) == b"one"
            nursery.start_soon(sock.aclose)
            await wait_all_tasks_blocked()
            writer.write(b"two")
        assert await peer.recv_all_to_eof() == b"two"


async def test_aclose_does_not_wait_for_ever(fifo: Path) -> None:
    """When the grace period is over the send fails."""
    async with linked() as (sock, peer), trio.open_nursery() as nursery:

        @nursery.start_soon
        async def send() -> None:
            with pytest.raises(SocketClosedError):
                await sock.send_file(fifo)

        await wait_all_tasks_blocked()
        with fifo.open("wb", buffering=0) as writer:
            writer.write(b"one")
            assert await peer.recv_exactly(3) == b"one"
            await sock.aclose(grace=0.01)
        assert await peer.recv_all_to_eof() == b""


async def test_a_pipe_that_begins_while_we_close_is_not_sent(fifo: Path) -> None:
    """Our direction has ended by then; only what was queued before still went."""
    async with linked() as (sock, peer), trio.open_nursery() as nursery:
        await peer.send(b"never read")
        await until(lambda: sock.bytes_available)

        @nursery.start_soon
        async def send() -> None:
            with pytest.raises(SocketClosedError):
                await sock.send_file(fifo)

        await wait_all_tasks_blocked()
        close(sock._connection, 1000.0)
        closing = sock._connection.closing
        assert closing is not None
        closing._look = 1000.0  # it lingers for as long as we need
        with fifo.open("wb", buffering=0) as writer:
            writer.write(b"too late")
            await until(lambda: not nursery.child_tasks)
        sock.close()
        assert await peer.recv_all_to_eof() == b""


async def test_close_on_the_way(path: Path, way: Way) -> None:
    """The call fails, and the peer has what went out."""
    async with linked(small=True) as (sock, peer):
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def send() -> None:
                with pytest.raises(SocketClosedError):
                    await sock.send_file(path)

            await until(lambda: sock.bytes_sent)
            sock.close()
        assert await peer.recv_all_to_eof() == CONTENT[: sock.bytes_sent]


async def test_a_peer_that_resets_on_the_way(path: Path, way: Way) -> None:
    """The connection is lost, for the file as for everybody."""
    async with linked(small=True) as (sock, peer), trio.open_nursery() as nursery:

        @nursery.start_soon
        async def send() -> None:
            with pytest.raises(LostConnectionError) as caught:
                await sock.send_file(path)
            assert caught.value.reason is LossReason.RESET

        await until(lambda: sock.bytes_sent)
        peer.reset()


# The kernel, and when it does not send


@kernel_only
@pytest.mark.parametrize("number", sorted(_file_sending._CONNECTION_ERRORS))
async def test_what_sendfile_says_of_the_connection(path: Path, kernel: Way, number: int) -> None:
    """It is lost."""
    async with linked() as (sock, _):
        kernel.error = OSError(number, os.strerror(number))
        with pytest.raises(LostConnectionError) as caught:
            await sock.send_file(path)
        assert caught.value.errno == number
        assert caught.value.__cause__ is kernel.error


@kernel_only
@pytest.mark.parametrize(
    "number", [errno.EINVAL, errno.ENOSYS, errno.EIO, errno.EOVERFLOW, errno.ENOMEM, errno.EBADF]
)
async def test_what_sendfile_says_of_the_file(path: Path, kernel: Way, number: int) -> None:
    """It is read instead, from where the kernel left it."""
    async with linked(small=True) as (sock, peer), trio.open_nursery() as nursery:

        def refuse_later() -> None:
            if sum(kernel.calls) > 500_000:
                kernel.error = OSError(number, os.strerror(number))

        kernel.before = refuse_later
        received: list[bytes] = []

        @nursery.start_soon
        async def receive() -> None:
            received.append(await peer.recv_exactly(len(CONTENT)))

        assert await sock.send_file(path) == len(CONTENT)
    assert received == [CONTENT]
    assert 500_000 < sum(kernel.calls) < len(CONTENT)


@kernel_only
async def test_sendfile_waits_for_room(path: Path, kernel: Way) -> None:
    """As every send does; an interrupted call is tried again."""
    async with linked(small=True) as (sock, peer), trio.open_nursery() as nursery:
        await clog(sock)

        def interrupt_once() -> None:
            kernel.before = lambda: None
            raise InterruptedError

        kernel.before = interrupt_once
        nursery.start_soon(sock.send_file, path)
        await wait_all_tasks_blocked()
        assert kernel.calls == []
        left = sock.bytes_sent + len(CONTENT)
        assert (await peer.recv_exactly(left))[-len(CONTENT) :] == CONTENT


@kernel_only
async def test_a_transport_that_is_no_socket_is_fed(
    path: Path, kernel: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it becomes one when the file is half way out."""
    async with linked(small=True) as (sock, peer), trio.open_nursery() as nursery:
        nursery.start_soon(sock.send_file, path)
        await until(lambda: sum(kernel.calls))
        before = len(kernel.calls)
        monkeypatch.setattr(PlainTransport, "takes_files", False)
        assert await peer.recv_exactly(len(CONTENT)) == CONTENT
        assert len(kernel.calls) == before
        nursery.start_soon(sock.send_file, path)
        assert await peer.recv_exactly(len(CONTENT)) == CONTENT
        assert len(kernel.calls) == before


async def test_other_systems_read(path: Path, kernel: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their sendfile is another one."""
    async with linked() as (sock, peer), trio.open_nursery() as nursery:
        nursery.start_soon(peer.recv_exactly, len(CONTENT))
        monkeypatch.setattr(sys, "platform", "darwin")
        assert await sock.send_file(path) == len(CONTENT)
    assert not kernel.calls


def run_program(program: str) -> str:
    """What a program of its own prints; it must end well, and say nothing else."""
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", program]
    result = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


@pytest.mark.skipif(not sockets.NO_SIGNAL, reason="no MSG_NOSIGNAL")
@pytest.mark.parametrize("peer", ["close", "reset"])
def test_sigpipe_kills_nobody(path: Path, peer: str) -> None:
    """Where its default action was restored, as command line tools do, the kernel may not send."""
    program = f"""if True:
        import os, signal, socket, struct, trio
        from trio_xsock import LostConnectionError, TCPSocket

        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.sendfile = None

        async def main():
            listener = socket.create_server(("127.0.0.1", 0))
            async with TCPSocket(*listener.getsockname()) as sock:
                await sock.connect()
                peer, _ = listener.accept()
                if {peer!r} == "reset":
                    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                peer.close()
                try:
                    while True:
                        await sock.send_file({str(path)!r})
                except LostConnectionError as exc:
                    print(exc.reason.name)
            listener.close()

        trio.run(main)
    """
    assert run_program(program) == "RESET\n"


@pytest.mark.slow
@pytest.mark.skipif(not is_linux(), reason="VmHWM is Linux's")
@pytest.mark.parametrize(("way", "size"), [("kernel", 2**30), ("read", 2**28)])
def test_a_huge_file_takes_no_memory(
    request: pytest.FixtureRequest, tmp_path: Path, way: str, size: int
) -> None:
    """Nor does the time it takes depend on anything but its size."""
    # The holes of a file in memory are pages that all exist already.
    folder = Path("/dev/shm") if Path("/dev/shm").is_dir() else tmp_path
    descriptor, name = tempfile.mkstemp(dir=folder)
    request.addfinalizer(lambda: Path(name).unlink())
    os.truncate(descriptor, size)
    os.close(descriptor)
    program = rf"""if True:
        import os, re, signal, socket, trio
        from pathlib import Path
        from trio_xsock import TCPSocket

        if {way!r} == "read":
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)

        def drain():
            peer, _ = listener.accept()
            buffer, count = bytearray(2**20), 0
            while got := peer.recv_into(buffer):
                count += got
            print("received", count, flush=True)
            os._exit(0)

        def peak():
            status = Path("/proc/self/status").read_text()
            return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024

        async def main():
            async with TCPSocket(*listener.getsockname()) as sock:
                await sock.connect()
                await sock.send_file({name!r}, count=2**24)
                before = peak()
                print("sent", await sock.send_file({name!r}), flush=True)
                print("small", peak() - before < 4_000_000, flush=True)
            os.waitpid(child, 0)

        with socket.create_server(("127.0.0.1", 0)) as listener:
            child = os.fork() or drain()
            trio.run(main)
    """
    expected = f"sent {size}\nsmall True\nreceived {size + 2**24}\n"
    assert run_program(program) == expected


async def test_the_loop_never_waits_for_a_file() -> None:
    """The others, on whom the file may even depend, go on."""
    may_read = threading.Event()
    turns = 0

    class Slow(io.BytesIO):
        def read1(self, count: int | None = -1, /) -> bytes:
            assert may_read.wait(10)
            return super().read1(count)

    async with linked() as (sock, peer), trio.open_nursery() as nursery:
        nursery.start_soon(sock.send_file, Slow(b"hello"))
        while turns < 1000:
            turns += 1
            await trio.lowlevel.checkpoint()
        assert sock.bytes_sent == 0
        may_read.set()
        assert await peer.recv_exactly(5) == b"hello"


async def test_a_fast_peer_does_not_starve_the_others(path: Path, way: Way) -> None:
    """However much the OS would take at once."""
    async with linked() as (sock, peer), trio.open_nursery() as nursery:
        with socket.socket(fileno=os.dup(sock.handle)) as raw:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**24)
        nursery.start_soon(peer.count_to_eof)
        turns = 0

        @nursery.start_soon
        async def beat() -> None:
            nonlocal turns
            while sock.handle >= 0:
                turns += 1
                await trio.lowlevel.checkpoint()

        for _ in range(10):
            await sock.send_file(path)
        sock.close()
        assert turns >= 10


def test_signals_default_is_told_apart() -> None:
    """Python ignores SIGPIPE; this is what the choice above rests on."""
    assert signal.getsignal(signal.SIGPIPE) is signal.SIG_IGN


async def test_a_peer_that_is_never_read_gets_the_file_all_the_same(path: Path, way: Way) -> None:
    """Its own input, unread by us, does not destroy what was sent."""
    async with linked(small=True) as (sock, peer):
        await peer.send(b"x" * 1000)

        async def receive(into: list[bytes], source: RawPeer) -> None:
            into.append(await source.recv_all_to_eof())

        received: list[bytes] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive, received, peer)
            await sock.send_file(path)
            await sock.aclose()
    assert received == [CONTENT]


# Slow disks


class Disk:
    """A file of which a part may not be in memory, as the kernel sees it.

    Args:
        monkeypatch: puts it in the place of the real one.
        kernel: sends the file.
        tells: whether it can be asked what is in memory.
        sends: whether it can be loaded without copying it; or else it is read.
        look: called in a thread with the range that is loaded; may wait, or raise.

    Attributes:
        cold: where that begins which is not in memory; ``None`` for nowhere.
        loads: how often something was loaded.
    """

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        kernel: Way,
        *,
        tells: bool,
        sends: bool,
        look: Callable[[int, int], object],
    ) -> None:
        self.cold: int | None = 0
        self.loads = 0
        self._tells, self._sends, self._look = tells, sends, look
        self._real = os.preadv
        kernel.loading = self._send
        monkeypatch.setattr(os, "preadv", self._read)

    def _load(self, position: int, size: int) -> None:
        assert threading.current_thread() is not threading.main_thread()
        self.loads += 1
        self._look(position, size)

    def _send(self, position: int, size: int) -> None:
        if not self._sends:
            raise OSError(errno.EINVAL, "not to this")
        self._load(position, size)

    def _read(self, fd: int, buffers: Any, position: int, flags: int = 0) -> int:
        if not flags:
            self._load(position, sum(map(len, buffers)))
            return self._real(fd, buffers, position)
        assert flags == os.RWF_NOWAIT
        if not self._tells:
            raise OSError(errno.EOPNOTSUPP, "cannot be asked")
        if self.cold is not None and position >= self.cold:
            raise BlockingIOError(errno.EAGAIN, "not in memory")
        return self._real(fd, buffers, position, flags)


@kernel_only
@pytest.mark.parametrize("sends", [True, False])
@pytest.mark.parametrize("tells", [True, False])
async def test_a_disk_that_stalls_does_not_stop_the_loop(
    path: Path, kernel: Way, monkeypatch: pytest.MonkeyPatch, tells: bool, sends: bool
) -> None:
    """What may not be in memory is loaded in a thread first; then the kernel sends it."""
    stalled = threading.Event()
    cold = range(500_000, 900_000)
    size = len(CONTENT)

    def look(position: int, count: int) -> None:
        if position + count > cold.start:
            stalled.wait(10)

    monkeypatch.setattr(page_cache, "LEAST_AHEAD", PIECE_AT_MOST // 2)
    monkeypatch.setattr(page_cache, "_MOST_AHEAD", PIECE_AT_MOST // 2)
    disk = Disk(monkeypatch, kernel, tells=tells, sends=sends, look=look)
    disk.cold = cold.start
    async with linked() as (sock, peer), trio.open_nursery() as nursery:

        @nursery.start_soon
        async def send() -> None:
            assert await sock.send_file(path) == size

        got = await peer.recv_exactly(cold.start - PIECE_AT_MOST)
        await trio.testing.wait_all_tasks_blocked(0.05)  # the loop runs while the disk does not
        calls = len(kernel.calls)
        assert sum(kernel.calls) < cold.start
        disk.cold = None
        stalled.set()
        got += await peer.recv_exactly(size - len(got))
        assert got == CONTENT
        assert len(kernel.calls) > calls
        assert sum(kernel.calls) == size  # not a byte went another way
        assert (disk.loads < 5) is tells


@kernel_only
@pytest.mark.parametrize("sends", [True, False])
async def test_a_disk_that_fails_is_told(
    path: Path, kernel: Way, monkeypatch: pytest.MonkeyPatch, sends: bool
) -> None:
    """What loading says is raised; the books and the connection stay whole."""

    def fail(_position: int, _count: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    disk = Disk(monkeypatch, kernel, tells=False, sends=sends, look=fail)
    async with linked() as (sock, peer):
        with pytest.raises(OSError, match="Input/output") as caught:
            await sock.send_file(path)
        assert caught.value.errno == errno.EIO
        assert disk.loads == 1 + sends
        assert sock.bytes_left_to_send == 0
        await sock.send_all(b"x")
        assert await peer.recv_exactly(1) == b"x"


@kernel_only
async def test_abort_send_while_the_disk_stalls(
    path: Path, kernel: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The call ends at once; the thread is let go, and closes what it read from at its end."""
    stalled, entered = threading.Event(), trio.Event()
    token = trio.lowlevel.current_trio_token()

    def stall(_position: int, _count: int) -> None:
        token.run_sync_soon(entered.set)
        stalled.wait(10)

    Disk(monkeypatch, kernel, tells=True, sends=True, look=stall)
    threads = threading.active_count()
    async with linked() as (sock, _):
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def send() -> None:
                with pytest.raises(SocketError, match="aborted after 0 of 2000000"):
                    await sock.send_file(path)

            await entered.wait()
            sock.abort_send()
        assert kernel.calls == []
        stalled.set()
        await until(lambda: threading.active_count() <= threads + 1)
