"""Delivery in a message socket: who gets a message, and how the waits for one end.

A message goes to the first of: a ``wait_for_message`` for its command; the handler's
``on_received_message``; whoever asks first of ``receive()`` and the event channels.
"""

from __future__ import annotations

from collections import deque
from typing import Any, cast

import trio

from trio_xsock._machines.buffer import ReceiveBuffer
from trio_xsock._machines.message_buffer import MessageBuffer
from trio_xsock._machines.state import CONNECTED
from trio_xsock._network.options import check_count
from trio_xsock._runtime.guard import Parking, protect_from_ki
from trio_xsock._runtime.hub import EventHub
from trio_xsock._runtime.message_hub import MessageHub
from trio_xsock._values.errors import LostConnectionError, SocketError
from trio_xsock._values.events import Connected, DataAvailable, ErrorOccurred, Event
from trio_xsock._values.message import Message

from .easy_connecting import ConnectionWaiting
from .intake import CLEAN_END


@protect_from_ki
class MessageDelivery(ConnectionWaiting):
    """The messages of an ``EasyTCPSocket``, those who want them, and those that wait."""

    __slots__ = ("_cut", "_inbox", "_message_hub", "_readers", "_waiters")

    def _init_messages(self, max_message_size: int) -> None:
        self._inbox = MessageBuffer(check_count("max_message_size", max_message_size))
        # Of it the classes below use ``size``, ``append`` and ``clear``.
        self._buffer = cast("ReceiveBuffer", self._inbox)
        self._waiters: list[tuple[int, Parking[bytes]]] = []
        # Each with those who waited for events before it.
        self._readers: deque[tuple[Parking[Message], list[Parking[Any]]]] = deque()

    def _new_hub(self) -> EventHub:
        self._message_hub = MessageHub()
        return self._message_hub

    def _reset(self) -> None:
        super()._reset()
        self._cut: LostConnectionError | None = None  # the peer closed within a message

    # What waits

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

    def _call_at_once(self, messages: list[Message]) -> None:
        """Where a handler alone listens it is called for each; queueing costs as much again."""
        hub = self._message_hub
        for message in messages:
            if self._closed_by_us:
                return  # by the handler, or its failure: nothing more
            if hub.on_message is None or hub.calls:  # the handler has just been replaced
                self._deliver(message)
                continue
            hub.posted += 1
            hub.called += 1
            self._call_handler(hub.on_message, self, *message)

    # Why there are no messages

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
        super()._announce_loss(error)
        self._fail_waiting(CLEAN_END if self._input_ended else error)
