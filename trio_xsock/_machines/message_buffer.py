"""Received messages that have not been read yet, and the bytes of those still to be decoded.

A message is stored once: as bytes until it is decoded, as a ``Message`` until it is read. Decoding
pauses while enough messages wait, because a tiny one takes ten times the memory of its bytes.
"""

from __future__ import annotations

from collections import deque

from trio_xsock._values.errors import FramingError
from trio_xsock._values.message import Message

from .framing import HEADER_SIZE, MessageDecoder

_BOOKKEEPING = 128
"""Bytes that an empty message takes in memory."""


class MessageBuffer:
    """The receive queue of a message socket.

    Attributes:
        size: bytes, as they were on the wire, of all that has not been read.
        messages: those that have been decoded, the oldest first.
    """

    __slots__ = ("_decoder", "_queued", "messages", "size")

    def __init__(self, max_message_size: int = 2**24) -> None:
        self.size = 0
        self.messages: deque[Message] = deque()
        self._queued = 0  # bytes of those messages
        self._decoder = MessageDecoder(max_message_size)

    @property
    def max_message_size(self) -> int:
        """Bytes of data that one message may have; takes effect with the next header."""
        return self._decoder.max_message_size

    @max_message_size.setter
    def max_message_size(self, size: int) -> None:
        self._decoder.max_message_size = size

    @property
    def pending(self) -> bool:
        """There are bytes that have not been decoded yet."""
        return self._decoder.pending

    @property
    def incomplete(self) -> bool:
        """A message has begun and not ended."""
        return self._decoder.held > 0

    def append(self, chunk: bytes) -> None:
        """Add bytes that arrived."""
        self._decoder.feed(chunk)
        self.size += len(chunk)

    def decode(self) -> list[Message]:
        """The next messages, a bounded number of them; each must be added, or is taken.

        Raises:
            FramingError: see ``MessageDecoder.decode``.
        """
        messages = self._decoder.decode()
        self.size = self._queued + self._decoder.held
        return messages

    def is_full(self, limit: int) -> bool:
        """Whether so many messages wait that no more should be decoded."""
        return self._queued + _BOOKKEEPING * len(self.messages) >= limit

    def wanted(self, limit: int) -> int:
        """How many bytes there may be, in all.

        A message that has begun may always be completed, however large it is: a caller that waits
        for it behind other messages would never return.
        """
        return max(limit, self.needed(limit))

    def needed(self, limit: int) -> int:
        """How many bytes there must be, in all, before another message is whole; 0 for any."""
        missing = self._decoder.missing
        return self.size + missing if missing and self._queued < limit else 0

    def add(self, message: Message) -> None:
        """Append a decoded message."""
        self.messages.append(message)
        size = HEADER_SIZE + len(message.data)
        self._queued += size
        self.size += size

    def take(self) -> Message | None:
        """Remove and return the oldest message."""
        if not self.messages:
            return None
        return self._taken(self.messages.popleft())

    def take_command(self, command: int) -> Message | None:
        """Remove and return the oldest message with this command."""
        for index, message in enumerate(self.messages):
            if message.command == command:
                del self.messages[index]
                return self._taken(message)
        return None

    def _taken(self, message: Message) -> Message:
        size = HEADER_SIZE + len(message.data)
        self._queued -= size
        self.size -= size
        return message

    def clear(self) -> None:
        """Drop all whole messages; one that has begun to come still comes."""
        self.messages.clear()
        self._queued = 0
        try:
            while self._decoder.pending:
                self._decoder.decode()
        except FramingError:  # the next call of decode() raises it
            pass
        self.size = self._decoder.held

    def restart(self) -> None:
        """Drop everything: another stream begins."""
        self._decoder = MessageDecoder(self._decoder.max_message_size)
        self.clear()
