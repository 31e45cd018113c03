"""The readers of calls that wait: for a number of bytes, or for a separator."""

from __future__ import annotations

from trio_xsock._engine.byte_inbox import Attempt
from trio_xsock._machines.buffer import ReceiveBuffer
from trio_xsock._values.errors import IncompleteReadError, SocketError

from .lines import cause_of, not_found, raise_end


def exactly(socket: object, buffer: ReceiveBuffer, n: int) -> Attempt[bytes]:
    """Take ``n`` bytes.

    Args:
        socket: for texts.
        buffer: the receive buffer.
        n: how many bytes.
    """

    def attempt(ended: SocketError | None) -> bytes | None:
        if buffer.size >= n:
            return buffer.take(n)
        if ended is None:
            return None
        if not buffer.size:
            raise_end(ended)
        text = f"{socket!r}: the stream ended after {buffer.size} of {n} bytes"
        raise IncompleteReadError(text, partial=buffer.peek_all(), expected=n) from cause_of(ended)

    return attempt


def until(
    socket: object, buffer: ReceiveBuffer, separator: bytes, max_bytes: int
) -> Attempt[bytes]:
    """Take what comes before a separator, and drop that.

    Args:
        socket: for texts.
        buffer: the receive buffer.
        separator: not empty.
        max_bytes: how many bytes may come before it.
    """

    def attempt(ended: SocketError | None) -> bytes | None:
        found = buffer.find(separator)
        if 0 <= found <= max_bytes:
            data = buffer.take(found)
            buffer.skip(len(separator))
            return data
        if found >= 0 or buffer.size >= max_bytes + len(separator):
            raise not_found(socket, separator, max_bytes)
        if ended is None:
            return None
        if not buffer.size:
            raise_end(ended)
        text = f"{socket!r}: the stream ended before {separator!r} came"
        raise IncompleteReadError(text, partial=buffer.peek_all()) from cause_of(ended)

    return attempt
