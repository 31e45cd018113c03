"""The wire format of a transfer, without I/O: encoding frames, and parsing untrusted ones.

::

    sender                                 receiver
      header (name, size)         ------>
                                  <------  reply OFFER (bytes, SHA-256), if it has some of it
      resume (offset)             ------>
                                  <------  reply GO_AHEAD, or REFUSED and the end
      body (from the offset on)   ------>
      trailer (SHA-256)           ------>
                                  <------  reply BUSY, any number of times
                                  <------  reply STORED (SHA-256, name), or REFUSED

The receiver may send REFUSED at any moment, also while the body is under way. With the flag MORE
the same follows for the next file, until a header with the flag END; DECLINED in place of GO_AHEAD
skips one file. All numbers are big-endian. ``docs/howto/transfer.md`` shows every byte.
"""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass
from typing import Final

from ._errors import TransferFormatError
from ._parser import UntrustedParser as UntrustedParser

VERSION = 2
HEADER_MAGIC = b"XSOCK-FT"
TRAILER_MAGIC = b"XEND"
REPLY_MAGIC = b"XREP"
RESUME_MAGIC = b"XRSM"
NAME_LIMIT = 255
"""Longest file name in bytes of UTF-8; the longest that file systems take."""
PATH_LIMIT = 4096
"""Longest path in bytes of UTF-8: the names of folders and the file's, with ``/`` between them."""
TEXT_LIMIT = 1000
"""Longest text of a reply in bytes of UTF-8."""
SIZE_LIMIT = 2**63 - 1
"""Largest file in bytes, what file offsets can hold."""
DIGEST_SIZE = 32
NO_DIGEST = bytes(DIGEST_SIZE)

_HEADER = struct.Struct("!8sBBHQ")
_TRAILER = struct.Struct("!4s32s")
_RESUME = struct.Struct("!4sB3xQ")
_REPLY = struct.Struct("!4sBBHQ32s")


_FLAGS = frozenset({0, 1, 3, 4})
"""Those that go together."""


class Status(enum.IntEnum):
    """The kinds of replies."""

    GO_AHEAD = 0
    """The header is fine: send the body."""
    STORED = 1
    """The file was received, its checksum is correct, and it has its name. Last reply."""
    REFUSED = 2
    """The transfer is refused, perhaps after it began; the text says why. Last reply."""
    BUSY = 3
    """The disk is still busy: wait for the next reply."""
    OFFER = 4
    """A part of the file, or all of it, is there: its size and its checksum."""
    DECLINED = 5
    """This file is refused, the text says why; the next header may follow."""


class Flags(enum.IntFlag):
    """The flags of a header."""

    MORE = 1
    """Another header follows after this file."""
    FOLDER = 2
    """It is an empty folder: no body and no trailer; the reply is STORED, or DECLINED."""
    END = 4
    """Nothing more follows. There is no name."""


@dataclass(frozen=True, slots=True)
class Header:
    """What the sender announces."""

    name: str
    """Name, or path below the receiver's folder with ``/`` in it; not checked yet if it comes
    from the network. Empty if it says that nothing more follows."""
    size: int
    """Bytes in the file."""
    more: bool = False
    """Another header follows."""
    folder: bool = False
    """It is an empty folder."""

    @property
    def is_end(self) -> bool:
        """Nothing more follows."""
        return not self.name

    def encode(self) -> bytes:
        """The header's bytes.

        Raises:
            ValueError: the name is empty, too long or not expressible in UTF-8, or the
                size is out of range.
        """
        name = self.name.encode()  # UnicodeEncodeError is a ValueError
        if not 1 <= len(name) <= PATH_LIMIT:
            raise ValueError(f"a name has 1 to {PATH_LIMIT} bytes, not {len(name)}")
        if not 0 <= self.size <= SIZE_LIMIT:
            raise ValueError(f"a size is 0 to {SIZE_LIMIT}, not {self.size}")
        flags = Flags.MORE * self.more | Flags.FOLDER * self.folder
        return _HEADER.pack(HEADER_MAGIC, VERSION, flags, len(name), self.size) + name


END: Final = _HEADER.pack(HEADER_MAGIC, VERSION, Flags.END, 0, 0)
"""The header that says that nothing more follows."""


@dataclass(frozen=True, slots=True)
class Resume:
    """The sender's answer to an offer."""

    ready: bool
    """Whether it has compared; if not, the comparison is still going on."""
    offset: int = 0
    """Where it continues in the file: after the offered part, or at 0 if that differs."""

    def encode(self) -> bytes:
        """The 16 bytes."""
        return _RESUME.pack(RESUME_MAGIC, self.ready, self.offset)


@dataclass(frozen=True, slots=True)
class Trailer:
    """The frame after the body."""

    digest: bytes
    """SHA-256 of the body as the sender read it."""

    def encode(self) -> bytes:
        """The trailer's 36 bytes."""
        if len(self.digest) != DIGEST_SIZE:
            raise ValueError(f"a digest has {DIGEST_SIZE} bytes, not {len(self.digest)}")
        return _TRAILER.pack(TRAILER_MAGIC, self.digest)


@dataclass(frozen=True, slots=True)
class Reply:
    """A frame of the receiver."""

    status: Status
    bytes_received: int = 0
    """Bytes of the body that were received when it was sent."""
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


class UntrustedHeaderParser(UntrustedParser[Header]):
    """Parser of a header."""

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
        if flags not in _FLAGS or (flags != Flags.MORE and flags and size):
            raise TransferFormatError(f"the header has unknown flags ({flags:#04x})")
        if flags == Flags.END and not name_length:
            return _HEADER.size
        if flags == Flags.END or not 1 <= name_length <= PATH_LIMIT:
            raise TransferFormatError(
                f"the header announces a name of {name_length} bytes; 1 to {PATH_LIMIT} are allowed"
            )
        if size > SIZE_LIMIT:
            raise TransferFormatError(f"the header announces an impossible size ({size} bytes)")
        return _HEADER.size + int(name_length)

    def _parse(self, raw: bytes) -> Header:
        _, _, flags, _, size = _HEADER.unpack_from(raw)
        name = _decode(raw[_HEADER.size :], "the file name")
        return Header(name, size, bool(flags & Flags.MORE), bool(flags & Flags.FOLDER))


class UntrustedTrailerParser(UntrustedParser[Trailer]):
    """Parser of the trailer after the body."""

    def __init__(self) -> None:
        super().__init__(TRAILER_MAGIC, _TRAILER.size)

    def _not_ours(self) -> str:
        return "the body is not followed by a trailer: it is longer than was announced"

    def _measure(self, fixed: bytes) -> int:
        return len(fixed)

    def _parse(self, raw: bytes) -> Trailer:
        return Trailer(_TRAILER.unpack(raw)[1])


class UntrustedResumeParser(UntrustedParser[Resume]):
    """Parser of the answer to an offer."""

    def __init__(self) -> None:
        super().__init__(RESUME_MAGIC, _RESUME.size)

    def _not_ours(self) -> str:
        return "the offer to go on is not answered by the sender"

    def _measure(self, fixed: bytes) -> int:
        return len(fixed)

    def _parse(self, raw: bytes) -> Resume:
        _, ready, offset = _RESUME.unpack(raw)
        return Resume(bool(ready), offset)


class UntrustedReplyParser(UntrustedParser[Reply]):
    """Parser of a reply."""

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
