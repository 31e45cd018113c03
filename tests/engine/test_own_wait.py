"""``OwnWait``: a task that is parked for any input, and what is handed over to it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trio_xsock._engine.own_wait import OwnWait
from trio_xsock._engine.reasons import CLEAN_END
from trio_xsock._runtime.guard import WAKEUPS


async def parked(wait: OwnWait) -> bytes | None:
    """Wait as a receiving task does."""
    await trio.lowlevel.wait_task_rescheduled(wait.enter())
    return wait.leave()


def wait_for(least: int, most: int) -> OwnWait:
    """One of a connection that no hub waits for."""
    wait = OwnWait(None, 1)
    wait.limit, wait.most = least, most
    return wait


@pytest.mark.parametrize(
    ("data", "fits"), [(b"a", False), (b"ab", True), (b"abc", True), (b"abcd", False)]
)
async def test_what_the_task_needs_is_handed_over(data: bytes, fits: bool) -> None:
    """Past the buffer; what is less, or more, is not."""
    wait = wait_for(2, 3)
    got: list[bytes | None] = []

    async def park() -> None:
        got.append(await parked(wait))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(park)
        await wait_all_tasks_blocked()
        assert wait.hand_over(data) is fits
        if not fits:
            wait.wake()
    assert got == [data if fits else None]
    assert wait.data is None


def test_nothing_is_handed_over_unless_the_task_is_parked() -> None:
    """It would be lost."""
    assert not wait_for(1, 10).hand_over(b"abc")


async def test_only_the_first_input_is_handed_over() -> None:
    """The task has been woken by it, and runs later."""
    wait = wait_for(1, 10)

    async def park() -> None:
        assert await parked(wait) == b"first"

    async with trio.open_nursery() as nursery:
        nursery.start_soon(park)
        await wait_all_tasks_blocked()
        assert wait.hand_over(b"first")
        assert not wait.hand_over(b"second")
        wait.wake()  # changes nothing


async def test_a_cancelled_task_gets_nothing() -> None:
    """From the moment of cancellation on, though it has not run yet."""
    wait = wait_for(1, 10)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(parked, wait)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
        assert not wait.hand_over(b"abc")
    assert wait.data is None


def _end(wait: OwnWait) -> None:
    assert not wait.serve(CLEAN_END)


def _close(wait: OwnWait) -> None:
    wait.fail(CLEAN_END)


@pytest.mark.parametrize("change", [_end, _close, OwnWait.wake])
async def test_it_is_told_to_try(change: Callable[[OwnWait], None]) -> None:
    """At an end, at our close, when there is more than it takes: it finds out by itself."""
    wait = wait_for(1, 10)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(parked, wait)
        await wait_all_tasks_blocked()
        change(wait)
    assert WAKEUPS.woken == WAKEUPS.resumed
