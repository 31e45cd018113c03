"""Lines: a chunk is split at once, and its lines are returned one by one.

A ``readline`` that awaits costs over 1 us a line, a split 0.03 us. So the iterator peeks
at a piece of the receive buffer, splits and decodes all of it, and returns the lines without
touching the buffer. The used bytes are removed from the buffer when the piece is used up, or when
another call is about to read the buffer; until then the iterator *borrows* the piece.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, Self, TypeVar, cast

from trio_xsock._engine.byte_inbox import Reader
from trio_xsock._engine.reading import resume_reading
from trio_xsock._machines.buffer import ReceiveBuffer
from trio_xsock._values.errors import SocketError

from .readers import not_found, raise_end
from .taking import receive

if TYPE_CHECKING:
    from .receiving import ReceiveCalls

Text = TypeVar("Text", bytes, str)

_PIECE = 2**16
"""Bytes split at once, at the most; lines of 40 bytes cost 1.4 times as much with 16 KiB."""
_LINES = 2048
"""The most lines without a checkpoint: 0.3 ms, after which other tasks may run."""


class Lines(Generic[Text]):
    """The iterator that ``lines()`` returns.

    Lines that have arrived are returned without a checkpoint each; there is one at least every
    64 KiB or 2048 lines, and whenever the iterator has to wait.
    """

    __slots__ = ("_convert", "_lines", "_max_bytes", "_piece", "_socket", "_split", "_taken")

    def __init__(
        self,
        socket: ReceiveCalls,
        convert: Callable[[bytes], Text],
        split: Callable[[bytes], list[Text]],
        max_bytes: int,
    ) -> None:
        self._socket = socket
        self._convert: Callable[[bytes], Text] = convert
        self._split: Callable[[bytes], list[Text]] = split
        self._max_bytes = max_bytes
        self._piece = b""
        self._lines: list[Text] = []  # those of the piece, the last one first
        self._taken = 0  # lines of the piece that had been there in all

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Text:
        if self._lines:
            return self._lines.pop()  # noqa: ASYNC910 - see the class
        self.settle()
        line = cast("Text", await receive(self._socket, self._reader()))
        self._borrow()
        return line

    def _reader(self) -> Reader[Text]:
        """The reader of one line."""
        socket, convert, max_bytes = self._socket, self._convert, self._max_bytes
        buffer = socket._inbox.buffer

        def attempt(ended: SocketError | None) -> Text | None:
            end = buffer.find(b"\n")
            if end < 0 and ended is None and _may_fit(buffer, max_bytes):
                return None
            if end < 0 and not buffer.size:
                raise_end(cast("SocketError", ended))
                raise StopAsyncIteration
            size = end if end >= 0 else buffer.size
            line = buffer.peek(min(size, max_bytes + 2))
            if end >= 0:
                line = line.removesuffix(b"\r")
            if len(line) > max_bytes:
                raise not_found(socket, b"\n", max_bytes)
            text = convert(line)
            buffer.skip(size + (end >= 0))
            return text

        return Reader(attempt, max_bytes + 2)

    def _borrow(self) -> None:
        """Split what else has arrived, up to its last line end, if no line of it is too long."""
        inbox = self._socket._inbox
        buffer = inbox.buffer
        if not buffer.size or inbox.borrower is not None:
            return
        piece = first_lines(buffer.peek(_PIECE), _LINES)
        if not piece:
            return
        try:
            lines = self._split(piece)
        except UnicodeDecodeError:  # one by one, up to the line with undecodable bytes
            return
        if len(lines) != piece.count(b"\n") or self._too_long(piece):
            return
        lines.reverse()
        self._piece, self._lines, self._taken = piece, lines, len(lines)
        inbox.borrower = self

    def _too_long(self, piece: bytes) -> bool:
        if len(piece) <= self._max_bytes:
            return False
        return max(map(len, piece.split(b"\n"))) > self._max_bytes

    def settle(self) -> None:
        """Remove what was used of the piece from the buffer, and return the rest to it."""
        if not self._piece:
            return
        used = self._taken - len(self._lines)
        inbox = self._socket._inbox
        inbox.borrower = None
        if used == self._taken:
            count = len(self._piece)
        else:
            count = sum(len(line) + 1 for line in self._piece.split(b"\n", used)[:used])
        self._piece, self._lines = b"", []
        inbox.buffer.skip(count)
        resume_reading(self._socket._connection)


def _may_fit(buffer: ReceiveBuffer, max_bytes: int) -> bool:
    """Whether an unfinished line may still turn out to have at most ``max_bytes``."""
    if buffer.size != max_bytes + 1:
        return buffer.size <= max_bytes
    return buffer.peek(buffer.size).endswith(b"\r")  # then LF may follow


def first_lines(piece: bytes, most: int) -> bytes:
    """What of ``piece`` makes up its first lines, with their ends, so many at the most."""
    if piece.count(b"\n") <= most:
        return piece[: piece.rfind(b"\n") + 1]
    return piece[: len(piece) - len(piece.split(b"\n", most)[-1])]


def split_bytes(piece: bytes) -> list[bytes]:
    """The lines of ``piece``, which ends with a line end, without their line ends."""
    lines = piece.split(b"\n")
    lines.pop()  # what follows the last line end: nothing
    return [line.removesuffix(b"\r") for line in lines] if b"\r" in piece else lines


def text_lines(socket: ReceiveCalls, encoding: str, errors: str, max_bytes: int) -> Lines[str]:
    """An iterator over lines of text.

    Raises:
        LookupError: no such encoding, or no such way of handling errors.
    """
    codecs.lookup(encoding)
    codecs.lookup_error(errors)

    def convert(line: bytes) -> str:
        return line.decode(encoding, errors)

    def split(piece: bytes) -> list[str]:
        if errors != "strict":  # each by itself: bad bytes in one must not change the next
            return [convert(line) for line in split_bytes(piece)]
        return split_text(piece.decode(encoding))

    return Lines(socket, convert, split, max_bytes)


def split_text(text: str) -> list[str]:
    """The same for text."""
    lines = text.split("\n")
    lines.pop()
    return [line.removesuffix("\r") for line in lines] if "\r" in text else lines
