"""Decoding in a message socket: from bytes to messages, as many as there is room and time for.

Bytes become messages in portions, between which others have their turn, and only while not too
many messages wait. What came before the end of a connection comes before its end here as well.
"""

from __future__ import annotations

import socket as stdlib_socket
from collections.abc import Callable
from typing import Any

from trio_xsock._machines.state import CONNECTED
from trio_xsock._network.options import check_count
from trio_xsock._runtime.guard import protect_from_ki
from trio_xsock._values.errors import FramingError, LossReason, LostConnectionError, SocketError
from trio_xsock._values.events import ReceivedMessage
from trio_xsock._values.message import Message

from .easy_delivery import MessageDelivery
from .link import SMALLEST_READ


@protect_from_ki
class MessageDecoding(MessageDelivery):
    """How an ``EasyTCPSocket`` makes messages of what it reads."""

    __slots__ = ("_handed_over_at",)

    def _init_messages(self, max_message_size: int) -> None:
        super()._init_messages(max_message_size)
        # How many calls the handler will have had when it has had all decoded messages.
        self._handed_over_at = 0

    @property
    def max_message_size(self) -> int:
        """Bytes of data that a received message may have; takes effect with the next one."""
        return self._inbox.max_message_size

    @max_message_size.setter
    def max_message_size(self, size: int) -> None:
        self._inbox.max_message_size = check_count("max_message_size", size)

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
        elif self._may_decode():
            self._wake_keeper()

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
        self._handed_over_at = self._hub.called + len(self._hub.calls)
        self._resume_reading()

    def _work(self) -> float:
        if self._may_decode():
            self._pumping = True
            try:
                self._decode_some(at_once=True)
            finally:
                self._pumping = False
        deadline = super()._work()  # runs the handler calls that are due, which makes room
        if self._may_decode():
            self._wake_keeper()
        return deadline

    def _may_decode(self) -> bool:
        """Whether there is more to be decoded, and room for it.

        Messages that wait for their handler call are in no buffer and under no limit. So those
        decoded before must have had their calls; other calls, of sends, do not matter.
        """
        inbox, hub = self._inbox, self._hub
        return (
            self._state is CONNECTED
            and inbox.pending
            and (not hub.calls or hub.called >= self._handed_over_at)
            and not inbox.is_full(self._receive_buffer_limit)
        )

    def _is_behind(self) -> bool:
        return self._may_decode()

    # Before the end

    def _end_input(self) -> None:
        if self._drain():
            if self._inbox.incomplete and self._loss is None and self._state is CONNECTED:
                text = f"{self._endpoint()}: the peer closed the connection within a message"
                self._cut = LostConnectionError(text, reason=LossReason.REMOTE_CLOSED)
            super()._end_input()

    def _peer_closed(self) -> LostConnectionError:
        return self._cut or super()._peer_closed()

    def _lose(self, error: SocketError) -> None:
        self._drain()
        if self._transport is not None:
            super()._lose(error)

    def _drain(self) -> bool:
        """What came before the end comes first; False if that was an end of its own."""
        while self._inbox.pending and self._state is CONNECTED:
            try:
                messages = self._inbox.decode()
            except FramingError as error:
                self._loss = None  # these bytes came before whatever else ended the connection
                super()._lose(self._refused(error))
                return False
            for message in messages:
                self._deliver(message)
        return True

    def _refused(self, error: FramingError) -> LostConnectionError:
        loss = LostConnectionError(f"{self._endpoint()}: {error}", reason=LossReason.RESET)
        loss.__cause__ = error.with_traceback(None)
        return loss

    # Taking: there may be room for more then

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
        while (message := self._inbox.take()) is not None:  # what is not decoded yet follows
            hub.call_on_message(self, *message)
        self._hub.withdraw_data()
        self._after_taking()
        self._schedule_pump()
