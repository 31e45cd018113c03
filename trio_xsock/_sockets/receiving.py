"""The receive calls of a stream: reads that wait.

Each is an ``attempt`` on the buffer: it is tried at once, and again whenever
something arrived, by whoever brought it in. So bytes leave the buffer in the very moment in
which they are handed over, and a cancelled reader has taken nothing.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable
from typing import Any, Generic, Self, TypeVar, cast, overload

import trio

from trio_xsock._engine.intake import CLEAN_END
from trio_xsock._engine.link import Receiver
from trio_xsock._machines.buffer import ReceiveBuffer
from trio_xsock._network.options import check_count
from trio_xsock._runtime.epoll import look_before_waiting
from trio_xsock._runtime.guard import protect_from_ki
from trio_xsock._values.errors import DelimiterNotFoundError, IncompleteReadError, SocketError
from trio_xsock._values.typing import Buffer

from .lines import Lines, split_bytes, split_text
from .reading import ReadCalls

T = TypeVar("T")
Text = TypeVar("Text", bytes, str)

Attempt = Callable[[SocketError | None], T | None]
"""Take what is wanted from the buffer, or ``None``; is told why nothing more will come."""

_BUSY = "another task is receiving from this socket"


@protect_from_ki
class AnyReader(Receiver):
    """Wants whatever there is, up to a number of bytes."""

    __slots__ = ("_buffer", "_max_bytes")

    def __init__(self, buffer: ReceiveBuffer, max_bytes: int | None) -> None:
        # One is made for each wait: what the classes above would do, without their calls.
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
    """Wants what an attempt on the buffer is content with."""

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
class ReceiveCalls(ReadCalls):
    """What a ``TCPSocket`` can do to wait for bytes."""

    __slots__ = ("_receiving",)

    def _reset(self) -> None:
        super()._reset()
        self._receiving = False

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Wait for bytes; the contract of ``trio.abc.ReceiveStream``.

        Args:
            max_bytes: how many at the most, at least 1; ``None`` takes what is there.

        Returns:
            At least one byte, or ``b""`` at the end of the stream.

        Raises:
            LostConnectionError: the connection was reset or timed out, once the buffer is empty.
            SocketClosedError: we closed the socket, before or meanwhile.
            InvalidStateError: never connected.
            trio.BusyResourceError: another task is receiving.
            ValueError, TypeError: ``max_bytes`` is less than 1, or not an int.

        Cancellation: nothing was taken.
        """
        if max_bytes is not None and check_count("max_bytes", max_bytes) < 1:
            raise ValueError("max_bytes must be at least 1")
        data: bytes = await self._receive(AnyReader(self._buffer, max_bytes))
        return data

    async def receive_exactly(self, n: int) -> bytes:
        """Wait for ``n`` bytes.

        The receive buffer's limit is lifted to ``n`` meanwhile.

        Args:
            n: how many bytes; 0 gives ``b""``.

        Raises:
            IncompleteReadError: the stream ended before; the bytes stay in the buffer.
            ValueError: ``n`` is negative.
            LostConnectionError, SocketClosedError, InvalidStateError, trio.BusyResourceError,
            TypeError: as for ``receive_some``.

        Cancellation: nothing was taken.
        """
        check_count("n", n)
        buffer = self._buffer

        def attempt(ended: SocketError | None) -> bytes | None:
            if buffer.size >= n:
                return buffer.take(n)
            if ended is None:
                return None
            if not buffer.size:
                _end(ended)
            text = f"{self!r}: the stream ended after {buffer.size} of {n} bytes"
            raise IncompleteReadError(text, partial=buffer.peek_all(), expected=n) from _cause(
                ended
            )

        return cast("bytes", await self._receive(Reader(attempt, n)))

    async def receive_until(self, separator: Buffer, max_bytes: int = 65536) -> bytes:
        """Wait for a separator.

        Args:
            separator: the bytes that end the piece; they are consumed and not returned.
            max_bytes: how many bytes may come before it.

        Returns:
            The bytes before the separator.

        Raises:
            DelimiterNotFoundError: it is not among the first ``max_bytes``; nothing is lost.
            IncompleteReadError: the stream ended before; the bytes stay in the buffer.
            ValueError: an empty separator, or a negative ``max_bytes``.
            LostConnectionError, SocketClosedError, InvalidStateError, trio.BusyResourceError,
            TypeError: as for ``receive_some``.

        Cancellation: nothing was taken.
        """
        wanted = bytes(memoryview(separator))
        if not wanted:
            raise ValueError("separator must not be empty")
        check_count("max_bytes", max_bytes)
        buffer = self._buffer

        def attempt(ended: SocketError | None) -> bytes | None:
            found = buffer.find(wanted)
            if 0 <= found <= max_bytes:
                data = buffer.take(found)
                buffer.skip(len(wanted))
                return data
            if found >= 0 or buffer.size >= max_bytes + len(wanted):
                raise _not_found(self, wanted, max_bytes)
            if ended is None:
                return None
            if not buffer.size:
                _end(ended)
            text = f"{self!r}: the stream ended before {wanted!r} came"
            raise IncompleteReadError(text, partial=buffer.peek_all()) from _cause(ended)

        return cast("bytes", await self._receive(Reader(attempt, max_bytes + len(wanted))))

    async def _receive(self, reader: Receiver) -> Any:
        """Serve ``reader`` at once, or let it wait until somebody brings in enough."""
        if self._receiving:
            raise trio.BusyResourceError(_BUSY)
        self._receiving = True
        try:
            if self._borrower is not None:
                self._borrower.settle()
            await trio.lowlevel.checkpoint_if_cancelled()
            ended = self._input_verdict()
            if self._buffer.size or ended is not None or not reader.limit:
                if ended is not None and (self._closed_by_us or not self._buffer.size):
                    _end(ended)
                if reader.serve(ended):
                    self._resume_reading()
                    return await reader.park()
            self._check_thread()
            self._receiver = reader
            if not self._reading:
                self._resume_reading()
            look_before_waiting()
            data = await reader.park(self._withdraw_receiver)
            if not self._reading:
                self._resume_reading()
            return data
        finally:
            self._receiving = False

    def _withdraw_receiver(self) -> None:
        self._receiver = None
        self._announce_unread()

    @overload
    def lines(self, encoding: str = "utf-8", max_bytes: int = 65536) -> Lines[str]: ...
    @overload
    def lines(self, encoding: None, max_bytes: int = 65536) -> Lines[bytes]: ...
    def lines(
        self, encoding: str | None = "utf-8", max_bytes: int = 65536
    ) -> Lines[str] | Lines[bytes]:
        """Iterate over lines: ``async for line in sock.lines():``.

        Lines end with LF or CRLF, which is not part of them; the last one may have none.

        Args:
            encoding: of the text, one in which LF is the byte 10; ``None`` gives bytes.
            max_bytes: how long a line may be.

        Raises:
            ValueError, TypeError: ``max_bytes`` is negative, or not an int.
            LookupError: no such encoding.

        Raises (while iterating):
            DelimiterNotFoundError: a longer line; nothing is lost.
            UnicodeDecodeError: undecodable bytes; the line stays in the buffer.
            LostConnectionError, SocketClosedError, InvalidStateError, trio.BusyResourceError:
            as for ``receive_some``.

        Cancellation: nothing was taken. Lines that have arrived are handed out without a
        checkpoint each; there is one at least every 64 KiB or 2048 lines, and whenever the
        iterator has to wait.
        """
        check_count("max_bytes", max_bytes)
        if encoding is None:
            return Lines(self, bytes, split_bytes, max_bytes)
        codecs.lookup(encoding)
        return Lines(
            self,
            lambda line: line.decode(encoding),
            lambda piece: split_text(piece.decode(encoding)),
            max_bytes,
        )

    async def _receive_line(self, convert: Callable[[bytes], Text], max_bytes: int) -> Text:
        buffer = self._buffer

        def attempt(ended: SocketError | None) -> Text | None:
            end = buffer.find(b"\n")
            if end < 0 and ended is None and self._may_fit(max_bytes):
                return None
            if end < 0 and not buffer.size:
                _end(cast("SocketError", ended))
                raise StopAsyncIteration
            size = end if end >= 0 else buffer.size
            line = buffer.peek(min(size, max_bytes + 2))
            if end >= 0:
                line = line.removesuffix(b"\r")
            if len(line) > max_bytes:
                raise _not_found(self, b"\n", max_bytes)
            text = convert(line)
            buffer.skip(size + (end >= 0))
            return text

        return cast("Text", await self._receive(Reader(attempt, max_bytes + 2)))

    def _may_fit(self, max_bytes: int) -> bool:
        """Whether an unfinished line may still turn out to have at most ``max_bytes``."""
        size = self._buffer.size
        if size != max_bytes + 1:
            return size <= max_bytes
        return self._buffer.peek(size).endswith(b"\r")  # then LF may follow

    def __aiter__(self) -> Self:
        """Iterate over chunks of bytes until the stream ends."""
        return self

    async def __anext__(self) -> bytes:
        data: bytes = await self._receive(AnyReader(self._buffer, None))
        if not data:
            raise StopAsyncIteration
        return data


def _end(ended: SocketError) -> bytes:
    """The end of the stream, seen with an empty buffer."""
    if ended is CLEAN_END:
        return b""
    raise ended.with_traceback(None)


def _cause(ended: SocketError) -> SocketError | None:
    return None if ended is CLEAN_END else ended


def _not_found(socket: object, separator: bytes, max_bytes: int) -> DelimiterNotFoundError:
    text = f"{socket!r}: no {separator!r} within max_bytes={max_bytes}; the bytes stay buffered"
    return DelimiterNotFoundError(text, max_bytes=max_bytes)
