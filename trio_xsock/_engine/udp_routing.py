"""From the address of a datagram to the way there, and what to say if there is none."""

from __future__ import annotations

import errno as errnos

from trio_xsock._machines.endpoint import (
    ResolvedAddress,
    address_text,
    check_address,
    check_port,
    format_endpoint,
    literal_address,
    shown,
)
from trio_xsock._network.udp_port import Route
from trio_xsock._runtime.guard import protect_from_ki
from trio_xsock._values.errors import NameResolutionError, OutOfMemoryError, SocketError, describe
from trio_xsock._values.typing import Address

from .udp_receiving import UDPReceiving

_MOST_ROUTES = 1024
"""Addresses to remember the way to."""
_NO_MEMORY = frozenset({errnos.ENOMEM, errnos.ENOBUFS})
_ADVICE = {
    errnos.EMSGSIZE: "too large for a datagram, nothing was sent: 65507 bytes is the most over "
    "IPv4, 65527 over IPv6",
    errnos.ENETUNREACH: "check the routes, and local_address where it is set; for multicasts and "
    "255.255.255.255, network_interface",
    errnos.EAFNOSUPPORT: "the socket is bound to an address of the other family",
    errnos.EINVAL: "local_address, where it is set, must be one of this machine that reaches it",
    errnos.EPERM: "a firewall on this machine forbids it",
}


@protect_from_ki
class UDPRouting(UDPReceiving):
    """A datagram socket that knows the way."""

    __slots__ = ()

    def _route(self, address: str, port: int, source: str = "") -> Route:
        """The way to an IP address, from one of ours if it is given; raises what prevents it."""
        self._check_bound()
        check_port(port, allow_zero=False, host=check_address(address))
        literal = literal_address(address, port)
        if literal is None:
            raise NameResolutionError(
                f"{self!r}: {shown(address)} is no IP address; `await send()` takes names, too"
            )
        return self._route_to(literal, source)

    def _route_to(self, address: ResolvedAddress, source: str) -> Route:
        assert self._port_bound is not None
        if len(self._routes) >= _MOST_ROUTES:
            self._routes.clear()
        try:
            route = self._port_bound.route(address, source)
        except OSError as exc:
            raise self._refusal(exc, address.address) from exc
        self._routes[address_text(address.address), address.address[1], source] = route
        return route

    async def _routes_to(self, address: str, port: int, source: str) -> list[Route]:
        """The ways to a host; at least one."""
        known = self._routes.get((address, port, source))
        if known is not None:
            return [known]  # noqa: ASYNC910 - the caller has a checkpoint
        self._check_bound()
        check_port(port, allow_zero=False, host=check_address(address))
        if literal_address(address, port) is not None:
            return [self._route(address, port, source)]  # noqa: ASYNC910 - as above
        assert self._port_bound is not None
        family = self._port_bound.family
        found = await self._names.resolve(address, port, family)
        self._check_bound()  # it may have been closed meanwhile
        return [self._route_to(each, source) for each in found]

    def _refusal(self, exc: OSError, address: Address) -> SocketError:
        kind = OutOfMemoryError if exc.errno in _NO_MEMORY else SocketError
        where = format_endpoint(address_text(address), address[1])
        advice = _ADVICE.get(exc.errno or 0)
        text = f"cannot send to {where}: {describe(exc)}" + (f" ({advice})" if advice else "")
        return kind(text, errno=exc.errno)
