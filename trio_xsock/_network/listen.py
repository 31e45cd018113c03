"""Listening: from a local address and a port to listening standard library sockets.

All sockets of one call listen on one port, also when the system picks it. SO_REUSEADDR
lets a server restart while old connections are in TIME_WAIT. On Linux it does not allow another
program to bind a port that is being listened on, not even for a more specific address
(socket(7)), so the port cannot be hijacked. On Windows it means something else, and
SO_EXCLUSIVEADDRUSE protects a port.
"""

from __future__ import annotations

import errno as errnos
import os
import socket as stdlib_socket
from collections.abc import Iterable, Sequence

import trio

from trio_xsock._machines.endpoint import (
    ResolvedAddress,
    address_text,
    check_address,
    check_port,
    format_endpoint,
)
from trio_xsock._platform import sockets as platform
from trio_xsock._values.errors import AddressInUseError, SocketError, translate_os_error

from .interface import NetworkInterface, bindable_addresses
from .resolve import resolve

MAXIMUM_BACKLOG = 0xFFFF
"""The largest possible one: systems cut it to their own maximum, and some count modulo 65536.

A connection beyond the backlog delays its peer just as one within the backlog that is not accepted,
so a small backlog protects nothing, and drops connections that arrive in bursts.
"""

_PORT_ATTEMPTS = 32
_NOT_ON_THIS_MACHINE = frozenset({errnos.EAFNOSUPPORT, errnos.EADDRNOTAVAIL})
_WILDCARDS = {stdlib_socket.AF_INET: "0.0.0.0", stdlib_socket.AF_INET6: "::"}
_ADVICE = {
    errnos.EADDRINUSE: "another socket has that port; choose another one, or 0 for a free one",
    errnos.EACCES: "ports below 1024 need privileges, on Linux CAP_NET_BIND_SERVICE",
    errnos.EADDRNOTAVAIL: "no interface of this machine has that address",
}


def check_backlog(backlog: object) -> int:
    """The backlog to ask the system for.

    Args:
        backlog: how many connections may wait to be accepted; ``None`` for the maximum.

    Raises:
        TypeError: it is neither ``None`` nor an ``int``.
        ValueError: it is negative.
    """
    if backlog is None:
        return MAXIMUM_BACKLOG
    if not isinstance(backlog, int) or isinstance(backlog, bool):
        raise TypeError(f"backlog must be an int or None, not {type(backlog).__name__}")
    if backlog < 0:
        raise ValueError(f"backlog must not be negative, not {backlog}")
    return min(backlog, MAXIMUM_BACKLOG)


def is_listening(sock: stdlib_socket.socket) -> bool:
    """Whether a socket listens; False once it is closed."""
    if sock.fileno() < 0:
        return False
    return bool(sock.getsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_ACCEPTCONN))


async def listen_addresses(
    host: str, port: int, *, interface: NetworkInterface | None = None
) -> list[ResolvedAddress]:
    """The addresses to listen on.

    Args:
        host: a local address or name; ``""`` for all, IPv4 and IPv6; ``"0.0.0.0"`` or
            ``"::"`` for all of one family.
        port: 0..65535.
        interface: use only the addresses of this interface.

    Returns:
        At least one address, for ``open_listeners``.

    Raises:
        NameResolutionError: ``host`` is malformed or has no address.
        InvalidPortError: the port is outside 0..65535.
        SocketError: the interface has no such address (EADDRNOTAVAIL).

    Cancellation:
        At once.
    """
    check_port(port, allow_zero=True)
    if check_address(host):
        wanted = await resolve(host, port)
    else:
        await trio.lowlevel.checkpoint()
        wanted = [ResolvedAddress(each, (text, port)) for each, text in _WILDCARDS.items()]
    if interface is None:
        return wanted
    found = _narrowed(wanted, interface, port)
    if not found:
        endpoint = format_endpoint(host, port)
        raise translate_os_error(
            OSError(errnos.EADDRNOTAVAIL, os.strerror(errnos.EADDRNOTAVAIL)),
            f"cannot listen on {endpoint}, interface {interface.name} has no such address",
        )
    return found


def _narrowed(
    wanted: Iterable[ResolvedAddress], interface: NetworkInterface, port: int
) -> list[ResolvedAddress]:
    own = bindable_addresses(interface, port)
    found: list[ResolvedAddress] = []
    for each in wanted:
        if each.address[0] == _WILDCARDS[each.family]:
            found += [one for one in own if one.family == each.family]
        elif each in own or _is_loopback_alias(each, interface):
            found.append(each)
    return found


