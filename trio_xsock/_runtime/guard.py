"""Small guards that the sockets compose: parking, and protection from Ctrl-C."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Final, Generic, TypeVar, TypeVarTuple, Unpack

import trio

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
C = TypeVar("C", bound=type)


class Wakeups:
    """Counts of tasks that have something to do: they run before more input is looked for.

    Not attributes of a class: assigning to one makes Python forget what it knows of that class
    and all derived ones, several microseconds each time.

    Attributes:
        woken: how many tasks were rescheduled, or let other tasks run after they got input.
        resumed: how many of them have run since. A miscount, after a crash, costs but speed.
    """

    __slots__ = ("resumed", "woken")

    def __init__(self) -> None:
        self.woken = self.resumed = 0


WAKEUPS: Final = Wakeups()


async def let_others_run() -> None:
    """A schedule point of a task that has taken input already.

    Cancellation: shielded; it was checked before the input was taken.
    """
    WAKEUPS.woken += 1
    await trio.lowlevel.cancel_shielded_checkpoint()
    WAKEUPS.resumed += 1


def is_cancelled() -> bool:
    """Whether the task is cancelled now, so that its next checkpoint raises ``trio.Cancelled``.

    As ``trio.current_effective_deadline() == -inf``, at half its cost. That checkpoint lets
    others run first; what has to be done before they do comes between this and it.
    """
    steps = trio.lowlevel.checkpoint_if_cancelled().__await__()  # noqa: ASYNC105 - just begun
    for _ in steps:  # none, unless it is
        steps.close()
        return True
    return False


class Parking(Generic[T]):
    """One task that waits for one value; one use per object.

    The value is kept here rather than passed through Trio, so that it may also be handed over
    before the task has parked. That of a ``Parking[None]``, which only says when, is ``None``.
    """

    __slots__ = ("_done", "_error", "_on_cancel", "_task", "_value")

    _value: T
    """Not there before ``unpark``."""

    def __init__(self) -> None:
        self._task: trio.lowlevel.Task | None = None
        self._error: BaseException | None = None
        self._done = False

    @property
    def done(self) -> bool:
        """The value was handed over, or the task gave up."""
        return self._done

    async def park(self, on_cancel: Callable[[], None] | None = None) -> T:
        """Wait until ``unpark`` or ``fail``; a checkpoint in any case.

        Args:
            on_cancel: called at the moment of cancellation, to withdraw from where the value
                would have come from.

        Returns:
            The value given to ``unpark``.

        Cancellation: nothing was handed over.
        """
        if self._done:
            await let_others_run()
        else:
            await trio.lowlevel.wait_task_rescheduled(self.enter(on_cancel))
            WAKEUPS.resumed += 1
        if self._error is not None:
            raise self._forget(self._error)
        return self._value

    def enter(
        self, on_cancel: Callable[[], None] | None
    ) -> Callable[[object], trio.lowlevel.Abort]:
        """Begin to wait, if nothing was handed over yet; what ``park`` does first.

        Returns:
            What to give to ``wait_task_rescheduled``; ``leave`` follows. So a call that is made
            often does without the coroutine of ``park``, which takes 200 bytes.
        """
        try:
            self._task = trio.lowlevel.current_task()
        except RuntimeError:  # this is no task of Trio's
            if on_cancel is not None:
                on_cancel()
            raise
        self._on_cancel = on_cancel
        return self._abort

    def leave(self) -> T:
        """The wait is over; returns the value, or raises, as ``park`` does."""
        WAKEUPS.resumed += 1
        if self._error is not None:
            raise self._forget(self._error)
        return self._value

    def _forget(self, error: BaseException) -> BaseException:
        """Not to be kept here: the traceback that it is about to get holds this object."""
        self._error = None
        return error.with_traceback(None)

    async def wait(self) -> T:
        """As ``park``; but a cancellation leaves it as it was, to be waited at again."""

        def abort(_: object) -> trio.lowlevel.Abort:
            self._task = None
            return trio.lowlevel.Abort.SUCCEEDED

        if not self._done:
            self._task = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(abort)
            WAKEUPS.resumed += 1
        return await self.park()

    async def park_shielded(self) -> None:
        """Wait until ``unpark``, for what is certain to come soon; a schedule point.

        Cancellation: is not seen. A shielded ``CancelScope`` would do the same, for 5 us.
        """
        if self._done:
            await trio.lowlevel.cancel_shielded_checkpoint()
        else:
            self._task = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(_refuse)
            WAKEUPS.resumed += 1

    def _abort(self, _: object) -> trio.lowlevel.Abort:
        self._task = None
        self._done = True
        on_cancel, self._on_cancel = self._on_cancel, None
        if on_cancel is not None:
            on_cancel()
        return trio.lowlevel.Abort.SUCCEEDED

    def unpark(self, value: T) -> None:
        """Hand ``value`` over, once; later calls do nothing."""
        if not self._done:
            self._value = value
            self._wake()

    def fail(self, error: BaseException) -> None:
        """Let the task raise ``error``; does nothing after a value was handed over."""
        if not self._done:
            self._error = error
            self._wake()

    def _wake(self) -> None:
        self._done = True
        self._on_cancel = None  # it may refer to this object, and to the socket
        task, self._task = self._task, None
        if task is not None:
            WAKEUPS.woken += 1
            trio.lowlevel.reschedule(task)


def _refuse(_: object) -> trio.lowlevel.Abort:
    return trio.lowlevel.Abort.FAILED


@trio.lowlevel.disable_ki_protection
def call_unprotected(function: Callable[..., T], *args: object) -> T:
    """Call a user's function so that Ctrl-C can interrupt it, whoever calls us."""
    return function(*args)


@trio.lowlevel.disable_ki_protection
async def await_unprotected(async_fn: Callable[[Unpack[Ts]], Awaitable[T]], *args: *Ts) -> T:
    """Await a user's async function so that Ctrl-C can interrupt it, whoever calls us."""
    return await async_fn(*args)


def protect_from_ki(cls: C) -> C:
    """Class decorator: Ctrl-C waits until a method of the class has returned or parks.

    A ``KeyboardInterrupt`` between two statements of ours would leave counts that do not add
    up. Trio notes protection per code object, so this costs nothing at the call. It is called after
    a class of a module that may be compiled, since a decorated one could not be. Compiled methods
    need none: only what Python interprets is interrupted.
    """
    members: dict[str, Any] = dict(vars(cls))
    for member in members.values():
        if isinstance(member, property):
            functions: tuple[object, ...] = (member.fget, member.fset)
        else:
            functions = (getattr(member, "__func__", member),)  # of a class or static method
        for function in functions:
            if inspect.isfunction(function):
                trio.lowlevel.enable_ki_protection(function)
    return cls
