"""The base of what is used with ``async with``: its scope, its events, and how handlers run."""

from __future__ import annotations

import abc
import math
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self, TypeVar, TypeVarTuple, Unpack

import trio

from trio_xsock._values.errors import InvalidStateError
from trio_xsock._values.events import Event

from .block import Block
from .channel import EventChannel
from .delivery import Delivery, Sender
from .guard import Parking, protect_from_ki
from .handlers import METHODS, check_async_function, handler_methods
from .hub import EventHub
from .keeper import Keeper
from .readiness import release_readiness
from .waits import Waits

T = TypeVar("T")

Ts = TypeVarTuple("Ts")


@protect_from_ki
class Scoped(abc.ABC):
    """The base of sockets and servers: a block, its tasks, its events."""

    __slots__ = (
        "__dict__",
        "__weakref__",
        "_block",
        "_delivery",
        "_keeper",
        "_waits",
    )

    _HANDLER_METHODS: tuple[str, ...] = METHODS
    _HUB: type[EventHub] = EventHub
    """What the events of this kind of socket need."""

    def __init__(self, handler: object, events: EventChannel | None) -> None:
        self._block: Block | None = None
        self._keeper: Keeper | None = None
        self._waits: Waits | None = None  # made for the first wait with a time-out
        self._delivery = Delivery(self._HUB())
        if handler is not None:
            self.handler = handler
        if events is not None:
            if not isinstance(events, EventChannel):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise TypeError(f"events must be an EventChannel, not {type(events).__name__}")
            self._delivery.hub.adopt_channel(events)

    # Events

    @property
    def handler(self) -> Any:
        """The callback object, or ``None``; see ``SocketHandler`` for its methods.

        Raises (assignment):
            TypeError: it is a class; it has none of the methods, or one with nearly the name of
                one; one of the methods is an ``async def``.
        """
        return self._delivery.handler

    @handler.setter
    def handler(self, handler: object) -> None:
        methods = {} if handler is None else handler_methods(handler, self._HANDLER_METHODS)
        self._delivery.set_handler(handler, methods)
        self._handler_changed()

    def _handler_changed(self) -> None:  # noqa: B027 - mostly there is nothing to do
        """For classes whose new handlers get what waits already."""

    @property
    def events(self) -> EventChannel[Event[Self]]:
        """The socket's event channel, made when it is first used.

        A channel made later begins with the events that describe the present state: ``Connected``,
        ``DataAvailable`` or the final ``ErrorOccurred``. Iteration ends when the connection has
        ended, nothing is queued to be sent and all events were read.
        """
        return self._delivery.hub.own_channel(self._events_now)

    def subscribe(self) -> EventChannel[Event[Self]]:
        """A further channel; each channel gets every event."""
        return self._delivery.hub.subscribe(self._events_now)

    @abc.abstractmethod
    def _events_now(self) -> list[Event]:
        """The events that describe the present state to a new consumer."""

    # The block

    async def __aenter__(self) -> Self:
        """Open the socket's block; a checkpoint.

        Raises:
            InvalidStateError: it was entered before.
            RuntimeError: this is not a task of Trio.
        """
        trio.lowlevel.current_task()  # under asyncio the error would be less clear
        await trio.lowlevel.checkpoint()
        if self._block is not None:
            raise InvalidStateError(f"{self!r}: its `async with` block can be entered only once")
        self._block = block = Block()
        keeper = self._keeper
        if keeper is None:
            keeper = Keeper(await block.open_nursery(), self)
            self._live_in(keeper)
        block.open_body()
        if keeper.failures:
            block.cancel_body()
        return self

    def _live_in(self, keeper: Keeper) -> None:
        """The tasks of this socket run in the block that ``keeper`` is of."""
        self._keeper = keeper
        self._delivery.open(self, keeper)

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close, end all tasks, and raise what has failed.

        Cancellation: the socket is closed at once.
        """
        block, keeper = self._block, self._delivery.require_keeper()
        if block is None:  # of a socket that a server accepted
            raise InvalidStateError(f"{self!r}: its `async with` block was not entered")
        error = block.close_body(exc)
        if keeper.explains(error):
            error = None
        keeper.leave(exiting=True)
        if error is not None or keeper.failures:
            self.close()
        elif not keeper.closed:
            try:
                await self.aclose()
            except BaseException as cancelled:  # noqa: ASYNC103 - raised below, when all has ended
                error = cancelled
        # Both wait for tasks that are ending, as leaving a nursery does.
        await self._end_scope()  # noqa: ASYNC102
        error, leftover = await block.close_nursery(error)  # noqa: ASYNC102
        failures = list(keeper.take_failures())
        try:
            block.raise_errors(exc, error, failures, leftover)
        finally:
            del exc, error, failures, leftover  # their tracebacks refer to this frame

    @abc.abstractmethod
    async def _end_scope(self) -> None:
        """Close, and end all tasks of the block, finally by ``finish``.

        This is not a close by the user: the cause of an earlier end is kept.
        """

    async def run(self, *, task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED) -> None:
        """The socket's block in a task of its own: ``await nursery.start(sock.run)``.

        Reports ``started(self)`` and returns when the socket is closed: by ``close``, ``aclose`` or
        ``disconnect``, or because the connection ended (what is buffered stays readable). A failed
        ``connect`` does not end it: it may be tried again.

        Cancellation: closes the socket at once.
        """
        async with self:
            task_status.started(self)
            await self._delivery.require_keeper().wait_closed()

    def start_soon(self, async_fn: Callable[[Unpack[Ts]], Awaitable[object]], *args: *Ts) -> None:
        """Start a task in the socket's nursery; how a handler does async work.

        The task is cancelled when the block is left. If it raises, the socket is closed, the
        body cancelled, and the exception leaves the block. Only a ``SocketError`` that was posted
        to a handler's ``on_error``, or to a channel, is not raised again: the task just ends.

        Raises:
            InvalidStateError: outside the block.
            TypeError: ``async_fn`` is no async function.
        """
        keeper = self._require_block("start_soon()")
        check_async_function("async_fn", async_fn)
        keeper.start_soon(async_fn, *args)

    def _require_block(self, call: str) -> Keeper:
        keeper = self._keeper
        if keeper is None:
            raise InvalidStateError(
                f"{self!r}: {call} needs the socket's block: use `async with "
                f"{type(self).__name__}(...) as sock:` or `await nursery.start(sock.run)`"
            )
        keeper.check_thread()
        if keeper.ended:
            raise InvalidStateError(
                f"{self!r}: {call} is not possible any more, the `async with` block has been "
                f"left; make a new {type(self).__name__}"
            )
        return keeper

    def _check_thread(self) -> None:
        """Refuse a call from another thread before anything is done."""
        if self._keeper is not None:
            self._keeper.check_thread()

    def _handle_failure(self) -> None:
        """A handler or a user's task failed: no handler is called any more."""
        self._delivery.silence()
        if self._block is not None:  # first, so that its waits are cancelled, and do not raise
            self._block.cancel_body()
        self.close()

    @abc.abstractmethod
    def _contain(self, error: Exception) -> bool:
        """See ``Kept``."""

    def _was_told(self, error: BaseException) -> bool:
        """See ``Kept``: whether ``error`` was posted to a handler or a channel."""
        return self._delivery.was_told(error)

    # Handlers

    def _run_handlers(self) -> None:
        """Make the handler calls that are due, unless they are held; see ``Delivery.run``."""
        self._delivery.run(self)

    async def _settle(self) -> None:  # noqa: ASYNC910 - comes after a call's own checkpoint
        """Call the handlers of the events that an awaited call has caused, at its end."""
        await self._delivery.settle(self)

    @abc.abstractmethod
    def _send_some(self) -> bool:
        """See ``Sender``."""

    @abc.abstractmethod
    def _abort_from_handler(self) -> None:
        """See ``Sender``."""

    def _work(self) -> float:
        """The work of the keeper task; returns when to call it next."""
        self._run_handlers()
        deadline = self._next_deadline()
        waits = self._waits
        if waits is None:
            return deadline
        if waits.need_look():
            self._take_stock()
        # If there is more input to decode, the keeper task was woken, and comes back here.
        return deadline if self._is_behind() else min(deadline, waits.end_due())

    def _take_stock(self) -> None:  # noqa: B027 - a server has nothing to look at
        """Read what has arrived and send what the OS takes.

        Call it before a deadline is judged: the event loop may have been blocked, and Trio checks
        deadlines before it serves the sockets.
        """

    def _is_behind(self) -> bool:
        """Whether input was read that has not been decoded yet."""
        return False

    async def _park_for(  # noqa: ASYNC910 - parking is a checkpoint
        self, parking: Parking[T | None], seconds: float, withdraw: Callable[[], None]
    ) -> T | None:
        """See ``Waits.park``; ``math.inf`` is no limit."""
        if seconds == math.inf:
            return await parking.park(withdraw)
        keeper = self._delivery.require_keeper()
        if self._waits is None:
            self._waits = Waits()
        return await self._waits.park(keeper, parking, seconds, withdraw)

    @abc.abstractmethod
    def _next_deadline(self) -> float:
        """Do what is due; returns when to call it again, on Trio's clock."""

    # The end

    @abc.abstractmethod
    def close(self) -> None:
        """End everything at once."""

    @abc.abstractmethod
    async def aclose(self, grace: float = 5.0) -> None:
        """End gracefully."""


async def finish(delivery: Delivery, sender: Sender) -> None:  # noqa: ASYNC910 - the block has checkpoints
    """Make the handler calls that are due when a block, or an accepted connection, is left.

    Then end all its tasks.

    Args:
        delivery: that of the socket.
        sender: sends what handlers queue.

    Cancellation: shielded, because nothing may outlive the block.
    """
    while delivery.hub.calls:
        delivery.run(sender)
        await trio.lowlevel.cancel_shielded_checkpoint()
    keeper = delivery.keeper
    if keeper is not None:
        await keeper.finish()
        if keeper.hub is not None:  # the server's keeper has that of its sockets
            await release_readiness(keeper)
    delivery.release()
