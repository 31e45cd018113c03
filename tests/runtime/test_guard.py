"""Exclusivity, parking, and protection from Ctrl-C."""

from __future__ import annotations

import gc
import signal
import weakref
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trio_xsock._runtime.guard import (
    WAKEUPS,
    Parking,
    await_unprotected,
    call_unprotected,
    is_cancelled,
    let_others_run,
    protect_from_ki,
)

# Parking


async def park_in(
    parking: Parking[Any], results: list[Any], scope: trio.CancelScope | None = None
) -> None:
    """Note what parking gives or raises."""
    try:
        with scope or trio.CancelScope():
            results.append(await parking.park())
            return
        results.append("cancelled")
    except Exception as exc:
        results.append(exc)


@pytest.mark.parametrize("value", ["value", 0, b"", None])
async def test_a_parked_task_gets_the_value(value: object) -> None:
    """It sleeps until somebody hands a value over, also one that is false."""
    parking, results = Parking[object](), list[object]()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(park_in, parking, results)
        await wait_all_tasks_blocked()
        assert results == []
        parking.unpark(value)
    assert results == [value]


@pytest.mark.parametrize("value", ["value", 0, b"", None])
async def test_a_value_may_come_first(value: object) -> None:
    """Who parks when the value is there already gets it after a mere checkpoint."""
    others = list[str]()

    async def other() -> None:
        others.append("ran")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        for _ in range(2):  # in the pass after the first checkpoint, the order is random
            parking = Parking[object]()
            parking.unpark(value)
            assert await parking.park() == value
        assert others == ["ran"]


async def test_a_value_that_came_first_is_not_lost_to_cancellation() -> None:
    """Whoever handed it over believes that it arrived, so it does."""
    parking = Parking[str]()
    parking.unpark("value")
    with trio.CancelScope() as scope:
        scope.cancel()
        assert await parking.park() == "value"


async def test_a_value_and_then_cancellation() -> None:
    """What was handed over before the cancellation is received."""
    parking, results, scope = Parking[str](), list[object](), trio.CancelScope()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(park_in, parking, results, scope)
        await wait_all_tasks_blocked()
        parking.unpark("value")
        scope.cancel()
    assert results == ["value"]


async def test_a_value_for_a_task_that_is_gone() -> None:
    """It is for nobody, and no error."""
    parking, results, scope = Parking[str](), list[object](), trio.CancelScope()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(park_in, parking, results, scope)
        await wait_all_tasks_blocked()
        scope.cancel()
        parking.unpark("value")
    assert results == ["cancelled"]


async def test_a_cancelled_task_withdraws_at_once() -> None:
    """What it does about it happens in the call that cancels it."""
    parking, left = Parking[str](), list[bool]()
    async with trio.open_nursery() as nursery:

        async def task() -> None:
            await parking.park(lambda: left.append(True))

        nursery.start_soon(task)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
        assert left == [True]  # before the task runs again
        parking.unpark("value")
        parking.fail(ValueError())


async def test_only_the_first_value_counts() -> None:
    """Later values and errors are ignored, parked or not."""
    parking, results = Parking[str](), list[object]()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(park_in, parking, results)
        await wait_all_tasks_blocked()
        parking.unpark("first")
        parking.unpark("second")
        parking.fail(ValueError())
    assert results == ["first"]


class ReferableError(Exception):
    """Built-in exceptions have no weak references."""


@pytest.mark.parametrize("parked", [True, False])
async def test_an_error_is_raised_as_the_same_object(parked: bool) -> None:
    """It begins its traceback in the task that gets it, and is not kept here."""
    parking, results = Parking[str](), list[object]()
    try:
        raise ReferableError
    except ReferableError as exc:
        error = exc
    async with trio.open_nursery() as nursery:
        if not parked:
            parking.fail(error)
        nursery.start_soon(park_in, parking, results)
        await wait_all_tasks_blocked()
        parking.fail(error)
        parking.unpark("too late")
    assert results == [error]
    frames, traceback = [], error.__traceback__
    while traceback is not None:
        frames.append(traceback.tb_frame.f_code.co_name)
        traceback = traceback.tb_next
    assert frames == ["park_in", "park"]
    reference = weakref.ref(error)
    results.clear()
    gc.disable()
    try:
        del error
        assert reference() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("waiting", [True, False])
