"""Blocking calls in a thread, on a system that may not start another one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, TypeVarTuple, Unpack

import trio

from trio_xsock._values.errors import OutOfMemoryError

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


async def run_in_thread(
    purpose: str,
    function: Callable[[Unpack[Ts]], T],
    *args: *Ts,
    abandon_on_cancel: bool = False,
    limiter: trio.CapacityLimiter | None = None,
) -> T:
    """Call ``function(*args)`` in a thread, as ``trio.to_thread.run_sync`` does.

    Args:
        purpose: what the thread is for, after "no thread to"; for the error.
        function: a function that blocks.
        args: its arguments.
        abandon_on_cancel: a cancelled call returns at once, and the thread continues without it.
        limiter: bounds the number of threads; ``None`` for Trio's own limiter.

    Raises:
        OutOfMemoryError: the system starts no further thread; ``function`` was not called.
        Exception: any error that ``function`` raises, a ``RuntimeError`` included.

    Cancellation: see ``abandon_on_cancel``.
    """
    begun = False

    def work() -> T:
        nonlocal begun
        begun = True
        return function(*args)

    try:
        return await trio.to_thread.run_sync(
            work, abandon_on_cancel=abandon_on_cancel, limiter=limiter
        )
    except RuntimeError as exc:  # "can't start new thread"
        if begun:
            raise
        raise OutOfMemoryError(f"no thread to {purpose}: {exc}") from exc
