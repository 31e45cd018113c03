"""The wire format of messages on a stream: one frame for each, nothing before or between.

=======  =====  ================================================================
offset   bytes  content
=======  =====  ================================================================
0        2      ``XM`` (0x58 0x4D)
2        1      version: 1
3        1      0, reserved
4        4      command, 0..2**31-1, most significant byte first
8        4      size of the data in bytes, 0..2**32-1, most significant byte first
12       size   the data
=======  =====  ================================================================

A header is checked as its bytes arrive: another protocol is noticed at its first byte, and a size
above the limit before any of the data is stored.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from trio_xsock._values.errors import FramingError
from trio_xsock._values.message import Message, check_command
from trio_xsock._values.typing import Buffer

HEADER_SIZE: Final = 12
LARGEST_SIZE: Final = 2**32 - 1

_HEADER: Final = Struct(">IiI")
_MARK: Final = b"XM\x01\x00"
_MARK_NUMBER: Final = int.from_bytes(_MARK, "big")
_AT_ONCE: Final = 64
"""Messages decoded in one go; parsing 500,000 tiny ones at once would freeze a loop for 0.3 s."""


def encode_message(command: int, data: Buffer | str = b"") -> bytes:
    """The frame of one message, as ``EasyTCPSocket`` sends it.

    Args:
        command: 0..2**31-1.
        data: the content: any buffer, or text, which is encoded as UTF-8.

    Returns:
        12 bytes of header, and the data.

    Raises:
        ValueError: a command out of range, or data of 4 GiB or more.
        TypeError: a command that is no int, or data that is neither a buffer nor text.
    """
    check_command(command)
    payload = data.encode() if isinstance(data, str) else data
    if type(payload) is not bytes:
        with memoryview(payload) as view:
            payload = view.tobytes()
    if len(payload) > LARGEST_SIZE:
        raise ValueError(f"data must have at most {LARGEST_SIZE} bytes, not {len(payload)}")
    return _HEADER.pack(_MARK_NUMBER, command, len(payload)) + payload


def frame_end(frames: bytes | memoryview, position: int) -> int:
    """Where the frame ends that ``position`` is inside of, or at the beginning of.

    Args:
        frames: whole frames, one after the other.
        position: an offset into them.
    """
    end = 0
    while end <= position and end < len(frames):
        if end == position:
            return end
        end += HEADER_SIZE + int.from_bytes(frames[end + 8 : end + HEADER_SIZE], "big")
    return end


class MessageDecoder:
    """Decodes messages from the bytes of a stream, which may be fed in pieces of any size.

    It does no I/O: give it what arrived with ``feed``, and take messages with ``decode`` until
    it gives none. What has been decoded is not kept.

    Args:
        max_message_size: bytes of data that one message may have.

    Attributes:
        max_message_size: as above; takes effect with the next header.
        pending: ``decode`` was not called, or not often enough, since ``feed``.
    """

    __slots__ = (
        "_broken",
        "_chunk",
        "_needed",
        "_partial",
        "_position",
        "max_message_size",
        "pending",
    )

    def __init__(self, max_message_size: int = 2**24) -> None:
        self.max_message_size: int = max_message_size
        self.pending: bool = False
        self._chunk = b""
        self._position = 0
        self._partial = bytearray()  # the frame that has begun and not ended
        self._needed = HEADER_SIZE  # bytes that it has in all, as far as is known
        self._broken: FramingError | None = None

    @property
    def held(self) -> int:
        """Bytes that were fed and belong to no message yet."""
        return len(self._partial) + len(self._chunk) - self._position

    @property
    def missing(self) -> int:
        """Bytes that the message which has begun still needs, as far as is known; 0 for none."""
        return self._needed - len(self._partial) if self._partial else 0

    def feed(self, data: bytes) -> None:
        """Add bytes that arrived."""
        if self._broken is None and data:
            self._chunk = self._chunk[self._position :] + data if self.pending else data
            self._position = 0
            self.pending = True

    def decode(self, limit: int = _AT_ONCE) -> list[Message]:
        """Take messages out of what was fed.

        Args:
            limit: how many at the most, so that many tiny ones do not block the event loop;
                while ``pending`` is true there may be more.

        Returns:
            The next messages, none if there is no whole one.

        Raises:
            FramingError: the bytes are not in this format, or claim more than is allowed; every
                later call raises it again. Messages before them are returned first.
        """
        messages: list[Message] = []
        if self._broken is None:
            try:
                if self._partial:
                    self._complete(messages)
                if not self._partial:
                    self._decode_chunk(messages, limit)
            except FramingError as error:
                self._fail(error)
        if self._broken is not None and not messages:
            raise self._broken.with_traceback(None)
        return messages

    def _decode_chunk(self, messages: list[Message], limit: int) -> None:
        """Take whole frames straight out of the chunk."""
        chunk, start = self._chunk, self._position
        end, largest, unpack = len(chunk), self.max_message_size, _HEADER.unpack_from
        add = messages.append
        # Half the time of ``Message(...)``.
        new = tuple.__new__  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        for _ in range(limit - len(messages)):
            data = start + HEADER_SIZE
            if data > end:
                break
            mark, command, size = unpack(chunk, start)
            if mark != _MARK_NUMBER or command < 0 or size > largest:
                raise self._refusal(chunk[start:data])
            stop = data + size
            if stop > end:
                break
            add(new(Message, (command, chunk[data:stop])))
            start = stop
        else:
            self._position = start
            self.pending = start < end
            return
        self._position = start
        self._keep_rest()

    def _keep_rest(self) -> None:
        """What is left of the chunk is the beginning of a frame."""
        self._partial += memoryview(self._chunk)[self._position :]
        self._chunk, self._position, self.pending = b"", 0, False
        self._needed = HEADER_SIZE
        if self._partial:
            self._judge()

    def _complete(self, messages: list[Message]) -> None:
        """Add to the frame that has begun what it still needs."""
        while self._take_missing():
            if self._needed > HEADER_SIZE or self._judge() == HEADER_SIZE:
                command = int.from_bytes(self._partial[4:8], "big")
                with memoryview(self._partial) as view:
                    messages.append(Message(command, bytes(view[HEADER_SIZE:])))
                self._partial = bytearray()
                break

    def _take_missing(self) -> bool:
        """Move bytes from the chunk to the frame; whether it has all that is known of it."""
        start = self._position
        stop = min(start + self.missing, len(self._chunk))
        self._partial += memoryview(self._chunk)[start:stop]
        self._position = stop
        self.pending = stop < len(self._chunk)
        if not self.pending:
            self._chunk, self._position = b"", 0
        if len(self._partial) < HEADER_SIZE:
            self._judge()
        return not self.missing

    def _judge(self) -> int:
        """Check the bytes of the header so far; return the size of the frame, if it is known."""
        header = bytes(self._partial[:HEADER_SIZE])
        if len(header) < HEADER_SIZE:
            if header[:4] != _MARK[: len(header)] or header[4:5] > b"\x7f":
                raise self._refusal(header)
            return self._needed
        mark, command, size = _HEADER.unpack(header)
        if mark != _MARK_NUMBER or command < 0 or size > self.max_message_size:
            raise self._refusal(header)
        self._needed = HEADER_SIZE + size
        return self._needed

    def _refusal(self, header: bytes) -> FramingError:
        if header[:4] != _MARK[: len(header)]:
            return FramingError(f"the peer speaks another protocol: no message begins {header!r}")
        if header[4] > 0x7F:
            return FramingError("the peer sent a negative command")
        size = int.from_bytes(header[8:], "big")
        return FramingError(
            f"the peer announced a message of {size} bytes, more than max_message_size="
            f"{self.max_message_size}"
        )

    def _fail(self, error: FramingError) -> None:
        """Nothing after this can be decoded: drop it."""
        self._broken = error
        self._chunk, self._position = b"", 0
        self._partial, self._needed = bytearray(), HEADER_SIZE
        self.pending = True