def _is_loopback_alias(address: ResolvedAddress, interface: NetworkInterface) -> bool:
    """All of 127.0.0.0/8 belongs to the loopback interface (RFC 1122, 3.2.1.3 (g))."""
    return interface.is_loopback and address.address[0].startswith("127.")


def open_listeners(
    addresses: Iterable[ResolvedAddress], *, backlog: int | None = None, reuse_port: bool = False
) -> list[stdlib_socket.socket]:
    """Listen on all of ``addresses``, on one port.

    Addresses that this machine does not have (with IPv6 disabled, say) are skipped as long as
    there is another one. An IPv6 wildcard takes IPv6 connections only.

    Args:
        addresses: from ``listen_addresses``; all with the same port, 0 for a free one.
        backlog: how many connections may wait to be accepted; ``None`` for the maximum.
        reuse_port: allow other sockets of this user to share the port (SO_REUSEPORT, which
            makes the system distribute the connections among them).

    Returns:
        At least one listening socket: non-blocking, not inheritable. The caller owns them.

    Raises:
        AddressInUseError: the port is taken.
        InvalidPortError: the port needs privileges.
        OpenDriverError, OutOfMemoryError, SocketError: other errors. Nothing stays open.
    """
    unique = list(dict.fromkeys(addresses))
    waiting = check_backlog(backlog)
    # A free port of one family may be taken in the other; then another one is tried.
    for _ in range(_PORT_ATTEMPTS - 1 if unique[0].address[1] == 0 else 0):
        try:
            return _open_all(unique, waiting, reuse_port)
        except AddressInUseError:
            continue
    return _open_all(unique, waiting, reuse_port)


def _open_all(
    addresses: Sequence[ResolvedAddress], backlog: int, reuse_port: bool
) -> list[stdlib_socket.socket]:
    listeners: list[stdlib_socket.socket] = []
    absent: SocketError | None = None
    port = addresses[0].address[1]
    try:
        for each in addresses:
            try:
                listener = _open(each, port, backlog, reuse_port)
            except SocketError as error:
                if error.errno not in _NOT_ON_THIS_MACHINE:
                    raise
                absent = error
                continue
            listeners.append(listener)
            port = listener.getsockname()[1]
        if absent is not None and not listeners:
            raise absent
    except BaseException:
        for listener in listeners:
            listener.close()
        raise
    finally:
        del absent  # its traceback refers to this frame
    return listeners


class _ListeningSocket(stdlib_socket.socket):
    """Its ``accept``, which asks for these, need not look up a member of an enum for either."""

    __slots__ = ()

    family: int = stdlib_socket.SocketType.family  # type: ignore[assignment]
    type: int = stdlib_socket.SocketType.type  # type: ignore[assignment]


def _open(
    address: ResolvedAddress, port: int, backlog: int, reuse_port: bool
) -> stdlib_socket.socket:
    host = address.address[0]
    try:
        sock = stdlib_socket.socket(address.family, stdlib_socket.SOCK_STREAM)
        try:
            _set_options(sock, address.family, reuse_port)
            sock.bind((host, port, *address.address[2:]))
            sock.listen(backlog)
        except BaseException:
            sock.close()
            raise
    except OSError as exc:
        endpoint = format_endpoint(address_text(address.address), port)
        advice = _ADVICE.get(exc.errno or 0)
        message = f"cannot listen on {endpoint}" + (f" ({advice})" if advice else "")
        raise translate_os_error(exc, message) from exc
    if type(sock) is _ListeningSocket.__base__:  # the plain one of the standard library
        sock.__class__ = _ListeningSocket
    return sock


def _set_options(
    sock: stdlib_socket.socket, family: stdlib_socket.AddressFamily, reuse_port: bool
) -> None:
    sock.setblocking(False)
    sock.setsockopt(stdlib_socket.SOL_SOCKET, platform.RESTART_ON_PORT, 1)
    if family == stdlib_socket.AF_INET6:
        sock.setsockopt(stdlib_socket.IPPROTO_IPV6, stdlib_socket.IPV6_V6ONLY, 1)
    if reuse_port:
        if not platform.REUSE_PORT:
            raise OSError(errnos.ENOPROTOOPT, os.strerror(errnos.ENOPROTOOPT))
        sock.setsockopt(stdlib_socket.SOL_SOCKET, platform.REUSE_PORT, 1)
