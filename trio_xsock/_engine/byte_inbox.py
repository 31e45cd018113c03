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


class Waiting(Protocol):
    """A task that waits for input, as the inbox sees it.

    Attributes:
        limit: how many bytes may have to be buffered before it can be served.
    """

    limit: int

    def serve(self, ended: SocketError | None, /) -> bool:
        """Try to satisfy the task from the buffer, or tell it to try.

        Args:
            ended: why nothing more will come, or ``None`` if more may.

        Returns:
            True if the task was content, or failed, and waits no more.
        """
        ...

    def fail(self, error: SocketError, /) -> None:
        """We have closed: the task gets nothing of what is buffered."""


class Receiver(Parking[Any]):
    """What a receiving task wants of the buffer; it can wait for it.

    Attributes:
        limit: see ``Waiting``.
    """

    __slots__ = ("limit",)

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit

    @abc.abstractmethod
    def attempt(self, ended: SocketError | None) -> Any:
        """Take what is wanted from the buffer; ``None`` if it is not there.

        Args:
            ended: why nothing more will come, or ``None`` if more may.

        Raises:
            Exception: what the receiving call is to raise.
        """

    def serve(self, ended: SocketError | None) -> bool:
        """See ``Waiting``."""
        try:
            value = self.attempt(ended)
        except Exception as error:
            self.fail(error)
            return True
        if value is None:
            return False
        self.unpark(value)
        return True


@protect_from_ki
class AnyReader(Receiver):
    """Needs any bytes, up to a number."""

    __slots__ = ("_buffer", "_max_bytes")

    def __init__(self, buffer: ReceiveBuffer, max_bytes: int) -> None:
        # One is made for each wait: what the classes above would do, without their calls.
        self._task = self._error = None
        self._done = False
        self.limit = 1
        self._buffer = buffer
        self._max_bytes = max_bytes

    def attempt(self, ended: SocketError | None) -> bytes | None:
        """See ``Receiver.attempt``."""
        buffer = self._buffer
        if buffer.size:
            return buffer.take(self._max_bytes)
        if ended is None:
            return None
        if ended is CLEAN_END:
            return b""
        raise ended.with_traceback(None)


@protect_from_ki
class ChunkReader(AnyReader):
    """As ``AnyReader``, for an iteration, which ends with the stream."""

    __slots__ = ()

    def attempt(self, ended: SocketError | None) -> bytes | None:
        """See ``Receiver.attempt``."""
        data = super().attempt(ended)
        if data == b"":
            raise StopAsyncIteration
        return data


@protect_from_ki
class Reader(Receiver, Generic[T]):
    """Needs what an attempt takes from the buffer."""

    __slots__ = ("_attempt",)

    def __init__(self, attempt: Attempt[T], limit: int) -> None:
        super().__init__(limit)
        self._attempt = attempt

    def attempt(self, ended: SocketError | None) -> T | None:
        """See ``Receiver.attempt``."""
        return self._attempt(ended)


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
        self.waiting: Waiting | None = None
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

    def keep(self, data: bytes) -> None:
        """Add bytes that are not enough yet for the task that waits, which is announced later."""
        self.buffer.append(data)
        self.unannounced = True

    def may_hand_on(self, _limit: int) -> bool:
        """See ``Inbox``."""
        return False

    def hand_on_rest(self) -> None:
        """See ``Inbox``: nothing is held back."""

    def announce_unread(self) -> None:
        """See ``Inbox``: post ``DataAvailable`` if there are unannounced bytes."""
        if self.unannounced and self.buffer.size and self._delivery.socket is not None:
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
        if self.connections:
            self.clear()
        self.connections += 1
