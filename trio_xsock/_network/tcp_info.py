"""Options and facts of a TCP connection in the kernel: keepalive and ``tcp_info``."""

from __future__ import annotations

import socket as stdlib_socket
import struct
from collections.abc import Callable
from typing import Protocol

from trio_xsock._machines.dead_peers import Sample
from trio_xsock._platform import sockets as platform

from .kernel import unacknowledged_bytes

# struct tcp_info in linux/tcp.h: eight bytes of small fields, then 32-bit ones.
_RETRANSMITS = 2
_PROBES = 3
_LAST_SENT_AND_ACK = struct.Struct("=I8xI")  # tcpi_last_data_sent and tcpi_last_ack_recv
_LAST_SENT_OFFSET = 44
_SIZE = 104


class HasOptions(Protocol):
    """A socket, or a transport over one."""

    @property
    def setsockopt(self) -> Callable[..., None]:
        """``socket.setsockopt`` of the descriptor."""
        ...


def take_sample(sock: stdlib_socket.socket) -> Sample | None:
    """The kernel's facts about the sending side.

    Returns:
        The sample, or ``None`` if there is none (other systems than Linux, and sockets that are
        not TCP).
    """
    waiting = unacknowledged_bytes(sock)
    try:
        info = platform.tcp_info(sock, _SIZE)
    except OSError:
        return None
    if info is None or waiting is None:
        return None
    sent, acknowledged = _LAST_SENT_AND_ACK.unpack_from(info, _LAST_SENT_OFFSET)  # ms ago
    retransmits, probes = info[_RETRANSMITS], info[_PROBES]
    # A peer whose memory is full drops what is retransmitted, but it answers.
    unanswered = probes > 0 if not retransmits else acknowledged >= sent
    return Sample(
        in_flight=waiting > 0,
        unanswered=unanswered,
        last_ack=acknowledged / 1000,
        probes=0 if retransmits else probes,
    )


def set_keepalive(sock: HasOptions, keepalive: tuple[int, int, int] | None) -> None:
    """Switch the kernel's probes of an idle peer on or off; see SO_KEEPALIVE in tcp(7).

    Does nothing if there is nothing to probe: with a Unix socket, or a peer that is gone.

    Args:
        sock: a stream socket.
        keepalive: seconds of idleness before the first probe, seconds between probes, and
            after how many unanswered ones the connection has timed out; ``None`` for off.
    """
    try:
        sock.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_KEEPALIVE, keepalive is not None)
        if keepalive is not None:
            for option, value in zip(platform.KEEPALIVE, keepalive, strict=True):
                sock.setsockopt(stdlib_socket.IPPROTO_TCP, option, value)
    except OSError:
        pass
