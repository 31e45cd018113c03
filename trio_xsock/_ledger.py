"""The send ledger: what is queued, what the OS took, what was removed; exact at every instant.

A *batch* runs from an empty queue to an empty queue. It ends once, with the sum of what was
sent and the sum of what was removed unsent. Nothing here knows what a socket is: whoever
moves the bytes asks for the next ``chunk``, and says with ``account`` how much of it went.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple, TypeAlias


class FileRange(NamedTuple):
    """A piece of an open file, to be sent by the kernel itself."""

    fileno: int
    """The file's descriptor."""
    offset: int
    """Where the piece begins, in bytes."""
    size: int
    """How many bytes it has."""


Chunk: TypeAlias = bytes | memoryview | FileRange
"""What ``SendLedger.chunk`` gives out."""


class Batch(NamedTuple):
    """How a batch ended; both numbers in bytes."""

    sent: int
    unsent: int


class Ticket:
    """One caller's bytes in the queue.

    Attributes:
        left: bytes of it that are neither sent nor removed.
        sent: bytes of it that went out.
        removed: it was taken out of the queue before all of it was sent.
        held: more of it may be announced; it keeps its place even while nothing is left.
    """

    __slots__ = ("_data", "_file", "_position", "counted", "held", "left", "removed", "sent")

    def __init__(self, data: bytes | memoryview, left: int, *, counted: bool) -> None:
        self._data = data
        self._position = 0  # bytes of _data that went out
        self._file: FileRange | None = None
        self.counted = counted
        self.left = left
        self.sent = 0
        self.removed = False
        self.held = False

    @property
    def missing(self) -> int:
        """Bytes that were announced but are not there yet."""
        return 0 if self._file else self.left - (len(self._data) - self._position)

    @property
    def idle(self) -> bool:
        """There is nothing of it to send at present: all is gone, or more must be fed."""
        return self.missing == self.left

    def feed(self, data: bytes) -> None:
        """Add the next of the bytes that were announced; what was there has gone out."""
        self._data, self._position = data, 0

    def give_up_file(self) -> None:
        """What is left of the piece of a file will be fed instead."""
        self._file = None
        self._data, self._position = b"", 0

    def _peek(self, limit: int) -> Chunk:
        if self._file is not None:
            fileno, offset, _ = self._file
            return FileRange(fileno, offset + self.sent, min(self.left, limit))
        data, position = self._data, self._position
        if not position and len(data) <= limit:
            return data
        if isinstance(data, bytes):  # slicing bytes would copy
            data = self._data = memoryview(data)
        return data[position : position + limit]

    def _advance(self, count: int) -> None:
        self._position += count
        self.sent += count
        self.left -= count


class SendLedger:
    """The queue of one connection and its books.

    Attributes:
        left: bytes queued and not yet sent.
        counted: those of them that count against the queue's limit.
        batch_sent: bytes of the present batch that went out.
        batch_removed: bytes of the present batch that were removed unsent.
    """

    __slots__ = ("_open", "_queue", "batch_removed", "batch_sent", "counted", "left")

    def __init__(self) -> None:
        self._queue: deque[Ticket] | None = None  # an empty deque takes 760 bytes
        self._open = False
        self.left = 0
        self.counted = 0
        self.batch_sent = 0
        self.batch_removed = 0

    def queue(self, data: bytes) -> None:
        """Append bytes that nobody waits for; they count against the limit."""
        self.counted += len(data)
        self._append(Ticket(data, len(data), counted=True))

    def reserve(self, view: memoryview) -> Ticket:
        """Append a caller's bytes, not copied; the ticket says what became of them."""
        return self._append(Ticket(view, len(view), counted=False))

    def announce(self, count: int) -> Ticket:
        """Append ``count`` bytes that come later, in pieces, through ``Ticket.feed``."""
        return self._append(Ticket(b"", count, counted=False))

    def reserve_file(self, piece: FileRange) -> Ticket:
        """Append a piece of a file."""
        ticket = Ticket(b"", piece.size, counted=False)
        ticket._file = piece
        return self._append(ticket)

    def extend(self, ticket: Ticket, data: bytes) -> None:
        """Feed a ticket whose length was not known beforehand: the queue grows with it."""
        ticket.feed(data)
        ticket.left += len(data)
        self.left += len(data)

    def _append(self, ticket: Ticket) -> Ticket:
        if self._queue is None:
            self._queue = deque()
        self._queue.append(ticket)
        self.left += ticket.left
        self._open = True
        return ticket

    def chunk(self, limit: int) -> Chunk | None:
        """The next bytes to send, at most ``limit``; small ones are joined.

        Returns:
            ``None`` if nothing is queued, or its owner has not fed it yet.
        """
        queue = self._queue
        if not queue or queue[0].idle:
            return None
        first = queue[0]._peek(limit)
        if len(queue) == 1 or isinstance(first, FileRange) or len(first) * 2 > limit:
            return first
        pieces: list[bytes | memoryview] = []
        size = 0
        for ticket in queue:
            piece = ticket._peek(limit - size)
            if isinstance(piece, FileRange):
                break
            pieces.append(piece)
            size += len(piece)
            if size == limit or ticket.missing:
                break
        return b"".join(pieces)

    def account(self, count: int) -> None:
        """The OS took the first ``count`` bytes of the queue."""
        self.left -= count
        self.batch_sent += count
        queue = self._queue
        while queue:
            ticket = queue[0]
            step = min(count, ticket.left)
            ticket._advance(step)
            if ticket.counted:
                self.counted -= step
            count -= step
            if ticket.left or ticket.held:
                return
            queue.popleft()

    def remove(self, ticket: Ticket) -> int:
        """Take one ticket's unsent bytes out of the queue; returns how many that were."""
        if ticket.removed or self._queue is None or ticket not in self._queue:
            return 0
        self._queue.remove(ticket)
        return self._discard(ticket)

    def abort(self) -> list[Ticket]:
        """Take everything out of the queue; returns the tickets that lost bytes."""
        queue, self._queue = self._queue, None
        tickets = list(queue or ())
        for ticket in tickets:
            self._discard(ticket)
        return tickets

    def _discard(self, ticket: Ticket) -> int:
        ticket.removed = True
        self.left -= ticket.left
        self.batch_removed += ticket.left
        if ticket.counted:
            self.counted -= ticket.left
        return ticket.left

    def end_batch(self) -> Batch | None:
        """The batch's books, once, if the queue has just run empty."""
        if self._queue or not self._open:
            return None
        batch = Batch(self.batch_sent, self.batch_removed)
        self._queue = None
        self._open = False
        self.batch_sent = self.batch_removed = 0
        return batch
