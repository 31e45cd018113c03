"""The send queue as users see it, whatever goes through it: facts, flushing, aborting."""

from __future__ import annotations

from collections.abc import Callable

import trio

from trio_xsock._machines.ledger import Ticket
from trio_xsock._machines.state import CONNECTED
from trio_xsock._runtime.guard import Parking, protect_from_ki
from trio_xsock._values.errors import OutOfMemoryError, SocketError

from .limits import LimitedConnection


@protect_from_ki
class QueueCalls(LimitedConnection):
    """What can be known of, and done to, a queue that the socket itself sends."""

    __slots__ = ()

    @property
    def bytes_left_to_send(self) -> int:
        """Bytes queued and not yet taken by the OS. Xojo: ``BytesLeftToSend``."""
        return self._ledger.left

    @property
    def bytes_sent(self) -> int:
        """Bytes that the OS took on this connection."""
        return self._bytes_sent

    def abort_send(self) -> None:
        """Drop all that is queued; the connection stays. Always legal.

        Xojo: returning True from ``SendProgress``.

        A running ``send_all`` or ``send_file`` raises ``SocketError``, since not all went out.

        Events: ``SendComplete(user_aborted=True)`` if something was queued.
        """
        self._check_thread()
        self._drop_queue()
        self._schedule_pump()

    async def flush(self) -> None:
        """Wait until the queue is empty. Xojo: ``Flush``, which does not wait.

        Raises:
            LostConnectionError: the connection is gone, or is lost meanwhile.
            SocketClosedError: we closed the socket, before or meanwhile.
            InvalidStateError: not connected.

        Cancellation: aborts nothing.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._transport is None or self._loss is not None:
            raise self._why_not_sending()
        await self._wait_until_flushed()

    async def _wait_until_flushed(self) -> None:
        """Park until the queue is empty; raises if that is because it was dropped at the end."""
        self._check_thread()
        parking: Parking[None] = Parking()
        if self._ledger.open:
            if self._flushers is None:
                self._flushers = []
            self._flushers.append(parking)
            self._send_now()
        else:
            parking.unpark()
        await self._parked(parking, lambda: self._forget_flusher(parking))

    def _forget_flusher(self, parking: Parking[None]) -> None:
        assert self._flushers is not None
        self._flushers.remove(parking)

    # For the classes above

    def _queue_bytes(self, payload: bytes, instead: str) -> None:
        """Queue bytes that nobody waits for, and try the OS at once where that is possible.

        Args:
            payload: what to send.
            instead: the call that is not bound by ``send_buffer_limit``.

        Raises:
            OutOfMemoryError: they do not fit into the queue; none of them was queued.
            SocketError: what stands in the way of sending.
        """
        if self._state is not CONNECTED or self._output_ended or self._loss is not None:
            raise self._why_not_sending()
        if not payload:
            return
        ledger = self._ledger
        if ledger.counted + len(payload) > self._send_buffer_limit:
            raise OutOfMemoryError(
                f"{self!r}: {len(payload)} bytes more would exceed send_buffer_limit="
                f"{self._send_buffer_limit}; await flush() first, or use {instead}"
            )
        if self._pumping:  # what a handler sends is joined, and goes when it returns
            ledger.queue(payload)
            return
        self._offer(payload)
        if ledger.left:
            self._send_now()
        elif self._hub.calls:
            self._schedule_pump()

    async def _parked(self, parking: Parking[None], leave: Callable[[], None]) -> None:
        """Wait until woken; the handlers of whatever ended the wait have run afterwards."""
        try:
            await parking.park(leave)
        except SocketError:
            await self._delivered()  # noqa: ASYNC120 - cancelled only if a handler failed
            raise
        except BaseException:  # cancelled: no more waiting
            self._pump()
            raise
        await self._delivered()

    def _remove(self, ticket: Ticket) -> None:
        """A caller was cancelled: its own bytes leave the queue, nobody else's."""
        self._ledger.remove(ticket)
        if not self._ledger.left:
            self._queue_ran_empty()
        self._schedule_pump()

    def _why_removed(self, ticket: Ticket) -> SocketError:
        if self.is_connected:
            total = ticket.sent + ticket.left
            return SocketError(f"{self!r}: send aborted after {ticket.sent} of {total} bytes")
        return self._why_not_sending()
