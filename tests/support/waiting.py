"""Waiting for what the kernel and other tasks are about to do, without sleeping."""

from __future__ import annotations

from collections.abc import Callable

import trio
import trio.testing


async def until(condition: Callable[[], object]) -> None:
    """Let the kernel and the other tasks go on until ``condition()`` holds.

    The time-out of the test is what ends it if that never happens.
    """
    while not condition():  # noqa: ASYNC110 - nobody sets an event for what the kernel does
        await trio.lowlevel.checkpoint()


async def settle() -> None:
    """Let the other tasks go on until all of them wait for something."""
    await trio.testing.wait_all_tasks_blocked()
