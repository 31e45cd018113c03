"""The channel from which a consumer reads events: ``async for event in sock.events``.

A channel has one ``EventQueue`` for each socket that posts into it and reads from them in
turn, so that a busy socket does not starve others. Posting never waits; the queues stay short
because events are merged.
"""

from __future__ import annotations

from collections import deque
from collections.abc import MutableSequence
from threading import get_ident
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, final

import trio

from trio_xsock._machines.coalesce import EventQueue
from trio_xsock._values.errors import InvalidStateError
from trio_xsock._values.events import Event, SendComplete, SendProgress
from trio_xsock._values.statistics import EventChannelStatistics

from .consumer_wait import ConsumerWait
from .epoll import serve_what_is_ready
from .guard import let_others_run, protect_from_ki

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    E = TypeVar("E", covariant=True, default=Event)
else:  # `typing` knows defaults only from Python 3.13 on
    from typing import TypeVar

    E = TypeVar("E", covariant=True)

_LONGEST_SPREE = 64
"""The most events of an iteration between two checkpoints, which cost more than all the rest."""
_COST_OF_LOOK = 12
"""How many events a look for the next one counts for: others wait while it serves a batch."""


class Poster(Protocol):
    """The other end of a channel.

    Attributes:
        thread: the thread that it posts from; 0 while that is unknown.
    """

    thread: int

    @property
    def busy(self) -> bool:
        """Something is queued to be sent, which will cause events."""
        ...

    def detach(self, channel: EventChannel[Any], /) -> None:
        """Post no more into ``channel``."""


@protect_from_ki
class Source:
    """One socket's side of one channel: its queue, and whether its connection has ended."""

    __slots__ = ("_channel", "ended", "observed_end", "poster", "queue", "ready")

    def __init__(self, channel: EventChannel[Any], poster: Poster) -> None:
        self._channel = channel
        self.poster = poster
        self.queue = EventQueue()
        self.ready = False  # it has events, and is in the channel's turn
        self.ended = False
        self.observed_end = False

    def post(self, event: Event) -> None:
        """Queue ``event``, or give it to a waiting consumer."""
        channel = self._channel
        if self.observed_end:
            return
        if channel._waiting:  # then nothing is queued anywhere
            taken = self.queue.pass_on(event)
            channel._waiting.pop(0).hand_over(taken)
            if not self.queue.events:
                return
        else:
            self.queue.post(event)
        if not self.ready:
            self.ready = True
            channel._turn.append(self)

    def post_batch(self, progress: SendProgress, complete: SendComplete) -> None:
        """Do what ``post`` does, for a batch that was sent at once."""
        if self._channel._waiting or self.observed_end:
            self.post(progress)
            self.post(complete)
            return
        self.queue.post_batch(progress, complete)
        if not self.ready:
            self.ready = True
            self._channel._turn.append(self)

    def begin(self) -> None:
        """A new connection is attempted: iteration may go on."""
        self.queue.begin_connection()
        self.ended = self.observed_end = False

    def end(self) -> None:
        """The connection is over; iteration ends when the waiting events were read."""
        self.ended = True
        self._channel._source_changed(self)

    def leave(self) -> None:
        """Nothing will be posted any more: what waits belongs to the channel alone."""
        self.end()
        del self._channel  # which has this source in its turn


