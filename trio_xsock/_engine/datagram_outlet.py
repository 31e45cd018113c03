"""``DatagramOutlet``: sends datagrams at once, and queues them only if the OS has no room.

It caches the routes to addresses. Queued datagrams are sent when the OS has room again, in order,
and the tasks that wait for them are woken.
"""

from __future__ import annotations

import errno as errnos
import os
from collections.abc import Callable
from typing import Final, TypeAlias

from trio_xsock._machines.endpoint import ResolvedAddress, address_text
from trio_xsock._machines.udp_queue import Departure, DepartureQueue
from trio_xsock._network.udp_port import Port, Route
from trio_xsock._runtime.delivery import Delivery
from trio_xsock._runtime.guard import Parking, protect_from_ki
from trio_xsock._runtime.readiness import Watch
from trio_xsock._values.datagram import Datagram
from trio_xsock._values.errors import SocketError
from trio_xsock._values.events import SendComplete
from trio_xsock._values.typing import Buffer

from .datagram_reasons import not_sent

Waiting: TypeAlias = Departure[Route, Parking[None]]
"""A datagram that waits to be sent, and the task that waits for it."""

_QUEUE_LIMIT: Final = 2**26
_MOST_ROUTES: Final = 1024
"""The most routes in the cache."""
_MOST_AT_ONCE: Final = 64
"""The most datagrams to send before other sockets are served."""
_NOT_THIS_WAY: Final = frozenset({errnos.ENETUNREACH, errnos.EHOSTUNREACH, errnos.EADDRNOTAVAIL})
_INTERFACE_GONE: Final = _NOT_THIS_WAY | {errnos.ENODEV, errnos.ENXIO, errnos.ENETDOWN}


