"""The receiving half of the UDP sockets that move messages: from packets to who gets them."""

from __future__ import annotations

import abc
import math
from collections import deque
from typing import NamedTuple, NoReturn

import trio

from trio_xsock._machines.endpoint import (
    address_text,
    check_address,
    literal_address,
    shown,
)
from trio_xsock._machines.state import SocketState
from trio_xsock._network.options import check_seconds
from trio_xsock._runtime.guard import Parking, let_others_run, protect_from_ki
from trio_xsock._runtime.hub import EventHub
from trio_xsock._runtime.message_hub import MessageHub
from trio_xsock._values.errors import InvalidStateError, NameResolutionError
from trio_xsock._values.events import Connected, DataAvailable, Event, ReceivedMessage
from trio_xsock._values.message import check_command

from .udp import UDPSocket


def ip_address(address: object) -> str:
    """An IP address as the sender of a datagram is shown.

    Raises:
        TypeError: it is not a str.
        NameResolutionError: it is no IP address.
    """
    text = check_address(address)
    literal = literal_address(text, 0)
    if literal is None:
        raise NameResolutionError(f"an IP address is needed here, not {shown(text)}")
    return address_text(literal.address)


class Arrival(NamedTuple):
    """A message and its sender."""

    address: str
    port: int
    command: int
    data: bytes


class Waiter(NamedTuple):
    """Somebody who waits for one."""

    command: int
    address: str | None
    parking: Parking[bytes]

    def wants(self, arrival: Arrival) -> bool:
        """Whether ``arrival`` is what it waits for."""
        return self.command == arrival.command and self.address in (None, arrival.address)


@protect_from_ki
class GroupReceiving(UDPSocket):
    """What the UDP sockets that move messages can do to get them."""

    __slots__ = ("_inbox", "_message_hub", "_waiters")

    _HANDLER_METHODS: tuple[str, ...] = (
        "on_connected",
        "on_received_message",
        "on_send_complete",
        "on_error",
    )

    def _new_hub(self) -> EventHub:
        self._inbox: deque[Arrival] = deque()
        self._waiters: list[Waiter] = []
        self._message_hub = self._make_message_hub()
        return self._message_hub

    def _make_message_hub(self) -> MessageHub:
        return MessageHub()

    # Facts

    @property
    def messages_available(self) -> int:
        """Messages that have arrived and that nobody has taken."""
        return len(self._inbox)

    @property
    def packets_available(self) -> int:
        """The same: each came in a packet of its own."""
        return len(self._inbox)

    def purge(self) -> None:
        """Drop the messages that nobody has taken. Xojo: ``Purge``."""
        self._inbox.clear()
        self._delivery.hub.withdraw_data()

    def _events_now(self) -> list[Event]:
        events: list[Event] = []
        if self._state is SocketState.BOUND:
            events.append(Connected(self))
        if self._inbox:
            events.append(DataAvailable(self))
        return events

    # Waiting

    async def wait_for_message(
        self,
        command: int,
        from_address: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - Xojo's signature
    ) -> bytes | None:
        """Wait for a message with this command. Xojo: ``WaitForMessage``.

        One that has arrived and waits is taken at once; the others go their way.

        Args:
            command: 0..2**31-1.
            from_address: the IP address that it must come from; ``None`` for any.
            timeout: seconds; ``None`` for no limit, 0 for what is there.

        Returns:
            The message's data, or ``None`` when the time is up.

        Raises:
            SocketClosedError: we closed the socket, before or meanwhile.
            InvalidStateError: not bound.
            NameResolutionError: ``from_address`` is no IP address.
            ValueError, TypeError: an argument of a wrong type, or out of range.

        Cancellation: no message is lost, and none comes twice.
        """
        check_command(command)
        if from_address is not None:
            from_address = ip_address(from_address)
        seconds = math.inf if timeout is None else check_seconds("timeout", timeout)
        await trio.lowlevel.checkpoint_if_cancelled()
        self._check_bound()
        waiter = Waiter(command, from_address, Parking())
        arrival = next(filter(waiter.wants, self._inbox), None)
        if arrival is not None:
            self._inbox.remove(arrival)
            if not self._inbox:
                self._delivery.hub.withdraw_data()
            await let_others_run()
            return arrival.data
        self._check_thread()
        self._waiters.append(waiter)
        return await self._park_for(waiter.parking, seconds, lambda: self._waiters.remove(waiter))

    def _stop_receiving(self) -> None:
        super()._stop_receiving()
        self._message_hub.withdraw_messages()
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.parking.fail(self._closed_error())

    # Packets

    def _arrived(self) -> None:
        packets = self._arrivals.packets
        while packets:
            data, address, *_ = packets.popleft()
            self._take_packet(data, address_text(address), address[1])

    @abc.abstractmethod
    def _take_packet(self, data: bytes, address: str, port: int) -> None:
        """Look at an untrusted packet; ``_deliver`` what it holds, if that is for us."""

    def _deliver(self, arrival: Arrival) -> None:
        for waiter in self._waiters:
            if waiter.wants(arrival):
                self._waiters.remove(waiter)
                waiter.parking.unpark(arrival.data)
                return
        if self._message_hub.on_message is not None:
            self._message_hub.call_on_message(self, *arrival)
            if not self._delivery.held:
                self._delivery.schedule()
        elif len(self._inbox) >= self._arrivals.limit:
            self._arrivals.dropped += 1
        else:
            self._inbox.append(arrival)
            if len(self._inbox) == 1 and DataAvailable in self._delivery.hub.wanted:
                self._delivery.post(DataAvailable)

    def _has_messages(self) -> bool:
        return bool(self._inbox)

    def _take_for_channel(self) -> ReceivedMessage:
        """A message becomes an event at the moment when a consumer takes it."""
        address, port, command, data = self._inbox.popleft()
        return ReceivedMessage(self, command, data, address, port)

    def _handler_changed(self) -> None:
        """What waits for whoever comes first goes to the new handler."""
        hub = self._message_hub
        if hub.on_message is None or self._keeper is None:
            return
        waiting, self._inbox = self._inbox, deque()
        for arrival in waiting:
            hub.call_on_message(self, *arrival)
        hub.withdraw_data()
        self._delivery.schedule()

    # What would not be messages

    def read(self) -> NoReturn:
        """Refused: datagrams are not what this socket is about.

        Raises:
            InvalidStateError: always; its text says what to use.
        """
        raise self._no_datagrams("read()", "events, or wait_for_message(),")

    def write(self, datagram: object = None) -> NoReturn:
        """Refused; see ``read``."""
        raise self._no_datagrams("write()", "send_message_to_group()")

    def write_to(self, *_: object, **__: object) -> NoReturn:
        """Refused; see ``read``."""
        raise self._no_datagrams("write_to()", "send_message_to_individual()")

    async def send(self, value: object = None) -> NoReturn:
        """Refused; see ``read``."""
        raise self._no_datagrams("send()", "send_message_to_individual()")  # noqa: ASYNC910

    async def receive(self) -> NoReturn:
        """Refused; see ``read``."""
        raise self._no_datagrams("receive()", "events, or wait_for_message(),")  # noqa: ASYNC910

    async def __anext__(self) -> NoReturn:
        raise self._no_datagrams("iteration", "events")  # noqa: ASYNC910

    def _no_datagrams(self, call: str, instead: str) -> InvalidStateError:
        return InvalidStateError(
            f"{self!r}: {call} is for sockets that move datagrams; use {instead} instead"
        )
