"""Writing without waiting: full pipes, readers that go, disks that are full."""

from __future__ import annotations

import errno
import os
import resource
import select
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest
import trio
import trio.testing

from trio_xsock._cli._errors import OutputFailedError, OutputGoneError
from trio_xsock._cli._report import Report
from trio_xsock._cli._sink import LIMIT, ThreadSink, has_room, is_empty
from trio_xsock._cli._stream import Stream
from trio_xsock._platform.system import has_poll

from .support import PATIENCE


def never() -> bool:
    return False


@contextmanager
def piped() -> Iterator[tuple[IO[bytes], ThreadSink]]:
    """A pipe's reading end, and a sink at the other one."""
    read, write = os.pipe()
    with os.fdopen(read, "rb", buffering=0) as reader, os.fdopen(write, "wb") as writer:
        sink = ThreadSink(writer.fileno())
        try:
            yield reader, sink
        finally:
            reader.close()  # whoever is in a write gets an error
            sink.drain(never)
            sink.close()


def read_exactly(reader: IO[bytes], count: int) -> bytes:
    data = b""
    while len(data) < count:
        assert select.select([reader], [], [], PATIENCE)[0]
        data += reader.read(count - len(data))
    return data


@pytest.mark.parametrize("blocking", [True, False])
def test_all_bytes_in_order_whatever_the_pipe_is_like(blocking: bool) -> None:
    with piped() as (read, sink):
        os.set_blocking(sink._fd, blocking)
        data = os.urandom(500_000)
        for at in range(0, len(data), 50_000):
            assert sink.put(data[at : at + 50_000])
        used = time.process_time()
        assert not select.select([], [], [], 0.2)[0]
        assert time.process_time() - used < 0.1  # waiting for room costs nothing
        assert read_exactly(read, len(data)) == data
        sink.drain(never)
        assert (sink.waiting, sink.gone, sink.error) == (0, False, None)


def test_putting_never_blocks_and_tells_when_it_is_too_much() -> None:
    with piped() as (read, sink):
        piece = bytes(100_000)
        count = 0
        while sink.put(piece):
            count += 1
            assert count < 20
        assert LIMIT <= sink.waiting < LIMIT + 2 * len(piece)
        assert not has_room(sink)
        assert len(read_exactly(read, count * len(piece))) == count * len(piece)


def test_draining_can_be_given_up() -> None:
    with piped() as (_, sink):
        sink.put(bytes(500_000))
        deadline = time.monotonic() + 0.1
        sink.drain(lambda: time.monotonic() > deadline)
        assert sink.waiting


@pytest.mark.skipif(not has_poll(), reason="noticed only at the next write here")
async def test_a_reader_that_goes_is_noticed_in_silence() -> None:
    with piped() as (read, sink):
        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(sink.until, lambda: sink.gone)
                await trio.testing.wait_all_tasks_blocked()
                read.close()
        assert sink.put(b"for nobody")
        assert (sink.waiting, sink.error) == (0, None)


async def test_a_reader_that_goes_in_the_middle() -> None:
    with piped() as (read, sink):
        sink.put(bytes(500_000))
        read.close()
        with trio.fail_after(PATIENCE):
            await sink.until(lambda: is_empty(sink))
        assert (sink.gone, sink.waiting, sink.error) == (True, 0, None)


async def test_waiting_for_room_is_cancelled_at_once() -> None:
    with piped() as (_, sink):
        sink.put(bytes(500_000))
        with trio.move_on_after(0.05) as scope:
            await sink.until(lambda: has_room(sink))
        assert scope.cancelled_caught
        assert not sink._watchers


async def test_room_again() -> None:
    with piped() as (read, sink):
        sink.put(bytes(500_000))
        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(sink.until, lambda: has_room(sink))
                await trio.testing.wait_all_tasks_blocked()
                await trio.to_thread.run_sync(read_exactly, read, 500_000)


def test_without_a_thread_it_writes_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with piped() as (read, sink):
        monkeypatch.setattr(threading.Thread, "start", start)
        assert sink.put(b"one\n")
        assert sink.put(b"two\n")
        monkeypatch.undo()
        assert read_exactly(read, 8) == b"one\ntwo\n"


async def test_a_full_disk_costs_the_lines_that_did_not_fit(tmp_path: Path) -> None:
    """And a line that was cut off has a line of its own."""
    path = tmp_path / "log"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with path.open("w") as file:
        stream = Stream("standard output", file)
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (15, before[1]))
            for line in ("one", "two", "a line that is too long"):
                stream.line(line)
            stream.sink.drain(never)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, handler)
        assert stream.sink.error is not None
        assert stream.sink.error.errno == errno.EFBIG
        assert stream.why_failed() == "cannot write to standard output: File too large"
        with pytest.raises(OutputFailedError, match="File too large"):
            await stream.room()
        stream.line("three")
        stream.sink.drain(never)
        stream.sink.close()
    assert path.read_text().splitlines() == ["one", "two", "a line ", "three"]


async def test_a_descriptor_that_cannot_be_written() -> None:
    with open(os.devnull) as file:  # noqa: ASYNC230 - nothing can block
        stream = Stream("standard output", file)
        stream.line("x")
        with pytest.raises(OutputFailedError, match="Bad file descriptor"):
            await stream.emptied()
        stream.sink.close()


@pytest.mark.parametrize("as_json", [False, True])
def test_lost_lines_are_counted_and_told_of(as_json: bool) -> None:
    read, write = os.pipe()
    with os.fdopen(write, "w") as file, os.fdopen(read, "rb") as reader:
        report = Report(as_json=as_json, out=file, err=file)
        assert report.out.sink is report.err.sink  # one place, one order
        line = "x" * 300_000
        for _ in range(7):
            report.fact("x", line, text=line)
        lost = report.out.lost
        assert 0 < lost < 7
        lines: list[bytes] = []
        thread = threading.Thread(target=lambda: lines.extend(reader))
        thread.start()
        report.out.sink.drain(never)
        report.fact("last", "the last one")
        report.finish(never)
        assert report.is_delivered()
        file.close()
        thread.join()
    assert len(lines) == 7 - lost + 2
    assert f"{lost}".encode() in lines[-2]
    assert b"lost" in lines[-2]
    assert b"last" in lines[-1]


def test_frames_of_a_stopped_terminal_are_left_out_but_the_cursor_comes_back() -> None:
    with piped() as (read, sink):
        with os.fdopen(os.dup(sink._fd), "w") as file:
            stream = Stream("standard error", file, sink)
            screen = stream.screen(moves=True)
            for _ in range(1000):
                screen.write("frame " * 100)
            screen.write("\x1b[?25h")
            assert sink.waiting < 200_000
            shown = b""
            while b"\x1b[?25h" not in shown:
                shown += read_exactly(read, 1)


@pytest.mark.skipif(not has_poll(), reason="noticed only at the next write here")
async def test_work_ends_when_nobody_reads() -> None:
    read, write = os.pipe()
    with os.fdopen(write, "w") as file:
        report = Report(out=file, err=file)
        os.close(read)
        with trio.fail_after(PATIENCE), pytest.raises(OutputGoneError):
            await report.while_read(trio.sleep_forever)

        async def work() -> int:
            return 1

        assert await report.while_read(work) == 1  # it was done before anybody looked
        report.finish(never)
