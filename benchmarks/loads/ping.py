"""Loads of small messages that go to and fro.

On a core of their own they never sleep, see ``benchmarks.placement``: so the program under test
pays for its own waits only.
"""

from __future__ import annotations

import os
import socket
import time
from array import array

from benchmarks import linux
from benchmarks.control import Params, percentile

from .bulk import Load
from .sockets import (
    MANNER,
    PATIENCE,
    accepted,
    close_all,
    connect,
    connect_many,
    expect,
    listener,
)

_RECEIVE = 2**16
_NOISE = 2**18
_IN_FLIGHT = 2**23


class Pinger:
    """Keeps one message on its way on each of many connections to an echo server."""

    def __init__(self, connections: list[socket.socket], size: int) -> None:
        self.latencies = array("d")
        self.epoll = linux.epoll()
        self._message = os.urandom(size)
        self._receive = {sock.fileno(): sock.recv for sock in connections}
        self._send = {sock.fileno(): sock.send for sock in connections}
        self._parts: dict[int, bytes] = {}
        for sock in connections:
            self.epoll.register(sock, linux.EPOLLIN)

    def run(self, total: int) -> None:
        """Exchange ``total`` messages and note how long each took."""
        message, receive, send, parts = self._message, self._receive, self._send, self._parts
        size, clock, poll = len(message), time.perf_counter, self.epoll.poll
        note = self.latencies.append
        began: dict[int, float] = {}
        most, wait = len(send), MANNER.wait
        for descriptor in list(send)[:total]:
            began[descriptor] = clock()
            send[descriptor](message)
        left, unsent = total, total - len(began)
        deadline = clock() + PATIENCE
        while left:
            self.between_looks()
            ready = poll(wait, most)
            if not ready:
                if clock() > deadline:
                    raise TimeoutError(f"{left} of {total} messages did not come back")
                continue
            deadline = clock() + PATIENCE
            for descriptor, _ in ready:
                data = receive[descriptor](_RECEIVE)
                if len(data) != size:
                    data = self._complete(descriptor, data)
                    if not data:
                        continue
                if data != message:
                    raise AssertionError("other bytes came back than were sent")
                now = clock()
                note(now - began[descriptor])
                left -= 1
                if unsent:
                    unsent -= 1
                    began[descriptor] = now
                    send[descriptor](message)
        assert not parts

    def between_looks(self) -> None:
        """Nothing; for a load that does something beside."""

    def _complete(self, descriptor: int, data: bytes) -> bytes:
        if not data:
            raise ConnectionError("the connection was closed")
        data = self._parts.pop(descriptor, b"") + data
        if len(data) < len(self._message):
            self._parts[descriptor] = data
            return b""
        return data


def to_server(params: Params) -> Load:
    """The program under test is an echo server."""
    connections = connect_many(params["port"], params["connections"])
    try:
        pinger = Pinger(connections, params["size"])
        pinger.run(max(len(connections), params["messages"] // 10))
        yield {}
        del pinger.latencies[:]
        began = time.perf_counter()
        if len(connections) == 1:
            _one(connections[0], params["size"], params["messages"], pinger.latencies)
        else:
            pinger.run(params["messages"])
        wall = time.perf_counter() - began
        yield {
            "wall": wall,
            "operations": params["messages"],
            "p50": percentile(pinger.latencies, 50),
            "p99": percentile(pinger.latencies, 99),
        }
    finally:
        close_all(connections)


class _WithNoise(Pinger):
    """The same beside a connection that sends as much as it can, and takes it back.

    It has at most ``_IN_FLIGHT`` bytes to take back, because a program that queues whatever it is
    sent would run out of memory, or into the limit of its queue.
    """

    noise: socket.socket
    _block = memoryview(bytes(_NOISE))
    _in_flight = 0

    def between_looks(self) -> None:
        for transfer in (self._take_back, self._send_more):
            try:
                transfer()
            except BlockingIOError:
                pass

    def _take_back(self) -> None:
        taken = len(self.noise.recv(_NOISE, linux.MSG_DONTWAIT))
        if not taken:
            raise ConnectionError("the noisy connection was closed")
        self._in_flight -= taken

    def _send_more(self) -> None:
        if self._in_flight < _IN_FLIGHT:
            self._in_flight += self.noise.send(self._block, linux.MSG_DONTWAIT)


def beside_noise(params: Params) -> Load:
    """An echo server with many quiet connections and a noisy one; as long as those take."""
    connections = connect_many(params["port"], params["connections"])
    try:
        pinger = _WithNoise(connections, params["size"])
        with connect(params["port"]) as pinger.noise:
            pinger.run(len(connections))
            yield {}
            del pinger.latencies[:]
            began = time.perf_counter()
            pinger.run(params["messages"])
            yield {
                "wall": time.perf_counter() - began,
                "operations": params["messages"],
                "p50": percentile(pinger.latencies, 50),
                "p99": percentile(pinger.latencies, 99),
            }
    finally:
        close_all(connections)


def _one(sock: socket.socket, size: int, messages: int, latencies: array[float]) -> None:
    """The same on one connection, without a poll."""
    message = os.urandom(size)
    clock, note, send = time.perf_counter, latencies.append, sock.send
    for _ in range(messages):
        began = clock()
        send(message)
        data = _receive_at_once(sock)
        if len(data) != size:
            if not data:
                raise ConnectionError("the connection was closed")
            data += expect(sock, size - len(data))
        note(clock() - began)
        if data != message:
            raise AssertionError("other bytes came back than were sent")


def _receive_at_once(sock: socket.socket) -> bytes:
    """What comes next; waits for it without sleeping."""
    receive, deadline = sock.recv, time.perf_counter() + PATIENCE
    while True:
        try:
            return receive(_RECEIVE, linux.MSG_DONTWAIT)
        except BlockingIOError:
            if time.perf_counter() > deadline:
                raise TimeoutError("the other side fell silent") from None


def to_client(params: Params) -> Load:
    """The program under test connects and sends messages, which are echoed until it closes."""
    with listener() as server:
        yield {"port": server.getsockname()[1]}
        with accepted(server, params["connections"]) as connections:
            if len(connections) == 1:
                _echo_one(connections[0])
            else:
                _echo_many(connections)
            yield {"operations": params["messages"]}


def _echo_one(sock: socket.socket) -> None:
    try:
        while data := _receive_at_once(sock):
            sock.send(data)
    except ConnectionError:
        pass


def _echo_many(connections: list[socket.socket]) -> None:
    epoll = linux.epoll()
    pairs = {sock.fileno(): (sock.recv, sock.send) for sock in connections}
    for sock in connections:
        epoll.register(sock, linux.EPOLLIN)
    deadline = time.perf_counter() + PATIENCE
    while pairs:
        ready = epoll.poll(MANNER.wait, len(pairs))
        if not ready:
            if time.perf_counter() > deadline:
                raise TimeoutError("the client fell silent")
            continue
        deadline = time.perf_counter() + PATIENCE
        for descriptor, _ in ready:
            receive, send = pairs[descriptor]
            try:
                data = receive(_RECEIVE)
                if data:
                    send(data)
            except ConnectionError:
                data = b""
            if not data:
                epoll.unregister(descriptor)
                del pairs[descriptor]
    epoll.close()
