"""The wire format of the UDP sockets that move messages: one packet for each datagram.

=======  =====  ================================================================
offset   bytes  content
=======  =====  ================================================================
0        2      ``XU`` (0x58 0x55)
2        1      version: 1
3        1      kind
4        1      size n of the group's name, 0..64
5        n      the group's name in UTF-8
5 + n    rest   what the kind says
=======  =====  ================================================================

A packet of the kind ``MESSAGE`` goes on with a command (4 bytes, most significant first) and the
data. The other kinds belong to ``AutoDiscovery`` and go on with the sender's instance (16 bytes),
its counter (8 bytes) and the receiver's instance (16 bytes, zeros for all members), and then

* ``ANNOUNCE``: the sender itself;
* ``CHALLENGE`` and ``RESPONSE``: a challenge (16), the answer to the other's challenge (16), zeros
  where there is none, and the sender itself;
* ``GOODBYE``: nothing;
* ``GROUP_MESSAGE``: command and data, as ``MESSAGE``.

*The sender itself* is a byte of flags (1: please answer), the milliseconds after which it is gone
if it stays silent (4), its name and its metadata: the size of the name in a byte, the name, the
number of entries in a byte, and for each its key and its value, each with its size in a byte
before it. Zeros fill packets of the first three kinds up to 512 bytes, and shorter ones are no
packets, so that no answer is larger than what asked for it.

Where the group has a key the last 16 bytes of the packets of ``AutoDiscovery`` are the first 16 of
the HMAC-SHA256 of everything before them, and count among the 512.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
from collections.abc import Iterable, Mapping
from struct import Struct
from types import MappingProxyType
from typing import Final, NamedTuple

from trio_xsock._values.member import LARGEST_METADATA, LONGEST_NAME

PADDED_SIZE: Final = 512
"""Bytes of the packets that are answered, and of the answers."""
ID_SIZE: Final = 16
TAG_SIZE: Final = 16
NONE: Final = bytes(ID_SIZE)
"""Means that there is no challenge, answer or instance."""

_MARK: Final = b"XU\x01"
_ENDS: Final = Struct(">16sQ16s")
_COMMAND: Final = Struct(">i")
_SELF: Final = Struct(">BI")
_PLEASE_ANSWER: Final = 1


class PacketError(ValueError):
    """The datagram is no packet of this format, or not for us."""


class Kind(enum.IntEnum):
    """What a packet is."""

    MESSAGE = 0
    ANNOUNCE = 1
    CHALLENGE = 2
    RESPONSE = 3
    GOODBYE = 4
    GROUP_MESSAGE = 5


class Identity(NamedTuple):
    """A member's description of itself."""

    please_answer: bool
    hold: int
    """Milliseconds of silence after which it expires."""
    name: str
    metadata: Mapping[str, str]


class Packet(NamedTuple):
    """A decoded packet."""

    kind: Kind
    group: str
    instance: bytes = NONE
    counter: int = 0
    receiver: bytes = NONE
    """The receiver's instance; ``NONE`` for all members."""
    challenge: bytes = NONE
    answer: bytes = NONE
    identity: Identity | None = None
    command: int = 0
    data: bytes = b""


def encode_group_message(group: str, command: int, data: bytes) -> bytes:
    """A ``MESSAGE``, as ``EasyUDPSocket`` sends it; the group is empty for one receiver."""
    return _header(Kind.MESSAGE, group) + _COMMAND.pack(command) + data


def encode(packet: Packet, key: bytes | None) -> bytes:
    """A packet of ``AutoDiscovery``, authenticated where there is a key."""
    ends = _ENDS.pack(packet.instance, packet.counter, packet.receiver)
    parts = [_header(packet.kind, packet.group), ends]
    if packet.kind in (Kind.CHALLENGE, Kind.RESPONSE):
        parts += [packet.challenge, packet.answer]
    if packet.identity is not None:
        parts += _identity(packet.identity)
    if packet.kind is Kind.GROUP_MESSAGE:
        parts += [_COMMAND.pack(packet.command), packet.data]
    body = b"".join(parts)
    if packet.identity is not None:
        body = body.ljust(PADDED_SIZE - (TAG_SIZE if key else 0), b"\0")
    return body + tag(body, key) if key else body


def tag(body: bytes, key: bytes) -> bytes:
    """What proves that the sender has the key (RFC 2104, truncated as its section 5 allows)."""
    return hmac.digest(key, body, hashlib.sha256)[:TAG_SIZE]


