"""The base of datagram sockets: the port while it is bound, and the facts about it.

``UDPSocket`` is built of this, ``UDPReceiving`` and ``UDPSending``, each in a module of its own.
The *steps* in them are plain functions that never wait, called when a port is ready.
"""

from __future__ import annotations

import abc
from collections import deque
from typing import Final

import trio

from trio_xsock._machines.endpoint import check_address, format_endpoint
from trio_xsock._machines.state import SocketState
from trio_xsock._machines.udp_groups import Memberships
from trio_xsock._machines.udp_queue import ArrivalQueue, DepartureQueue
from trio_xsock._network.interface import NetworkInterface
from trio_xsock._network.names import NameMemory
from trio_xsock._network.options import check_positive
from trio_xsock._network.socket_view import Descriptor
from trio_xsock._network.udp_port import Opener, Port, Route
from trio_xsock._network.udp_system import open_port
from trio_xsock._runtime.channel import EventChannel
from trio_xsock._runtime.guard import Parking, protect_from_ki
from trio_xsock._runtime.readiness import Watch
from trio_xsock._values.datagram import Datagram
from trio_xsock._values.errors import (
    InvalidStateError,
    SocketClosedError,
)
from trio_xsock._values.events import Connected, DataAvailable, Event
from trio_xsock._values.statistics import SocketStatistics
from trio_xsock._values.typing import Address

from .core import SocketCore
from .renewal import Renewal

_SEND_QUEUE_LIMIT: Final = 2**26
_ROUTER_HOPS: Final = 32


@protect_from_ki
class UDPBase(SocketCore):
    """One UDP port at a time, and what is known of it."""

    __slots__ = (
        "_address",
        "_arrivals",
        "_bind_scope",
        "_blocked",
        "_bytes_out",
        "_closed_by_us",
        "_departures",
        "_drained",
        "_dropped_by_system",
        "_handed_out",
        "_memberships",
        "_names",
        "_opener",
        "_packets_out",
        "_port_bound",
        "_receivers",
        "_renewal",
        "_router_hops",
        "_routes",
        "_send_to_self",
        "_unicast_hops",
        "_watches",
    )

    def __init__(
        self,
        port: int,
        address: str,
        handler: object,
        events: EventChannel | None,
        network_interface: NetworkInterface | None,
        receive_packet_limit: int,
    ) -> None:
        self._address = check_address(address)
        super().__init__(port, handler, events, network_interface)
        limit = check_positive("receive_packet_limit", receive_packet_limit)
        self._arrivals = ArrivalQueue(limit)
        self._departures: DepartureQueue[Route, Parking[None]] = DepartureQueue(_SEND_QUEUE_LIMIT)
        self._memberships = Memberships()
        self._opener: Opener = open_port
        self._port_bound: Port | None = None
        self._watches: dict[Port, Watch] = {}
        self._routes: dict[tuple[str, int, str], Route] = {}
        self._names = NameMemory()
        self._renewal = Renewal()
        self._receivers: deque[Parking[Datagram]] = deque()
        self._handed_out: int = 0
        self._drained: list[Parking[None]] = []
        self._bind_scope: trio.CancelScope | None = None
        self._blocked = False
        self._closed_by_us = False
        self._router_hops = _ROUTER_HOPS
        self._unicast_hops = False
        self._send_to_self = False
        self._packets_out: int = 0
        self._bytes_out: int = 0
        self._dropped_by_system: int = 0

    # Facts

    @property
    def address(self) -> str:
        """The local address to bind to, ``""`` for all; settable while closed.

        Raises (assignment):
            InvalidStateError: the socket is not closed.
            TypeError: not a str.
        """
        return self._address

    @address.setter
    def address(self, address: str) -> None:
        self._check_closed("address")
        self._address = check_address(address)

    @property
    def is_connected(self) -> bool:
        """Bound: can send and receive. Xojo: ``IsConnected``."""
        return self._state is SocketState.BOUND

    @property
    def handle(self) -> int:
        """The OS's descriptor, -1 when there is none. Xojo: ``Handle``."""
        return self._port_bound.fileno() if self._port_bound is not None else -1

    @property
    def remote_port(self) -> int:
        """0: a datagram socket has no peer of its own."""
        return 0

    def _descriptor(self) -> Descriptor | None:
        return self._port_bound.descriptor() if self._port_bound is not None else None

    def _local_endpoint(self) -> Address | None:
        return self._port_bound.getsockname() if self._port_bound is not None else None

    def statistics(self) -> SocketStatistics:
        """Counters since the socket was made, over all its bindings.

        ``packets_in`` and ``bytes_in`` are of the datagrams that found room,
        ``packets_dropped`` counts the others, here and, where the OS tells, in its own buffer.
        """
        arrivals = self._arrivals
        return SocketStatistics(
            bytes_in=arrivals.bytes_received,
            bytes_out=self._bytes_out,
            packets_in=arrivals.received,
            packets_out=self._packets_out,
            packets_dropped=arrivals.dropped + self.packets_dropped_by_system,
            bytes_available=arrivals.size(),
            bytes_left_to_send=self._departures.size,
            events_posted=self._delivery.hub.posted,
            events_merged=self._delivery.hub.merged,
        )

    @property
    def packets_dropped_by_system(self) -> int:
        """Datagrams that the OS's own buffer had no room for; 0 where it does not tell.

        They are part of ``statistics().packets_dropped``; the rest found no room here.
        """
        return self._dropped_by_system + sum(port.dropped() for port in self._watches)

    def _events_now(self) -> list[Event]:
        events: list[Event] = []
        if self._state is SocketState.BOUND:
            events.append(Connected(self))
        if self._arrivals.packets:
            events.append(DataAvailable(self))
        return events

    def __repr__(self) -> str:
        address = self._local_endpoint()
        where = f" to {format_endpoint(*address[:2])}" if address else f", port {self._port}"
        return (
            f"<{type(self).__name__} {self._state.value}{where}, "
            f"{len(self._arrivals.packets)} datagrams buffered, "
            f"{len(self._departures.departures)} queued>"
        )

    # For the classes above

    def _abort_from_handler(self) -> None:
        """There is no ``on_send_progress`` that could ask for it."""

    def _check_bound(self) -> None:
        """Raise what stands in the way of using the port."""
        if self._state is not SocketState.BOUND or self._closed_by_us:
            raise self._why_not_bound()

    def _why_not_bound(self) -> InvalidStateError:
        if self._closed_by_us:
            return self._closed_error()
        if self._keeper is None:
            return InvalidStateError(f"{self!r}: not bound; use `async with`, then bind()")
        return InvalidStateError(f"{self!r}: not bound; `await bind()` first")

    def _closed_error(self, what: str = "the socket was closed") -> SocketClosedError:
        keeper = self._keeper
        ended = keeper is not None and keeper.ended
        cure = f"make a new {type(self).__name__}" if ended else "bind() opens it again"
        error = SocketClosedError(f"{self!r}: {what}; {cure}")
        if keeper is not None and keeper.failures:
            error.__cause__ = keeper.failures[0]
        return error

    @abc.abstractmethod
    def _on_readable(self, port: Port) -> None:
        """The read step: something has arrived at a port."""

    @abc.abstractmethod
    def _on_writable(self) -> None:
        """The write step: the OS takes datagrams again."""
