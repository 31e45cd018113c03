"""Standard input as bytes: waited for, never in the way, and with nothing of it lost.

What cannot be read counts as an input that has ended: a descriptor that is closed or write-only,
as ``nohup`` gives it to a program that was started at a terminal, or a terminal that
belongs to somebody else. A command that also receives goes on with that.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
from typing import TextIO

import trio

from ._report import Report

PIECE = 65536


if sys.platform != "win32":
    import fcntl


class _Job:
    """One read in a thread, whose outcome is there for whoever asks for it."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._done = threading.Event()
        self._data = b""
        self._error: OSError | None = None

    def run(self) -> None:
        try:
            self._data = os.read(self._fd, PIECE)
        except OSError as exc:
            self._error = exc
        finally:
            self._done.set()

    def wait(self) -> None:
        self._done.wait()

    def outcome(self) -> bytes:
        if self._error is not None:
            raise self._error
        return self._data


class Input:
    """Bytes from standard input, which is at its end at once if there is none (``<&-``).

    A terminal or a pipe is waited for, so that a cancelled read takes nothing. What cannot
    be waited for, a plain file, is read in a thread; what a read that was cancelled brings is
    given to the next one.

    Args:
        report: is told if it cannot be read.
        crlf: each LF that does not follow a CR is read as CR LF.

    Attributes:
        ended: it has come to its end, or cannot be read.
    """

    def __init__(self, report: Report, *, crlf: bool = False) -> None:
        stdin: TextIO | None = sys.stdin
        self._report = report
        self._fd = -1 if stdin is None else 0
        self._waits = sys.platform != "win32"  # where sockets alone can be waited for
        self._kept = b""
        self._crlf = crlf
        self._after_cr = False
        self._job: _Job | None = None
        self.ended = stdin is None

    @property
    def is_terminal(self) -> bool:
        """A person types."""
        return self._fd >= 0 and os.isatty(self._fd)

    def put_back(self, data: bytes) -> None:
        """Let ``data``, of which nothing has reached anybody, be what is read next."""
        self._kept = data + self._kept

    async def read(self) -> bytes:
        """The next piece; ``b""`` at the end, and ever after."""
        await trio.lowlevel.checkpoint_if_cancelled()
        data, self._kept = self._kept, b""
        if not data and not self.ended:
            try:
                data = self._with_crlf(await self._read())
            except OSError as exc:
                why = exc.strerror or str(exc)
                self._report.note(
                    "unreadable", f"standard input counts as ended: {why}", message=why
                )
            self.ended = not data
        await trio.lowlevel.cancel_shielded_checkpoint()
        return data

    def _with_crlf(self, data: bytes) -> bytes:
        """``data`` with the ends of lines that are wanted; what comes in pieces is one text."""
        if not (self._crlf and data):
            return data
        before, self._after_cr = self._after_cr, data.endswith(b"\r")
        lines = data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        return lines[1:] if before and data.startswith(b"\n") else lines

    async def _read(self) -> bytes:
        _check_readable(self._fd)
        while self._waits:
            try:
                await trio.lowlevel.wait_readable(self._fd)
                return os.read(self._fd, PIECE)
            except BlockingIOError:  # somebody else was faster
                continue
            except PermissionError:  # epoll's word for a plain file
                self._waits = False
        return await self._read_in_thread()

    async def _read_in_thread(self) -> bytes:
        job = self._job
        if job is None:
            job = self._job = _Job(self._fd)
            await trio.to_thread.run_sync(job.run, abandon_on_cancel=True)
        else:
            await trio.to_thread.run_sync(job.wait, abandon_on_cancel=True)
        self._job = None
        return job.outcome()


def _check_readable(fd: int) -> None:
    """Raise what a read would raise where waiting would never end."""
    if sys.platform != "win32":
        flags = fcntl.fcntl(fd, fcntl.F_GETFL)
        if flags & os.O_ACCMODE == os.O_WRONLY:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
