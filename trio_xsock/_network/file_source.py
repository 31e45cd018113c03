"""Files as sources of bytes to send: opened, measured and read without blocking the event loop.

There are three kinds. A file on a disk is read at a position, and may be sent by the kernel. A pipe
that was opened here is waited for like a socket. Any other file that the user has opened is read in
threads. Some files that the kernel generates while they are read report a wrong size: 0 in
/proc, a memory page in /sys. They are read to their end.
"""

from __future__ import annotations

import abc
import errno as errnos
import functools
import inspect
import io
import os
import stat
from collections.abc import Callable
from typing import Any, BinaryIO, TypeAlias

import trio

from trio_xsock._platform import system as platform

from .descriptor import Descriptor, Measure, may_state_another_size
from .options import check_count
from .threads import run_in_thread

FileArgument: TypeAlias = str | os.PathLike[str] | BinaryIO
"""The argument of ``send_file``: a path, or a file opened for binary reading."""

PIECE = 2**18
"""Bytes read from a file at a time if the kernel does not send it itself."""

_FARTHEST = 2**63 - 1
"""No position in a file is beyond; see off_t in lseek(2)."""


class FileSource(abc.ABC):
    """A range of a file.

    Attributes:
        size: bytes of it to be sent; ``None`` if that is not known in advance.
        position: the offset of the next byte in the file.
        fileno: the descriptor of a file that the kernel may send itself, else -1.
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
            OSError: reading failed.
            OutOfMemoryError: the system starts no thread.

        Cancellation: at once; what is read from the user's own pipe at that moment is lost.
        """

    async def load(self, count: int) -> None:
        """Have the kernel read the next bytes, at most ``count``, into its page cache.

        Only with a ``fileno``: the kernel then sends them without waiting for the disk.

        Raises:
            OSError: what reading said.
            OutOfMemoryError: no thread is left to read in.

        Cancellation: at once.
        """
        raise NotImplementedError(f"{type(self).__name__} has no fileno")  # pragma: no cover

    @abc.abstractmethod
    def close(self) -> None:
        """Close what was opened here."""


