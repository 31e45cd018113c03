"""The machine's network interfaces, and the local address that is used by default.

The only module that uses psutil. Interfaces may appear and vanish while they are being read
(a VPN, a container, a cable), so reading never fails: vanished ones are left out.
"""

from __future__ import annotations

import ipaddress
import math
import operator
import socket as stdlib_socket
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar, final

import psutil

from trio_xsock._machines.endpoint import ResolvedAddress, address_text, literal_address
from trio_xsock._values.errors import NameResolutionError

T = TypeVar("T")

_READ_ATTEMPTS = 3
_LIMITED_BROADCAST = "255.255.255.255"
_ALL_BITS = 0xFFFFFFFF

# Documentation addresses (RFC 5737, RFC 3849): routed like any other, used by no host.
_FAR_AWAY = {
    stdlib_socket.AF_INET: ("203.0.113.1", 9),
    stdlib_socket.AF_INET6: ("2001:db8::1", 9),
}
_LOOPBACK = {stdlib_socket.AF_INET: "127.0.0.1", stdlib_socket.AF_INET6: "::1"}


class _Address(Protocol):
    """psutil's ``snicaddr``, whose own module depends on psutil's version."""

    @property
    def family(self) -> int: ...
    @property
    def address(self) -> str: ...
    @property
    def netmask(self) -> str | None: ...


class _Stats(Protocol):
    """psutil's ``snicstats``."""

    @property
    def isup(self) -> bool: ...
    @property
    def mtu(self) -> int: ...


@final
@dataclass(frozen=True, slots=True)
class NetworkInterface:
    """One network interface as it was when it was read; it does not follow changes.

    Attributes:
        name: the operating system's name, such as ``"eth0"``.
        ip_address: the primary address: the first IPv4 one, else the first IPv6 one, else ``""``.
        subnet_mask: the mask of ``ip_address``, in the same notation, or ``""``.
        mac_address: the hardware address as ``"02:fc:00:00:00:01"``, or ``""``.
        addresses: all addresses, the primary one first; IPv6 link-local ones keep their ``%zone``.
        is_up: whether it can carry traffic now (enabled, and with a link).
        is_loopback: whether it only reaches this machine.
        mtu: largest packet in bytes, 0 if unknown.
    """

    name: str
    ip_address: str
    subnet_mask: str
    mac_address: str
    addresses: tuple[str, ...]
    is_up: bool
    is_loopback: bool
    mtu: int

    @staticmethod
    def loopback() -> NetworkInterface:
        """The loopback interface; with its usual values if it cannot be read."""
        standard = NetworkInterface(
            "lo", "127.0.0.1", "255.0.0.0", "", ("127.0.0.1",), True, True, 65536
        )
        return next((each for each in _read_interfaces() if each.is_loopback), standard)


def network_interfaces() -> tuple[NetworkInterface, ...]:
    """The interfaces that are up, in the operating system's order, loopback last.

    Never raises, even if interfaces change meanwhile; takes about a millisecond.
    """
    return tuple(each for each in _read_interfaces() if each.is_up)


def network_interface(index_or_name: int | str) -> NetworkInterface:
    """One interface, by its place in ``network_interfaces()`` or by its name.

    Args:
        index_or_name: a place, or a name; by name those that are down are found as well.

    Returns:
        The interface as it is now.

    Raises:
        IndexError: there are fewer interfaces that are up.
        KeyError: there is no interface of that name.
        TypeError: it is neither an ``int`` nor a ``str``.
    """
    if isinstance(index_or_name, str):
        return _interface_named(index_or_name)
    place = operator.index(index_or_name)
    interfaces = network_interfaces()
    if not 0 <= place < len(interfaces):
        raise IndexError(f"no interface {place}, there are {len(interfaces)}")
    return interfaces[place]


def _interface_named(name: str) -> NetworkInterface:
    for each in _read_interfaces():
        if each.name == name:
            return each
    raise KeyError(f"no interface {name!r}")


def broadcast_address(interface: NetworkInterface | None) -> str:
    """The broadcast address for all IPv4 hosts of the interface's network.

    Computed from address and mask: the kernel's own field is configured by hand, and often
    wrong (``ip addr add`` without ``brd``). Networks of one or two
    addresses (/32, /31) have no broadcast address of their own (RFC 3021, 2.2); there, and
    without an IPv4 address, it is the limited broadcast 255.255.255.255 (RFC 919, 7).
    """
    if interface is None:
        return _LIMITED_BROADCAST
    return _broadcast_of(interface.ip_address, interface.subnet_mask)


def broadcast_addresses() -> frozenset[str]:
    """The broadcast addresses of all IPv4 networks of this machine."""
    found = {_LIMITED_BROADCAST}
    for entries in (_patiently(psutil.net_if_addrs) or {}).values():
        for each in entries:
            if each.family == stdlib_socket.AF_INET:
                found.add(_broadcast_of(each.address, each.netmask or ""))
    return frozenset(found)


