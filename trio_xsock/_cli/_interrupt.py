"""Ctrl-C as an orderly cancellation, so that the counts that are shown afterwards are exact.

A ``KeyboardInterrupt`` may surface between any two lines. Here the signal cancels the work
instead: sockets then account for what went out as for any other cancellation, files are
removed, peers are told.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Awaitable, Callable, Generator
from types import FrameType
from typing import TypeVar

import trio

T = TypeVar("T")

_WANTED = ("SIGINT", "SIGTERM", "SIGHUP")


async def until_interrupted(work: Callable[[], Awaitable[T]]) -> T | None:
    """Run ``work``; its result, or ``None`` if a signal to end came first.

    The work is then cancelled and awaited; what it finished in spite of the signal counts.
    Signals that were ignored when the program began stay ignored (``nohup``).
    """
    scope = trio.CancelScope()
    with scope, _signals_call(lambda: scope.cancel(reason="a signal asked to end")):
        return await work()
    return None


@contextlib.contextmanager
def _signals_call(react: Callable[[], None]) -> Generator[None]:
    """Call ``react`` in Trio's thread when a signal comes, instead of what it does otherwise."""
    token = trio.lowlevel.current_trio_token()

    def handle(number: int, frame: FrameType | None) -> None:
        token.run_sync_soon(react, idempotent=True)

    present = [signal.Signals[name] for name in _WANTED if hasattr(signal, name)]
    wanted = [number for number in present if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, handle) for number in wanted}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
