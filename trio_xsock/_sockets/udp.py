"""``UDPSocket``: the datagram socket, put together and with its options."""

from __future__ import annotations

import errno as errnos
from typing import TYPE_CHECKING, Self

import trio

from trio_xsock._engine.udp_sending import UDPSending
from trio_xsock._machines.endpoint import shown
from trio_xsock._machines.udp_groups import Group, multicast_group
from trio_xsock._network.interface import NetworkInterface, broadcast_address, interface_of
from trio_xsock._network.options import check_count
from trio_xsock._network.udp_port import Port
from trio_xsock._runtime.channel import EventChannel
from trio_xsock._runtime.guard import protect_from_ki
from trio_xsock._values.datagram import Datagram
from trio_xsock._values.errors import SocketError, describe
from trio_xsock._values.events import DatagramEvent

_MOST_HOPS = 255
_ADVICE = {
    errnos.ENOBUFS: "at most net.ipv4.igmp_max_memberships groups for each socket",
    errnos.ENODEV: "there is no such interface, or no route to the group",
    errnos.ENETUNREACH: "there is no route to the group; choose a network_interface",
}
_WILDCARDS = ("", "0.0.0.0", "::")


def _not_joined(group: str, exc: OSError) -> SocketError:
    advice = _ADVICE.get(exc.errno or 0)
    text = f"cannot join {shown(group)}: {describe(exc)}" + (f": {advice}" if advice else "")
    return SocketError(text, errno=exc.errno)