def _header(kind: Kind, group: str) -> bytes:
    name = group.encode()
    return _MARK + bytes((kind, len(name))) + name


def _identity(identity: Identity) -> Iterable[bytes]:
    yield _SELF.pack(_PLEASE_ANSWER if identity.please_answer else 0, identity.hold)
    yield _text(identity.name)
    yield bytes((len(identity.metadata),))
    for key, value in identity.metadata.items():
        yield _text(key)
        yield _text(value)


def _text(text: str) -> bytes:
    encoded = text.encode()
    return bytes((len(encoded),)) + encoded


def decode(datagram: bytes, key: bytes | None = None) -> Packet:
    """Read an untrusted datagram.

    Args:
        datagram: what arrived.
        key: the group's; every packet of ``AutoDiscovery`` must have been made with it, which is
            checked before anything else in the packet.

    Raises:
        PacketError: the datagram is invalid; no other error is raised, whatever it contains.
    """
    reader = _Reader(datagram)
    if reader.take(len(_MARK)) != _MARK:
        raise PacketError("not a packet of this format and version")
    number = reader.byte()
    if number not in _KINDS:
        raise PacketError(f"there is no kind {number}")
    kind = Kind(number)
    if key and kind is not Kind.MESSAGE:
        body, proof = datagram[:-TAG_SIZE], datagram[-TAG_SIZE:]
        if not hmac.compare_digest(tag(body, key), proof):
            raise PacketError("made without the key, or changed on the way")
        reader.drop(TAG_SIZE)
    group = reader.text(LONGEST_NAME)
    if kind is Kind.MESSAGE:
        return Packet(kind, group, command=reader.command(), data=reader.rest())
    instance, counter, receiver = _ENDS.unpack(reader.take(_ENDS.size))
    packet = Packet(kind, group, instance, counter, receiver)
    if kind is Kind.GROUP_MESSAGE:
        return packet._replace(command=reader.command(), data=reader.rest())
    if kind is Kind.GOODBYE:
        reader.check_end()
        return packet
    if len(datagram) < PADDED_SIZE:
        raise PacketError(f"a packet that is answered has at least {PADDED_SIZE} bytes")
    if kind is not Kind.ANNOUNCE:
        challenge, answer = reader.take(ID_SIZE), reader.take(ID_SIZE)
        packet = packet._replace(challenge=challenge, answer=answer)
    packet = packet._replace(identity=reader.identity())
    reader.check_end()
    return packet


_KINDS: Final = frozenset(Kind)


class _Reader:
    """Reads the fields of an untrusted datagram; raises ``PacketError`` if it is too short."""

    __slots__ = ("_data", "_end", "_position")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0
        self._end = len(data)

    def take(self, count: int) -> bytes:
        start, self._position = self._position, self._position + count
        if self._position > self._end:
            raise PacketError("cut short")
        return self._data[start : self._position]

    def byte(self) -> int:
        return self.take(1)[0]

    def drop(self, count: int) -> None:
        """Leave out what is at the end."""
        self._end = max(self._position, self._end - count)

    def text(self, longest: int) -> str:
        size = self.byte()
        if size > longest:
            raise PacketError("a name is too long")
        try:
            return self.take(size).decode()
        except UnicodeDecodeError:
            raise PacketError("a name is not UTF-8") from None

    def command(self) -> int:
        command: int = _COMMAND.unpack(self.take(_COMMAND.size))[0]
        if command < 0:
            raise PacketError("a negative command")
        return command

    def identity(self) -> Identity:
        flags, hold = _SELF.unpack(self.take(_SELF.size))
        name = self.text(LONGEST_NAME)
        metadata: dict[str, str] = {}
        size = 0
        for _ in range(self.byte()):
            key, value = self.text(LARGEST_METADATA), self.text(LARGEST_METADATA)
            size += len(key.encode()) + len(value.encode()) + 2
            metadata[key] = value
        if size > LARGEST_METADATA:
            raise PacketError("too much metadata")
        please_answer = bool(flags & _PLEASE_ANSWER)
        return Identity(please_answer, hold, name, MappingProxyType(metadata))

    def rest(self) -> bytes:
        return self.take(self._end - self._position)

    def check_end(self) -> None:
        """Nothing but zeros may follow."""
        if self.rest().strip(b"\0"):
            raise PacketError("something follows")
