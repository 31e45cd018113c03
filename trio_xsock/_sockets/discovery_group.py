"""A socket as a member of a group: it registers, and does what the membership machine wants done.

It has two ports. One is that of the group, which all members share and where they hear each other;
the other is its own, from which it sends and where it is sent what is for it alone.
"""

from __future__ import annotations

import math
import os
from dataclasses import replace
from typing import Final

import trio

from trio_xsock._engine.renewal import INTERVAL
from trio_xsock._machines.endpoint import ResolvedAddress, address_text, check_port, literal_address
from trio_xsock._machines.member_packets import Settings
from trio_xsock._machines.membership import Joined, Left, Membership, Received, Send
from trio_xsock._machines.udp_groups import multicast_group
from trio_xsock._network.interface import NetworkInterface, interface_of
from trio_xsock._network.udp_port import Port, Route
from trio_xsock._runtime.guard import protect_from_ki
from trio_xsock._runtime.member_events import MemberHub
from trio_xsock._runtime.message_hub import MessageHub
from trio_xsock._values.errors import InvalidStateError, SocketError, translate_os_error
from trio_xsock._values.events import Event, MemberJoined, MemberLeft
from trio_xsock._values.member import Endpoint, Member

from .easy_udp import EasyUDPSocket, group_address
from .group_receiving import Arrival

_ID_SIZE: Final = 16


@protect_from_ki
class GroupMember(EasyUDPSocket):
    """What an ``AutoDiscovery`` can do to join a group and to know who is in it."""

    __slots__ = (
        "_announced_until",
        "_local",
        "_machine",
        "_members",
        "_registered_group",
        "_settings",
        "_shared_port",
        "_way_to_group",
    )

    def _make_message_hub(self) -> MessageHub:
        self._members: dict[str, Member] = {}
        return MemberHub()

    def _init_group(self, settings: Settings) -> None:
        self._settings = settings
        self._renewal.interval = min(INTERVAL, settings.expiry / 3)
        self._registered_group = ""
        self._machine: Membership | None = None
        self._announced_until = math.inf  # when the keeper looks again
        self._local: ResolvedAddress | None = None
        self._shared_port: Port | None = None
        self._way_to_group: Route

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

    # Registering

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
        settings = replace(self._settings, group=group)
        own = Member(
            os.urandom(_ID_SIZE).hex(),
            self.local_address,
            self.local_port,
            settings.name,
            settings.metadata,
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
            self._keep_memberships()
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

    # What the machine wants done

    def _take_packet(self, data: bytes, address: str, port: int) -> None:
        if self._machine is not None:
            self._machine.receive(data, (address, port), trio.current_time())
            self._follow_machine()

    def _next_deadline(self) -> float:
        machine = self._machine
        if machine is not None and machine.deadline <= trio.current_time():
            self._take_stock()  # the signs of life of others may lie there unread
            machine = self._machine
        if machine is not None and machine.deadline <= trio.current_time():
            machine.advance(trio.current_time())
            self._follow_machine()
            machine = self._machine
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
            route = (
                self._way_to_group
                if to is None
                else self._routes.get((*to, "")) or self._route(*to)
            )
            self._send_now(route, data)
        except SocketError:
            pass
