"""The send calls of a stream: plain writes into the queue, and sends that wait.

``write`` and ``send_all`` try the OS at once when nothing is queued; only what is left waits.
"""

from __future__ import annotations

import trio

from trio_xsock._machines.ledger import Ticket
from trio_xsock._runtime.guard import ConflictDetector, Parking, protect_from_ki
from trio_xsock._values.typing import Buffer

from .receiving import ReceiveCalls

_BUSY = "another task is sending through this socket"


@protect_from_ki
class SendCalls(ReceiveCalls):
    """What a ``TCPSocket`` can do to send bytes."""

    __slots__ = ("_send_conflict", "_sender", "_ticket", "_writable")

    def _reset(self) -> None:
        super()._reset()
        self._send_conflict = ConflictDetector(_BUSY)
        self._ticket: Ticket | None = None  # of the running send_all or send_file
        self._sender: Parking[None] | None = None  # the task that waits for it
        self._writable: Parking[None] | None = None

    # Plain calls

    def write(self, data: Buffer | str, encoding: str = "utf-8") -> None:
        """Queue bytes to be sent, and return. Xojo: ``Write``.

        When nothing is queued the OS is tried at once. Should that find the connection dead,
        the call still returns: the loss is posted, and the next call raises it.

        Args:
            data: any buffer, of which a snapshot is taken, or text.
            encoding: of text.

        Raises:
            OutOfMemoryError: more than ``send_buffer_limit`` bytes would be queued; nothing
                of ``data`` was.
            LostConnectionError: the connection is gone.
            SocketClosedError: we closed the socket, or our direction of it.
            InvalidStateError: not connected.
            TypeError: neither a buffer nor text.

        Events: ``SendProgress`` as it goes out, ``SendComplete`` when the queue is empty.
        """
        payload = data if type(data) is bytes else _snapshot(data, encoding)
        self._queue_bytes(payload, "send_all()")

    # Awaited calls

    async def send_all(self, data: Buffer) -> None:
        """Send bytes; the contract of ``trio.abc.SendStream``.

        They keep their place among those of ``write``, are not copied, and do not count
        against ``send_buffer_limit``.

        Args:
            data: any buffer; it may be changed again when the call has ended.

        Raises:
            LostConnectionError, SocketClosedError, InvalidStateError, TypeError: as for
                ``write``; the first two also if that happens meanwhile.
            SocketError: ``abort_send()`` dropped some of it, or the handler did.
            trio.BusyResourceError: another task is sending.

        Cancellation: what the OS has not taken yet is removed from the queue, exactly; the
        connection stays usable. Raised if and only if something was removed.
        Events: as for ``write``; ``SendComplete(user_aborted=True)`` after a cancellation.
        """
        if type(data) is bytes:
            await self._send_bytes(data)
            return
        with memoryview(data) as whole, _as_bytes(whole) as view:
            await self._send_bytes(view)

    async def _send_bytes(self, data: bytes | memoryview) -> None:
        with self._send_conflict:
            self._check_sending()
            if not data:
                await trio.lowlevel.checkpoint()
                return
            try:
                await trio.lowlevel.checkpoint_if_cancelled()
            except trio.Cancelled:
                self._remove(self._ledger.reserve(data))
                raise
            sent = None
            try:
                sent = self._send_at_once(data)
            except OSError as exc:
                self._ledger.reserve(data)  # was to be sent: is dropped like all that is queued
                self._output_failed(exc)
            if sent is None:
                await self._delivered()
                raise self._why_not_sending()
            if sent == len(data):
                await trio.lowlevel.cancel_shielded_checkpoint()
                if self._hub.calls:
                    await self._delivered()
                return
            ticket = self._ledger.reserve(data)
            if sent > 0:
                self._account(sent)
            await self._see_through(ticket, cancelled=False)

    async def _see_through(self, ticket: Ticket, cancelled: bool) -> None:
        """Send until a ticket has nothing to send at present; raises if it was removed."""

        def leave() -> None:
            self._ticket = self._sender = None
            self._remove(ticket)

        self._ticket = ticket
        if not cancelled:
            self._send_now()
        self._sender = parking = Parking[None]()
        self._sent_some()
        await self._parked(parking, leave)

    def _sent_some(self) -> None:
        ticket, sender = self._ticket, self._sender
        if ticket is None or sender is None or not (ticket.idle or ticket.removed):
            return
        self._ticket = self._sender = None
        if ticket.removed:
            sender.fail(self._why_removed(ticket))
        else:
            sender.unpark()

    async def send_eof(self) -> None:
        """End our direction after what is queued; reading goes on.

        The contract of ``trio.abc.HalfCloseableStream``; idempotent.

        Raises:
            LostConnectionError, SocketClosedError, InvalidStateError: as for ``flush``.
            trio.BusyResourceError: another task is sending.

        Cancellation: seen at the start it changes nothing; later our direction still ends, when
        the queue has run empty.
        Events: ``SendComplete`` of what was queued.
        """
        with self._send_conflict:
            await trio.lowlevel.checkpoint_if_cancelled()
            self._check_thread()
            if not self._output_ended:
                self._check_sending()
                self._output_ended = True
                if not self._ledger.open:
                    self._send_fin()
            elif self._closed_by_us or self._loss is not None:
                raise self._why_not_sending()
            await self._wait_until_flushed()
            if self._loss is not None:  # ending our direction found the connection dead
                raise self._why_not_sending()

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until a ``send_all`` might not block; the contract of ``trio.abc.SendStream``.

        Raises:
            LostConnectionError, SocketClosedError, InvalidStateError: as for ``flush``.
            trio.BusyResourceError: another task is sending.

        Cancellation: changes nothing.
        """
        with self._send_conflict:
            self._check_sending()
            await trio.lowlevel.checkpoint_if_cancelled()
            self._check_thread()
            self._writable = parking = Parking[None]()
            self._set_blocked(True)
            await parking.park(self._forget_writable)
            self._check_sending()

    def _forget_writable(self) -> None:
        self._writable = None

    def _set_blocked(self, blocked: bool) -> None:
        super()._set_blocked(blocked or self._writable is not None)

    def _on_writable(self) -> None:
        super()._on_writable()
        if not self._ledger.left:
            self._wake_writable()
            self._set_blocked(False)

    def _wake_writable(self) -> None:
        parking, self._writable = self._writable, None
        if parking is not None:
            parking.unpark()

    def _begin_closing(self, grace: float) -> None:
        super()._begin_closing(grace)
        self._wake_writable()

    def _release(self) -> None:
        super()._release()
        self._wake_writable()


def _snapshot(data: Buffer | str, encoding: str) -> bytes:
    if isinstance(data, str):
        return data.encode(encoding)
    with memoryview(data) as view:
        return view.tobytes()


def _as_bytes(view: memoryview) -> memoryview:
    """The same memory as single bytes; what is not contiguous has to be copied."""
    if view.c_contiguous and view.nbytes:  # memory without bytes may have any shape
        return view.cast("B")
    return memoryview(view.tobytes())
