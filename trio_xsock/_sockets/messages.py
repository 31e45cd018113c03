"""The calls of a message socket: it sends and receives whole messages.

The rules are those of bytes elsewhere, with one exception: a message whose first byte was sent is
completed by the socket itself, even if it is cancelled or aborted, because otherwise the peer could
not decode what follows.
"""

from __future__ import annotations

import math
from typing import Final, Self, cast

import trio

from trio_xsock._engine.connection import Connection
from trio_xsock._engine.message_inbox import MessageInbox
from trio_xsock._engine.reading import after_taking, decode_some, resume_reading
from trio_xsock._engine.reasons import (
    CLEAN_END,
    check_sending,
    closed_error,
    not_connected,
    verdict,
    why_not_sending,
)
from trio_xsock._engine.requests import queue_bytes, remove, send_at_once, wait_for
from trio_xsock._engine.writing import send_now
from trio_xsock._machines.framing import encode_message
from trio_xsock._machines.ledger import Ticket
from trio_xsock._machines.state import CONNECTED, CONNECTING, LISTENING
from trio_xsock._network.options import check_count, check_seconds
from trio_xsock._runtime.guard import Parking, is_cancelled, let_others_run, protect_from_ki
from trio_xsock._values.errors import SocketError
from trio_xsock._values.events import ReceivedMessage
from trio_xsock._values.message import Message, check_command, check_message
from trio_xsock._values.typing import Buffer

from .listening import ListeningCalls

_BETWEEN_CHECKPOINTS: Final = 64
_UNTIL_PEER: Final = (CONNECTING, LISTENING)


