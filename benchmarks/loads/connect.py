"""Loads of connections that come and go, or come and stay."""

from __future__ import annotations

import socket
import time

from benchmarks import linux
from benchmarks.control import Params, percentile

from .bulk import Load
from .ping import Pinger
from .sockets import (
    PATIENCE,
    close_all,
    connect,
    connect_many,
    expect,
    listener,
    prepare,
)


def to_server(params: Params) -> Load:
    """Connect, one byte to and fro, close; so and so many at a time."""
    port, count, at_once = params["port"], params["count"], params["at_once"]
    _come_and_go(port, max(at_once, count // 10), at_once)
    yield {}
    began = time.perf_counter()
    _come_and_go(port, count, at_once)
    yield {"wall": time.perf_counter() - began, "operations": count}


def _come_and_go(port: int, count: int, at_once: int) -> None:
    epoll = linux.epoll()
    here: dict[int, socket.socket] = {}

    def come() -> None:
        sock = connect(port)
        here[sock.fileno()] = sock
        epoll.register(sock, linux.EPOLLIN)
        sock.send(b"?")

    try:
        to_come = count
        while to_come and len(here) < at_once:
            to_come -= 1
            come()
        while here:
            ready = epoll.poll(PATIENCE, at_once)
            if not ready:
                raise TimeoutError(f"{to_come + len(here)} connections were not served")
            for descriptor, _ in ready:
                with here.pop(descriptor) as sock:
                    expect(sock, 1)
                if to_come:
                    to_come -= 1
                    come()
    finally:
        epoll.close()
        close_all(here.values())


def from_client(params: Params) -> Load:
    """The program under test connects, sends a byte, takes it back, closes, and so on."""
    with listener() as server:
        yield {"port": server.getsockname()[1]}
        for _ in range(params["count"] + params["warm"]):
            with prepare(server.accept()[0]) as sock:
                sock.send(expect(sock, 1))
                sock.recv(1)
        yield {"operations": params["count"]}


def idle(params: Params) -> Load:
    """Connections that are served once and then stay, silent."""
    connections = connect_many(params["port"], params["warm"])
    try:
        yield {}
        began = time.perf_counter()
        connections += connect_many(params["port"], params["count"])
        yield {"wall": time.perf_counter() - began, "operations": params["count"]}
    finally:
        close_all(connections)


class _Crowd(Pinger):
    """Busy connections, and newcomers among them."""

    def invite(self, port: int, count: int, busy: int) -> list[float]:
        """Let ``count`` newcomers connect at once; how long each took to be served."""
        newcomers: dict[int, tuple[socket.socket, float]] = {}
        served: list[float] = []
        message, receive, send = self._message, self._receive, self._send
        clock = time.perf_counter
        for descriptor in list(send):
            send[descriptor](message)
        exchanged = 0
        deadline = clock() + PATIENCE
        try:
            while len(served) < count:
                if clock() > deadline:
                    raise TimeoutError(f"{count - len(served)} newcomers were not served")
                ready = self.epoll.poll(PATIENCE, len(send) + count)
                if not ready:
                    raise TimeoutError(f"{count - len(served)} newcomers were not served")
                for descriptor, _ in ready:
                    if descriptor in send:
                        data = receive[descriptor](len(message))
                        if len(data) != len(message) and not self._complete(descriptor, data):
                            continue
                        exchanged += 1
                        send[descriptor](message)
                    else:
                        sock, began = newcomers[descriptor]
                        expect(sock, 1)
                        served.append(clock() - began)
                        self.epoll.unregister(sock)
                if exchanged > busy and not newcomers:
                    for _ in range(count):
                        began = clock()
                        sock = connect(port)
                        newcomers[sock.fileno()] = sock, began
                        self.epoll.register(sock, linux.EPOLLIN)
                        sock.send(b"?")
        finally:
            close_all(sock for sock, _ in newcomers.values())
        return served


def newcomers(params: Params) -> Load:
    """Newcomers to an echo server that has busy connections."""
    connections = connect_many(params["port"], params["connections"])
    try:
        crowd = _Crowd(connections, params["size"])
        crowd.run(len(connections) * 2)
        yield {}
        served = crowd.invite(params["port"], params["count"], len(connections) * 5)
        yield {
            "wall": max(served),
            "operations": params["count"],
            "p50": percentile(served, 50),
            "p99": percentile(served, 99),
        }
    finally:
        close_all(connections)