def test_who_is_no_task_cannot_park(waiting: bool) -> None:
    """And is withdrawn from where the value would have come from."""
    withdrawn: list[bool] = []
    coroutine = Parking[str]().park((lambda: withdrawn.append(True)) if waiting else None)
    with pytest.raises(RuntimeError, match="async context"):
        coroutine.send(None)
    assert withdrawn == [True] * waiting


# Ctrl-C


@protect_from_ki
class Sensitive:
    """What a class of the library looks like to Ctrl-C."""

    attribute = 1

    def __init__(self) -> None:
        self.seen = {"init": trio.lowlevel.currently_ki_protected()}

    def method(self) -> bool:
        return trio.lowlevel.currently_ki_protected()

    @property
    def facts(self) -> bool:
        return trio.lowlevel.currently_ki_protected()

    @facts.setter
    def facts(self, value: object) -> None:
        self.seen["set"] = trio.lowlevel.currently_ki_protected()

    @property
    def read_only(self) -> bool:
        return trio.lowlevel.currently_ki_protected()

    @classmethod
    def of_class(cls) -> bool:
        return trio.lowlevel.currently_ki_protected()

    @staticmethod
    def static() -> bool:
        return trio.lowlevel.currently_ki_protected()

    async def wait(self) -> bool:
        await trio.lowlevel.checkpoint()
        return trio.lowlevel.currently_ki_protected()

    def call(self, function: Any) -> Any:
        return call_unprotected(function)

    async def await_it(self, async_fn: Any) -> Any:
        return await await_unprotected(async_fn)


async def test_methods_are_protected_and_their_callers_are_not() -> None:
    """Methods of every kind run to their end; the code around them can be interrupted."""
    assert not trio.lowlevel.currently_ki_protected()
    sensitive = Sensitive()
    sensitive.facts = 1
    assert sensitive.seen == {"init": True, "set": True}
    assert sensitive.method()
    assert sensitive.facts
    assert sensitive.read_only
    assert Sensitive.of_class()
    assert Sensitive.static()
    assert await sensitive.wait()
    assert not trio.lowlevel.currently_ki_protected()
    assert Sensitive.attribute == 1


async def test_a_users_function_is_not_protected() -> None:
    """Ctrl-C reaches what the library calls for its users, plain or async, with arguments."""

    async def asynchronous() -> bool:
        await trio.lowlevel.checkpoint()
        return trio.lowlevel.currently_ki_protected()

    sensitive = Sensitive()
    assert sensitive.call(trio.lowlevel.currently_ki_protected) is False
    assert await sensitive.await_it(asynchronous) is False
    assert call_unprotected(divmod, 7, 2) == (3, 1)


def test_ctrl_c_waits_for_a_method_and_interrupts_a_users_function() -> None:
    """With a real signal: the method's books are complete, the user's function is cut short."""
    steps: list[str] = []

    def users_function() -> None:
        steps.append("begun")
        signal.raise_signal(signal.SIGINT)
        steps.append("not interrupted")  # pragma: no cover

    @protect_from_ki
    class Books:
        def enter(self) -> None:
            signal.raise_signal(signal.SIGINT)
            steps.append("complete")

        def call(self) -> None:
            call_unprotected(users_function)

    async def main() -> None:
        Books().enter()
        with pytest.raises(KeyboardInterrupt):
            await trio.lowlevel.checkpoint()
        with pytest.raises(KeyboardInterrupt):
            Books().call()

    trio.run(main)
    assert steps == ["complete", "begun"]


async def test_who_lets_others_run_is_known_to_have_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Until it has its next turn."""
    seen: list[int] = []
    checkpoint = trio.lowlevel.cancel_shielded_checkpoint

    async def others() -> None:
        seen.append(WAKEUPS.woken - WAKEUPS.resumed)
        await checkpoint()

    before = WAKEUPS.woken - WAKEUPS.resumed
    monkeypatch.setattr(trio.lowlevel, "cancel_shielded_checkpoint", others)
    await let_others_run()
    assert seen == [before + 1]
    assert WAKEUPS.woken - WAKEUPS.resumed == before


async def test_whether_a_task_is_cancelled_is_known_before_others_run() -> None:
    """By its own scope or an outer one, unless there is a shield between."""
    assert not is_cancelled()
    with trio.CancelScope() as scope:
        assert not is_cancelled()
        scope.cancel()
        assert is_cancelled()
        with trio.CancelScope(shield=True):
            assert not is_cancelled()
            await trio.lowlevel.checkpoint()
        await trio.lowlevel.checkpoint()
    assert scope.cancelled_caught
    assert not is_cancelled()
