"""Calling a socket's steps for a transport that no kernel watches.

The steps are called by a service task of the socket, never by whoever made the transport
ready: that is what readiness looks like with a kernel, too. The task parks while nothing is
due, so that a clock that jumps when all tasks are idle does jump.
"""

from __future__ import annotations

import math
from typing import Protocol

import trio

from trio_xsock._network.transport import Transport
from trio_xsock._runtime.guard import protect_from_ki
from trio_xsock._runtime.keeper import Keeper
from trio_xsock._runtime.readiness import Watch
from trio_xsock._runtime.steps import StepPair, Steps

NOW = -math.inf
"""It is ready, whatever the time."""

NEVER = math.inf
"""It is not ready, unless something happens."""


class Readiness(Protocol):
    """What a transport tells of itself; both are times on Trio's clock."""

    def readable_at(self) -> float:
        """When there is input, an end of input or an error."""
        ...

    def writable_at(self) -> float:
        """When bytes are taken, or there is an error."""
        ...


class Layer(Readiness, Protocol):
    """A transport over another, of which it tells what does not depend on that other."""

    def wants_input(self) -> bool:
        """Whether the inner transport should be read."""
        ...

    def take_in(self) -> None:
        """Something has arrived at the inner transport."""
        ...

    def passes_on(self) -> bool:
        """Whether the inner transport decides if bytes can be sent."""
        ...


@protect_from_ki
class SelfWatch:
    """A watch of a transport that tells of its readiness; see ``_runtime.readiness.Watch``.

    Args:
        keeper: where the task is started.
        transport: to be asked, and to call ``update`` when its answers have changed.
        steps: called while reading is wanted and there is something, and while writing is wanted
            and possible.
    """

    __slots__ = (
        "_closed",
        "_deadline",
        "_keeper",
        "_parked",
        "_reads",
        "_running",
        "_steps",
        "_transport",
        "_writes",
    )

    hung_up = True  # that is the transport's business

    def __init__(self, keeper: Keeper, transport: Readiness, steps: Steps) -> None:
        self._keeper = keeper
        self._transport = transport
        self._steps = steps
        self._reads = self._writes = False
        self._running = self._closed = False
        self._deadline = NEVER  # how long it parks
        self._parked: trio.lowlevel.Task | None = None

    def reading(self, wanted: bool, /) -> None:
        """See ``Watch.reading``."""
        self._reads = wanted
        self.update()

    def writing(self, wanted: bool, /) -> None:
        """See ``Watch.writing``."""
        self._writes = wanted
        self.update()

    def report_hang_up(self) -> bool:
        """See ``Watch.report_hang_up``."""
        return False

    def close(self) -> None:
        """See ``Watch.close``."""
        self._closed = True
        self._unpark()

    def update(self) -> None:
        """What is wanted, or what the transport would answer, may have changed."""
        if self._closed or self._due_at() >= self._deadline:
            return
        if self._running:
            self._unpark()
        else:
            self._running = True
            self._keeper.serve(self._run, "trio_xsock.testing readiness")

    def _due_at(self) -> float:
        reads = self._transport.readable_at() if self._reads else NEVER
        writes = self._transport.writable_at() if self._writes else NEVER
        return min(reads, writes)

    def _unpark(self) -> None:
        task, self._parked = self._parked, None
        if task is not None:
            trio.lowlevel.reschedule(task)

    async def _run(self) -> None:
        while not self._closed:
            due_at = self._due_at()
            if due_at <= trio.current_time():
                self._step()
                await trio.lowlevel.cancel_shielded_checkpoint()
            else:
                await self._park_until(due_at)
        # They refer to the socket.
        del self._steps, self._transport
        await trio.lowlevel.cancel_shielded_checkpoint()

    def _step(self) -> None:
        now = trio.current_time()
        if self._reads and self._transport.readable_at() <= now:
            self._steps.on_readable()
        if self._writes and not self._closed and self._transport.writable_at() <= now:
            self._steps.on_writable()

    async def _park_until(self, deadline: float) -> None:
        def abort(_: object) -> trio.lowlevel.Abort:
            self._parked = None
            return trio.lowlevel.Abort.SUCCEEDED

        self._deadline = deadline
        with trio.CancelScope(deadline=deadline):
            self._parked = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(abort)
        self._deadline = NEVER


@protect_from_ki
class LayeredWatch:
    """A watch of a transport that lies over another, and of that other.

    Args:
        keeper: where the tasks are started.
        transport: to be asked, and to call ``refresh`` when its answers have changed.
        inner: the transport within.
        steps: called while reading is wanted and there is something, and while writing is wanted
            and possible.
    """

    __slots__ = ("_inner", "_own", "_transport", "_writes")

    hung_up = True  # likewise

    def __init__(
        self,
        keeper: Keeper,
        transport: Layer,
        inner: Transport,
        steps: Steps,
    ) -> None:
        self._transport = transport
        self._writes = False
        self._own = SelfWatch(keeper, transport, steps)
        own_steps = StepPair(transport.take_in, steps.on_writable)
        self._inner: Watch | None = inner.make_watch(keeper, own_steps)
        self._inner.reading(transport.wants_input())

    def reading(self, wanted: bool, /) -> None:
        """See ``Watch.reading``."""
        self._own.reading(wanted)

    def writing(self, wanted: bool, /) -> None:
        """See ``Watch.writing``."""
        self._writes = wanted
        self._own.writing(wanted)
        self.refresh()

    def refresh(self) -> None:
        """What the transport would answer may have changed."""
        if self._inner is not None:
            self._inner.reading(self._transport.wants_input())
            self._inner.writing(self._writes and self._transport.passes_on())
        self._own.update()

    def close_inner(self) -> None:
        """Forget the inner transport; to be called before it is closed."""
        inner, self._inner = self._inner, None
        if inner is not None:
            inner.close()

    def report_hang_up(self) -> bool:
        """See ``Watch.report_hang_up``."""
        return False

    def close(self) -> None:
        """See ``Watch.close``."""
        self.close_inner()
        self._own.close()
