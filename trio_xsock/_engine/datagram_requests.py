"""The calls of a socket on its ``DatagramPort``: find a route, send a datagram, queue one."""

from __future__ import annotations

from trio_xsock._machines.endpoint import check_address, check_port, literal_address, shown
from trio_xsock._machines.udp_queue import Departure
from trio_xsock._network.udp_port import Route
from trio_xsock._values.errors import NameResolutionError, OutOfMemoryError
from trio_xsock._values.typing import Buffer

from .datagram_outlet import Waiting
from .datagram_port import DatagramPort
from .datagram_reasons import check_bound


def find_route(port: DatagramPort, address: str, number: int, source: str, who: object) -> Route:
    """The route to an IP address.

    Args:
        port: where from.
        address: the address.
        number: the port there.
        source: one of our addresses to send from, ``""`` for the OS's choice.
        who: the socket, for texts.

    Raises:
        SocketError: what prevents it.
    """
    check_bound(port, who)
    check_port(number, allow_zero=False, host=check_address(address))
    literal = literal_address(address, number)
    if literal is None:
        raise NameResolutionError(
            f"{who!r}: {shown(address)} is no IP address; `await send()` takes names, too"
        )
    return port.outlet.route(literal, source)


def write(
    port: DatagramPort, address: str, data: Buffer, number: int, source: str, who: object
) -> None:
    """Send a datagram now, or queue it if the OS has no room.

    Args:
        port: where from.
        address: an IP address.
        data: what it carries.
        number: the port there.
        source: as for ``find_route``.
        who: the socket, for texts.

    Raises:
        SocketError: it cannot be sent.
        TypeError: ``data`` is no buffer, or another argument is of a wrong type.
    """
    # A port such as 9.0 or True is equal to a cached one.
    check_port(number, allow_zero=False, host=check_address(address))
    memoryview(data).release()  # raises TypeError if it is no buffer
    outlet = port.outlet
    route = outlet.known_route(address, number, source)
    if route is None:
        route = find_route(port, address, number, source, who)
    if not outlet.is_empty or not outlet.send_now(route, data):
        queue(port, Departure(bytes(data), route), who)
    else:
        outlet.tell_sent(data)


def queue(port: DatagramPort, departure: Waiting, who: object) -> None:
    """Queue a datagram.

    Raises:
        OutOfMemoryError: there is too much in the queue.
    """
    outlet = port.outlet
    if not outlet.departures.has_room_for(len(departure.data)):
        raise OutOfMemoryError(
            f"{who!r}: the send queue is full; wait for SendComplete, or use `await send()`"
        )
    outlet.queue(departure)
