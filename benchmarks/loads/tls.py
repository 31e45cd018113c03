"""Loads over TLS; as over TCP the messages never sleep."""

from __future__ import annotations

import ssl
import time
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import trio_xsock.testing
from benchmarks import linux
from benchmarks.control import Params, percentile

from . import bulk, sockets
from .bulk import Load
from .sockets import HOST, MANNER, PATIENCE, close_all, expect

_CERTIFICATE = Path(trio_xsock.testing.__file__).with_name("localhost.pem")
_CONTEXT = ssl.create_default_context(cafile=_CERTIFICATE)
_RECEIVE = 2**16

T = TypeVar("T")


def connect(port: int) -> ssl.SSLSocket:
    """A connection to the program under test; it does not sleep in the handshake."""
    sock = _CONTEXT.wrap_socket(
        sockets.connect(port), server_hostname=HOST, do_handshake_on_connect=False
    )
    sock.setblocking(False)
    _without_sleep(sock.do_handshake)
    sock.setblocking(True)
    return sock


def _without_sleep(call: Callable[..., T], *arguments: object) -> T:
    deadline = time.perf_counter() + PATIENCE
    while True:
        try:
            return call(*arguments)
        except ssl.SSLWantReadError:
            if time.perf_counter() > deadline:
                raise TimeoutError("the other side fell silent") from None


def to_server(params: Params) -> Load:
    """The program under test receives."""
    return bulk.to_server(params, connect)


def from_server(params: Params) -> Load:
    """The program under test sends; it is asked for so and so many units by one byte."""
    return bulk.from_server(params, connect)


def handshakes(params: Params) -> Load:
    """Connect, shake hands, one byte to and fro, close."""
    port, count = params["port"], params["count"]
    _visit(port, max(5, count // 10))
    yield {}
    began = time.perf_counter()
    _visit(port, count)
    yield {"wall": time.perf_counter() - began, "operations": count}


def _visit(port: int, count: int) -> None:
    for _ in range(count):
        with connect(port) as sock:
            sock.setblocking(False)
            sock.send(b"?")
            _without_sleep(sock.recv, 1)


def ping(params: Params) -> Load:
    """The program under test echoes; on each connection one message is on its way."""
    connections: list[ssl.SSLSocket] = []
    try:
        for _ in range(params["connections"]):
            sock = connect(params["port"])
            connections.append(sock)
            sock.send(b"?")
            expect(sock, 1)
            sock.setblocking(False)
        message = bytes(params["size"])
        _exchange(connections, message, max(len(connections), params["messages"] // 10))
        yield {}
        began = time.perf_counter()
        latencies = _exchange(connections, message, params["messages"])
        yield {
            "wall": time.perf_counter() - began,
            "operations": params["messages"],
            "p50": percentile(latencies, 50),
            "p99": percentile(latencies, 99),
        }
    finally:
        close_all(connections)


def _exchange(connections: list[ssl.SSLSocket], message: bytes, total: int) -> array[float]:
    """Exchange ``total`` messages; how long each took."""
    latencies = array("d")
    clock = time.perf_counter
    epoll = linux.epoll()
    by_descriptor = {sock.fileno(): sock for sock in connections}
    began: dict[int, float] = {}
    for descriptor, sock in list(by_descriptor.items())[:total]:
        epoll.register(descriptor, linux.EPOLLIN)
        began[descriptor] = clock()
        sock.send(message)
    unsent, deadline = total - len(began), clock() + PATIENCE
    while len(latencies) < total:
        ready = epoll.poll(MANNER.wait, len(by_descriptor))
        if not ready and clock() > deadline:
            raise TimeoutError(f"{total - len(latencies)} messages did not come back")
        for descriptor, _ in ready:
            sock = by_descriptor[descriptor]
            try:
                data = sock.recv(_RECEIVE)
            except ssl.SSLWantReadError:
                continue
            if data != message:
                raise AssertionError("other bytes came back than were sent")
            now = deadline = clock()
            deadline += PATIENCE
            latencies.append(now - began[descriptor])
            if unsent:
                unsent -= 1
                began[descriptor] = now
                sock.send(message)
    epoll.close()
    return latencies
