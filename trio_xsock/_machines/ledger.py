"""The send ledger: what is queued, what the OS took, what was removed; exact at every instant.

A *batch* runs from an empty queue to an empty queue. It ends once, with the sum of what was
sent and the sum of what was removed unsent. Nothing here does I/O: the caller takes the next
``chunk``, sends it, and says with ``account`` how much of it was sent.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple, TypeAlias

_SMALL = 1024
"""Writes below this many bytes are joined: a million tiny ones would cost 40 bytes each."""


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
    """One caller's bytes in the queue, and what became of them.

    Attributes:
        left: bytes of it that are neither sent nor removed.
        sent: bytes of it that went out.
        removed: it was taken out of the queue before all of it was sent.
        held: more of it may be announced; it stays in the queue even while nothing is left.
    """

    __slots__ = ("_aside", "_data", "_file", "_position", "held", "left", "removed", "sent")

    def __init__(self, data: bytes | memoryview, left: int) -> None:
        self._data = data
        self._position = 0  # bytes of _data that went out
        self._file: FileRange | None = None
        self._aside: FileRange | None = None
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
        """There is nothing of it to send at present: all is sent, or more must be fed."""
        return self.missing == self.left

    @property
    def is_file_aside(self) -> bool:
        """It is to be sent with ``sendfile``, which cannot go on at present."""
        return self._aside is not None

    def feed(self, data: bytes) -> None:
        """Add the next of the bytes that were announced; those before were sent."""
        self._data, self._position = data, 0

    def give_up_file(self) -> None:
        """What is left of the piece of a file will be fed instead."""
        self._file = self._aside = None
        self._data, self._position = b"", 0

    def set_file_aside(self) -> None:
        """The kernel cannot send the next bytes of the piece of a file at present."""
        aside = self._file
        self.give_up_file()
        self._aside = aside

    def take_up_file(self) -> None:
        """``sendfile`` can go on."""
        self._file, self._aside = self._aside, None

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
    """The send queue of one connection and its counts.

    ``write`` queues plain ``bytes``: no caller waits for them, and a ticket for each would double
    the cost of a small write.

    Attributes:
        left: bytes queued and not yet sent.
        counted: those of them that count against the queue's limit.
        batch_sent: bytes of the present batch that went out.
        batch_removed: bytes of the present batch that were removed unsent.
        open: a batch has begun and not ended.
    """

    __slots__ = (
        "_begun",
        "_only",
        "_queue",
        "batch_removed",
        "batch_sent",
        "counted",
        "left",
        "open",
    )

    def __init__(self) -> None:
        self._queue: deque[bytes | Ticket] | None = None  # an empty deque takes 760 bytes
        self._only: bytes | None = None  # a batch of one write, which mostly goes at once
        self._begun = 0  # bytes sent of the plain bytes at the front
        self.open = False
        self.left = 0
        self.counted = 0
        self.batch_sent = 0
        self.batch_removed = 0

    def queue(self, data: bytes) -> None:
        """Append bytes that no caller waits for; they count against the limit."""
        size = len(data)
        self.counted += size
        self.left += size
        if not self.open:
            self.open = True
            self._only = data
            return
        queue = self._queue_up()
        if size < _SMALL and self._joins(queue):
            queue[-1] += data  # type: ignore[operator]
        else:
            queue.append(data)

    def _joins(self, queue: deque[bytes | Ticket]) -> bool:
        """Whether the next small write joins the last one: also small, and not begun."""
        if not queue or (self._begun and len(queue) == 1):
            return False
        last = queue[-1]
        return isinstance(last, bytes) and len(last) < _SMALL

    def reserve(self, data: bytes | memoryview) -> Ticket:
        """Append a caller's bytes, not copied; the ticket says what became of them."""
        return self._append(Ticket(data, len(data)))

    def announce(self, count: int) -> Ticket:
        """Append ``count`` bytes that come later, in pieces, through ``Ticket.feed``."""
        return self._append(Ticket(b"", count))

    def reserve_file(self, piece: FileRange) -> Ticket:
        """Append a piece of a file."""
        ticket = Ticket(b"", piece.size)
        ticket._file = piece
        return self._append(ticket)

    def extend(self, ticket: Ticket, data: bytes) -> None:
        """Feed a ticket whose length was not known beforehand: the queue grows with it."""
        ticket.feed(data)
        ticket.left += len(data)
        self.left += len(data)

    def _append(self, ticket: Ticket) -> Ticket:
        self._queue_up().append(ticket)
        self.left += ticket.left
        self.open = True
        return ticket

    def take_back(self) -> bytes | None:
        """Undo a batch that so far is one write of which nothing went out: its bytes."""
        data = self._only
        if data is not None:
            self._only = None
            self.open = False
            self.left = self.counted = 0
        return data

    def _queue_up(self) -> deque[bytes | Ticket]:
        """The queue, for all that is more than one write."""
        if self._queue is None:
            self._queue = deque() if self._only is None else deque((self._only,))
            self._only = None
        return self._queue

    def chunk(self, limit: int) -> Chunk | None:
        """The next bytes to send, at most ``limit``; small ones are joined.

        Returns:
            ``None`` if nothing is queued, or its owner has not fed it yet.
        """
        if not self.open:
            return None
        queue = self._queue_up()
        if not queue:
            return None
        first = self._peek(queue[0], self._begun, limit)
        if len(queue) == 1 or not isinstance(first, bytes | memoryview) or len(first) * 2 > limit:
            return first
        return self._join(queue, limit)

    @staticmethod
    def _peek(item: bytes | Ticket, begun: int, limit: int) -> Chunk | None:
        if isinstance(item, Ticket):
            return None if item.idle else item._peek(limit)
        if not begun and len(item) <= limit:
            return item
        return memoryview(item)[begun : begun + limit]  # slicing bytes would copy

    def _join(self, queue: deque[bytes | Ticket], limit: int) -> bytes:
        pieces: list[bytes | memoryview] = []
        size, begun = 0, self._begun
        for item in queue:
            piece = self._peek(item, begun, limit - size)
            if not isinstance(piece, bytes | memoryview):
                break
            pieces.append(piece)
            size += len(piece)
            begun = 0
            if size == limit or (isinstance(item, Ticket) and (item.missing or item.held)):
                break
        return b"".join(pieces)

    def account(self, count: int) -> None:
        """The OS took the first ``count`` bytes of the queue."""
        self.left -= count
        self.batch_sent += count
        queue = self._queue_up()
        while queue:
            item = queue[0]
            if isinstance(item, Ticket):
                step = min(count, item.left)
                item._advance(step)
                count -= step
                if item.left or item.held:
                    return
            else:
                step = min(count, len(item) - self._begun)
                self.counted -= step
                count -= step
                if step < len(item) - self._begun:
                    self._begun += step
                    return
                self._begun = 0
            queue.popleft()

    def remove(self, ticket: Ticket) -> int:
        """Take one ticket's unsent bytes out of the queue; returns how many that were."""
        if ticket.removed or self._queue is None or ticket not in self._queue:
            return 0
        self._queue.remove(ticket)
        return self._discard(ticket)

    def abort(self) -> list[Ticket]:
        """Take everything out of the queue; returns the tickets that lost bytes."""
        queue, self._queue, self._only = self._queue, None, None
        tickets = [item for item in queue or () if isinstance(item, Ticket)]
        for ticket in tickets:
            self._discard(ticket)
        self.batch_removed += self.counted
        self.left = self.counted = self._begun = 0
        return tickets

    def abort_unbegun(self) -> None:
        """Take out what may be dropped without breaking the format: of plain bytes, all."""
        self.abort()

    def give_up_file(self, *, for_now: bool = False) -> None:
        """``sendfile`` does not work for the file at the front: it will be fed instead.

        Args:
            for_now: it may work again later.
        """
        first = self._queue_up()[0]
        if isinstance(first, Ticket):
            if for_now:
                first.set_file_aside()
            else:
                first.give_up_file()

    def _discard(self, ticket: Ticket) -> int:
        ticket.removed = True
        self.left -= ticket.left
        self.batch_removed += ticket.left
        return ticket.left

    def end_batch(self) -> Batch | None:
        """The counts of the batch, once, if the queue has just become empty."""
        if self._queue or self._only is not None or not self.open:
            return None
        batch = Batch(self.batch_sent, self.batch_removed)
        self._queue = None
        self.open = False
        self.batch_sent = self.batch_removed = 0
        return batch
