"""Sending datagrams: tried at once, and queued only where the OS would not take them."""

from __future__ import annotations

import errno as errnos

import trio

from trio_xsock._machines.endpoint import check_address, check_port
from trio_xsock._machines.udp_queue import Departure
from trio_xsock._network.options import check_seconds
from trio_xsock._network.udp_port import Route
from trio_xsock._runtime.guard import Parking, protect_from_ki
from trio_xsock._values.datagram import Datagram, check_datagram
from trio_xsock._values.errors import (
    InvalidPortError,
    OutOfMemoryError,
    SocketError,
)
from trio_xsock._values.events import SendComplete
from trio_xsock._values.typing import Buffer

from .udp_routing import UDPRouting

_GRACE = 5.0
_MOST_AT_ONCE = 64
"""Datagrams to send before other sockets have their turn."""
_NOT_THIS_WAY = frozenset({errnos.ENETUNREACH, errnos.EHOSTUNREACH, errnos.EADDRNOTAVAIL})
_INTERFACE_GONE = _NOT_THIS_WAY | {errnos.ENODEV, errnos.ENXIO, errnos.ENETDOWN}


@protect_from_ki
class UDPSending(UDPRouting):
    """The sending half of a datagram socket."""

    __slots__ = ()

    @property
    def packets_left_to_send(self) -> int:
        """Datagrams that the OS has not taken yet. Xojo: ``PacketsLeftToSend``."""
        return len(self._departures.departures)

    def write(self, datagram: Datagram) -> None:
        """Send a datagram to its ``address`` and ``port``; never waits. Xojo: ``Write``.

        It goes at once; only where the OS has no room for it now it is queued.

        Args:
            datagram: ``address`` must be an IP address; ``send`` takes host names. It leaves
                from ``local_address`` where that is set.

        Raises:
            InvalidStateError: not bound.
            SocketClosedError: we closed the socket.
            NameResolutionError: the address is no IP address.
            InvalidPortError: the port is outside 1..65535.
            SocketError: the OS refuses the datagram; ``errno`` says why, such as EMSGSIZE for
                one that is too large, or ENETUNREACH. The socket goes on.
            OutOfMemoryError: more than 64 MiB would be queued.
            TypeError: ``datagram`` is no ``Datagram``.

        Events: ``SendComplete`` when nothing is queued any more; ``ErrorOccurred`` if the OS
        refuses the datagram later, when its turn has come.
        """
        # The usual case, without detours; all others are below.
        if type(datagram) is not Datagram:
            check_datagram(datagram)
        route = self._routes.get((datagram.address, datagram.port, datagram.local_address))
        if route is None or self._blocked or self._delivery.hub.watches_sends:
            self._write(datagram.address, datagram.data, datagram.port, datagram.local_address)
            return
        send, address = route
        try:
            self._bytes_out += send(datagram.data, address)
        except OSError as exc:
            self._write_again(exc, route, datagram)
        else:
            self._packets_out += 1

    def write_to(self, address: str, data: Buffer, port: int | None = None) -> None:
        """Send bytes to an address; never waits. Xojo: ``Write(address, data)``.

        Args:
            address: an IP address.
            data: the bytes, in any buffer; a copy is made where they have to be queued.
            port: the port there; ``None`` for the one that ``port`` was set to here.

        Raises:
            InvalidPortError: the port is outside 1..65535; or there is none, and ours was
                left to the OS, which the other side's is not.
            InvalidStateError, SocketClosedError, NameResolutionError, SocketError,
            OutOfMemoryError, TypeError: as ``write``.

        Events: as ``write``.
        """
        self._check_bound()
        self._write(address, data, self._port_there() if port is None else port)

    def _port_there(self) -> int:
        if not self._port:
            raise InvalidPortError(
                f"{self!r}: a port is needed: our own was left to the OS, so it says nothing of "
                "the other side's"
            )
        return self._port

    def _write_again(self, exc: OSError, route: Route, datagram: Datagram) -> None:
        """The first attempt has failed; raise why, if there is no point in another."""
        if not isinstance(exc, BlockingIOError) and not self._is_worth_another_try(exc):
            raise self._refusal(exc, route.address) from exc
        self._write(datagram.address, datagram.data, datagram.port, datagram.local_address)

    def _write(self, address: str, data: Buffer, port: int, source: str = "") -> None:
        # A port such as 9.0 or True is found among the routes, too.
        check_port(port, allow_zero=False, host=check_address(address))
        memoryview(data).release()  # raises TypeError if it is no buffer
        route = self._routes.get((address, port, source))
        if route is None:
            route = self._route(address, port, source)
        if self._departures.departures or not self._send_now(route, data):
            self._queue(Departure(bytes(data), route))
        elif SendComplete in self._delivery.hub.wanted:
            self._delivery.post(SendComplete, False, memoryview(data).nbytes, 0)

    async def send(self, value: Datagram) -> None:
        """Send a datagram to its ``address`` and ``port``; returns when the OS has taken it.

        Args:
            value: the datagram; its ``address`` is an IP address or a host name. Of a name's
                addresses it is the first one to which there is a way. A name is looked up once
                and remembered for 5 seconds. It leaves from ``local_address``, as with ``write``.

        Raises:
            NameResolutionError: the name has no address, or is empty or malformed.
            trio.ClosedResourceError: as ``SocketClosedError``, before or meanwhile.
            SocketError: as of ``write``.
            TypeError: ``value`` is no ``Datagram``.

        Cancellation: the datagram was not sent.
        Events: ``SendComplete`` when nothing is queued any more.
        """
        check_datagram(value)
        data = value.data
        await trio.lowlevel.checkpoint_if_cancelled()
        routes = await self._routes_to(value.address, value.port, value.local_address)
        if self._departures.departures or not self._send_some_way(routes, data):
            await self._wait_to_send(Departure(bytes(data), routes[0]))
            return
        if SendComplete in self._delivery.hub.wanted:
            self._delivery.post(SendComplete, False, len(data), 0)
        await self._settle()
        await trio.lowlevel.cancel_shielded_checkpoint()

    async def _wait_to_send(self, departure: Departure[Route, Parking[None]]) -> None:
        self._check_thread()
        parking: Parking[None] = Parking()
        departure.waiter = parking

        def withdraw() -> None:
            self._departures.withdraw(departure)
            self._note_queue()

        self._queue(departure)
        await parking.park(withdraw)
        await self._settle()  # noqa: ASYNC120 - cancelled only if a handler failed

    def _send_some_way(self, routes: list[Route], data: bytes) -> bool:
        """Send by the first way that is one; False if the OS has no room now."""
        *others, last = routes
        for route in others:
            try:
                return self._send_now(route, data)
            except SocketError as error:
                if error.errno not in _NOT_THIS_WAY:
                    raise
        return self._send_now(last, data)

    # The OS

    def _send_now(self, route: Route, data: Buffer, *, again: bool = True) -> bool:
        """Give a datagram to the OS; False if it has no room now.

        Raises:
            SocketError: it refuses it.
        """
        try:
            sent = route.send(data, route.address)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as exc:
            if again and self._is_worth_another_try(exc):
                return self._send_now(route, data, again=False)
            raise self._refusal(exc, route.address) from exc
        self._packets_out += 1
        self._bytes_out += sent
        return True

    def _is_worth_another_try(self, exc: OSError) -> bool:
        """It is about an earlier datagram (ICMP), or the interface has changed meanwhile."""
        if isinstance(exc, ConnectionError):
            return True
        assert self._port_bound is not None
        return exc.errno in _INTERFACE_GONE and self._port_bound.refresh()

    def _queue(self, departure: Departure[Route, Parking[None]]) -> None:
        if not self._departures.has_room_for(len(departure.data)):
            raise OutOfMemoryError(
                f"{self!r}: the send queue is full; wait for SendComplete, or use `await send()`"
            )
        self._departures.put(departure)
        self._note_queue()

    def _send_some(self) -> bool:
        return not self._blocked and self._write_step()

    def _on_writable(self) -> None:
        self._run_step(self._write_step)

    def _write_step(self) -> bool:
        """Send what is queued, as much as the OS takes now; whether that was any."""
        queue = self._departures
        gone = 0
        while queue.departures and gone < _MOST_AT_ONCE:
            departure = queue.departures[0]
            try:
                if not self._send_now(departure.route, departure.data):
                    break
            except SocketError as error:
                queue.drop_first()
                self._not_sent(departure, error)
            else:
                queue.sent_first()
                if departure.waiter is not None:
                    departure.waiter.unpark()
            gone += 1
        if gone:
            self._note_queue()
        return gone > 0

    def _not_sent(self, departure: Departure[Route, Parking[None]], error: SocketError) -> None:
        """The OS refuses what was queued: tell who waits for it, or everybody."""
        if departure.waiter is not None:
            departure.waiter.fail(error)
        else:
            self._delivery.post_error(error)

    def _note_queue(self) -> None:
        """The queue has changed: watch for room, or tell that it has run empty."""
        blocked = bool(self._departures.departures)
        if blocked is self._blocked:
            return
        self._blocked = blocked
        assert self._port_bound is not None
        self._watches[self._port_bound].writing(blocked)
        if not blocked:
            sent = self._departures.end_batch()
            self._delivery.post(SendComplete, False, sent, 0)
            self._release_waiters()

    def _release_waiters(self) -> None:
        for parking in self._drained:
            parking.unpark()
        self._drained.clear()

    # Closing

    async def aclose(self, grace: float = _GRACE) -> None:
        """Send what is queued, then give the port back. Always legal, idempotent.

        What was received stays readable.

        Args:
            grace: how many seconds this may take; then as ``close()``.

        Raises:
            ValueError, TypeError: ``grace`` is negative, or not a number.

        Cancellation: the socket is closed at once.
        Events: those of the sends; nothing more.
        """
        check_seconds("grace", grace)
        self._check_thread()
        self._closed_by_us = True
        self._stop_receiving()
        if not self._departures.departures:
            self.close()
            await trio.lowlevel.checkpoint()
        else:
            try:
                await self._wait_until_sent(grace)
            finally:
                self.close()
                self._run_handlers()
        await self._settle()

    async def _wait_until_sent(self, seconds: float) -> None:  # noqa: ASYNC910 - see _park_for
        parking: Parking[None] = Parking()
        self._drained.append(parking)
        await self._park_for(parking, seconds, lambda: None)  # close() forgets it

    def _stop_calls(self) -> None:
        self._stop_receiving()
        for departure in self._departures.clear():
            if departure.waiter is not None:
                departure.waiter.fail(self._closed_error("closed before the datagram was sent"))
        self._blocked = False
        self._release_waiters()
