"""``Intake``: the receiving half of a connection, which reads from the transport into an inbox.

It decides how much to read and whether to read at all: reading stops when the inbox is full
and continues when there is room. The inbox decides what becomes of the bytes.
"""

from __future__ import annotations

from typing import Final, Protocol

from trio_xsock._network.transport import Transport
from trio_xsock._platform.memory import keep_freed_memory
from trio_xsock._runtime.delivery import Delivery
from trio_xsock._runtime.guard import protect_from_ki
from trio_xsock._runtime.readiness import Watch
from trio_xsock._values.errors import SocketError

from .own_wait import OwnWait

SMALLEST_READ: Final = 65536
"""Bytes asked for in one read, unless reads come back full; larger ones are dear to allocate."""
_LARGEST_READ: Final = 2**20


class _Notable:
    """The size from which reads are looked at: a page, and only full ones when memory is kept."""

    __slots__ = ("size",)

    def __init__(self) -> None:
        self.size = 4096


_NOTABLE: Final = _Notable()


class Buffer(Protocol):
    """The first buffer of an inbox.

    Attributes:
        size: unread bytes.
    """

    size: int

    def append(self, chunk: bytes, /) -> None:
        """Add bytes that arrived."""


class Inbox(Protocol):
    """The destination of received bytes: the receive buffer of a stream, or the message queue.

    Attributes:
        buffer: where they are stored.
        size: unread bytes.
        pending: there are bytes that were not decoded yet; reading waits for that.
        waiting: not ``None`` or false if a task waits for input.
        announced: there is unread data of which a new consumer of events has to be notified.
    """

    @property
    def buffer(self) -> Buffer: ...
    @property
    def size(self) -> int: ...
    @property
    def pending(self) -> bool: ...
    @property
    def waiting(self) -> object: ...
    @property
    def announced(self) -> bool: ...

    def room_for(self, limit: int, /) -> int:
        """How many bytes there may be in all, if the user set ``limit``."""
        ...

    def needed(self, limit: int, /) -> int:
        """How many bytes there must be before a reader can be served; 0 for any number."""
        ...

    def hand_on(self, limit: int, /) -> None:
        """Give new bytes to the tasks that wait for them, or announce them.

        Raises:
            FramingError: they are not a valid message.
        """

    def may_hand_on(self, limit: int, /) -> bool:
        """Whether something is ``pending`` and there is room for it."""
        ...

    def hand_on_rest(self) -> None:
        """Nothing more will come: hand on all that is ``pending``, without a limit.

        Raises:
            FramingError: it is no message.
        """

    @property
    def incomplete(self) -> bool:
        """Whether a message has begun that nothing will complete."""
        ...

    def end(self, ended: SocketError, *, closed_by_us: bool) -> None:
        """Nothing more will come: wake the waiting tasks.

        Args:
            ended: why; ``CLEAN_END`` for the peer's end.
            closed_by_us: the waiting task gets nothing of what is buffered.
        """

    def announce_unread(self) -> None:
        """Post what was held back for a waiting task, unless the connection is over."""

    def tell_loss(self, error: SocketError, *, clean: bool) -> None:
        """The end was announced with ``error``."""

    def settle(self) -> None:
        """The buffer is about to be read: take what an iterator has used of it."""

    def restart(self) -> None:
        """Drop everything; a new connection begins."""


class MakesInbox(Protocol):
    """The class of an inbox."""

    def __call__(self, delivery: Delivery, /) -> Inbox: ...


