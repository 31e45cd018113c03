"""``DatagramSocket``: how a datagram socket is bound and closed; the base of the UDP sockets."""

from __future__ import annotations

import abc
import socket as stdlib_socket
from collections.abc import Callable
from typing import TypeAlias

import trio

from trio_xsock._engine.core import SocketCore
from trio_xsock._engine.datagram_port import DatagramPort
from trio_xsock._engine.datagram_reasons import closed_error
from trio_xsock._machines.endpoint import (
    ResolvedAddress,
    check_address,
    check_port,
    format_endpoint,
)
from trio_xsock._machines.state import Move, SocketState
from trio_xsock._network.interface import NetworkInterface
from trio_xsock._network.options import check_positive, check_seconds
from trio_xsock._network.resolve import resolve
from trio_xsock._network.socket_view import Descriptor
from trio_xsock._runtime.channel import EventChannel
from trio_xsock._runtime.guard import protect_from_ki
from trio_xsock._runtime.scoped import finish
from trio_xsock._values.errors import (
    InvalidPortError,
    InvalidStateError,
    SocketError,
    translate_os_error,
)
from trio_xsock._values.events import Event
from trio_xsock._values.statistics import SocketStatistics
from trio_xsock._values.typing import Address

_GRACE = 5.0

_Open: TypeAlias = Callable[[ResolvedAddress | None], None]
"""Binds to an address, ``None`` for all; raises ``OSError``."""


