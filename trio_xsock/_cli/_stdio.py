"""Standard input and output of a conversation: raw bytes in, and out what the reader can bear."""

from __future__ import annotations

import os
import sys
from typing import Protocol, TextIO

import trio

from ._errors import CommandError
from ._report import Report
from ._view import JSONView, TerminalView

PIECE = 65536


class OutputGoneError(Exception):
    """Whoever read our output has gone away; there is nobody left to work for."""


class Input:
    """Bytes from standard input, which is at its end at once if there is none (``<&-``).

    A terminal or a pipe is waited for, so that a cancelled read takes nothing. What cannot
    be waited for, a plain file, is read in a thread.

    Attributes:
        ended: the end of the file has been read.
    """

    def __init__(self) -> None:
        stdin: TextIO | None = sys.stdin
        self._fd = -1 if stdin is None else 0
        self._waits = True
        self.ended = stdin is None

    @property
    def is_terminal(self) -> bool:
        """A person types."""
        return self._fd >= 0 and os.isatty(self._fd)

    async def read(self) -> bytes:
        """The next piece; ``b""`` at the end, and ever after.

        Raises:
            CommandError: it cannot be read.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        data = b""
        if not self.ended:
            try:
                data = await self._read()
            except OSError as exc:
                raise CommandError(f"cannot read standard input: {exc.strerror}") from exc
        self.ended = not data
        await trio.lowlevel.cancel_shielded_checkpoint()
        return data

    async def _read(self) -> bytes:
        if self._waits:
            try:
                await trio.lowlevel.wait_readable(self._fd)
            except PermissionError:  # epoll's word for a plain file
                self._waits = False
            else:
                return os.read(self._fd, PIECE)
        return await trio.to_thread.run_sync(os.read, self._fd, PIECE)


class Output(Protocol):
    """Where a conversation puts what the peer sends."""

    async def write(self, data: bytes, *, final: bool = False) -> None:
        """Put out ``data``, the last of it if ``final``.

        Raises:
            OutputGoneError: nobody reads it any more.
            CommandError: it cannot be written.
        """
        ...


class RawOutput:
    """Bytes to a descriptor as they came; its reader's pace is ours."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    async def write(self, data: bytes, *, final: bool = False) -> None:
        """See ``Output``."""
        try:
            await trio.to_thread.run_sync(self._write_all, data, abandon_on_cancel=True)
        except BrokenPipeError as exc:
            raise OutputGoneError from exc
        except OSError as exc:
            raise CommandError(f"cannot write to standard output: {exc.strerror}") from exc

    def _write_all(self, data: bytes) -> None:
        with memoryview(data) as view:
            done = 0
            while done < len(data):
                done += os.write(self._fd, view[done:])


class TerminalOutput:
    """Text to a terminal, with nothing in it that the terminal would obey."""

    def __init__(self, fd: int, encoding: str) -> None:
        self._raw = RawOutput(fd)
        self._encoding = encoding
        self._view = TerminalView()

    async def write(self, data: bytes, *, final: bool = False) -> None:
        """See ``Output``."""
        text = self._view.feed(data, final=final)
        await self._raw.write(text.encode(self._encoding, "backslashreplace"))


class JSONOutput:
    """An event ``received`` for each piece."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._view = JSONView()

    async def write(self, data: bytes, *, final: bool = False) -> None:
        """See ``Output``."""
        members = self._view.feed(data, final=final)
        if members:
            self._report.fact("received", "", **members)
        await trio.lowlevel.checkpoint()


def standard_output(report: Report) -> Output:
    """A new view of standard output, as the options and what it leads to want it."""
    if report.as_json:
        return JSONOutput(report)
    if report.out.isatty():
        return TerminalOutput(report.out.fileno(), report.out.encoding)
    return RawOutput(report.out.fileno())
