"""Proxies in front of a server: which ones are trusted, and how their headers are read."""

from __future__ import annotations

import ipaddress
import socket as stdlib_socket
from collections.abc import Iterable
from typing import Any, Final, TypeAlias

import trio

from trio_xsock._machines.endpoint import address_text
from trio_xsock._machines.proxy_protocol import ProxyHeaderParser, ProxyProtocolError
from trio_xsock._runtime.guard import protect_from_ki
from trio_xsock._values.typing import Address

from .transport import Transport

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_OBJECTS: Final = (
    ipaddress.IPv4Address,
    ipaddress.IPv6Address,
    ipaddress.IPv4Network,
    ipaddress.IPv6Network,
)

THIS_MACHINE: Final = ("127.0.0.0/8", "::1")

_AT_ONCE = 512
"""Bytes peeked at in one call; a header seldom has more than 60."""


def check_trusted_proxies(proxies: Any) -> tuple[Network, ...]:
    """The networks that proxies may speak from.

    Args:
        proxies: IP addresses and networks (``"10.1.0.0/16"``), as text or objects of
            ``ipaddress``.

    Raises:
        TypeError: not a series of them.
        ValueError: one of them is no address, or there is none.
    """
    if isinstance(proxies, str | bytes) or not isinstance(proxies, Iterable):
        raise TypeError(f"trusted_proxies must be a series of networks, not {proxies!r}")
    networks: list[Network] = []
    each: Any
    for each in proxies:  # pyright: ignore[reportUnknownVariableType]
        if not isinstance(each, (str, *_OBJECTS)):
            raise TypeError(f"trusted_proxies must be IP addresses and networks, not {each!r}")
        try:
            networks.append(ipaddress.ip_network(each, strict=False))
        except ValueError as exc:
            raise ValueError(f"trusted_proxies: {exc}") from None
    if not networks:
        raise ValueError("trusted_proxies must name at least one address or network")
    return tuple(networks)


def is_trusted(peer: Address, networks: Iterable[Network]) -> bool:
    """Whether ``peer``, as ``accept`` gave it, is in one of the networks."""
    try:
        address = ipaddress.ip_address(address_text(peer))
    except ValueError:  # that of a Unix socket's peer
        return False
    return any(address in network for network in networks)


@protect_from_ki
class HeaderReader:
    """Reads a proxy's header from a new connection, and not one byte more.

    Args:
        sock: connected and non-blocking; it stays the caller's.
        peer: the proxy's address.

    Attributes:
        sock: as above.
    """

    __slots__ = ("_parser", "_peer", "sock")

    def __init__(self, sock: Transport, peer: Address) -> None:
        self.sock = sock
        self._peer = peer
        self._parser = ProxyHeaderParser()

    @property
    def peer(self) -> Address:
        """The address of the client, or of the proxy if it speaks for itself."""
        header = self._parser.header
        return self._peer if header is None or header.source is None else header.source

    def step(self) -> bool:
        """Read what has arrived; return whether the header is complete.

        Raises:
            ProxyProtocolError: it is invalid, or the input ended first.
            OSError: the connection is lost.
        """
        parser = self._parser
        while parser.header is None:
            try:
                data = self.sock.recv(_AT_ONCE, stdlib_socket.MSG_PEEK)
            except (BlockingIOError, InterruptedError):
                return False
            if not data:
                raise ProxyProtocolError("the connection ended before its header")
            self.sock.recv(parser.feed(data))
        return True

    async def read(self) -> None:  # noqa: ASYNC910 - it may be there by now
        """Wait until the header is complete; raises what ``step`` does.

        Cancellation: what was read is lost; close the connection.
        """
        while not self.step():
            await trio.lowlevel.wait_readable(self.sock)
