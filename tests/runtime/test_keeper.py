"""The tasks of a socket and what becomes of their failures, without a socket."""

from __future__ import annotations

import contextvars
import gc
import math
import signal
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_xsock import InvalidStateError, SocketClosedError
from trio_xsock._runtime.keeper import Keeper

VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("VARIABLE", default="unset")


class Owner:
    """Stands for the socket."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.deadlines: list[float] = []
        self.failed: list[str] = []
        self.on_work: Callable[[], object] = lambda: None

    def _work(self) -> float:
        """Note when it is, and want to be called again at the next of ``deadlines``."""
        self.times.append(trio.current_time())
        self.on_work()
        return self.deadlines.pop(0) if self.deadlines else math.inf

    def _contain(self, error: Exception) -> bool:
        return False

    def _was_told(self, error: BaseException) -> bool:
        return False

    def _handle_failure(self) -> None:
        self.failed.append("failed")


@asynccontextmanager
async def keeping(owner: Owner) -> AsyncIterator[Keeper]:
    """A keeper in a nursery of its own, which it leaves empty."""
    async with trio.open_nursery() as nursery:
        keeper = Keeper(nursery, owner)
        try:
            yield keeper
        finally:
            await keeper.finish()  # noqa: ASYNC102 - shields itself
            assert not nursery.child_tasks


def children() -> list[str]:
    """The names of the tasks in the nurseries of this task."""
    nurseries = trio.lowlevel.current_task().child_nurseries
    return [child.name for nursery in nurseries for child in nursery.child_tasks]


# The keeper task


async def test_no_task_runs_before_it_is_needed() -> None:
    """A socket that nobody wakes costs no task."""
    before = trio.lowlevel.current_statistics().tasks_living
    async with keeping(Owner()):
        await wait_all_tasks_blocked()
        assert trio.lowlevel.current_statistics().tasks_living == before


async def test_waking_has_work_done_soon() -> None:
    """Not in the call, and once however often it was called before."""
    owner = Owner()
    async with keeping(owner) as keeper:
        for count in (1, 2, 3):
            keeper.wake()
            keeper.wake()
            assert len(owner.times) == count - 1
            await wait_all_tasks_blocked()
            assert len(owner.times) == count
            assert children() == ["trio_xsock keeper"]


async def test_work_that_wants_more_lets_others_run() -> None:
    """Woken by its own work, the task goes on, one checkpoint at a time."""
    owner, order = Owner(), list[str]()

    def on_work() -> None:
        order.append("work")
        if len(order) < 20:
            keeper.wake()

    async def other() -> None:
        for _ in range(5):
            order.append("other")
            await trio.lowlevel.checkpoint()

    owner.on_work = on_work
    async with keeping(owner) as keeper:
        keeper.wake()
        keeper.start_soon(other)
        await wait_all_tasks_blocked()
    assert order.count("other") == 5
    assert "work work work" not in " ".join(order[:10])


async def test_work_is_done_at_its_deadline(autojump_clock: MockClock) -> None:
    """At the time that it asked for, again and again, until it asks for none."""
    owner = Owner()
    begin = trio.current_time()
    owner.deadlines = [begin + 2, begin + 5, begin - 1]
    async with keeping(owner) as keeper:
        keeper.wake()
        await trio.sleep(100)
    assert [time - begin for time in owner.times[:4]] == [0, 2, 5, 5]


async def test_waking_comes_before_the_deadline(autojump_clock: MockClock) -> None:
    """A new deadline takes the place of the old one."""
    owner = Owner()
    begin = trio.current_time()
    owner.deadlines = [begin + 50, begin + 7]
    async with keeping(owner) as keeper:
        keeper.wake()
        await trio.sleep(1)
        keeper.wake()
        await trio.sleep(100)
        assert [time - begin for time in owner.times] == [0, 1, 7]


async def test_deadline_and_waking_at_once(mock_clock: MockClock) -> None:
    """Whichever of the two comes first, neither is lost and nothing is rescheduled twice."""
    owner = Owner()
    async with keeping(owner) as keeper:
        for wake_first in (True, False):
            owner.times.clear()
            owner.deadlines = [trio.current_time() + 1]
            keeper.wake()
            await wait_all_tasks_blocked()
            if wake_first:
                keeper.wake()
                mock_clock.jump(1)
            else:
                mock_clock.jump(1)
                keeper.wake()
            await wait_all_tasks_blocked()
            assert len(owner.times) in (2, 3)


async def test_the_keeper_task_outlives_cancellation() -> None:
    """A body that was cancelled may still close gracefully: work goes on being done."""
    owner = Owner()
    with trio.CancelScope() as outer:
        async with keeping(owner) as keeper:
            keeper.wake()
            await wait_all_tasks_blocked()
            outer.cancel()
            with trio.CancelScope(shield=True):
                keeper.wake()
                await wait_all_tasks_blocked()
            assert len(owner.times) == 2


async def test_a_retired_keeper_keeps_no_task() -> None:
    """What was still to be done at a deadline is done; a new need makes a new task."""
    owner = Owner()
    async with keeping(owner) as keeper:
        keeper.wake()
        await wait_all_tasks_blocked()
        assert children() == ["trio_xsock keeper"]
        keeper.retire()
        await wait_all_tasks_blocked()
        assert children() == []
        keeper.wake()
        await wait_all_tasks_blocked()
        assert children() == []
        assert len(owner.times) == 3


async def test_a_retired_keeper_waits_for_its_deadline(autojump_clock: MockClock) -> None:
    """Only when no time is wanted any more does the task end."""
    owner = Owner()
    owner.deadlines = [trio.current_time() + 3]
    async with keeping(owner) as keeper:
        keeper.wake()
        keeper.retire()
        await trio.sleep(1)
        assert children() == ["trio_xsock keeper"]
        await trio.sleep(3)
        assert children() == []


# Tasks of the library


async def test_service_tasks_are_shielded_and_waited_for() -> None:
    """They end by themselves; the block is not left before."""
    owner, ended, stop = Owner(), list[str](), trio.Event()

    async def service() -> None:
        await stop.wait()
        ended.append("service")

    with trio.CancelScope() as outer:
        async with trio.open_nursery() as nursery:
            keeper = Keeper(nursery, owner)
            keeper.serve(service, "the service")
            outer.cancel()
            with trio.CancelScope(shield=True):
                await wait_all_tasks_blocked()
                assert children() == ["the service"]
                async with trio.open_nursery() as inner:
                    inner.start_soon(keeper.finish)
                    await wait_all_tasks_blocked()
                    assert ended == []
                    stop.set()
            assert ended == ["service"]


# Tasks of the user's


async def test_a_task_is_started_with_its_arguments() -> None:
    """It runs soon, under its own name, open to Ctrl-C."""
    owner, seen = Owner(), list[Any]()

    async def task(*args: object) -> None:
        seen.extend(args)
        seen.append(trio.lowlevel.current_task().name)
        seen.append(trio.lowlevel.currently_ki_protected())

    async with keeping(owner) as keeper:
        keeper.start_soon(task, 1, "two")
        assert seen == []
        await wait_all_tasks_blocked()
    assert seen[:2] == [1, "two"]
    assert seen[2].endswith("test_a_task_is_started_with_its_arguments.<locals>.task")
    assert seen[3] is False
    assert (owner.failed, keeper.failures) == ([], ())


async def test_tasks_are_cancelled_at_the_end() -> None:
    """The block waits for them; that they were cancelled is no failure."""
    owner, ended = Owner(), list[str]()

    async def task() -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append("task")

    async with keeping(owner) as keeper:
        keeper.start_soon(task)
        keeper.start_soon(task)
        await wait_all_tasks_blocked()
        assert not keeper.ended
        await keeper.finish()
        assert keeper.ended
        assert ended == ["task", "task"]
    assert (owner.failed, keeper.failures) == ([], ())


async def test_tasks_see_cancellation_from_outside() -> None:
    """They are not shielded, and that is no failure either."""
    owner, ended = Owner(), list[str]()

    async def task() -> None:
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            ended.append("cancelled")
            raise

    with trio.CancelScope() as outer:
        async with keeping(owner) as keeper:
            keeper.start_soon(task)
            await wait_all_tasks_blocked()
            outer.cancel()
            with trio.CancelScope(shield=True):
                await wait_all_tasks_blocked()
            assert ended == ["cancelled"]
    assert (owner.failed, keeper.failures) == ([], ())


async def test_a_task_started_at_the_last_moment_is_cancelled() -> None:
    """It runs up to its first checkpoint, as a task in a cancelled nursery does."""
    owner, seen = Owner(), list[str]()

    async def task() -> None:
        seen.append("begun")
        await trio.lowlevel.checkpoint()
        seen.append("not cancelled")  # pragma: no cover

    async with keeping(owner) as keeper:
        keeper.start_soon(task)
    assert seen == ["begun"]


class OwnGroup(BaseExceptionGroup):
    """A group class of the user's."""

    def derive(self, excs: Any) -> OwnGroup:
        return OwnGroup(self.message, excs)


