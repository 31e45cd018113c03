"""The sockets of the load generator: blocking, bounded in time by the kernel."""

from __future__ import annotations

import socket
import struct
from collections.abc import Generator, Iterable
from contextlib import contextmanager

HOST = "127.0.0.1"
PATIENCE = 10
"""Seconds after which the program under test is taken to hang."""


class Manner:
    """How the load waits.

    Attributes:
        wait: seconds that it sleeps at the most until something happens; 0 for never.
    """

    wait: float = 0.0


MANNER = Manner()

_TIMEVAL = struct.pack("ll", PATIENCE, 0)
_AT_ONCE = 48  # less than the smallest backlog, which is asyncio's 100


def prepare(sock: socket.socket) -> socket.socket:
    """No delay, and an error instead of an endless wait."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _TIMEVAL)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _TIMEVAL)
    return sock


def connect(port: int) -> socket.socket:
    """A connection to the program under test."""
    sock = prepare(socket.socket())
    try:
        sock.connect((HOST, port))
    except BaseException:
        sock.close()
        raise
    return sock


def connect_many(port: int, count: int) -> list[socket.socket]:
    """Connections to an echo server, each of which was served already."""
    connections: list[socket.socket] = []
    try:
        while len(connections) < count:
            fresh = [connect(port) for _ in range(min(_AT_ONCE, count - len(connections)))]
            connections += fresh
            for sock in fresh:
                sock.send(b"?")
            for sock in fresh:
                expect(sock, 1)
    except BaseException:
        close_all(connections)
        raise
    return connections


def expect(sock: socket.socket, count: int) -> bytes:
    """Receive exactly ``count`` bytes."""
    data = b""
    while len(data) < count:
        piece = sock.recv(count - len(data))
        if not piece:
            raise ConnectionError(f"{len(data)} of {count} bytes came")
        data += piece
    return data


def listener() -> socket.socket:
    """A socket that listens for the program under test, when that is a client."""
    sock = prepare(socket.socket())
    sock.bind((HOST, 0))
    sock.listen(1024)
    return sock


@contextmanager
def accepted(server: socket.socket, count: int) -> Generator[list[socket.socket]]:
    """So many connections of the program under test; closed at the end."""
    connections: list[socket.socket] = []
    try:
        for _ in range(count):
            connections.append(prepare(server.accept()[0]))  # noqa: PERF401 - closed if one fails
        yield connections
    finally:
        close_all(connections)


def close_all(sockets: Iterable[socket.socket]) -> None:
    """Close them all."""
    for sock in sockets:
        sock.close()
