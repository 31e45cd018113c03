"""Whether a part of a file is in memory: what is asked, and what follows from the answers."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from trio_xsock._network.descriptor import Descriptor
from trio_xsock._network.page_cache import PageCache
from trio_xsock._platform import files
from trio_xsock._platform.system import is_linux

pytestmark = pytest.mark.skipif(not is_linux(), reason="only Linux can be asked")

MIB = 2**20
SIZE = 5 * MIB


@pytest.fixture
def fileno(tmp_path: Path) -> Iterator[int]:
    """A file that was just written, and is in memory."""
    path = tmp_path / "file"
    path.write_bytes(bytes(SIZE))
    fileno = os.open(path, os.O_RDONLY)
    yield fileno
    os.close(fileno)


class Kernel:
    """Answers in the kernel's place.

    Attributes:
        there: bytes of the file that are in memory, from its beginning.
        error: what to raise instead.
        asked: the positions that it was asked for.
    """

    def __init__(self, there: int) -> None:
        self.there = there
        self.error: OSError | None = None
        self.asked: list[int] = []

    def preadv(self, _fd: int, _buffers: Any, position: int, flags: int) -> int:
        assert flags == os.RWF_NOWAIT
        self.asked.append(position)
        if self.error is not None:
            raise self.error
        if position >= SIZE:
            return 0
        if position >= self.there:
            raise BlockingIOError(errno.EAGAIN, "not in memory")
        return 1


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """A kernel that has all of the file in memory."""
    kernel = Kernel(SIZE)
    monkeypatch.setattr(os, "preadv", kernel.preadv)
    return kernel


def test_all_of_a_file_that_is_in_memory(kernel: Kernel) -> None:
    """It is asked once for each MiB, and once for the rest."""
    cache = PageCache(9)
    for offset in range(0, SIZE, 2**18):
        assert cache.available(offset, 2**18) == 2**18
    assert kernel.asked == [MIB - 1, 2 * MIB - 1, 3 * MIB - 1, 4 * MIB - 1, 5 * MIB - 1]
    assert cache.available(SIZE - 10, 10) == 10


def test_what_is_not_in_memory(kernel: Kernel) -> None:
    """None of it is to be had until it was read; then as much as was read."""
    kernel.there = 1000
    cache = PageCache(9)
    assert cache.available(0, 1000) == 1000
    assert cache.available(0, 1001) == 0
    cache.note_loaded(5000, 1)
    assert cache.available(0, 2000) == 2000
    assert cache.available(0, 9000) == 5000
    assert cache.available(4999, 9000) == 1
    assert cache.available(5000, 9000) == 0


def test_beyond_the_end(kernel: Kernel) -> None:
    """Nothing is there, and nothing is taken for there."""
    assert PageCache(9).available(SIZE, 10) == 0


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EIO])
def test_a_file_system_that_cannot_be_asked(kernel: Kernel, number: int) -> None:
    """It is asked once; only what was read counts."""
    kernel.error = OSError(number, os.strerror(number))
    cache = PageCache(9)
    assert cache.available(0, 10) == 0
    cache.note_loaded(10, 1)
    assert cache.available(0, 10) == 10
    assert cache.available(0, 20) == 10
    assert cache.available(10, 20) == 0
    assert len(kernel.asked) == 1


def test_a_system_that_has_no_such_question(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for a file system that cannot be asked."""
    monkeypatch.setattr(files, "_NO_WAIT", 0)
    assert PageCache(9).available(0, 10) == 0
    assert kernel.asked == []


def test_how_much_to_read_ahead() -> None:
    """More where that is quick, less where it is slow, between a MiB and 16."""
    cache = PageCache(9)
    amounts: list[int] = []
    for seconds in (1e-4, 1e-4, 0.02, 1e-4, 1e-4, 1e-4, 1, 1, 1, 1, 1, 1e-4):
        amounts.append(cache.ahead // MIB)
        cache.note_loaded(0, seconds)
    assert amounts == [1, 2, 4, 4, 8, 16, 16, 8, 4, 2, 1, 1]
    assert cache.ahead == 2 * MIB


def test_the_real_kernel(fileno: int) -> None:
    """It has what was just read, if it can be asked at all."""
    descriptor = Descriptor(os.dup(fileno))
    descriptor.load(SIZE + 1000, 0)
    cache = PageCache(fileno)
    try:
        os.preadv(fileno, [bytearray(1)], 0, os.RWF_NOWAIT)
    except OSError:  # the tests lie on a file system that cannot
        assert cache.available(4 * MIB, MIB) == 0
    else:
        assert cache.available(4 * MIB, MIB) == MIB
    descriptor.close()
    descriptor.load(10, 0)  # a thread that comes too late


def test_nothing_is_copied_where_the_kernel_can_do_without(
    fileno: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It sends the file to nowhere, in as many calls as that takes, and to its end at the most."""
    descriptor = Descriptor(os.dup(fileno))
    asked: list[tuple[int, int]] = []
    real = os.sendfile

    def send(to: int, file: int, offset: int, count: int) -> int:
        asked.append((offset, count))
        return real(to, file, offset, min(count, 2 * MIB))

    monkeypatch.setattr(os, "sendfile", send)
    monkeypatch.setattr(os, "preadv", None)
    descriptor.load(3 * MIB, 1000)
    assert asked == [(1000, 3 * MIB), (1000 + 2 * MIB, MIB)]
    monkeypatch.undo()
    descriptor.load(3 * MIB, SIZE - 1000)
    descriptor.close()


def test_a_file_that_the_kernel_does_not_send_is_read(
    fileno: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From where it stopped."""
    descriptor = Descriptor(os.dup(fileno))
    answers = [100, OSError(errno.EINVAL, "not this file")]
    read: list[tuple[int, int]] = []

    def send(_to: int, _file: int, _offset: int, _count: int) -> int:
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    def note(_fd: int, buffers: Any, position: int, _flags: int = 0) -> int:
        read.append((position, sum(map(len, buffers))))
        return read[-1][1]

    monkeypatch.setattr(os, "sendfile", send)
    monkeypatch.setattr(os, "preadv", note)
    descriptor.load(MIB, 5)
    descriptor.close()
    assert read == [(105, MIB)]


def test_a_failed_read_ahead_is_told(fileno: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In short answers it goes on; an error is raised, and the descriptor can be closed."""
    descriptor = Descriptor(os.dup(fileno))

    def refuse(*_: int) -> int:
        raise OSError(errno.EINVAL, "not this file")

    monkeypatch.setattr(os, "sendfile", refuse)
    answers = [10, 20, OSError(errno.EIO, "broken")]
    positions: list[int] = []

    def read(_fd: int, _buffers: Any, position: int, _flags: int) -> int:
        positions.append(position)
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    monkeypatch.setattr(os, "preadv", read)
    with pytest.raises(OSError, match="broken"):
        descriptor.load(1000, 5)
    assert positions == [5, 15, 35]
    descriptor.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor.fileno)
