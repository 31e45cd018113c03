"""Receiving datagrams: from the port to who waits for them, or into the queue."""

from __future__ import annotations

from typing import Final, Self

import trio

from trio_xsock._machines.endpoint import address_text
from trio_xsock._network.options import check_positive
from trio_xsock._network.udp_port import Port
from trio_xsock._runtime.epoll import look_before_waiting
from trio_xsock._runtime.guard import Parking, let_others_run, protect_from_ki
from trio_xsock._values.datagram import Datagram, received_datagram
from trio_xsock._values.events import DataAvailable

from .udp_binding import UDPBinding

_BETWEEN_CHECKPOINTS: Final = 64
"""Datagrams that have arrived and that iteration hands out before other tasks get their turn."""


@protect_from_ki
class UDPReceiving(UDPBinding):
    """The receiving half of a datagram socket."""

    __slots__ = ()

    @property
    def receive_packet_limit(self) -> int:
        """Datagrams that may be unread; newer ones are dropped. Takes effect at once.

        Raises (assignment):
            ValueError, TypeError: less than 1, or not an int.
        """
        return self._arrivals.limit

    @receive_packet_limit.setter
    def receive_packet_limit(self, limit: int) -> None:
        self._arrivals.limit = check_positive("receive_packet_limit", limit)

    @property
    def packets_available(self) -> int:
        """Datagrams that have arrived and are unread. Xojo: ``PacketsAvailable``."""
        return len(self._arrivals.packets)

    def read(self) -> Datagram | None:
        """Take the oldest datagram that has arrived. Xojo: ``Read``.

        Returns:
            The datagram with its sender's address and port, or ``None`` if there is none now.
        """
        arrivals = self._arrivals
        packets = arrivals.packets
        if not packets:
            return None
        packet = packets.popleft()
        if not packets and self._delivery.hub.has_channels:
            self._delivery.hub.withdraw_data()
        if len(packet) == 2:
            data, address = packet
            local = arrivals.own_address
        else:
            data, address, local = packet
        host = address[0] if len(address) == 2 else address_text(address)
        return received_datagram(host, address[1], data, local)

    def purge(self) -> None:
        """Empty the receive queue; what is queued to be sent is untouched. Xojo: ``Purge``."""
        self._arrivals.packets.clear()
        self._delivery.hub.withdraw_data()

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
        self._check_bound()
        datagram = self.read()
        if datagram is None:
            return await self._wait_for_datagram()
        await let_others_run()
        return datagram

    async def _wait_for_datagram(self) -> Datagram:
        self._check_thread()
        parking: Parking[Datagram] = Parking()
        self._receivers.append(parking)
        look_before_waiting()
        datagram = await parking.park(lambda: self._receivers.remove(parking))
        assert datagram is not None
        return datagram

    def __aiter__(self) -> Self:
        """Iterate over datagrams, for ever; ends by ``SocketClosedError`` or cancellation.

        Datagrams that have arrived are handed out without a checkpoint each; there is one for
        every 64, and whenever the iterator has to wait.
        """
        return self

    async def __anext__(self) -> Datagram:
        if self._handed_out < _BETWEEN_CHECKPOINTS and self._arrivals.packets:
            self._check_bound()
            datagram = self.read()
            assert datagram is not None
            self._handed_out += 1
            return datagram  # noqa: ASYNC910 - see __aiter__
        self._handed_out = 0
        return await self.receive()

    # The step

    def _on_readable(self, port: Port) -> None:
        self._run_step(self._read_step, port)

    def _read_step(self, port: Port) -> bool:
        """Take in what has arrived at a port; whether there was anything."""
        packets = port.receive()
        if packets and self._arrivals.put(packets):
            self._arrived()
        return bool(packets)

    def _arrived(self) -> None:
        """New datagrams are in the queue: serve who waits, announce the rest.

        For subclasses to change, which make something else of datagrams.
        """
        packets, receivers, hub = self._arrivals.packets, self._receivers, self._delivery.hub
        while receivers and packets:
            receivers.popleft().unpark(self.read())
        if not packets:
            return
        if hub.data_method is not None and self._delivery.held and not hub.calls:
            # Where a handler alone listens, as in most servers, it is called without detours.
            hub.posted += 1
            hub.called += 1
            self._delivery.call(hub.data_method, self)
        elif DataAvailable in hub.wanted:
            self._delivery.post(DataAvailable)

    def _stop_receiving(self) -> None:
        """We are closing: whoever waits is told, and no new datagram can be sent."""
        self._routes.clear()
        while self._receivers:
            self._receivers.popleft().fail(self._closed_error())