@final
@protect_from_ki
class EventChannel(trio.abc.ReceiveChannel[E], Generic[E]):
    """Events of one socket, or of many.

    A socket makes its own channel when ``events`` or ``subscribe()`` is first used; iteration
    then ends with the connection. A channel you make yourself can be given to any number of
    sockets, ``TCPSocket(events=channel)``; iteration then ends when you close it, and
    ``event.socket`` tells whose event it is.

    Iteration returns waiting events, and those of input that has arrived, without a checkpoint
    each; there is one at least every 64 events, and whenever it has to wait. ``receive()`` is a
    checkpoint every time.

    It is generic in its events: that of a ``TCPSocket`` is an ``EventChannel[TCPEvent]``.

    The queue is bounded: events are merged as the page on event order says, at most ten of one
    socket wait, and a consumer that never reads delays nothing.
    """

    __slots__ = (
        "__weakref__",
        "_bound",
        "_closed",
        "_sources",
        "_spree",
        "_thread",
        "_turn",
        "_waiting",
    )

    def __init__(self) -> None:
        self._sources: dict[Poster, Source] = {}
        self._bound: Source | None = None
        self._turn: MutableSequence[Source] = []  # of many sockets a deque: each takes 760 bytes
        self._waiting: list[ConsumerWait[Any]] = []
        self._closed = False
        self._thread = 0  # of the tasks that wait
        self._spree = 0  # events that iteration may still hand out without a checkpoint

    @classmethod
    def _bound_to(cls, poster: Poster) -> Self:
        """A channel of one socket's own, which ends with its connection."""
        channel = cls()
        channel._bound = channel._attach(poster)
        return channel

    def _attach(self, poster: Poster) -> Source:
        """Let a socket post here; used by the sockets themselves."""
        if len(self._sources) == 1:
            self._turn = deque(self._turn)
        return self._sources.setdefault(poster, Source(self, poster))

    def _forget(self, poster: Poster) -> None:
        """The socket's block was left: what waits stays, nothing will follow."""
        source = self._sources.pop(poster, None)
        if source is not None:
            source.leave()

    @property
    def closed(self) -> bool:
        """``close()`` was called."""
        return self._closed

    def _source_changed(self, source: Source) -> None:
        """Events were queued, or the source ended; used by the sources."""
        if source.queue and not source.ready:
            source.ready = True
            self._turn.append(source)
        while self._waiting and (self._turn or self._at_end()):
            wait = self._waiting.pop(0)
            if self._turn:
                wait.hand_over(self._take())
            else:
                wait.fail(trio.EndOfChannel())

    def _at_end(self) -> bool:
        bound = self._bound
        if bound is None or not bound.ended or bound.queue or bound.poster.busy:
            return False
        bound.observed_end = True
        return True

    def _take(self) -> E:
        turn = self._turn
        source = turn[0]
        queue: Any = source.queue  # of the very events that this channel is for
        event: E = queue.pop()
        if not queue.events:
            del turn[0]
            source.ready = False
        elif len(turn) > 1:
            del turn[0]
            turn.append(source)
        return event

    def _withdraw_data(self, source: Source) -> None:
        """Take back a waiting ``DataAvailable``; used by the sockets themselves."""
        source.queue.withdraw_data()
        if source.ready and not source.queue:
            source.ready = False
            self._turn.remove(source)
            self._source_changed(source)

    def receive_nowait(self) -> E:
        """Take an event without waiting.

        Returns:
            The oldest event of the socket whose turn it is.

        Raises:
            trio.WouldBlock: there is none now.
            trio.EndOfChannel: the connection has ended and everything was taken.
            trio.ClosedResourceError: the channel was closed.
        """
        if self._closed:
            raise trio.ClosedResourceError("this event channel was closed")
        if self._turn:
            return self._take()
        if self._at_end():
            raise trio.EndOfChannel
        raise trio.WouldBlock

    async def receive(self) -> E:
        """Take an event, waiting for one if need be.

        Returns:
            The oldest event of the socket whose turn it is.

        Raises:
            trio.EndOfChannel: the connection has ended and everything was taken.
            trio.ClosedResourceError: the channel was closed, before or while waiting.
            InvalidStateError: the sockets are in another thread's Trio run.

        Cancellation: no event is lost.
        """
        if self._at_end():
            raise trio.EndOfChannel
        await trio.lowlevel.checkpoint_if_cancelled()
        if not self._turn:
            self._join_thread()
            serve_what_is_ready()
        if self._turn or self._closed or self._at_end():
            event = self.receive_nowait()
            await let_others_run()
            return event
        wait: ConsumerWait[E] = ConsumerWait(self._waiting)
        await trio.lowlevel.wait_task_rescheduled(wait.abort)
        return wait.leave()

    def _join_thread(self) -> None:
        """A task is about to wait; all that wait are in one thread."""
        if self._thread != get_ident():
            self._check_thread()
            self._thread = get_ident()

    def _check_thread(self) -> None:
        """Refuse another Trio run than that of the sockets and of those who wait."""
        here = get_ident()
        threads = {poster.thread for poster in self._sources}
        if self._waiting:
            threads.add(self._thread)
        if not threads <= {0, here}:
            raise InvalidStateError(
                "the sockets of this event channel, or tasks that wait for it, are in another "
                "thread; from here use trio.from_thread.run_sync(function, trio_token=token)"
            )

    async def __anext__(self) -> E:
        spree, looked = self._spree, False
        if not self._turn and spree > _COST_OF_LOOK:
            spree -= _COST_OF_LOOK
            looked = True
            serve_what_is_ready()
        if self._turn and spree:
            self._spree = spree - 1
            return self._take()  # noqa: ASYNC910 - see the class
        self._spree = _LONGEST_SPREE
        try:
            if not looked or self._closed or self._at_end():
                return await self.receive()
            # As ``receive`` does, whose coroutine would take 300 bytes for each task that waits.
            self._join_thread()
            wait: ConsumerWait[E] = ConsumerWait(self._waiting)
            await trio.lowlevel.wait_task_rescheduled(wait.abort)
            return wait.leave()
        except (trio.EndOfChannel, trio.ClosedResourceError):
            raise StopAsyncIteration from None

    def close(self) -> None:
        """Detach from the sockets, which continue; waiting events are dropped. Idempotent.

        Tasks waiting in ``receive()`` get ``trio.ClosedResourceError``; iteration ends.

        Raises:
            InvalidStateError: sockets that post here, or tasks that wait, are in another thread.
        """
        if self._closed:
            return
        self._check_thread()
        self._closed = True
        for poster in list(self._sources):
            poster.detach(self)
        self._sources.clear()
        self._turn.clear()
        self._bound = None
        while self._waiting:
            self._waiting.pop(0).fail(trio.ClosedResourceError("this event channel was closed"))

    async def aclose(self) -> None:
        """``close()``, and a checkpoint."""
        self.close()
        await trio.lowlevel.checkpoint()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def statistics(self) -> EventChannelStatistics:
        """The number of waiting events, sockets and tasks."""
        return EventChannelStatistics(
            current_buffer_used=sum(len(source.queue) for source in self._turn),
            max_buffer_size=10 * max(1, len(self._sources)),
            open_send_channels=len(self._sources),
            open_receive_channels=0 if self._closed else 1,
            tasks_waiting_send=0,
            tasks_waiting_receive=len(self._waiting),
        )

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{len(self._sources)} sockets"
        waiting = sum(len(source.queue) for source in self._turn)
        return f"<EventChannel {state}, {waiting} events waiting>"
