"""The send ledger of a message socket: it drops whole messages only."""

from __future__ import annotations

from collections import deque

from .framing import frame_end
from .ledger import SendLedger, Ticket


class MessageLedger(SendLedger):
    """A queue of whole frames, of which at most the first has begun to go out."""

    __slots__ = ()

    def abort_unbegun(self) -> None:
        """Take everything out of the queue but the rest of a frame that has begun to go out."""
        queue = self._queue_up()
        begun = self._begun
        kept = self._begun_frame(queue[0]) if queue else None
        if kept is None:
            self.abort()
            return
        queue.popleft()
        left = kept.left if isinstance(kept, Ticket) else len(kept) - begun
        if not isinstance(kept, Ticket):
            self.counted -= left
        self.abort()
        self._queue = deque((kept,))
        self._begun = begun
        self.left = left
        if not isinstance(kept, Ticket):
            self.counted = left

    def _begun_frame(self, first: bytes | Ticket) -> bytes | Ticket | None:
        """What has to go out of the first item of the queue; ``None`` if it ends at a frame."""
        if isinstance(first, Ticket):
            return first if first.sent else None
        end = frame_end(first, self._begun)
        return first[:end] if end > self._begun else None
