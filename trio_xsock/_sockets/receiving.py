"""The receive calls of a stream: plain reads of what is buffered, and reads that wait.

A read that waits is an ``attempt`` on the buffer: it is tried at once, and again whenever
something arrived, by whoever brought it in. So bytes leave the buffer in the very moment in
which they are handed over, and a cancelled reader has taken nothing.
"""

from __future__ import annotations

import codecs
from typing import Any, Self, cast, overload

import trio

from trio_xsock._engine.byte_inbox import AnyReader, ByteInbox, Reader, Receiver
from trio_xsock._engine.reasons import verdict
from trio_xsock._machines.state import CONNECTED, CONNECTING, LISTENING
from trio_xsock._network.options import check_count
from trio_xsock._runtime.epoll import look_before_waiting
from trio_xsock._runtime.guard import protect_from_ki
from trio_xsock._values.errors import IncompleteReadError, SocketError
from trio_xsock._values.typing import Buffer

from .lines import Lines, cause_of, not_found, raise_end, split_bytes, split_text
from .listening import ListeningCalls

_BUSY = "another task is receiving from this socket"


@protect_from_ki
class ReceiveCalls(ListeningCalls):
    """What a ``TCPSocket`` can do with the bytes that have arrived, and to wait for more."""

    __slots__ = ()

    _inbox: ByteInbox

    # What never waits

    @property
    def bytes_available(self) -> int:
        """Bytes in the receive buffer. Xojo: ``BytesAvailable``."""
        self._inbox.settle()
        return self._inbox.buffer.size

    @property
    def end_of_file(self) -> bool:
        """The receive buffer is empty now; more may come. Xojo: ``EndOfFile``."""
        self._inbox.settle()
        return not self._inbox.buffer.size

    @property
    def at_eof(self) -> bool:
        """The receive buffer is empty and nothing more can come."""
        self._inbox.settle()
        return not self._inbox.buffer.size and not self._more_can_come()

    def _more_can_come(self) -> bool:
        connection = self._connection
        if connection.state is CONNECTED:
            return connection.ends.may_receive
        return connection.state in (CONNECTING, LISTENING)

    @overload
    def read(self, n: int, encoding: None = None) -> bytes: ...
    @overload
    def read(self, n: int, encoding: str) -> str: ...
    def read(self, n: int, encoding: str | None = None) -> bytes | str:
        """Take up to ``n`` bytes from the buffer; never waits. Xojo: ``Read``.

        Args:
            n: how many bytes at the most, whatever the encoding.
            encoding: give text; a character is never split, an incomplete one at the end
                stays in the buffer.

        Returns:
            Less than ``n`` bytes, or nothing, when there is less.

        Raises:
            ValueError, TypeError: ``n`` is negative, or not an int.
            UnicodeDecodeError: undecodable bytes, or the stream ended inside a character;
                nothing was taken, so ``read`` without an encoding still gets at them.
            LookupError: no such encoding.
        """
        check_count("n", n)
        self._inbox.settle()
        if encoding is None:
            data: bytes | str = self._inbox.buffer.take(n)
        else:
            data, used = self._decode(n, encoding)
            self._inbox.buffer.skip(used)
        self._connection.resume_reading()
        return data

    @overload
    def read_all(self, encoding: None = None) -> bytes: ...
    @overload
    def read_all(self, encoding: str) -> str: ...
    def read_all(self, encoding: str | None = None) -> bytes | str:
        """Take everything from the buffer; never waits. Xojo: ``ReadAll``.

        Takes back a ``DataAvailable`` that still waits in a channel.

        Args:
            encoding: as for ``read``.

        Raises:
            UnicodeDecodeError, LookupError: as for ``read``.
        """
        inbox, connection = self._inbox, self._connection
        if inbox.borrower is not None:
            inbox.settle()
        if encoding is None:
            data: bytes | str = inbox.buffer.take_all()
            if not connection.intake.reading:
                connection.resume_reading()
        else:
            data = self.read(inbox.buffer.size, encoding)
        inbox.unannounced = False
        if self._delivery.hub.has_channels:
            self._delivery.hub.withdraw_data()
        return data

    @overload
    def lookahead(self, encoding: None = None) -> bytes: ...
    @overload
    def lookahead(self, encoding: str) -> str: ...
    def lookahead(self, encoding: str | None = None) -> bytes | str:
        """Everything in the buffer, which stays there. Xojo: ``Lookahead``.

        Args:
            encoding: as for ``read``.

        Raises:
            UnicodeDecodeError, LookupError: as for ``read``.
        """
        self._inbox.settle()
        if encoding is None:
            return self._inbox.buffer.peek_all()
        return self._decode(self._inbox.buffer.size, encoding)[0]

    def _decode(self, count: int, encoding: str) -> tuple[str, int]:
        return self._inbox.buffer.decode(count, encoding, final=not self._more_can_come())

    def purge(self) -> None:
        """Empty the receive buffer; the send queue is untouched. Xojo: ``Purge``."""
        self._inbox.clear()
        self._connection.resume_reading()

    # What waits

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
        data: bytes = await self._receive(AnyReader(self._inbox.buffer, max_bytes))
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
        buffer = self._inbox.buffer

        def attempt(ended: SocketError | None) -> bytes | None:
            if buffer.size >= n:
                return buffer.take(n)
            if ended is None:
                return None
            if not buffer.size:
                raise_end(ended)
            text = f"{self!r}: the stream ended after {buffer.size} of {n} bytes"
            raise IncompleteReadError(text, partial=buffer.peek_all(), expected=n) from cause_of(
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
        buffer = self._inbox.buffer

        def attempt(ended: SocketError | None) -> bytes | None:
            found = buffer.find(wanted)
            if 0 <= found <= max_bytes:
                data = buffer.take(found)
                buffer.skip(len(wanted))
                return data
            if found >= 0 or buffer.size >= max_bytes + len(wanted):
                raise not_found(self, wanted, max_bytes)
            if ended is None:
                return None
            if not buffer.size:
                raise_end(ended)
            text = f"{self!r}: the stream ended before {wanted!r} came"
            raise IncompleteReadError(text, partial=buffer.peek_all()) from cause_of(ended)

        return cast("bytes", await self._receive(Reader(attempt, max_bytes + len(wanted))))

    async def _receive(self, reader: Receiver) -> Any:
        """Serve ``reader`` at once, or let it wait until somebody brings in enough."""
        inbox, connection = self._inbox, self._connection
        intake = connection.intake
        if intake.caller:
            raise trio.BusyResourceError(_BUSY)
        intake.caller = True
        try:
            inbox.settle()
            await trio.lowlevel.checkpoint_if_cancelled()
            ended = verdict(connection, self)
            if inbox.buffer.size or ended is not None or not reader.limit:
                if ended is not None and (connection.ends.closed_by_us or not inbox.buffer.size):
                    raise_end(ended)
                if reader.serve(ended):
                    connection.resume_reading()
                    return await reader.park()
            self._check_thread()
            inbox.waiting = reader
            connection.resume_reading()
            look_before_waiting()
            data = await reader.park(inbox.withdraw_receiver)
            connection.resume_reading()
            return data
        finally:
            intake.caller = False

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

    def __aiter__(self) -> Self:
        """Iterate over chunks of bytes until the stream ends."""
        return self

    async def __anext__(self) -> bytes:
        data: bytes = await self._receive(AnyReader(self._inbox.buffer, None))
        if not data:
            raise StopAsyncIteration
        return data