@protect_from_ki
class UDPSocket(UDPSending, trio.abc.Channel[Datagram]):
    """Datagrams over IPv4 and IPv6, to one, to a group, to all. Xojo: ``UDPSocket``.

    A ``trio.abc.Channel[Datagram]`` that lives in ``async with``::

        from dataclasses import replace

        async with UDPSocket(4711) as sock:
            await sock.bind()
            async for datagram in sock:
                sock.write(replace(datagram, data=b"got it"))

    Such an answer leaves from the address that was asked.

    UDP promises nothing: datagrams are lost, come twice, or in another order than they were
    sent. What arrives is delivered once, as a whole, with its true sender, in the order in which
    it arrived. A peer that is not there is not noticed, and ends nothing.

    Args:
        port: the port to bind to; 0 lets the OS pick one.
        address: the local address to bind to, ``""`` for all, IPv4 and IPv6.
        handler: a callback object, see ``SocketHandler``.
        events: a channel to post into, which other sockets may share.
        network_interface: the interface to hear and to send by; its multicasts and broadcasts
            are received, too. ``None`` for all.
        receive_packet_limit: datagrams that may be unread; newer ones are dropped, and counted
            in ``statistics().packets_dropped``.

    All options are attributes too.

    Raises:
        InvalidPortError: ``port`` is outside 0..65535.
        TypeError, ValueError: another option is of a wrong type, or out of its range.
    """

    __slots__ = ("_group_ports",)

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
        super().__init__(port, address, handler, events, network_interface, receive_packet_limit)
        self._group_ports: dict[Group, Port] = {}

    async def __aenter__(self) -> Self:
        return await super().__aenter__()

    @property
    def router_hops(self) -> int:
        """How many routers a multicast or a broadcast may pass; 32 unless set.

        Once it is set it holds for unicasts as well, which otherwise may pass as many as the OS
        lets them. 0 keeps multicasts on this machine. Takes effect at once, and stays when the
        socket is closed. Xojo: ``RouterHops``.

        Raises (assignment):
            ValueError, TypeError: outside 0..255, or not an int.
        """
        return self._router_hops

    @router_hops.setter
    def router_hops(self, hops: int) -> None:
        if check_count("router_hops", hops) > _MOST_HOPS:
            raise ValueError(f"router_hops must be in 0..{_MOST_HOPS}, not {hops}")
        self._router_hops = hops
        self._unicast_hops = True
        if self._port_bound is not None:
            self._port_bound.set_hops(hops, unicast=True)

    @property
    def send_to_self(self) -> bool:
        """Whether this very socket hears what it sends to a group that it is in; False unless set.

        Other programs on this machine hear it in any case. Takes effect at once, and stays when
        the socket is closed. Xojo: ``SendToSelf``.

        Raises (assignment):
            TypeError: not a bool.
        """
        return self._send_to_self

    @send_to_self.setter
    def send_to_self(self, wanted: bool) -> None:
        if not isinstance(wanted, bool):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"send_to_self must be a bool, not {type(wanted).__name__}")
        self._send_to_self = wanted
        self._note_groups()

    @property
    def broadcast_address(self) -> str:
        """Where to send what all IPv4 hosts of our network should get. Xojo: ``BroadcastAddress``.

        Computed from address and mask of ``network_interface``; without one, of the interface
        that has the socket's address, else of the default route's; ``"255.255.255.255"`` where
        that gives none. The socket hears its own broadcasts. Never raises.
        """
        interface = self._network_interface
        if interface is None:
            address = self._local_endpoint()
            host = address[0] if address else self._address
            interface = interface_of("" if host in _WILDCARDS else host)
        return broadcast_address(interface)

    # Groups

    def join_multicast_group(self, group: str) -> bool:
        """Hear what is sent to a multicast group and to our port. Xojo: ``JoinMulticastGroup``.

        Groups of which the socket is no member are not heard, whatever other programs on this
        machine have joined. From the first group on the port may be shared: other sockets that
        join groups may bind to it as well, and each hears its groups. What is sent to the port
        and to no group then reaches only one of them, the OS decides which, so for that use a
        socket with a port of its own.

        Args:
            group: an IP address: 224.0.0.0 to 239.255.255.255, or one that begins with ``ff``,
                with ``%zone`` if not that of ``network_interface``, or of the routes, is meant.

        Returns:
            True if the socket is in the group now; False if that is none, or the OS refuses:
            then ``last_error`` says why.

        Raises:
            InvalidStateError: not bound.
            SocketClosedError: we closed the socket.
            TypeError: ``group`` is not a str.
        """
        wanted = multicast_group(group)
        self._check_bound()
        if wanted is None:
            self._delivery.last_error = SocketError(f"{shown(group)} is no multicast group")
            return False
        if wanted in self._memberships:
            return True
        assert self._port_bound is not None
        try:
            extra = self._port_bound.join(wanted)
        except OSError as exc:
            self._delivery.last_error = _not_joined(group, exc)
            return False
        self._memberships.add(wanted)
        if extra is not None:
            self._group_ports[wanted] = extra
            self._watch(extra)
        self._keep_memberships()
        self._note_groups()
        return True

    def leave_multicast_group(self, group: str) -> None:
        """Hear a group no more; nothing if the socket is not in it. Xojo: ``LeaveMulticastGroup``.

        Args:
            group: as for ``join_multicast_group``.

        Raises:
            InvalidStateError: not bound.
            SocketClosedError: we closed the socket.
            TypeError: ``group`` is not a str.
        """
        wanted = multicast_group(group)
        self._check_bound()
        if wanted is None or wanted not in self._memberships:
            return
        assert self._port_bound is not None
        extra = self._group_ports.pop(wanted, None)
        if extra is not None:
            self._unwatch(extra)
        else:
            self._port_bound.leave(wanted)
        self._memberships.remove(wanted)
        self._note_groups()

    def _note_groups(self) -> None:
        """What the ports have to look at may have changed."""
        for port in self._watches:
            port.set_send_to_self(self._send_to_self)

    def _stop_calls(self) -> None:
        super()._stop_calls()
        self._group_ports.clear()

    async def poll(self) -> bool:
        """One step by hand: take in, send, deliver. Xojo: ``Poll``.

        Returns:
            Whether anything happened.

        Cancellation: seen before anything is done.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        self._check_thread()
        happened = bool(self._delivery.hub.calls)
        for port in list(self._watches):
            happened = self._read_step(port) or happened
        happened = self._write_step() or happened
        await self._settle()
        await trio.lowlevel.cancel_shielded_checkpoint()
        return happened
