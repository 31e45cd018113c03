"""``GroupInbox``: received messages that are unread, and the tasks that wait for some.

A message goes to the first of: a ``wait_for_message`` for it; the handler's
``on_received_message``; the event channels.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

from trio_xsock._machines.endpoint import address_text
from trio_xsock._machines.packets import Kind, PacketError, decode
from trio_xsock._machines.udp_queue import ArrivalQueue, Packet
from trio_xsock._runtime.delivery import Delivery
from trio_xsock._runtime.guard import Parking, protect_from_ki
from trio_xsock._runtime.message_hub import MessageHub
from trio_xsock._values.errors import SocketError
from trio_xsock._values.events import DataAvailable, Event
from trio_xsock._values.member import Endpoint


class Arrival(NamedTuple):
    """A message and its sender."""

    address: str
    port: int
    command: int
    data: bytes


class Waiter(NamedTuple):
    """A task that waits for one."""

    command: int
    address: str | None
    parking: Parking[bytes | None]

    def wants(self, arrival: Arrival) -> bool:
        """Whether it waits for ``arrival``."""
        return self.command == arrival.command and self.address in (None, arrival.address)


@protect_from_ki
class GroupInbox:
    """The received messages of a socket of groups; see ``PacketInbox``.

    Args:
        delivery: where ``DataAvailable`` is posted and the handler is called.
        hub: that of ``delivery``.
        limit: how many messages may wait.

    Attributes:
        arrivals: the counts of what has arrived; no packet waits there.
        groups: the multicast addresses of the groups that are registered, by name.
    """

    __slots__ = ("_delivery", "_hub", "_messages", "_waiters", "arrivals", "groups")

    deadline: float = math.inf

    def __init__(self, delivery: Delivery, hub: MessageHub, limit: int) -> None:
        self.arrivals = ArrivalQueue(limit)
        self.groups: dict[str, str] = {}
        self._delivery = delivery
        self._hub = hub
        self._messages: deque[Arrival] = deque()
        self._waiters: list[Waiter] = []

    # As an inbox

    def begin(self, own_address: str) -> None:
        """See ``PacketInbox``; closing has left all groups."""
        self.arrivals.begin(own_address)
        self.groups.clear()
        self.clear()

    def take_in(self, packets: list[Packet]) -> None:
        """See ``PacketInbox``: decode, and deliver what is for our groups or for us alone."""
        for data, source in self.unpack(packets):
            try:
                packet = decode(data)
            except PacketError:
                continue
            if packet.kind is Kind.MESSAGE and (not packet.group or packet.group in self.groups):
                self.deliver(Arrival(*source, packet.command, packet.data))

    def clear(self) -> None:
        """See ``PacketInbox``."""
        self._messages.clear()
        self._hub.withdraw_data()

    def events_now(self, socket: object) -> list[Event]:
        """See ``PacketInbox``."""
        return [DataAvailable(socket)] if self._messages else []

    def stop(self, why: Callable[[], SocketError]) -> None:
        """See ``PacketInbox``; the handler gets no more messages."""
        self._hub.withdraw_messages()
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.parking.fail(why())

    def tick(self, now: float) -> None:
        """See ``PacketInbox``: time changes nothing here."""

    # Delivering

    def unpack(self, packets: list[Packet]) -> Iterator[tuple[bytes, Endpoint]]:
        """Count what has arrived; yields data and sender of each packet for which there is room."""
        arrivals = self.arrivals
        arrivals.put(packets)
        while arrivals.packets:
            data, address, *_ = arrivals.packets.popleft()
            yield data, (address_text(address), address[1])

    def deliver(self, arrival: Arrival) -> None:
        """Give a message to the first consumer that wants it; drop it if too many wait."""
        for waiter in self._waiters:
            if waiter.wants(arrival):
                self._waiters.remove(waiter)
                waiter.parking.unpark(arrival.data)
                return
        if self._hub.on_message is not None:
            self._hub.call_on_message(self._hub.on_message, self._delivery.socket, *arrival)
            self._delivery.schedule()
        elif len(self._messages) >= self.arrivals.limit:
            self.arrivals.dropped += 1
        else:
            self._messages.append(arrival)
            if len(self._messages) == 1:
                self._delivery.post_data()

    def pass_to_handler(self) -> None:
        """There is a new handler: it gets the waiting messages."""
        hub, method = self._hub, self._hub.on_message
        if method is None:
            return
        while self._messages:
            hub.call_on_message(method, self._delivery.socket, *self._messages.popleft())
        hub.withdraw_data()
        self._delivery.schedule()

    # Taking

    @property
    def size(self) -> int:
        """How many messages wait."""
        return len(self._messages)

    def take_oldest(self) -> Arrival:
        """Remove and return the oldest; there is one. The caller updates the events."""
        return self._messages.popleft()

    def take(self, command: int, address: str | None) -> Arrival | None:
        """Remove and return the oldest with this command, and from this address if it is given."""
        waiter = Waiter(command, address, Parking())
        arrival = next(filter(waiter.wants, self._messages), None)
        if arrival is not None:
            self._messages.remove(arrival)
            if not self._messages:
                self._hub.withdraw_data()
        return arrival

    def wait(self, command: int, address: str | None) -> Waiter:
        """Wait for one; pass the result to ``forget`` when the task waits no more."""
        waiter = Waiter(command, address, Parking())
        self._waiters.append(waiter)
        return waiter

    def forget(self, waiter: Waiter) -> None:
        """Its task was cancelled, or its time is up."""
        self._waiters.remove(waiter)