def _broadcast_of(ip_address: str, subnet_mask: str) -> str:
    try:
        address = int(ipaddress.IPv4Address(ip_address))
        host_bits = ~int(ipaddress.IPv4Address(subnet_mask)) & _ALL_BITS
    except ValueError:
        return _LIMITED_BROADCAST
    if host_bits <= 1:
        return _LIMITED_BROADCAST
    return str(ipaddress.IPv4Address(address | host_bits))


def interface_of(ip_address: str) -> NetworkInterface | None:
    """The interface that has an address, or, without an address, the default route's."""
    wanted = ip_address or default_route_address()
    interfaces = _read_interfaces()
    for each in interfaces:
        if wanted in each.addresses:
            return each
    # All of 127.0.0.0/8 belongs to the loopback interface (RFC 1122, 3.2.1.3 (g)).
    loopback = wanted.startswith("127.")
    return next((each for each in interfaces if loopback and each.is_loopback), None)


def default_route_address(
    family: stdlib_socket.AddressFamily = stdlib_socket.AF_INET,
) -> str:
    """The local address that the default route would use, else loopback; never raises.

    Connecting a UDP socket only looks the route up (connect(2), udp(7)); nothing is sent.

    Args:
        family: ``AF_INET`` or ``AF_INET6``.
    """
    return _route_address(family) or _LOOPBACK[family]


def local_address_of(interface: NetworkInterface | None) -> str:
    """The address to show for a socket that is not bound to one.

    Args:
        interface: the interface chosen by the user, if any.

    Returns:
        Its address, else the default route's (IPv4 before IPv6), else loopback.
    """
    if interface is not None and interface.ip_address:
        return interface.ip_address
    return (
        _route_address(stdlib_socket.AF_INET)
        or _route_address(stdlib_socket.AF_INET6)
        or _LOOPBACK[stdlib_socket.AF_INET]
    )


def bindable_addresses(interface: NetworkInterface, port: int) -> list[ResolvedAddress]:
    """The interface's addresses, ready for ``bind``; those of a vanished zone are left out."""
    found: list[ResolvedAddress] = []
    for text in interface.addresses:
        try:
            address = literal_address(text, port)
        except NameResolutionError:
            continue
        if address is not None:
            found.append(address)
    return found


def _route_address(family: stdlib_socket.AddressFamily) -> str:
    try:
        with stdlib_socket.socket(family, stdlib_socket.SOCK_DGRAM) as probe:
            probe.connect(_FAR_AWAY[family])
            return address_text(probe.getsockname())
    except OSError:
        return ""


def _read_interfaces() -> list[NetworkInterface]:
    """All interfaces: in the order of their indices, loopback last."""
    stats = _patiently(psutil.net_if_stats) or {}
    addresses: defaultdict[str, list[_Address]] = defaultdict(list)
    for name, entries in (_patiently(psutil.net_if_addrs) or {}).items():
        addresses[_owner(name, stats)] += entries
    order = {name: index for index, name in _patiently(stdlib_socket.if_nameindex) or []}
    interfaces = [
        _build(name, addresses.get(name, []), stats.get(name)) for name in {**stats, **addresses}
    ]
    interfaces.sort(key=lambda each: (each.is_loopback, order.get(each.name, math.inf)))
    return interfaces


def _owner(name: str, known: Collection[str]) -> str:
    """The interface that an address belongs to.

    On Linux an address may carry a label ("eth0:1") in place of the interface's name, of
    which it keeps as much as fits into 15 characters.
    """
    start, colon, _ = name.partition(":")
    if not colon or name in known:
        return name
    return min((each for each in known if each.startswith(start)), key=len, default=start)


def _patiently(read: Callable[[], T]) -> T | None:
    for _ in range(_READ_ATTEMPTS):
        try:
            return read()
        except Exception:  # any: an interface vanished between two of the calls it makes
            continue
    return None


def _build(name: str, entries: Sequence[_Address], stats: _Stats | None) -> NetworkInterface:
    inet = [each for each in entries if each.family == stdlib_socket.AF_INET]
    inet += [each for each in entries if each.family == stdlib_socket.AF_INET6]
    hardware = [each.address for each in entries if each.family == psutil.AF_LINK]
    primary = inet[0] if inet else None
    return NetworkInterface(
        name=name,
        ip_address=primary.address if primary else "",
        subnet_mask=(primary.netmask or "") if primary else "",
        mac_address=hardware[0].replace("-", ":").lower() if hardware else "",
        addresses=tuple(each.address for each in inet),
        is_up=stats is not None and stats.isup,
        is_loopback=_is_loopback(primary.address if primary else "", stats),
        mtu=stats.mtu if stats else 0,
    )


def _is_loopback(ip_address: str, stats: _Stats | None) -> bool:
    # psutil has no flags before 5.9.3, and none on Windows; there the address has to tell.
    flags: str = getattr(stats, "flags", "")
    if "loopback" in flags.split(","):
        return True
    return ip_address.startswith("127.") or ip_address == "::1"
