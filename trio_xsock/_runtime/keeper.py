"""The tasks and the failures of one socket.

Every socket has a keeper. It hosts three kinds of tasks in one nursery, its own or its
server's:

* the *keeper task*, made when first needed: it calls handlers whose events came up in a plain
  call, and handles timers and other work that cannot happen in the caller;
* *service tasks* of the library, which wait for the descriptor;
* the user's tasks, from ``start_soon``.

The library's own tasks are shielded: they outlive a cancelled body, so that a graceful close
in its ``finally`` can still send what is queued. The user's tasks are not.

Their exceptions never enter the nursery: Trio would wrap them in a group, cancel all at
once, and a body's own exception would be in that group as well. ``fail`` notes the exception
instead, and the socket raises it unwrapped when its block is left.
"""

from __future__ import annotations

import contextvars
import math
import weakref
from collections.abc import Awaitable, Callable
from threading import get_ident
from typing import TYPE_CHECKING, TypeVarTuple, Unpack

import trio

from trio_xsock._values.errors import InvalidStateError, SocketClosedError

from .faults import log_fault
from .groups import leaves, without_cancelled
from .guard import await_unprotected, protect_from_ki
from .kept import Kept
from .sleep import Sleep

if TYPE_CHECKING:
    from .epoll import EpollHub

Ts = TypeVarTuple("Ts")

_AFTER_A_FAULT = 1.0
"""Seconds until the keeper task tries again after its own work has raised."""


