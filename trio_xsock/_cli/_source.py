"""A file to be sent: its type decides how it is read, and how its size is determined.

Everything here but ``Source.collect`` blocks and is meant to be called in a worker thread,
one call at a time; nothing here uses the network. Reading hashes in the same call, so that the
event loop never does.

The header of a transfer states the size. A regular file and a disk have one. A pipe has none,
and files that the kernel generates while they are read (in /proc and /sys) report a wrong one.
Those are read to their end first, into a temporary file.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import sys
import tempfile
from collections.abc import Generator
from typing import IO, Final, Self

import trio

from trio_xsock._platform import files as platform
from trio_xsock._platform.system import waits_for_pipes

from ._errors import CommandError, UsageError
from ._text import quote
from ._threads import in_thread

STDIN = "-"
"""The path that means standard input."""
PIECE = 2**20
"""Bytes that are read and hashed in one go."""

# Opening a named pipe must not wait for a writer.
_FLAGS: Final[int] = os.O_RDONLY | platform.BINARY | platform.CLOSE_ON_EXEC | platform.NON_BLOCKING


class FileShrankError(CommandError):
    """The file that is being sent lost bytes that were already announced."""


class Source:
    """A file open for reading.

    Attributes:
        path: where it is.
        size: bytes to be sent: those that it had when it was opened, or that ``collect`` read.
        bytes_read: how many of them ``read_piece`` returned.
    """

    def __init__(self, path: str) -> None:
        """Open ``path``.

        Args:
            path: where it is; ``-`` for standard input.

        Raises:
            UsageError: it is not there, not readable, or neither a file nor a pipe nor a disk.
        """
        self.path = path
        self._fd = _open_stdin() if path == STDIN else _open(path)
        self._start = 0
        try:
            with self._reading():
                self._is_pipe, size = _look_at(self._fd, path)
                if path == STDIN and size:  # another program may have read some of it before
                    self._start = os.lseek(self._fd, 0, os.SEEK_CUR)
                    size = max(0, size - self._start)
        except BaseException:
            self.close()
            raise
        self._copy: IO[bytes] | None = None
        self._complete = size is not None
        self.size = size or 0
        self.bytes_read = 0
        self._hash = hashlib.sha256()

    async def collect(self) -> None:
        """Read a file without a size to its end; ``size`` is correct afterwards.

        Raises:
            CommandError: it cannot be read, or there is no room for the temporary file.

        Cancellation: at once; what was read from a pipe is lost.
        """
        await trio.lowlevel.checkpoint()
        while not self._complete:
            if self._is_pipe and waits_for_pipes():
                try:
                    await trio.lowlevel.wait_readable(self._fd)
                except PermissionError:  # epoll does not support it, as with /dev/null
                    self._is_pipe = False
            await in_thread("the sender", self._collect_piece)

    def _collect_piece(self) -> None:
        with self._reading():
            try:
                piece = os.read(self._fd, PIECE)
            except BlockingIOError:  # another program read what the pipe had
                return
        with self._keeping():
            if self._copy is None:
                self._copy = tempfile.SpooledTemporaryFile(max_size=PIECE)  # noqa: SIM115 - see close()
            if piece:
                self._copy.write(piece)
                self.size += len(piece)
            else:
                self._copy.seek(0)
                self._complete = True

    def read_piece(self, most: int = PIECE) -> bytes:
        """The next piece, hashed; ``b""`` when all of the announced size was read.

        Args:
            most: the most bytes to return.

        Raises:
            FileShrankError: the file ends before the announced size.
            CommandError: the disk cannot be read.
        """
        wanted = min(PIECE, most, self.size - self.bytes_read)
        if wanted == 0:
            return b""
        with self._reading():
            copy = self._copy
            piece = os.read(self._fd, wanted) if copy is None else copy.read(wanted)
        if not piece:
            raise FileShrankError(
                f"{quote(self.path)} shrank while it was sent: it had {self.size} bytes at the "
                f"start and ends after {self.bytes_read} now"
            )
        self._hash.update(piece)
        self.bytes_read += len(piece)
        return piece

    @property
    def is_stream(self) -> bool:
        """It is a pipe, or standard input, which can be opened and read only once."""
        return self._is_pipe or self.path == STDIN

    def rewind(self) -> None:
        """Begin again: the next piece is the first.

        Raises:
            CommandError: the disk cannot be read.
        """
        with self._reading():
            if self._copy is None:
                os.lseek(self._fd, self._start, os.SEEK_SET)
            else:
                self._copy.seek(0)
        self._hash, self.bytes_read = hashlib.sha256(), 0

    def digest(self) -> bytes:
        """SHA-256 of what was read so far."""
        return self._hash.digest()

    def growth(self) -> int:
        """How many bytes the file has now beyond the size that was announced."""
        status = os.fstat(self._fd)
        if self._copy is not None or not stat.S_ISREG(status.st_mode):
            return 0
        return max(0, status.st_size - self._start - self.size)

    def close(self) -> None:
        """Close the file; legal more than once."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            copy: IO[bytes] | None = getattr(self, "_copy", None)
            if copy is not None:
                with contextlib.suppress(OSError):  # the temporary file is dropped anyway
                    copy.close()

    @contextlib.contextmanager
    def _reading(self) -> Generator[None]:
        try:
            yield
        except BlockingIOError:
            raise
        except OSError as exc:
            raise CommandError(f"reading {quote(self.path)} failed: {exc.strerror}") from exc

    @contextlib.contextmanager
    def _keeping(self) -> Generator[None]:
        try:
            yield
        except OSError as exc:
            raise CommandError(
                f"{quote(self.path)} has no size of its own and is copied to a temporary file "
                f"before it is sent, which failed: {exc.strerror} (TMPDIR says where it lies)"
            ) from exc

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def _open(path: str) -> int:
    try:
        return os.open(path, _FLAGS)
    except (OSError, ValueError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "not a valid path"
        raise UsageError(f"cannot read {quote(path)}: {reason}") from exc


def _open_stdin() -> int:
    if sys.stdin is None:  # closed before the program began: 0 may be another file by now
        raise UsageError("cannot read standard input: it is closed")
    try:
        return os.dup(0)
    except OSError as exc:
        raise UsageError(f"cannot read standard input: {exc.strerror}") from exc


def _is_stream(mode: int) -> bool:
    """Whether standard input is a terminal or a socket, which may be sent if it was named."""
    return stat.S_ISCHR(mode) or stat.S_ISSOCK(mode)


def _look_at(fd: int, path: str) -> tuple[bool, int | None]:
    """Whether it is a pipe, and its size; ``None`` if only reading to the end can tell.

    Raises:
        UsageError: it cannot be sent.
        OSError: of the system calls.
    """
    status = os.fstat(fd)
    if stat.S_ISFIFO(status.st_mode) or (path == STDIN and _is_stream(status.st_mode)):
        return True, None
    if stat.S_ISBLK(status.st_mode):
        size = os.lseek(fd, 0, os.SEEK_END)
        os.lseek(fd, 0, os.SEEK_SET)
        return False, size
    if not stat.S_ISREG(status.st_mode):
        raise UsageError(f"cannot send {quote(path)}: it is not a regular file")
    size = status.st_size
    if not size:
        return False, None
    # A file that occupies no block is one hole, or generated by the kernel as it is read.
    made_up = platform.blocks(status) == 0 and not platform.pread(fd, 1, size - 1)
    return False, None if made_up else size
