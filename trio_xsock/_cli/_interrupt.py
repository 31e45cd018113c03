"""Ctrl-C as an orderly cancellation, so that the counts that are shown afterwards are exact.

A ``KeyboardInterrupt`` may surface between any two lines. Here the signal becomes a value
instead that one task waits for and answers by cancelling the work: sockets then account
for what went out as for any other cancellation, files are removed, peers are told.
"""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

from ._beside import beside

T = TypeVar("T")

_WANTED = ("SIGINT", "SIGTERM", "SIGHUP")


async def until_interrupted(work: Callable[[], Awaitable[T]]) -> T | None:
    """Run ``work``; its result, or ``None`` if a signal to end came first.

    The work is then cancelled and awaited. What it raises comes out as it is, and what it
    finished in spite of the signal counts. Signals that were ignored when the program
    began stay ignored (``nohup``).
    """
    wanted = _signals()
    if not wanted:
        return await work()
    with trio.open_signal_receiver(*wanted) as arrivals, trio.CancelScope() as scope:

        async def cancel_on_arrival() -> None:
            async for _ in arrivals:
                scope.cancel(reason="a signal asked to end")

        return await beside(cancel_on_arrival, work)
    return None


def _signals() -> list[signal.Signals]:
    available = [signal.Signals[name] for name in _WANTED if hasattr(signal, name)]
    return [number for number in available if signal.getsignal(number) is not signal.SIG_IGN]
