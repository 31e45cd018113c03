"""The load of messages: a storm in one direction, or both."""

from __future__ import annotations

import time

from benchmarks.control import Params

from .bulk import Load, receive_bytes
from .sockets import connect, expect

HEADER = bytes.fromhex("584d0100 00000001")


def frame(size: int) -> bytes:
    """A message with so many bytes of data, put together from the documentation."""
    return HEADER + size.to_bytes(4, "big") + b"x" * size


def to_server(params: Params) -> Load:
    """The program under test receives messages; it answers a byte after each batch."""
    batch, batches = params["batch"], params["batches"]
    block = memoryview(frame(params["size"]) * batch)
    with connect(params["port"]) as sock:
        sock.sendall(block)
        expect(sock, 1)
        yield {}
        began = time.perf_counter()
        for _ in range(batches):
            sock.sendall(block)
            expect(sock, 1)
        yield {"wall": time.perf_counter() - began, "operations": batch * batches}


def echo(params: Params) -> Load:
    """The program under test sends each message back."""
    batch, batches = params["batch"], params["batches"]
    block = frame(params["size"]) * batch
    with connect(params["port"]) as sock:
        sock.sendall(block)
        receive_bytes(sock, len(block))
        yield {}
        began = time.perf_counter()
        for _ in range(batches):
            sock.sendall(block)
            receive_bytes(sock, len(block))
        yield {"wall": time.perf_counter() - began, "operations": batch * batches}
