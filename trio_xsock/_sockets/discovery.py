"""``AutoDiscovery``: finds the other programs of a group, and sends messages to them.

It has two ports. One is that of the group, which all members share and on which they receive what
is for all; the other is its own, from which it sends, and for messages to it alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Self

import trio

from trio_xsock._engine.datagram_reasons import check_bound
from trio_xsock._engine.datagram_requests import find_route, write
from trio_xsock._engine.group_member import GroupMember
from trio_xsock._engine.member_options import checked_settings
from trio_xsock._engine.renewal import INTERVAL
from trio_xsock._machines.endpoint import (
    ResolvedAddress,
    check_port,
    ip_address,
    literal_address,
)
from trio_xsock._machines.membership import Membership
from trio_xsock._machines.udp_groups import Group, group_address
from trio_xsock._network.interface import NetworkInterface, interface_of
from trio_xsock._runtime.channel import EventChannel
from trio_xsock._runtime.guard import protect_from_ki
from trio_xsock._values.errors import InvalidStateError, translate_os_error
from trio_xsock._values.events import MemberEvent
from trio_xsock._values.member import Member
from trio_xsock._values.message import check_command, message_data
from trio_xsock._values.typing import Buffer

from .easy_udp import EasyUDPSocket


@protect_from_ki
class AutoDiscovery(EasyUDPSocket):
    """Finds the other programs of a group, and announces this one. Xojo: ``AutoDiscovery``.

    Lives in ``async with``, like every socket::

        async with AutoDiscovery(name="kitchen", key=b"what all of us know") as discovery:
            await discovery.bind(4711)
            discovery.register("orchard")
            async for event in discovery.events:
                match event:
                    case MemberJoined(member=member):
                        print(member.name, member.address, "joined")
                    case MemberLeft(member=member):
                        print(member.name, "left")

    All programs of a group use the same port, which several on one machine can share; messages to
    one of them alone go to a port of its own. Each announces itself at regular intervals, and
    leaves when it says so, or is silent for too long. ``MemberJoined`` is posted for this program,
    too. A member that joins and leaves before a consumer reads its events is not reported.

    Without a key any program on the network can send anything. With one, packets made without it
    are ignored, a new member is added only after it has answered a fresh challenge, and recorded
    packets cannot be replayed, not even to another member. Messages are then authenticated; they
    are not encrypted.

    If the interface vanishes and comes back, or the route to the group changes, the group is joined
    again; the members in reach are found within ``expiry`` and some heartbeats. An interface that
    stays away is reported once, as ``ErrorOccurred``.

    With and without a key, no answer is larger than its request, answers are limited for each
    source address, and a member that has not answered a challenge is not asked repeatedly. If
    the list is full, such members are removed in favour of those that have answered.

    Args:
        port: the port that the members share, 1..65535; or give it to ``bind``.
        name: the name of this program, up to 64 bytes in UTF-8; it need not be unique.
        metadata: texts by name to publish, up to 256 bytes in UTF-8, with two more for each
            pair.
        key: a secret that all members have; ``None`` for none.
        address: the local address to bind to, ``""`` for all.
        handler: a callback object; ``on_member_joined(socket, member)``,
            ``on_member_left(socket, member)``, ``on_connected``, ``on_received_message`` as
            of ``EasyUDPSocket``, ``on_send_complete`` and ``on_error`` are called.
        events: a channel to post into, which other sockets may share.
        network_interface: the interface by which to find others; ``None`` lets the routes
            decide.
        receive_packet_limit: messages that may wait; newer ones are dropped.
        heartbeat_interval: seconds between two announcements of this program.
        expiry: seconds of silence after which other members remove this one. Other members may
            announce up to ten times this, and at most this before they have answered a challenge.
        maximum_members: the most members in the list, including this program; others are
            ignored.

    Raises:
        InvalidPortError: ``port`` is outside 0..65535.
        TypeError, ValueError: another option is of a wrong type, or out of its range.
    """

    __slots__ = ("_member",)

    _HANDLER_METHODS = (*EasyUDPSocket._HANDLER_METHODS, "on_member_joined", "on_member_left")

    if TYPE_CHECKING:

        @property
        def events(self) -> EventChannel[MemberEvent[Self]]: ...  # type: ignore[override]
        def subscribe(self) -> EventChannel[MemberEvent[Self]]: ...  # type: ignore[override]

    def __init__(
        self,
        port: int = 0,
        *,
        name: str = "",
        metadata: Mapping[str, str] | None = None,
        key: bytes | None = None,
        address: str = "",
        handler: object = None,
        events: EventChannel | None = None,
        network_interface: NetworkInterface | None = None,
        receive_packet_limit: int = 1024,
        heartbeat_interval: float = 1.0,
        expiry: float = 6.0,
        maximum_members: int = 1024,
    ) -> None:
        super().__init__(
            port,
            address=address,
            handler=handler,
            events=events,
            network_interface=network_interface,
            receive_packet_limit=receive_packet_limit,
        )
        settings = checked_settings(
            name=name,
            metadata=metadata,
            key=key,
            heartbeat_interval=heartbeat_interval,
            expiry=expiry,
            maximum_members=maximum_members,
        )
        members, outlet = self._hub.members, self._datagrams.outlet
        self._member = GroupMember(self._delivery, self._inbox, outlet, members, settings)
        self._datagrams.deliver_to(self._member)
        self._datagrams.renewal.interval = min(INTERVAL, self.expiry / 3)

    # Facts

    @property
    def name(self) -> str:
        """The name of this program."""
        return self._member.settings.name

    @property
    def metadata(self) -> Mapping[str, str]:
        """Texts by name that this program publishes."""
        return self._member.settings.metadata

    @property
    def heartbeat_interval(self) -> float:
        """Seconds between two announcements of this program."""
        return self._member.settings.heartbeat_interval

    @property
    def expiry(self) -> float:
        """Seconds of silence after which other members remove this one."""
        return self._member.settings.expiry

    @property
    def port(self) -> int:
        """The port that the members share; ``local_port`` is this member's own. Xojo: ``Port``."""
        return self._port

    @port.setter
    def port(self, port: int) -> None:
        self._check_closed("port")
        self._set_port(port)

    @property
    def group(self) -> str:
        """The group with which this program is registered; ``""`` for none."""
        return self._member.group

    def get_member_list(self) -> list[Member]:
        """The members of the group, this one first; a new list. Xojo: ``GetMemberList``."""
        return list(self._member.members.values())

    # Registering

    async def bind(self, port: int | None = None) -> None:
        """Bind to the port of the members, and to an own one. Xojo: ``Bind``.

        Args:
            port: the port that the members share, 1..65535; ``None`` for the present ``port``.

        Raises:
            InvalidPortError: outside 1..65535, or the port needs privileges.
            AddressInUseError: another program has the port, and does not share it; found out
                by ``register``.
            InvalidStateError, NameResolutionError, SocketError and others: as for
                ``UDPSocket.bind``.

        Cancellation: nothing is left over; the socket is closed and may be bound again.
        Events: ``Connected``, or ``ErrorOccurred`` for what is raised after the first two.
        """
        check_port(self._port if port is None else port, allow_zero=False)
        await self._bind(port, self._open_own)

    def _open_own(self, local: ResolvedAddress | None) -> None:
        """Open our own port; that of the members is for ``register``."""
        interface = self._network_interface
        if local is None and interface is not None:
            # Otherwise the source address could be that of another interface (loopback).
            local = literal_address(interface.ip_address, 0)
        self._datagrams.open(local, 0, interface)

    def register(self, group: str) -> None:
        """Join a group, and find the other members. Xojo: ``Register``.

        Registering twice with the same group counts once. Closing the socket says goodbye.

        Args:
            group: its name, 1..64 bytes in UTF-8.

        Raises:
            InvalidStateError: not bound, or registered with another group.
            AddressInUseError: another program has the port, and does not share it.
            SocketError: another error of the OS.
            ValueError, TypeError: not a valid name.

        Events: ``MemberJoined`` for this program, and for each member that is found.
        """
        address = group_address(group)
        bound = check_bound(self._datagrams, self)
        member = self._member
        if member.machine is not None:
            if group != member.group:
                raise InvalidStateError(
                    f"{self!r}: it is registered with {member.group!r}; "
                    "unregister() first, or use another AutoDiscovery"
                )
            return
        way = find_route(self._datagrams, address, self._port, "", self)
        interface = self._network_interface
        if interface is None and bound.own_address:
            interface = interface_of(bound.own_address)  # hear the group where our address is
        try:
            self._datagrams.open_group(Group(address, is_ipv6=False, zone=0), self._port, interface)
        except OSError as exc:
            raise translate_os_error(exc, f"cannot join {address}:{self._port}") from exc
        member.join(group, way, self.local_address, self.local_port, trio.current_time())

    def unregister(self, group: str) -> None:
        """Leave a group; nothing if this program is not in it. Xojo: ``Unregister``.

        Raises:
            InvalidStateError: not bound.
            ValueError, TypeError: no such name.

        Events: ``MemberLeft`` for each member, this program last.
        """
        address = group_address(group)
        check_bound(self._datagrams, self)
        if self._member.machine is not None and group == self._member.group:
            self._member.leave()
            self._datagrams.close_group(Group(address, is_ipv6=False, zone=0))

    def update_member_list(self) -> None:
        """Ask all members to answer; those that do not within 2 seconds are removed.

        Members that answer stay. Xojo: ``UpdateMemberList``.

        Raises:
            InvalidStateError: not registered.
        """
        self._member.update(self._machine(), trio.current_time())

    def _machine(self) -> Membership:
        """The view of the group; raises if there is none."""
        check_bound(self._datagrams, self)
        machine = self._member.machine
        if machine is None:
            raise InvalidStateError(f"{self!r}: not registered; register() first")
        return machine

    # Messages

    def send_message(self, command: int, data: Buffer | str = b"") -> None:
        """Send a message to all other members; never waits. Xojo: ``SendMessageToGroup``.

        Args:
            command: what the data is: 0..2**31-1.
            data: the content: any buffer, or text, which is encoded as UTF-8.

        Raises:
            InvalidStateError: not registered.
            SocketError, OutOfMemoryError, ValueError, TypeError: as for
                ``EasyUDPSocket.send_message_to_group``.

        Events: ``SendComplete`` when nothing is queued any more.
        """
        check_command(command)
        payload = message_data(data)
        packet = self._machine().packets.message(command, payload)
        address = group_address(self._member.group)
        write(self._datagrams, address, packet, self._port, "", self)

    def send_message_to_group(self, group: str, command: int, data: Buffer | str = b"") -> None:
        """The same as ``send_message``; the group must be the registered one."""
        group_address(group)
        self._machine()
        if group != self._member.group:
            raise InvalidStateError(f"{self!r}: not registered with {group!r}")
        self.send_message(command, data)

    def send_message_to_individual(
        self, to: Member | str, command: int, data: Buffer | str = b"", port: int | None = None
    ) -> None:
        """Send a message to one member; never waits. Xojo: ``SendMessageToIndividual``.

        The message contains its receiver, and other members ignore it. So with a key
        nothing is sent to an address without a known member.

        Args:
            to: a member, or an IP address.
            command: what the data is: 0..2**31-1.
            data: the content: any buffer, or text, which is encoded as UTF-8.
            port: with an address, the member's own port; ``None`` for all members there.

        Raises:
            InvalidStateError: not registered.
            NameResolutionError: ``to`` is no IP address.
            InvalidPortError: ``port`` is outside 1..65535.
            SocketError, OutOfMemoryError, ValueError, TypeError: as for
                ``EasyUDPSocket.send_message_to_individual``; also a ``Member`` together with a
                port, or one whose ``instance_id`` is none.

        Events: ``SendComplete`` when nothing is queued any more.
        """
        if port is not None:
            check_port(port, allow_zero=False)
        if not isinstance(to, Member):
            to = ip_address(to)
        recipients = self._member.recipients(to, port)
        check_command(command)
        payload = message_data(data)
        packets = self._machine().packets
        for receiver, address, number in recipients:
            packet = packets.message(command, payload, receiver)
            write(self._datagrams, address, packet, number, "", self)
