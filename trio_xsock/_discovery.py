"""``AutoDiscovery``: who else is there, and messages to them."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Final

import trio

from ._channel import EventChannel
from ._easy_udp import EasyUDPSocket, group_address, message_data
from ._endpoint import ResolvedAddress, address_text, check_port, literal_address
from ._errors import InvalidStateError, SocketError, translate_os_error
from ._events import Event, MemberJoined, MemberLeft
from ._group_receiving import Arrival
from ._guard import protect_from_ki
from ._interface import NetworkInterface, interface_of
from ._member import Member, check_metadata, check_name
from ._member_events import MemberHub
from ._membership import Endpoint, Joined, Left, Membership, Received, Send, Settings
from ._message import check_command
from ._message_hub import MessageHub
from ._options import check_positive, check_seconds
from ._typing import Buffer
from ._udp_groups import multicast_group
from ._udp_port import Port, Route

_ID_SIZE: Final = 16
_LONGEST_INTERVAL: Final = 600.0


@protect_from_ki
class AutoDiscovery(EasyUDPSocket):
    """Finds the other programs of a group, and tells them of us. Xojo: ``AutoDiscovery``.

    Lives in ``async with``, like every socket::

        async with AutoDiscovery(name="kitchen", key=b"what all of us know") as discovery:
            await discovery.bind(4711)
            discovery.register("orchard")
            async for event in discovery.events:
                match event:
                    case MemberJoined(member=member):
                        print(member.name, member.address, "came")
                    case MemberLeft(member=member):
                        print(member.name, "went")

    All programs of a group use the same port, which many on one machine can share; messages to
    one of them alone go to a port of its own. Each tells of itself at regular intervals, and
    is gone when it says so, or is silent for too long. ``MemberJoined`` comes for ourselves,
    too. Members that come and go faster than a consumer of events looks are not told of.

    Without a key anybody on the network can say anything. With one, packets made without it
    count for nothing, a newcomer is taken in only after it has answered a fresh challenge, and
    what was recorded cannot be played again. Messages are then signed; they are not encrypted.

    Args:
        port: the port that the members share, 1..65535; or give it to ``bind``.
        name: what we call ourselves, up to 64 bytes in UTF-8; need not be unique.
        metadata: texts by name to tell of ourselves, up to 256 bytes in UTF-8 and two for
            each pair.
        key: a secret that all members have; ``None`` for none.
        address: the local address to bind to, ``""`` for all.
        handler: a callback object; ``on_member_joined(socket, member)``,
            ``on_member_left(socket, member)``, ``on_connected``, ``on_received_message`` as
            of ``EasyUDPSocket``, ``on_send_complete`` and ``on_error`` are called.
        events: a channel to post into, which other sockets may share.
        network_interface: the interface by which to find others; ``None`` for what the routes
            say.
        receive_packet_limit: messages that may wait; newer ones are dropped.
        heartbeat_interval: seconds between two announcements of ourselves.
        expiry: seconds of silence after which the others take us for gone.
        maximum_members: how many there may be in our list, ourselves included; others are
            ignored.

    Raises:
        InvalidPortError: ``port`` is outside 0..65535.
        TypeError, ValueError: another option is of a wrong type, or out of its range.
    """

    __slots__ = (
        "_announced_until",
        "_expiry",
        "_heartbeat_interval",
        "_key",
        "_local",
        "_machine",
        "_maximum_members",
        "_members",
        "_metadata",
        "_name",
        "_registered_group",
        "_shared_port",
        "_way_to_group",
    )

    _HANDLER_METHODS = (*EasyUDPSocket._HANDLER_METHODS, "on_member_joined", "on_member_left")

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
        self._members: dict[str, Member] = {}
        super().__init__(
            port,
            address=address,
            handler=handler,
            events=events,
            network_interface=network_interface,
            receive_packet_limit=receive_packet_limit,
        )
        self._name = check_name("name", name, may_be_empty=True)
        self._metadata = check_metadata({} if metadata is None else metadata)
        self._key = _check_key(key)
        self._heartbeat_interval, self._expiry = _check_times(heartbeat_interval, expiry)
        self._maximum_members = check_positive("maximum_members", maximum_members)
        self._registered_group = ""
        self._machine: Membership | None = None
        self._announced_until = math.inf  # when the keeper looks again
        self._local: ResolvedAddress | None = None
        self._shared_port: Port | None = None
        self._way_to_group: Route

    def _make_message_hub(self) -> MessageHub:
        return MemberHub()

    # Facts

    @property
    def port(self) -> int:
        """The port that the members share; ``local_port`` is our own. Xojo: ``Port``."""
        return self._port

    @port.setter
    def port(self, port: int) -> None:
        self._check_closed("port")
        self._port = self._checked_port(port)

    @property
    def name(self) -> str:
        """What we call ourselves."""
        return self._name

    @property
    def metadata(self) -> Mapping[str, str]:
        """What else we tell of ourselves."""
        return self._metadata

    @property
    def heartbeat_interval(self) -> float:
        """Seconds between two announcements of ourselves."""
        return self._heartbeat_interval

    @property
    def expiry(self) -> float:
        """Seconds of silence after which the others take us for gone."""
        return self._expiry

    @property
    def group(self) -> str:
        """The group that we are registered with; ``""`` for none."""
        return self._registered_group

    def get_member_list(self) -> list[Member]:
        """Who is in the group, ourselves first; a new list each time. Xojo: ``GetMemberList``."""
        return list(self._members.values())

    def _events_now(self) -> list[Event]:
        # Of the members one stands for all, see MemberEventQueue.
        members = list(self._members.values())[:1]
        return [*super()._events_now(), *(MemberJoined(self, member) for member in members)]

    # The group

    async def bind(self, port: int | None = None) -> None:
        """Take the port of the members, and one of our own. Xojo: ``Bind``.

        Args:
            port: what the members share, 1..65535; ``None`` for what ``port`` is set to.

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
        await super().bind(port)

    def _open_port(self, local: ResolvedAddress | None) -> Port:
        """Open our own port; that of the members is for ``register``."""
        self._local = local
        interface = self._network_interface
        if local is None and interface is not None:
            # Else the source of what we send could be another interface's address (loopback).
            local = literal_address(interface.ip_address, 0)
        return self._opener(local, 0, interface, self._memberships, may_share=False)

    def register(self, group: str) -> None:
        """Be a member of a group, and find the others. Xojo: ``Register``.

        Registering twice with the same group counts once. Closing the socket says goodbye.

        Args:
            group: its name, 1..64 bytes in UTF-8.

        Raises:
            InvalidStateError: not bound, or registered with another group.
            AddressInUseError: another program has the port, and does not share it.
            SocketError: what else the OS said.
            ValueError, TypeError: no such name.

        Events: ``MemberJoined`` for ourselves, and for each member that is found.
        """
        address = group_address(group)
        self._check_bound()
        if self._machine is not None:
            if group != self._registered_group:
                raise InvalidStateError(
                    f"{self!r}: it is registered with {self._registered_group!r}; "
                    "unregister() first, or use another AutoDiscovery"
                )
            return
        way = self._route(address, self._port)
        self._join(address)
        self._registered_group, self._way_to_group = group, way
        settings = Settings(
            group=group,
            name=self._name,
            metadata=self._metadata,
            key=self._key,
            heartbeat_interval=self._heartbeat_interval,
            expiry=self._expiry,
            maximum_members=self._maximum_members,
        )
        own = Member(
            os.urandom(_ID_SIZE).hex(),
            self.local_address,
            self.local_port,
            self._name,
            self._metadata,
        )
        self._machine = Membership(settings, own, os.urandom, trio.current_time())
        self._follow_machine()

    def _join(self, address: str) -> None:
        """Hear the group on the port that its members share."""
        group = multicast_group(address)
        assert group is not None
        try:
            port = self._opener(
                None, self._port, self._interface(), self._memberships, may_share=True
            )
            self._watch(port)
            self._shared_port = port
            port.join(group)
        except OSError as exc:
            self._close_shared_port()
            raise translate_os_error(exc, f"cannot join {address}:{self._port}") from exc

    def _interface(self) -> NetworkInterface | None:
        """Where to hear the group: if none was chosen, where our address is."""
        if self._network_interface is None and self._local is not None:
            return interface_of(address_text(self._local.address))
        return self._network_interface

    def _close_shared_port(self) -> None:
        port, self._shared_port = self._shared_port, None
        if port is not None:
            self._unwatch(port)

    def unregister(self, group: str) -> None:
        """Say goodbye to a group; nothing if we are not in it. Xojo: ``Unregister``.

        Raises:
            InvalidStateError: not bound.
            ValueError, TypeError: no such name.

        Events: ``MemberLeft`` for each member, ourselves last.
        """
        group_address(group)
        self._check_bound()
        if self._machine is not None and group == self._registered_group:
            self._machine.leave()
            self._follow_machine()
            self._machine, self._registered_group = None, ""
            self._close_shared_port()

    def _stop_receiving(self) -> None:
        super()._stop_receiving()
        machine, self._machine = self._machine, None
        if machine is not None:
            machine.leave()
            for effect in machine.effects:
                if isinstance(effect, Send):
                    self._send_packet(effect.data, effect.to)
        self._registered_group = ""
        self._members.clear()
        self._shared_port = None  # closed with all the others

    def update_member_list(self) -> None:
        """Ask all members for an answer; who gives none within 2 seconds has left.

        Nobody leaves who is there. Xojo: ``UpdateMemberList``.

        Raises:
            InvalidStateError: not registered.
        """
        self._registered_machine().update(trio.current_time())
        self._follow_machine()

    def _registered_machine(self) -> Membership:
        self._check_bound()
        if self._machine is None:
            raise InvalidStateError(f"{self!r}: not registered; register() first")
        return self._machine

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
        packet = self._registered_machine().message(command, payload, None)
        self._write(group_address(self._registered_group), packet, self._port)

    def send_message_to_group(self, group: str, command: int, data: Buffer | str = b"") -> None:
        """The same as ``send_message``; the group must be the registered one."""
        group_address(group)
        self._registered_machine()
        if group != self._registered_group:
            raise InvalidStateError(f"{self!r}: not registered with {group!r}")
        self.send_message(command, data)

    def send_message_to_individual(
        self, to: Member | str, command: int, data: Buffer | str = b"", port: int | None = None
    ) -> None:
        """Send a message to one member; never waits. Xojo: ``SendMessageToIndividual``.

        Args:
            to: a member, or an IP address.
            command: what the data is: 0..2**31-1.
            data: the content: any buffer, or text, which is encoded as UTF-8.
            port: with an address, the member's own port; ``None`` for all members there.

        Raises:
            InvalidStateError: not registered.
            NameResolutionError: ``to`` is no IP address.
            SocketError, OutOfMemoryError, InvalidPortError, ValueError, TypeError: as for
                ``EasyUDPSocket.send_message_to_individual``.

        Events: ``SendComplete`` when nothing is queued any more.
        """
        check_command(command)
        payload = message_data(data)
        machine = self._registered_machine()
        if isinstance(to, Member):
            ends = [(to.address, to.port)]
        elif port is not None:
            ends = [(to, port)]
        else:
            members = self._members.values()
            ends = [(each.address, each.port) for each in members if each.address == to]
        for end in ends:
            self._write(end[0], machine.message(command, payload, end), end[1])

    # The machine

    def _take_packet(self, data: bytes, address: str, port: int) -> None:
        if self._machine is not None:
            self._machine.receive(data, (address, port), trio.current_time())
            self._follow_machine()

    def _next_deadline(self) -> float:
        machine = self._machine
        if machine is not None and machine.deadline <= trio.current_time():
            machine.advance(trio.current_time())
            self._follow_machine()
        self._announced_until = math.inf if machine is None else machine.deadline
        return min(self._announced_until, super()._next_deadline())

    def _follow_machine(self) -> None:
        """Do what the machine wants done."""
        machine = self._machine
        assert machine is not None
        assert self._keeper is not None
        effects, machine.effects = machine.effects, []
        for effect in effects:
            match effect:
                case Send(data, to):
                    self._send_packet(data, to)
                case Joined(member):
                    self._members[member.instance_id] = member
                    self._post_if_active(MemberJoined, member)
                case Left(member):
                    del self._members[member.instance_id]
                    self._post_if_active(MemberLeft, member)
                case Received(command, data, source):
                    self._deliver(Arrival(*source, command, data))
        if machine.deadline < self._announced_until:
            self._keeper.wake()

    def _send_packet(self, data: bytes, to: Endpoint | None) -> None:
        """Send what is repeated anyway; if it cannot go now it is as good as lost on the way."""
        try:
            route = self._way_to_group if to is None else self._routes.get(to) or self._route(*to)
            self._send_now(route, data)
        except SocketError:
            pass


def _check_key(key: object) -> bytes | None:
    if key is not None and not isinstance(key, bytes):
        raise TypeError(f"key must be bytes or None, not {type(key).__name__}")
    if key == b"":
        raise ValueError("key must not be empty")
    return key


def _check_times(interval: float, expiry: float) -> tuple[float, float]:
    interval = check_seconds("heartbeat_interval", interval, positive=True)
    expiry = check_seconds("expiry", expiry, positive=True)
    if interval > _LONGEST_INTERVAL:
        raise ValueError(f"heartbeat_interval must be at most {_LONGEST_INTERVAL:g} seconds")
    if not 2 * interval <= expiry <= 6 * _LONGEST_INTERVAL:
        raise ValueError(
            f"expiry must be at least two heartbeat intervals and at most "
            f"{6 * _LONGEST_INTERVAL:g} seconds, not {expiry:g}"
        )
    return interval, expiry