@protect_from_ki
class DatagramSocket(SocketCore, trio.abc.AsyncResource):
    """One UDP port at a time; the base of ``UDPSocket`` and ``EasyUDPSocket``."""

    __slots__ = ("_address", "_datagrams")

    _datagrams: DatagramPort

    def __init__(
        self,
        port: int,
        address: str,
        handler: object,
        events: EventChannel | None,
        network_interface: NetworkInterface | None,
    ) -> None:
        self._address = check_address(address)
        super().__init__(port, handler, events, network_interface)

    # Facts

    @property
    def state(self) -> SocketState:
        """The state of the socket, ``CLOSED`` or ``BOUND``."""
        return self._datagrams.state

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
        return self._datagrams.bound is not None

    @property
    def handle(self) -> int:
        """The OS's descriptor, -1 when there is none. Xojo: ``Handle``."""
        bound = self._datagrams.bound
        return bound.fileno() if bound is not None else -1

    @property
    def remote_port(self) -> int:
        """0: a datagram socket has no peer of its own."""
        return 0

    def _descriptor(self) -> Descriptor | None:
        bound = self._datagrams.bound
        return bound.descriptor() if bound is not None else None

    def _local_endpoint(self) -> Address | None:
        bound = self._datagrams.bound
        return bound.getsockname() if bound is not None else None

    def statistics(self) -> SocketStatistics:
        """Counters since the socket was made, over all its bindings.

        ``packets_in`` and ``bytes_in`` are of the datagrams that found room,
        ``packets_dropped`` counts the others, here and, where the OS tells, in its own buffer.
        """
        arrivals, outlet = self._datagrams.inbox.arrivals, self._datagrams.outlet
        return SocketStatistics(
            bytes_in=arrivals.bytes_received,
            bytes_out=outlet.bytes_out,
            packets_in=arrivals.received,
            packets_out=outlet.packets_out,
            packets_dropped=arrivals.dropped + self.packets_dropped_by_system,
            bytes_available=arrivals.size(),
            bytes_left_to_send=outlet.departures.size,
            events_posted=self._delivery.hub.posted,
            events_merged=self._delivery.hub.merged,
        )

    @property
    def packets_dropped_by_system(self) -> int:
        """Datagrams for which the OS's buffer had no room; 0 if the OS does not count them.

        They are part of ``statistics().packets_dropped``; the others found no room in the socket.
        """
        return self._datagrams.dropped_by_system

    @property
    def packets_left_to_send(self) -> int:
        """Datagrams that the OS has not taken yet. Xojo: ``PacketsLeftToSend``."""
        return len(self._datagrams.outlet.departures.departures)

    @property
    def receive_packet_limit(self) -> int:
        """Datagrams that may be unread; newer ones are dropped. Takes effect at once.

        Raises (assignment):
            ValueError, TypeError: less than 1, or not an int.
        """
        return self._datagrams.inbox.arrivals.limit

    @receive_packet_limit.setter
    def receive_packet_limit(self, limit: int) -> None:
        limit = check_positive("receive_packet_limit", limit)
        self._datagrams.inbox.arrivals.limit = limit

    def purge(self) -> None:
        """Empty the receive queue; what is queued to be sent is untouched. Xojo: ``Purge``."""
        self._datagrams.inbox.clear()

    def _events_now(self) -> list[Event]:
        return self._datagrams.events_now(self)

    def __repr__(self) -> str:
        datagrams, address = self._datagrams, self._local_endpoint()
        where = f" to {format_endpoint(*address[:2])}" if address else f", port {self._port}"
        return (
            f"<{type(self).__name__} {self.state.value}{where}, "
            f"{len(datagrams.inbox.arrivals.packets)} datagrams buffered, "
            f"{len(datagrams.outlet.departures.departures)} queued>"
        )

    # Binding

    async def connect(self) -> None:
        """The same as ``bind()``: a datagram socket has no peer of its own. Xojo: ``Connect``."""
        await self.bind()

    @abc.abstractmethod
    async def bind(self, port: int | None = None) -> None:
        """Bind to ``port``; from now on the socket sends and receives."""

    async def _bind(self, port: int | None, open_port: _Open) -> None:
        """``bind()``, by way of ``open_port``."""
        if port is not None:
            check_port(port, allow_zero=True)
        self._after(Move.BIND)
        keeper = self._require_block("bind()")
        datagrams = self._datagrams
        if datagrams.is_binding:
            raise InvalidStateError(f"{self!r}: another task is binding it; wait for that first")
        if port is not None:
            self._set_port(port)
        self._delivery.open(self, keeper)
        scope = datagrams.begin_attempt()
        bound = False
        try:
            with scope:
                await trio.lowlevel.checkpoint_if_cancelled()
                local = await self._local_address()
                if datagrams.attempt is scope:
                    self._try(open_port, local)
                    bound = True
        except SocketError as error:
            self._bind_failed(error)
            await self._settle()  # noqa: ASYNC120 - cancelled only if a handler failed
            raise
        finally:
            datagrams.end_attempt(scope)
        if not bound:
            await trio.lowlevel.checkpoint_if_cancelled()  # by the failure that closed the socket
            raise closed_error(datagrams, self, "closed while it was being bound")
        await self._settle()

    async def _local_address(self) -> ResolvedAddress | None:
        """What to bind to; ``None`` for all addresses of both families."""
        if not self._address:
            await trio.lowlevel.checkpoint()
            return None
        found = await resolve(self._address, self._port, type=stdlib_socket.SOCK_DGRAM)
        return found[0]

    def _open(self, local: ResolvedAddress | None) -> None:
        self._datagrams.open(local, self._port, self._network_interface)

    def _try(self, open_port: _Open, local: ResolvedAddress | None) -> None:
        try:
            open_port(local)
        except OSError as exc:
            where = format_endpoint(self._address or "*", self._port)
            by = f" on {self._network_interface.name}" if self._network_interface else ""
            raise translate_os_error(exc, f"cannot bind to {where}{by}") from exc

    def _bind_failed(self, error: SocketError) -> None:
        if not isinstance(error, InvalidPortError):  # that is a refusal
            self._delivery.post_error(error)
            self._delivery.end()

    def _port_there(self) -> int:
        """The port at the other end where the user names none."""
        if not self._port:
            raise InvalidPortError(
                f"{self!r}: a port is needed: our own was left to the OS, so it says nothing of "
                "the other side's"
            )
        return self._port

    # Closing

    def close(self) -> None:
        """Close the port at once. Always legal, idempotent. Xojo: ``Close``.

        What was queued is dropped; what was received stays readable. Groups are left; options
        are kept.

        Events: nothing more.
        """
        self._check_thread()
        self._datagrams.close()

    async def aclose(self, grace: float = _GRACE) -> None:
        """Send what is queued, then close the port. Always legal, idempotent.

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
        datagrams = self._datagrams
        datagrams.stop()
        if datagrams.outlet.is_empty:
            self.close()
            await trio.lowlevel.checkpoint()
        else:
            try:
                parking = datagrams.outlet.wait_until_empty()
                await self._park_for(parking, grace, lambda: None)  # close() forgets it
            finally:
                self.close()
                self._run_handlers()
        await self._settle()

    async def poll(self) -> bool:
        """Receive, send and deliver events once, without waiting. Xojo: ``Poll``.

        Returns:
            Whether anything happened.

        Cancellation: seen before anything is done.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        self._check_thread()
        due = bool(self._delivery.hub.calls)
        happened = self._datagrams.step() or due
        await self._settle()
        await trio.lowlevel.cancel_shielded_checkpoint()
        return happened

    # Called by the keeper, by ``Delivery``, and where the block is left

    def _send_some(self) -> bool:
        """See ``Sender``; not for users."""
        return self._datagrams._send_some()

    def _contain(self, error: Exception) -> bool:
        """See ``Kept``: the socket fails, as by a handler."""
        return False

    async def _end_scope(self) -> None:
        self._datagrams.end()
        await finish(self._delivery, self)

    def _abort_from_handler(self) -> None:
        """See ``Sender``; not for users."""
        self._datagrams._abort_from_handler()

    def _take_stock(self) -> None:
        self._datagrams.look()
        self._run_handlers()

    def _next_deadline(self) -> float:
        if self._datagrams.inbox.deadline <= trio.current_time():
            self._take_stock()  # unread input may change it
        return self._datagrams.tick()
