"""Connecting: from ``host:port`` to a connected non-blocking standard library socket.

Several addresses race as RFC 8305 ("Happy Eyeballs") says: families take turns, each
attempt gets a head start, a failed one lets the next start at once, and the first that
connects wins. An attempt that fails *returns* its ``OSError``: so failures carry no
traceback and keep no frames alive, and no exception group is ever needed for them.
"""

from __future__ import annotations

import errno as errnos
import os
import socket as stdlib_socket
import sys
from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Final, NamedTuple, final

import trio

from trio_xsock._machines.endpoint import (
    ResolvedAddress,
    address_text,
    check_address,
    check_port,
    format_endpoint,
    is_link_local,
    literal_address,
)
from trio_xsock._values.errors import (
    ConnectError,
    OpenDriverError,
    OutOfMemoryError,
    SocketError,
    describe,
    translate_os_error,
)
from trio_xsock._values.typing import Address

from .interface import NetworkInterface, bindable_addresses
from .resolve import resolve

HAPPY_EYEBALLS_DELAY = 0.25
"""The head start of each attempt in seconds: the "Connection Attempt Delay" of RFC 8305, 8."""

_IN_PROGRESS = frozenset({0, errnos.EINPROGRESS, errnos.EWOULDBLOCK})
# Of a connection that was up. One that is refused, by a reset too, fails with ECONNREFUSED.
_RESET_SINCE = frozenset({errnos.ECONNRESET, errnos.EPIPE})
_UNREACHABLE = frozenset({errnos.ENETUNREACH, errnos.EHOSTUNREACH, errnos.ETIMEDOUT})
# ip(7); without it a socket bound to an address takes a port from all destinations' one pool.
_BIND_ADDRESS_NO_PORT: Final[int | None] = getattr(
    stdlib_socket, "IP_BIND_ADDRESS_NO_PORT", 24 if sys.platform == "linux" else None
)


class _Route(NamedTuple):
    """Where to connect to, and the local address to bind to before that, if any."""

    target: ResolvedAddress
    source: Address | None


async def dial(
    host: str,
    port: int,
    *,
    interface: NetworkInterface | None = None,
    happy_eyeballs_delay: float = HAPPY_EYEBALLS_DELAY,
    prepare: Callable[[stdlib_socket.socket], None] | None = None,
    reached: Callable[[Address], None] | None = None,
) -> stdlib_socket.socket:
    """Connect to a TCP server.

    Args:
        host: a host name or an IP address.
        port: 1..65535.
        interface: connect from this interface's addresses only; targets of a family that
            it has no address for are passed over.
        happy_eyeballs_delay: seconds until the next address is tried beside those that have
            not answered yet; ``math.inf`` tries them strictly one after the other.
        prepare: called with each new socket before it is bound and connected, to set
            options. An ``OSError`` out of it counts as a failed attempt.
        reached: called with the address of the connection that was made. The OS does not
            tell it any more when the peer has reset that connection already.

    Returns:
        A connected socket: non-blocking, not inheritable, with TCP_NODELAY. The caller owns it.
        The peer may have reset it meanwhile; what it sent before can be read, then.

    Raises:
        ConnectError: no address could be connected to; ``errors`` has one for each.
        NameResolutionError: the name is empty, malformed or has no address.
        InvalidPortError: the port is not in 1..65535.
        OpenDriverError: every attempt failed for want of a socket (EMFILE, no such family).
        OutOfMemoryError: every attempt failed for want of kernel memory.

    Cancellation:
        At once, and everything opened so far is closed. Without it a host that does not
        answer fails when the system gives up (tcp(7), tcp_syn_retries: about two minutes).
    """
    check_port(port, allow_zero=False)
    literal = literal_address(check_address(host), port)
    addresses = [literal] if literal is not None else await resolve(host, port)
    routes, errors = _plan(addresses, interface)
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
    raise _failure(host, port, errors)


def _plan(
    addresses: Sequence[ResolvedAddress], interface: NetworkInterface | None
) -> tuple[list[_Route], list[OSError]]:
    """The routes in the order of trying, and why the other addresses have none."""
    routes: list[_Route] = []
    errors: list[OSError] = []
    for target in _interleaved(addresses):
        route = _route(target, interface)
        if isinstance(route, OSError):
            errors.append(route)
        else:
            routes.append(route)
    return routes, errors


def _interleaved(addresses: Sequence[ResolvedAddress]) -> list[ResolvedAddress]:
    """Families take turns, beginning with the resolver's favourite (RFC 8305, 4)."""
    families: dict[int, list[ResolvedAddress]] = {}
    for each in addresses:
        families.setdefault(each.family, []).append(each)
    rounds = zip_longest(*families.values())
    return [each for turn in rounds for each in turn if each is not None]


