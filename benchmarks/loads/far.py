"""The load of a far peer: it answers, but not soon.

The answers of many connections come one at a time, so that each of them finds a program that waits.
"""

from __future__ import annotations

import select
import socket
import time
from collections import deque

from benchmarks import linux
from benchmarks.control import Params

from .bulk import Load
from .sockets import MANNER, PATIENCE, accepted, listener

_RECEIVE = 2**16


class FarPeer:
    """Sends back what comes, a while later.

    Args:
        connections: all that there are.
        delay: seconds between a message and its answer, at least. Messages that come at the same
            time are answered in turn, an equal part of ``delay`` apart.
    """

    def __init__(self, connections: list[socket.socket], delay: float) -> None:
        self._delay = delay
        self._gap = delay / len(connections)
        self._last = 0.0
        self._answers: deque[tuple[float, socket.socket, bytes]] = deque()
        self._connections = {sock.fileno(): sock for sock in connections}

    def run(self) -> None:
        """Answer until all connections have ended."""
        with linux.epoll() as epoll:
            for descriptor in self._connections:
                epoll.register(descriptor, linux.EPOLLIN)
            deadline = time.perf_counter() + PATIENCE
            while self._connections or self._answers:
                # Not epoll's own wait, which is a number of whole milliseconds.
                if select.select([epoll], [], [], self._wait())[0]:
                    deadline = time.perf_counter() + PATIENCE
                    for descriptor, _ in epoll.poll(0, len(self._connections)):
                        if not self._take(self._connections[descriptor]):
                            epoll.unregister(descriptor)
                            del self._connections[descriptor]
                elif time.perf_counter() > deadline:
                    raise TimeoutError("the client fell silent")
                self._answer()

    def _wait(self) -> float:
        if not self._answers:
            return MANNER.wait
        return min(MANNER.wait, max(0.0, self._answers[0][0] - time.perf_counter()))

    def _take(self, sock: socket.socket) -> bool:
        try:
            data = sock.recv(_RECEIVE)
        except ConnectionError:
            data = b""
        if data:
            self._last = max(time.perf_counter() + self._delay, self._last + self._gap)
            self._answers.append((self._last, sock, data))
        return bool(data)

    def _answer(self) -> None:
        while self._answers and self._answers[0][0] <= time.perf_counter():
            _, sock, data = self._answers.popleft()
            try:
                sock.send(data)
            except ConnectionError:  # the program under test has failed, and will say why
                pass


def to_client(params: Params) -> Load:
    """The program under test connects and sends messages, which are echoed until it closes."""
    with listener() as server:
        yield {"port": server.getsockname()[1]}
        with accepted(server, params["connections"]) as connections:
            FarPeer(connections, params["milliseconds"] / 1000).run()
            yield {"operations": params["messages"]}
