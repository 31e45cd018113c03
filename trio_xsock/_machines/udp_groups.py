"""Multicast groups as values, the memberships of a socket, and the echo of its own multicasts.

A multicast goes to all members of the group, and the sender's own machine gets a copy, too, for
its other programs. The OS cannot leave out one socket, so the copy that comes back is recognised
here. Its source address is not enough: several programs on one machine may share a port, and
then all of them send from the same address.
"""

from __future__ import annotations

import hashlib
from collections import deque
from typing import Final, NamedTuple

from trio_xsock._values.errors import NameResolutionError
from trio_xsock._values.member import check_name

from .endpoint import is_multicast, literal_address

_NAMED_GROUPS: Final = "239.255"
"""The addresses that RFC 2365 keeps for the use within one site."""
_MOST_ECHOES = 4096
"""Own multicasts to remember; the OS's buffers hold fewer, and those beyond it has dropped."""


class Group(NamedTuple):
    """A multicast group and where it is joined."""

    address: str
    """The IP address, without a zone."""
    is_ipv6: bool
    zone: int
    """The interface's number if the user named one, else 0."""


def multicast_group(text: object) -> Group | None:
    """Read a group as users write it: ``"239.1.2.3"``, ``"ff02::1"``, ``"ff02::1%eth0"``.

    Args:
        text: anything.

    Returns:
        The group, or ``None`` if it is none (RFC 5771: 224.0.0.0/4; RFC 4291, 2.7: ff00::/8), or
        if there is no interface of that name.

    Raises:
        TypeError: not a str.
    """
    if not isinstance(text, str):
        raise TypeError(f"group must be a str, not {type(text).__name__}")
    try:
        address = literal_address(text, 0)
    except NameResolutionError:
        return None
    if address is None or not is_multicast(address):
        return None
    parts = address.address
    return Group(parts[0], len(parts) == 4, parts[3] if len(parts) == 4 else 0)


def group_address(group: str) -> str:
    """The multicast address of a named group, the same for everybody.

    The last two bytes are the first two of the SHA-256 of the name in UTF-8. Names may share an
    address: the name itself is in every packet, and is looked at.

    Args:
        group: its name, 1..64 bytes in UTF-8.

    Returns:
        An address in 239.255.0.0/16.

    Raises:
        ValueError, TypeError: no such name.
    """
    name = check_name("group", group, may_be_empty=False)
    third, fourth = hashlib.sha256(name.encode()).digest()[:2]
    return f"{_NAMED_GROUPS}.{third}.{fourth}"


class Memberships:
    """The groups that a socket is in, and its own multicasts that will come back to it."""

    __slots__ = ("_echoes", "_groups")

    def __init__(self) -> None:
        self._groups: dict[Group, None] = {}
        self._echoes: deque[tuple[str, bytes]] = deque(maxlen=_MOST_ECHOES)

    def __len__(self) -> int:
        return len(self._groups)

    def __contains__(self, group: Group) -> bool:
        return group in self._groups

    def joined(self) -> list[Group]:
        """The groups, in the order in which they were joined."""
        return list(self._groups)

    def add(self, group: Group) -> None:
        """The socket has joined."""
        self._groups[group] = None

    def remove(self, group: Group) -> None:
        """The socket has left."""
        del self._groups[group]

    def clear(self) -> None:
        """The socket is closed."""
        self._groups.clear()
        self._echoes.clear()

    def expect_echo(self, address: str, data: bytes) -> None:
        """The socket has sent ``data`` to a group and to its own port."""
        if any(group.address == address for group in self._groups):
            self._echoes.append((address, data))

    @property
    def echoes_expected(self) -> bool:
        """Whether any multicast of ours may still come back."""
        return bool(self._echoes)

    def find_echo(self, address: str, data: bytes, *, some_lost: bool) -> int | None:
        """Where among the multicasts that may come back this one stands, if it does.

        Args:
            address: the group's; ``""`` if the OS does not tell where it was sent to.
            data: what it carries.
            some_lost: the OS has dropped something. Otherwise it can only be the first, because
                the order is kept; another one like it is of a program with our address and port.
        """
        if not self._echoes:
            return None
        for place, (group, sent) in enumerate(self._echoes):
            if sent == data and address in (group, ""):
                return place
            if not some_lost:
                break
        return None

    def forget_echo(self, place: int) -> None:
        """The echo has come back.

        It, and the multicasts sent before it, need not be remembered: the order is kept, so the
        OS has dropped those that have not come back yet.
        """
        for _ in range(place + 1):
            self._echoes.popleft()
