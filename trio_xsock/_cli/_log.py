"""The library's log records as lines of the command, written without blocking the event loop.

A server reports a failed handshake in its log only; ``telling_refusals`` gets it from there.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Generator

from trio_xsock import TLSError

from ._report import Report
from ._text import escape

_LIBRARY = logging.getLogger("trio_xsock")


class _Lines(logging.Handler):
    """Writes warnings and errors as lines, with their tracebacks."""

    def __init__(self, report: Report) -> None:
        super().__init__(logging.WARNING)
        self._report = report

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        lines = text.splitlines() or [""]
        sentence = "\n".join(escape(line, longest=len(line)) for line in lines)
        self._report.trouble("log", sentence, message=text, level=record.levelname)


@contextlib.contextmanager
def logging_to(report: Report) -> Generator[None]:
    """In this block warnings of any logger become lines of ``report``."""
    root, handler = logging.getLogger(), _Lines(report)
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)


class _Refusals(logging.Handler):
    """Calls a function with the reason why a server refused a connection."""

    def __init__(self, tell: Callable[[object], None]) -> None:
        super().__init__(logging.DEBUG)
        self._tell = tell
        others = _handlers_of_refusals()
        self.level_before: int = others[0].level_before if others else _LIBRARY.level

    def emit(self, record: logging.LogRecord) -> None:
        why: object = getattr(record, "refused", None)
        if why is not None:
            self._tell(why)


def _handlers_of_refusals() -> list[_Refusals]:
    return [handler for handler in _LIBRARY.handlers if isinstance(handler, _Refusals)]


@contextlib.contextmanager
def telling_refusals(tell: Callable[[object], None]) -> Generator[None]:
    """In this block ``tell`` is called with the reason when a server refuses a connection.

    The reason is a ``SocketError`` or a text. It is called in Trio's thread, must not raise and
    must not wait.
    """
    handler = _Refusals(tell)
    _LIBRARY.addHandler(handler)
    _LIBRARY.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        _LIBRARY.removeHandler(handler)
        if not _handlers_of_refusals():  # such blocks may overlap
            _LIBRARY.setLevel(handler.level_before)


def why_refused(why: object) -> str:
    """A sentence for the reason of a refusal, escaped."""
    return f"a connection was refused: {escape(str(why))}"


def left_without_a_word(why: object) -> bool:
    """Whether the client closed without sending anything."""
    return isinstance(why, TLSError) and why.reason == "UNEXPECTED_EOF_WHILE_READING"
