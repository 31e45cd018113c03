"""Ports, addresses and endpoints as values: how they are checked, and how they are shown.

Nothing here does I/O. Ports are checked here because the ``socket`` module takes some of
them modulo 65536. IP addresses are parsed here because only names should cost a thread.
"""

from __future__ import annotations

import socket as stdlib_socket
from typing import NamedTuple

from trio_xsock._values.errors import InvalidPortError, NameResolutionError
from trio_xsock._values.typing import Address

MAXIMUM_PORT = 65535
_SHOWN_CHARACTERS = 80
_MAPPED = bytes(10) + b"\xff\xff"


class ResolvedAddress(NamedTuple):
    """A numeric address and its family, as ``socket.socket`` and ``bind`` want them."""

    family: stdlib_socket.AddressFamily
    address: Address


def check_port(port: object, *, allow_zero: bool, host: str = "") -> int:
    """Refuse what is not a port, before any I/O.

    Args:
        port: what the user gave.
        allow_zero: whether 0, "let the operating system pick one", makes sense here.
        host: where the port is, for the text.

    Returns:
        The port.

    Raises:
        TypeError: it is not an ``int`` (a ``bool`` is none).
        InvalidPortError: it is outside the range, which the text names.
    """
    if type(port) is int and 0 <= port <= MAXIMUM_PORT and (port or allow_zero):
        return port  # the usual case
    if not isinstance(port, int) or isinstance(port, bool):
        raise TypeError(f"port must be an int, not {type(port).__name__}")
    lowest = 0 if allow_zero else 1
    if not lowest <= port <= MAXIMUM_PORT:
        where = f" (of {shown(host)})" if host else ""
        raise InvalidPortError(f"port must be in {lowest}..{MAXIMUM_PORT}, not {port}{where}")
    return port


def check_address(address: object) -> str:
    """Raise unless an address is a ``str``; whether it is valid is found out by resolving it.

    Args:
        address: what the user gave: a host name, an IP address or ``""``.

    Returns:
        The address.

    Raises:
        TypeError: it is not a ``str``.
    """
    if not isinstance(address, str):
        raise TypeError(f"address must be a str, not {type(address).__name__}")
    return address


def shown(host: str) -> str:
    """``host`` in quotes for a message: printable, and not too long."""
    if len(host) <= _SHOWN_CHARACTERS:
        return ascii(host)
    return f"{host[:_SHOWN_CHARACTERS]!a}... ({len(host)} characters)"


def format_endpoint(host: str, port: int) -> str:
    """``host:port``, with IPv6 addresses in brackets as in URLs (RFC 3986, 3.2.2)."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def address_text(address: Address) -> str:
    """The IP address of a socket address, as users see it.

    Mapped IPv4 addresses (``::ffff:192.0.2.1``, RFC 4291, 2.5.5.2) are shown as IPv4,
    and link-local ones keep the zone without which they cannot be answered (RFC 4007, 11).

    Args:
        address: what ``getsockname``, ``accept`` or ``recvfrom`` gave.

    Returns:
        The text; ``literal_address`` reads it back.
    """
    host = address[0]
    if host.startswith("::ffff:") and "." in host:
        return host.removeprefix("::ffff:")
    if len(address) == 2 or not address[3] or "%" in host:
        return host
    return f"{host}%{_zone_name(address[3])}"


def _zone_name(index: int) -> str:
    try:
        return stdlib_socket.if_indextoname(index)
    except OSError:  # the interface is gone; its number still tells zones apart
        return str(index)


def literal_address(host: str, port: int) -> ResolvedAddress | None:
    """Read an IPv4 or IPv6 address, the latter with or without ``%zone``.

    Mapped IPv4 addresses become IPv4 ones: they mean the same peer, and work on
    machines without IPv6 too.

    Args:
        host: an address, or anything else.
        port: the port of the result.

    Returns:
        The address, or ``None`` when ``host`` is no IP address.

    Raises:
        NameResolutionError: it is one, but no interface is called like its zone.
    """
    if _packed(stdlib_socket.AF_INET, host):
        return ResolvedAddress(stdlib_socket.AF_INET, (host, port))
    bare, percent, zone = host.partition("%")
    packed = _packed(stdlib_socket.AF_INET6, bare)
    if not packed:
        return None
    if packed.startswith(_MAPPED):
        mapped = stdlib_socket.inet_ntop(stdlib_socket.AF_INET, packed[len(_MAPPED) :])
        return ResolvedAddress(stdlib_socket.AF_INET, (mapped, port))
    text = stdlib_socket.inet_ntop(stdlib_socket.AF_INET6, packed)
    scope = _zone_index(host, zone) if percent else 0
    return ResolvedAddress(stdlib_socket.AF_INET6, (text, port, 0, scope))


def ip_address(address: object) -> str:
    """An IP address as the sender of a datagram is shown.

    Raises:
        TypeError: it is not a str.
        NameResolutionError: it is no IP address.
    """
    text = check_address(address)
    literal = literal_address(text, 0)
    if literal is None:
        raise NameResolutionError(f"an IP address is needed here, not {shown(text)}")
    return address_text(literal.address)


def is_link_local(address: ResolvedAddress) -> bool:
    """Whether ``address`` is an IPv6 one that needs a zone (fe80::/10)."""
    if address.family != stdlib_socket.AF_INET6:
        return False
    packed = _packed(stdlib_socket.AF_INET6, address.address[0])
    return packed[:1] == b"\xfe" and packed[1] & 0xC0 == 0x80


def packed_address(text: str) -> bytes:
    """An IP address, with or without a zone, in network byte order: 4 or 16 bytes.

    Args:
        text: the address; anything else gives no bytes at all.
    """
    bare = text.partition("%")[0]
    return _packed(stdlib_socket.AF_INET, bare) or _packed(stdlib_socket.AF_INET6, bare)


def is_multicast(address: ResolvedAddress) -> bool:
    """Whether ``address`` is a group's (RFC 5771: 224.0.0.0/4; RFC 4291, 2.7: ff00::/8)."""
    first = _packed(address.family, address.address[0])[0]
    if address.family == stdlib_socket.AF_INET6:
        return first == 0xFF
    return first >> 4 == 0xE


def _packed(family: stdlib_socket.AddressFamily, text: str) -> bytes:
    """The address in network byte order; empty if ``text`` is none of this family."""
    try:
        return stdlib_socket.inet_pton(family, text)
    except (OSError, ValueError):  # ValueError: NUL or a lone surrogate inside
        return b""


def _zone_index(host: str, zone: str) -> int:
    try:
        return stdlib_socket.if_nametoindex(zone)
    except (OSError, ValueError) as exc:
        if zone.isascii() and zone.isdigit() and len(zone) < 10:  # fits into 32 bits
            return int(zone)
        raise NameResolutionError(
            f"address {shown(host)} names no interface of this machine after the '%'"
        ) from exc
