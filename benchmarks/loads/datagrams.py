"""Loads of datagrams."""

from __future__ import annotations

import os
import select
import socket
import time
from array import array

from benchmarks.control import Params, percentile

from .bulk import Load
from .sockets import HOST, MANNER, PATIENCE, close_all

_RECEIVE = 2**16
_ASK = b"?"


def echo(params: Params) -> Load:
    """The program under test sends back what comes."""
    sockets = [_connected(params["port"]) for _ in range(params["senders"])]
    try:
        player = _Player(sockets, params["window"], params["size"])
        player.run(max(100, params["messages"] // 10))
        yield {}
        del player.latencies[:]
        began = time.perf_counter()
        player.run(params["messages"])
        yield {
            "wall": time.perf_counter() - began,
            "operations": len(player.latencies),
            "p50": percentile(player.latencies, 50),
            "p99": percentile(player.latencies, 99),
        }
    finally:
        close_all(sockets)


def flood(params: Params) -> Load:
    """The program under test counts what comes, as fast as one sender can send.

    Asked by a datagram of one byte, it tells how many it has received since it was last asked.
    """
    count, message = params["count"], bytes(params["size"])
    with _connected(params["port"]) as sock:
        _send_many(sock, message, count // 10)
        _ask(sock)
        yield {}
        began = time.perf_counter()
        _send_many(sock, message, count)
        received = _ask(sock)
        yield {
            "wall": time.perf_counter() - began,
            "operations": max(received, 1),
            "lost": 1 - received / count,
        }


def _connected(port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**22)
    sock.connect((HOST, port))
    sock.setblocking(False)
    return sock


class _Player:
    """Sends ``window`` datagrams from each of the sockets, and more when all came back.

    Whether it sleeps between is a matter of ``benchmarks.placement``.
    """

    def __init__(self, sockets: list[socket.socket], window: int, size: int) -> None:
        self.latencies = array("d")
        self._sockets = sockets
        self._window = window
        self._message = os.urandom(size)

    def run(self, total: int) -> None:
        message, clock = self._message, time.perf_counter
        for _ in range(max(1, total // (self._window * len(self._sockets)))):
            began = clock()
            for sock in self._sockets:
                _send_many(sock, message, self._window)
            for sock in self._sockets:
                self._collect(sock, began)

    def _collect(self, sock: socket.socket, began: float) -> None:
        message, note, clock = self._message, self.latencies.append, time.perf_counter
        left, deadline = self._window, began + PATIENCE
        while left:
            try:
                data = sock.recv(_RECEIVE)
            except BlockingIOError:
                if clock() > deadline:
                    raise TimeoutError(f"{left} datagrams did not come back") from None
                if MANNER.wait:
                    select.select([sock], [], [], MANNER.wait)
                continue
            if data != message:
                raise AssertionError("other bytes came back than were sent")
            note(clock() - began)
            left -= 1


def _send_many(sock: socket.socket, message: bytes, count: int) -> None:
    send = sock.send
    for _ in range(count):
        send(message)


def _ask(sock: socket.socket) -> int:
    """How many have arrived; asked again where the question itself was lost."""
    deadline = time.perf_counter() + PATIENCE
    total = 0
    while time.perf_counter() < deadline:
        sock.send(_ASK)
        asked = time.perf_counter()
        while time.perf_counter() < asked + 0.2:
            try:
                total += int(sock.recv(_RECEIVE))
            except BlockingIOError:
                continue
            return total
    raise TimeoutError("no answer came")
