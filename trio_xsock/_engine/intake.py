"""``Intake``: the receiving half of a connection. What the transport has goes into an inbox.

It decides how much to ask for and whether to ask at all: reading stops when the inbox is full
and goes on when there is room. What becomes of the bytes is the inbox's matter.
"""

from __future__ import annotations

from typing import Final, Protocol

from trio_xsock._network.transport import Transport
from trio_xsock._runtime.delivery import Delivery
from trio_xsock._runtime.guard import protect_from_ki
from trio_xsock._runtime.readiness import Watch
from trio_xsock._values.errors import SocketError

SMALLEST_READ: Final = 65536
"""Bytes asked for in one read, unless reads come back full; larger ones are dear to allocate."""
_LARGEST_READ: Final = 2**20


class Buffer(Protocol):
    """Where the bytes of an inbox are kept first.

    Attributes:
        size: bytes that nobody has taken.
    """

    size: int

    def append(self, chunk: bytes, /) -> None:
        """Add bytes that arrived."""


class Inbox(Protocol):
    """Where received bytes go: the receive buffer of a stream, or the queue of messages.

    Attributes:
        buffer: where they are kept.
        size: bytes that nobody has taken.
        pending: bytes have been put in that were not looked at yet; reading waits for that.
        waiting: not ``None`` or false if a task waits for what comes next.
        announced: something waits, and a new consumer of events has to be told.
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
        """How many bytes there must be before anybody is content; 0 if any will do."""
        ...

    def hand_on(self, limit: int, /) -> None:
        """Give what was put into the buffer to who waits for it, or announce it.

        Raises:
            FramingError: it is no message.
        """

    def may_hand_on(self, limit: int, /) -> bool:
        """Whether something is ``pending`` and there is room for it."""
        ...

    def hand_on_rest(self) -> None:
        """Nothing more will come: hand on all that is ``pending``, whatever the limit.

        Raises:
            FramingError: it is no message.
        """

    @property
    def incomplete(self) -> bool:
        """Whether a message has begun that nothing will complete."""
        ...

    def end(self, ended: SocketError, *, closed_by_us: bool) -> None:
        """Nothing more will come: wake who waits.

        Args:
            ended: why; ``CLEAN_END`` for the peer's end.
            closed_by_us: the waiting task gets nothing of what is buffered.
        """

    def tell_loss(self, error: SocketError, *, clean: bool) -> None:
        """The end was announced with ``error``."""

    def settle(self) -> None:
        """Somebody is about to look at the buffer from outside: take what an iterator used."""

    def restart(self) -> None:
        """Drop everything; a new connection begins."""


class MakesInbox(Protocol):
    """The class of an inbox."""

    def __call__(self, delivery: Delivery, /) -> Inbox: ...


@protect_from_ki
class Intake:
    """Reads one connection.

    Args:
        limit: bytes that may be unread before reading stops.

    Attributes:
        bytes_received: bytes that came on this connection.
        caller: a task is receiving; no second one may.
        limit: as above.
        pauses: how often reading was stopped because the inbox was full.
        reading: the OS is asked to report input.
    """

    __slots__ = (
        "_read_size",
        "_watch",
        "bytes_received",
        "caller",
        "limit",
        "pauses",
        "reading",
    )

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.bytes_received: int = 0
        self.caller = False
        self.pauses: int = 0
        self.reading = False
        self._read_size = SMALLEST_READ
        self._watch: Watch | None = None

    def attach(self, watch: Watch | None) -> None:
        """Use this watch from now on; ``None`` for no more."""
        self._watch = watch
        if watch is None:
            self.reading = False
        elif self.reading:
            watch.reading(True)

    # Whether to read

    def start(self) -> None:
        """Ask the OS to report input."""
        if not self.reading and self._watch is not None:
            self.reading = True
            self._watch.reading(True)

    def stop(self) -> None:
        """Ask the OS to report no more input."""
        if self.reading:
            self.reading = False
            if self._watch is not None:
                self._watch.reading(False)

    def resume(self, inbox: Inbox) -> None:
        """Something was taken, or is wanted: read on if there is room again.

        Half the limit lies between stopping and going on, so that a reader of single bytes does
        not toggle us.
        """
        if self.reading or inbox.pending:
            return
        size, limit = inbox.size, self.limit
        if size <= inbox.room_for(limit) // 2 or size < inbox.needed(limit):
            self.start()

    def pause(self) -> None:
        """The inbox has enough to do."""
        self.pauses += self.reading
        self.stop()

    # Reading

    def take_in(self, transport: Transport, buffer: Buffer, room: int) -> bytes | None:
        """Put what the transport has into the buffer, once.

        Args:
            transport: where from.
            buffer: where to.
            room: how many bytes it may have in all.

        Returns:
            What came, or ``b""`` if it is the end; ``None`` if there is nothing now, or no room.

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
            if size == wanted or wanted > SMALLEST_READ:
                self._adapt_read_size(size, wanted)
            buffer.append(data)
        return data

    def _adapt_read_size(self, size: int, wanted: int) -> None:
        if size == wanted:
            self._read_size = min(self._read_size * 4, _LARGEST_READ)
        elif size * 4 < self._read_size:
            self._read_size = SMALLEST_READ

    def read_small(self) -> None:
        """Read small pieces from now on: there is a lot to do with each."""
        self._read_size = SMALLEST_READ
