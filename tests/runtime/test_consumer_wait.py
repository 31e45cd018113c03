"""``ConsumerWait``: a task that waits for an event, and what it is given."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trio_xsock import SocketError
from trio_xsock._runtime.consumer_wait import ConsumerWait
from trio_xsock._runtime.guard import WAKEUPS


async def consume(waiting: list[ConsumerWait[Any]], got: list[Any]) -> None:
    """Wait as the consumer of a channel does, and note the event."""
    wait: ConsumerWait[Any] = ConsumerWait(waiting)
    await trio.lowlevel.wait_task_rescheduled(wait.abort)
    got.append(wait.leave())


async def test_the_longest_waiting_comes_first() -> None:
    """It joins those that wait; who hands over takes it from them."""
    waiting: list[ConsumerWait[Any]] = []
    got: list[Any] = []
    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(consume, waiting, got)
            await wait_all_tasks_blocked()
        assert len(waiting) == 2
        for event in ("first", "second"):
            waiting.pop(0).hand_over(event)
            await wait_all_tasks_blocked()
    assert got == ["first", "second"]


async def test_a_task_that_was_woken_counts_until_it_runs() -> None:
    """So that no more input is looked for before it has."""
    waiting: list[ConsumerWait[Any]] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(consume, waiting, [])
        await wait_all_tasks_blocked()
        before = WAKEUPS.woken - WAKEUPS.resumed
        waiting.pop().hand_over("event")
        assert WAKEUPS.woken - WAKEUPS.resumed == before + 1
        await wait_all_tasks_blocked()
        assert WAKEUPS.woken - WAKEUPS.resumed == before


async def test_a_cancelled_task_waits_no_more() -> None:
    """Nothing can be handed over to it: it has left those that wait."""
    waiting: list[ConsumerWait[Any]] = []
    got: list[Any] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(consume, waiting, got)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert waiting == got == []


async def test_a_cancellation_that_comes_later_loses_nothing() -> None:
    """The task has got its event, though it has not run yet."""
    waiting: list[ConsumerWait[Any]] = []
    got: list[Any] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(consume, waiting, got)
        await wait_all_tasks_blocked()
        waiting.pop().hand_over("event")
        nursery.cancel_scope.cancel()
    assert got == ["event"]


async def test_a_failure_is_raised_and_not_kept() -> None:
    """The error's traceback leads to the wait: it would be a cycle."""
    waiting: list[ConsumerWait[Any]] = []
    got: list[Any] = []

    async def fail() -> None:
        with pytest.raises(SocketError, match="gone"):
            await consume(waiting, got)

    gc.disable()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail)
            await wait_all_tasks_blocked()
            error = SocketError("gone")
            reference = weakref.ref(error)
            waiting.pop().fail(error)
            del error
        assert reference() is None
    finally:
        gc.enable()
    assert got == []


def test_outside_trio_nobody_waits() -> None:
    """The call fails, and leaves nothing behind."""
    waiting: list[ConsumerWait[Any]] = []
    with pytest.raises(RuntimeError):
        ConsumerWait(waiting)
    assert waiting == []