@protect_from_ki
class MessageCalls(ListeningCalls):
    """The calls of an ``EasyTCPSocket`` that move messages."""

    __slots__ = ("_handed_out",)

    _handed_out: int
    _inbox: MessageInbox

    # What waits

    @property
    def messages_available(self) -> int:
        """Messages that have arrived and are unread."""
        return len(self._inbox.buffer.messages)

    @property
    def bytes_available(self) -> int:
        """Bytes of those, and of the message that is arriving, as they were on the wire."""
        return self._inbox.size

    @property
    def max_message_size(self) -> int:
        """Bytes of data that a received message may have; takes effect with the next one."""
        return self._inbox.buffer.max_message_size

    @max_message_size.setter
    def max_message_size(self, size: int) -> None:
        self._inbox.buffer.max_message_size = check_count("max_message_size", size)

    def purge(self) -> None:
        """Drop the messages that have arrived; the send queue is untouched. Xojo: ``Purge``."""
        self._inbox.clear()
        resume_reading(self._connection)

    # Receiving

    async def receive(self) -> Message:
        """Wait for the next message; the contract of ``trio.abc.ReceiveChannel``.

        ``async for command, data in sock:`` does so until the peer closes.

        Returns:
            The oldest message for which no ``wait_for_message`` waits.

        Raises:
            trio.EndOfChannel: the peer closed the connection gracefully, between two messages.
            LostConnectionError: it was reset or timed out, the peer closed it within a message,
                or sent an invalid one (``__cause__`` is a ``FramingError`` then).
            SocketClosedError: we closed the socket, before or meanwhile.
            InvalidStateError: never connected.

        Cancellation: no message is lost.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        self._check_not_closed()
        message = self._take()
        if message is not None:
            await let_others_run()
            return message
        ended = verdict(self._connection, self)
        if ended is not None:
            raise self._end_of_messages(ended)
        self._check_thread()
        inbox = self._inbox
        reader = inbox.wait_for_any()
        return cast("Message", await reader[0].park(lambda: inbox.forget_reader(reader)))

    def __aiter__(self) -> Self:
        """Iterate over messages until the peer closes.

        Messages that have arrived are returned without a checkpoint each; there is one for
        every 64, and whenever the iterator has to wait.
        """
        return self

    async def __anext__(self) -> Message:
        if self._handed_out < _BETWEEN_CHECKPOINTS and not self._connection.ends.closed_by_us:
            message = self._take()
            if message is not None:
                self._handed_out += 1
                return message  # noqa: ASYNC910 - see __aiter__
        self._handed_out = 0
        try:
            return await self.receive()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None

    async def wait_for_message(self, command: int, timeout: float | None = None) -> bytes | None:  # noqa: ASYNC109 - Xojo's signature
        """Wait for a message with this command. Xojo: ``WaitForMessage``.

        One that has arrived already is returned at once. Messages with other commands are
        delivered as usual; unread ones count against ``receive_buffer_limit``, at which the
        socket stops reading.

        Args:
            command: 0..2**31-1.
            timeout: seconds; ``None`` for no limit, 0 for a message that has arrived already.

        Returns:
            The message's data, or ``None`` when the time is up.

        Raises:
            LostConnectionError: the connection has ended, or ends meanwhile, in any way.
            SocketClosedError: we closed the socket, before or meanwhile.
            InvalidStateError: never connected.
            ValueError, TypeError: a command or a time-out of a wrong type, or out of range.

        Cancellation: no message is lost or delivered twice.
        """
        check_command(command)
        seconds = math.inf if timeout is None else check_seconds("timeout", timeout)
        await trio.lowlevel.checkpoint_if_cancelled()
        self._check_not_closed()
        message = self._take(command)
        if message is not None:
            await let_others_run()
            return message.data
        ended = verdict(self._connection, self)
        if ended is not None:
            raise self._why_ended(ended)
        self._check_thread()
        inbox = self._inbox
        waiter = inbox.wait_for_command(command)
        return await self._park_for(waiter[1], seconds, lambda: inbox.forget_waiter(waiter))

    def _check_not_closed(self) -> None:
        if self._connection.ends.closed_by_us:
            raise closed_error(self._connection, self)

    def _take(self, command: int | None = None) -> Message | None:
        """Take a message from the queue; some more may have to be decoded for that."""
        connection, inbox = self._connection, self._inbox
        message = inbox.take(command)
        while message is None and decode_some(connection):
            message = inbox.take(command)
        if message is not None:
            after_taking(connection)
        return message

    def _take_for_channel(self) -> ReceivedMessage:
        """A message becomes an event at the moment when a consumer takes it."""
        message = self._inbox.buffer.take()
        assert message is not None
        after_taking(self._connection)
        return ReceivedMessage(self, *message)

    def _has_messages(self) -> bool:
        return not self._inbox.is_empty

    def _handler_changed(self) -> None:
        """Deliver waiting messages to the new handler."""
        if self._keeper is not None:
            self._inbox.pass_to_handler()
            after_taking(self._connection)

    def _why_ended(self, ended: SocketError) -> SocketError:
        """The error that says why no more messages come."""
        announced = self._connection.ends.announced
        if ended is CLEAN_END and announced is not None:
            ended = announced
        return ended.with_traceback(None)

    def _end_of_messages(self, ended: SocketError) -> Exception:
        """The same for ``receive``, for which a clean end between messages is no loss."""
        if ended is CLEAN_END and not self._inbox.incomplete:
            return trio.EndOfChannel()
        return self._why_ended(ended)

    # Sending

    def send_message(self, command: int, data: Buffer | str = b"") -> None:
        """Queue a message to be sent, and return. Xojo: ``SendMessage``.

        When nothing is queued the OS is tried at once. Should that find the connection dead,
        the call still returns: the loss is posted, and the next call raises it.

        Args:
            command: what the data is, as you and the peer have agreed: 0..2**31-1.
            data: the content: any buffer, which is copied, or text, which is encoded as UTF-8.
                The peer's ``max_message_size`` limits its size.

        Raises:
            OutOfMemoryError: more than ``send_buffer_limit`` bytes would be queued; nothing
                of the message was.
            LostConnectionError: the connection is gone.
            SocketClosedError: we closed the socket.
            InvalidStateError: not connected.
            ValueError, TypeError: a command or data of a wrong type, or out of range.

        Events: ``SendProgress`` as it is sent, ``SendComplete`` when the queue is empty.
        """
        frame = encode_message(command, data)
        queue_bytes(self._connection, frame, self, "send()")

    async def send(self, value: Message) -> None:
        """Send a message; the contract of ``trio.abc.SendChannel``.

        Returns when the OS took all of it. It keeps its place among those of
        ``send_message``, and does not count against ``send_buffer_limit``. Many tasks may
        send at once.

        Args:
            value: a ``Message``, not a plain tuple.

        Raises:
            LostConnectionError, SocketClosedError, InvalidStateError, ValueError, TypeError: as
                for ``send_message``; the first two also if that happens meanwhile.
            SocketError: ``abort_send()`` dropped it, or the handler did.

        Cancellation: a message of which nothing was sent is removed from the queue; one that
        was begun is completed by the socket, and counts as sent. Raised either way.
        Events: as for ``send_message``; ``SendComplete(user_aborted=True)`` if it was removed.
        """
        check_message(value)
        frame = encode_message(*value)
        connection = self._connection
        outlet = connection.outlet
        check_sending(connection, self)
        if is_cancelled():  # counts as queued, and aborted with nothing sent
            remove(connection, outlet.ledger.reserve(frame))
            await trio.lowlevel.checkpoint()
        sent = send_at_once(connection, frame)
        if sent is None:  # the connection turned out to be lost
            await self._settle()
            raise why_not_sending(connection, self)
        if sent == len(frame):
            await trio.lowlevel.cancel_shielded_checkpoint()
            if self._delivery.hub.calls:
                await self._settle()
            return
        ticket = outlet.ledger.reserve(memoryview(frame))
        if sent > 0:
            outlet.account(sent)
        send_now(connection)
        parking: Parking[None] = Parking()
        wait_for(connection, ticket, parking, self)
        await self._parked(parking, lambda: self._withdraw(connection, ticket))

    def _withdraw(self, connection: Connection, ticket: Ticket) -> None:
        """A sender was cancelled: remove its message if nothing of it was sent."""
        if ticket.sent:
            connection.outlet.waits.forget(ticket)
        else:
            remove(connection, ticket)

    # The peer

    async def wait_for_connection(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109 - Xojo's signature
        """Wait for a connection, after ``listen()`` or during ``connect()``.

        Xojo: ``WaitForConnection``.

        Args:
            timeout: seconds; ``None`` for no limit, 0 to return at once.

        Returns:
            Whether the socket is connected; False when the time is up.

        Raises:
            LostConnectionError, ConnectError, other ``SocketError``: the connection was lost, or
                could not be made.
            SocketClosedError: we closed the socket, before or meanwhile.
            InvalidStateError: neither connecting nor listening.
            ValueError, TypeError: a time-out of a wrong type, or negative.

        Cancellation: changes nothing.
        """
        seconds = math.inf if timeout is None else check_seconds("timeout", timeout)
        await trio.lowlevel.checkpoint_if_cancelled()
        if self.state is CONNECTED:
            await trio.lowlevel.cancel_shielded_checkpoint()
            return True
        if self.state not in _UNTIL_PEER:
            raise self._why_no_peer()
        self._check_thread()
        connection = self._connection
        parking: Parking[bool] = Parking()
        attempt = connection.attempt()
        attempt.wait(parking)
        up = await self._park_for(parking, seconds, lambda: attempt.forget(parking))
        if up is False:
            raise self._why_no_peer()
        return up is True

    def _why_no_peer(self) -> SocketError:
        connection = self._connection
        if connection.ends.closed_by_us:
            return closed_error(connection, self)
        return self._delivery.last_error or not_connected(connection, self)
