"""The ways out of a UDP port of the OS: where a datagram goes, and the address it leaves from."""

from __future__ import annotations

import errno as errnos
import functools
import os
import socket as stdlib_socket
from collections.abc import Callable
from typing import TypeAlias

from trio_xsock._machines.endpoint import (
    ResolvedAddress,
    is_link_local,
    is_multicast,
    literal_address,
)
from trio_xsock._platform import sockets as platform
from trio_xsock._values.errors import SocketError
from trio_xsock._values.typing import Address, Buffer

from . import udp_options as options
from .interface import broadcast_addresses
from .udp_port import Route
from .udp_scope import WILDCARDS, PortScope

_Send: TypeAlias = Callable[[Buffer, Address], int]
_ControlMessage: TypeAlias = tuple[int, int, bytes]


class Departures:
    """Finds the ways for what one socket of the OS sends.

    Args:
        sock: the bound socket.
        scope: its interface.
        own_address: the address that it is bound to, ``""`` if that is all of them.
        expect_echo: what to call when something was sent to a group and to our own port's
            number: with the group's address and the data.
    """

    __slots__ = (
        "_bound_to",
        "_broadcasts",
        "_expect_echo",
        "_hops",
        "_number",
        "_scope",
        "_sock",
        "speaks_ipv4",
        "speaks_ipv6",
    )

    def __init__(
        self,
        sock: stdlib_socket.socket,
        scope: PortScope,
        own_address: str,
        expect_echo: Callable[[str, bytes], None],
    ) -> None:
        self._sock = sock
        self._scope = scope
        self._bound_to = own_address
        self._expect_echo = expect_echo
        self._number = sock.getsockname()[1]
        self.speaks_ipv4, self.speaks_ipv6 = options.speaks(sock)
        self._hops = b""
        self._broadcasts: frozenset[str] = frozenset()

    def check_family(self, *, is_ipv6: bool) -> None:
        """Refuse addresses that the socket cannot reach; raises ``OSError``."""
        if not (self.speaks_ipv6 if is_ipv6 else self.speaks_ipv4):
            raise OSError(errnos.EAFNOSUPPORT, os.strerror(errnos.EAFNOSUPPORT))

    def set_hops(self, hops: int, unicast: bool) -> None:
        """See ``Port``."""
        self._hops = options.hops_value(hops)
        options.set_hops(self._sock, hops, unicast=unicast)

    def route(self, address: ResolvedAddress, source: str = "") -> Route:
        """See ``Port``."""
        is_ipv6 = address.family == stdlib_socket.AF_INET6
        self.check_family(is_ipv6=is_ipv6)
        target = self._target(address, is_ipv6=is_ipv6)
        from_source = self._source_info(source, is_ipv6=is_ipv6)
        host = address.address[0]
        is_group = is_multicast(address)
        if not (is_group or is_ipv6) and self._is_broadcast(host):
            return Route(functools.partial(self._send_broadcast, from_source), target)
        send: _Send = self._sock.sendto
        send_message = platform.send_message(self._sock)
        if from_source is not None and send_message is not None:
            send = _sender_with(send_message, from_source)
        if is_group and address.address[1] == self._number:
            send = functools.partial(self._send_to_own_number, host, send)
        return Route(send, target)

    def _target(self, address: ResolvedAddress, *, is_ipv6: bool) -> Address:
        """The address in the form that the socket needs."""
        host, port = address.address[:2]
        target: Address = address.address
        if is_ipv6 and is_link_local(address) and len(target) == 4 and not target[3]:
            if not self._scope.index:
                raise SocketError(
                    f"cannot send to {host}: a link-local address needs a zone, as in {host}%eth0",
                    errno=errnos.EINVAL,
                )
            return (host, port, 0, self._scope.index)
        if not is_ipv6 and self.speaks_ipv6:
            return (f"::ffff:{host}", port)
        return target

    def _source_info(self, source: str, *, is_ipv6: bool) -> _ControlMessage | None:
        """What makes a datagram leave from an address; ``None`` where the OS is to choose.

        Raises:
            OSError: the address is of the other family.
        """
        if not source or source == self._bound_to or platform.send_message(self._sock) is None:
            return None
        literal = literal_address(source, 0)
        if literal is None or is_multicast(literal) or literal.address[0] in WILDCARDS:
            return None
        if is_ipv6 is (literal.family == stdlib_socket.AF_INET):
            raise OSError(errnos.EINVAL, os.strerror(errnos.EINVAL))
        if not is_ipv6 and self._is_broadcast(literal.address[0]):
            return None
        return options.source_info(literal)

    def _send_to_own_number(self, group: str, send: _Send, data: Buffer, address: Address) -> int:
        """Send to a group from which we may hear ourselves."""
        sent = send(data, address)
        self._expect_echo(group, bytes(data))
        return sent

    def _is_broadcast(self, host: str) -> bool:
        if int(host.rpartition(".")[2]) & 3 != 3:  # the last address of a network ends in ones
            return False
        if not self._broadcasts:  # asking for it takes a millisecond
            self._broadcasts = broadcast_addresses()
        return host in self._broadcasts

    def _send_broadcast(
        self, from_source: _ControlMessage | None, data: Buffer, address: Address
    ) -> int:
        send_message = platform.send_message(self._sock)
        if send_message is None:
            with options.other_hops(self._sock, self._hops):
                return self._sock.sendto(data, address)
        ancillary = [(stdlib_socket.IPPROTO_IP, stdlib_socket.IP_TTL, self._hops)]
        if from_source is not None:
            ancillary.append(from_source)
        return send_message([data], ancillary, 0, address)


def _sender_with(send_message: platform.SendMessage, message: _ControlMessage) -> _Send:
    """What sends datagrams with a control message (RFC 3542, 6)."""
    messages = (message,)

    def send(data: Buffer, address: Address) -> int:
        return send_message((data,), messages, 0, address)

    return send
