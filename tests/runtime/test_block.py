"""What leaves the ``async with`` block of a socket, without a socket."""

from __future__ import annotations

import gc
import signal
import weakref
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trio_xsock._runtime.block import Block


class Scope:
    """The least that a socket does with its block."""

    def __init__(self) -> None:
        self.block = Block()
        self.failures: list[BaseException] = []
        self.closing_error: BaseException | None = None

    async def __aenter__(self) -> Self:
        self.nursery = await self.block.open_nursery()
        self.block.open_body()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        error = self.block.close_body(exc) or self.closing_error
        error, leftover = await self.block.close_nursery(error)  # noqa: ASYNC102
        self.block.raise_errors(exc, error, self.failures, leftover)

    def fail(self, error: BaseException) -> None:
        """What a failing handler or task comes to."""
        self.failures.append(error)
        self.block.cancel_body()


class OwnGroup(BaseExceptionGroup):
    """A group class of the user's."""

    def derive(self, excs: Any) -> OwnGroup:
        return OwnGroup(self.message, excs)


class OwnError(Exception):
    """Has weak references, unlike built-in exceptions."""


@pytest.fixture(autouse=True)
def no_garbage() -> Iterator[None]:
    """What a block leaves behind must not wait for the garbage collector."""
    gc.disable()
    yield
    gc.enable()


def errors() -> list[BaseException]:
    """One of each kind that may leave a body or be raised by a handler."""
    return [
        ValueError("of the user's"),
        KeyboardInterrupt(),
        SystemExit(3),
        ExceptionGroup("of the user's", [ValueError(), TypeError()]),
        ExceptionGroup("with one", [ValueError()]),
        BaseExceptionGroup("with an interrupt", [KeyboardInterrupt(), ValueError()]),
        OwnGroup("nested", [ExceptionGroup("inner", [ValueError()])]),
    ]


def functions_of(error: BaseException) -> list[str]:
    """Which functions an exception passed, outermost first."""
    names, traceback = [], error.__traceback__
    while traceback is not None:
        names.append(traceback.tb_frame.f_code.co_name)
        traceback = traceback.tb_next
    return names


# The body


async def test_a_body_that_ends_well_leaves_nothing() -> None:
    """No exception, no task, and the code after the block goes on."""
    before = trio.lowlevel.current_statistics().tasks_living
    async with Scope():
        pass
    assert trio.lowlevel.current_statistics().tasks_living == before


@pytest.mark.parametrize("error", errors(), ids=repr)
async def test_the_body_s_exception_leaves_as_the_same_object(error: BaseException) -> None:
    """Never in a group, with nothing added to what the user sees of it."""
    cause, context = RuntimeError("cause"), RuntimeError("context")
    error.__cause__, error.__context__ = cause, context
    with pytest.raises(type(error)) as caught:
        async with Scope():
            raise error
    assert caught.value is error
    assert (error.__cause__, error.__context__) == (cause, context)
    assert functions_of(error) == ["test_the_body_s_exception_leaves_as_the_same_object"]


async def test_cancellation_from_outside_passes_as_the_same_object() -> None:
    """It reaches the scope that it belongs to, which catches it."""
    inside: list[BaseException] = []
    outside: list[BaseException] = []
    with trio.CancelScope() as outer:
        try:
            async with Scope():
                outer.cancel()
                try:
                    await trio.sleep_forever()
                except trio.Cancelled as exc:
                    inside.append(exc)
                    raise
        except trio.Cancelled as exc:
            outside.append(exc)
            raise
    assert outer.cancelled_caught
    assert outside[0] is inside[0]


async def test_entering_is_no_checkpoint() -> None:
    """Under cancellation the body runs up to its own first checkpoint."""
    reached = False
    with trio.CancelScope() as outer:
        outer.cancel()
        async with Scope():
            reached = True
            await trio.lowlevel.checkpoint()
            pytest.fail("not cancelled")
    assert reached
    assert outer.cancelled_caught


