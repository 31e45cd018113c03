"""``Delivery``: one socket's events go to its channels and its handler object.

Channels get an event when it is posted. A handler method is never called by ``post``: the call is
queued in the hub and made later, one at a time, when nothing *holds* the delivery. What holds it
(a step, a running handler, a call that is not done yet) delivers when it is done. So a handler
is never entered again while it runs, and what a plain call causes is delivered after it.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from contextvars import Context
from typing import Any, Protocol, TypeVarTuple, Unpack

import trio

from trio_xsock._values.errors import InvalidStateError, SocketError
from trio_xsock._values.events import DataAvailable, ErrorOccurred

from .guard import call_unprotected, protect_from_ki
from .hub import EventHub
from .keeper import Keeper

Ts = TypeVarTuple("Ts")

_NO_CONTEXT = Context()
"""Before the block was entered no handler runs."""

_CALLS_AT_A_TIME = 64
"""Handler calls in one go, before other tasks get their turn."""

_CALLS_PER_SEND = 4
"""What a send counts for: the system call, and the handler's calls that report it."""


class Sender(Protocol):
    """What sends the bytes that handlers have queued."""

    def _send_some(self) -> bool:
        """Send some of what is queued, if the OS takes it; whether to call it again."""
        ...

    def _abort_from_handler(self) -> None:
        """``on_send_progress`` returned True: drop what is queued."""
        ...


class Delivery:
    """Posts one socket's events, and calls its handler.

    Args:
        hub: the channels, the handler's methods, and the calls that are due.

    Attributes:
        hub: as above.
        context: the context variables that handlers run in.
        handler: the callback object, or ``None``.
        held: handlers are not to be called now; whoever set it delivers afterwards.
        keeper: the tasks of the socket's block; ``None`` before it was entered.
        last_error: the error posted last in the present life of the socket.
        socket: the socket, as events name it; ``None`` unless it is open or about to be, so
            that no reference cycle outlives a connection.
    """

    __slots__ = ("_told", "context", "handler", "held", "hub", "keeper", "last_error", "socket")

    def __init__(self, hub: EventHub) -> None:
        self.hub = hub
        self.handler: object = None
        self.held = False
        self.keeper: Keeper | None = None
        self.context: Context = _NO_CONTEXT
        self.last_error: SocketError | None = None
        self.socket: Any = None
        self._told: weakref.WeakSet[SocketError] | None = None  # errors that somebody heard of

    def open(self, socket: object, keeper: Keeper) -> None:
        """A life of the socket begins: a connection, or an attempt at one."""
        self.socket = socket
        self.keeper = keeper
        self.context = keeper.context
        self.last_error = None
        self.hub.begin(keeper.thread)

    def end(self) -> None:
        """The life is over; iteration over events ends when nothing is queued to be sent."""
        self.hub.end()

    def close(self) -> None:
        """The life is over, and nothing will be posted any more."""
        self.hub.end()
        self.socket = None

    def release(self) -> None:
        """The block was left: channels of many sockets need not remember this one."""
        self.hub.release()
        self.socket = None

    # Who listens

    def set_handler(self, handler: object, methods: dict[str, Callable[..., object]]) -> None:
        """Call these methods of ``handler`` from now on."""
        self.hub.set_handler(methods)
        self.handler = handler

    def silence(self) -> None:
        """A handler or task has failed: call no handler any more."""
        self.hub.set_handler({})
        self.hub.calls.clear()

    # Posting

    def post(self, kind: type[Any], *fields: object) -> None:
        """Post one event, if anybody listens for its kind.

        Args:
            kind: the event's class.
            fields: its fields, without the socket.
        """
        hub = self.hub
        if kind in hub.wanted:
            hub.post(kind, (self.socket, *fields))
            if hub.calls and not self.held:
                self.schedule()

    def post_error(self, error: SocketError) -> None:
        """Post ``ErrorOccurred``, and keep the error as ``last_error``."""
        self.last_error = error
        if ErrorOccurred in self.hub.wanted:
            if self._told is None:
                self._told = weakref.WeakSet()
            self._told.add(error)
        self.post(ErrorOccurred, error)

    def was_told(self, error: BaseException) -> bool:
        """Whether this very error was posted to a handler or a channel."""
        return self._told is not None and error in self._told

    def post_data(self) -> None:
        """Post ``DataAvailable``."""
        hub = self.hub
        if DataAvailable in hub.wanted:
            hub.post_data(self.socket)
            if hub.calls and not self.held:
                self.schedule()

    # Calling the handler

    def schedule(self) -> None:
        """Have the calls that are due made soon, by the keeper task."""
        if self.hub.calls and not self.held and self.keeper is not None:
            self.keeper.wake()

    def call(self, method: Callable[..., object], *arguments: object) -> object:
        """Call a handler's method now; what it raises is noted as the socket's failure."""
        try:
            return self.context.run(call_unprotected, method, *arguments)
        except BaseException as exc:  # noqa: ASYNC103 - nothing here awaits
            self.fail(exc)
            return None  # noqa: ASYNC104 - see above

    def fail(self, error: BaseException) -> None:
        """A handler has raised ``error``: it leaves the socket's block."""
        try:
            self.require_keeper().fail(error)
        finally:
            del error  # its traceback may refer to this frame

    def require_keeper(self) -> Keeper:
        """The tasks of the socket's block.

        Raises:
            InvalidStateError: the block was not entered.
        """
        if self.keeper is None:
            raise InvalidStateError("the socket's block was not entered")
        return self.keeper

    def run(self, sender: Sender) -> None:
        """Make the calls that are due and send what they queued, for a bounded while.

        Does nothing while the delivery is held.
        """
        if self.held:
            return
        hub, budget = self.hub, _CALLS_AT_A_TIME
        self.held = True
        try:
            while budget > 0:
                if hub.calls:
                    budget -= 1
                    method, arguments, may_abort = hub.next_call()
                    if self.call(method, *arguments) is True and may_abort:
                        sender._abort_from_handler()
                elif sender._send_some():
                    budget -= _CALLS_PER_SEND
                else:
                    return
        finally:
            self.held = False
        if self.keeper is not None:
            self.keeper.wake()

    def run_step(self, sender: Sender, step: Callable[[Unpack[Ts]], object], *args: *Ts) -> None:
        """Take a step, and then make the calls that it caused."""
        self.held = True
        try:
            step(*args)
        finally:
            self.held = False
        if self.hub.calls:
            self.run(sender)

    async def settle(self, sender: Sender) -> None:  # noqa: ASYNC910 - see below
        """At the end of an awaited call: the handlers of what it caused have run.

        No checkpoint of its own; the call has had one.
        """
        hub = self.hub
        due = hub.called + len(hub.calls)
        self.run(sender)
        while hub.calls and hub.called < due:
            await trio.lowlevel.cancel_shielded_checkpoint()
            self.run(sender)
        if self.keeper is not None and self.keeper.failures:
            await trio.lowlevel.checkpoint_if_cancelled()


protect_from_ki(Delivery)
