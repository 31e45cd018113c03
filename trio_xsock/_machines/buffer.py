"""The receive buffer: bytes in arrival order, taken from the front.

Chunks are kept as the OS gave them, with an offset into the first, so that taking ``n``
bytes costs ``n`` at any depth. Small chunks are joined as they come: a peer that sends one
byte per packet would otherwise cost some 40 bytes of memory for each. A search remembers
how far it came, so that a separator that arrives bytewise is still found in linear time.
"""

from __future__ import annotations

import codecs
from collections.abc import Mapping

_SMALL = 1024
"""Chunks below this many bytes are joined to the one before; copying them costs some 30 ns."""


class _Past:
    """What is known of bytes that were looked at, and not taken.

    Attributes:
        separator: what was searched for last.
        searched: the stream position before which none begins.
        states: of a decoder at a stream position, where it is not that of a new one.
    """

    __slots__ = ("searched", "separator", "states")

    def __init__(self) -> None:
        self.separator = b""
        self.searched = 0
        self.states: Mapping[tuple[int, str], int] = {}


class ReceiveBuffer:
    """Received bytes that have not been read yet.

    Attributes:
        size: how many bytes there are.
    """

    __slots__ = (
        "_chunks",
        "_head",
        "_offset",
        "_past",
        "_taken",
        "size",
    )

    def __init__(self) -> None:
        self.size = 0
        self._chunks: list[bytes] = []
        self._head = 0  # index of the first chunk still in use
        self._offset = 0  # bytes already taken of that chunk
        self._taken = 0  # bytes ever taken: positions in the stream stay valid across takes
        self._past: _Past | None = None  # made when first needed, as few need it

    def append(self, chunk: bytes) -> None:
        """Add what arrived; ``chunk`` is not empty."""
        chunks, size = self._chunks, len(chunk)
        if self.size and size < _SMALL and len(chunks[-1]) < _SMALL:
            chunks[-1] += chunk
        else:
            chunks.append(chunk)
        self.size += size

    def take_all(self) -> bytes:
        """Remove and return everything."""
        chunks = self._chunks
        if len(chunks) == 1 and not self._offset:
            self._taken += self.size
            self.size = 0
            return chunks.pop()
        data = self.peek_all()
        self.clear()
        return data

    def peek_all(self) -> bytes:
        """Everything, without removing it."""
        if not self.size:
            return b""
        chunks = self._chunks
        if len(chunks) - self._head > 1 or self._offset:
            first = chunks[self._head][self._offset :]
            chunks[:] = [b"".join((first, *chunks[self._head + 1 :]))]
            self._head = self._offset = 0
        return chunks[self._head]

    def peek(self, count: int) -> bytes:
        """The first ``count`` bytes or what there is, without removing them."""
        if count >= self.size:
            return self.peek_all()
        pieces: list[bytes] = []
        index, offset, missing = self._head, self._offset, count
        while missing:
            piece = self._chunks[index][offset : offset + missing]
            pieces.append(piece)
            missing -= len(piece)
            index, offset = index + 1, 0
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def take(self, count: int) -> bytes:
        """Remove and return the first ``count`` bytes, or what there is."""
        if count >= self.size:
            return self.take_all()
        data = self.peek(count)
        self.skip(count)
        return data

    def skip(self, count: int) -> None:
        """Remove the first ``count`` bytes; there are at least so many."""
        self.size -= count
        self._taken += count
        if not self.size:
            self._drop_chunks()
            return
        count += self._offset
        while count and count >= len(self._chunks[self._head]):
            count -= len(self._chunks[self._head])
            self._chunks[self._head] = b""
            self._head += 1
        self._offset = count
        if self._head > 64 and self._head * 2 > len(self._chunks):
            del self._chunks[: self._head]
            self._head = 0

    def put_back(self, data: bytes) -> None:
        """Put bytes in front again that were taken last and not used; ``data`` is not empty."""
        if self._offset:
            self._chunks[self._head] = self._chunks[self._head][self._offset :]
            self._offset = 0
        self._chunks.insert(self._head, data)
        self.size += len(data)
        self._taken -= len(data)
        if self._past is not None:
            self._past.separator = b""  # the last search did not cover these bytes

    def clear(self) -> int:
        """Remove everything; returns how many bytes that were."""
        count = self.size
        self._taken += count
        self.size = 0
        self._past = None
        self._drop_chunks()
        return count

    def _drop_chunks(self) -> None:
        self._chunks.clear()
        self._head = self._offset = 0

    def find(self, separator: bytes) -> int:
        """Where ``separator``, not empty, first begins, counted from the front, or -1.

        Bytes that were searched for the same separator before are not searched again.
        """
        past = self._past
        if past is None:
            past = self._past = _Past()
        start = 0
        if separator == past.separator:
            start = max(0, past.searched - self._taken)
        found = self._search(separator, start)
        past.separator = separator
        # The last bytes may be the beginning of a separator.
        none_before = found if found >= 0 else max(start, self.size - len(separator) + 1)
        past.searched = self._taken + none_before
        return found

    def _search(self, separator: bytes, start: int) -> int:
        """Search chunk by chunk; joining them first would cost their size for every find."""
        overlap = len(separator) - 1
        first, skip = self._locate(start)
        position = start  # of byte ``skip`` of the chunk
        tail = b""  # what was searched last, as much as a separator can begin in
        for index in range(first, len(self._chunks)):
            chunk = self._chunks[index]
            if tail:
                found = (tail + chunk[skip : skip + overlap]).find(separator)
                if found >= 0:
                    return position - len(tail) + found
            found = chunk.find(separator, skip)
            if found >= 0:
                return position + found - skip
            position += len(chunk) - skip
            if overlap:
                tail = (tail + chunk[max(skip, len(chunk) - overlap) :])[-overlap:]
            skip = 0
        return -1

    def _locate(self, position: int) -> tuple[int, int]:
        """The chunk that holds ``position``, counted from the front, and where in it."""
        chunks, index = self._chunks, self._head
        if position * 2 < self.size:
            position += self._offset
            while position >= len(chunks[index]):
                position -= len(chunks[index])
                index += 1
            return index, position
        # New data is at the end, and mostly that is what is searched.
        index, begin = len(chunks), self.size
        while begin > position:
            index -= 1
            begin -= len(chunks[index])
        return index, position - begin

    def decode(
        self, count: int, encoding: str, errors: str = "strict", *, final: bool
    ) -> tuple[str, int]:
        """The first ``count`` bytes as text that ends between two characters.

        Encodings with state, such as UTF-16 with its byte order mark, continue from the text
        before.

        Args:
            count: how many bytes at the most.
            encoding: as ``codecs`` knows it.
            errors: what to do about undecodable bytes, likewise.
            final: nothing can follow what is buffered.

        Returns:
            The text, and how many bytes make it up; nothing is removed.

        Raises:
            UnicodeDecodeError: undecodable bytes, or an incomplete character at the very end.
            LookupError: no such encoding, or no such way of handling errors.
        """
        "".encode(encoding)  # raises for codecs that are not for text
        codecs.lookup_error(errors)
        data = self.peek(count)
        decoder = codecs.getincrementaldecoder(encoding)(errors)
        initial = decoder.getstate()[1]
        past = self._past
        before = initial if past is None else past.states.get((self._taken, encoding), initial)
        if before != initial:
            decoder.setstate((b"", before))
        try:
            text = decoder.decode(data, final and count >= self.size)
        except UnicodeDecodeError:
            raise
        except UnicodeError as exc:  # UTF-16 without a byte order mark
            raise UnicodeDecodeError(encoding, data, 0, len(data), str(exc)) from None
        pending, after = decoder.getstate()
        used = len(data) - len(pending)
        if before != initial or after != initial:
            here, there = (self._taken, encoding), (self._taken + used, encoding)
            if past is None:
                past = self._past = _Past()
            past.states = {here: before, there: after}
        return text, used