ERRORS = [
    ValueError("of the user's"),
    KeyboardInterrupt(),
    SystemExit(3),
    GeneratorExit(),
    ExceptionGroup("of the user's", [ValueError(), TypeError()]),
    ExceptionGroup("with one", [ValueError()]),
    OwnGroup("nested", [ExceptionGroup("inner", [ValueError()]), KeyboardInterrupt()]),
]


@pytest.mark.parametrize("error", ERRORS, ids=repr)
async def test_a_failure_is_noted_as_the_same_object(error: BaseException) -> None:
    """Whatever it is, it enters no nursery; the socket is told, and other tasks are cancelled."""
    owner, ended = Owner(), list[str]()

    async def bystander() -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append("bystander")

    async def failing() -> None:
        await trio.lowlevel.checkpoint()
        raise error

    async with keeping(owner) as keeper:
        keeper.start_soon(bystander)
        keeper.start_soon(failing)
        await wait_all_tasks_blocked()
        assert ended == ["bystander"]
        assert keeper.failures == (error,)
        assert keeper.failures[0] is error
        assert not keeper.ended
    assert owner.failed == ["failed"]


async def test_the_socket_is_told_of_the_first_failure_only() -> None:
    """The others are noted, in their order."""
    owner = Owner()
    errors = [ValueError(), TypeError(), KeyError()]
    async with keeping(owner) as keeper:
        for error in errors:
            keeper.fail(error)
    assert list(keeper.failures) == errors
    assert owner.failed == ["failed"]


