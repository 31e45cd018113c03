"""The receiving half of a message socket: from bytes to who gets the message.

A message goes to the first of: a ``wait_for_message`` for its command; the handler's
``on_received_message``; whoever asks first of ``receive()`` and the event channels.
"""

from __future__ import annotations

import math
import socket as stdlib_socket
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Self, cast

import trio

from ._buffer import ReceiveBuffer
from ._errors import FramingError, LossReason, LostConnectionError, SocketError
from ._events import Connected, DataAvailable, ErrorOccurred, Event, ReceivedMessage
from ._guard import Parking, protect_from_ki
from ._hub import EventHub
from ._intake import CLEAN_END
from ._link import SMALLEST_READ
from ._message import Message, check_command
from ._message_buffer import MessageBuffer
from ._message_hub import MessageHub
from ._options import check_count, check_seconds
from ._queueing import QueueCalls
from ._state import CONNECTED, SocketState

_BETWEEN_CHECKPOINTS: Final = 64
_UNTIL_PEER: Final = (SocketState.CONNECTING, SocketState.LISTENING)


@protect_from_ki
class MessageIntake(QueueCalls):
    """What an ``EasyTCPSocket`` can do to get messages."""

    __slots__ = (
        "_awaiting_peer",
        "_cut",
        "_handed_out",
        "_inbox",
        "_message_hub",
        "_readers",
        "_waiters",
    )

    def _init_messages(self, max_message_size: int) -> None:
        self._inbox = MessageBuffer(check_count("max_message_size", max_message_size))
        # Of it the classes below use ``size``, ``append`` and ``clear``.
        self._buffer = cast("ReceiveBuffer", self._inbox)
        self._awaiting_peer: list[Parking[None]] = []
        self._waiters: list[tuple[int, Parking[bytes]]] = []
        self._handed_out = 0  # messages, since the last checkpoint of an iteration
        # Each with those who waited for events before it.
        self._readers: deque[tuple[Parking[Message], list[Parking[Any]]]] = deque()

    def _new_hub(self) -> EventHub:
        self._message_hub = MessageHub()
        return self._message_hub

    def _reset(self) -> None:
        super()._reset()
        self._cut: LostConnectionError | None = None  # the peer closed within a message

    # Facts

    @property
    def max_message_size(self) -> int:
        """Bytes of data that a received message may have; takes effect with the next one."""
        return self._inbox.max_message_size

    @max_message_size.setter
    def max_message_size(self, size: int) -> None:
        self._inbox.max_message_size = check_count("max_message_size", size)

    @property
    def messages_available(self) -> int:
        """Messages that have arrived and that nobody has taken."""
        return len(self._inbox.messages)

    @property
    def bytes_available(self) -> int:
        """Bytes of those, and of the message that is coming, as they were on the wire."""
        return self._inbox.size

    def _has_messages(self) -> bool:
        return bool(self._inbox.messages)

    def _events_now(self) -> list[Event]:
        events: list[Event] = []
        if self._state is CONNECTED:
            events.append(Connected(self))
        if self._inbox.messages:
            events.append(DataAvailable(self))
        if self._loss_announced and self._last_error is not None:
            events.append(ErrorOccurred(self, self._last_error))
        return events

    # Waiting

    async def receive(self) -> Message:
        """Wait for the next message; the contract of ``trio.abc.ReceiveChannel``.

        ``async for command, data in sock:`` does so until the peer closes.

        Returns:
            The oldest message that nobody else has asked for.

        Raises:
            trio.EndOfChannel: the peer closed the connection, in good order, between messages.
            LostConnectionError: it was reset or timed out, the peer closed it within a message,
                or sent what is no message (``__cause__`` is a ``FramingError`` then).
            SocketClosedError: we closed the socket, before or meanwhile.
            InvalidStateError: never connected.

        Cancellation: no message is lost.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        self._check_not_closed()
        message = self._take(self._inbox.take)
        if message is not None:
            await trio.lowlevel.cancel_shielded_checkpoint()
            return message
        ended = self._input_verdict()
        if ended is not None:
            raise self._end_of_messages(ended)
        parking: Parking[Message] = Parking()
        reader = parking, self._message_hub.waiting()
        self._readers.append(reader)
        return cast("Message", await parking.park(lambda: self._readers.remove(reader)))

    def __aiter__(self) -> Self:
        """Iterate over messages until the peer closes.

        Messages that have arrived are handed out without a checkpoint each; there is one for
        every 64, and whenever the iterator has to wait.
        """
        return self

    async def __anext__(self) -> Message:
        if self._handed_out < _BETWEEN_CHECKPOINTS and not self._closed_by_us:
            message = self._take(self._inbox.take)
            if message is not None:
                self._handed_out += 1
                return message  # noqa: ASYNC910 - see __aiter__
        self._handed_out = 0
        try:
            return await self.receive()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None

    async def wait_for_message(self, command: int, timeout: float | None = None) -> bytes | None:  # noqa: ASYNC109 - Xojo's signature
        """Wait for a message with this command, whatever else comes. Xojo: ``WaitForMessage``.

        One that has arrived and waits is taken at once. Messages with other commands go their
        way; those that nobody takes count against the receive limit, at which nothing more
        arrives.

        Args:
            command: 0..2**31-1.
            timeout: seconds; ``None`` for no limit, 0 for what is there.

        Returns:
            The message's data, or ``None`` when the time is up.

        Raises:
            LostConnectionError: the connection has ended, or ends meanwhile, however.
            SocketClosedError: we closed the socket, before or meanwhile.
            InvalidStateError: never connected.
            ValueError, TypeError: a command or a time-out of a wrong type, or out of range.

        Cancellation: no message is lost, and none comes twice.
        """
        check_command(command)
        seconds = math.inf if timeout is None else check_seconds("timeout", timeout)
        await trio.lowlevel.checkpoint_if_cancelled()
        self._check_not_closed()
        message = self._take(lambda: self._inbox.take_command(command))
        if message is not None:
            await trio.lowlevel.cancel_shielded_checkpoint()
            return message.data
        ended = self._input_verdict()
        if ended is not None:
            raise self._why_ended(ended)
        parking: Parking[bytes] = Parking()
        waiter = command, parking
        self._waiters.append(waiter)
        with trio.move_on_after(seconds):
            return await parking.park(lambda: self._waiters.remove(waiter))
        return None

    async def wait_for_connection(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109 - Xojo's signature
        """Wait until the peer is there, after ``listen()`` or beside ``connect()``.

        Xojo: ``WaitForConnection``.

        Args:
            timeout: seconds; ``None`` for no limit, 0 to have a look.

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
        if self._state is CONNECTED:
            await trio.lowlevel.cancel_shielded_checkpoint()
            return True
        if self._state not in _UNTIL_PEER:
            raise self._why_no_peer()
        parking: Parking[None] = Parking()
        self._awaiting_peer.append(parking)
        with trio.move_on_after(seconds):
            await parking.park(lambda: self._awaiting_peer.remove(parking))
            return True
        return False

    async def connect(self) -> None:
        """Connect to ``address`` and ``port``; see ``TCPSocket.connect``."""
        try:
            await super().connect()
        finally:
            self._fail_awaiting_peer()

    async def listen(self) -> None:
        """Wait for one peer on ``port``; see ``TCPSocket.listen``."""
        try:
            await super().listen()
        finally:
            self._fail_awaiting_peer()

    def _announce_connected(self) -> None:
        super()._announce_connected()
        awaiting, self._awaiting_peer = self._awaiting_peer, []
        for parking in awaiting:
            parking.unpark()

    def _fail_awaiting_peer(self) -> None:
        """If there will be no peer, tell those who wait for one."""
        if self._awaiting_peer and self._state not in _UNTIL_PEER:
            awaiting, self._awaiting_peer = self._awaiting_peer, []
            for parking in awaiting:
                parking.fail(self._why_no_peer())

    def _why_no_peer(self) -> SocketError:
        if self._closed_by_us:
            return self._closed_error()
        return self._last_error or self._not_connected()

    # Why there are no messages

    def _check_not_closed(self) -> None:
        if self._closed_by_us:
            raise self._closed_error()

    def _why_ended(self, ended: SocketError) -> SocketError:
        """The error that says why no more messages come."""
        if ended is CLEAN_END and self._last_error is not None:
            ended = self._last_error
        return ended.with_traceback(None)

    def _end_of_messages(self, ended: SocketError) -> Exception:
        """The same for ``receive``, to which a clean end is none."""
        if self._cut is not None:
            return self._cut.with_traceback(None)
        return trio.EndOfChannel() if ended is CLEAN_END else ended.with_traceback(None)

    def _fail_waiting(self, ended: SocketError) -> None:
        """No more messages come: tell those who wait for some."""
        readers, self._readers = self._readers, deque()
        waiters, self._waiters = self._waiters, []
        for _, waiter in waiters:
            waiter.fail(self._why_ended(ended))
        for reader, _ in readers:
            reader.fail(self._end_of_messages(ended))

    def _serve_end(self, loss: SocketError | None = None) -> None:
        # Ends that are announced end the waits when they are.
        if self._closed_by_us:
            self._message_hub.withdraw_messages()
            if self._waiters or self._readers:
                self._fail_waiting(self._closed_error())

    def _announce_loss(self, error: SocketError) -> None:
        super()._announce_loss(self._cut or error)
        self._fail_waiting(CLEAN_END if self._input_ended else error)

    def _end_input(self) -> None:
        if self._drain():
            if self._inbox.incomplete and self._loss is None and self._state is CONNECTED:
                text = f"{self._endpoint()}: the peer closed the connection within a message"
                self._cut = LostConnectionError(text, reason=LossReason.REMOTE_CLOSED)
            super()._end_input()

    def _lose(self, error: SocketError) -> None:
        self._drain()
        if self._transport is not None:
            super()._lose(error)

    def _release(self) -> None:
        super()._release()
        self._fail_awaiting_peer()
        if self._waiters or self._readers:
            self._fail_waiting(self._input_verdict() or self._not_connected())

    # Decoding

    def _adopt(self, sock: stdlib_socket.socket, peer: tuple[Any, ...]) -> None:
        self._inbox.restart()
        super()._adopt(sock, peer)

    def _limit(self) -> int:
        return self._inbox.wanted(self._receive_buffer_limit)

    def _receiver_limit(self) -> int:
        return self._inbox.needed(self._receive_buffer_limit)

    def _resume_reading(self) -> None:
        if not self._inbox.pending:  # the end of the stream must not overtake what came before
            super()._resume_reading()

    def _on_readable(self) -> None:
        super()._on_readable()
        if self._ledger.left and not self._blocked:  # what handlers sent that were called at once
            self._pump()

    def _serve_input(self) -> None:
        """Bytes were put into the buffer: decode some, the rest when others had their turn."""
        if self._may_decode():
            self._decode_some(at_once=self._pumping)
        if self._inbox.pending and self._transport is not None:
            self._read_pauses += self._inbox.is_full(self._receive_buffer_limit)
            self._stop_reading()
            self._read_size = SMALLEST_READ
            self._wake_keeper()

    def _decode_some(self, *, at_once: bool) -> None:
        """Decode the next messages and hand them over.

        Args:
            at_once: no handler is running, so one may be called without detours.
        """
        try:
            messages = self._inbox.decode()
        except FramingError as error:
            self._lose(self._refused(error))
            return
        if not at_once or self._waiters or self._hub.calls or self._message_hub.on_message is None:
            for message in messages:
                self._deliver(message)
        else:
            self._call_at_once(messages)
        self._resume_reading()

    def _call_at_once(self, messages: list[Message]) -> None:
        """Where a handler alone listens it is called for each; queueing costs as much again."""
        hub = self._message_hub
        for message in messages:
            if hub.on_message is None or self._closed_by_us:
                return  # by the handler, or its failure: nothing more
            hub.posted += 1
            hub.called += 1
            self._call_handler(hub.on_message, self, *message)

    def _work(self) -> float:
        if self._may_decode() and not self._hub.calls:
            self._pumping = True
            try:
                self._decode_some(at_once=True)
            finally:
                self._pumping = False
            if self._may_decode():
                self._wake_keeper()
        return super()._work()

    def _may_decode(self) -> bool:
        """Whether there is more to be decoded, and room for it."""
        inbox = self._inbox
        connected = self._state is CONNECTED
        return connected and inbox.pending and not inbox.is_full(self._receive_buffer_limit)

    def _drain(self) -> bool:
        """What came before the end comes first; False if that was an end of its own."""
        while self._inbox.pending and self._state is CONNECTED:
            try:
                messages = self._inbox.decode()
            except FramingError as error:
                super()._lose(self._refused(error))
                return False
            for message in messages:
                self._deliver(message)
        return True

    def _refused(self, error: FramingError) -> LostConnectionError:
        loss = LostConnectionError(f"{self._endpoint()}: {error}", reason=LossReason.RESET)
        loss.__cause__ = error.with_traceback(None)
        return loss

    # Handing over

    def _deliver(self, message: Message) -> None:
        hub = self._message_hub
        if self._waiters and self._serve_waiter(message):
            return
        if hub.on_message is not None:
            hub.call_on_message(self, *message)
        elif self._readers and not self._was_asked_before():
            self._readers.popleft()[0].unpark(message)
        else:
            self._inbox.add(message)
            if len(self._inbox.messages) == 1:
                self._announce_data()

    def _serve_waiter(self, message: Message) -> bool:
        for index, (command, parking) in enumerate(self._waiters):
            if command == message.command:
                del self._waiters[index]
                parking.unpark(message.data)
                return True
        return False

    def _was_asked_before(self) -> bool:
        """Whether a consumer of events has waited for longer than the first reader."""
        earlier = self._readers[0][1]
        return bool(earlier) and any(parking in earlier for parking in self._message_hub.waiting())

    def _take(self, take: Callable[[], Message | None]) -> Message | None:
        """Take a message from the queue; some more may have to be decoded for that."""
        message = take()
        while message is None and self._may_decode():
            self._decode_some(at_once=False)
            message = take()
        if message is not None:
            if not self._inbox.messages:
                self._hub.withdraw_data()
            self._after_taking()
        return message

    def _take_for_channel(self) -> ReceivedMessage:
        """A message becomes an event at the moment when a consumer takes it."""
        message = self._inbox.take()
        assert message is not None
        self._after_taking()
        return ReceivedMessage(self, *message)

    def _after_taking(self) -> None:
        inbox = self._inbox
        if not inbox.pending:
            self._resume_reading()
        elif self._state is CONNECTED and not (
            inbox.messages and inbox.is_full(self._receive_buffer_limit // 2)
        ):
            self._wake_keeper()

    def _handler_changed(self) -> None:
        """What waits for whoever comes first goes to the new handler."""
        hub = self._message_hub
        if hub.on_message is None or self._keeper is None:
            return
        while (message := self._take(self._inbox.take)) is not None:
            hub.call_on_message(self, *message)
        self._schedule_pump()