@protect_from_ki
class Keeper:
    """Runs a socket's tasks and collects what fails in them.

    Args:
        nursery: where the tasks run; it outlives the keeper.
        owner: the socket or server. The keeper has a weak reference to it: with a strong one, a
            connection of a server that is over would be freed by the cyclic garbage collector
            only.
        parent: the server's keeper, for a socket that a server accepted.

    Attributes:
        context: the context variables that handlers run in.
        failures: the exceptions that will leave the block, the first one first.
        root: the keeper whose block this is: the server's, or this one.
        thread: the thread of the Trio run that the block is in.
        hub: the readiness hub that the block uses, if it does; see ``_readiness``.
        leaving: the block is being left, or will be in a moment, gracefully so far.
        exiting: the block is being left, and ends with a checkpoint.
    """

    __slots__ = (
        "_closed",
        "_ended",
        "_finished",
        "_nursery",
        "_owner",
        "_retired",
        "_sleep",
        "_tasks",
        "_user_scopes",
        "context",
        "exiting",
        "failures",
        "hub",
        "leaving",
        "root",
        "thread",
    )

    def __init__(self, nursery: trio.Nursery, owner: Kept, parent: Keeper | None = None) -> None:
        self.root: Keeper
        self.thread: int
        self.context: contextvars.Context
        if parent is None:
            self.root, self.thread = self, get_ident()
            self.context = contextvars.copy_context()
        else:
            self.root, self.thread = parent.root, parent.thread
            # A server's sockets are made in tasks of the library: what counts is the task that
            # entered the server's block.
            self.context = parent.context.copy()
        self.hub: EpollHub | None = None
        self.leaving = False
        self.exiting = False
        self.failures: tuple[BaseException, ...] = ()  # a list for each would take 56 bytes
        self._nursery = nursery
        self._owner: weakref.ref[Kept] = weakref.ref(owner)
        self._tasks = 0
        self._user_scopes: set[trio.CancelScope] | None = None
        self._sleep: Sleep | None = None  # of the keeper task, while there is one
        self._retired = False
        self._ended = False
        self._finished: trio.Event | None = None
        self._closed: trio.Event | None = None

    @property
    def ended(self) -> bool:
        """No more tasks can be started."""
        return self._ended or self.root._ended

    def check_thread(self) -> None:
        """Refuse a call outside of the Trio run of the block.

        Raises:
            InvalidStateError: this is another thread.
        """
        if self.thread != get_ident() and not self.ended:
            raise InvalidStateError(
                "a socket belongs to the Trio run that entered its block, in another thread; "
                "from here use trio.from_thread.run_sync(function, trio_token=token)"
            )

    def child(self, owner: Kept) -> Keeper:
        """A keeper for a socket that a server accepted; its tasks live in the server's nursery."""
        return Keeper(self._nursery, owner, self)

    def start_soon(self, async_fn: Callable[[Unpack[Ts]], Awaitable[object]], *args: *Ts) -> None:
        """Start a user's task; it is cancelled when the socket's block is left."""
        self._tasks += 1
        self._nursery.start_soon(self._run_user_task, self._owner(), async_fn, args, name=async_fn)

    def serve(self, async_fn: Callable[[], Awaitable[None]], name: str) -> None:
        """Start a service task of the library; it ends by itself when the socket closes."""
        self.check_thread()
        self._tasks += 1
        self._nursery.start_soon(self._run_service, async_fn, name=name)

    def wake(self) -> None:
        """Let the keeper task call ``work`` soon."""
        self.check_thread()
        if self._sleep is not None:
            self._sleep.end()
        elif not self._ended:
            self._sleep = Sleep()
            self.serve(self._run_keeper, "trio_xsock keeper")

    @property
    def closed(self) -> bool:
        """``wait_closed`` was waiting, and the socket was closed."""
        return self._closed is not None and self._closed.is_set()

    def note_closed(self) -> None:
        """The socket is closed: that is when ``run`` leaves its block."""
        if self._closed is not None:
            self.leaving = True
            self._closed.set()

    async def wait_closed(self) -> None:
        """Wait until ``note_closed`` is called.

        Cancellation: changes nothing.
        """
        self._closed = trio.Event()
        await self._closed.wait()

    def leave(self, *, exiting: bool = False) -> None:
        """The block is about to be left gracefully.

        Args:
            exiting: it ends with a checkpoint.
        """
        self.leaving = True
        self.exiting = self.exiting or exiting

    def retire(self) -> None:
        """The connection of an accepted socket is over: end its parked keeper task."""
        self._retired = True
        if self._sleep is not None:
            self.wake()

    def fail(self, error: BaseException) -> None:
        """Note a failure of a handler or of a user's task."""
        self.failures += (error,)
        del error  # the frames of what is cancelled below refer to this one
        if len(self.failures) == 1:
            # Before the socket is closed, because otherwise they would fail, too.
            self.cancel_user_tasks("a handler or task of the socket failed")
            owner = self._owner()
            if owner is not None:
                owner._handle_failure()

    def take_failures(self) -> tuple[BaseException, ...]:
        """Remove and return the failures so far, for the caller to raise or report."""
        failures, self.failures = self.failures, ()
        return failures

    def fault(self, error: BaseException) -> None:
        """A step or a service task of the library raised; never raises itself.

        In the block of a server it concerns one peer, and the server continues. A socket
        with a block of its own fails.
        """
        owner = self._owner()
        if not isinstance(error, Exception):
            self.fail(error)
        elif owner is None:
            log_fault("a connection that is over", error)
        elif not owner._contain(error):
            self.fail(error)

    def explains(self, error: BaseException | None) -> bool:
        """Whether ``error`` is only a consequence of leaving the block, or of an earlier failure.

        Either closes the socket, and then cancels tasks; a task that raises in between has not
        failed.
        """
        if not isinstance(error, SocketClosedError):
            return False
        return self.leaving or self.root.leaving or error.__cause__ in self.failures

    def cancel_user_tasks(self, reason: str) -> None:
        """Cancel what ``start_soon`` started."""
        for scope in self._user_scopes or ():
            scope.cancel(reason)

    async def finish(self) -> None:  # noqa: ASYNC910 - the nursery left next has a checkpoint
        """Cancel the user's tasks, end the keeper task, and wait until all tasks are gone.

        Cancellation: shielded, because nothing may outlive the block.
        """
        self._ended = True
        self.cancel_user_tasks("the socket's block was left")
        if self._sleep is not None:
            self.wake()
        if self._tasks:
            self._finished = trio.Event()
            with trio.CancelScope(shield=True):
                await self._finished.wait()

    async def _run_user_task(
        self,
        _owner: object,  # keeps the socket alive: a failure has to find it
        async_fn: Callable[[Unpack[Ts]], Awaitable[object]],
        args: tuple[*Ts],
    ) -> None:
        scope = trio.CancelScope()
        if self._ended or self.failures:
            scope.cancel("the socket's block was left")
        if self._user_scopes is None:
            self._user_scopes = set()
        self._user_scopes.add(scope)
        try:
            with scope:
                await await_unprotected(async_fn, *args)
        except trio.Cancelled:
            raise
        except BaseException as exc:
            self._note(exc)
            await trio.lowlevel.cancel_shielded_checkpoint()
        finally:
            self._user_scopes.discard(scope)
            self._task_ended()

    def _note(self, exc: BaseException) -> None:
        """Fail with ``exc``, without the cancellations in it.

        A loss that was posted to a handler or a channel is not a failure.
        """
        rest = without_cancelled(exc)
        try:
            if rest is None:
                raise exc
            owner = self._owner()
            told = owner is not None and all(map(owner._was_told, leaves(rest)))
            if not told and not self.explains(rest):
                self.fail(rest)
        finally:
            del exc, rest  # the frames of what was cancelled refer to this one

    async def _run_service(self, async_fn: Callable[[], Awaitable[None]]) -> None:
        try:
            with trio.CancelScope(shield=True):
                await async_fn()
        except trio.Cancelled:
            raise
        except BaseException as exc:
            self.fault(exc)
            await trio.lowlevel.cancel_shielded_checkpoint()
        finally:
            self._task_ended()

    def _task_ended(self) -> None:
        self._tasks -= 1
        if not self._tasks and self._finished is not None:
            self._finished.set()

    async def _run_keeper(self) -> None:
        sleep = self._sleep
        while sleep is not None and not self._ended:
            sleep.woken = False
            deadline = self._call_work()
            if sleep.woken:  # there is more to do; let other tasks run first
                await trio.lowlevel.cancel_shielded_checkpoint()
            elif self._retired and deadline == math.inf:
                break
            else:
                await sleep.until(deadline)
        self._sleep = None
        await trio.lowlevel.cancel_shielded_checkpoint()

    def _call_work(self) -> float:
        owner = self._owner()
        if owner is None:
            return math.inf
        try:
            return owner._work()
        except BaseException as exc:  # noqa: ASYNC103 - nothing in it awaits
            self.fault(exc)
            return trio.current_time() + _AFTER_A_FAULT  # noqa: ASYNC104 - see above