async def test_tasks_are_cancelled_before_the_socket_is_told() -> None:
    """Else they would fail as well, for finding the socket closed."""
    owner, seen = Owner(), list[str]()

    async def waiting() -> None:
        try:
            await closed.wait()
            seen.append("woken")  # pragma: no cover
        except trio.Cancelled:
            seen.append("cancelled")
            raise

    closed = trio.Event()
    owner.failure = closed.set  # type: ignore[method-assign]
    async with keeping(owner) as keeper:
        keeper.start_soon(waiting)
        await wait_all_tasks_blocked()
        keeper.fail(ValueError())
        await wait_all_tasks_blocked()
    assert seen == ["cancelled"]


async def test_a_task_that_fails_while_it_is_cancelled() -> None:
    """What its clean-up raises is a failure, also at the very end."""
    owner, error = Owner(), ValueError()

    async def failing() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise error

    async with keeping(owner) as keeper:
        keeper.start_soon(failing)
        await wait_all_tasks_blocked()
    assert keeper.failures == (error,)


async def test_a_task_started_after_a_failure_is_cancelled() -> None:
    """The block is being left, if not yet by everybody."""
    owner, seen = Owner(), list[str]()

    async def task() -> None:
        seen.append("begun")
        await trio.lowlevel.checkpoint()
        seen.append("not cancelled")  # pragma: no cover

    async with keeping(owner) as keeper:
        keeper.fail(ValueError())
        keeper.start_soon(task)
        await wait_all_tasks_blocked()
        assert seen == ["begun"]


