"""The errors that say why something is not possible on a datagram port."""

from __future__ import annotations

import errno as errnos
from typing import Protocol

from trio_xsock._machines.endpoint import address_text, format_endpoint
from trio_xsock._network.interface import NetworkInterface
from trio_xsock._network.udp_port import Port
from trio_xsock._runtime.keeper import Keeper
from trio_xsock._values.errors import (
    InvalidStateError,
    OutOfMemoryError,
    SocketClosedError,
    SocketError,
    describe,
)
from trio_xsock._values.typing import Address

from .reasons import socket_closed

_NO_MEMORY = frozenset({errnos.ENOMEM, errnos.ENOBUFS})
_ADVICE = {
    errnos.EMSGSIZE: "too large for a datagram, nothing was sent: 65507 bytes is the most over "
    "IPv4, 65527 over IPv6",
    errnos.ENETUNREACH: "check the routes, and local_address where it is set; for multicasts and "
    "255.255.255.255, network_interface",
    errnos.EAFNOSUPPORT: "the socket is bound to an address of the other family",
    errnos.EINVAL: "local_address, where it is set, must be one of this machine that reaches it",
    errnos.EPERM: "a firewall on this machine forbids it",
}


class Facts(Protocol):
    """The facts about a ``DatagramPort`` that the errors need; see there."""

    @property
    def bound(self) -> Port | None: ...
    @property
    def closed_by_us(self) -> bool: ...
    @property
    def keeper(self) -> Keeper | None: ...


def closed_error(
    port: Facts, who: object, what: str = "the socket was closed"
) -> SocketClosedError:
    """The error that says that we closed it.

    Args:
        port: the facts.
        who: the socket, for the message.
        what: what happened.
    """
    return socket_closed(port.keeper, who, what, "bind()")


def why_not_bound(port: Facts, who: object) -> InvalidStateError:
    """Why the port cannot be used; to be called only if it cannot."""
    if port.closed_by_us:
        return closed_error(port, who)
    if port.keeper is None:
        return InvalidStateError(f"{who!r}: not bound; use `async with`, then bind()")
    return InvalidStateError(f"{who!r}: not bound; `await bind()` first")


def check_bound(port: Facts, who: object) -> Port:
    """The port of the network; raises if it cannot be used.

    Args:
        port: the facts.
        who: the socket, for the message.
    """
    bound = port.bound
    if bound is None or port.closed_by_us:
        raise why_not_bound(port, who)
    return bound


def not_sent(exc: OSError, address: Address) -> SocketError:
    """The error for a datagram that the OS refused, with what may help."""
    kind = OutOfMemoryError if exc.errno in _NO_MEMORY else SocketError
    where = format_endpoint(address_text(address), address[1])
    advice = _ADVICE.get(exc.errno or 0)
    text = f"cannot send to {where}: {describe(exc)}" + (f" ({advice})" if advice else "")
    return kind(text, errno=exc.errno)


def not_heard(exc: OSError, interface: NetworkInterface | None, who: object) -> SocketError:
    """The error for groups that could not be joined again.

    Args:
        exc: the error of the OS.
        interface: the one that was chosen, if one was.
        who: the socket, for the message.
    """
    by = f" on {interface.name}" if interface else ""
    text = (
        f"{who!r}: groups cannot be heard{by}: {describe(exc)}; they are joined again when the "
        "network is back"
    )
    return SocketError(text, errno=exc.errno)
