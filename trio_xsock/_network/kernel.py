"""What the kernel knows about a connection and Python's ``socket`` module has no name for."""

from __future__ import annotations

import socket as stdlib_socket
import struct
import sys


def has_unread_input(sock: stdlib_socket.socket) -> bool:
    """Whether the OS holds input that nobody has read; an end of input is none."""
    try:
        return bool(sock.recv(1, stdlib_socket.MSG_PEEK))
    except OSError:  # nothing there, or nothing to be had any more
        return False


def unacknowledged_bytes(sock: stdlib_socket.socket) -> int | None:
    """Bytes, counting a FIN as one, that the peer's OS has not acknowledged yet.

    Returns:
        The number (SIOCOUTQ in tcp(7)), or ``None`` where the OS does not tell.
    """
    if sys.platform != "linux":
        return None
    import fcntl  # noqa: PLC0415 - not everywhere
    import termios  # noqa: PLC0415

    try:
        answer = fcntl.ioctl(sock, termios.TIOCOUTQ, struct.pack("i", 0))
    except OSError:
        return None
    return int(struct.unpack("i", answer)[0])
