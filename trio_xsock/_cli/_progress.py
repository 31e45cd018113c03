"""The progress of transfers on standard error: a bar on a terminal, else a line now and then.

A bar shows the rate and the time left. Without a terminal a line is written at most every
few seconds, so that logs stay readable. With ``--json`` there is nothing.
"""

from __future__ import annotations

import contextlib
import functools
import os
import time
from collections.abc import Generator
from typing import TYPE_CHECKING, Self

from ._report import Report
from ._stream import Stream
from ._text import part, quote, speed

if TYPE_CHECKING:
    from rich.progress import Progress

_LINE_EVERY = 2.0
"""Seconds between two plain lines of one transfer."""
_LABEL = 40
"""Characters of a name in a line."""


def is_terminal(stream: Stream) -> bool:
    """Whether ``stream`` can show a bar that moves."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def use_colours(report: Report) -> None:
    """Let ``report`` use colours, if it writes sentences to a terminal that may show them."""
    if report.as_json or os.environ.get("NO_COLOR") or not is_terminal(report.out):
        return
    from ._screen import print_styled  # noqa: PLC0415 - rich may be missing

    report.paint = functools.partial(print_styled, report.out)


class Meter:
    """The progress of one transfer; call ``update`` with the number of bytes done so far."""

    def __init__(self, bars: Bars, label: str, total: int, done: int) -> None:
        self._bars = bars
        self._label = label
        self._total = total
        self._there = done
        self._started = time.monotonic()
        self._next_line = self._started + _LINE_EVERY
        live = bars.live
        self._task = None if live is None else live.add_task(label, total=total, completed=done)

    def update(self, done: int) -> None:
        """``done`` bytes were moved so far."""
        live = self._bars.live
        if live is not None and self._task is not None:
            live.update(self._task, completed=done)
        elif self._bars.lines is not None:
            self._maybe_line(self._bars.lines, done)

    def rename(self, name: str) -> None:
        """The next file is ``name``."""
        self._label = self._bars.label(name)
        if self._bars.live is not None and self._task is not None:
            self._bars.live.update(self._task, description=self._label)

    def close(self) -> float:
        """Remove the bar; return the seconds since the transfer began."""
        live = self._bars.live
        if live is not None and self._task is not None:
            live.remove_task(self._task)
            self._task = None
        return time.monotonic() - self._started

    def _maybe_line(self, stream: Stream, done: int) -> None:
        now = time.monotonic()
        if now < self._next_line or done >= self._total:
            return
        self._next_line = now + _LINE_EVERY
        elapsed = now - self._started
        came = done - self._there
        left = (self._total - done) * elapsed / came if came > 0 else None
        remaining = "" if left is None else f", {left:.0f} s left"
        stream.line(
            f"{self._label}: {100 * done // self._total} %, {part(done, self._total)}, "
            f"{speed(came, elapsed)}{remaining}"
        )


class Bars:
    """All progress of one command; a context manager.

    Attributes:
        live: rich's display, if standard error is a terminal.
        lines: where plain lines go, if there is neither a terminal nor ``--json``.
    """

    def __init__(self, report: Report) -> None:
        self._report = report
        self.live: Progress | None = None
        self.lines: Stream | None = None
        if report.as_json:
            return
        if is_terminal(report.err):
            from ._screen import bars  # noqa: PLC0415 - rich may be missing

            self.live = bars(report.err)
        else:
            self.lines = report.err

    def label(self, name: str) -> str:
        """``name`` beside a bar, which shortens it as needed, or in a line."""
        return quote(name) if self.live is not None else quote(name, longest=_LABEL)

    def meter(self, name: str, total: int, done: int = 0) -> Meter:
        """Begin to show the transfer of a file of ``total`` bytes, ``done`` of which are there."""
        return Meter(self, self.label(name), total, done)

    def __enter__(self) -> Self:
        if self.live is not None:
            self._report.around = functools.partial(_off_the_screen, self.live)
            self.live.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self.live is not None:
            self._report.around = contextlib.nullcontext
            self.live.stop()


@contextlib.contextmanager
def _off_the_screen(live: Progress) -> Generator[None]:
    live.stop()
    try:
        yield
    finally:
        live.start()
