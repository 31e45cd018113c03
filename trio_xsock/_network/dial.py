"""Connecting: from ``host:port`` to a connected non-blocking standard library socket.

Several addresses race as RFC 8305 ("Happy Eyeballs") says: families take turns, each
attempt gets a head start, a failed one lets the next start at once, and the first that
connects wins. A failed attempt *returns* its ``OSError``: so failures have no
traceback, keep no frames alive, and need no exception group.
"""

from __future__ import annotations

import errno as errnos
import os
import socket as stdlib_socket
from collections.abc import Callable, Sequence
from typing import Final, final

import trio

from trio_xsock._machines.endpoint import (
    address_text,
    check_address,
    check_port,
    format_endpoint,
    literal_address,
)
from trio_xsock._platform import sockets as platform
from trio_xsock._values.errors import (
    AddressInUseError,
    ConnectError,
    OpenDriverError,
    OutOfMemoryError,
    SocketError,
    describe,
    translate_os_error,
)
from trio_xsock._values.typing import Address

from .resolve import resolve
from .routes import Origin, Route, attempt_error, plan

HAPPY_EYEBALLS_DELAY = 0.25
"""The head start of each attempt in seconds: the "Connection Attempt Delay" of RFC 8305, 8."""

_IN_PROGRESS = frozenset({0, errnos.EINPROGRESS, errnos.EWOULDBLOCK})
# Of an established connection. A refused one, by a reset too, fails with ECONNREFUSED.
_RESET_SINCE = frozenset({errnos.ECONNRESET, errnos.EPIPE})
_UNREACHABLE = frozenset({errnos.ENETUNREACH, errnos.EHOSTUNREACH, errnos.ETIMEDOUT})
_NO_PERMISSION = frozenset({errnos.EACCES, errnos.EPERM})
_ANYWHERE: Final = Origin()


async def dial(
    host: str,
    port: int,
    *,
    origin: Origin = _ANYWHERE,
    happy_eyeballs_delay: float = HAPPY_EYEBALLS_DELAY,
    prepare: Callable[[stdlib_socket.socket], None] | None = None,
    reached: Callable[[Address], None] | None = None,
) -> stdlib_socket.socket:
    """Connect to a TCP server.

    Args:
        host: a host name or an IP address.
        port: 1..65535.
        origin: where to connect from; targets of a family without an address there are
            skipped.
        happy_eyeballs_delay: seconds until the next address is tried beside those that have
            not answered yet; ``math.inf`` tries them strictly one after the other.
        prepare: called with each new socket before it is bound and connected, to set
            options. An ``OSError`` that it raises counts as a failed attempt.
        reached: called with the peer's address of the connection. The OS does not know it
            any more when the peer has reset that connection already.

    Returns:
        A connected socket: non-blocking, not inheritable, with TCP_NODELAY. The caller owns it.
        The peer may have reset it meanwhile; what it sent before can be read, then.

    Raises:
        ConnectError: no address could be connected to; ``errors`` has one for each.
        AddressInUseError: every attempt failed because the origin's port is taken.
        NameResolutionError: the name is empty, malformed or has no address.
        InvalidPortError: the port is not in 1..65535, or that of the origin needs privileges.
        OpenDriverError: every attempt failed because no socket could be opened (EMFILE, no such
            family).
        OutOfMemoryError: every attempt failed for lack of kernel memory.

    Cancellation:
        At once, and everything opened so far is closed. Without it a host that does not
        answer fails when the system gives up (tcp(7), tcp_syn_retries: about two minutes).
    """
    check_port(port, allow_zero=False)
    literal = literal_address(check_address(host), port)
    addresses = [literal] if literal is not None else await resolve(host, port)
    routes, errors = plan(addresses, origin)
    if len(routes) == 1:
        outcome = await _attempt(routes[0], prepare)
        if not isinstance(outcome, OSError):
            if reached is not None:
                reached(routes[0].target.address)
            return outcome
        errors = [outcome]
    elif routes:
        race = _Race(routes, happy_eyeballs_delay, prepare)
        winner = await race.run()
        if winner is not None:
            if reached is not None and race.reached is not None:
                reached(race.reached)
            return winner
        errors = race.errors
    raise _failure(host, port, origin.port, errors)