@pytest.mark.parametrize("nested", [False, True])
async def test_cancellations_are_no_part_of_a_failure(nested: bool) -> None:
    """A nursery of the user's mixes them in; what is kept is what went wrong, at any depth."""
    owner, error = Owner(), ValueError()

    async def fail_when_cancelled() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise error

    async def family() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            nursery.start_soon(fail_when_cancelled)

    async def nested_family() -> None:
        async with trio.open_nursery() as nursery:  # noqa: ASYNC112 - one more layer of groups
            nursery.start_soon(family)

    with trio.CancelScope() as outer:
        async with keeping(owner) as keeper:
            keeper.start_soon(nested_family if nested else family)
            await wait_all_tasks_blocked()
            outer.cancel()
            with trio.CancelScope(shield=True):
                await wait_all_tasks_blocked()
    [failure] = keeper.failures
    assert isinstance(failure, ExceptionGroup)
    assert failure.split(trio.Cancelled)[0] is None
    while isinstance(failure, ExceptionGroup):
        [failure] = failure.exceptions
    assert failure is error


async def test_a_group_of_nothing_but_cancellations_is_no_failure() -> None:
    """It travels on to the scope that it belongs to."""
    owner = Owner()

    async def family() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            nursery.start_soon(trio.sleep_forever)

    with trio.CancelScope() as outer:
        async with keeping(owner) as keeper:
            keeper.start_soon(family)
            await wait_all_tasks_blocked()
            outer.cancel()
            with trio.CancelScope(shield=True):
                await wait_all_tasks_blocked()
    assert outer.cancelled_caught
    assert (owner.failed, keeper.failures) == ([], ())


@pytest.mark.parametrize("reason", ["leaving", "the server is leaving", "a failure", "none"])
async def test_finding_the_socket_closed_is_no_failure_if_that_is_explained(reason: str) -> None:
    """The block is being left, or something has failed already; anything else counts."""
    owner, error = Owner(), SocketClosedError()
    async with keeping(owner) as root:
        keeper = root.child(owner) if "server" in reason else root
        if "leaving" in reason:
            root.leave()
        expected: list[BaseException] = [] if root.leaving else [error]
        if reason == "a failure":
            keeper.fail(failure := KeyError())
            error.__cause__ = failure
            expected = [failure]
        assert keeper.explains(error) is (reason != "none")
        assert not keeper.explains(KeyError())
        assert not keeper.explains(None)
        keeper._note(error)
        assert list(keeper.take_failures()) == expected
        assert keeper.take_failures() == ()


async def test_what_is_left_may_also_be_known_to_end_with_a_checkpoint() -> None:
    """That is remembered, whoever says afterwards that the block is being left."""
    owner = Owner()
    async with keeping(owner) as keeper:
        keeper.leave()
        assert (keeper.leaving, keeper.exiting) == (True, False)
        keeper.leave(exiting=True)
        keeper.leave()
        assert (keeper.leaving, keeper.exiting) == (True, True)


async def test_a_function_that_is_not_async_fails_the_task() -> None:
    """The mistake comes out like any other failure."""
    owner = Owner()
    async with keeping(owner) as keeper:
        keeper.start_soon(int)  # type: ignore[arg-type]
        await wait_all_tasks_blocked()
    assert [type(error) for error in keeper.failures] == [TypeError]


def test_ctrl_c_interrupts_a_busy_task() -> None:
    """With a real signal: the task is cut short, and the interrupt is its failure."""
    steps: list[str] = []

    async def busy() -> None:
        steps.append("begun")
        signal.raise_signal(signal.SIGINT)
        steps.append("not interrupted")  # pragma: no cover

    async def main() -> None:
        owner = Owner()
        async with keeping(owner) as keeper:
            keeper.start_soon(busy)
            await wait_all_tasks_blocked()
        steps.extend(type(error).__name__ for error in keeper.failures)

    trio.run(main)
    assert steps == ["begun", "KeyboardInterrupt"]


# The end


