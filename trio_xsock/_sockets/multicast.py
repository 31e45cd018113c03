"""The calls for groups and broadcasts, which all UDP sockets have."""

from __future__ import annotations

import errno as errnos

from trio_xsock._engine.datagram_reasons import check_bound
from trio_xsock._machines.endpoint import shown
from trio_xsock._machines.udp_groups import multicast_group
from trio_xsock._network.interface import broadcast_address, interface_of
from trio_xsock._network.options import check_count
from trio_xsock._runtime.guard import protect_from_ki
from trio_xsock._values.errors import SocketError, describe

from .datagram_socket import DatagramSocket

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
class MulticastCalls(DatagramSocket):
    """The calls for multicast groups and for broadcasts."""

    __slots__ = ()

    @property
    def router_hops(self) -> int:
        """How many routers a multicast or a broadcast may pass; 32 unless set.

        Once it is set it applies to unicasts as well, for which otherwise the OS's default
        applies. 0 keeps multicasts on this machine. Takes effect at once, and is kept when the
        socket is closed. Xojo: ``RouterHops``.

        Raises (assignment):
            ValueError, TypeError: outside 0..255, or not an int.
        """
        return self._datagrams.router_hops

    @router_hops.setter
    def router_hops(self, hops: int) -> None:
        if check_count("router_hops", hops) > _MOST_HOPS:
            raise ValueError(f"router_hops must be in 0..{_MOST_HOPS}, not {hops}")
        self._datagrams.set_hops(hops)

    @property
    def send_to_self(self) -> bool:
        """Whether this socket receives its own multicasts to groups it is in; False unless set.

        Other programs on this machine receive them in any case. Takes effect at once, and is
        kept when the socket is closed. Xojo: ``SendToSelf``.

        Raises (assignment):
            TypeError: not a bool.
        """
        return self._datagrams.send_to_self

    @send_to_self.setter
    def send_to_self(self, wanted: bool) -> None:
        if not isinstance(wanted, bool):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"send_to_self must be a bool, not {type(wanted).__name__}")
        self._datagrams.set_send_to_self(wanted)

    @property
    def broadcast_address(self) -> str:
        """The address of all IPv4 hosts of our network. Xojo: ``BroadcastAddress``.

        Computed from address and mask of ``network_interface``; without one, of the interface
        that has the socket's address, else of the default route's; ``"255.255.255.255"`` if
        there is none. The socket receives its own broadcasts. Never raises.
        """
        interface = self._network_interface
        if interface is None:
            address = self._local_endpoint()
            host = address[0] if address else self._address
            interface = interface_of("" if host in _WILDCARDS else host)
        return broadcast_address(interface)

    # Groups

    def join_multicast_group(self, group: str) -> bool:
        """Receive datagrams to a multicast group and our port. Xojo: ``JoinMulticastGroup``.

        Datagrams to other groups are not received, even if other programs on this machine have
        joined them. After the first group the port may be shared: other sockets that join groups
        may bind to it as well, and each receives those of its groups. A datagram to the port and
        to no group then reaches only one of them, which the OS chooses; for these use a
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
        bound = check_bound(self._datagrams, self)
        if wanted is None:
            self._delivery.last_error = SocketError(f"{shown(group)} is no multicast group")
            return False
        if self._datagrams.is_member(wanted):
            return True
        try:
            self._datagrams.join(bound, wanted)
        except OSError as exc:
            self._delivery.last_error = _not_joined(group, exc)
            return False
        return True

    def leave_multicast_group(self, group: str) -> None:
        """Leave a group; nothing if the socket is not in it. Xojo: ``LeaveMulticastGroup``.

        Args:
            group: as for ``join_multicast_group``.

        Raises:
            InvalidStateError: not bound.
            SocketClosedError: we closed the socket.
            TypeError: ``group`` is not a str.
        """
        wanted = multicast_group(group)
        bound = check_bound(self._datagrams, self)
        if wanted is not None and self._datagrams.is_member(wanted):
            self._datagrams.leave(bound, wanted)
