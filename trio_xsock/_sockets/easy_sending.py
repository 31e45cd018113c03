"""The sending half of a message socket: whole messages go out, or nothing of them.

What was said of bytes elsewhere holds, with one exception: a message whose first byte went out is
finished by the socket itself, whoever is cancelled or aborts, for else nothing behind it could be
understood.
"""

from __future__ import annotations

from collections import deque

import trio

from trio_xsock._machines.framing import encode_message
from trio_xsock._machines.ledger import Ticket
from trio_xsock._machines.message_ledger import MessageLedger
from trio_xsock._runtime.guard import Parking, protect_from_ki
from trio_xsock._values.message import Message
from trio_xsock._values.typing import Buffer

from .easy_receiving import MessageIntake


@protect_from_ki
class MessageOutlet(MessageIntake):
    """What an ``EasyTCPSocket`` can do to send messages."""

    __slots__ = ("_message_ledger", "_senders")

    def _init_messages(self, max_message_size: int) -> None:
        super()._init_messages(max_message_size)
        self._message_ledger = MessageLedger()
        self._ledger = self._hub.ledger = self._message_ledger
        self._senders: deque[tuple[Ticket, Parking[None]]] = deque()

    def send_message(self, command: int, data: Buffer | str = b"") -> None:
        """Queue a message to be sent, and return. Xojo: ``SendMessage``.

        When nothing is queued the OS is tried at once. Should that find the connection dead,
        the call still returns: the loss is posted, and the next call raises it.

        Args:
            command: what the data is, as you and the peer have agreed: 0..2**31-1.
            data: the content: any buffer, of which a snapshot is taken, or text, which is
                encoded as UTF-8. How large it may be is up to the peer's ``max_message_size``.

        Raises:
            OutOfMemoryError: more than ``send_buffer_limit`` bytes would be queued; nothing
                of the message was.
            LostConnectionError: the connection is gone.
            SocketClosedError: we closed the socket.
            InvalidStateError: not connected.
            ValueError, TypeError: a command or data of a wrong type, or out of range.

        Events: ``SendProgress`` as it goes out, ``SendComplete`` when the queue is empty.
        """
        frame = encode_message(command, data)
        self._queue_bytes(frame, "send()")

    async def send(self, value: Message) -> None:
        """Send a message; the contract of ``trio.abc.SendChannel``.

        Returns when the OS took all of it. It keeps its place among those of
        ``send_message``, and does not count against ``send_buffer_limit``. Many tasks may
        send at once.

        Args:
            value: the message, or a command and its data in a tuple.

        Raises:
            LostConnectionError, SocketClosedError, InvalidStateError, ValueError, TypeError: as
                for ``send_message``; the first two also if that happens meanwhile.
            SocketError: ``abort_send()`` dropped it, or the handler did.

        Cancellation: a message of which nothing went out is removed from the queue; one that
        has begun to go out is finished by the socket, and counts as sent. Raised either way.
        Events: as for ``send_message``; ``SendComplete(user_aborted=True)`` if it was removed.
        """
        frame = encode_message(*value)
        self._check_sending()
        try:
            await trio.lowlevel.checkpoint_if_cancelled()
        except trio.Cancelled:  # counts as queued, and aborted with nothing sent
            self._remove(self._ledger.reserve(frame))
            raise
        sent = -1
        try:
            sent = self._send_at_once(frame)
        except OSError as exc:
            # To be dropped like all that is queued.
            ticket = self._ledger.reserve(memoryview(frame))
            self._output_failed(exc)
        else:
            if sent == len(frame):
                await trio.lowlevel.cancel_shielded_checkpoint()
                if self._hub.calls:
                    await self._delivered()
                return
            ticket = self._ledger.reserve(memoryview(frame))
        if sent > 0:
            self._account(sent)
        await self._see_sent(ticket)

    async def _see_sent(self, ticket: Ticket) -> None:
        parking: Parking[None] = Parking()
        sender = ticket, parking

        def leave() -> None:
            self._senders.remove(sender)
            if not ticket.sent:
                self._remove(ticket)

        self._senders.append(sender)
        self._send_now()
        self._sent_some()
        await self._parked(parking, leave)

    def _sent_some(self) -> None:
        senders = self._senders
        while senders and (senders[0][0].removed or not senders[0][0].left):
            self._settle_sender(*senders.popleft())

    def _settle_sender(self, ticket: Ticket, parking: Parking[None]) -> None:
        if ticket.removed:
            parking.fail(self._why_removed(ticket))
        else:
            parking.unpark()

    def abort_send(self) -> None:
        """Drop all messages that have not begun to go out; the connection stays. Always legal.

        One of which a part went out is finished by the socket, and counts as sent. Xojo:
        returning True from ``SendProgress``.

        A running ``send`` whose message was dropped raises ``SocketError``.

        Events: ``SendComplete(user_aborted=True)`` if something was dropped; when the message
        that had begun is out.
        """
        self._check_thread()
        self._abort_from_handler()
        self._schedule_pump()

    def _abort_from_handler(self) -> None:
        self._message_ledger.abort_unbegun()
        waiting, self._senders = self._senders, deque()
        for ticket, parking in waiting:
            if ticket.removed:
                self._settle_sender(ticket, parking)
            else:
                self._senders.append((ticket, parking))
        self._queue_ran_empty()