async def _attempt(
    route: Route, prepare: Callable[[stdlib_socket.socket], None] | None
) -> stdlib_socket.socket | OSError:
    started = _start(route, prepare)
    if isinstance(started, OSError):
        await trio.lowlevel.checkpoint()
        return started
    try:
        code = 0
        if _is_up(started):
            await trio.lowlevel.checkpoint()
        else:
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


@final
class _Race:
    """Concurrent attempts; the first to connect wins, the others are closed."""

    def __init__(
        self,
        routes: Sequence[Route],
        delay: float,
        prepare: Callable[[stdlib_socket.socket], None] | None,
    ) -> None:
        self.errors: list[OSError] = []
        self.reached: Address | None = None  # the winner's peer
        self._routes = routes
        self._delay = delay
        self._prepare = prepare
        self._winner: stdlib_socket.socket | None = None
        self._failure = trio.Event()

    async def run(self) -> stdlib_socket.socket | None:
        """The connected socket, or ``None`` when all attempts failed."""
        try:
            await self._start_all()
        except BaseExceptionGroup as group:
            escaped = _ungrouped(group)
        except BaseException:
            self._close_winner()
            raise
        else:
            return self._winner
        self._close_winner()
        try:
            raise escaped  # outside of the except block, so that the group is not its context
        finally:
            del escaped  # its traceback refers to this frame

    async def _start_all(self) -> None:
        async with trio.open_nursery() as nursery:
            for route in self._routes:
                self._failure = trio.Event()
                nursery.start_soon(self._contend, route, nursery.cancel_scope)
                with trio.move_on_after(self._delay):
                    await self._failure.wait()

    async def _contend(self, route: Route, scope: trio.CancelScope) -> None:
        outcome = await _attempt(route, self._prepare)
        if isinstance(outcome, OSError):
            self.errors.append(outcome)
            self._failure.set()
        elif self._winner is None:
            self._winner = outcome
            self.reached = route.target.address
            scope.cancel(reason="another address connected first")
        else:
            outcome.close()

    def _close_winner(self) -> None:
        if self._winner is not None:
            self._winner.close()


def _ungrouped(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The exception in a nursery's group: Cancelled, Ctrl-C, or an error in user code."""
    mistakes = [each for each in group.exceptions if not isinstance(each, trio.Cancelled)]
    return (mistakes or group.exceptions)[0]


def _failure(host: str, port: int, bind_port: int, errors: Sequence[OSError]) -> SocketError:
    """The error for all failed attempts together."""
    last = errors[-1]
    endpoint = format_endpoint(host, port)
    causes = [translate_os_error(each, f"cannot connect to {endpoint}") for each in errors]
    if all(isinstance(each, OpenDriverError | OutOfMemoryError) for each in causes):
        return causes[-1]  # no attempt got as far as the network
    if bind_port and all(isinstance(each, AddressInUseError) for each in causes):
        return _refused_port(endpoint, bind_port, last, "another socket has that port")
    if 0 < bind_port < 1024 and all(each.errno in _NO_PERMISSION for each in errors):
        return _refused_port(endpoint, bind_port, last, "ports below 1024 need privileges")
    details = "; ".join(each.strerror or "" for each in errors)
    error = ConnectError(
        f"cannot connect to {endpoint} ({_advice(errors)}): {details}", errors=tuple(errors)
    )
    error.__cause__ = last
    return error


def _refused_port(endpoint: str, bind_port: int, last: OSError, why: str) -> SocketError:
    text = f"cannot connect to {endpoint} from bind_port={bind_port} ({why}; 0 takes a free one)"
    return translate_os_error(last, text)


def _advice(errors: Sequence[OSError]) -> str:
    numbers = {each.errno for each in errors}
    if errnos.ECONNREFUSED in numbers:  # the host is up, even if other addresses failed otherwise
        return "check that a server listens on that port"
    if numbers & _UNREACHABLE:
        return "check that the host is up, and the route and firewalls on the way"
    return "check the address and the interface"
