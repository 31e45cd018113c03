"""``Lobby``: new connections, from the OS's accept to their announcement.

Most connections are announced at once. Others have a handshake first, of TLS or with a proxy: at
most ``maximum`` at a time, each for at most ``timeout`` seconds. Handshakes are made by steps; only
a proxy's header that does not arrive at once has a task, which waits for it. A connection whose
handshake is done waits until there is a place. It does not count as connected before that, so
silent or failing clients take no places.
"""

from __future__ import annotations

import logging
import math
from typing import Final

import trio

from trio_xsock._engine.connection import Connection
from trio_xsock._engine.upgrade import Over
from trio_xsock._machines.proxy_protocol import ProxyProtocolError
from trio_xsock._machines.time_limit import TimeLimit
from trio_xsock._network.options import check_positive, check_seconds
from trio_xsock._network.proxies import HeaderReader
from trio_xsock._runtime.clock import runs_by_itself
from trio_xsock._runtime.guard import protect_from_ki
from trio_xsock._sockets.connected import ConnectedSocket

_logger = logging.getLogger("trio_xsock")

_TELLING_REFUSALS: Final = 10
"""A warning is logged after this many refused connections without an announced one."""

TOO_LONG: Final = "its handshake took too long, or listening has stopped"


@protect_from_ki
class Lobby:
    """The new connections of one server.

    Args:
        maximum: how many there may be at a time.
        timeout: seconds that a handshake may take.

    Attributes:
        maximum, timeout: as above; changed by ``limit``.
        refused: how many were ever refused.
        waiting: connections whose handshake is done, in order; the values mean nothing.
    """

    __slots__ = (
        "_before",
        "_handshakes",
        "_looks_at",
        "_readers",
        "maximum",
        "refused",
        "timeout",
        "waiting",
    )

    def __init__(self, maximum: int, timeout: float) -> None:
        self.limit(maximum, timeout)
        self.refused = 0
        self._before: tuple[int, int] = (0, 0)  # accepted and refused before it listened
        self._readers: set[trio.CancelScope] = set()  # of tasks that wait for a header
        self._handshakes: dict[Connection, TimeLimit] = {}
        self.waiting: dict[Connection, None] = {}
        self._looks_at = math.inf  # when ``due`` is called next

    def limit(self, maximum: int, timeout: float) -> None:
        """Change the limits; the time-out applies to new handshakes.

        Raises:
            TypeError, ValueError: not an int of at least 1, or no number of seconds above 0.
        """
        check_positive("maximum_handshakes", maximum)
        self.timeout: float = check_seconds("handshake_timeout", timeout, positive=True)
        self.maximum: int = maximum

    # How many there are

    @property
    def count(self) -> int:
        """How many new connections there are."""
        return len(self._readers) + len(self._handshakes) + len(self.waiting)

    @property
    def full(self) -> bool:
        """Whether no more may come in."""
        unannounced = self._handshakes or self.waiting or self._readers  # usually none
        return bool(unannounced) and self.count >= self.maximum

    @property
    def reading(self) -> bool:
        """Whether tasks wait for a header."""
        return bool(self._readers)

    def has(self, connection: Connection) -> bool:
        """Whether the connection is one of them."""
        return connection in self._handshakes or connection in self.waiting

    # A proxy's header

    def expect_header(self) -> trio.CancelScope:
        """The header of a new connection is not complete; the scope is for ``read_header``."""
        scope = trio.CancelScope(deadline=trio.current_time() + self.timeout)
        self._readers.add(scope)
        return scope

    async def read_header(  # noqa: ASYNC910 - a task of its own
        self, reader: HeaderReader, scope: trio.CancelScope
    ) -> object:
        """Wait for the rest of a header.

        Returns:
            Why the connection is to be refused; ``None`` if the header is complete.
        """
        deadline, complete = scope.deadline, False
        try:
            with scope:
                await reader.read()
                complete = True
            if scope.cancel_called:  # it may have arrived meanwhile, or listening has stopped
                complete = trio.current_time() >= deadline and reader.step()
        except (ProxyProtocolError, OSError) as exc:
            return str(exc)  # noqa: ASYNC910 - as above; the error would refer to this frame
        finally:
            self._readers.discard(scope)
        return None if complete else TOO_LONG

    # Handshakes

    def begin(
        self, socket: ConnectedSocket, connection: Connection, deadline: float, over: Over
    ) -> bool:
        """Begin the handshake of a connection.

        Args:
            socket: the connection's.
            connection: an open one, which is held.
            deadline: when it has taken too long, on Trio's clock.
            over: called when it is over, which may be at once.

        Returns:
            Whether ``next_look`` is sooner than it was.

        Raises:
            SocketError: the handshake cannot begin.
        """
        limit = TimeLimit(trio.current_time(), self.timeout)
        limit.shorten(deadline)
        self._handshakes[connection] = limit
        seconds = socket._begin_handshake(over)
        if connection not in self._handshakes:
            return False
        limit.shorten(trio.current_time() + seconds)
        if limit.deadline >= self._looks_at:
            return False
        self._looks_at = limit.deadline
        return True

    def is_shaking(self, connection: Connection) -> bool:
        """Whether the connection's handshake goes on."""
        return connection in self._handshakes

    def pass_on(self, connection: Connection) -> None:
        """The handshake is done: the connection waits for a place."""
        del self._handshakes[connection]
        self.waiting[connection] = None

    def remove(self, connection: Connection) -> str:
        """The connection is announced, or has ended.

        Returns:
            Why it is to count as refused if it has ended; ``""`` if it was not new.
        """
        if self._handshakes and self._handshakes.pop(connection, None) is not None:
            return "it was closed in its handshake"
        if self.waiting and connection in self.waiting:
            del self.waiting[connection]
            return "it ended before there was a place for it"
        return ""

    # Slow ones

    def due(self) -> list[Connection]:
        """Connections whose time is up; call ``is_late`` for each."""
        now = trio.current_time()
        return [each for each, limit in self._handshakes.items() if now >= limit.deadline]

    def is_late(self, connection: Connection) -> bool:
        """Whether the handshake has taken too long; call it after all input was read."""
        limit = self._handshakes.get(connection)
        if limit is None:
            return False
        return limit.is_over(trio.current_time(), counts_lateness=runs_by_itself())

    def next_look(self) -> float:
        """When to call ``due`` again, on Trio's clock."""
        limits = self._handshakes.values()
        self._looks_at = min((limit.deadline for limit in limits), default=math.inf)
        return self._looks_at

    # Refusals

    def note_refusal(self, why: object, accepted: int) -> None:
        """Count a new connection that is refused, and log why.

        Args:
            why: an error, or a text.
            accepted: how many connections were ever announced.
        """
        self.refused += 1
        # As an attribute of the record, for a handler that wants more than the text.
        _logger.debug("refused a connection: %s", why, extra={"refused": why})
        accepted_before, refused_before = self._before
        in_vain = self.refused - refused_before
        if in_vain == _TELLING_REFUSALS and accepted == accepted_before:  # probably our own fault
            _logger.warning(
                "all of the first %d connections were refused; the last: %s", in_vain, why
            )

    # Listening

    def open(self, accepted: int) -> None:
        """The server listens again."""
        self._before = accepted, self.refused

    def stop(self) -> list[Connection]:
        """Listening has stopped.

        Returns:
            The new connections, to be closed; tasks that wait for a header end by themselves.
        """
        for scope in self._readers:
            scope.cancel("listening has stopped")
        self._looks_at = math.inf  # there are no handshakes to check any more
        return [*self._handshakes, *self.waiting]
