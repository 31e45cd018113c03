"""A connection without an OS: two transports, joined by two byte queues.

It behaves as a TCP connection over loopback does on Linux, step by step: a full queue takes
part of the bytes and then none; what was sent can be read after the sender has closed; closing
with unread input resets the connection, and so does sending after the peer has closed; an error is
reported once, and afterwards there is a clean end for readers and ``EPIPE`` for writers.
Measured on the kernel, and compared with it in ``tests/testing/test_memory.py``.
"""

from __future__ import annotations

import errno as errnos
import os
import socket as stdlib_socket
from collections.abc import Callable

from trio_xsock._machines.dead_peers import Sample
from trio_xsock._machines.tls import TLSEngine
from trio_xsock._network.options import check_positive
from trio_xsock._network.transport import UNLIMITED
from trio_xsock._runtime.guard import protect_from_ki
from trio_xsock._runtime.keeper import Keeper
from trio_xsock._runtime.readiness import Watch
from trio_xsock._runtime.steps import Steps
from trio_xsock._values.typing import Address

from ._watch import NEVER, NOW, SelfWatch

ADDRESSES = (("127.0.0.1", 49152), ("127.0.0.1", 49153))
"""The addresses of the two ends; the same for each pair, so that tests are reproducible."""


def os_error(number: int) -> OSError:
    """The exception that a system call would raise."""
    return OSError(number, os.strerror(number))


class Wire:
    """One direction of a connection, and its state.

    Attributes:
        capacity: how many unread bytes there may be.
        data: the unread bytes.
        ended: the writer has ended its direction.
        deaf: the reader has closed.
        dead: the connection was reset, as far as the reader knows.
        error: the error that the reader's end has not reported yet, or 0.
        reader: the watch of the reader's end.
        writer: the watch of the writer's end.
    """

    __slots__ = ("capacity", "data", "dead", "deaf", "ended", "error", "reader", "writer")

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.data = bytearray()
        self.ended = self.deaf = self.dead = False
        self.error = 0
        self.reader: SelfWatch | None = None
        self.writer: SelfWatch | None = None

    def append(self, data: memoryview) -> int:
        """Add what there is room for; returns how many bytes that was."""
        piece = data[: self.capacity - len(self.data)]
        self.data += piece
        self.changed()
        return len(piece)

    def take(self, count: int, *, peek: bool) -> bytes:
        """The first ``count`` bytes."""
        data = bytes(self.data[:count])
        if not peek:
            del self.data[:count]
            self.changed()
        return data

    def end(self) -> None:
        """The writer sends no more."""
        self.ended = True
        self.changed()

    def reset(self) -> None:
        """The reader's end gets the error of a reset connection."""
        if not self.dead:
            self.dead = True
            self.error = errnos.EPIPE if self.ended else errnos.ECONNRESET
            self.changed()

    def changed(self) -> None:
        """Both ends may be ready for something now."""
        for watch in (self.reader, self.writer):
            if watch is not None:
                watch.update()


