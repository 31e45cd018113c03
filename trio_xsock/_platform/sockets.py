"""Options of sockets, and calls on them, that not every system has."""

from __future__ import annotations

import functools
import os
import signal
import socket as stdlib_socket
import struct
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

from .system import IS_WINDOWS, MINIMAL, is_linux, missing, number

if sys.platform != "win32":
    import fcntl
    import termios

# Streams

NO_SIGNAL: Final = number(stdlib_socket, "MSG_NOSIGNAL")
"""Prevents SIGPIPE, whose default action, if a program has restored it, would kill the process."""
REUSE_PORT: Final = number(stdlib_socket, "SO_REUSEPORT")
"""Several sockets may listen on one port, and the system divides the connections among them."""
RESTART_ON_PORT: Final[int] = getattr(
    stdlib_socket, "SO_EXCLUSIVEADDRUSE", stdlib_socket.SO_REUSEADDR
)
"""For listeners. What Windows calls SO_REUSEADDR would let others take the port away."""
CLIENTS_SHARE_PORT: Final[bool] = os.name == "posix"
"""Whether SO_REUSEADDR is safe for a client that wants a port of its own choice."""
BIND_ADDRESS_NO_PORT: Final = number(stdlib_socket, "IP_BIND_ADDRESS_NO_PORT", linux=24)
"""ip(7); without it a socket bound to an address takes a port from all destinations' one pool."""
NOTSENT_LOWAT: Final = number(stdlib_socket, "TCP_NOTSENT_LOWAT", linux=25)
ACCEPTED_INHERIT: Final = is_linux()
"""Whether an accepted connection has TCP_NODELAY and TCP_NOTSENT_LOWAT from its listener.

Linux copies the listener's whole state; others do, too, but here it was tried.
"""
KEEPALIVE: Final[tuple[int, int, int]] = (
    getattr(stdlib_socket, "TCP_KEEPIDLE", 0x10),  # macOS calls it TCP_KEEPALIVE
    stdlib_socket.TCP_KEEPINTVL,
    stdlib_socket.TCP_KEEPCNT,
)
"""Options: seconds of idleness, seconds between probes, unanswered probes."""
RESET_ON_CLOSE: Final = struct.pack("hh" if IS_WINDOWS else "ii", 1, 0)
"""A value of SO_LINGER: closing resets the connection."""


def unacknowledged_bytes(sock: stdlib_socket.socket) -> int | None:
    """Bytes that the peer's system has not acknowledged; ``None`` if that is not known.

    Raises:
        OSError: it is no stream, or closed.
    """
    if sys.platform == "linux" and not MINIMAL:
        answer = fcntl.ioctl(sock, termios.TIOCOUTQ, struct.pack("i", 0))  # SIOCOUTQ in tcp(7)
        return int(struct.unpack("i", answer)[0])
    return None


def tcp_info(sock: stdlib_socket.socket, size: int) -> bytes | None:
    """The first bytes of Linux's ``struct tcp_info``; ``None`` where there is none.

    Raises:
        OSError: it is no TCP socket, or closed.
    """
    if sys.platform == "linux" and not MINIMAL:
        return sock.getsockopt(stdlib_socket.IPPROTO_TCP, stdlib_socket.TCP_INFO, size)
    return None


def has_sendfile() -> bool:
    """Whether the kernel sends files by itself, and doing so is safe.

    ``sendfile`` has no ``NO_SIGNAL``; it is not used if SIGPIPE would kill the program. That of
    macOS has never been tried.
    """
    if sys.platform == "linux" and not MINIMAL:
        return signal.getsignal(signal.SIGPIPE) is not signal.SIG_DFL
    return False


def sendfile(to: int, file: int, offset: int, count: int) -> int:
    """Have the kernel send a part of a file; the arguments are those of ``os.sendfile``."""
    if sys.platform == "linux" and not MINIMAL:
        return os.sendfile(to, file, offset, count)
    raise missing("sendfile")


# Datagrams

IP_PKTINFO: Final = 26 if sys.platform == "darwin" else 8
IPV6_PKTINFO: Final = 46 if sys.platform == "darwin" else 50
"""Types of ancillary data: where a datagram arrived, or is to leave from."""
IP_RECVPKTINFO: Final[int] = 0 if MINIMAL or IS_WINDOWS else IP_PKTINFO
IPV6_RECVPKTINFO: Final = number(stdlib_socket, "IPV6_RECVPKTINFO", linux=49, darwin=61)
"""The options that have them come along."""
IP_MULTICAST_ALL: Final = number(stdlib_socket, "IP_MULTICAST_ALL", linux=49)
IPV6_MULTICAST_ALL: Final = number(stdlib_socket, "IPV6_MULTICAST_ALL", linux=29)
IP_UNICAST_IF: Final = number(stdlib_socket, "IP_UNICAST_IF", linux=50)
IPV6_UNICAST_IF: Final = number(stdlib_socket, "IPV6_UNICAST_IF", linux=76)
SO_MEMINFO: Final = number(stdlib_socket, "SO_MEMINFO", linux=55)

ReceiveMessage = Callable[[int, int], tuple[bytes, list[tuple[int, int, bytes]], int, Any]]
SendMessage = Callable[[Sequence[Any], Sequence[tuple[int, int, bytes]], int, Any], int]


BINDS_TO_GROUPS: Final[bool] = not IS_WINDOWS
"""Whether a socket can be bound to a group's address; else one bound to its own hears groups."""


def receive_message(sock: stdlib_socket.socket) -> ReceiveMessage:
    """``sock.recvmsg``, or a function that returns no ancillary data."""
    found: ReceiveMessage | None = None if MINIMAL else getattr(sock, "recvmsg", None)
    return functools.partial(_receive_alone, sock) if found is None else found


def _receive_alone(
    sock: stdlib_socket.socket, size: int, _: int
) -> tuple[bytes, list[tuple[int, int, bytes]], int, Any]:
    data, source = sock.recvfrom(size)
    return data, [], 0, source


def send_message(sock: stdlib_socket.socket) -> SendMessage | None:
    """``sock.sendmsg``, ``None`` where options cannot be sent along with a datagram."""
    found: SendMessage | None = None if MINIMAL else getattr(sock, "sendmsg", None)
    return found


def interface_request(group: str, address: str, index: int) -> bytes:
    """Which IPv4 group is to be joined by which interface.

    Args:
        group: the group's address, ``""`` for none.
        address: the interface's address, ``""`` for none.
        index: its number, 0 for none.
    """
    packed = stdlib_socket.inet_aton(group or "0.0.0.0")
    owner = stdlib_socket.inet_aton(address or "0.0.0.0")
    if IS_WINDOWS:  # struct ip_mreq, where 0.x.x.x is the number of an interface
        owner = struct.pack("!I", index) if index else owner
        return packed + owner if group else owner
    return packed + owner + struct.pack("i", index)  # struct ip_mreqn, see ip(7)
