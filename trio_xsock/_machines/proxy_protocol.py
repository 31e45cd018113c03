"""The PROXY protocol, versions 1 and 2: a proxy's header about the client that it speaks for.

A proxy opens a connection to us for each of its clients and sends a header first: a line of text
(version 1) or a binary block (version 2). Source: "The PROXY protocol", Willy Tarreau,
haproxy.org/download/2.9/doc/proxy-protocol.txt.

Nothing here does I/O. ``feed`` takes what has arrived and returns how much of it was the header's;
what follows belongs to the connection. However the bytes are split, and whatever they are, no
more than some hundred of them are stored.
"""

from __future__ import annotations

import ipaddress
import re
import struct
from typing import Final, NamedTuple

_V1_BEGIN: Final = b"PROXY "
_V1_LONGEST: Final = 107
"""Bytes, with the line's end."""
_V1_FAMILIES: Final = {"TCP4": 4, "TCP6": 6}
_V1_PORT: Final = re.compile(r"0|[1-9][0-9]{0,4}")

_V2_BEGIN: Final = b"\r\n\r\n\0\r\nQUIT\n"
_V2_FIXED: Final = 16
_LOCAL: Final = 0x20
_PROXY: Final = 0x21
_V2_FAMILIES: Final = {0x00: "", 0x11: "4s4sHH", 0x12: "4s4sHH", 0x21: "16s16sHH", 0x22: "16s16sHH"}
"""How the addresses are packed, by family and transport; nothing where there are none of IP's."""
_V2_UNIX: Final = {0x31: 216, 0x32: 216}
"""Bytes that addresses of Unix sockets take; they are skipped."""


class ProxyProtocolError(Exception):
    """The input is not a valid header; its connection has to be closed."""


class ProxyHeader(NamedTuple):
    """A proxy's description of the connection that it passes on."""

    version: int
    """1 or 2."""
    source: tuple[str, int] | None = None
    """The client's IP address and port; ``None`` where the proxy speaks for itself, as its
    health checks do, or does not know."""
    destination: tuple[str, int] | None = None
    """The address and port that the client connected to."""


class ProxyHeaderParser:
    """Reads one header from the beginning of a connection.

    Attributes:
        header: what it said, once it is complete.
    """

    __slots__ = ("_left", "_seen", "header")

    def __init__(self) -> None:
        self.header: ProxyHeader | None = None
        self._seen = b""
        self._left = 0  # bytes of a header of version 2 that are still to be skipped

    def feed(self, data: bytes) -> int:
        """Parse what has arrived.

        Args:
            data: the bytes that follow those passed so far; at least one.

        Returns:
            How many of them are the header's: all of them while ``header`` is ``None``; then the
            caller calls again with the next bytes.

        Raises:
            ProxyProtocolError: the bytes are not a valid header.
        """
        if self._left:
            return self._skip(data)
        before = self._seen
        seen = before + data[:_V1_LONGEST]
        if _begins_alike(seen, _V1_BEGIN):
            used = self._feed_line(seen) - len(before)
        elif _begins_alike(seen, _V2_BEGIN):
            used = self._feed_block(seen) - len(before)
        else:
            raise ProxyProtocolError(f"no header of the PROXY protocol: {seen[:16]!r}")
        return used + self._skip(data[used:])

    def _skip(self, data: bytes) -> int:
        """Skip the part of a header of version 2 that is not used."""
        if not self._left:
            return 0
        used = min(self._left, len(data))
        self._left -= used
        if not self._left:
            self.header, self._seen = _parse_block(self._seen), b""
        return used

    # Version 1

    def _feed_line(self, seen: bytes) -> int:
        end = seen.find(b"\r\n", 0, _V1_LONGEST) + 2
        if end >= 2:
            self.header, self._seen = _parse_line(seen[: end - 2]), b""
            return end
        if len(seen) >= _V1_LONGEST:
            raise ProxyProtocolError(f"a header of version 1 does not end: {seen!r}")
        self._seen = seen
        return len(seen)

    # Version 2

    def _feed_block(self, seen: bytes) -> int:
        total, wanted = _measure_block(seen) if len(seen) >= _V2_FIXED else (0, _V2_FIXED)
        if len(seen) < wanted:
            self._seen = seen
            return len(seen)
        if total > wanted:
            self._seen, self._left = seen[:wanted], total - wanted
        else:
            self.header, self._seen = _parse_block(seen), b""
        return wanted


def _begins_alike(seen: bytes, beginning: bytes) -> bool:
    size = min(len(seen), len(beginning))
    return seen[:size] == beginning[:size]


def _parse_line(line: bytes) -> ProxyHeader:
    try:
        fields = line.decode("ascii").split(" ")
    except UnicodeDecodeError:
        raise ProxyProtocolError(f"a header of version 1 is no text: {line!r}") from None
    if fields[1] == "UNKNOWN":
        return ProxyHeader(1)
    version = _V1_FAMILIES.get(fields[1])
    if version is None or len(fields) != 6:
        raise ProxyProtocolError(f"a header of version 1 makes no sense: {line!r}")
    try:
        source, destination = (_checked_address(text, version) for text in fields[2:4])
        ports = [_checked_port(text) for text in fields[4:]]
    except ValueError as exc:
        raise ProxyProtocolError(f"a header of version 1 makes no sense: {exc}") from None
    return ProxyHeader(1, (source, ports[0]), (destination, ports[1]))


def _checked_address(text: str, version: int) -> str:
    address = ipaddress.ip_address(text)
    if address.version != version or "%" in text:
        raise ValueError(f"{text!r} is no address of the family it names")
    return _text(address)


def _text(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """An address as users see it: a mapped IPv4 one (RFC 4291, 2.5.5.2) is an IPv4 address."""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def _checked_port(text: str) -> int:
    if not _V1_PORT.fullmatch(text) or int(text) > 65535:
        raise ValueError(f"{text!r} is no port")
    return int(text)


def _measure_block(seen: bytes) -> tuple[int, int]:
    """How long a header of version 2 is, and how much of it is used."""
    command, family, length = struct.unpack_from("!BBH", seen, len(_V2_BEGIN))
    if command not in (_LOCAL, _PROXY):
        raise ProxyProtocolError(f"version and command {command:#04x} are not known")
    if command == _LOCAL:
        return _V2_FIXED + length, _V2_FIXED
    packing = _V2_FAMILIES.get(family, "")
    if family not in _V2_FAMILIES and family not in _V2_UNIX:
        raise ProxyProtocolError(f"address family and transport {family:#04x} are not known")
    size = struct.calcsize("!" + packing)
    if length < _V2_UNIX.get(family, size):
        raise ProxyProtocolError(f"{length} bytes do not hold addresses of kind {family:#04x}")
    return _V2_FIXED + length, _V2_FIXED + size


def _parse_block(seen: bytes) -> ProxyHeader:
    command, family = seen[12], seen[13]
    packing = _V2_FAMILIES.get(family, "")
    if command == _LOCAL or not packing:
        return ProxyHeader(2)
    source, destination, source_port, destination_port = struct.unpack_from(
        "!" + packing, seen, _V2_FIXED
    )
    return ProxyHeader(
        2,
        (_text(ipaddress.ip_address(source)), source_port),
        (_text(ipaddress.ip_address(destination)), destination_port),
    )
