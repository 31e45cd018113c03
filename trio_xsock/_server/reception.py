"""Newcomers: what happens between the OS's accept and the announcement of a connection.

Most connections are announced at once. Others have a handshake before them, of TLS or with a
proxy: at most ``maximum_handshakes`` at a time, each for at most ``handshake_timeout`` seconds.
Handshakes go by steps, as all that connections do; only a proxy's header that is not there at
once has a task, which waits for it. Who is done waits, unannounced, until there is a place below
the ceiling. None of them counts as connected before that, so silent or failing ones keep nobody
out.

How a class of sockets has a handshake of its own: see ``_sockets.listening``.
"""

from __future__ import annotations

import functools
import logging
import math
from collections import deque
from collections.abc import Callable
from typing import Any, Final, TypeVar

import trio

from trio_xsock._machines.proxy_protocol import ProxyProtocolError
from trio_xsock._machines.time_limit import TimeLimit
from trio_xsock._network.options import check_optional_seconds, check_positive, check_seconds
from trio_xsock._network.proxies import HeaderReader, Network, check_trusted_proxies, is_trusted
from trio_xsock._network.transport import Transport
from trio_xsock._runtime.clock import runs_by_itself
from trio_xsock._runtime.faults import give_back, log_fault
from trio_xsock._runtime.guard import protect_from_ki
from trio_xsock._sockets.listening import ListeningCalls
from trio_xsock._values.errors import SocketError

from .pool import is_live
from .roster import Roster

S = TypeVar("S", bound=ListeningCalls)

_logger = logging.getLogger("trio_xsock")

_TELLING_REFUSALS: Final = 10
"""So many refused newcomers, and none that was taken in, are told of once."""

_TOO_LONG = "its handshake took too long, or listening has stopped"


