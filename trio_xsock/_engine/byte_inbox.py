"""``ByteInbox``: the receive buffer of a stream socket, and the one task that may wait for it."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

from trio_xsock._machines.buffer import ReceiveBuffer
from trio_xsock._runtime.delivery import Delivery
from trio_xsock._runtime.guard import Parking, protect_from_ki
from trio_xsock._values.errors import SocketError

from .reasons import CLEAN_END

T = TypeVar("T")

Attempt = Callable[[SocketError | None], T | None]
"""Takes what it needs from the buffer, or returns ``None``; its argument says why input ended."""


class Borrower(Protocol):
    """An iterator that has peeked at a piece of the receive buffer and not taken it yet."""

    def settle(self) -> None:
        """Take what was used of it, because another call is about to read the buffer."""


class Receiver(Parking[Any]):
    """A task that waits for input, and what it needs.

    Attributes:
        limit: how many bytes may have to be buffered before it can be served.
    """

    __slots__ = ("limit",)

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit

    @abc.abstractmethod
    def serve(self, ended: SocketError | None) -> bool:
        """Try to satisfy the task from the buffer.

        Args:
            ended: why nothing more will come, or ``None`` if more may.

        Returns:
            True if the task got its data, or an error, and waits no more.
        """


@protect_from_ki
class AnyReader(Receiver):
    """Needs any bytes, up to a number."""

    __slots__ = ("_buffer", "_max_bytes")

    def __init__(self, buffer: ReceiveBuffer, max_bytes: int | None) -> None:
        # One is made for each wait, so this inlines what the base classes do.
        self._task = self._value = self._error = None
        self._done = False
        self.limit = 1
        self._buffer = buffer
        self._max_bytes = max_bytes

    def serve(self, ended: SocketError | None) -> bool:
        """See ``Receiver.serve``."""
        buffer = self._buffer
        if buffer.size:
            most = self._max_bytes
            self.unpark(buffer.take_all() if most is None else buffer.take(most))
        elif ended is None:
            return False
        elif ended is CLEAN_END:
            self.unpark(b"")
        else:
            self.fail(ended)
        return True


@protect_from_ki
class Reader(Receiver, Generic[T]):
    """Needs what an attempt takes from the buffer."""

    __slots__ = ("_attempt",)

    def __init__(self, attempt: Attempt[T], limit: int) -> None:
        super().__init__(limit)
        self._attempt = attempt

    def serve(self, ended: SocketError | None) -> bool:
        """See ``Receiver.serve``."""
        try:
            value = self._attempt(ended)
        except Exception as error:
            self.fail(error)
            return True
        if value is None:
            return False
        self.unpark(value)
        return True


@protect_from_ki
class ByteInbox:
    """Received bytes that are unread; see ``Inbox``.

    Args:
        delivery: where ``DataAvailable`` is posted.

    Attributes:
        buffer: the bytes.
        waiting: the task that waits for more.
        borrower: the iterator that has peeked at a piece.
        connections: how many there were, with the present one.
        unannounced: there are bytes that were not announced by a ``DataAvailable``.
    """

    __slots__ = ("_delivery", "borrower", "buffer", "connections", "unannounced", "waiting")

    pending: bool = False
    incomplete: bool = False

    def __init__(self, delivery: Delivery) -> None:
        self._delivery = delivery
        self.buffer = ReceiveBuffer()
        self.waiting: Receiver | None = None
        self.borrower: Borrower | None = None
        self.connections = 0
        self.unannounced = False

    @property
    def size(self) -> int:
        """See ``Inbox``."""
        return self.buffer.size

    @property
    def announced(self) -> bool:
        """See ``Inbox``."""
        return bool(self.buffer.size) and not self.unannounced

    def room_for(self, limit: int) -> int:
        """See ``Inbox``: a waiting task may need more than the limit."""
        return limit if self.waiting is None else max(limit, self.waiting.limit)

    def needed(self, _limit: int) -> int:
        """See ``Inbox``."""
        return 0 if self.waiting is None else self.waiting.limit

    def hand_on(self, _limit: int) -> None:
        """See ``Inbox``: the waiting task first, then ``DataAvailable`` for what is left."""
        if self.waiting is None:
            self.unannounced = False
            self._delivery.post_data()
            return
        self.unannounced = True
        if self.waiting.serve(None):
            self.waiting = None
            self.announce_unread()

    def may_hand_on(self, _limit: int) -> bool:
        """See ``Inbox``."""
        return False

    def hand_on_rest(self) -> None:
        """See ``Inbox``: nothing is held back."""

    def announce_unread(self) -> None:
        """Post ``DataAvailable`` if there are unannounced bytes."""
        if self.unannounced and self.buffer.size:
            self.unannounced = False
            self._delivery.post_data()

    def end(self, ended: SocketError, *, closed_by_us: bool) -> None:
        """See ``Inbox``."""
        receiver, self.waiting = self.waiting, None
        try:
            if receiver is not None and closed_by_us:
                receiver.fail(ended)
            elif receiver is not None:
                receiver.serve(ended)
        except Exception:
            self.waiting = receiver  # it still waits; ``give_up`` lets it fail
            raise
        if not closed_by_us:
            self.announce_unread()

    def tell_loss(self, error: SocketError, *, clean: bool) -> None:
        """See ``Inbox``: ``end`` has woken the only task that may wait."""

    def withdraw_receiver(self) -> None:
        """The waiting task was cancelled."""
        self.waiting = None
        self.announce_unread()

    def settle(self) -> None:
        """See ``Inbox``."""
        if self.borrower is not None:
            self.borrower.settle()

    def clear(self) -> None:
        """Drop all that is buffered."""
        self.settle()
        self.buffer.clear()
        self.unannounced = False
        self._delivery.hub.withdraw_data()

    def restart(self) -> None:
        """See ``Inbox``."""
        self.connections += 1
        self.clear()
