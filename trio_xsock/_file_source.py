"""Files as sources of bytes to send: opened, measured and read so that the loop never waits.

Three kinds. A file on a disk is read at a position, and may be sent by the kernel. A pipe that
we opened is waited for like a socket. Whatever else the user has opened is read in threads.
"""

from __future__ import annotations

import abc
import errno as errnos
import inspect
import io
import os
import stat
import threading
from typing import Any, BinaryIO, Final, TypeAlias

import trio

from ._options import check_count

FileArgument: TypeAlias = str | os.PathLike[str] | BinaryIO
"""What ``send_file`` takes: a path, or a file opened for binary reading."""

PIECE = 2**18
"""Bytes read from a file at a time where the kernel does not send it by itself."""

_FARTHEST = 2**63 - 1
"""No position in a file is beyond; see off_t in lseek(2)."""

# Opening a pipe would wait for its other end.
_FLAGS: Final[int] = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


class FileSource(abc.ABC):
    """A range of a file.

    Attributes:
        size: bytes of it to be sent; ``None`` where that is not known beforehand.
        position: where the next byte is, from the beginning of the file.
        fileno: the descriptor of a file that the kernel may send by itself, else -1.
    """

    __slots__ = ("fileno", "position", "size")

    def __init__(self, position: int, size: int | None, fileno: int = -1) -> None:
        self.position = position
        self.size = size
        self.fileno = fileno

    @abc.abstractmethod
    async def read(self, count: int) -> bytes:
        """The next bytes, at most ``count``; ``b""`` at the end.

        Raises:
            OSError: what reading said.

        Cancellation: at once; what the user's own pipe gave in that moment is lost.
        """

    @abc.abstractmethod
    def close(self) -> None:
        """Give back what is ours."""


async def open_source(path: str | os.PathLike[str], offset: int, count: int | None) -> FileSource:
    """Open and measure what is at a path.

    Args:
        path: of a file, a named pipe or a device.
        offset: where to begin, in bytes from the beginning.
        count: how many bytes; ``None`` for all that is there now, or will come.

    Raises:
        ValueError: an offset into what cannot be positioned.
        OSError: what opening said (no such file, a directory, no permission).

    Cancellation: at once; nothing stays open.
    """
    descriptor = _Descriptor()
    try:
        status = await trio.to_thread.run_sync(descriptor.open, path, abandon_on_cancel=True)
        if stat.S_ISREG(status.st_mode):
            return _on_disk(descriptor, status, offset, count)
        if descriptor.seekable():
            return _OnDisk(descriptor, offset, count)
        _check_positionable(path, offset)
        return _Pipe(descriptor, count)
    except BaseException:
        descriptor.close()
        raise


def source_of(file: FileArgument, offset: int, count: int | None) -> FileSource | None:
    """The source for an open file; never waits.

    Args:
        file: a file opened for binary reading, which stays open; or a path.
        offset: where to begin, in bytes from the beginning.
        count: how many bytes; ``None`` for all that is there now, or will come.

    Returns:
        ``None`` for a path.

    Raises:
        TypeError: not a path, not a binary file, or numbers that are none.
        ValueError: negative or huge numbers, an offset into what cannot be positioned, a file
            that is closed or not open for reading.
        OSError: no descriptor is left.
    """
    if check_count("offset", offset) + check_count("count", count or 0) > _FARTHEST:
        raise ValueError(f"offset={offset}, count={count}: no file is that large")
    if isinstance(file, str | os.PathLike):
        return None
    _check_binary(file)
    if isinstance(file, io.BytesIO):
        return _InMemory(file, offset, count)
    if _is_plain(file):
        file.flush()
        descriptor = _Descriptor(file.fileno())
        status = os.fstat(file.fileno())
        if stat.S_ISREG(status.st_mode):
            return _on_disk(descriptor, status, offset, count)
        descriptor.close()
    seekable = bool(file.seekable()) if hasattr(file, "seekable") else False
    if not seekable:
        _check_positionable(file, offset)
    return _Opened(file, offset if seekable else None, count)


def _check_binary(file: Any) -> None:
    read = getattr(file, "read", None)
    if inspect.iscoroutinefunction(read):
        raise TypeError(f"file must not be an async file; pass its .wrapped: {file!r}")
    if isinstance(file, io.TextIOBase) or not callable(read):
        raise TypeError(f"file must be a path or a file opened for binary reading, not {file!r}")
    if hasattr(file, "readable") and not file.readable():
        raise ValueError(f"file must be open for reading: {file!r}")


def _check_positionable(file: object, offset: int) -> None:
    if offset:
        raise ValueError(f"offset={offset}, but {file!r} cannot be positioned")


def _is_plain(file: Any) -> bool:
    """Whether what the descriptor gives is what reading gives; a decompressor has one, too."""
    raw = file.raw if type(file) in (io.BufferedReader, io.BufferedRandom) else file
    return type(raw) is io.FileIO


def _on_disk(
    descriptor: _Descriptor, status: os.stat_result, offset: int, count: int | None
) -> FileSource:
    size = status.st_size
    if not size:  # empty, or the kernel makes it up while it is read (/proc)
        return _OnDisk(descriptor, offset, count)
    return _OnDisk(descriptor, offset, max(size - offset, 0) if count is None else count, size)


class _Descriptor:
    """A descriptor of ours, used in threads that may be given up; the last user closes it.

    Args:
        other: one to be duplicated: it stays ours if its owner closes it.
    """

    __slots__ = ("_busy", "_closed", "_fileno", "_lock")

    def __init__(self, other: int = -1) -> None:
        self._fileno = os.dup(other) if other >= 0 else -1
        self._lock = threading.Lock()
        self._busy = False
        self._closed = False

    @property
    def fileno(self) -> int:
        return self._fileno

    def seekable(self) -> bool:
        try:
            os.lseek(self._fileno, 0, os.SEEK_CUR)
        except OSError:
            return False
        return True

    def open(self, path: str | os.PathLike[str]) -> os.stat_result:
        """Open it; for a thread."""
        fileno = os.open(path, _FLAGS)
        with self._lock:
            self._fileno = fileno
            if self._closed:
                os.close(fileno)
        status = os.fstat(fileno) if not self._closed else os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errnos.EISDIR, os.strerror(errnos.EISDIR), os.fspath(path))
        return status

    def read(self, count: int, position: int | None) -> bytes:
        """Read, at a position or wherever it is; for a thread."""
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError
