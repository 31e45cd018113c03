"""Two concurrent tasks, without an exception group around what one of them raises."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

T = TypeVar("T")
U = TypeVar("U")
X = TypeVar("X")


async def beside(background: Callable[[], Awaitable[None]], work: Callable[[], Awaitable[T]]) -> T:
    """Run ``work`` with ``background`` beside it, which is cancelled when the work is done.

    An exception of the work is raised as the same object. The background task must not
    raise. A cancellation from outside that comes when the work is already done is delivered at
    the caller's next checkpoint, so the result is not lost.
    """
    results: list[T] = []
    failures: list[Exception] = []
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(background)
            try:
                results.append(await work())
            except Exception as exc:  # raised again outside the nursery
                failures.append(exc)
            # From here on only the background task is left, and it is being cancelled.
            scope.shield = True
            scope.cancel(reason="the work beside it is done")
    if failures:
        raise failures[0]
    return results[0]


async def both(one: Callable[[], Awaitable[T]], other: Callable[[], Awaitable[U]]) -> tuple[T, U]:
    """Run two tasks concurrently and return their results.

    The first exception of either cancels the other one and is raised as the same object.
    """
    ones: list[T] = []
    others: list[U] = []
    failures: list[Exception] = []
    async with trio.open_nursery() as nursery:

        async def collect(work: Callable[[], Awaitable[X]], results: list[X]) -> None:
            try:
                results.append(await work())
            except Exception as exc:  # raised again outside the nursery
                failures.append(exc)
                nursery.cancel_scope.cancel(reason="the task beside it failed")
            await trio.lowlevel.cancel_shielded_checkpoint()

        nursery.start_soon(collect, one, ones)
        nursery.start_soon(collect, other, others)
    if failures:
        raise failures[0]
    return ones[0], others[0]
