"""Routes: the remote and local addresses of a connection, chosen before a socket is opened."""

from __future__ import annotations

import errno as errnos
import socket as stdlib_socket
from collections.abc import Sequence
from itertools import zip_longest
from typing import NamedTuple

from trio_xsock._machines.endpoint import (
    ResolvedAddress,
    address_text,
    check_port,
    format_endpoint,
    is_link_local,
    literal_address,
    packed_address,
)
from trio_xsock._values.errors import InvalidPortError
from trio_xsock._values.typing import Address

from .interface import NetworkInterface, bindable_addresses

_WILDCARDS = {stdlib_socket.AF_INET: "0.0.0.0", stdlib_socket.AF_INET6: "::"}


class Origin(NamedTuple):
    """Where to connect from.

    Attributes:
        address: a local IP address, or ``""`` for the OS's choice.
        port: a local port, 0 for the OS's choice.
        interface: connect from this interface's addresses only.
    """

    address: str = ""
    port: int = 0
    interface: NetworkInterface | None = None


def check_bind_address(address: object) -> str:
    """Raise unless ``address`` is an IP address, before any I/O.

    Args:
        address: what the user gave: an IP address, or ``""``.

    Returns:
        The address.

    Raises:
        TypeError: it is not a ``str``.
        ValueError: it is no IP address.
    """
    if not isinstance(address, str):
        raise TypeError(f"bind_address must be a str, not {type(address).__name__}")
    if address and not packed_address(address):
        raise ValueError(f"bind_address must be an IP address of this machine, not {address!a}")
    return address


def check_bind_port(port: object) -> int:
    """Raise unless ``port`` is a port, before any I/O.

    Raises:
        TypeError: it is not an ``int``.
        InvalidPortError: it is outside 0..65535.
    """
    try:
        return check_port(port, allow_zero=True)
    except (TypeError, InvalidPortError) as error:
        raise type(error)(f"bind_{error}") from None


class Route(NamedTuple):
    """Where to connect to, and the local address to bind to before that, if any."""

    target: ResolvedAddress
    source: Address | None


def plan(addresses: Sequence[ResolvedAddress], origin: Origin) -> tuple[list[Route], list[OSError]]:
    """The routes in the order in which to try them, and the errors of addresses without one."""
    routes: list[Route] = []
    errors: list[OSError] = []
    for target in _interleaved(addresses):
        route = _route(target, origin)
        if isinstance(route, OSError):
            errors.append(route)
        else:
            routes.append(route)
    return routes, errors


def _interleaved(addresses: Sequence[ResolvedAddress]) -> list[ResolvedAddress]:
    """Families alternate, beginning with that of the first address (RFC 8305, 4)."""
    families: dict[int, list[ResolvedAddress]] = {}
    for each in addresses:
        families.setdefault(each.family, []).append(each)
    rounds = zip_longest(*families.values())
    return [each for turn in rounds for each in turn if each is not None]


def _route(target: ResolvedAddress, origin: Origin) -> Route | OSError:
    source = _source(target, origin)
    if isinstance(source, OSError):
        return source
    if is_link_local(target) and not target.address[-1]:
        if source is None or not source[-1]:
            text = f"a link-local address needs its zone, as in {target.address[0]}%eth0"
            return attempt_error(errnos.EINVAL, target.address, text)
        target = target._replace(address=(*target.address[:3], source[-1]))
    return Route(target, source)


def _source(target: ResolvedAddress, origin: Origin) -> Address | OSError | None:
    """The local address to bind to; an ``OSError`` if there is none for this target."""
    interface = origin.interface
    if origin.address:
        own = literal_address(origin.address, origin.port)
        assert own is not None  # for it was checked
        if own.family != target.family:
            text = f"it cannot be reached from bind_address {origin.address}, of another family"
            return attempt_error(errnos.EADDRNOTAVAIL, target.address, text)
        if interface is None or _has(interface, own):
            return own.address
        text = f"interface {interface.name} has no bind_address {origin.address}"
        return attempt_error(errnos.EADDRNOTAVAIL, target.address, text)
    if interface is not None:
        source = _source_of(interface, target, origin.port)
        if source is not None:
            return source
        text = f"interface {interface.name} has no address to reach it from"
        return attempt_error(errnos.EADDRNOTAVAIL, target.address, text)
    if not origin.port:
        return None
    wildcard = _WILDCARDS[target.family]
    if target.family == stdlib_socket.AF_INET6:
        return wildcard, origin.port, 0, 0
    return wildcard, origin.port


def _has(interface: NetworkInterface, own: ResolvedAddress) -> bool:
    there = (each.address[0] for each in bindable_addresses(interface, 0))
    # All of 127.0.0.0/8 belongs to the loopback interface (RFC 1122, 3.2.1.3 (g)).
    alias = interface.is_loopback and own.address[0].startswith("127.")
    return alias or own.address[0] in there


def _source_of(interface: NetworkInterface, target: ResolvedAddress, port: int) -> Address | None:
    """The interface's address to connect from; link-local ones reach only each other.

    (RFC 4291, 2.5.6: routers do not forward packets from a link-local address.)
    """
    for each in bindable_addresses(interface, port):
        if each.family == target.family and is_link_local(each) == is_link_local(target):
            return each.address
    return None


def attempt_error(code: int | None, address: Address, text: str) -> OSError:
    """A failed attempt as an ``OSError`` of the class that fits ``code``, naming its address."""
    endpoint = format_endpoint(address_text(address), address[1])
    return OSError(code or 0, f"{endpoint}: {text}")