async def test_a_scope_inside_the_body_is_its_own_business() -> None:
    """Time-outs in the body work as everywhere."""
    async with Scope():
        with trio.CancelScope() as inner:
            inner.cancel()
            await trio.sleep_forever()
        assert inner.cancelled_caught


def test_ctrl_c_in_the_body() -> None:
    """With a real signal: the interrupt leaves as itself, and is no surprise to Trio."""

    async def main() -> None:
        async with Scope():
            signal.raise_signal(signal.SIGINT)
            pytest.fail("not interrupted")

    with pytest.raises(KeyboardInterrupt) as caught:
        trio.run(main)
    assert caught.value.__cause__ is None


# Failures of handlers and tasks


@pytest.mark.parametrize("error", errors(), ids=repr)
async def test_a_failure_cancels_the_body_and_leaves_as_itself(error: BaseException) -> None:
    """As the same object, with the context that it had, whatever the body was doing."""
    context = RuntimeError("context")
    error.__context__ = context
    seen: list[str] = []
    with pytest.raises(type(error)) as caught:
        async with Scope() as scope:
            scope.fail(error)
            try:
                await trio.sleep_forever()
            finally:
                seen.append("cancelled")
    assert caught.value is error
    assert error.__context__ is context
    assert seen == ["cancelled"]


async def test_a_failure_that_nobody_waited_for() -> None:
    """A body that ends without another checkpoint is told as well."""
    error = ValueError()
    with pytest.raises(ValueError) as caught:
        async with Scope() as scope:
            scope.fail(error)
    assert caught.value is error


async def test_a_failure_while_the_block_is_left() -> None:
    """A handler may fail when the body is over: there is nothing to cancel."""
    error = ValueError()
    with pytest.raises(ValueError) as caught:
        async with Scope() as scope:
            scope.failures.append(error)
    scope.block.cancel_body()
    assert caught.value is error


@pytest.mark.parametrize("body_error", errors(), ids=repr)
async def test_body_and_failure_leave_in_one_group(body_error: BaseException) -> None:
    """Only if the body raised something else as well; the body's comes first."""
    failure = TypeError("of a handler")
    with pytest.raises(BaseExceptionGroup) as caught:  # noqa: ASYNC401
        async with Scope() as scope:
            scope.fail(failure)
            raise body_error
    assert caught.value.exceptions == (body_error, failure)
    assert caught.value.exceptions[0] is body_error
    assert isinstance(caught.value, Exception) == isinstance(body_error, Exception)
    # What is in the group is not told a second time.
    assert (caught.value.__context__, caught.value.__cause__) == (None, None)


async def test_several_failures_leave_in_one_group() -> None:
    """In the order in which they happened, without the body's being cancelled."""
    failures = [ValueError(), TypeError()]
    with pytest.raises(ExceptionGroup) as caught:  # noqa: ASYNC401
        async with Scope() as scope:
            for failure in failures:
                scope.fail(failure)
            await trio.sleep_forever()
    assert list(caught.value.exceptions) == failures


async def test_a_failure_and_cancellation_from_outside() -> None:
    """That the body was cancelled is nothing that it raised: the failure leaves as itself."""
    error = ValueError()
    with trio.CancelScope() as outer, pytest.raises(ValueError) as caught:
        async with Scope() as scope:
            outer.cancel()
            scope.fail(error)
            await trio.sleep_forever()
    assert caught.value is error


async def test_a_failure_and_a_nursery_in_the_body() -> None:
    """Of the body's group our own cancellation is taken out; the rest leaves with the failure."""
    failure, error = TypeError("of a handler"), ValueError("of a task")

    async def fail_when_cancelled() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise error

    with pytest.raises(ExceptionGroup) as caught:  # noqa: ASYNC401
        async with Scope() as scope, trio.open_nursery() as nursery:
            nursery.start_soon(fail_when_cancelled)
            await wait_all_tasks_blocked()
            scope.fail(failure)
            await trio.sleep_forever()
    rest, last = caught.value.exceptions
    assert last is failure
    assert isinstance(rest, ExceptionGroup)
    assert rest.exceptions == (error,)


