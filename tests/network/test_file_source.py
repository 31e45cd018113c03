"""Files as sources: what they are taken for, what is read, and that nothing waits or leaks."""

from __future__ import annotations

import errno
import functools
import gzip
import io
import operator
import os
import stat
import tarfile
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.support import until
from trio_xsock._network import file_source as _file_source
from trio_xsock._network.file_source import PIECE, FileSource, open_source, source_of
from trio_xsock._platform import files, system

CONTENT = bytes(range(256)) * 4096  # 1 MiB


SYS_FILE = Path("/sys/class/net/lo/address")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file on a disk."""
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    return path


async def everything(source: FileSource, piece: int = PIECE) -> bytes:
    """Read to the end, as a caller does who obeys ``size``."""
    data = bytearray()
    while source.size is None or len(data) < source.size:
        wanted = piece if source.size is None else min(piece, source.size - len(data))
        got = await source.read(wanted)
        assert len(got) <= wanted
        if not got:
            break
        data += got
    source.close()
    return bytes(data)


async def content(file: Any, offset: int = 0, count: int | None = None) -> tuple[int | None, bytes]:
    """The size as it is announced, and what is read."""
    source = source_of(file, offset, count) or await open_source(file, offset, count)
    size = source.size
    return size, await everything(source)


@contextmanager
def pipe(buffering: int = -1) -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """Both ends of an anonymous pipe, open as files."""
    reader, writer = os.pipe()
    with open(reader, "rb", buffering) as file, open(writer, "wb", 0) as sender:
        yield file, sender


# Paths


@pytest.mark.parametrize("convert", [str, Path, trio.Path])
async def test_a_path_of_any_kind(path: Path, convert: Callable[[Path], Any]) -> None:
    """What it names is opened, and closed in the end."""
    before = len(os.listdir("/proc/self/fd"))
    assert source_of(convert(path), 0, None) is None
    assert await content(convert(path)) == (len(CONTENT), CONTENT)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    ("offset", "count", "size", "data"),
    [
        (0, None, 2**20, CONTENT),
        (10, None, 2**20 - 10, CONTENT[10:]),
        (10, 20, 20, CONTENT[10:30]),
        (2**20, None, 0, b""),
        (2**30, None, 0, b""),
        (2**20 - 5, 20, 20, CONTENT[-5:]),
        (2**30, 1, 1, b""),
        (0, 0, 0, b""),
    ],
)
async def test_a_range_of_a_file(
    path: Path, offset: int, count: int | None, size: int, data: bytes
) -> None:
    """From a path and from an open file alike; a count that is too large is found out later."""
    assert await content(path, offset, count) == (size, data)
    with path.open("rb") as file:
        file.read(7)  # the position does not matter
        assert await content(file, offset, count) == (size, data)
    assert await content(io.BytesIO(CONTENT), offset, count) == (size, data)


async def test_the_kernel_may_send_a_file_on_a_disk(path: Path) -> None:
    """It has a descriptor of its own, and where it begins; other sources have none."""
    source = await open_source(path, 5, None)
    assert stat.S_ISREG(os.fstat(source.fileno).st_mode)
    assert source.position == 5
    source.close()
    with path.open("rb", buffering=0) as file:
        own = source_of(file, 0, None)
        assert own is not None
        assert own.fileno not in (-1, file.fileno())
        file.close()
        assert await everything(own) == CONTENT
    memory = source_of(io.BytesIO(CONTENT), 0, None)
    assert memory is not None
    assert memory.fileno == -1
    memory.close()


async def test_an_empty_file_has_no_size_to_speak_of(tmp_path: Path) -> None:
    """The kernel's own files look empty, and are not: they are read to see."""
    empty = tmp_path / "empty"
    empty.touch()
    assert await content(empty) == (None, b"")
    assert await content(empty, 3, 5) == (5, b"")
    size, data = await content("/proc/self/status")
    assert size is None
    assert data.startswith(b"Name:")
    assert (await content("/proc/self/status", 1, 3)) == (3, data[1:4])


@pytest.mark.skipif(not SYS_FILE.exists(), reason="needs Linux's /sys")
async def test_a_file_that_states_more_than_it_has_is_read_to_its_end() -> None:
    """/sys states a page of memory; by path and as an open file."""
    with SYS_FILE.open("rb", buffering=0) as file:  # noqa: ASYNC230 - it does not wait
        data = file.read()
        assert len(data) < os.fstat(file.fileno()).st_size
        assert await content(SYS_FILE) == (None, data)
        assert await content(file) == (None, data)
        assert await content(SYS_FILE, 1, 3) == (3, data[1:4])


