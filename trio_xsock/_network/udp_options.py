"""The options of a UDP socket that Python has no better names for; see ip(7), ipv6(7), udp(7).

All of them are set on one descriptor for both families: on Linux an IPv6 socket takes IPv4's
options, too, and they hold for what it sends to mapped addresses (RFC 3493, 3.7).
"""

from __future__ import annotations

import contextlib
import errno as errnos
import socket as stdlib_socket
import struct
from collections.abc import Generator
from typing import Final

from trio_xsock._machines.endpoint import ResolvedAddress, packed_address
from trio_xsock._machines.udp_groups import Group
from trio_xsock._platform import sockets as platform

_IP: Final[int] = stdlib_socket.IPPROTO_IP
_IPV6: Final[int] = stdlib_socket.IPPROTO_IPV6

_MEMINFO: Final = struct.Struct("9I")
_DROPS: Final = 8  # its place in SO_MEMINFO

_NO_IPV6: Final = (errnos.EAFNOSUPPORT, errnos.EADDRNOTAVAIL)

_RECEIVE_BUFFER: Final = 2**22
"""Bytes to ask for; the OS gives what it allows (Linux: net.core.rmem_max)."""


def open_socket(
    local: ResolvedAddress | None, port: int, *, shared: bool = False
) -> stdlib_socket.socket:
    """A bound UDP socket, non-blocking and not inheritable.

    Args:
        local: the address to bind to; ``None`` for all addresses of both families.
        port: the port, 0 for a free one.
        shared: others that allow it, too, may have the same port.

    Raises:
        OSError: what the OS says; nothing stays open.
    """
    if local is not None:
        host, *rest = local.address
        address = (host, port, *rest[1:])
        return _open(local.family, address, shared, only_ipv6=True)
    try:
        return _open(stdlib_socket.AF_INET6, ("::", port), shared, only_ipv6=False)
    except OSError as exc:
        if exc.errno not in _NO_IPV6:
            raise
        return _open(stdlib_socket.AF_INET, ("0.0.0.0", port), shared, only_ipv6=False)


def _open(
    family: int, address: tuple[object, ...], shared: bool, only_ipv6: bool
) -> stdlib_socket.socket:
    sock = stdlib_socket.socket(family, stdlib_socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_BROADCAST, 1)
        with contextlib.suppress(OSError):  # some systems refuse what is too much
            sock.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_RCVBUF, _RECEIVE_BUFFER)
        if family == stdlib_socket.AF_INET6:
            sock.setsockopt(_IPV6, stdlib_socket.IPV6_V6ONLY, only_ipv6)
        _hear_only_own_groups(sock)
        if shared:
            share_port(sock)
        sock.bind(address)
    except BaseException:
        sock.close()
        raise
    return sock


def share_port(sock: stdlib_socket.socket) -> None:
    """From now on others that do the same may bind to the same port."""
    sock.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_REUSEADDR, 1)


def speaks(sock: stdlib_socket.socket) -> tuple[bool, bool]:
    """Whether a socket speaks IPv4 and whether it speaks IPv6."""
    if sock.family == stdlib_socket.AF_INET:
        return True, False
    return not sock.getsockopt(_IPV6, stdlib_socket.IPV6_V6ONLY), True


def _hear_only_own_groups(sock: stdlib_socket.socket) -> None:
    """Linux hands each socket what any program on the machine has joined, unless told not to."""
    _set(sock, _IP, platform.IP_MULTICAST_ALL, 0)
    _set(sock, _IPV6, platform.IPV6_MULTICAST_ALL, 0)


def tell_arrivals(sock: stdlib_socket.socket) -> bool:
    """Have the OS say where each datagram was sent to and by which interface it came.

    Returns:
        Whether it does.
    """
    return _set(sock, _IPV6, platform.IPV6_RECVPKTINFO, 1) or _set(
        sock, _IP, platform.IP_RECVPKTINFO, 1
    )


def source_info(address: ResolvedAddress) -> tuple[int, int, bytes]:
    """The ancillary data with which a datagram leaves from an address of ours."""
    packed = packed_address(address.address[0])
    if address.family == stdlib_socket.AF_INET:
        return _IP, platform.IP_PKTINFO, struct.pack("i4s4x", 0, packed)  # ip(7): struct in_pktinfo
    zone = address.address[3] if len(address.address) == 4 else 0
    return _IPV6, platform.IPV6_PKTINFO, packed + struct.pack("i", zone)


