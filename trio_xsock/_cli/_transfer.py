"""The wire format of a transfer, without I/O: frames made, and hostile bytes taken apart.

::

    sender                                 receiver
      header (name, size)         ------>
                                  <------  reply GO_AHEAD, or REFUSED and the end
      body (size bytes)           ------>
      trailer (SHA-256)           ------>
                                  <------  reply BUSY, as often as it likes
                                  <------  reply STORED (SHA-256, name), or REFUSED

The receiver may send REFUSED at any moment, also while the body is under way. All numbers
are big-endian. ``docs/howto/transfer.md`` shows every byte.

The parsers are called *untrusted* because what they are fed is: they take any bytes in
pieces of any size, never hold more than the longest frame, and raise
:class:`TransferFormatError` and nothing else.
"""

from __future__ import annotations

import abc
import enum
import struct
from dataclasses import dataclass
from typing import Generic, TypeVar

from ._errors import TransferFormatError

T = TypeVar("T")

VERSION = 1
HEADER_MAGIC = b"XSOCK-FT"
TRAILER_MAGIC = b"XEND"
REPLY_MAGIC = b"XREP"
NAME_LIMIT = 255
"""Longest file name in bytes of UTF-8; the longest that file systems take."""
TEXT_LIMIT = 1000
"""Longest text of a reply in bytes of UTF-8."""
SIZE_LIMIT = 2**63 - 1
"""Largest file in bytes, what file offsets can hold."""
DIGEST_SIZE = 32
NO_DIGEST = bytes(DIGEST_SIZE)

_HEADER = struct.Struct("!8sBBHQ")
_TRAILER = struct.Struct("!4s32s")
_REPLY = struct.Struct("!4sBBHQ32s")


class Status(enum.IntEnum):
    """What a reply says."""

    GO_AHEAD = 0
    """The header is fine: send the body."""
    STORED = 1
    """Everything came, the checksum is right, the file has its name. Last reply."""
    REFUSED = 2
    """Not taken, or no longer; the text says why. Last reply."""
    BUSY = 3
    """Still writing to disk; there is nothing to do but to wait for the next reply."""


@dataclass(frozen=True, slots=True)
class Header:
    """What the sender announces."""

    name: str
    """File name without any folder; as it comes from the network: not yet checked."""
    size: int
    """Bytes in the body."""

    def encode(self) -> bytes:
        """The header's bytes.

        Raises:
            ValueError: the name is empty, too long or not expressible in UTF-8, or the
                size is out of range.
        """
        name = self.name.encode()  # UnicodeEncodeError is a ValueError
        if not 1 <= len(name) <= NAME_LIMIT:
            raise ValueError(f"a name has 1 to {NAME_LIMIT} bytes, not {len(name)}")
        if not 0 <= self.size <= SIZE_LIMIT:
            raise ValueError(f"a size is 0 to {SIZE_LIMIT}, not {self.size}")
        return _HEADER.pack(HEADER_MAGIC, VERSION, 0, len(name), self.size) + name


@dataclass(frozen=True, slots=True)
class Trailer:
    """What follows the body."""

    digest: bytes
    """SHA-256 of the body as the sender read it."""

    def encode(self) -> bytes:
        """The trailer's 36 bytes."""
        if len(self.digest) != DIGEST_SIZE:
            raise ValueError(f"a digest has {DIGEST_SIZE} bytes, not {len(self.digest)}")
        return _TRAILER.pack(TRAILER_MAGIC, self.digest)


@dataclass(frozen=True, slots=True)
class Reply:
    """What the receiver says."""

    status: Status
    bytes_received: int = 0
    """Bytes of the body that had come in when it was said."""
    digest: bytes = NO_DIGEST
    """SHA-256 of the body as it was received; only with ``STORED``."""
    text: str = ""
    """``STORED``: the name that the file has now. ``REFUSED``: why."""

    def encode(self) -> bytes:
        """The reply's bytes; a text that is too long is cut at a character."""
        text = self.text.encode(errors="backslashreplace")
        if len(text) > TEXT_LIMIT:
            text = text[:TEXT_LIMIT].decode(errors="ignore").encode()
        fixed = _REPLY.pack(
            REPLY_MAGIC, self.status, 0, len(text), self.bytes_received, self.digest
        )
        return fixed + text


