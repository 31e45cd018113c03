"""``MessageInbox``: received messages that are unread, and the tasks that wait for some.

A message goes to the first of: a ``wait_for_message`` for its command; the handler's
``on_received_message``; the first ``receive()`` or event channel that reads.

Bytes are decoded in portions, between which other tasks may run, and only while not too many
messages wait.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import trio

from trio_xsock._machines.message_buffer import MessageBuffer
from trio_xsock._runtime.consumer_wait import ConsumerWait
from trio_xsock._runtime.delivery import Delivery
from trio_xsock._runtime.guard import Parking, call_unprotected, protect_from_ki
from trio_xsock._runtime.message_hub import MessageHub
from trio_xsock._values.errors import SocketError
from trio_xsock._values.message import Message


@protect_from_ki
class MessageInbox:
    """Received messages; see ``Inbox``.

    Args:
        delivery: where ``DataAvailable`` is posted and the handler is called.

    Attributes:
        buffer: the messages, and the bytes of those still to be decoded.
    """

    __slots__ = ("_called_at", "_delivery", "_hub", "_readers", "_waiters", "buffer")

    waiting: bool = True  # input has to be decoded in any case

    def __init__(self, delivery: Delivery) -> None:
        self.buffer = MessageBuffer()
        self._delivery = delivery
        hub = delivery.hub
        assert isinstance(hub, MessageHub)
        self._hub = hub
        # The number of handler calls after which all decoded messages were delivered.
        self._called_at = 0
        self._waiters: list[tuple[int, Parking[bytes | None]]] = []
        # Each with the tasks that waited for events before it.
        self._readers: deque[tuple[Parking[Message], list[ConsumerWait[Any]]]] = deque()

    # As an inbox

    @property
    def size(self) -> int:
        """See ``Inbox``."""
        return self.buffer.size

    @property
    def pending(self) -> bool:
        """See ``Inbox``."""
        return self.buffer.pending

    @property
    def incomplete(self) -> bool:
        """See ``Inbox``."""
        return self.buffer.incomplete

    def room_for(self, limit: int) -> int:
        """See ``Inbox``: a message that has begun may always be completed."""
        return self.buffer.wanted(limit)

    def needed(self, limit: int) -> int:
        """See ``Inbox``."""
        return self.buffer.needed(limit)

    def may_hand_on(self, limit: int) -> bool:
        """See ``Inbox``.

        Messages that wait for their handler call do not count against the limit. So the calls for
        those decoded before must have been made; other calls, of sends, do not matter.
        """
        buffer, hub = self.buffer, self._hub
        called = not hub.calls or hub.called >= self._called_at
        return buffer.pending and called and not buffer.is_full(limit)

    def hand_on(self, limit: int) -> None:
        """See ``Inbox``: decode the next messages and deliver them.

        If the delivery is held and nothing else is due, the handler is called at once: queueing
        its calls would cost as much again.
        """
        if not self.may_hand_on(limit):
            return
        messages = self.buffer.decode()
        hub = self._hub
        if hub.on_message is None or not self._delivery.held or self._waiters or hub.calls:
            for message in messages:
                self._deliver(message)
        else:
            self._call_handler(messages)
        self._called_at = hub.called + len(hub.calls)

    def hand_on_rest(self) -> None:
        """See ``Inbox``."""
        while self.buffer.pending:
            for message in self.buffer.decode():
                self._deliver(message)

    def end(self, ended: SocketError, *, closed_by_us: bool) -> None:
        """See ``Inbox``; ends that are announced end the waits in ``tell_loss``."""
        if closed_by_us:
            self._hub.withdraw_messages()
            self._fail_waiting(ended, ended)

    def announce_unread(self) -> None:
        """See ``Inbox``: a message is delivered as soon as it is decoded."""

    def tell_loss(self, error: SocketError, *, clean: bool) -> None:
        """See ``Inbox``."""
        end = trio.EndOfChannel() if clean and not self.buffer.incomplete else error
        self._fail_waiting(error, end)

    def settle(self) -> None:
        """See ``Inbox``: nothing peeks at the buffer."""

    def restart(self) -> None:
        """See ``Inbox``."""
        self.buffer.restart()
        self._hub.withdraw_data()

    # Delivering

    def _deliver(self, message: Message) -> None:
        hub = self._hub
        if self._waiters and self._serve_waiter(message):
            return
        if hub.on_message is not None:
            hub.call_on_message(hub.on_message, self._delivery.socket, *message)
            self._delivery.schedule()
        elif self._readers and not self._was_asked_before():
            self._readers.popleft()[0].unpark(message)
        else:
            self.buffer.add(message)
            if len(self.buffer.messages) == 1:
                self._delivery.post_data()

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
        return bool(earlier) and any(parking in earlier for parking in self._hub.waiting())

    def _call_handler(self, messages: list[Message]) -> None:
        hub, delivery = self._hub, self._delivery
        socket, run = delivery.socket, delivery.context.run
        for message in messages:
            if delivery.socket is None:
                return  # the handler closed the socket, or failed: nothing more
            method = hub.on_message
            if method is None or hub.calls:  # the handler has just been replaced
                self._deliver(message)
                continue
            hub.posted += 1
            try:  # as Delivery.call does, whose call costs a tenth of all this
                run(call_unprotected, method, socket, message[0], message[1])
            except BaseException as exc:  # noqa: ASYNC103 - nothing here awaits
                delivery.fail(exc)

    def _fail_waiting(self, for_waiters: SocketError, for_readers: Exception) -> None:
        readers, self._readers = self._readers, deque()
        waiters, self._waiters = self._waiters, []
        for _, waiter in waiters:
            waiter.fail(for_waiters)
        for reader, _ in readers:
            reader.fail(for_readers)

    # Taking

    @property
    def announced(self) -> bool:
        """See ``Inbox``."""
        return not self.is_empty

    @property
    def is_empty(self) -> bool:
        """No message waits."""
        return not self.buffer.messages

    def take(self, command: int | None = None) -> Message | None:
        """Remove and return the oldest message, or the oldest with this command."""
        buffer = self.buffer
        message = buffer.take() if command is None else buffer.take_command(command)
        if message is not None and not buffer.messages:
            self._hub.withdraw_data()
        return message

    def wait_for_any(self) -> tuple[Parking[Message], list[ConsumerWait[Any]]]:
        """Wait in line for the next message; to be given to ``forget_reader`` on cancellation."""
        reader = Parking[Message](), self._hub.waiting()
        self._readers.append(reader)
        return reader

    def forget_reader(self, reader: tuple[Parking[Message], list[ConsumerWait[Any]]]) -> None:
        """Its task was cancelled."""
        self._readers.remove(reader)

    def wait_for_command(self, command: int) -> tuple[int, Parking[bytes | None]]:
        """Wait for a message with this command; to be given to ``forget_waiter``."""
        waiter = command, Parking[bytes | None]()
        self._waiters.append(waiter)
        return waiter

    def forget_waiter(self, waiter: tuple[int, Parking[bytes | None]]) -> None:
        """Its task was cancelled."""
        self._waiters.remove(waiter)

    def pass_to_handler(self) -> None:
        """There is a new handler: it gets the waiting messages."""
        hub = self._hub
        while hub.on_message is not None and (message := self.take()) is not None:
            hub.call_on_message(hub.on_message, self._delivery.socket, *message)
        self._delivery.schedule()

    def clear(self) -> None:
        """Drop all messages that have arrived; one that has begun is still received."""
        self.buffer.clear()
        self._hub.withdraw_data()
