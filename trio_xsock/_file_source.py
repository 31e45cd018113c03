"""Files as sources of bytes to send: opened, measured and read in threads, never in the loop."""

from __future__ import annotations

import io
import os
import stat
from typing import Any, BinaryIO, TypeAlias, cast

import trio

from ._options import check_count

FileArgument: TypeAlias = str | os.PathLike[str] | BinaryIO
"""What ``send_file`` takes: a path, or a file opened for binary reading."""

PIECE = 2**18
"""Bytes read from a file at a time where the kernel does not send it by itself."""


class FileSource:
    """A range of a file.

    Attributes:
        position: where the next byte is, from the beginning of the file.
        regular: it is a file on a disk, with a size, that can be read at any position.
        size: bytes of it to be sent; ``None`` where that is not known beforehand.
    """

    __slots__ = ("_file", "_owned", "position", "regular", "size")

    def __init__(self, file: Any, offset: int, size: int | None, regular: bool, owned: bool):
        self._file = file
        self._owned = owned
        self.position = offset
        self.size = size
        self.regular = regular

    @property
    def fileno(self) -> int:
        """The descriptor of a regular file."""
        return int(self._file.fileno())

    async def read(self, count: int) -> bytes:
        """The next bytes, at most ``count``; ``b""`` at the end.

        Raises:
            OSError: what reading said.

        Cancellation: at once; what a pipe gave in that moment is lost.
        """
        return await trio.to_thread.run_sync(self._read, count, abandon_on_cancel=True)

    def _read(self, count: int) -> bytes:
        if self.regular:
            data = os.pread(self.fileno, count, self.position)
        else:
            data = bytes(self._file.read(count) or b"")
        self.position += len(data)
        return data

    def close(self) -> None:
        """Close what we opened."""
        if self._owned:
            self._file.close()


async def open_source(file: FileArgument, offset: int, count: int | None) -> FileSource:
    """Open and measure.

    Args:
        file: a path, or a file opened for binary reading, which stays open afterwards.
        offset: where to begin, in bytes from the beginning.
        count: how many bytes; ``None`` for all that is there now.

    Raises:
        TypeError: not a path, not a binary file, or numbers that are none.
        ValueError: negative numbers, or an offset into what cannot be positioned.
        OSError: what opening said (no such file, a directory, no permission).

    Cancellation: at once; nothing stays open.
    """
    check_count("offset", offset)
    if count is not None:
        check_count("count", count)
    if isinstance(file, str | os.PathLike):
        path: str | os.PathLike[str] = file
        # In a thread that is given up on cancellation: opening a FIFO waits for its writer.
        opened = await trio.to_thread.run_sync(_open, path, abandon_on_cancel=True)
        return _measure_owned(opened, offset, count)
    if isinstance(file, io.TextIOBase) or not callable(getattr(file, "read", None)):
        raise TypeError(f"file must be a path or a file opened for binary reading, not {file!r}")
    await trio.lowlevel.checkpoint()
    return _measure(file, offset, count, owned=False)


def _open(path: str | os.PathLike[str]) -> BinaryIO:
    return cast("BinaryIO", open(path, "rb", buffering=0))  # noqa: SIM115


def _measure_owned(file: BinaryIO, offset: int, count: int | None) -> FileSource:
    try:
        return _measure(file, offset, count, owned=True)
    except BaseException:
        file.close()
        raise


def _measure(file: BinaryIO, offset: int, count: int | None, *, owned: bool) -> FileSource:
    size = _size_of_regular(file)
    if size is not None:
        wanted = max(size - offset, 0) if count is None else count
        return FileSource(file, offset, wanted, True, owned)
    if offset or _seekable(file):
        try:
            file.seek(offset)
        except OSError as exc:  # io.UnsupportedOperation is one, and a ValueError too
            raise ValueError(f"offset={offset}, but {file!r} cannot be positioned") from exc
    return FileSource(file, offset, count, False, owned)


def _seekable(file: BinaryIO) -> bool:
    seekable = getattr(file, "seekable", None)
    return bool(seekable and seekable())


def _size_of_regular(file: BinaryIO) -> int | None:
    """The size of a file on a disk that is open as itself; other things are only read."""
    if not isinstance(file, io.FileIO | io.BufferedReader | io.BufferedRandom):
        return None
    status = os.fstat(file.fileno())
    return status.st_size if stat.S_ISREG(status.st_mode) else None
