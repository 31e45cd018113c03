"""``AutoDiscovery``: who else is there, and messages to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Self

from trio_xsock._machines.endpoint import check_port
from trio_xsock._machines.member_packets import Settings
from trio_xsock._machines.packets import ID_SIZE, NONE
from trio_xsock._network.interface import NetworkInterface
from trio_xsock._network.options import check_positive, check_seconds
from trio_xsock._runtime.channel import EventChannel
from trio_xsock._runtime.guard import protect_from_ki
from trio_xsock._values.errors import InvalidStateError
from trio_xsock._values.events import MemberEvent
from trio_xsock._values.member import Member, check_metadata, check_name
from trio_xsock._values.message import check_command
from trio_xsock._values.typing import Buffer

from .discovery_group import GroupMember
from .easy_udp import EasyUDPSocket, group_address, message_data
from .group_receiving import ip_address

_LONGEST_INTERVAL: Final = 600.0


@protect_from_ki
class AutoDiscovery(GroupMember):
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
    are ignored, a newcomer is taken in only after it has answered a fresh challenge, and what
    was recorded cannot be played again, nor to somebody else than it was meant for. Messages
    are then signed; they are not encrypted.

    Where the interface goes and comes back, or the route to the group moves, the group is joined
    again; who is in reach then has joined on both sides within ``expiry`` and some heartbeats. An
    interface that stays away is told of once, as ``ErrorOccurred``.

    With and without a key, no answer is larger than what asked for it, answers are limited for
    each source address, and nobody is asked repeatedly who has not answered a challenge. Where
    the list is full, members that have answered none make room for those that do.

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
        expiry: seconds of silence after which the others take us for gone. Others may claim up
            to ten times this, and no more than this before they have answered a challenge.
        maximum_members: how many there may be in our list, ourselves included; others are
            ignored.

    Raises:
        InvalidPortError: ``port`` is outside 0..65535.
        TypeError, ValueError: another option is of a wrong type, or out of its range.
    """

    __slots__ = ()

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
        interval, expiry = _check_times(heartbeat_interval, expiry)
        self._init_group(
            Settings(
                name=check_name("name", name, may_be_empty=True),
                metadata=check_metadata({} if metadata is None else metadata),
                key=_check_key(key),
                heartbeat_interval=interval,
                expiry=expiry,
                maximum_members=check_positive("maximum_members", maximum_members),
            )
        )

    # Facts

    @property
    def name(self) -> str:
        """What we call ourselves."""
        return self._settings.name

    @property
    def metadata(self) -> Mapping[str, str]:
        """What else we tell of ourselves."""
        return self._settings.metadata

    @property
    def heartbeat_interval(self) -> float:
        """Seconds between two announcements of ourselves."""
        return self._settings.heartbeat_interval

    @property
    def expiry(self) -> float:
        """Seconds of silence after which the others take us for gone."""
        return self._settings.expiry

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
        packet = self._registered_machine().packets.message(command, payload)
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

        The message names its receiver, and others ignore it. So where the group has a key,
        nothing is sent to an address where no member is known.

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
        destinations = self._destinations(to, port)
        check_command(command)
        payload = message_data(data)
        packets = self._registered_machine().packets
        for receiver, address, port_there in destinations:
            self._write(address, packets.message(command, payload, receiver), port_there)

    def _destinations(self, to: Member | str, port: int | None) -> list[tuple[bytes, str, int]]:
        """Instance, address and port of everybody who is meant."""
        if port is not None:
            check_port(port, allow_zero=False)
        if isinstance(to, Member):
            if port is not None:
                raise ValueError("a Member has a port of its own; leave out port")
            return [(_instance(to), to.address, to.port)]
        address = ip_address(to)
        there = [
            (_instance(member), member.address, member.port)
            for member in self._members.values()
            if member.address == address and port in (None, member.port)
        ]
        if not there and port is not None and self._settings.key is None:
            return [(NONE, address, port)]  # a stranger may listen to everybody
        return there


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