@protect_from_ki
class Reception(Roster[S]):
    """Takes new connections in."""

    __slots__ = (
        "_before_listening",
        "_finished",
        "_handshake_timeout",
        "_handshakes",
        "_idle_timeout",
        "_looks_at",
        "_maximum_handshakes",
        "_proxies",
        "_proxy_protocol",
        "_readers",
    )

    def __init__(
        self, handler: object, add_socket: Callable[[], S], minimum: int, maximum: int | None
    ) -> None:
        super().__init__(handler, add_socket, minimum, maximum)
        self._readers: set[trio.CancelScope] = set()  # of tasks that wait for a header
        self._handshakes: dict[S, TimeLimit] = {}  # and when they have taken too long
        self._looks_at = math.inf  # when somebody does that next
        self._finished: deque[S] = deque()
        self._before_listening: tuple[int, int] = (0, 0)  # accepted and refused by then

    def _init_reception(
        self,
        idle_timeout: float | None,
        maximum_handshakes: int,
        handshake_timeout: float,
        proxy_protocol: bool,
        trusted_proxies: Any,
    ) -> None:
        self._idle_timeout = check_optional_seconds("idle_timeout", idle_timeout)
        self._maximum_handshakes = check_positive("maximum_handshakes", maximum_handshakes)
        self._handshake_timeout = check_seconds(
            "handshake_timeout", handshake_timeout, positive=True
        )
        if not isinstance(proxy_protocol, bool):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"proxy_protocol must be True or False, not {proxy_protocol!r}")
        self._proxy_protocol = proxy_protocol
        self._proxies: tuple[Network, ...] = check_trusted_proxies(trusted_proxies)

    # Options

    @property
    def idle_timeout(self) -> float | None:
        """Seconds; ``None`` for off. Counts for connections that come from now on.

        Ends a connection, as ``TIMED_OUT``, on which no byte went either way for so long; a
        socket that has an ``idle_timeout`` of its own keeps that.

        Raises (assignment):
            TypeError, ValueError: not a number of seconds above 0, or ``None``.
        """
        return self._idle_timeout

    @idle_timeout.setter
    def idle_timeout(self, timeout: float | None) -> None:
        self._idle_timeout = check_optional_seconds("idle_timeout", timeout)

    @property
    def maximum_handshakes(self) -> int:
        """How many new connections may be unannounced at a time; may change at any time.

        Raises (assignment):
            ValueError, TypeError: less than 1, or not an int.
        """
        return self._maximum_handshakes

    @maximum_handshakes.setter
    def maximum_handshakes(self, maximum: int) -> None:
        self._maximum_handshakes = check_positive("maximum_handshakes", maximum)
        self._update()

    @property
    def handshake_timeout(self) -> float:
        """Seconds that a handshake may take; counts for those that begin from now on.

        Raises (assignment):
            TypeError, ValueError: not a number of seconds above 0.
        """
        return self._handshake_timeout

    @handshake_timeout.setter
    def handshake_timeout(self, timeout: float) -> None:
        self._handshake_timeout = check_seconds("handshake_timeout", timeout, positive=True)

    @property
    def proxy_protocol(self) -> bool:
        """Whether every connection begins with a header of the PROXY protocol."""
        return self._proxy_protocol

    @property
    def trusted_proxies(self) -> tuple[str, ...]:
        """The networks that proxies may speak from."""
        return tuple(map(str, self._proxies))

    # Places

    def _count_unannounced(self) -> int:
        return len(self._readers) + len(self._handshakes) + len(self._finished)

    def _may_accept(self) -> bool:
        # Mostly there are none to be counted.
        newcomers = self._handshakes or self._finished or self._readers
        if newcomers and self._count_unannounced() >= self._maximum_handshakes:
            return False
        return super()._may_accept()

    def _update(self) -> None:
        if self._finished:
            self._admit_finished()
        super()._update()

    def _admit_finished(self) -> None:
        """Announce those who wait, as far as there are places."""
        waiting, self._finished = self._finished, deque()
        for socket in waiting:
            if self._is_below_ceiling() and (self._is_asked_for() or is_live(socket)):
                self._attend(socket, self._announce, socket)
            else:
                self._finished.append(socket)

    # Newcomers

    def _welcome(self, sock: Transport, peer: tuple[Any, ...]) -> None:
        """A connection was accepted."""
        self._take_in(sock, peer, None)

    def _take_in(self, sock: Transport, peer: tuple[Any, ...], deadline: float | None) -> None:
        """Announce a connection, or let it have its handshake first.

        Args:
            sock: the connection.
            peer: its address.
            deadline: when that has taken too long; ``None`` to count from now.
        """
        socket = self._open_connection(sock, peer)
        if socket is None:
            return
        if socket._connection.securing:
            if deadline is None:
                deadline = trio.current_time() + self._handshake_timeout
            self._attend(socket, self._begin_handshake, socket, deadline)
        else:
            self._attend(socket, socket._run_step, self._announce, socket)
        self._refill()

    def _welcome_proxied(self, sock: Transport, peer: tuple[Any, ...]) -> None:
        """A connection was accepted that has to begin with a proxy's header."""
        if not is_trusted(peer, self._proxies):
            self._refuse(sock, "its peer is no trusted proxy")
            return
        reader = HeaderReader(sock, peer)
        try:
            complete = reader.step()  # it is there, as a rule, and no task is needed
        except (ProxyProtocolError, OSError) as exc:
            self._refuse(sock, exc)
            return
        if complete:
            self._take_in(sock, reader.peer, None)
        else:
            self._await_header(reader)

    def _open_connection(self, sock: Transport, peer: tuple[Any, ...]) -> S | None:
        """Give an accepted connection a socket of the pool; ``None`` if there is none."""
        keeper = self._keeper
        assert keeper is not None
        try:
            socket = self._pool.take(keeper.context)
        except BaseException as exc:  # noqa: ASYNC103 - of a plain function; it is passed on
            sock.close()
            self._pool_failed(exc)
            return None  # noqa: ASYNC104
        self._open.add(socket)
        try:
            socket._open_accepted(self, keeper, sock, peer)
        except Exception as exc:
            self._peer_failed(socket, exc)
            sock.close()
            return None
        return socket

    def _announce(self, socket: S) -> None:
        """A connection is ready for use, and counts from now on."""
        self._accepted += 1
        self._connections[socket] = None
        self._post_change(opened=1, closed=0)
        live = is_live(socket)
        if self._idle_timeout is not None:
            self._limit_idleness(socket, self._idle_timeout)
        socket._connection.announce()
        if not live:
            self._offer(socket)

    def _limit_idleness(self, socket: ListeningCalls, seconds: float) -> None:
        if socket.idle_timeout is None:
            socket.idle_timeout = seconds

    def _refuse(self, sock: Transport, why: object) -> None:
        """A connection that has no socket of the pool yet will not become one."""
        self._count_refusal(why)
        sock.close()

    def _count_refusal(self, why: object) -> None:
        self._refused += 1
        # As an attribute of the record, for a handler that wants more than the text.
        _logger.debug("refused a connection: %s", why, extra={"refused": why})
        accepted, refused = self._before_listening
        in_vain = self._refused - refused
        if in_vain == _TELLING_REFUSALS and self._accepted == accepted:  # the fault may be ours
            _logger.warning(
                "all of the first %d connections were refused; the last: %s", in_vain, why
            )

    def _forget_refusals(self) -> None:
        """The server listens again."""
        self._before_listening = self._accepted, self._refused

    # A proxy's header

    def _await_header(self, reader: HeaderReader) -> None:
        assert self._keeper is not None
        deadline = trio.current_time() + self._handshake_timeout
        scope = trio.CancelScope(deadline=deadline)
        self._readers.add(scope)
        read = functools.partial(self._read_header, reader, scope, deadline)
        self._keeper.serve(read, "trio_xsock proxy header")

    async def _read_header(  # noqa: ASYNC910 - a task of its own
        self, reader: HeaderReader, scope: trio.CancelScope, deadline: float
    ) -> None:
        why: object = _TOO_LONG
        complete = False
        try:
            with scope:
                await reader.read()
                complete = True
            if scope.cancel_called:  # it may have come while we did not run, or listening stopped
                complete = trio.current_time() >= deadline and reader.step()
        except (ProxyProtocolError, OSError) as exc:
            why = str(exc)  # the error itself would refer to this frame
        finally:
            self._readers.discard(scope)
            if complete:
                self._take_in(reader.sock, reader.peer, deadline)
            else:
                self._refuse(reader.sock, why)
            self._update()
            self._check_idle()

    # Handshakes

    def _begin_handshake(self, socket: S, deadline: float) -> None:
        assert self._keeper is not None
        limit = TimeLimit(trio.current_time(), self._handshake_timeout)
        limit.shorten(deadline)
        self._handshakes[socket] = limit
        try:
            seconds = socket._begin_handshake(functools.partial(self._handshake_over, socket))
        except SocketError as exc:
            self._handshake_over(socket, exc)
            return
        if socket in self._handshakes:
            limit.shorten(trio.current_time() + seconds)
            if limit.deadline < self._looks_at:
                self._looks_at = limit.deadline
                self._keeper.wake()

    def _handshake_over(self, socket: S, error: BaseException | None) -> None:
        if socket not in self._handshakes:  # the socket was closed meanwhile
            return
        if error is None:
            del self._handshakes[socket]
            self._finished.append(socket)
            self._update()
            return
        if isinstance(error, SocketError):
            self._turn_away(socket, error)
        elif isinstance(error, Exception):
            self._peer_failed(socket, error)
        else:  # Ctrl-C and its like
            self._turn_away(socket, error)
            assert self._keeper is not None
            self._keeper.fail(error)

    def _attend(self, socket: Any, step: Callable[..., object], *args: object) -> None:
        """Take a step for one peer: what it raises ends that peer, and nobody else."""
        try:
            step(*args)
        except Exception as exc:
            self._peer_failed(socket, exc)

    def _peer_failed(self, socket: Any, error: Exception, /) -> None:
        """See ``Owner``: the one place where the library's own failures for a peer end."""
        log_fault(f"the connection from {socket._connection.endpoint} is ended", error)
        if socket in self._handshakes or socket in self._finished:
            give_back(functools.partial(self._turn_away, socket, error))
        else:
            give_back(functools.partial(socket._connection.break_down, error))
        give_back(socket.close)
        transport = socket._connection.transport
        if transport is not None:  # not even that went well
            give_back(transport.close, functools.partial(self._connection_closed, socket))

    def _contain(self, error: Exception) -> bool:
        """See ``Kept``: a server goes on."""
        log_fault("the server goes on", error)
        return True

    def _turn_away(self, socket: S, why: object) -> None:
        """A newcomer that is in its handshake, or behind it, will not become a connection."""
        self._count_refusal(why)
        self._handshakes.pop(socket, None)
        socket.close()
        self._update()

    def _end_slow_handshakes(self) -> float:
        """Turn away those who take too long; when to look again."""
        now, counts_lateness = trio.current_time(), runs_by_itself()
        for socket, limit in list(self._handshakes.items()):
            if now >= limit.deadline:
                self._attend(socket, socket._take_stock)  # it may have come while we did not run
                over = limit.is_over(now, counts_lateness=counts_lateness)
                if over and socket in self._handshakes:
                    self._attend(socket, self._turn_away, socket, _TOO_LONG)
        limits = self._handshakes.values()
        self._looks_at = min((limit.deadline for limit in limits), default=math.inf)
        return self._looks_at

    # The end

    def _connection_closed(self, socket: Any, /) -> None:
        if socket in self._handshakes:
            del self._handshakes[socket]
            self._count_refusal("it was closed in its handshake")
            self._update()
        elif self._finished and socket in self._finished:
            self._finished.remove(socket)
            self._count_refusal("it ended before there was a place for it")
            self._update()
        super()._connection_closed(socket)

    def _is_idle(self) -> bool:
        return not self._readers and super()._is_idle()

    def _stop(self) -> None:
        super()._stop()
        for scope in self._readers:
            scope.cancel("listening has stopped")
        for socket in [*self._handshakes, *self._finished]:
            socket.close()
        self._looks_at = math.inf  # nobody does while nothing is listened to