async def test_a_body_that_shields_is_waited_for() -> None:
    """A clean-up in the body may take its time after a failure."""
    seen: list[str] = []
    with pytest.raises(ValueError):
        async with Scope() as scope:
            scope.fail(ValueError())
            try:
                await trio.sleep_forever()
            finally:
                with trio.CancelScope(shield=True):
                    await wait_all_tasks_blocked()
                seen.append("clean")
    assert seen == ["clean"]


async def test_errors_of_closing_leave_too() -> None:
    """As itself where nothing else happened."""
    error = ValueError()
    with pytest.raises(ValueError) as caught:
        async with Scope() as scope:
            scope.closing_error = error
    assert caught.value is error


async def test_an_error_goes_away_without_the_garbage_collector() -> None:
    """No frame of the block keeps what passed through it."""
    error = OwnError()
    reference = weakref.ref(error)
    try:
        async with Scope():
            raise error
    except OwnError:
        del error
    assert reference() is None


# The nursery


async def test_the_nursery_is_there() -> None:
    """Tasks started in it are waited for."""
    ended: list[str] = []

    async def task() -> None:
        await trio.lowlevel.checkpoint()
        ended.append("task")

    async with Scope() as scope:
        scope.nursery.start_soon(task)
    assert ended == ["task"]


async def test_tasks_can_be_cancelled_without_the_body() -> None:
    """``cancel_tasks`` ends what is not shielded; what that leaves is nothing."""
    async with Scope() as scope:
        scope.nursery.start_soon(trio.sleep_forever)
        await wait_all_tasks_blocked()
        error = scope.block.close_body(None)
        scope.block.cancel_tasks()
        assert await scope.block.close_nursery() == (None, None)
        scope.block = Block()
        scope.block.open_body()
    assert error is None


async def test_a_block_without_a_nursery() -> None:
    """A socket that a server accepted lives in the server's: there is none to leave."""
    others: list[str] = []

    async def other() -> None:
        others.append("ran")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        with trio.CancelScope() as scope:
            scope.cancel()
            for _ in range(2):  # in the pass after the first checkpoint, the order is random
                assert await Block().close_nursery() == (None, None)
        assert not scope.cancelled_caught
        assert others == ["ran"]


async def test_what_comes_out_of_the_nursery_leaves_as_itself() -> None:
    """A bug of the library's, or Ctrl-C while the block is left, is not hidden in groups."""
    error = RuntimeError("a bug")

    async def crash() -> None:
        raise error

    with pytest.raises(RuntimeError) as caught:
        async with Scope() as scope:
            scope.nursery.start_soon(crash)
    assert caught.value is error


async def test_what_comes_out_of_the_nursery_joins_other_errors() -> None:
    """The body's error first, then the failures, then the bug."""
    of_body, failure, bug = ValueError(), TypeError(), RuntimeError()

    async def crash() -> None:
        raise bug

    with pytest.raises(ExceptionGroup) as caught:  # noqa: ASYNC401
        async with Scope() as scope:
            scope.nursery.start_soon(crash)
            scope.fail(failure)
            raise of_body
    assert caught.value.exceptions == (of_body, failure, bug)


@pytest.mark.parametrize("count", [1, 2])
async def test_tasks_cancelled_from_outside_while_the_block_is_left(count: int) -> None:
    """Their cancellation reaches its scope, in a group or not, and never hides an error."""
    error = ValueError()
    with trio.CancelScope() as outer:
        async with Scope() as scope:
            for _ in range(count):
                scope.nursery.start_soon(trio.sleep_forever)
            outer.cancel()
    assert outer.cancelled_caught
    with trio.CancelScope() as outer, pytest.raises(ValueError) as caught:
        async with Scope() as scope:
            for _ in range(count):
                scope.nursery.start_soon(trio.sleep_forever)
            outer.cancel()
            raise error
    assert caught.value is error