def _route(target: ResolvedAddress, interface: NetworkInterface | None) -> _Route | OSError:
    zoneless = is_link_local(target) and not target.address[-1]
    if interface is None:
        if zoneless:
            text = f"a link-local address needs its zone, as in {target.address[0]}%eth0"
            return _attempt_error(errnos.EINVAL, target.address, text)
        return _Route(target, None)
    source = _source(target, interface)
    if source is None:
        text = f"interface {interface.name} has no address to reach it from"
        return _attempt_error(errnos.EADDRNOTAVAIL, target.address, text)
    if zoneless:
        target = target._replace(address=(*target.address[:3], source[-1]))
    return _Route(target, source)


def _source(target: ResolvedAddress, interface: NetworkInterface) -> Address | None:
    """The interface's address to connect from; link-local ones reach only each other.

    (RFC 4291, 2.5.6: routers do not forward what comes from a link-local address.)
    """
    for each in bindable_addresses(interface, 0):
        if each.family == target.family and is_link_local(each) == is_link_local(target):
            return each.address
    return None


async def _attempt(
    route: _Route, prepare: Callable[[stdlib_socket.socket], None] | None
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
    return _attempt_error(code, route.target.address, os.strerror(code))


def _start(
    route: _Route, prepare: Callable[[stdlib_socket.socket], None] | None
) -> stdlib_socket.socket | OSError:
    """Open a socket and have it begin to connect."""
    address = route.target.address
    try:
        sock = stdlib_socket.socket(route.target.family, stdlib_socket.SOCK_STREAM)
    except OSError as exc:
        return _attempt_error(exc.errno, address, describe(exc))
    try:
        sock.setblocking(False)
        sock.setsockopt(stdlib_socket.IPPROTO_TCP, stdlib_socket.TCP_NODELAY, 1)
        if prepare is not None:
            prepare(sock)
        if route.source is not None:
            _bind_source(sock, route.source)
        code = sock.connect_ex(address)
    except OSError as exc:
        sock.close()
        return _attempt_error(exc.errno, address, describe(exc))
    except BaseException:
        sock.close()
        raise
    if code in _IN_PROGRESS:
        return sock
    sock.close()
    return _attempt_error(code, address, os.strerror(code))


def _bind_source(sock: stdlib_socket.socket, source: Address) -> None:
    if _BIND_ADDRESS_NO_PORT is not None:
        sock.setsockopt(stdlib_socket.IPPROTO_IP, _BIND_ADDRESS_NO_PORT, 1)
    sock.bind(source)


def _is_up(sock: stdlib_socket.socket) -> bool:
    """Whether the connection is established already, as those on this machine mostly are."""
    try:
        sock.getpeername()
    except OSError:
        return False
    return True


def _is_self_connected(sock: stdlib_socket.socket, target: Address) -> bool:
    """Whether the socket got its own target as its port and now talks to itself.

    Connecting to a free port of this machine's ephemeral range can end so (simultaneous
    open, RFC 9293, 3.5); nobody is there, hence it counts as refused.
    """
    own: Address = sock.getsockname()
    if own[1] != target[1]:
        return False
    try:
        peer: Address = sock.getpeername()
    except OSError:  # connected, and reset since: the first read will tell
        return False
    return own == peer


def _attempt_error(code: int | None, address: Address, text: str) -> OSError:
    """A failed attempt as an ``OSError`` of the class that fits ``code``, naming its address."""
    endpoint = format_endpoint(address_text(address), address[1])
    return OSError(code or 0, f"{endpoint}: {text}")


@final
class _Race:
    """Attempts side by side; the first to connect wins, the others are closed."""

    def __init__(
        self,
        routes: Sequence[_Route],
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

    async def _contend(self, route: _Route, scope: trio.CancelScope) -> None:
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
    """What a nursery wrapped: attempts raise only cancellation, Ctrl-C and a user's mistakes."""
    mistakes = [each for each in group.exceptions if not isinstance(each, trio.Cancelled)]
    return (mistakes or group.exceptions)[0]


def _failure(host: str, port: int, errors: Sequence[OSError]) -> SocketError:
    """The error of a connection that did not come about, however many attempts it took."""
    last = errors[-1]
    endpoint = format_endpoint(host, port)
    causes = [translate_os_error(each, f"cannot connect to {endpoint}") for each in errors]
    if all(isinstance(each, OpenDriverError | OutOfMemoryError) for each in causes):
        return causes[-1]  # no attempt got as far as the network
    details = "; ".join(each.strerror or "" for each in errors)
    error = ConnectError(
        f"cannot connect to {endpoint} ({_advice(errors)}): {details}", errors=tuple(errors)
    )
    error.__cause__ = last
    return error


def _advice(errors: Sequence[OSError]) -> str:
    numbers = {each.errno for each in errors}
    if errnos.ECONNREFUSED in numbers:  # the host is there, whatever the other addresses said
        return "check that a server listens on that port"
    if numbers & _UNREACHABLE:
        return "check that the host is up, and the route and firewalls on the way"
    return "check the address and the interface"
