"""The descriptor of a file, with calls that wait for the disk and run in threads.

Such a thread may be abandoned while it waits. The descriptor is closed by its last user, so that
no thread ever reads from a number that belongs to another file by then.
"""

from __future__ import annotations

import contextlib
import os
import stat
import threading
from collections.abc import Generator
from typing import Final, NamedTuple

from trio_xsock._platform import files as platform
from trio_xsock._platform.sockets import sendfile

# Opening a pipe would wait for its other end.
_FLAGS: Final[int] = os.O_RDONLY | platform.NON_BLOCKING | platform.BINARY

_SCRATCH: Final = 65536
"""Bytes of a buffer whose content is not used; small enough to stay in the processor's cache."""


def may_state_another_size(status: os.stat_result) -> bool:
    """Whether a regular file occupies no block: the kernel generates it, or it is one hole."""
    return not status.st_size or platform.blocks(status) == 0


class Measure(NamedTuple):
    """The kind and size of an open file."""

    is_folder: bool
    size: int | None
    """Bytes of a regular file; ``None`` if only reading to the end can tell."""


class Descriptor:
    """A descriptor that is read in threads that may be abandoned; its last user closes it.

    Attributes:
        fileno: its number, -1 before it is open.
    """

    __slots__ = ("_closed", "_in_use", "_lock", "fileno")

    def __init__(self, fileno: int = -1) -> None:
        self.fileno = fileno
        self._lock = threading.Lock()
        self._in_use = False
        self._closed = False

    def open(self, path: str | os.PathLike[str]) -> Measure:
        """Open a file, in a thread; returns its kind and size."""
        fileno = os.open(path, _FLAGS)
        try:
            return _measured(fileno)
        finally:
            with self._lock:
                self.fileno = fileno
                self._close_if_unused()

    def measure(self) -> Measure:
        """The kind and size of the open file, in a thread."""
        with self._in_thread() as is_open:
            return _measured(self.fileno) if is_open else Measure(False, None)

    @property
    def seekable(self) -> bool:
        """It can be read at any position."""
        try:
            if stat.S_ISFIFO(os.fstat(self.fileno).st_mode):  # Windows would let it pass
                return False
            os.lseek(self.fileno, 0, os.SEEK_CUR)
        except OSError:
            return False
        return True

    def read_at(self, count: int, position: int) -> bytes:
        """Read, in a thread."""
        with self._in_thread() as is_open:
            return platform.pread(self.fileno, count, position) if is_open else b""

    def read(self, count: int) -> bytes:
        """Read what comes next, in a thread."""
        with self._in_thread() as is_open:
            return os.read(self.fileno, count) if is_open else b""

    def load(self, count: int, position: int) -> None:
        """Have the OS read a part of the file into its memory, in a thread; Linux only."""
        with self._in_thread() as is_open:
            if not is_open:
                return
            end = position + count
            position += _send_to_nowhere(self.fileno, position, count)
            scratch = bytearray(_SCRATCH)
            while position < end:
                pieces = [scratch] * -(-(end - position) // _SCRATCH)
                got = platform.preadv(self.fileno, pieces, position)
                if not got:  # the file has ended
                    return
                position += got
            # the OS reads ahead while this part is sent
            platform.read_ahead(self.fileno, end, count)

    @contextlib.contextmanager
    def _in_thread(self) -> Generator[bool]:
        """Keep the descriptor open during a call; yields whether it is open."""
        with self._lock:
            self._in_use = is_open = not self._closed
        if not is_open:
            yield False
            return
        try:
            yield True
        finally:
            with self._lock:
                self._in_use = False
                self._close_if_unused()

    def close(self) -> None:
        """Close it when the last thread is done; call it once."""
        with self._lock:
            self._closed = True
            self._close_if_unused()

    def _close_if_unused(self) -> None:
        if self._closed and not self._in_use and self.fileno >= 0:
            os.close(self.fileno)


def _measured(fileno: int) -> Measure:
    status = os.fstat(fileno)
    is_folder = stat.S_ISDIR(status.st_mode)
    size = status.st_size
    if not stat.S_ISREG(status.st_mode) or not size:
        return Measure(is_folder, None)
    if may_state_another_size(status) and not platform.pread(fileno, 1, size - 1):
        return Measure(is_folder, None)  # its last byte is not there
    return Measure(is_folder, size)


def _send_to_nowhere(fileno: int, position: int, count: int) -> int:
    """Have the OS send a part of a file to the null device, so that it is read, and not copied.

    Returns:
        How many bytes went; fewer than ``count`` at the end of the file, or where the OS does not
        send this file.
    """
    sent = 0
    with contextlib.suppress(OSError), open(os.devnull, "wb", 0) as nowhere:
        while sent < count:
            piece = sendfile(nowhere.fileno(), fileno, position + sent, count - sent)
            if not piece:
                break
            sent += piece
    return sent
