"""How messages reach channels and handlers.

A message is not queued in every channel: it waits once, in the receive queue of its socket, and
goes to the first reader. In the queue of a channel one ``DataAvailable`` stands for all messages;
when it is read, a message is taken from the socket, and the mark stays while there are
more. A handler that has ``on_received_message`` gets every message before that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trio_xsock._machines.coalesce import EventQueue
from trio_xsock._values.events import DataAvailable, Event

from .channel import EventChannel, Source
from .consumer_wait import ConsumerWait
from .guard import protect_from_ki
from .hub import EventHub

MESSAGE_METHODS = (
    "on_connected",
    "on_received_message",
    "on_send_progress",
    "on_send_complete",
    "on_error",
)
"""The methods that the handler object of a message socket may have."""


class MessageEventQueue(EventQueue):
    """The waiting events of a message socket, for one channel."""

    __slots__ = ()

    def __init__(self, events: EventQueue) -> None:
        super().__init__()
        self.events = events.events  # those that were posted before
        self.data_waits = events.data_waits

    def pass_on(self, event: Event) -> Event:
        """The event for a consumer that waits: for data, the message itself."""
        self.post(event)
        return self.pop()

    def pop(self) -> Event:
        """Remove and return the oldest; of the messages, the oldest that is still there."""
        mark = self.events[0][1]
        if not isinstance(mark, DataAvailable):
            return super().pop()
        event: Event = mark.socket._take_for_channel()
        if not mark.socket._has_messages():
            super().pop()
            mark.socket._delivery.hub.withdraw_data(self)
        return event


class MessageHub(EventHub):
    """The hub of a socket that receives messages.

    Attributes:
        on_message: the handler's method for them, if it has one.
    """

    __slots__ = ("on_message",)

    _ANNOUNCES_DATA = False

    def __init__(self) -> None:
        super().__init__()
        self.on_message: Callable[..., object] | None = None

    def set_handler(self, methods: dict[str, Callable[..., object]]) -> None:
        """Let a handler's methods be called from now on."""
        super().set_handler(methods)
        self.on_message = methods.get("on_received_message")

    def attach(self, channel: EventChannel, source: Source) -> None:
        """Post into ``channel`` from now on."""
        source.queue = MessageEventQueue(source.queue)
        super().attach(channel, source)

    def call_on_message(self, method: Callable[..., object], *arguments: object) -> None:
        """Queue the handler's call for a message; it has a method for that."""
        self.posted += 1
        self.call_soon(method, arguments)

    def _post_to_channels(self, event: Event) -> None:
        for source in list(self._sources.values()) if self._sources else ():
            # A consumer of one channel may take the only message before the next is served.
            if not isinstance(event, DataAvailable) or event.socket._has_messages():
                source.post(event)

    def withdraw_messages(self) -> None:
        """The socket was closed: drop the handler's calls for messages."""
        others = [call for call in self.calls if call[0] is not self.on_message]
        if len(others) < len(self.calls):
            self.calls.clear()
            self.calls.extend(others)

    def withdraw_data(self, taker: EventQueue | None = None) -> None:
        """No message waits any more.

        Args:
            taker: the queue that returned the last one, and updates itself.
        """
        for channel, source in self._sources.items() if self._sources else ():
            if source.queue is not taker:
                channel._withdraw_data(source)

    def waiting(self) -> list[ConsumerWait[Any]]:
        """The consumers that have waited longest, one of each channel."""
        channels = self._sources or ()
        return [channel._waiting[0] for channel in channels if channel._waiting]


protect_from_ki(MessageHub)
