"""What the kernel knows about a connection and Python's ``socket`` module has no name for."""

from __future__ import annotations

import socket as stdlib_socket
import struct
import sys
from typing import Protocol


class SelfAccounting(Protocol):
    """A transport that no kernel knows and that counts by itself."""

    def unacknowledged_bytes(self) -> int | None:
        """See the function of that name."""
        ...


def has_unread_input(sock: stdlib_socket.socket) -> bool:
    """Whether the OS holds input that nobody has read; an end of input is none."""
    try:
        return bool(sock.recv(1, stdlib_socket.MSG_PEEK))
    except OSError:  # nothing there, or nothing to be had any more
        return False


def was_reset(sock: object) -> bool:
    """Whether an end of input is no clean one: the connection was reset, or timed out.

    The OS tells of that once, to whoever asks first. That may have been a send that went in
    part: ``sendfile`` then returns what went and drops the error. The next ``recv`` says ``b""``,
    as after a FIN. But the kernel's connection is closed, and a closed one has no peer.

    Args:
        sock: a socket whose input has ended, and whose output we have not ended.
    """
    if not isinstance(sock, stdlib_socket.socket):
        return False  # other transports raise what they know
    try:
        sock.getpeername()
    except OSError:
        return True
    return False


def unacknowledged_bytes(sock: stdlib_socket.socket | SelfAccounting) -> int | None:
    """Bytes, counting a FIN as one, that the peer's OS has not acknowledged yet.

    Returns:
        The number (SIOCOUTQ in tcp(7)), 0 for a closed socket, or ``None`` where the OS does not
        tell.
    """
    if not isinstance(sock, stdlib_socket.socket):
        return sock.unacknowledged_bytes()
    if sock.fileno() < 0:  # whoever waits for the peer has nothing to wait for any more
        return 0
    if sys.platform != "linux":
        return None
    import fcntl  # noqa: PLC0415 - not everywhere
    import termios  # noqa: PLC0415

    try:
        answer = fcntl.ioctl(sock, termios.TIOCOUTQ, struct.pack("i", 0))
    except OSError:
        return None
    return int(struct.unpack("i", answer)[0])
