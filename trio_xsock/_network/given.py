"""Sockets that were opened elsewhere, for ``from_socket``."""

from __future__ import annotations

import socket as stdlib_socket
import ssl
from typing import Any

from .listen import is_listening


def check_given(sock: object) -> stdlib_socket.socket:
    """A stream socket that is connected or listening.

    Raises:
        TypeError: not a ``socket.socket``, or one that does TLS.
        ValueError: not a stream socket, or neither connected nor listening.
    """
    if not isinstance(sock, stdlib_socket.socket):
        raise TypeError(f"sock must be a socket.socket, not {type(sock).__name__}")
    if isinstance(sock, ssl.SSLSocket):
        raise TypeError("sock must be a plain socket; what speaks TLS here is SSLSocket")
    connected = peer_of(sock) is not None
    if sock.type != stdlib_socket.SOCK_STREAM or not (connected or is_listening(sock)):
        raise ValueError(f"sock must be a stream socket, connected or listening, not {sock!r}")
    return sock


def peer_of(sock: stdlib_socket.socket) -> tuple[Any, ...] | None:
    """The peer's address; an empty one for a Unix socket, whose peer has no IP address."""
    try:
        peer: Any = sock.getpeername()
    except OSError:
        return None
    return ("", 0) if isinstance(peer, str | bytes) else peer
