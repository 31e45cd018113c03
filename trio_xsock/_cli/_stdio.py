"""Writing the peer's bytes to standard output: unchanged, as text, or as JSON."""

from __future__ import annotations

from typing import Protocol

from ._report import Report
from ._stream import Stream
from ._view import JSONView, TerminalView


class Output(Protocol):
    """Where a conversation writes what it receives."""

    async def write(self, data: bytes, *, final: bool = False) -> None:
        """Write ``data``, the last of it if ``final``.

        Raises:
            OutputGoneError: its reader has closed it.
            OutputFailedError: it cannot be written.
        """
        ...


class RawOutput:
    """Unchanged bytes; writing waits for their reader."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    async def write(self, data: bytes, *, final: bool = False) -> None:
        """See ``Output``."""
        await self._stream.send(data)
        if final:
            await self._stream.emptied()


class TerminalOutput:
    """Text to a terminal, without control characters."""

    def __init__(self, stream: Stream) -> None:
        self._raw = RawOutput(stream)
        self._encoding = stream.encoding
        self._view = TerminalView()

    async def write(self, data: bytes, *, final: bool = False) -> None:
        """See ``Output``."""
        text = self._view.feed(data, final=final)
        await self._raw.write(text.encode(self._encoding, "backslashreplace"), final=final)


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
        await self._report.room()
        if final:
            await self._report.delivered()


def standard_output(report: Report) -> Output:
    """The output that fits the options, and the kind of standard output."""
    if report.as_json:
        return JSONOutput(report)
    if report.out.isatty():
        return TerminalOutput(report.out)
    return RawOutput(report.out)
