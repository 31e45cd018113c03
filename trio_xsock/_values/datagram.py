"""``Datagram``: one packet, and the address of its other end."""

from __future__ import annotations

import functools
import ipaddress
from dataclasses import dataclass, field
from typing import Any

from .errors import InvalidPortError

_MOST_PORTS = 65536


@dataclass(frozen=True, slots=True, init=False)
class Datagram:
    """One UDP datagram. Xojo: ``Datagram``.

    ``sock.write(dataclasses.replace(datagram, data=b"answer"))`` answers a datagram that was
    received: it goes to the sender, from the address that the sender had asked.

    Raises (construction):
        TypeError: an argument of a wrong type.
        InvalidPortError: ``port`` is outside 1..65535.
        ValueError: ``local_address`` is no IP address.
    """

    address: str
    """The sender's address if the datagram was received, else the receiver's: an IP address, with
    ``%zone`` if it is IPv6 link-local. ``UDPSocket.send`` takes a host name too."""
    port: int
    """The port at that address, 1..65535."""
    data: bytes
    """The content: 0 to 65507 bytes over IPv4, 65527 over IPv6 (RFC 768, RFC 8200)."""
    local_address: str = field(default="", compare=False)
    """Our own IP address. If it was received: the address that it was sent to, which may be that
    of a group or a broadcast; ``""`` where the OS does not tell. If it is sent: the address that
    it leaves from; with ``""``, a group or a broadcast the OS chooses. Not part of equality:
    datagrams are equal if their other end and their data are."""

    def __init__(self, address: str, port: int, data: bytes, local_address: str = "") -> None:
        # What a dataclass does by itself, in 40 % less time: there is one for each packet.
        if (
            type(address) is not str
            or type(port) is not int
            or not 0 < port < _MOST_PORTS
            or type(data) is not bytes
            or local_address != ""
        ):
            _check(address, port, data, local_address)
        _set_address(self, address)
        _set_port(self, port)
        _set_data(self, data)
        _set_local_address(self, local_address)


_set_address, _set_port, _set_data, _set_local_address = (
    vars(Datagram)[name].__set__ for name in ("address", "port", "data", "local_address")
)


class _Mutable:
    """A ``Datagram`` that is not frozen yet; the slots are the same."""

    __slots__ = ("address", "data", "local_address", "port")

    address: str
    port: int
    data: bytes
    local_address: str


def received_datagram(address: str, port: int, data: bytes, local_address: str) -> Datagram:
    """A datagram of values that need no check, because the OS gave them."""
    # Frozen by changing the class, which takes a third of the time that the setters above take.
    received: Any = _Mutable()
    received.address = address
    received.port = port
    received.data = data
    received.local_address = local_address
    received.__class__ = Datagram
    datagram: Datagram = received
    return datagram


def check_datagram(datagram: object) -> None:
    """Refuse what is no ``Datagram``, such as a tuple of its parts; raises ``TypeError``."""
    if not isinstance(datagram, Datagram):
        raise TypeError(f"a Datagram is needed, not {type(datagram).__name__}")


def _check(address: object, port: object, data: object, local_address: object) -> None:
    for name, value, kind in (
        ("address", address, str),
        ("port", port, int),
        ("data", data, bytes),
        ("local_address", local_address, str),
    ):
        if not isinstance(value, kind) or isinstance(value, bool):
            raise TypeError(f"{name} must be {kind.__name__}, not {type(value).__name__}")
    assert isinstance(port, int)
    if not 0 < port < _MOST_PORTS:
        raise InvalidPortError(f"port must be in 1..{_MOST_PORTS - 1}, not {port}")
    assert isinstance(local_address, str)
    if local_address:
        _check_local_address(local_address)


@functools.lru_cache(256)
def _check_local_address(text: str) -> None:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        raise ValueError(f"local_address must be an IP address or '', not {text[:80]!a}") from None
