"""Connecting by one route: a socket, bound if need be, that connects to one address."""

from __future__ import annotations

import errno as errnos
import os
import socket as stdlib_socket
from collections.abc import Callable
from typing import NamedTuple, Protocol

import trio

from trio_xsock._machines.endpoint import (
    address_text,
    check_address,
    check_port,
    format_endpoint,
    literal_address,
)
from trio_xsock._platform import sockets as platform
from trio_xsock._values.errors import describe
from trio_xsock._values.typing import Address

from .routes import Origin, Route, attempt_error, plan

_IN_PROGRESS = frozenset({0, errnos.EINPROGRESS, errnos.EWOULDBLOCK})
# Of an established connection. A refused one, by a reset too, fails with ECONNREFUSED.
_RESET_SINCE = frozenset({errnos.ECONNRESET, errnos.EPIPE})


class Closeable(Protocol):
    """A socket, or a transport."""

    def close(self) -> None: ...


class Begun(NamedTuple):
    """An attempt that has begun, where no other is to be made."""

    route: Route
    started: stdlib_socket.socket | OSError
    """The socket, or why there is none."""

    def connected(self) -> stdlib_socket.socket | None:
        """The socket if it is connected already, as those to peers of this machine mostly are."""
        sock = self.started
        if isinstance(sock, OSError) or not _is_up(sock):
            return None
        try:
            return None if _is_self_connected(sock, self.route.target.address) else sock
        except OSError:
            return None


def begin(host: str, port: int, origin: Origin) -> Begun | None:
    """Begin to connect, if nothing has to be waited for before that.

    Args:
        host: as for ``dial``.
        port: likewise.
        origin: likewise.

    Returns:
        The attempt, for ``dial``, which finishes it; ``None`` if it is not an IP address, or there
        is no route to it.

    Raises:
        InvalidPortError: as ``dial`` does.
        NameResolutionError: likewise.
    """
    check_port(port, allow_zero=False)
    literal = literal_address(check_address(host), port)
    if literal is None:
        return None
    routes, _ = plan([literal], origin)
    return Begun(routes[0], _start(routes[0], None)) if routes else None


async def connect_by(
    route: Route, prepare: Callable[[stdlib_socket.socket], None] | None
) -> stdlib_socket.socket | OSError:
    """Make one attempt.

    Args:
        route: where to, and where from.
        prepare: as for ``dial``.

    Returns:
        The connected socket, or why there is none: returned, so that it has no traceback.

    Cancellation: the socket is closed.
    """
    begun = Begun(route, _start(route, prepare))
    sock = begun.connected()
    if sock is None:
        return await finish(begun)
    await checkpoint_with(sock)
    return sock


async def checkpoint_with(resource: Closeable) -> None:
    """A checkpoint; cancellation closes ``resource``."""
    try:
        await trio.lowlevel.checkpoint()
    except BaseException:
        resource.close()
        raise


async def finish(begun: Begun) -> stdlib_socket.socket | OSError:
    """Wait for an attempt that has not been connected at the last look.

    Returns, Cancellation: as for ``connect_by``.
    """
    route, started = begun
    if isinstance(started, OSError):
        await trio.lowlevel.checkpoint()
        return started
    try:
        await trio.lowlevel.wait_writable(started)
        code = started.getsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_ERROR)
        if code in _RESET_SINCE:
            code = 0
        if code == 0 and _is_self_connected(started, route.target.address):
            code = errnos.ECONNREFUSED
    except OSError as exc:
        code = exc.errno or errnos.EIO
        started.close()
        await trio.lowlevel.checkpoint()
    except BaseException:
        started.close()
        raise
    if code == 0:
        return started
    started.close()
    return attempt_error(code, route.target.address, os.strerror(code))


def _start(
    route: Route, prepare: Callable[[stdlib_socket.socket], None] | None
) -> stdlib_socket.socket | OSError:
    """Open a socket and have it begin to connect."""
    address = route.target.address
    try:
        sock = stdlib_socket.socket(route.target.family, stdlib_socket.SOCK_STREAM)
    except OSError as exc:
        return attempt_error(exc.errno, address, describe(exc))
    try:
        sock.setblocking(False)
        sock.setsockopt(stdlib_socket.IPPROTO_TCP, stdlib_socket.TCP_NODELAY, 1)
        if prepare is not None:
            prepare(sock)
        refusal = _bind_source(sock, route)
        if refusal is not None:
            sock.close()
            return refusal
        code = sock.connect_ex(address)
    except OSError as exc:
        sock.close()
        return attempt_error(exc.errno, address, describe(exc))
    except BaseException:
        sock.close()
        raise
    if code in _IN_PROGRESS:
        return sock
    sock.close()
    return attempt_error(code, address, os.strerror(code))


def _bind_source(sock: stdlib_socket.socket, route: Route) -> OSError | None:
    """Bind to the route's local address; return the error if that fails."""
    source = route.source
    if source is None:
        return None
    if source[1]:
        if platform.CLIENTS_SHARE_PORT:
            # Concurrent attempts share the port, and an earlier connection in TIME_WAIT does
            # not block it. A listening socket, or one that is only bound, does.
            sock.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_REUSEADDR, 1)
    elif platform.BIND_ADDRESS_NO_PORT:
        sock.setsockopt(stdlib_socket.IPPROTO_IP, platform.BIND_ADDRESS_NO_PORT, 1)
    try:
        sock.bind(source)
    except OSError as exc:
        endpoint = format_endpoint(address_text(source), source[1])
        text = f"cannot connect from {endpoint}: {describe(exc)}"
        return attempt_error(exc.errno, route.target.address, text)
    return None


def _is_up(sock: stdlib_socket.socket) -> bool:
    """Whether the connection is established already, as local ones mostly are."""
    try:
        sock.getpeername()
    except OSError:
        return False
    return True


def _is_self_connected(sock: stdlib_socket.socket, target: Address) -> bool:
    """Whether the socket got its own target as its port and now talks to itself.

    Connecting to a free port of this machine's ephemeral range can end like this (simultaneous
    open, RFC 9293, 3.5). No server listens there, so it counts as refused.
    """
    own: Address = sock.getsockname()
    if own[1] != target[1]:
        return False
    try:
        peer: Address = sock.getpeername()
    except OSError:  # connected, and reset since: the first read raises the error
        return False
    return own == peer
