"""``ServerParts``: the parts of a server, made from its options."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from trio_xsock._engine.connection import Connection
from trio_xsock._machines.roster import Roster
from trio_xsock._network.options import check_count, check_positive
from trio_xsock._runtime.delivery import Delivery
from trio_xsock._sockets.connected import ConnectedSocket

from .accepting import Accepting
from .admission import Admission
from .changes import Changes
from .lobby import Lobby
from .pool import check_add_socket
from .proxied import Proxied
from .staff import Staff

S = TypeVar("S", bound=ConnectedSocket)


class ServerParts(Generic[S]):
    """The parts, none of which has a reference to the server.

    Args:
        delivery: posts the server's events.
        add_socket, minimum, maximum, idle_timeout, maximum_handshakes, handshake_timeout,
        raise_handler_errors, proxy_protocol, trusted_proxies: see ``ServerSocket``.

    Attributes:
        accepting: what is listened on, and the sockets for new connections.
        admission: the steps from accept to announcement.
        changes: posts ``ConnectionsChanged``.
        lobby: the new connections.
        proxied: which proxies are trusted.
        roster: the places.
        staff: the handlers and the waiting calls.

    Raises:
        TypeError, ValueError: an option is of a wrong type, or out of its range.
    """

    __slots__ = ("accepting", "admission", "changes", "lobby", "proxied", "roster", "staff")

    def __init__(
        self,
        delivery: Delivery,
        add_socket: Callable[[], S],
        *,
        minimum: int,
        maximum: int | None,
        idle_timeout: float | None,
        maximum_handshakes: int,
        handshake_timeout: float,
        raise_handler_errors: bool,
        proxy_protocol: bool,
        trusted_proxies: Any,
    ) -> None:
        check_add_socket(add_socket)
        self.accepting: Accepting[S] = Accepting(add_socket)
        self.roster: Roster[Connection, S] = Roster(check_minimum(minimum), check_maximum(maximum))
        self.lobby = Lobby(maximum_handshakes, handshake_timeout)
        self.staff: Staff[S] = Staff(delivery, raise_handler_errors)
        self.changes = Changes(delivery)
        self.proxied = Proxied(proxy_protocol, trusted_proxies)
        self.admission: Admission[S] = Admission(
            self.roster, self.lobby, self.staff, self.changes, idle_timeout
        )


def check_minimum(minimum: int) -> int:
    """How many sockets are made ahead: an int of at least 0."""
    return check_count("minimum_sockets_available", minimum)


def check_maximum(maximum: int | None) -> int | None:
    """A maximum: an int of at least 1, or ``None``."""
    return None if maximum is None else check_positive("maximum_sockets_connected", maximum)
