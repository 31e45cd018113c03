"""The readers of calls that wait: for a number of bytes, or for a separator."""

from __future__ import annotations

from trio_xsock._engine.byte_inbox import Attempt
from trio_xsock._engine.reasons import CLEAN_END
from trio_xsock._machines.buffer import ReceiveBuffer
from trio_xsock._values.errors import DelimiterNotFoundError, IncompleteReadError, SocketError


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


def raise_end(ended: SocketError) -> None:
    """The end of the stream was seen with an empty buffer: raise, unless it is a clean one."""
    if ended is not CLEAN_END:
        raise ended.with_traceback(None)


def cause_of(ended: SocketError) -> SocketError | None:
    """The ``__cause__`` of an error for a read that the end of the stream cut off."""
    return None if ended is CLEAN_END else ended


def not_found(socket: object, separator: bytes, max_bytes: int) -> DelimiterNotFoundError:
    """The error for a separator that is not there."""
    text = f"{socket!r}: no {separator!r} within max_bytes={max_bytes}; the bytes stay buffered"
    return DelimiterNotFoundError(text, max_bytes=max_bytes)