async def test_a_file_that_is_one_hole_has_its_size(tmp_path: Path) -> None:
    """It occupies nothing on the disk, as those of the kernel do."""
    hole = tmp_path / "hole"
    hole.touch()
    os.truncate(hole, 100_000)
    assert await content(hole) == (100_000, bytes(100_000))
    with hole.open("rb") as file:
        assert await content(file) == (100_000, bytes(100_000))


async def test_devices_are_read() -> None:
    """For as long as is wanted."""
    assert await content("/dev/zero", 0, 10) == (10, bytes(10))
    assert await content("/dev/null") == (None, b"")


async def test_what_cannot_be_opened(tmp_path: Path) -> None:
    """The OS's own words, as an ``OSError``."""
    with pytest.raises(FileNotFoundError) as missing:
        await open_source(tmp_path / "missing", 0, None)
    assert missing.value.filename == str(tmp_path / "missing")
    with pytest.raises(IsADirectoryError) as directory:
        await open_source(tmp_path, 0, None)
    assert directory.value.errno == errno.EISDIR
    assert directory.value.filename == str(tmp_path)
    with pytest.raises(ValueError, match="null"):
        await open_source("a\0b", 0, None)


# Pipes by name


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    """A named pipe."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


async def test_a_named_pipe_is_waited_for(fifo: Path) -> None:
    """Nobody has opened the other end yet; what comes is given piece by piece, to the end."""
    source = await open_source(fifo, 0, None)
    assert source.size is None
    pieces: list[bytes] = []

    async def read() -> None:
        while piece := await source.read(PIECE):
            pieces.append(piece)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await wait_all_tasks_blocked()
        with fifo.open("wb", buffering=0) as writer:
            for piece in (b"one", b"two", b"three"):
                writer.write(piece)
                await until(functools.partial(operator.contains, pieces, piece))
            await wait_all_tasks_blocked()
    source.close()
    assert pieces == [b"one", b"two", b"three"]


async def test_a_pipe_that_cannot_be_waited_for_is_read_in_a_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Windows waits for sockets only."""
    monkeypatch.setattr(system, "waits_for_pipes", lambda: False)
    with pipe() as (file, sender):
        source = await open_source(file, 0, None)
        sender.write(b"data")
        assert await source.read(PIECE) == b"data"
        source.close()


async def test_waiting_for_a_pipe_is_cancelled_at_once(fifo: Path) -> None:
    """No thread is left waiting, and nothing that the pipe gives is lost."""
    threads = threading.active_count()
    source = await open_source(fifo, 0, 5)
    threads = max(threads, threading.active_count())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(source.read, 5)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert threading.active_count() <= threads
    with fifo.open("wb", buffering=0) as writer:
        writer.write(b"hello")
        assert await source.read(5) == b"hello"
    source.close()


