"""Standard input as bytes: reading never blocks the event loop, and a cancelled read loses nothing.

Input that cannot be read counts as ended: a descriptor that is closed or write-only, as ``nohup``
gives it to a program that was started at a terminal, or the terminal of another session. A command
that also receives continues then.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
from typing import TextIO

import trio

from trio_xsock._platform.files import is_for_writing_only
from trio_xsock._platform.system import waits_for_pipes

from ._report import Report

PIECE = 65536


class _Job:
    """One read in a thread, whose outcome is kept until it is taken."""

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

    A terminal or a pipe is read when it is ready, so that a cancelled read takes nothing. A plain
    file is read in a thread; the result of a cancelled read is returned by the next one.

    Args:
        report: where to write that it cannot be read.
        crlf: each LF that does not follow a CR is read as CR LF.

    Attributes:
        ended: it has come to its end, or cannot be read.
    """

    def __init__(self, report: Report, *, crlf: bool = False) -> None:
        stdin: TextIO | None = sys.stdin
        self._report = report
        self._fd = -1 if stdin is None else 0
        self._waits = waits_for_pipes()
        self._kept = b""
        self._crlf = crlf
        self._after_cr = False
        self._job: _Job | None = None
        self.ended = stdin is None

    @property
    def is_terminal(self) -> bool:
        """Whether it is a terminal."""
        return self._fd >= 0 and os.isatty(self._fd)

    def put_back(self, data: bytes) -> None:
        """Let the next read return ``data``, which has not reached any peer."""
        self._kept = data + self._kept

    async def read(self) -> bytes:
        """The next piece; ``b""`` at the end, and from then on."""
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
        """``data`` with CR LF at the ends of lines; a CR LF may be split between two pieces."""
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
            except BlockingIOError:  # another program has read it
                continue
            except PermissionError:  # epoll's error for a plain file
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
    """Raise the error of a read, for descriptors on which waiting would never end."""
    if is_for_writing_only(fd):
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