async def test_finishing_is_a_checkpoint_and_sees_no_cancellation() -> None:
    """Nothing outlives the block, whoever is in a hurry; nothing starts afterwards."""
    owner, others = Owner(), list[str]()

    async def other() -> None:
        others.append("ran")

    async with trio.open_nursery() as nursery:
        keeper = Keeper(nursery, owner)
        keeper.wake()
        nursery.start_soon(other)
        with trio.CancelScope() as scope:
            scope.cancel()
            await keeper.finish()
            await keeper.finish()
        assert not scope.cancelled_caught
        assert others == ["ran"]
        keeper.wake()
        await wait_all_tasks_blocked()
        assert children() == []


# Accepted sockets


async def test_a_child_keeps_its_own_failures_and_work() -> None:
    """An accepted socket lives in its server's nursery and fails for itself."""
    server, socket = Owner(), Owner()
    async with keeping(server) as keeper:
        child = keeper.child(socket)
        grandchild = child.child(socket)
        assert keeper.root is child.root is grandchild.root is keeper
        child.wake()
        child.start_soon(trio.sleep_forever)
        await wait_all_tasks_blocked()
        assert (len(server.times), len(socket.times)) == (0, 1)
        child.fail(ValueError())
        assert (server.failed, socket.failed) == ([], ["failed"])
        assert (len(keeper.failures), len(child.failures)) == (0, 1)
        await child.finish()
        assert (keeper.ended, child.ended) == (False, True)


async def test_children_end_with_the_server_s_block() -> None:
    """When it is left, no task can be started for them."""
    server, socket = Owner(), Owner()
    async with keeping(server) as keeper:
        child = keeper.child(socket)
        assert not child.ended
    assert child.ended


async def test_handlers_see_the_context_of_the_block() -> None:
    """A child's is that of its server's block, and a copy, whoever accepted it."""
    VARIABLE.set("block")
    async with keeping(Owner()) as keeper:
        VARIABLE.set("later")
        child = keeper.child(Owner())
        assert keeper.context[VARIABLE] == child.context[VARIABLE] == "block"
        child.context.run(VARIABLE.set, "of the child")
        assert keeper.context[VARIABLE] == "block"


async def test_a_keeper_does_not_keep_the_socket() -> None:
    """A connection that is over and that nobody has any more goes away by itself."""
    owner = Owner()
    reference = weakref.ref(owner)
    gc.disable()
    try:
        async with trio.open_nursery() as nursery:
            keeper = Keeper(nursery, owner)
            keeper.wake()
            await wait_all_tasks_blocked()
            del owner
            assert reference() is None
            keeper.fail(ValueError())
            keeper.wake()
            await wait_all_tasks_blocked()
            await keeper.finish()
    finally:
        gc.enable()


async def test_a_task_of_the_user_s_keeps_the_socket() -> None:
    """While one runs, its failure has to find the socket."""
    owner, failed, go = Owner(), list[str](), trio.Event()
    owner.failed = failed

    async def failing() -> None:
        await go.wait()
        raise ValueError

    async with trio.open_nursery() as nursery:
        keeper = Keeper(nursery, owner)
        keeper.start_soon(failing)
        await wait_all_tasks_blocked()
        del owner
        go.set()
        await wait_all_tasks_blocked()
        assert failed == ["failed"]
        await keeper.finish()


# Other threads


async def test_another_thread_is_refused() -> None:
    """While the block is open; afterwards there is nothing to disturb."""
    owner = Owner()

    def refused(call: Callable[[], object]) -> None:
        with pytest.raises(InvalidStateError, match="in another thread"):
            call()

    async with keeping(owner) as keeper:
        keeper.wake()
        await wait_all_tasks_blocked()
        child = keeper.child(owner)
        for each in (keeper, child):
            for call in (each.check_thread, each.wake):
                await trio.to_thread.run_sync(refused, call)
            each.check_thread()
        keeper.wake()
        await wait_all_tasks_blocked()
        assert len(owner.times) == 2
    await trio.to_thread.run_sync(keeper.check_thread)
