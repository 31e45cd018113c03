"""Two tasks at a time: results and exceptions come out as they are."""

from __future__ import annotations

import pytest
import trio

from trio_xsock._cli._beside import beside, both


async def give(value: int, delay: float = 0.0) -> int:
    await trio.sleep(delay)
    return value


async def fail(exc: Exception, delay: float = 0.0) -> int:
    await trio.sleep(delay)
    raise exc


async def test_background_ends_with_the_work(autojump_clock: trio.testing.MockClock) -> None:
    assert await beside(trio.sleep_forever, lambda: give(1, 5)) == 1
    assert trio.current_time() == 5


async def test_work_outlives_the_background(autojump_clock: trio.testing.MockClock) -> None:
    assert await beside(trio.lowlevel.checkpoint, lambda: give(1, 5)) == 1


async def test_exception_of_the_work_is_the_same_object() -> None:
    exc = ValueError("x")
    with pytest.raises(ValueError) as caught:
        await beside(trio.sleep_forever, lambda: fail(exc))
    assert caught.value is exc


async def test_cancellation_reaches_the_work(autojump_clock: trio.testing.MockClock) -> None:
    with trio.move_on_after(1) as scope:
        await beside(trio.sleep_forever, trio.sleep_forever)
    assert scope.cancelled_caught


async def test_what_is_done_is_not_lost_to_a_late_cancellation() -> None:
    with trio.CancelScope() as scope:

        async def work() -> int:
            await trio.lowlevel.checkpoint()
            scope.cancel()
            return 1

        assert await beside(trio.sleep_forever, work) == 1
    assert not scope.cancelled_caught


async def test_both_results() -> None:
    assert await both(lambda: give(1), lambda: give(2)) == (1, 2)


@pytest.mark.parametrize("first", [True, False])
async def test_one_failure_ends_the_other(first: bool) -> None:
    exc = ValueError("x")
    tasks = [lambda: fail(exc), trio.sleep_forever]
    if not first:
        tasks.reverse()
    with pytest.raises(ValueError) as caught:
        await both(*tasks)
    assert caught.value is exc


async def test_both_are_cancelled(autojump_clock: trio.testing.MockClock) -> None:
    with trio.move_on_after(1) as scope:
        await both(trio.sleep_forever, trio.sleep_forever)
    assert scope.cancelled_caught