class UntrustedParser(abc.ABC, Generic[T]):
    """Takes one frame out of bytes that a stranger sent.

    Ask for at most :attr:`wanted` bytes, :meth:`feed` them, and go on until a frame comes
    back. So nothing beyond the frame is ever taken from the stream.
    """

    def __init__(self, magic: bytes, fixed_size: int) -> None:
        self._magic = magic
        self._fixed_size = fixed_size
        self._total: int | None = None
        self._raw = bytearray()
        self._failure: TransferFormatError | None = None

    @property
    def wanted(self) -> int:
        """How many bytes may come next, at most; 0 when the frame is complete."""
        return (self._total or self._fixed_size) - len(self._raw)

    @property
    def started(self) -> bool:
        """Whether a byte was fed at all."""
        return bool(self._raw)

    def feed(self, data: bytes) -> T | None:
        """Take the next bytes in; the frame if it is complete, else ``None``.

        Raises:
            TransferFormatError: no frame of this kind can come of these bytes. Every
                later call raises the same.
            ValueError: the caller fed more than was :attr:`wanted`.
        """
        if self._failure is not None:
            raise self._failure
        if len(data) > self.wanted:
            raise ValueError(f"{len(data)} bytes were fed, {self.wanted} were wanted")
        self._raw += data
        try:
            return self._advance()
        except TransferFormatError as exc:
            self._failure = exc
            raise

    def _advance(self) -> T | None:
        start = self._raw[: len(self._magic)]
        if not self._magic.startswith(start):
            raise TransferFormatError(self._not_ours())
        if self._total is None:
            if len(self._raw) < self._fixed_size:
                return None
            self._total = self._measure(bytes(self._raw))
        if len(self._raw) < self._total:
            return None
        return self._parse(bytes(self._raw))

    @abc.abstractmethod
    def _not_ours(self) -> str:
        """The text for bytes that do not begin with the magic."""

    @abc.abstractmethod
    def _measure(self, fixed: bytes) -> int:
        """Check the fixed part; the length of the whole frame."""

    @abc.abstractmethod
    def _parse(self, raw: bytes) -> T:
        """The frame out of all its bytes, whose fixed part was checked."""


class UntrustedHeaderParser(UntrustedParser[Header]):
    """Parser of what claims to be a header."""

    def __init__(self) -> None:
        super().__init__(HEADER_MAGIC, _HEADER.size)

    def _not_ours(self) -> str:
        if bytes(self._raw[:2]) == b"\x16\x03":
            return "what came is not the header of a transfer but TLS; --tls is missing here"
        return "what came is not the header of a transfer"

    def _measure(self, fixed: bytes) -> int:
        _, version, flags, name_length, size = _HEADER.unpack(fixed)
        if version != VERSION:
            raise TransferFormatError(
                f"the sender speaks version {version} of the transfer, this program {VERSION}"
            )
        if flags != 0:
            raise TransferFormatError(f"the header has unknown flags ({flags:#04x})")
        if not 1 <= name_length <= NAME_LIMIT:
            raise TransferFormatError(
                f"the header announces a name of {name_length} bytes; 1 to {NAME_LIMIT} are allowed"
            )
        if size > SIZE_LIMIT:
            raise TransferFormatError(f"the header announces an impossible size ({size} bytes)")
        return _HEADER.size + int(name_length)

    def _parse(self, raw: bytes) -> Header:
        size = _HEADER.unpack_from(raw)[4]
        return Header(_decode(raw[_HEADER.size :], "the file name"), size)


class UntrustedTrailerParser(UntrustedParser[Trailer]):
    """Parser of what should be the trailer after the body."""

    def __init__(self) -> None:
        super().__init__(TRAILER_MAGIC, _TRAILER.size)

    def _not_ours(self) -> str:
        return "the body is not followed by a trailer: it is longer than was announced"

    def _measure(self, fixed: bytes) -> int:
        return len(fixed)

    def _parse(self, raw: bytes) -> Trailer:
        return Trailer(_TRAILER.unpack(raw)[1])


class UntrustedReplyParser(UntrustedParser[Reply]):
    """Parser of what claims to be a reply."""

    def __init__(self) -> None:
        super().__init__(REPLY_MAGIC, _REPLY.size)

    def _not_ours(self) -> str:
        if bytes(self._raw[:2]) == b"\x15\x03":
            return "it speaks TLS; --tls is missing here"
        return "what came is not the reply of a receiver"

    def _measure(self, fixed: bytes) -> int:
        _, status, reserved, text_length, _, _ = _REPLY.unpack(fixed)
        if status not in tuple(Status):
            raise TransferFormatError(f"the reply has an unknown status ({status})")
        if reserved != 0:
            raise TransferFormatError(f"the reply has unknown flags ({reserved:#04x})")
        if text_length > TEXT_LIMIT:
            raise TransferFormatError(
                f"the reply announces a text of {text_length} bytes; {TEXT_LIMIT} are allowed"
            )
        return _REPLY.size + int(text_length)

    def _parse(self, raw: bytes) -> Reply:
        _, status, _, _, bytes_received, digest = _REPLY.unpack_from(raw)
        text = _decode(raw[_REPLY.size :], "the reply's text")
        return Reply(Status(status), bytes_received, digest, text)


def _decode(raw: bytes, what: str) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise TransferFormatError(f"{what} is not valid UTF-8") from None