async def test_two_readers_of_one_pipe(fifo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What another one has taken is waited for again."""
    source = await open_source(fifo, 0, None)
    answers: list[bytes | OSError] = [BlockingIOError(), b"mine"]

    def read(_: int, __: int) -> bytes:
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    with fifo.open("wb", buffering=0) as writer:
        writer.write(b"hello")
        monkeypatch.setattr(os, "read", read)
        assert await source.read(5) == b"mine"
    source.close()


async def test_a_pipe_has_no_positions(fifo: Path) -> None:
    """An offset into one is refused, by name or open."""
    with pytest.raises(ValueError, match=r"offset=1, but .*fifo.* cannot be positioned"):
        await open_source(fifo, 1, None)
    with pipe() as (file, _):
        with pytest.raises(ValueError, match="cannot be positioned"):
            source_of(file, 1, None)


# Cancellation, threads and descriptors


async def test_opening_is_given_up_at_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the OS takes; what it opens in the end is closed again."""
    may_open, opened = threading.Event(), threading.Event()
    descriptors: list[int] = []
    real_open = os.open

    def slow(*arguments: Any) -> int:
        may_open.wait(10)
        descriptors.append(real_open(*arguments))
        opened.set()
        return descriptors[0]

    monkeypatch.setattr(os, "open", slow)
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(open_source, path, 0, None)
            await wait_all_tasks_blocked()
            scope.cancel()
    assert scope.cancelled_caught
    may_open.set()
    opened.wait(10)
    await until(lambda: not is_open(descriptors[0]))


def is_open(fileno: int) -> bool:
    try:
        os.fstat(fileno)
    except OSError:
        return False
    return True


async def test_reading_is_given_up_at_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The descriptor stays open for as long as the thread needs it, and no longer."""
    may_read, began = threading.Event(), threading.Event()
    real_pread = files.pread
    read: list[bytes] = []

    def slow(*arguments: int) -> bytes:
        began.set()
        may_read.wait(10)
        read.append(real_pread(*arguments))
        return read[0]

    monkeypatch.setattr(files, "pread", slow)
    source = await open_source(path, 0, None)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(source.read, 10)
        await until(began.is_set)
        nursery.cancel_scope.cancel()
    source.close()
    assert is_open(source.fileno)
    may_read.set()
    await until(lambda: not is_open(source.fileno))
    assert read == [CONTENT[:10]]


async def test_a_thread_that_comes_too_late_reads_nothing(path: Path) -> None:
    """The number may be somebody else's by then."""
    source = await open_source(path, 0, None)
    source.close()
    assert await source.read(10) == b""


async def test_cancelled_before_anything_was_begun(path: Path) -> None:
    """Nothing is opened."""
    before = len(os.listdir("/proc/self/fd"))
    with trio.CancelScope() as scope:
        scope.cancel()
        await open_source(path, 0, None)
    assert scope.cancelled_caught
    assert len(os.listdir("/proc/self/fd")) == before


# Open files


async def test_files_of_the_standard_library(path: Path, tmp_path: Path) -> None:
    """Buffered or not, to be read or updated, compressed or inside an archive."""
    with path.open("rb") as buffered, path.open("rb", buffering=0) as raw:
        assert await content(buffered) == (len(CONTENT), CONTENT)
        assert await content(raw) == (len(CONTENT), CONTENT)
        assert not buffered.closed
        assert not raw.closed
    packed = tmp_path / "packed.gz"
    with gzip.open(packed, "wb") as writer:
        writer.write(CONTENT)
    with gzip.open(packed) as unpacked:
        unpacked.read(99)
        assert await content(unpacked, 10) == (None, CONTENT[10:])
        assert await content(unpacked, 0, 5) == (5, CONTENT[:5])
    archive = tmp_path / "archive.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(path, "name")
    with tarfile.open(archive) as tar:
        member = tar.extractfile("name")
        assert member is not None
        assert await content(member, 3) == (None, CONTENT[3:])
        member.close()


async def test_what_was_written_and_not_flushed_is_there() -> None:
    """A file open for both is flushed first."""
    with tempfile.TemporaryFile() as file:
        file.write(b"hello")
        assert await content(file) == (5, b"hello")
    with tempfile.NamedTemporaryFile() as named:
        named.write(b"hello")
        assert (await content(named))[1] == b"hello"


async def test_a_pipe_gives_what_there_is() -> None:
    """It does not wait for a full piece."""
    with pipe() as (file, sender):
        source = source_of(file, 0, None)
        assert source is not None
        assert source.size is None
        sender.write(b"one")
        assert await source.read(PIECE) == b"one"
        sender.write(b"two")
        assert await source.read(PIECE) == b"two"
        sender.close()
        assert await source.read(PIECE) == b""
        source.close()
        assert not file.closed


async def test_waiting_for_an_open_pipe_is_given_up_at_once() -> None:
    """The thread ends when the pipe gives something, or ends."""
    with pipe(buffering=0) as (file, sender):
        source = source_of(file, 0, None)
        assert source is not None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(source.read, 5)
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        sender.close()
        limiter = trio.to_thread.current_default_thread_limiter()
        await until(lambda: not limiter.borrowed_tokens)


async def test_a_slow_file_that_has_an_end_is_read_on() -> None:
    """Cancellation waits for it: nobody else shall use the file at the same time."""
    may_read, began = threading.Event(), threading.Event()

    class Slow(io.BytesIO):
        def read1(self, count: int | None = -1, /) -> bytes:
            began.set()
            may_read.wait(10)
            return super().read1(count)

    file = Slow(b"hello")
    source = source_of(file, 0, None)
    assert source is not None
    read: list[bytes] = []

    async def reading() -> None:
        read.append(await source.read(5))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(reading)
        await until(began.is_set)
        nursery.cancel_scope.cancel()
        may_read.set()
    assert read == [b"hello"]


class Minimal:
    """The least that will do: a ``read`` method."""

    def __init__(self, *pieces: Any) -> None:
        self.pieces = list(pieces)

    def read(self, count: int) -> Any:
        piece = self.pieces.pop(0) if self.pieces else b""
        if isinstance(piece, Exception):
            raise piece
        return piece


async def test_anything_with_a_read_method_will_do() -> None:
    """It may give any buffer."""
    assert await content(Minimal(b"one", bytearray(b"two"), memoryview(b"x"))) == (None, b"onetwox")


async def test_what_reading_says_is_raised() -> None:
    """An error of the file's own, text, or nothing at all where the file does not wait."""
    error = OSError(errno.EIO, "the disk is broken")
    with pytest.raises(OSError, match="broken") as caught:
        await content(Minimal(b"one", error))
    assert caught.value is error
    with pytest.raises(TypeError, match="bytes-like"):
        await content(Minimal("text"))
    with pytest.raises(BlockingIOError, match="nothing can be read now"):
        await content(Minimal(None))


async def test_memory_that_changes_its_size() -> None:
    """The size is that of the beginning; what is missing is found out by reading."""
    file = io.BytesIO(b"hello")
    source = source_of(file, 0, None)
    assert source is not None
    file.seek(3)
    file.truncate()
    assert (source.size, await everything(source)) == (5, b"hel")
    file.write(b"lo, world")
    assert await content(file) == (12, b"hello, world")
    assert await content(io.BytesIO(), 7) == (0, b"")


# What is refused


class AsyncFile:
    """As Trio's own files are."""

    async def read(self) -> bytes:
        raise AssertionError


@pytest.mark.parametrize(
    "file",
    [b"path", 7, None, object(), io.StringIO("text"), AsyncFile(), type("T", (), {"read": 1})()],
)
def test_what_is_no_file_is_a_type_error(file: Any) -> None:
    """Bytes are no path: too easily they are taken for the content."""
    with pytest.raises(TypeError, match="file must "):
        source_of(file, 0, None)


def test_a_text_file_is_a_type_error(path: Path) -> None:
    """Also one on a disk."""
    with path.open(encoding="latin-1") as file, pytest.raises(TypeError, match="binary"):
        source_of(file, 0, None)  # type: ignore[arg-type]


async def test_a_file_of_trio_is_a_type_error(path: Path) -> None:
    """What it wraps will do."""
    async with await trio.open_file(path, "rb") as file:
        with pytest.raises(TypeError, match="pass what it wraps"):
            source_of(file, 0, None)  # type: ignore[arg-type]
        assert await content(file.wrapped) == (len(CONTENT), CONTENT)


def test_a_file_that_cannot_be_read_is_a_value_error(path: Path) -> None:
    """Open for writing only, or closed."""
    with path.open("ab", buffering=0) as file, pytest.raises(ValueError, match="for reading"):
        source_of(file, 0, None)
    with pytest.raises(ValueError, match="closed"):
        source_of(file, 0, None)


@pytest.mark.parametrize(
    ("offset", "count", "error"),
    [
        (-1, None, ValueError),
        (0, -1, ValueError),
        (0.0, None, TypeError),
        (True, None, TypeError),
        (0, "1", TypeError),
        (0, False, TypeError),
        (2**63, None, ValueError),
        (1, 2**63 - 1, ValueError),
    ],
)
def test_wrong_numbers_are_refused(offset: Any, count: Any, error: type[Exception]) -> None:
    """Before anything is opened, whatever the file is."""
    for file in ("no such file", io.BytesIO()):
        with pytest.raises(error, match=r"offset|count"):
            source_of(file, offset, count)


async def test_the_largest_numbers_are_no_trouble(path: Path) -> None:
    """They are beyond the end of any file."""
    farthest = _file_source._FARTHEST
    assert await content(path, farthest) == (0, b"")
    assert await content(path, farthest - 1, 1) == (1, b"")
    assert await content(io.BytesIO(b"x"), farthest) == (0, b"")
    large: BinaryIO
    with path.open("rb") as large:
        assert await content(large, 0, farthest) == (farthest, CONTENT)
