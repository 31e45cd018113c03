"""Newcomers: what happens between the OS's accept and the announcement of a connection.

Most connections are announced at once. Those that have a handshake before them, of TLS or with
a proxy, go through it in a task of their own, beside accepting: at most ``maximum_handshakes`` at
a time, each for at most ``handshake_timeout`` seconds. Who is done waits, unannounced, until
there is a place below the ceiling. None of them counts as connected before that, so silent or
failing ones keep nobody out.

How a class of sockets has a handshake of its own: see ``Connection._handshake``.
"""

from __future__ import annotations

import functools
import logging
import socket as stdlib_socket
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

import trio

from ._connection import Connection
from ._errors import SocketError
from ._guard import protect_from_ki
from ._options import check_optional_seconds, check_positive, check_seconds
from ._pool import is_live
from ._proxies import HeaderReader, Network, check_trusted_proxies, is_trusted
from ._proxy_protocol import ProxyProtocolError
from ._roster import Roster
from ._state import SocketState
from ._watchdogs import WatchedConnection

S = TypeVar("S", bound=Connection)

_logger = logging.getLogger("trio_xsock")


@protect_from_ki
class Reception(Roster[S]):
    """Takes newcomers in."""

    __slots__ = (
        "_finished",
        "_handshake_timeout",
        "_handshakes",
        "_idle_timeout",
        "_maximum_handshakes",
        "_proxies",
        "_proxy_protocol",
    )

    def __init__(
        self, handler: object, add_socket: Callable[[], S], minimum: int, maximum: int | None
    ) -> None:
        super().__init__(handler, add_socket, minimum, maximum)
        self._handshakes: set[trio.CancelScope] = set()
        self._finished: deque[S] = deque()

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
        """How many newcomers may be unannounced at a time; may change at any time.

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
        return len(self._handshakes) + len(self._finished)

    def _may_accept(self) -> bool:
        newcomers = self._handshakes or self._finished  # mostly there are none to be counted
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
                self._announce(socket)
            else:
                self._finished.append(socket)

    # Newcomers

    def _welcome(self, sock: stdlib_socket.socket, peer: tuple[Any, ...]) -> None:
        """A connection was accepted."""
        socket = self._open_connection(sock, peer)
        if socket is None:
            return
        if socket._has_handshake:
            self._begin_handshake(None, socket)
        else:
            self._announce(socket)
        self._refill()

    def _welcome_proxied(self, sock: stdlib_socket.socket, peer: tuple[Any, ...]) -> None:
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
            self._welcome(sock, reader.peer)
        else:
            self._begin_handshake(reader, None)

    def _open_connection(self, sock: stdlib_socket.socket, peer: tuple[Any, ...]) -> S | None:
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
        socket._open_accepted(self, keeper, sock, peer)
        return socket

    def _announce(self, socket: S) -> None:
        """A connection is ready for use, and counts from now on."""
        self._accepted += 1
        self._connections[socket] = None
        self._post_change(opened=1, closed=0)
        live = is_live(socket)
        if self._idle_timeout is not None:
            self._limit_idleness(socket, self._idle_timeout)
        socket._announce_connected()
        if not live:
            self._offer(socket)

    def _limit_idleness(self, socket: Connection, seconds: float) -> None:
        if isinstance(socket, WatchedConnection) and socket.idle_timeout is None:
            socket.idle_timeout = seconds

    def _refuse(self, sock: stdlib_socket.socket | Connection, why: object) -> None:
        """A newcomer will not become a connection."""
        self._refused += 1
        _logger.debug("refused a connection: %s", why)
        sock.close()

    # Handshakes

    def _begin_handshake(self, reader: HeaderReader | None, socket: S | None) -> None:
        """Start a newcomer's task: first for the proxy's header, if any, then for the socket."""
        assert self._keeper is not None
        scope = trio.CancelScope(deadline=trio.current_time() + self._handshake_timeout)
        self._handshakes.add(scope)
        introduce = functools.partial(self._introduce, scope, reader, socket)
        self._keeper.serve(introduce, "trio_xsock handshake")

    async def _introduce(  # noqa: ASYNC910 - a task of its own
        self, scope: trio.CancelScope, reader: HeaderReader | None, socket: S | None
    ) -> None:
        why: object = "its handshake took too long, or listening has stopped"
        done = False
        try:
            with scope:
                if reader is not None:
                    await reader.read()
                    socket = self._open_connection(reader.sock, reader.peer)
                if socket is not None and socket._has_handshake:
                    await socket._handshake()
                done = True
        except trio.Cancelled:  # pragma: no cover  (services are shielded)
            raise
        except (SocketError, ProxyProtocolError, OSError) as exc:
            why = str(exc)  # the error itself would refer to this frame
        except BaseException as exc:  # noqa: ASYNC103 - no peer causes these: they leave the block
            assert self._keeper is not None
            self._keeper.fail(exc)
        finally:
            self._handshakes.discard(scope)
            self._settle_newcomer(reader, socket, None if done and not scope.cancel_called else why)

    def _settle_newcomer(self, reader: HeaderReader | None, socket: S | None, why: object) -> None:
        """A newcomer's task has ended; ``why`` is the reason to refuse it, if there is one."""
        if socket is None:
            assert reader is not None
            self._refuse(reader.sock, why)
        elif why is not None or socket.state is not SocketState.LISTENING:
            self._refuse(socket, why)
        else:
            self._finished.append(socket)
            if reader is not None:  # else that was done when the socket was taken
                self._refill()
        self._update()
        self._check_idle()

    # The end

    def _connection_closed(self, socket: Any, /) -> None:
        if self._finished and socket in self._finished:
            self._finished.remove(socket)
            self._refused += 1
            self._update()
        super()._connection_closed(socket)

    def _is_idle(self) -> bool:
        return not self._handshakes and super()._is_idle()

    def _stop(self) -> None:
        super()._stop()
        for scope in self._handshakes:
            scope.cancel("listening has stopped")
        for socket in list(self._finished):
            socket.close()
