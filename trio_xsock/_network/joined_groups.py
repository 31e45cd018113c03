"""The multicast groups that one socket of the OS has joined, and joining them again.

The OS ties a membership to the number of an interface. When the interface is removed the
membership is lost, and when it is made again it has another number. Without a chosen interface
the OS picks the one of the route at the moment of joining, and does not follow the routes later.
"""

from __future__ import annotations

import contextlib
import errno as errnos
import os
import socket as stdlib_socket
from collections.abc import Callable
from typing import NamedTuple

from trio_xsock._machines.endpoint import address_text
from trio_xsock._machines.udp_groups import Group

from . import udp_options as options
from .interface import interface_of

_ANY_PORT = 9
_SITE = 5


class Place(NamedTuple):
    """Where a group is joined."""

    source: str
    """IPv4: the address of the interface to join at, ``""`` for none."""
    number: int
    """The number of the interface to join at; 0 if ``source`` or the routes decide."""
    owner: int
    """The number of the interface that this resolves to now."""


class _Joined(NamedTuple):
    """A membership."""

    group: Group
    """The group with the zone's present number."""
    zone: str
    """The name of the interface in the group's zone, ``""`` without a zone."""
    place: Place
    """Where it was joined."""
    is_lost: bool = False
    """Whether that place was not found since; then the OS may have dropped the membership."""


class JoinedGroups:
    """The memberships of one socket.

    Args:
        sock: the socket.
        locate: returns the place where the socket should join a group now, or raises
            ``OSError``.
    """

    __slots__ = ("_joined", "_locate", "_sock")

    def __init__(self, sock: stdlib_socket.socket, locate: Callable[[Group, str], Place]) -> None:
        self._sock = sock
        self._locate = locate
        self._joined: dict[Group, _Joined] = {}

    def __len__(self) -> int:
        return len(self._joined)

    def join(self, group: Group) -> None:
        """Join a group.

        Raises:
            OSError: what the OS says.
        """
        zone = ""
        if group.zone:
            with contextlib.suppress(OSError):
                zone = stdlib_socket.if_indextoname(group.zone)
        place = self._locate(group, zone)
        options.join(self._sock, group, place.source, place.number)
        self._joined[group] = _Joined(group, zone, place)

    def leave(self, group: Group) -> None:
        """Leave a group; nothing if it was not joined; never raises."""
        joined = self._joined.pop(group, None)
        if joined is not None:
            self._drop(joined)

    def _drop(self, joined: _Joined) -> None:
        # By number: without one Linux would use the interface of the present route.
        with contextlib.suppress(OSError):  # its interface has gone
            options.leave(self._sock, joined.group, "", joined.place.owner)

    def renew(self) -> OSError | None:
        """Join those groups again whose interface has changed since they were joined.

        Returns:
            Why a group cannot be joined now, ``None`` if all are joined.
        """
        trouble: OSError | None = None
        for key, joined in self._joined.items():
            try:
                self._joined[key] = self._renewed(joined)
            except OSError as exc:
                # The membership is kept: the lookup may have failed for another reason.
                trouble = exc
                self._joined[key] = joined._replace(is_lost=True)
        return trouble

    def _renewed(self, joined: _Joined) -> _Joined:
        group = joined.group
        place = self._locate(group, joined.zone)
        if place == joined.place and not joined.is_lost:
            return joined
        self._drop(joined)
        if joined.zone:
            group = group._replace(zone=place.owner)
        options.join(self._sock, group, place.source, place.number)
        return _Joined(group, joined.zone, place)


def route_owner(group: Group) -> int:
    """The number of the interface by which the routes lead to a group.

    Raises:
        OSError: there is no route, or its interface is going away.
    """
    family = stdlib_socket.AF_INET6 if group.is_ipv6 else stdlib_socket.AF_INET
    with stdlib_socket.socket(family, stdlib_socket.SOCK_DGRAM) as probe:
        probe.connect((_routed_address(group), _ANY_PORT))  # looks up the route; nothing is sent
        return address_owner(address_text(probe.getsockname()))


def _routed_address(group: Group) -> str:
    """An address with the same route as the group.

    The OS does not look up those of one interface or link (RFC 4291, 2.7: ff01, ff02) without a
    zone, although it joins them by the route.
    """
    if not group.is_ipv6:
        return group.address
    packed = stdlib_socket.inet_pton(stdlib_socket.AF_INET6, group.address)
    flags, scope = packed[1] & 0xF0, packed[1] & 0x0F
    packed = bytes([packed[0], flags | max(scope, _SITE)]) + packed[2:]
    return stdlib_socket.inet_ntop(stdlib_socket.AF_INET6, packed)


def address_owner(address: str) -> int:
    """The number of the interface that has an address.

    Raises:
        OSError: none has it.
    """
    owner = interface_of(address)
    if owner is None:
        raise OSError(errnos.EADDRNOTAVAIL, os.strerror(errnos.EADDRNOTAVAIL), address)
    return stdlib_socket.if_nametoindex(owner.name)
