"""``GroupMember``: a member of a group; it carries out the effects of the membership machine.

It receives packets as an inbox does. Messages are passed to the inbox of the socket; answers and
announcements are sent by the outlet.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import replace

import trio

from trio_xsock._machines.endpoint import literal_address
from trio_xsock._machines.member_packets import Settings
from trio_xsock._machines.membership import Joined, Left, Membership, Received, Send
from trio_xsock._machines.packets import ID_SIZE, NONE
from trio_xsock._machines.udp_queue import ArrivalQueue, Packet
from trio_xsock._network.udp_port import Route
from trio_xsock._runtime.delivery import Delivery
from trio_xsock._runtime.guard import protect_from_ki
from trio_xsock._values.errors import NameResolutionError, SocketError
from trio_xsock._values.events import Event, MemberJoined, MemberLeft
from trio_xsock._values.member import Endpoint, Member

from .datagram_outlet import DatagramOutlet
from .group_inbox import Arrival, GroupInbox


@protect_from_ki
class GroupMember:
    """The member that an ``AutoDiscovery`` is in its group; see ``PacketInbox``.

    Args:
        delivery: where events are posted.
        inbox: where messages go.
        outlet: sends packets.
        members: the members of the group by instance, this one first; updated here.
        settings: the settings of this member; the group is filled in by ``join``.

    Attributes:
        group: the name of the group, ``""`` for none.
        machine: the view of the group; ``None`` for none.
        members, settings: as above.
    """

    __slots__ = (
        "_announced_until",
        "_delivery",
        "_inbox",
        "_outlet",
        "_way_to_group",
        "group",
        "machine",
        "members",
        "settings",
    )

    def __init__(
        self,
        delivery: Delivery,
        inbox: GroupInbox,
        outlet: DatagramOutlet,
        members: dict[str, Member],
        settings: Settings,
    ) -> None:
        self.group = ""
        self.machine: Membership | None = None
        self.members = members
        self.settings = settings
        self._announced_until = math.inf  # when the keeper task looks again
        self._delivery = delivery
        self._inbox = inbox
        self._outlet = outlet
        self._way_to_group: Route

    # In the group

    def join(self, group: str, way: Route, address: str, port: int, now: float) -> None:
        """Become a member.

        Args:
            group: the group's name.
            way: the route to all its members.
            address: our IP address, for the other members.
            port: our own port.
            now: the time on Trio's clock.
        """
        settings = replace(self.settings, group=group)
        own = Member(os.urandom(ID_SIZE).hex(), address, port, settings.name, settings.metadata)
        self.group, self._way_to_group = group, way
        self.machine = machine = Membership(settings, own, os.urandom, now)
        self._follow(machine)

    def leave(self) -> None:
        """Say goodbye; nothing if there is no group."""
        machine, self.machine = self.machine, None
        if machine is not None:
            machine.leave()
            self._follow(machine)
            self.group = ""

    def update(self, machine: Membership, now: float) -> None:
        """Ask all members to answer; ``machine`` is that of the group."""
        machine.update(now)
        self._follow(machine)

    def recipients(self, to: Member | str, port: int | None) -> list[tuple[bytes, str, int]]:
        """The receivers of a message.

        Args:
            to: a member, or an IP address.
            port: with an address, the member's own port; ``None`` for all that are there.

        Returns:
            Instance, address and port of each.

        Raises:
            ValueError: a ``Member`` together with a port, or with no instance.
        """
        if isinstance(to, Member):
            if port is not None:
                raise ValueError("a Member has a port of its own; leave out port")
            return [(_instance(to), to.address, to.port)]
        there = [
            (_instance(member), member.address, member.port)
            for member in self.members.values()
            if member.address == to and port in (None, member.port)
        ]
        if not there and port is not None and self.settings.key is None:
            return [(NONE, to, port)]  # a program that is not a known member
        return there

    # As an inbox

    @property
    def arrivals(self) -> ArrivalQueue:
        """See ``PacketInbox``."""
        return self._inbox.arrivals

    @property
    def deadline(self) -> float:
        """See ``PacketInbox``."""
        return math.inf if self.machine is None else self.machine.deadline

    def begin(self, own_address: str) -> None:
        """See ``PacketInbox``."""
        self._inbox.begin(own_address)

    def take_in(self, packets: list[Packet]) -> None:
        """See ``PacketInbox``: pass the packets to the machine."""
        now = trio.current_time()
        for data, source in self._inbox.unpack(packets):
            if self.machine is not None:
                self.machine.receive(data, source, now)
                self._follow(self.machine)

    def clear(self) -> None:
        """See ``PacketInbox``."""
        self._inbox.clear()

    def events_now(self, socket: object) -> list[Event]:
        """See ``PacketInbox``; one event stands for all members, see ``MemberEventQueue``."""
        members = list(self.members.values())[:1]
        joined: list[Event] = [MemberJoined(socket, member) for member in members]
        return self._inbox.events_now(socket) + joined

    def stop(self, why: Callable[[], SocketError]) -> None:
        """See ``PacketInbox``; says goodbye, without events for ourselves."""
        self._inbox.stop(why)
        machine, self.machine = self.machine, None
        if machine is not None:
            machine.leave()
            for effect in machine.effects:
                if isinstance(effect, Send):
                    self._send(effect.data, effect.to)
        self.group = ""
        self.members.clear()

    def tick(self, now: float) -> None:
        """See ``PacketInbox``."""
        machine = self.machine
        if machine is not None and machine.deadline <= now:
            machine.advance(now)
            self._follow(machine)
        self._announced_until = self.deadline

    # Effects

    def _follow(self, machine: Membership) -> None:
        """Carry out the effects of the machine."""
        effects, machine.effects = machine.effects, []
        for effect in effects:
            match effect:
                case Send(data, to):
                    self._send(data, to)
                case Joined(member):
                    self.members[member.instance_id] = member
                    self._delivery.post(MemberJoined, member)
                case Left(member):
                    del self.members[member.instance_id]
                    self._delivery.post(MemberLeft, member)
                case Received(command, data, source):
                    self._inbox.deliver(Arrival(*source, command, data))
        keeper = self._delivery.keeper
        if machine.deadline < self._announced_until and keeper is not None:
            keeper.wake()

    def _send(self, data: bytes, to: Endpoint | None) -> None:
        """Send a packet that is repeated anyway, so failing to send it is like losing it."""
        try:
            self._outlet.send_now(self._way_to_group if to is None else self._way(*to), data)
        except SocketError:
            pass

    def _way(self, address: str, port: int) -> Route:
        known = self._outlet.known_route(address, port, "")
        if known is not None:
            return known
        literal = literal_address(address, port)
        if literal is None:
            raise NameResolutionError(f"{address} is no IP address")
        return self._outlet.route(literal, "")


def _instance(member: Member) -> bytes:
    try:
        instance = bytes.fromhex(member.instance_id)
    except (TypeError, ValueError):
        instance = b""
    if len(instance) != ID_SIZE:
        raise ValueError(
            f"Member.instance_id must be {2 * ID_SIZE} hexadecimal digits, "
            f"not {member.instance_id!r}"
        )
    return instance
