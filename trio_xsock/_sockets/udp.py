"""``UDPSocket``: the calls that move datagrams, and its options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Self

import trio

from trio_xsock._engine.datagram_inbox import DatagramInbox
from trio_xsock._engine.datagram_outlet import Waiting
from trio_xsock._engine.datagram_port import DatagramPort
from trio_xsock._engine.datagram_reasons import check_bound
from trio_xsock._engine.datagram_requests import find_route, queue, write
from trio_xsock._machines.endpoint import check_address, check_port, literal_address
from trio_xsock._machines.udp_queue import Departure
from trio_xsock._network.interface import NetworkInterface
from trio_xsock._network.names import NameMemory
from trio_xsock._network.options import check_positive
from trio_xsock._network.udp_port import Route, Sharing
from trio_xsock._runtime.channel import EventChannel
from trio_xsock._runtime.guard import Parking, let_others_run, protect_from_ki
from trio_xsock._values.datagram import Datagram, check_datagram
from trio_xsock._values.events import DatagramEvent
from trio_xsock._values.typing import Buffer

from .multicast import MulticastCalls

_BETWEEN_CHECKPOINTS: Final = 64
"""The most datagrams that iteration returns before other tasks may run."""


@protect_from_ki
class UDPSocket(MulticastCalls, trio.abc.Channel[Datagram]):
    """Datagrams over IPv4 and IPv6: unicast, multicast and broadcast. Xojo: ``UDPSocket``.

    A ``trio.abc.Channel[Datagram]`` that lives in ``async with``::

        from dataclasses import replace

        async with UDPSocket(4711) as sock:
            await sock.bind()
            async for datagram in sock:
                sock.write(replace(datagram, data=b"got it"))

    Such an answer leaves from the address to which the datagram was sent.

    UDP guarantees nothing: datagrams may be lost, duplicated or reordered. What arrives is
    delivered once, complete, with its true sender, in the order of arrival. The absence of a peer
    is not noticed, and does not close the socket.

    Args:
        port: the port to bind to; 0 lets the OS pick one.
        address: the local address to bind to, ``""`` for all, IPv4 and IPv6.
        handler: a callback object, see ``SocketHandler``.
        events: a channel to post into, which other sockets may share.
        network_interface: the interface to receive and send by; its multicasts and broadcasts
            are received, too. ``None`` for all.
        receive_packet_limit: datagrams that may be unread; newer ones are dropped, and counted
            in ``statistics().packets_dropped``.

    All options are attributes too.

    Raises:
        InvalidPortError: ``port`` is outside 0..65535.
        TypeError, ValueError: another option is of a wrong type, or out of its range.
    """

    __slots__ = ("_handed_out", "_inbox", "_names")

    if TYPE_CHECKING:

        @property
        def events(self) -> EventChannel[DatagramEvent[Self]]: ...
        def subscribe(self) -> EventChannel[DatagramEvent[Self]]: ...

    def __init__(
        self,
        port: int = 0,
        *,
        address: str = "",
        handler: object = None,
        events: EventChannel | None = None,
        network_interface: NetworkInterface | None = None,
        receive_packet_limit: int = 1024,
    ) -> None:
        super().__init__(port, address, handler, events, network_interface)
        limit = check_positive("receive_packet_limit", receive_packet_limit)
        self._inbox = DatagramInbox(self._delivery, limit)
        self._datagrams = DatagramPort(self._delivery, self._inbox, Sharing.IN_A_GROUP)
        self._names = NameMemory()
        self._handed_out = 0  # datagrams, since the last checkpoint of an iteration

    async def __aenter__(self) -> Self:
        return await super().__aenter__()

    async def bind(self, port: int | None = None) -> None:
        """Bind to ``port``, from now on the socket sends and receives. Xojo: ``Connect``, ``Bind``.

        The port is not shared until the socket joins a multicast group; from then on other
        sockets may bind to it, so that all of them receive the group's datagrams. Of two
        programs that bind before either has joined, one gets ``AddressInUseError``.

        Args:
            port: the new value of ``port``; ``None`` leaves it unchanged. 0 lets the OS choose.

        Raises:
            InvalidStateError: not closed, or outside the block.
            InvalidPortError: outside 0..65535, or the port needs privileges.
            AddressInUseError: the port is taken.
            NameResolutionError: ``address`` has no address, or is malformed.
            SocketClosedError: ``close()`` was called meanwhile.
            OpenDriverError, OutOfMemoryError, SocketError: another error of the OS, such as an
                address or an interface that does not exist.
            TypeError: ``port`` is not an int.

        Cancellation: nothing is left over; the socket is closed and may be bound again.
        Events: ``Connected``, or ``ErrorOccurred`` for what is raised after the first two.
        """
        await self._bind(port, self._open)

    # Receiving

    @property
    def packets_available(self) -> int:
        """Datagrams that have arrived and are unread. Xojo: ``PacketsAvailable``."""
        return len(self._inbox.arrivals.packets)

    def read(self) -> Datagram | None:
        """Take the oldest datagram that has arrived. Xojo: ``Read``.

        Returns:
            The datagram with its sender's address and port, or ``None`` if there is none now.
        """
        return self._inbox.take()

    async def receive(self) -> Datagram:
        """Wait for a datagram; of several tasks that do, the first one gets the next datagram.

        Returns:
            The oldest unread datagram, with its sender's address and port.

        Raises:
            SocketClosedError: we closed the socket, before or meanwhile.
            InvalidStateError: not bound.

        Cancellation: nothing was taken.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        check_bound(self._datagrams, self)
        datagram = self._inbox.take()
        if datagram is not None:
            await let_others_run()
            return datagram
        self._check_thread()
        inbox = self._inbox
        parking = inbox.wait()
        return await parking.park(lambda: inbox.forget(parking))

    def __aiter__(self) -> Self:
        """Iterate over datagrams, for ever; ends by ``SocketClosedError`` or cancellation.

        Datagrams that have arrived are returned without a checkpoint each; there is one for
        every 64, and whenever the iterator has to wait.
        """
        return self

    async def __anext__(self) -> Datagram:
        if self._handed_out < _BETWEEN_CHECKPOINTS and self._inbox.arrivals.packets:
            check_bound(self._datagrams, self)
            datagram = self._inbox.take()
            if datagram is not None:
                self._handed_out += 1
                return datagram  # noqa: ASYNC910 - see __aiter__
        self._handed_out = 0
        return await self.receive()

    # Sending

    def write(self, datagram: Datagram) -> None:
        """Send a datagram to its ``address`` and ``port``; never waits. Xojo: ``Write``.

        It is sent at once, or queued if the OS has no room for it.

        Args:
            datagram: ``address`` must be an IP address; ``send`` takes host names. It leaves
                from ``local_address`` if that is set.

        Raises:
            InvalidStateError: not bound.
            SocketClosedError: we closed the socket.
            NameResolutionError: the address is no IP address.
            InvalidPortError: the port is outside 1..65535.
            SocketError: the OS refuses the datagram; ``errno`` says why, such as EMSGSIZE for
                one that is too large, or ENETUNREACH. The socket stays bound.
            OutOfMemoryError: more than 64 MiB would be queued.
            TypeError: ``datagram`` is no ``Datagram``.

        Events: ``SendComplete`` when nothing is queued any more; ``ErrorOccurred`` if the OS
        refuses the datagram later, when its turn has come.
        """
        if type(datagram) is not Datagram:
            check_datagram(datagram)
        if not self._datagrams.outlet.send_known(datagram):
            port, source = datagram.port, datagram.local_address
            write(self._datagrams, datagram.address, datagram.data, port, source, self)

    def write_to(self, address: str, data: Buffer, port: int | None = None) -> None:
        """Send bytes to an address; never waits. Xojo: ``Write(address, data)``.

        Args:
            address: an IP address.
            data: the bytes, in any buffer; they are copied if they have to be queued.
            port: the remote port; ``None`` for the same as this socket's ``port``.

        Raises:
            InvalidPortError: the port is outside 1..65535; or it is ``None`` and this socket's
                ``port`` is 0.
            InvalidStateError, SocketClosedError, NameResolutionError, SocketError,
            OutOfMemoryError, TypeError: as ``write``.

        Events: as ``write``.
        """
        check_bound(self._datagrams, self)
        number = self._port_there() if port is None else port
        write(self._datagrams, address, data, number, "", self)

    async def send(self, value: Datagram) -> None:
        """Send a datagram to its ``address`` and ``port``; returns when the OS has taken it.

        Args:
            value: the datagram; its ``address`` is an IP address or a host name. Of a name's
                addresses the first one with a route is used. A name is resolved once and cached
                for 5 seconds. The datagram leaves from ``local_address``, as with ``write``.

        Raises:
            NameResolutionError: the name has no address, or is empty or malformed.
            trio.ClosedResourceError: as ``SocketClosedError``, before or meanwhile.
            SocketError: as of ``write``.
            TypeError: ``value`` is no ``Datagram``.

        Cancellation: the datagram was not sent.
        Events: ``SendComplete`` when nothing is queued any more.
        """
        check_datagram(value)
        data, outlet = value.data, self._datagrams.outlet
        await trio.lowlevel.checkpoint_if_cancelled()
        routes = await self._routes_to(value.address, value.port, value.local_address)
        if not outlet.is_empty or not outlet.send_by_first(routes, data):
            await self._wait_to_send(Departure(bytes(data), routes[0]))
            return
        outlet.tell_sent(data)
        await self._settle()
        await trio.lowlevel.cancel_shielded_checkpoint()

    async def _routes_to(self, address: str, port: int, source: str) -> list[Route]:
        """The routes to a host; at least one."""
        datagrams = self._datagrams
        known = datagrams.outlet.known_route(address, port, source)
        if known is not None:
            return [known]  # noqa: ASYNC910 - the caller has a checkpoint
        family = check_bound(datagrams, self).family
        check_port(port, allow_zero=False, host=check_address(address))
        if literal_address(address, port) is not None:
            return [find_route(datagrams, address, port, source, self)]  # noqa: ASYNC910 - as above
        found = await self._names.resolve(address, port, family)
        check_bound(datagrams, self)  # it may have been closed meanwhile
        return [datagrams.outlet.route(each, source) for each in found]

    async def _wait_to_send(self, departure: Waiting) -> None:
        self._check_thread()
        outlet = self._datagrams.outlet
        parking = departure.waiter = Parking[None]()
        queue(self._datagrams, departure, self)
        await parking.park(lambda: outlet.withdraw(departure))
        await self._settle()  # noqa: ASYNC120 - cancelled only if a handler failed
