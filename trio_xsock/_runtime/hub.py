"""The event hub: every event of a socket passes here, on its way to channels and handler.

Channels get events merged, through their queues. A handler object gets every event, one call
at a time and never re-entered: ``post`` only notes the call, and the socket runs what is noted
when no handler is running. A socket that nobody listens to makes no event objects at all.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Collection
from typing import Any, ClassVar, Final, TypeAlias

from trio_xsock._machines.ledger import SendLedger
from trio_xsock._values.events import (
    DataAvailable,
    Event,
    SendComplete,
    SendProgress,
)

from .channel import EventChannel, Source
from .guard import protect_from_ki
from .kinds import ARGUMENTS, NOTHING, Kinds, kinds_of, wishes

Call: TypeAlias = tuple[Callable[..., object], tuple[Any, ...], bool]
"""A handler call that is due: the method, its arguments, and whether it may answer True, as
``on_send_progress`` may. A plain tuple, for one is made at every event."""

_NO_CALLS: Final[deque[Call]] = deque(maxlen=0)
"""Stands for the queue of a socket without a handler; an empty deque takes 760 bytes."""


class _Channels:
    """What the hub of a socket that has, or had, channels keeps of them.

    Attributes:
        own: the one behind ``socket.events``.
        left: that one, after the block was left.
        merged_before: events merged in those that are not listened through any more.
    """

    __slots__ = ("left", "merged_before", "own")

    def __init__(self) -> None:
        self.own: EventChannel | None = None
        self.left: weakref.ref[EventChannel] | None = None
        self.merged_before = 0


class EventHub:
    """Posts one socket's events to whoever listens.

    Attributes:
        wanted: the kinds of events that anybody listens for; checked before one is posted.
        has_channels: somebody listens through a channel.
        watches_sends: somebody listens for what becomes of sends.
        calls: handler calls that are due.
        called: handler calls of the queue that were made.
        data_method: the handler's method for received data, if nobody else listens for it.
        data_source: the channel's side that is told of it, if nobody else listens for it.
        progress_method: the handler's method for what was sent.
        complete_method: the handler's method for the end of a batch.
        ledger: what is queued to be sent, where anything can be.
        over: the connection is over; channels end when nothing is queued.
        posted: events posted so far; counted only while somebody listens.
        thread: the thread that the socket is used in; 0 before it was.
    """

    __slots__ = (
        "_kinds",
        "_channels",
        "_listening",
        "_methods",
        "_sources",
        "called",
        "calls",
        "complete_method",
        "data_method",
        "data_source",
        "has_channels",
        "ledger",
        "over",
        "posted",
        "progress_method",
        "thread",
        "wanted",
        "watches_sends",
    )

    _ANNOUNCES_DATA: ClassVar = True
    """Received data is announced as it comes, by ``DataAvailable``."""

    def __init__(self) -> None:
        self.wanted = NOTHING
        self.has_channels = self.watches_sends = False
        self.calls: deque[Call] = _NO_CALLS
        self.called = 0
        self.data_method: Callable[..., object] | None = None
        self.data_source: Source | None = None
        self.progress_method: Callable[..., object] | None = None
        self.complete_method: Callable[..., object] | None = None
        self.ledger: SendLedger | None = None
        self.over = False
        self.posted = 0
        self.thread = 0
        # For each of many connections: a dict would take four times the memory.
        self._kinds: Kinds = ()  # of the methods; shared by all handlers with the same ones
        self._methods: tuple[Callable[..., object], ...] = ()
        self._sources: dict[EventChannel, Source] | None = None
        self._listening: tuple[Source, ...] = ()
        self._channels: _Channels | None = None  # most sockets never have any

    # Who listens

    @property
    def active(self) -> bool:
        """Somebody listens."""
        return bool(self.wanted)

    @property
    def watches_progress(self) -> bool:
        """The handler may abort a send from ``on_send_progress``."""
        return self.progress_method is not None

    def set_handler(self, methods: dict[str, Callable[..., object]]) -> None:
        """Let a handler's methods be called from now on."""
        self._kinds = kinds_of(tuple(methods))
        self._methods = tuple(methods.values())
        self._update()
        watches = self.watches_sends
        self.progress_method = self._method(SendProgress) if watches else None
        self.complete_method = self._method(SendComplete) if watches else None

    def _method(self, kind: type[Event]) -> Callable[..., object] | None:
        kinds = self._kinds
        return self._methods[kinds.index(kind)] if kind in kinds else None

    def attach(self, channel: EventChannel, source: Source) -> None:
        """Post into ``channel`` from now on."""
        if self._sources is None:
            self._sources = {}
        self._sources[channel] = source
        self._with_channels()
        self._update()

    def _with_channels(self) -> _Channels:
        if self._channels is None:
            self._channels = _Channels()
        return self._channels

    def detach(self, channel: EventChannel, /) -> None:
        """Post no more into ``channel``."""
        source = self._sources.pop(channel, None) if self._sources else None
        channels = self._with_channels()
        if source is not None:
            channels.merged_before += source.queue.merged
        if channels.own is channel:
            channels.own = None
        self._update()

    def own_channel(self, now: Callable[[], list[Event]]) -> EventChannel:
        """The channel behind ``socket.events``, made if there is none."""
        channels = self._with_channels()
        if channels.own is None:
            left = None if channels.left is None else channels.left()
            if left is not None and not left.closed:
                return left
            channels.own = self.subscribe(now)
        return channels.own

    def adopt_channel(self, channel: EventChannel) -> None:
        """Make a user's channel the one behind ``socket.events``, unless it is closed."""
        if not channel.closed:
            self.attach(channel, channel._attach(self))
            self._with_channels().own = channel

    def subscribe(self, now: Callable[[], list[Event]]) -> EventChannel:
        """A new channel that begins with the events of ``now``."""
        channel = EventChannel._bound_to(self)
        source = channel._sources[self]
        for event in now():
            source.post(event)
        if self.over:
            source.end()
        self.attach(channel, source)
        return channel

    def _update(self) -> None:
        self._listening = tuple((self._sources or {}).values())
        self.has_channels = bool(self._listening)
        self.wanted, self.watches_sends = wishes(self._kinds, self.has_channels)
        self.data_method = None if self.has_channels else self._method(DataAvailable)
        alone = self._ANNOUNCES_DATA and len(self._listening) == 1 and not self._kinds
        self.data_source = self._listening[0] if alone else None

    @property
    def merged(self) -> int:
        """How many events were merged into others, over all channels."""
        sources = self._sources.values() if self._sources else ()
        before = 0 if self._channels is None else self._channels.merged_before
        return before + sum(source.queue.merged for source in sources)

    def next_call(self) -> Call:
        """The handler call that is due next; there is one."""
        self.called += 1
        call = self.calls.popleft()
        if not self.calls:
            self.calls = _NO_CALLS
        return call

    def call_soon(
        self,
        method: Callable[..., object],
        arguments: tuple[Any, ...],
        may_abort: bool = False,
    ) -> None:
        """Note a handler call that is due."""
        if self.calls is _NO_CALLS:
            self.calls = deque()
        self.calls.append((method, arguments, may_abort))

    # What happens

    def begin(self, thread: int) -> None:
        """A new connection is attempted.

        Args:
            thread: that of the socket's Trio run.
        """
        self.over = False
        self.thread = thread
        for source in self._sources.values() if self._sources else ():
            source.begin()

    def end(self) -> None:
        """The connection is over and nothing is queued to be sent.

        If our direction is still open there may be more to come: it is called again when
        that, too, has been sent.
        """
        self.over = True
        for source in list(self._sources.values()) if self._sources else ():
            source.end()

    @property
    def busy(self) -> bool:
        """See ``Poster.busy``."""
        return self.ledger is not None and self.ledger.open

    def release(self) -> None:
        """The socket's block was left: channels of many sockets need not remember it."""
        for channel in list(self._sources or ()):
            channel._forget(self)
        channels = self._channels
        if channels is None:
            return
        # Events that nobody took refer to the socket: the channel belongs to who holds it now.
        channels.merged_before = self.merged
        self._sources = None
        if channels.own is not None:
            channels.left = weakref.ref(channels.own)
            channels.own = None
        self._update()

    def withdraw_data(self) -> None:
        """The received data has been read: take back what announces it."""
        for channel, source in self._sources.items() if self._sources else ():
            if source.queue.data_waits:
                channel._withdraw_data(source)

    def post(self, kind: type[Any], fields: tuple[Any, ...]) -> None:
        """Post one event, in the order in which things happen.

        Args:
            kind: the event's class, one of ``wanted``.
            fields: its fields; made into an event only where a channel takes it.
        """
        self.posted += 1
        if self._listening:
            self._post_to_channels(kind(*fields))
        method = self._method(kind)
        if method is not None:
            arguments = fields[: ARGUMENTS[kind]]
            self.call_soon(method, arguments, kind is SendProgress)

    def post_to(
        self, channels: Collection[EventChannel], kind: type[Any], fields: tuple[Any, ...]
    ) -> None:
        """Do what ``post`` does, but for these channels only, and the handler."""
        self.posted += 1
        for channel, source in self._sources.items() if self._sources else ():
            if channel in channels:
                source.post(kind(*fields))
        method = self._method(kind)
        if method is not None:
            self.call_soon(method, fields[: ARGUMENTS[kind]])

    def post_data(self, socket: object) -> None:
        """Post ``DataAvailable``: what ``post`` does, for the most frequent event."""
        self.posted += 1
        if self.has_channels:
            self._post_to_channels(DataAvailable(socket))
        if self._methods:
            method = self._method(DataAvailable)
            if method is not None:
                self.call_soon(method, (socket,))

    def post_sent(self, socket: object, size: int) -> None:
        """Post what tells of a batch that the OS took at once: its progress and its end."""
        progress, complete = self.progress_method, self.complete_method
        if self.has_channels:
            self.posted += 2
            sent, ended = SendProgress(socket, size, 0, size), SendComplete(socket, False, size, 0)
            for source in self._listening:
                source.post_batch(sent, ended)
        else:
            self.posted += (progress is not None) + (complete is not None)
        if progress is not None:
            self.call_soon(progress, (socket, size, 0), True)
        if complete is not None:
            self.call_soon(complete, (socket, False))

    def _post_to_channels(self, event: Event) -> None:
        for source in self._listening:
            source.post(event)


protect_from_ki(EventHub)
