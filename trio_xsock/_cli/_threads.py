"""Blocking work in a thread, on a system that may not start another thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, TypeVarTuple, Unpack

import trio

from ._errors import CommandError

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


async def in_thread(
    who: str, function: Callable[[Unpack[Ts]], T], *args: *Ts, abandon: bool = False
) -> T:
    """Call ``function(*args)`` in a thread.

    Args:
        who: the side whose system it is, for the error, which may be sent to the peer.
        function: a function that blocks.
        args: its arguments.
        abandon: a cancelled call returns at once, and the thread continues without it.

    Raises:
        CommandError: the system starts no further thread; nothing was called.
        Exception: any error that ``function`` raises.
    """
    begun = False

    def work() -> T:
        nonlocal begun
        begun = True
        return function(*args)

    try:
        return await trio.to_thread.run_sync(work, abandon_on_cancel=abandon)
    except RuntimeError as exc:  # "can't start new thread"
        if begun:
            raise
        raise CommandError(f"{who}'s system starts no further thread") from exc
