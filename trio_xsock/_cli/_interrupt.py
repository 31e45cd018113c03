"""Ctrl-C as a cancellation, so that the counts that are shown afterwards are exact.

A ``KeyboardInterrupt`` may be raised between any two lines. Here the signal cancels the work
instead: sockets count what was sent as in any other cancellation, temporary files are removed,
peers are informed.

``Signals`` holds for the whole command, ``until_interrupted`` for its work within ``trio.run``.
Further signals change nothing. After a signal the program waits for its output only a moment, so
that neither a reader that does not read nor a stopped terminal prevents its end.
"""

from __future__ import annotations

import contextlib
import contextvars
import signal
import time
from collections.abc import Awaitable, Callable, Generator
from types import FrameType
from typing import Any, Final, Self, TypeVar

import trio

from trio_xsock._platform.system import ending_signals

T = TypeVar("T")

_LAST_WORDS: Final = 1.0
"""Seconds after a signal in which output may still be read."""


class Signals:
    """Counts the signals that ask the program to end, in place of their default action.

    A context manager. Signals that were ignored when it was entered stay ignored (``nohup``).

    Attributes:
        count: how many were received.
    """

    def __init__(self) -> None:
        self._before: dict[signal.Signals, Any] = {}
        self._react: Callable[[], None] | None = None
        self._patience_ends = float("inf")
        self.count = 0

    def is_impatient(self) -> bool:
        """Whether to stop waiting for output that is not read."""
        if self.count and self._patience_ends == float("inf"):
            self._patience_ends = time.monotonic() + _LAST_WORDS
        return time.monotonic() >= self._patience_ends

    def ignore(self) -> None:
        """Ignore further signals, because the exit code is decided."""
        for number in self._before:
            signal.signal(number, signal.SIG_IGN)

    @contextlib.contextmanager
    def reaction(self, react: Callable[[], None]) -> Generator[None]:
        """Call ``react`` when a signal comes, or if one came before."""
        self._react = react
        if self.count:
            react()
        try:
            yield
        finally:
            self._react = None

    def __enter__(self) -> Self:
        wanted = [each for each in ending_signals() if signal.getsignal(each) is not signal.SIG_IGN]
        self._before = {number: signal.signal(number, self._handle) for number in wanted}
        return self

    def __exit__(self, *exc_info: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        if self._react is not None:
            self._react()


_current: contextvars.ContextVar[Signals | None] = contextvars.ContextVar("signals", default=None)


@contextlib.contextmanager
def signals_of_the_command() -> Generator[Signals]:
    """Catch signals from here on, also for ``until_interrupted`` within."""
    with Signals() as signals:
        token = _current.set(signals)
        try:
            yield signals
        finally:
            _current.reset(token)


async def until_interrupted(work: Callable[[], Awaitable[T]]) -> T | None:
    """Run ``work``; return its result, or ``None`` if a signal to end came first.

    The work is then cancelled and awaited; if it finishes all the same, its result counts.
    Signals that were ignored when the program began stay ignored (``nohup``).
    """
    signals = _current.get()
    if signals is None:
        with signals_of_the_command():
            return await until_interrupted(work)
    scope = trio.CancelScope()
    token = trio.lowlevel.current_trio_token()

    def react() -> None:
        token.run_sync_soon(_cancel, scope, idempotent=True)

    with scope, signals.reaction(react):
        return await work()
    return None


def _cancel(scope: trio.CancelScope) -> None:
    scope.cancel(reason="a signal asked to end")
