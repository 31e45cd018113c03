"""Loads of many bytes on one connection, in units after each of which the receiver answers.

They tell how much CPU time they used: the kernel does part of what one end sends in the process of
the other end, more or less according to TCP_NOTSENT_LOWAT, so that only both together can be
compared.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Generator

from benchmarks.control import Params
from benchmarks.wire import Message

from .sockets import connect, expect, listener, prepare

Load = Generator[Message, None, None]
"""Prepares, yields, works, yields what it saw, and cleans up when it is closed."""

Connect = Callable[[int], socket.socket]

_PIECE = 2**18
_BUFFER = 2**20


class Meter:
    """Measures the time since it was made."""

    def __init__(self) -> None:
        self._wall = time.perf_counter()
        self._cpu = time.process_time()

    def wall(self) -> float:
        """Seconds."""
        return time.perf_counter() - self._wall

    def cpu(self) -> float:
        """Seconds of CPU that this process used."""
        return time.process_time() - self._cpu


def send_units(sock: socket.socket, unit: int, count: int) -> None:
    """Send ``count`` units as fast as the receiver takes them."""
    piece = memoryview(bytes(min(_PIECE, unit)))
    left = unit * count
    while left:
        left -= sock.send(piece[:left] if left < len(piece) else piece)


def receive_bytes(sock: socket.socket, count: int) -> None:
    """Receive ``count`` bytes, and not one more."""
    buffer = memoryview(bytearray(_BUFFER))
    while count:
        got = sock.recv_into(buffer[:count] if count < _BUFFER else buffer)
        if not got:
            raise ConnectionError(f"{count} bytes are missing")
        count -= got


def to_server(params: Params, connect: Connect = connect) -> Load:
    """The program under test receives."""
    unit, units = params["unit"], params["units"]
    with connect(params["port"]) as sock:
        send_units(sock, unit, 1)
        expect(sock, 1)
        yield {}
        meter = Meter()
        send_units(sock, unit, units)
        expect(sock, units)
        yield {"wall": meter.wall(), "cpu": meter.cpu(), "operations": unit * units}


def from_server(params: Params, connect: Connect = connect) -> Load:
    """The program under test sends; it is asked for so and so many units by one byte."""
    unit, units = params["unit"], params["units"]
    with connect(params["port"]) as sock:
        sock.send(b"\1")
        receive_bytes(sock, unit)
        yield {}
        meter = Meter()
        sock.send(bytes([units]))
        receive_bytes(sock, unit * units)
        yield {"wall": meter.wall(), "cpu": meter.cpu(), "operations": unit * units}


def from_client(params: Params) -> Load:
    """The program under test connects and sends one unit, and then the rest."""
    unit, units = params["unit"], params["units"]
    with listener() as server:
        yield {"port": server.getsockname()[1]}
        with prepare(server.accept()[0]) as sock:
            receive_bytes(sock, unit)
            meter = Meter()
            sock.send(b".")
            for _ in range(units):
                receive_bytes(sock, unit)
                sock.send(b".")
            yield {"cpu": meter.cpu(), "operations": unit * units}


def to_client(params: Params) -> Load:
    """The program under test connects and asks for units, first one, then the rest."""
    unit, units = params["unit"], params["units"]
    with listener() as server:
        yield {"port": server.getsockname()[1]}
        with prepare(server.accept()[0]) as sock:
            send_units(sock, unit, expect(sock, 1)[0])
            more = expect(sock, 1)[0]
            meter = Meter()
            send_units(sock, unit, more)
            yield {"cpu": meter.cpu(), "operations": unit * units}


def lines(params: Params) -> Load:
    """The program under test receives lines; it answers after each batch."""
    batch, batches, size = params["batch"], params["batches"], params["size"]
    block = memoryview((b"x" * (size - 1) + b"\n") * batch)
    with connect(params["port"]) as sock:
        sock.sendall(block)
        expect(sock, 1)
        yield {}
        meter = Meter()
        for _ in range(batches):
            sock.sendall(block)
        expect(sock, batches)
        yield {"wall": meter.wall(), "operations": batch * batches}
