"""Facts about a connection from the kernel, for which the ``socket`` module has no functions."""

from __future__ import annotations

import errno as errnos
import os
import socket as stdlib_socket

from trio_xsock._platform import sockets as platform


def has_unread_input(sock: stdlib_socket.socket) -> bool:
    """Whether the OS has unread input; an end of input does not count."""
    try:
        return bool(sock.recv(1, stdlib_socket.MSG_PEEK))
    except OSError:  # there is none, or the connection is lost
        return False


def was_reset(sock: stdlib_socket.socket) -> bool:
    """Whether an end of input is not clean: the connection was reset, or timed out.

    The OS reports that once, to the first call. That may have been a partial send: ``sendfile``
    then returns what was sent and drops the error. The next ``recv`` returns ``b""``,
    as after a FIN. But the kernel's connection is closed, and a closed one has no peer.

    Args:
        sock: a socket whose input has ended, and whose output we have not ended.
    """
    try:
        sock.getpeername()
    except OSError:
        return True
    return False


def why_lost(sock: stdlib_socket.socket) -> OSError:
    """The error of a connection of which the OS only says that it exists no more (ENOTCONN).

    The OS still has the cause, unless an earlier call was given it: then it was a reset.
    """
    number = sock.getsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_ERROR)
    number = number or errnos.ECONNRESET
    return OSError(number, os.strerror(number))


def unacknowledged_bytes(sock: stdlib_socket.socket) -> int | None:
    """Bytes, counting a FIN as one, that the peer's OS has not acknowledged yet.

    Returns:
        The number (SIOCOUTQ in tcp(7)), 0 for a closed socket, or ``None`` if the OS does not
        say.
    """
    if sock.fileno() < 0:  # there is nothing to wait for any more
        return 0
    try:
        return platform.unacknowledged_bytes(sock)
    except OSError:
        return None