@protect_from_ki
class MemoryTransport:
    """One end of a connection, with the methods of a ``socket.socket`` that sockets use."""

    __slots__ = ("_closed", "_incoming", "_name", "_outgoing", "_peer_name")

    encryption: TLSEngine | None = None
    most: int = UNLIMITED
    takes_files: bool = False
    closes_silently: bool = True
    moved: int = 0
    ready: bool = False
    unsent: bool = False

    def __init__(self, incoming: Wire, outgoing: Wire, name: Address, peer_name: Address) -> None:
        self._incoming = incoming
        self._outgoing = outgoing
        self._name = name
        self._peer_name = peer_name
        self._closed = False

    def on_wake(self, wake: Callable[[], None], /) -> None:
        """See ``Transport``: not needed, since readiness is known here."""

    # What sockets call

    def recv(self, count: int, flags: int = 0, /) -> bytes:
        """Up to ``count`` bytes; ``b""`` at the end."""
        wire = self._incoming
        if wire.data:
            return wire.take(count, peek=bool(flags & stdlib_socket.MSG_PEEK))
        if not wire.ended:  # otherwise an error that came after the end is for senders
            self._raise_error()
        if wire.ended or wire.dead:
            return b""
        raise os_error(errnos.EAGAIN)

    def send(self, data: bytes | memoryview, _flags: int = 0, /) -> int:
        """Take what there is room for; returns how many bytes that was."""
        wire = self._outgoing
        self._raise_error()
        if self._incoming.dead or wire.ended:
            raise os_error(errnos.EPIPE)
        if wire.deaf:  # the answer is a reset, which is seen by the next call
            self._incoming.reset()
            return len(data)
        if len(wire.data) >= wire.capacity:
            raise os_error(errnos.EAGAIN)
        with memoryview(data) as view:
            return wire.append(view)

    def _raise_error(self) -> None:
        error, self._incoming.error = self._incoming.error, 0
        if error:
            raise os_error(error)

    def flush(self) -> bool:
        """See ``Transport``: nothing is held."""
        return True

    def end(self) -> bool:
        """See ``Transport``: ``shutdown`` is enough."""
        return True

    def shutdown(self, _how: int, /) -> None:
        """End our direction."""
        if self._is_over():
            raise os_error(errnos.ENOTCONN)
        self._outgoing.end()

    def close(self) -> None:
        """Close; the peer sees an end, or a reset if something was unread."""
        self._close(reset=bool(self._incoming.data))

    def reset(self) -> None:
        """Close so that the peer sees a reset in any case."""
        self._close(reset=True)

    def _close(self, *, reset: bool) -> None:
        incoming, outgoing = self._incoming, self._outgoing
        if self._closed:
            return
        self._closed = True
        incoming.reader = outgoing.writer = None
        incoming.deaf = True
        incoming.data.clear()
        if reset and not self._is_over():
            outgoing.reset()
        elif not incoming.dead:
            outgoing.end()
        outgoing.changed()

    def _is_over(self) -> bool:
        """Whether a kernel would have forgotten the connection."""
        return self._incoming.dead or (self._incoming.ended and self._outgoing.ended)

    def fileno(self) -> int:
        """There is no descriptor: -1."""
        return -1

    def getsockname(self) -> Address:
        """What this end is called."""
        return self._name

    def getpeername(self) -> Address:
        """What the other end is called."""
        return self._peer_name

    @property
    def family(self) -> int:
        """That of the made-up addresses."""
        return int(stdlib_socket.AF_INET)

    def setsockopt(self, _level: int, _option: int, /, *_value: object) -> None:
        """Nothing here depends on a kernel's options."""

    def getsockopt(self, _level: int, _option: int, _length: int = 0, /) -> int:
        """All options are off."""
        return 0

    # What a kernel would know

    def was_reset(self) -> bool:
        """See ``Transport``: ``recv`` raises then."""
        return False

    def holds_input(self) -> bool:
        """See ``Transport``."""
        return bool(self._incoming.data)

    def has_unread_input(self) -> bool:
        """See ``Transport``."""
        return bool(self._incoming.data)

    def unacknowledged_bytes(self) -> int:
        """None: what was sent has arrived."""
        return 0

    def take_sample(self) -> Sample:
        """The peer is alive, whether or not it reads."""
        return Sample(in_flight=False, unanswered=False, last_ack=0.0)

    # Readiness

    def make_watch(self, keeper: Keeper, steps: Steps, /) -> Watch:
        """See ``Transport``."""
        watch = SelfWatch(keeper, self, steps)
        self._incoming.reader = self._outgoing.writer = watch
        return watch

    def readable_at(self) -> float:
        """See ``Readiness``."""
        wire = self._incoming
        return NOW if wire.data or wire.ended or wire.dead else NEVER

    def writable_at(self) -> float:
        """See ``Readiness``."""
        wire = self._outgoing
        full = len(wire.data) >= wire.capacity and not (wire.deaf or wire.ended)
        return NEVER if full and not self._incoming.dead else NOW


def memory_transports(
    capacity: int, left: Address = ADDRESSES[0], right: Address = ADDRESSES[1]
) -> tuple[MemoryTransport, MemoryTransport]:
    """Two connected ends.

    Args:
        capacity: how many bytes there may be on the way, each way.
        left: what the first end is called.
        right: what the second end is called.

    Raises:
        TypeError: not an int.
        ValueError: less than 1.
    """
    check_positive("capacity", capacity)
    to_right, to_left = Wire(capacity), Wire(capacity)
    return (
        MemoryTransport(to_left, to_right, left, right),
        MemoryTransport(to_right, to_left, right, left),
    )
