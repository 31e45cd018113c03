"""``SendWaits``: the tasks that wait until bytes are sent, each for its own or for all of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import trio

from trio_xsock._machines.ledger import Ticket
from trio_xsock._runtime.guard import Parking, protect_from_ki
from trio_xsock._values.errors import SocketError

WhyRemoved = Callable[[Ticket], SocketError]
"""Makes the error for a caller whose bytes were dropped."""

WhyLost = Callable[[], SocketError]
"""Makes the error that says why the connection is over."""


@protect_from_ki
class SendWaits:
    """The tasks that wait for the send queue of one connection; made when first needed."""

    __slots__ = ("_flushers", "_interrupt", "_senders")

    def __init__(self) -> None:
        self._senders: deque[tuple[Ticket, Parking[None]]] = deque()
        self._flushers: tuple[Parking[None], ...] = ()
        self._interrupt: trio.CancelScope | None = None

    # For the bytes of one caller

    def wait_for(self, ticket: Ticket, parking: Parking[None]) -> None:
        """Wake ``parking`` when ``ticket`` has nothing to send at present, or was dropped."""
        self._senders.append((ticket, parking))
        self.settle()

    def forget(self, ticket: Ticket) -> None:
        """No task waits for ``ticket`` any more."""
        self._senders = deque(each for each in self._senders if each[0] is not ticket)

    def settle(self) -> None:
        """Wake the callers whose bytes were sent, which happens in their order."""
        senders = self._senders
        while senders and senders[0][0].idle and not senders[0][0].removed:
            senders.popleft()[1].unpark(None)

    def fail_removed(self, why: WhyRemoved) -> None:
        """Tickets were dropped: wake their callers with an error."""
        waiting, self._senders = self._senders, deque()
        for ticket, parking in waiting:
            if ticket.removed:
                parking.fail(why(ticket))
            else:
                self.wait_for(ticket, parking)

    def interrupt_on_drop(self, scope: trio.CancelScope | None) -> None:
        """Cancel ``scope``, in which a caller reads what it sends next, if the queue is dropped."""
        self._interrupt = scope

    def interrupt(self) -> None:
        """Cancel the task that reads what it would send next."""
        scope, self._interrupt = self._interrupt, None
        if scope is not None:
            scope.cancel("the send was dropped")

    # For an empty queue

    @property
    def batch_matters(self) -> bool:
        """Whether a task waits for the end of the present batch."""
        return bool(self._flushers)

    def wait_until_empty(self, parking: Parking[None]) -> None:
        """Wake ``parking`` when the queue, in which there is something, is empty."""
        self._flushers += (parking,)

    def forget_flusher(self, parking: Parking[None]) -> None:
        """Its task was cancelled."""
        self._flushers = tuple(each for each in self._flushers if each is not parking)

    def wake_flushers(self, lost: WhyLost | None) -> None:
        """The queue is empty; ``lost`` is ``None`` if the connection is still open."""
        flushers, self._flushers = self._flushers, ()
        for parking in flushers:
            if lost is None:
                parking.unpark(None)
            else:
                parking.fail(lost())