def set_hops(sock: stdlib_socket.socket, hops: int, *, unicast: bool) -> None:
    """How many routers multicasts may pass, and unicasts, too, if wanted."""
    _set(sock, _IP, stdlib_socket.IP_MULTICAST_TTL, hops)
    _set(sock, _IPV6, stdlib_socket.IPV6_MULTICAST_HOPS, hops)
    if unicast:
        least = max(hops, 1)  # systems refuse 0
        _set(sock, _IP, stdlib_socket.IP_TTL, least)
        _set(sock, _IPV6, stdlib_socket.IPV6_UNICAST_HOPS, least)


@contextlib.contextmanager
def other_hops(sock: stdlib_socket.socket, value: bytes) -> Generator[None]:
    """For what is sent in this block, another number of hops; see ``hops_value``."""
    before = sock.getsockopt(_IP, stdlib_socket.IP_TTL)
    _set(sock, _IP, stdlib_socket.IP_TTL, value)
    try:
        yield
    finally:
        _set(sock, _IP, stdlib_socket.IP_TTL, before)


def hops_value(hops: int) -> bytes:
    """What to send along with one datagram for it to pass so many routers."""
    return struct.pack("i", max(hops, 1))


def send_by(sock: stdlib_socket.socket, index: int, *, unicasts: bool) -> None:
    """Send multicasts, and unicasts, too, if wanted, by one interface only."""
    _set(sock, _IP, stdlib_socket.IP_MULTICAST_IF, platform.interface_request("", "", index))
    _set(sock, _IPV6, stdlib_socket.IPV6_MULTICAST_IF, index)
    if unicasts:
        network_order = struct.pack("!I", index)
        _set(sock, _IP, platform.IP_UNICAST_IF, network_order)
        _set(sock, _IPV6, platform.IPV6_UNICAST_IF, network_order)


def send_multicasts_from(sock: stdlib_socket.socket, address: str) -> None:
    """Send IPv4 multicasts by the interface that has an address."""
    _set(sock, _IP, stdlib_socket.IP_MULTICAST_IF, platform.interface_request("", address, 0))


def join(sock: stdlib_socket.socket, group: Group, address: str, index: int) -> None:
    """Join a group.

    Args:
        sock: a socket of the group's family.
        group: the group.
        address: IPv4: of the interface, ``""`` for the one of the route; see ``index``.
        index: the interface's number, if it is not 0.

    Raises:
        OSError: what the OS says.
    """
    _change_membership(
        sock, stdlib_socket.IP_ADD_MEMBERSHIP, stdlib_socket.IPV6_JOIN_GROUP, group, address, index
    )


def leave(sock: stdlib_socket.socket, group: Group, address: str, index: int) -> None:
    """Leave a group; the arguments are those of ``join``."""
    _change_membership(
        sock,
        stdlib_socket.IP_DROP_MEMBERSHIP,
        stdlib_socket.IPV6_LEAVE_GROUP,
        group,
        address,
        index,
    )


def _change_membership(
    sock: stdlib_socket.socket, ipv4: int, ipv6: int, group: Group, address: str, index: int
) -> None:
    index = group.zone or index
    if group.is_ipv6:
        packed = stdlib_socket.inet_pton(stdlib_socket.AF_INET6, group.address)
        sock.setsockopt(_IPV6, ipv6, packed + struct.pack("i", index))
    else:
        sock.setsockopt(_IP, ipv4, platform.interface_request(group.address, address, index))


def dropped_by_system(sock: stdlib_socket.socket) -> int:
    """Datagrams that the OS has dropped for want of room; 0 where it does not tell."""
    if not platform.SO_MEMINFO:
        return 0
    try:
        info = sock.getsockopt(stdlib_socket.SOL_SOCKET, platform.SO_MEMINFO, _MEMINFO.size)
        return int(_MEMINFO.unpack(info)[_DROPS])
    except (OSError, struct.error):
        return 0


def _set(sock: stdlib_socket.socket, level: int, option: int, value: int | bytes) -> bool:
    """Set an option, where the system has it; whether it did."""
    if not option or (level == _IPV6 and sock.family != stdlib_socket.AF_INET6):
        return False
    try:
        sock.setsockopt(level, option, value)
    except OSError:
        return False
    return True
