"""The receive calls of a stream: plain reads of what is buffered, and reads that wait.

A read that waits is an ``attempt`` on the buffer: it is tried at once, and again whenever
something arrived, by the step that has read it. So bytes leave the buffer at the moment when the
reader gets them, and a cancelled reader has taken nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import Any, Final, Self, cast, overload

import trio

from trio_xsock._engine.by_caller import serve
from trio_xsock._engine.byte_inbox import AnyReader, ByteInbox, ChunkReader, Reader
from trio_xsock._engine.reading import resume_reading
from trio_xsock._engine.reasons import more_can_come, verdict
from trio_xsock._machines.buffer import ReceiveBuffer
from trio_xsock._network.file_sink import check_sink, open_sink
from trio_xsock._network.file_source import FileArgument
from trio_xsock._network.options import check_count
from trio_xsock._runtime.guard import protect_from_ki
from trio_xsock._values.typing import Buffer

from .connected import ConnectedSocket
from .file_receiving import receive_into
from .lines import Lines, split_bytes, text_lines
from .readers import exactly, raise_end, until
from .taking import BUSY, receive, take_bytes

_ANY: Final = 2**62
"""Bytes: as many as there are."""


@protect_from_ki
class ReceiveCalls(ConnectedSocket):
    """The calls of a ``TCPSocket`` that read."""

    __slots__ = ()

    _inbox: ByteInbox

    def _handler_changed(self) -> None:
        """Deliver what comes to the new handler, as it comes."""
        if self._keeper is not None and self._delivery.handler is not None:
            serve(self._connection)

    # What never waits

    @property
    def bytes_available(self) -> int:
        """Bytes in the receive buffer. Xojo: ``BytesAvailable``."""
        self._look()
        return self._inbox.buffer.size

    @property
    def end_of_file(self) -> bool:
        """The receive buffer is empty now; more may come. Xojo: ``EndOfFile``."""
        self._look()
        return not self._inbox.buffer.size

    @property
    def at_eof(self) -> bool:
        """The receive buffer is empty and nothing more can come."""
        self._look()
        return not self._inbox.buffer.size and not more_can_come(self._connection)

    @overload
    def read(self, n: int, encoding: None = None, *, errors: str = ...) -> bytes: ...
    @overload
    def read(self, n: int, encoding: str, *, errors: str = ...) -> str: ...
    def read(self, n: int, encoding: str | None = None, *, errors: str = "strict") -> bytes | str:
        """Take up to ``n`` bytes from the buffer; never waits. Xojo: ``Read``.

        Args:
            n: how many bytes at the most, whatever the encoding.
            encoding: returns text; a character is never split, an incomplete one at the end
                stays in the buffer.
            errors: with an encoding, what to do about undecodable bytes: ``"strict"`` raises,
                ``"replace"`` puts U+FFFD in their place; see ``bytes.decode``.

        Returns:
            Less than ``n`` bytes, or nothing, when there is less.

        Raises:
            ValueError, TypeError: ``n`` is negative, or not an int.
            UnicodeDecodeError: undecodable bytes, or the stream ended inside a character;
                nothing was taken, and ``read`` without an encoding returns the bytes.
            LookupError: no such encoding, or no such way of handling errors.
        """
        check_count("n", n)
        if self._inbox.buffer.size < n:
            self._look()
        self._inbox.settle()
        if encoding is None:
            data: bytes | str = self._inbox.buffer.take(n)
        else:
            data, used = self._decode(n, encoding, errors)
            self._inbox.buffer.skip(used)
        resume_reading(self._connection)
        return data

    @overload
    def read_all(self, encoding: None = None, *, errors: str = ...) -> bytes: ...
    @overload
    def read_all(self, encoding: str, *, errors: str = ...) -> str: ...
    def read_all(self, encoding: str | None = None, *, errors: str = "strict") -> bytes | str:
        """Take everything from the buffer; never waits. Xojo: ``ReadAll``.

        Withdraws a ``DataAvailable`` that still waits in a channel.

        Args:
            encoding: as for ``read``.
            errors: likewise.

        Raises:
            UnicodeDecodeError, LookupError: as for ``read``.
        """
        inbox, connection = self._inbox, self._connection
        if inbox.borrower is not None or not connection.intake.served:
            self._look()
        if encoding is None:
            data: bytes | str = inbox.buffer.take_all()
            if not connection.intake.reading:
                resume_reading(connection)
        else:
            data = self.read(inbox.buffer.size, encoding, errors=errors)
        inbox.unannounced = False
        if self._delivery.hub.has_channels:
            self._delivery.hub.withdraw_data()
        return data

    @overload
    def lookahead(self, encoding: None = None, *, errors: str = ...) -> bytes: ...
    @overload
    def lookahead(self, encoding: str, *, errors: str = ...) -> str: ...
    def lookahead(self, encoding: str | None = None, *, errors: str = "strict") -> bytes | str:
        """Everything in the buffer, which stays there. Xojo: ``Lookahead``.

        Args:
            encoding: as for ``read``.
            errors: likewise.

        Raises:
            UnicodeDecodeError, LookupError: as for ``read``.
        """
        self._look()
        if encoding is None:
            return self._inbox.buffer.peek_all()
        return self._decode(self._inbox.buffer.size, encoding, errors)[0]

    def _decode(self, count: int, encoding: str, errors: str) -> tuple[str, int]:
        final = not more_can_come(self._connection)
        return self._inbox.buffer.decode(count, encoding, errors, final=final)

    def purge(self) -> None:
        """Empty the receive buffer; the send queue is untouched. Xojo: ``Purge``."""
        self._look()
        self._inbox.clear()
        resume_reading(self._connection)

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
        most = _ANY if max_bytes is None else max_bytes
        return await take_bytes(self, 1, most, AnyReader)

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

        def reader(buffer: ReceiveBuffer, n: int) -> Reader[bytes]:
            return Reader(exactly(self, buffer, n), n)

        if not n:
            return cast("bytes", await receive(self, reader(self._inbox.buffer, n)))
        return await take_bytes(self, n, n, reader)

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
        attempt = until(self, self._inbox.buffer, wanted, max_bytes)
        return cast("bytes", await receive(self, Reader(attempt, max_bytes + len(wanted))))

    async def receive_file(
        self,
        file: FileArgument,
        *,
        count: int | None = None,
        progress: Callable[[int], object] | None = None,
        overwrite: bool = False,
    ) -> int:
        """Receive into a file, in constant memory; the counterpart of ``send_file``.

        Args:
            file: a path; or a file opened for binary writing, which is written at its present
                position, and stays open.
            count: how many bytes; ``None`` for all until the stream ends.
            progress: called with the number of bytes written so far, after each piece.
            overwrite: whether a path may be that of an existing file, whose content is lost.

        Returns:
            How many bytes were written: less than ``count`` if the stream ended before.

        Raises:
            FileExistsError: there is such a file, and ``overwrite`` is False.
            OSError: opening or writing the file failed; bytes that were not written are back in
                the receive buffer.
            TypeError, ValueError: not a binary file, or an invalid ``count``.
            LostConnectionError, SocketClosedError, InvalidStateError, trio.BusyResourceError:
                as for ``receive_some``; what came before was written.
            OutOfMemoryError: the system starts no thread for the file.

        Cancellation: the file has exactly the bytes that left the receive buffer, and is kept.
        It takes effect between two pieces; the write of a piece, at most 256 KiB, is completed.
        """
        check_sink(file)
        if count is not None:
            check_count("count", count)
        intake = self._connection.intake
        if intake.caller:
            raise trio.BusyResourceError(BUSY)
        intake.caller = True
        try:
            self._inbox.settle()
            ended = verdict(self._connection, self)
            closed = self._connection.ends.closed_by_us
            if ended is not None and (closed or not self._inbox.buffer.size):
                raise_end(ended)
            sink = await open_sink(file, overwrite=overwrite)
            piece = functools.partial(receive, self, held=True)
            return await receive_into(sink, self._inbox, piece, count, progress)
        finally:
            intake.caller = False

    @overload
    def lines(
        self, encoding: str = "utf-8", max_bytes: int = 65536, *, errors: str = ...
    ) -> Lines[str]: ...
    @overload
    def lines(
        self, encoding: None, max_bytes: int = 65536, *, errors: str = ...
    ) -> Lines[bytes]: ...
    def lines(
        self, encoding: str | None = "utf-8", max_bytes: int = 65536, *, errors: str = "strict"
    ) -> Lines[str] | Lines[bytes]:
        """Iterate over lines: ``async for line in sock.lines():``.

        Lines end with LF or CRLF, which is not part of them; the last one may have none.

        Args:
            encoding: of the text, one in which LF is the byte 10; ``None`` gives bytes.
            max_bytes: how long a line may be.
            errors: as for ``read``.

        Raises:
            ValueError, TypeError: ``max_bytes`` is negative, or not an int.
            LookupError: no such encoding, or no such way of handling errors.

        Raises (while iterating):
            DelimiterNotFoundError: a longer line; nothing is lost.
            UnicodeDecodeError: undecodable bytes; the line stays in the buffer.
            LostConnectionError, SocketClosedError, InvalidStateError, trio.BusyResourceError:
            as for ``receive_some``.

        Cancellation: nothing was taken. Lines that have arrived are returned without a
        checkpoint each; there is one at least every 64 KiB or 2048 lines, and whenever the
        iterator has to wait.
        """
        check_count("max_bytes", max_bytes)
        if encoding is None:
            return Lines(self, bytes, split_bytes, max_bytes)
        return text_lines(self, encoding, errors, max_bytes)

    def __aiter__(self) -> Self:
        """Iterate over chunks of bytes until the stream ends."""
        return self

    def __anext__(self) -> Coroutine[Any, Any, bytes]:
        return take_bytes(self, 1, _ANY, ChunkReader)