@protect_from_ki
class DatagramOutlet:
    """The sending half of a ``DatagramPort``.

    Args:
        delivery: where events are posted.

    Attributes:
        bytes_out, packets_out: what the OS took, over all bindings.
        departures: what is queued.
    """

    __slots__ = (
        "_blocked",
        "_delivery",
        "_drained",
        "_port",
        "_routes",
        "_watch",
        "bytes_out",
        "departures",
        "packets_out",
    )

    def __init__(self, delivery: Delivery) -> None:
        self.bytes_out: int = 0
        self.packets_out: int = 0
        self.departures: DepartureQueue[Route, Parking[None]] = DepartureQueue(_QUEUE_LIMIT)
        self._delivery = delivery
        self._routes: dict[tuple[str, int, str], Route] = {}
        self._drained: list[Parking[None]] = []
        self._port: Port | None = None
        self._watch: Watch | None = None
        self._blocked = False  # something is queued, and the OS is watched for room

    @property
    def is_empty(self) -> bool:
        """Nothing is queued."""
        return not self.departures.departures

    # Its life

    def attach(self, port: Port, watch: Watch) -> None:
        """Send by ``port``, which is just bound."""
        self._port = port
        self._watch = watch

    def stop(self) -> None:
        """The port is closing: what is queued is still sent."""
        self._routes.clear()

    def close(self, why: Callable[[], SocketError]) -> None:
        """The port is closed: drop what is queued.

        Args:
            why: makes the error for each that waits for a datagram to be sent.
        """
        self._routes.clear()
        for departure in self.departures.clear():
            if departure.waiter is not None:
                departure.waiter.fail(why())
        self._blocked = False
        self._port = self._watch = None
        self._release_waiters()

    def wait_until_empty(self) -> Parking[None]:
        """Wait until nothing is queued, or the port is closed."""
        parking: Parking[None] = Parking()
        self._drained.append(parking)
        return parking

    # Routes

    def known_route(self, address: str, number: int, source: str) -> Route | None:
        """The cached route to an address and port, from one of our addresses or ``""``."""
        return self._routes.get((address, number, source))

    def route(self, address: ResolvedAddress, source: str) -> Route:
        """Find the route to an address, and cache it.

        Args:
            address: where to.
            source: see ``Port.route``.

        Raises:
            SocketError: there is no route.
        """
        if len(self._routes) >= _MOST_ROUTES:
            self._routes.clear()
        try:
            if self._port is None:
                raise OSError(errnos.EBADF, os.strerror(errnos.EBADF))
            route = self._port.route(address, source)
        except OSError as exc:
            raise not_sent(exc, address.address) from exc
        self._routes[address_text(address.address), address.address[1], source] = route
        return route

    # Sending

    def send_known(self, datagram: Datagram) -> bool:
        """Send a datagram the short way: its route is cached, and nothing is posted.

        Returns:
            Whether it was sent; otherwise use the general way.

        Raises:
            SocketError: the OS refuses it.
        """
        route = self._routes.get((datagram.address, datagram.port, datagram.local_address))
        if route is None or self._blocked or self._delivery.hub.watches_sends:
            return False
        send, address = route
        try:
            self.bytes_out += send(datagram.data, address)
        except OSError as exc:
            if isinstance(exc, BlockingIOError) or self._is_worth_another_try(exc):
                return False
            raise not_sent(exc, address) from exc
        self.packets_out += 1
        return True

    def send_by_first(self, routes: list[Route], data: Buffer) -> bool:
        """Send by the first of these routes that works; False if the OS has no room now.

        Raises:
            SocketError: it refuses the datagram.
        """
        *others, last = routes
        for route in others:
            try:
                return self.send_now(route, data)
            except SocketError as error:
                if error.errno not in _NOT_THIS_WAY:
                    raise
        return self.send_now(last, data)

    def send_now(self, route: Route, data: Buffer, *, again: bool = True) -> bool:
        """Give a datagram to the OS; False if it has no room now.

        Args:
            route: its route.
            data: its content.
            again: whether to try again if the error may be of an earlier datagram.

        Raises:
            SocketError: the OS refuses it.
        """
        try:
            sent = route.send(data, route.address)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as exc:
            if again and self._is_worth_another_try(exc):
                return self.send_now(route, data, again=False)
            raise not_sent(exc, route.address) from exc
        self.packets_out += 1
        self.bytes_out += sent
        return True

    def _is_worth_another_try(self, exc: OSError) -> bool:
        """Whether it concerns an earlier datagram (ICMP), or the interface has changed."""
        if isinstance(exc, ConnectionError):
            return True
        port = self._port
        return exc.errno in _INTERFACE_GONE and port is not None and port.refresh()

    def tell_sent(self, data: Buffer) -> None:
        """Post the events of a datagram that was sent at once, with nothing queued."""
        if SendComplete in self._delivery.hub.wanted:
            self._delivery.post(SendComplete, False, memoryview(data).nbytes, 0)

    # What is queued

    def queue(self, departure: Waiting) -> None:
        """Queue a datagram, for which there is room in the queue."""
        self.departures.put(departure)
        self._note_queue()

    def withdraw(self, departure: Waiting) -> None:
        """Its sender was cancelled."""
        self.departures.withdraw(departure)
        self._note_queue()

    def write_step(self) -> bool:
        """Send what is queued, as much as the OS takes now; return whether anything was sent."""
        queue = self.departures
        gone = 0
        while queue.departures and gone < _MOST_AT_ONCE:
            departure = queue.departures[0]
            try:
                if not self.send_now(departure.route, departure.data):
                    break
            except SocketError as error:
                queue.drop_first()
                self._tell_refused(departure, error)
            else:
                queue.sent_first()
                if departure.waiter is not None:
                    departure.waiter.unpark(None)
            gone += 1
        if gone:
            self._note_queue()
        return gone > 0

    def _tell_refused(self, departure: Waiting, error: SocketError) -> None:
        """The OS refuses a queued datagram: raise it in the waiting task, or post it."""
        if departure.waiter is not None:
            departure.waiter.fail(error)
        else:
            self._delivery.post_error(error)

    def _note_queue(self) -> None:
        """The queue has changed: watch for room, or post that it is empty."""
        blocked = not self.is_empty
        if blocked is self._blocked:
            return
        self._blocked = blocked
        if self._watch is not None:
            self._watch.writing(blocked)
        if not blocked:
            sent = self.departures.end_batch()
            self._delivery.post(SendComplete, False, sent, 0)
            self._release_waiters()

    def _release_waiters(self) -> None:
        for parking in self._drained:
            parking.unpark(None)
        self._drained.clear()
