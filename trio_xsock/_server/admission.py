"""``Admission``: the steps of a connection from accept to its announcement.

Most connections are announced at once. Others have a TLS handshake first, and then wait in the
``Lobby`` until the ``Roster`` has a place. An announced connection goes to the ``Staff``, unless
its socket has a handler or channel of its own.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar, TypeVarTuple, Unpack

import trio

from trio_xsock._engine.connection import Connection
from trio_xsock._engine.ending import close
from trio_xsock._engine.owner import Owner
from trio_xsock._engine.ticking import look
from trio_xsock._machines.endpoint import address_text
from trio_xsock._machines.roster import Roster
from trio_xsock._network.options import check_optional_seconds
from trio_xsock._network.transport import Transport
from trio_xsock._runtime.guard import protect_from_ki
from trio_xsock._runtime.keeper import Keeper
from trio_xsock._sockets.connected import ConnectedSocket
from trio_xsock._values.errors import SocketError

from .changes import Changes
from .lobby import TOO_LONG, Lobby
from .pool import is_live
from .staff import Staff

S = TypeVar("S", bound=ConnectedSocket)
Ts = TypeVarTuple("Ts")


class Server(Owner, Protocol):
    """The owner of the connections, with one more callback."""

    def handshake_over(self, connection: Connection, error: BaseException | None, /) -> None:
        """The handshake of a new connection is done, or has failed with ``error``."""


@protect_from_ki
class Admission(Generic[S]):
    """Announces accepted connections, after a handshake if they need one.

    Args:
        roster: the places.
        lobby: the new connections.
        staff: gets announced connections.
        changes: posts the changes.
        idle_timeout: for sockets that have none of their own, in seconds; ``None`` for none.

    Attributes:
        idle_timeout: as above; changed by ``limit_idleness``.
    """

    __slots__ = ("_changes", "_lobby", "_roster", "_staff", "idle_timeout")

    def __init__(
        self,
        roster: Roster[Connection, S],
        lobby: Lobby,
        staff: Staff[S],
        changes: Changes,
        idle_timeout: float | None,
    ) -> None:
        self._roster = roster
        self._lobby = lobby
        self._staff = staff
        self._changes = changes
        self.limit_idleness(idle_timeout)

    def limit_idleness(self, timeout: float | None) -> None:
        """Change ``idle_timeout``, for new connections.

        Raises:
            TypeError, ValueError: not a number of seconds above 0, or ``None``.
        """
        self.idle_timeout: float | None = check_optional_seconds("idle_timeout", timeout)

    def take_in(
        self,
        server: Server,
        keeper: Keeper,
        socket: S,
        transport: Transport,
        peer: tuple[Any, ...],
        deadline: float | None,
    ) -> None:
        """Announce a connection that was accepted, or begin its handshake.

        Args:
            server: its owner.
            keeper: the server's tasks.
            socket: a new one, for this connection.
            transport: the connection's; owned from now on.
            peer: the peer's address.
            deadline: when the handshake has taken too long; ``None`` to count from now.
        """
        connection = socket._begin_accepted(server, keeper)
        self._roster.add(connection, socket)
        try:
            address = sys.intern(address_text(peer))  # many may come from few, as behind a proxy
            connection.open(transport, (address, peer[1]), hold=socket._wants_tls())
            if connection.link.securing:
                if deadline is None:
                    deadline = trio.current_time() + self._lobby.timeout
                self._begin_handshake(server, keeper, connection, deadline)
            else:
                connection.delivery.run_step(connection, self._announce, connection)
        except Exception as exc:
            server.connection_broke(connection, exc)
            transport.close()  # the connection may not have it yet

    def _announce(self, connection: Connection) -> None:
        """A connection is ready for use; it counts as connected."""
        socket = self._roster.announce(connection)
        self._changes.post(1, 0, len(self._roster.placed))
        live = is_live(socket)
        if self.idle_timeout is not None and socket.idle_timeout is None:
            socket.idle_timeout = self.idle_timeout
        connection.announce()
        if not live:
            self.offer(connection, socket)

    def offer(self, connection: Connection, socket: S) -> None:
        """Give a connection to a waiting call, or let the connection wait."""
        if not self._staff.take(connection, socket):
            self._roster.keep_ready(connection)

    def admit(self, server: Server) -> None:
        """Announce those whose handshake is done, as far as there are places."""
        for connection in list(self._lobby.waiting):
            live = is_live(self._roster.open[connection])
            if self._roster.has_place(wanted=live or self._staff.wants):
                self._lobby.remove(connection)
                attend(server, connection, self._announce, connection)

    # Handshakes

    def _begin_handshake(
        self, server: Server, keeper: Keeper, connection: Connection, deadline: float
    ) -> None:
        over = functools.partial(server.handshake_over, connection)
        socket = self._roster.open[connection]
        try:
            if self._lobby.begin(socket, connection, deadline, over):
                keeper.wake()
        except SocketError as exc:
            over(exc)

    def turn_away(self, connection: Connection, why: object) -> None:
        """A new connection is refused in its handshake, or while it waits for a place."""
        self._lobby.note_refusal(why, self._roster.accepted)
        self._lobby.remove(connection)
        close(connection)

    def turn_slow_ones_away(self, server: Server) -> float:
        """Refuse those whose handshake takes too long; returns when to call this again."""
        for connection in self._lobby.due():
            attend(server, connection, look, connection)  # input may have arrived meanwhile
            if self._lobby.is_late(connection):
                attend(server, connection, self.turn_away, connection, TOO_LONG)
        return self._lobby.next_look()

    def refuse(self, transport: Transport, why: object) -> None:
        """A connection that has no socket yet will not become one."""
        self._lobby.note_refusal(why, self._roster.accepted)
        transport.close()

    def forget(self, connection: Connection) -> bool:
        """A connection is closed; returns whether it was new, and counts as refused."""
        why = self._lobby.remove(connection)
        if why:
            self._lobby.note_refusal(why, self._roster.accepted)
        return bool(why)


def attend(
    server: Owner,
    connection: Connection,
    step: Callable[[Unpack[Ts]], object],
    *args: *Ts,
) -> None:
    """Take a step for one peer: an exception ends the connection of that peer only."""
    try:
        step(*args)
    except Exception as exc:
        server.connection_broke(connection, exc)
