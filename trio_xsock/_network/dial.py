"""Connecting: from ``host:port`` to a connected non-blocking standard library socket.

Several addresses race as RFC 8305 ("Happy Eyeballs") says: families take turns, each
attempt gets a head start, a failed one lets the next start at once, and the first that
connects wins. A failed attempt *returns* its ``OSError``: so failures have no
traceback, keep no frames alive, and need no exception group.
"""

from __future__ import annotations

import errno as errnos
import socket as stdlib_socket
from collections.abc import Callable, Sequence
from typing import Final, final

import trio

from trio_xsock._machines.endpoint import (
    check_address,
    check_port,
    format_endpoint,
    literal_address,
)
from trio_xsock._values.errors import (
    AddressInUseError,
    ConnectError,
    OpenDriverError,
    OutOfMemoryError,
    SocketError,
    translate_os_error,
)
from trio_xsock._values.typing import Address

from .one_route import Begun, connect_by, finish
from .resolve import resolve
from .routes import Origin, Route, plan

HAPPY_EYEBALLS_DELAY = 0.25
"""The head start of each attempt in seconds: the "Connection Attempt Delay" of RFC 8305, 8."""

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
    begun: Begun | None = None,
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
        begun: the attempt to continue, of ``begin`` with the same arguments. It has not been
            connected at the last look.

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
    if begun is not None:
        routes, errors = [begun.route], list[OSError]()
    else:
        check_port(port, allow_zero=False)
        literal = literal_address(check_address(host), port)
        addresses = [literal] if literal is not None else await resolve(host, port)
        routes, errors = plan(addresses, origin)
    if len(routes) == 1:
        attempt = connect_by(routes[0], prepare) if begun is None else finish(begun)
        outcome = await attempt
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
        outcome = await connect_by(route, self._prepare)
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