async def open_source(file: FileArgument, offset: int, count: int | None) -> FileSource:
    """Open and measure a file for which ``source_of`` returned ``None``.

    Args:
        file: the path of a file, a named pipe or a device; or an open file, which stays open.
        offset: where to begin, in bytes from the beginning.
        count: how many bytes; ``None`` for all that is there now, or will come.

    Raises:
        ValueError: an offset into a file that cannot be positioned.
        OSError: opening failed (no such file, a directory, no permission).
        OutOfMemoryError: the system starts no thread.

    Cancellation: at once; nothing that was opened here stays open.
    """
    descriptor = Descriptor()
    try:
        if isinstance(file, str | os.PathLike):
            begin: Callable[[], Measure] = functools.partial(descriptor.open, file)
        else:
            descriptor.fileno = os.dup(file.fileno())
            begin = descriptor.measure
        measure = await run_in_thread(f"open {file!r}", begin, abandon_on_cancel=True)
        if measure.is_folder:
            name = os.fspath(file) if isinstance(file, str | os.PathLike) else repr(file)
            raise IsADirectoryError(errnos.EISDIR, os.strerror(errnos.EISDIR), name)
        if descriptor.seekable:
            return _on_disk(descriptor, measure.size, offset, count)
        _check_no_offset(offset, file)
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
        ``None`` for a path, and for a file whose size must be determined first; see
        ``open_source``.

    Raises:
        TypeError: not a path, not a binary file, or not numbers.
        ValueError: negative or huge numbers, an offset into a file that cannot be positioned, a
            file that is closed or not open for reading.
        OSError: no descriptor is left.
    """
    check_count("offset", offset)
    if offset + (0 if count is None else check_count("count", count)) > _FARTHEST:
        raise ValueError(f"offset={offset}, count={count}: no file is that large")
    if isinstance(file, str | os.PathLike):
        return None
    check_binary(file, "read", "readable", "reading")
    if type(file) is io.BytesIO:
        return _InMemory(file, offset, count)
    if _is_plain(file):
        file.flush()
        status = os.fstat(file.fileno())
        if stat.S_ISREG(status.st_mode):
            if may_state_another_size(status):
                return None
            return _on_disk(Descriptor(os.dup(file.fileno())), status.st_size, offset, count)
    seekable = getattr(file, "seekable", None)
    if seekable is not None and seekable():
        return _Opened(file, offset, count)
    _check_no_offset(offset, file)
    return _Opened(file, None, count)


def check_binary(file: object, method: str, able: str, purpose: str) -> None:
    """Raise unless ``file`` is a binary file that is open for this purpose.

    Args:
        file: what was given.
        method: the method that reads or writes.
        able: the method that says whether it may be called.
        purpose: what the file is for, in the message.

    Raises:
        TypeError: a text file, an async one, or no file.
        ValueError: closed, or opened for another purpose.
    """
    move = getattr(file, method, None)
    if inspect.iscoroutinefunction(move):
        text = f"file must not be an async one; pass what it wraps (file.wrapped), not {file!r}"
        raise TypeError(text)
    if isinstance(file, io.TextIOBase) or not callable(move):
        raise TypeError(f"file must be a path or a file opened for binary {purpose}, not {file!r}")
    is_able = getattr(file, able, None)
    if is_able is not None and not is_able():
        raise ValueError(f"file must be open for {purpose}, unlike {file!r}")


def _check_no_offset(offset: int, file: object) -> None:
    if offset:
        raise ValueError(f"offset={offset}, but {file!r} cannot be positioned")


def _is_plain(file: Any) -> bool:
    """Whether reading gives what the descriptor gives; a decompressing file has one, too."""
    raw = file.raw if type(file) in (io.BufferedReader, io.BufferedRandom) else file
    return type(raw) is io.FileIO


def _on_disk(
    descriptor: Descriptor, size: int | None, offset: int, count: int | None
) -> FileSource:
    if size is None:
        return _OnDisk(descriptor, offset, count)
    wanted = max(size - offset, 0) if count is None else count
    return _OnDisk(descriptor, offset, wanted, fileno=descriptor.fileno)


class _OnDisk(FileSource):
    """A file that can be read at any position."""

    __slots__ = ("_descriptor",)

    def __init__(
        self, descriptor: Descriptor, position: int, size: int | None, fileno: int = -1
    ) -> None:
        super().__init__(position, size, fileno)
        self.position: int = position
        self._descriptor = descriptor

    async def read(self, count: int) -> bytes:
        data = await run_in_thread(
            "read the file", self._descriptor.read_at, count, self.position, abandon_on_cancel=True
        )
        self.position += len(data)
        return data

    async def load(self, count: int) -> None:
        await run_in_thread(
            "read the file", self._descriptor.load, count, self.position, abandon_on_cancel=True
        )

    def close(self) -> None:
        self._descriptor.close()


class _Pipe(FileSource):
    """A named pipe, or a terminal: it is waited for as for a socket, where that can be done."""

    __slots__ = ("_descriptor",)

    def __init__(self, descriptor: Descriptor, size: int | None) -> None:
        super().__init__(0, size)
        self._descriptor = descriptor

    async def read(self, count: int) -> bytes:
        if not platform.waits_for_pipes():
            read = self._descriptor.read
            return await run_in_thread("read the file", read, count, abandon_on_cancel=True)
        fileno = self._descriptor.fileno
        while True:
            await trio.lowlevel.wait_readable(fileno)
            try:
                return os.read(fileno, count)
            except BlockingIOError:  # another program has read it
                continue

    def close(self) -> None:
        self._descriptor.close()


class _InMemory(FileSource):
    """A ``BytesIO``."""

    __slots__ = ("_file",)

    def __init__(self, file: io.BytesIO, position: int, count: int | None) -> None:
        with file.getbuffer() as view:
            size = max(len(view) - position, 0)
        super().__init__(position, size if count is None else count)
        self._file = file

    async def read(self, count: int) -> bytes:
        await trio.lowlevel.checkpoint()
        with self._file.getbuffer() as view:
            data = bytes(view[self.position : self.position + count])
        self.position += len(data)
        return data

    def close(self) -> None:
        """It stays open."""


class _Opened(FileSource):
    """Any other file with a ``read`` method."""

    __slots__ = ("_file", "_seek_to", "_seekable")

    def __init__(self, file: Any, position: int | None, size: int | None) -> None:
        super().__init__(position or 0, size)
        self._file = file
        self._seekable = position is not None
        self._seek_to = position

    async def read(self, count: int) -> bytes:
        # A file that cannot be positioned may be a pipe, whose next byte may never arrive.
        return await run_in_thread(
            "read the file", self._read, count, abandon_on_cancel=not self._seekable
        )

    def _read(self, count: int) -> bytes:
        if self._seek_to is not None:  # a decompressing file reads all that comes before
            self._file.seek(self._seek_to)
            self._seek_to = None
        read = getattr(self._file, "read1", self._file.read)  # does not wait for a full buffer
        data = read(count)
        if data is None:
            raise BlockingIOError(errnos.EAGAIN, f"nothing can be read now from {self._file!r}")
        return bytes(memoryview(data))  # text is refused

    def close(self) -> None:
        """It stays open."""