class Intake:
    """Reads one connection.

    Args:
        limit: bytes that may be unread before reading stops.

    Attributes:
        bytes_received: bytes that were received on this connection.
        caller: a task is receiving; no second one may.
        limit: as above.
        pauses: how often reading was stopped because the inbox was full.
        reading: there is room: what comes is taken in.
        served: the OS is asked to report input while ``reading``; else whoever asks for input
            takes it in, see ``by_caller``.
        crowded: it is served though nobody listens; see ``crowd``.
        own_wait: the receiving task's wait for the descriptor itself, once there was one.
        watch: the transport's, once it is watched.
    """

    __slots__ = (
        "_read_size",
        "bytes_received",
        "caller",
        "crowded",
        "limit",
        "own_wait",
        "pauses",
        "reading",
        "served",
        "watch",
    )

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.bytes_received: int = 0
        self.caller = False
        self.pauses: int = 0
        self.reading = False
        self.served = True
        self.crowded = False
        self.own_wait: OwnWait | None = None
        self._read_size = SMALLEST_READ
        self.watch: Watch | None = None

    def attach(self, watch: Watch, served: bool, crowded: bool) -> None:
        """Use this watch from now on.

        Args:
            watch: the watch.
            served: see ``Intake``.
            crowded: likewise.
        """
        self.watch = watch
        self.served = served
        self.crowded = crowded
        if self.reading and served:
            watch.reading(True)

    def detach(self) -> None:
        """There is no watch any more."""
        self.watch = None
        self.served = True
        self.crowded = self.reading = False

    def wake_caller(self) -> None:
        """Something has changed for the task that waits for the descriptor itself."""
        if self.own_wait is not None:
            self.own_wait.wake()

    def serve(self) -> None:
        """Have the OS report input from now on."""
        if not self.served:
            self.served = True
            if self.reading and self.watch is not None:
                self.watch.reading(True)

    def join_crowd(self) -> None:
        """Many connections are busy: it is about to be served."""
        self.crowded = True

    def leave_crowd(self, *, served: bool) -> None:
        """Few connections are busy.

        Args:
            served: somebody listens; else the OS is to report nothing but a hang-up from now on,
                if it can do that.
        """
        self.crowded = False
        if not served and self.watch is not None:
            self.watch.reading(False)
            self.served = not self.watch.report_hang_up()
            self.watch.reading(self.served and self.reading)

    # Whether to read

    def start(self) -> None:
        """Take in what comes."""
        if not self.reading and self.watch is not None:
            self.reading = True
            if self.served:
                self.watch.reading(True)

    def stop(self) -> None:
        """Take in no more."""
        if self.reading:
            self.reading = False
            if self.served and self.watch is not None:
                self.watch.reading(False)

    def resume(self, inbox: Inbox) -> None:
        """Something was read, or a task waits: continue reading if there is room again.

        Half of the limit is the difference between stopping and continuing, so that reading single
        bytes does not toggle it.
        """
        if self.reading or inbox.pending:
            return
        size, limit = inbox.size, self.limit
        if not size or size <= inbox.room_for(limit) // 2 or size < inbox.needed(limit):
            self.start()

    def pause(self) -> None:
        """The inbox has enough to do."""
        self.pauses += self.reading
        self.stop()

    # Reading

    def take_in(self, transport: Transport, buffer: Buffer, room: int) -> bytes | None:
        """Put what the transport has into the buffer, once.

        Args:
            transport: the source.
            buffer: the destination.
            room: how many bytes it may have in all.

        Returns:
            What was read, ``b""`` for the end; ``None`` if there is nothing now, or no room.

        Raises:
            OSError: the connection is lost.
        """
        wanted = room - buffer.size
        if wanted > self._read_size:
            wanted = self._read_size
        elif wanted <= 0:
            self.pause()
            return None
        try:
            data = transport.recv(wanted)
        except (BlockingIOError, InterruptedError):
            return None
        if data:
            size = len(data)
            self.bytes_received += size
            if size >= _NOTABLE.size or wanted > SMALLEST_READ:
                self._adapt_read_size(size, wanted)
            buffer.append(data)
        return data

    def read(self, transport: Transport) -> bytes | None:
        """Read for a task that takes what comes, past the buffer, which is empty.

        Args:
            transport: where from.

        Returns:
            As for ``take_in``.

        Raises:
            OSError: the connection is lost.
        """
        wanted = self._read_size
        if wanted > self.limit:
            wanted = self.limit
        try:
            data = transport.recv(wanted)
        except (BlockingIOError, InterruptedError):
            return None
        if data:  # as above, without a call, which would cost 1 % of a message
            size = len(data)
            self.bytes_received += size
            if size >= _NOTABLE.size or wanted > SMALLEST_READ:
                self._adapt_read_size(size, wanted)
        return data

    def _adapt_read_size(self, size: int, wanted: int) -> None:
        if size >= _NOTABLE.size:
            keep_freed_memory()
            _NOTABLE.size = SMALLEST_READ
        if size == wanted:
            self._read_size = min(self._read_size * 4, _LARGEST_READ)
        elif size * 4 < self._read_size:
            self._read_size = SMALLEST_READ

    def read_small(self) -> None:
        """Read small pieces from now on: there is a lot to do with each."""
        self._read_size = SMALLEST_READ


protect_from_ki(Intake)
