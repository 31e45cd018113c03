"""Learning that a descriptor is ready, and calling the socket's step when it is.

A socket uses a *watch*: it says which readiness it wants, and plain functions of the socket, the
steps, are called when the descriptor is ready. There are two kinds, and only this module chooses
between them: a watch in the readiness hub, and a portable one, which waits with Trio's
own ``wait_readable`` and ``wait_writable`` in two tasks that start when first needed.
"""

from __future__ import annotations

import os
import socket as stdlib_socket
from collections.abc import Awaitable, Callable
from typing import Protocol

import trio

from trio_xsock._platform.system import is_linux

from .clock import runs_by_itself
from .epoll import EpollHub
from .guard import protect_from_ki
from .keeper import Keeper
from .steps import Steps


class Watch(Protocol):
    """Calls a socket's steps when its descriptor is ready."""

    @property
    def hung_up(self) -> bool:
        """Whether the OS has reported an error or a hang-up; true too if that is not known."""
        ...

    def reading(self, wanted: bool, /) -> None:
        """Say whether the read step should be called while there is something to read."""

    def writing(self, wanted: bool, /) -> None:
        """Say whether the write step should be called while the OS would take bytes."""

    def report_hang_up(self) -> bool:
        """Call the read step, once, when the connection was reset or has ended both ways.

        Returns:
            Whether that is possible while reading is not wanted; if not, no task may wait for
            the descriptor itself.
        """
        ...

    def close(self) -> None:
        """Forget the descriptor; to be called before it is closed."""


def watch_socket(
    keeper: Keeper,
    sock: stdlib_socket.socket,
    steps: Steps,
) -> Watch:
    """Watch a non-blocking socket; nothing is wanted at first.

    On Linux this is a watch of the readiness hub, see ``epoll``; with any other clock than the
    system's, on other systems, or with ``TRIO_XSOCK_READINESS=portable`` in the environment, it is
    a ``PortableWatch``.

    Args:
        keeper: where tasks are started.
        sock: the socket; it stays the caller's.
        steps: called while there is input, an end of input or an error, or while the send buffer
            has room.

    Returns:
        The watch, to be closed before ``sock`` is.
    """
    root = keeper.root
    if root.hub is None and _hub_is_usable():
        root.hub = _join_hub()
    if root.hub is not None:
        return root.hub.watch(sock, steps, keeper)
    return PortableWatch(keeper, sock, steps)


async def release_readiness(keeper: Keeper) -> None:  # noqa: ASYNC910 - see Keeper.finish
    """A block has been left: it needs no hub any more.

    Cancellation: is not seen.
    """
    hub, keeper.hub = keeper.hub, None
    if hub is not None:
        await hub.leave()


def _hub_is_usable() -> bool:
    if not is_linux() or os.environ.get("TRIO_XSOCK_READINESS") == "portable":
        return False
    # A mock clock stops while the kernel does not: Trio has to wait for each socket itself.
    return runs_by_itself()


def _join_hub() -> EpollHub | None:
    try:
        return EpollHub.join()
    except OSError:  # no descriptor is left for the set: portable watches work without it
        return None


@protect_from_ki
class PortableWatch:
    """A watch made of Trio's public functions only; one task for each direction in use."""

    __slots__ = ("_closed", "_reads", "_sock", "_writes")

    hung_up = True  # Trio does not tell

    def __init__(self, keeper: Keeper, sock: stdlib_socket.socket, steps: Steps) -> None:
        self._sock = sock
        self._reads = _Direction(keeper, sock, trio.lowlevel.wait_readable, steps.on_readable)
        self._writes = _Direction(keeper, sock, trio.lowlevel.wait_writable, steps.on_writable)
        self._closed = False

    def reading(self, wanted: bool, /) -> None:
        """See ``Watch.reading``."""
        self._reads.want(wanted)

    def writing(self, wanted: bool, /) -> None:
        """See ``Watch.writing``."""
        self._writes.want(wanted)

    def report_hang_up(self) -> bool:
        """See ``Watch.report_hang_up``: Trio knows of no such thing."""
        return False

    def close(self) -> None:
        """See ``Watch.close``."""
        if not self._closed:
            self._closed = True
            self._reads.close()
            self._writes.close()
            trio.lowlevel.notify_closing(self._sock)


@protect_from_ki
class _Direction:
    """Waits for one kind of readiness while it is wanted."""

    __slots__ = ("_closed", "_keeper", "_parked", "_running", "_sock", "_step", "_wait", "_wanted")

    def __init__(
        self,
        keeper: Keeper,
        sock: stdlib_socket.socket,
        wait: Callable[[stdlib_socket.socket], Awaitable[None]],
        step: Callable[[], object],
    ) -> None:
        self._keeper = keeper
        self._sock = sock
        self._wait = wait
        self._step = step
        self._wanted = False
        self._running = False
        self._closed = False
        self._parked: trio.lowlevel.Task | None = None

    def want(self, wanted: bool) -> None:
        if self._closed:
            return
        self._wanted = wanted
        if not wanted:
            return
        if not self._running:
            self._running = True
            self._keeper.serve(self._run, "trio_xsock readiness")
        else:
            self._unpark()

    def close(self) -> None:
        self._closed = True
        self._unpark()

    def _unpark(self) -> None:
        if self._parked is not None:
            trio.lowlevel.reschedule(self._parked)  # which refuses another thread
            self._parked = None

    async def _run(self) -> None:
        while not self._closed:
            if self._wanted:
                try:
                    await self._wait(self._sock)
                except trio.ClosedResourceError:  # from notify_closing
                    break
                self._step_if_wanted()
            else:
                await self._park()
        # The steps are bound methods, which refer to the socket: drop them.
        del self._step
        await trio.lowlevel.cancel_shielded_checkpoint()

    def _step_if_wanted(self) -> None:
        if self._wanted and not self._closed:
            try:
                self._step()
            except BaseException as exc:  # noqa: ASYNC103 - nothing in a step awaits
                self._keeper.fault(exc)

    async def _park(self) -> None:
        def abort(_: object) -> trio.lowlevel.Abort:
            return trio.lowlevel.Abort.FAILED  # pragma: no cover  (services are shielded)

        self._parked = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(abort)
