"""``_memory``: two transports that behave as the kernel's do, and need no kernel."""

from __future__ import annotations

import errno
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import raw_pair
from trio_xsock.testing._memory import ADDRESSES, memory_transports

SIDES = (0, 1)
PATIENCE = 0.5


def outcome(call: Callable[[], object]) -> object:
    """What a call returned, or the number of what it raised."""
    try:
        return call()
    except OSError as exc:
        assert exc.errno is not None
        return errno.errorcode[exc.errno]


def perform(sock: Any, name: str, count: int) -> object:
    """One operation on a transport of either kind."""
    if name == "send":
        return outcome(lambda: sock.send(bytes(range(count))))
    if name == "recv":
        return outcome(lambda: sock.recv(count))
    if name == "peek":
        return outcome(lambda: sock.recv(count, socket.MSG_PEEK))
    if name == "shutdown":
        return outcome(lambda: sock.shutdown(socket.SHUT_WR))
    return sock.close()


def perform_in_time(sock: socket.socket, name: str, count: int, expected: object) -> object:
    """One operation on the kernel, which may need a moment to bring packets and resets in."""
    deadline = time.monotonic() + PATIENCE
    actual = perform(sock, name, count)
    while actual != expected and time.monotonic() < deadline:
        time.sleep(0.001)
        missing = count - len(actual) if name == "recv" and isinstance(actual, bytes) else count
        again = perform(sock, name, missing)
        if name == "recv" and isinstance(actual, bytes) and isinstance(again, bytes):
            actual += again
        elif again != "EAGAIN":
            actual = again
    return actual


operations = st.lists(
    st.tuples(
        st.sampled_from(SIDES),
        st.sampled_from(["send", "send", "recv", "recv", "peek", "shutdown", "close"]),
        st.integers(1, 200),
    ),
    max_size=14,
)


@pytest.mark.skipif(sys.platform != "linux", reason="other kernels have other habits")
@settings(max_examples=150, deadline=None)
@given(operations)
def test_does_what_the_kernel_does(program: list[tuple[int, str, int]]) -> None:
    """Any sequence of calls has the outcomes that it has on a connection over loopback."""
    ours, peer = raw_pair()
    kernel = (ours, peer.sock)
    memory = memory_transports(65536)
    closed = set()
    with ours, peer:
        for sock in kernel:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for side, name, count in program:
            if side in closed:
                continue
            expected = perform(memory[side], name, count)
            actual = perform_in_time(kernel[side], name, count, expected)
            assert actual == expected, f"{name} on side {side}"
            if name == "close":
                closed.add(side)


@pytest.mark.parametrize("capacity", [1, 10, 65536])
def test_takes_what_there_is_room_for(capacity: int) -> None:
    """A send is partial when the rest does not fit, and blocks when nothing does."""
    left, right = memory_transports(capacity)
    data = bytes(i % 251 for i in range(capacity + 5))
    assert left.send(memoryview(data)) == capacity
    assert outcome(lambda: left.send(b"x")) == "EAGAIN"
    assert right.recv(1) == data[:1]
    assert left.send(data[capacity:]) == 1
    received = data[:1] + right.recv(2 * capacity)
    assert received == data[: capacity + 1]


def test_is_named() -> None:
    """The ends have addresses, and no descriptor."""
    left, right = memory_transports(1)
    assert (left.getsockname(), left.getpeername()) == ADDRESSES
    assert (right.getpeername(), right.getsockname()) == ADDRESSES
    assert left.fileno() == -1


def test_writes_into_no_buffer_of_the_caller() -> None:
    """What was sent is a copy, and the caller's buffer is released."""
    left, right = memory_transports(100)
    data = bytearray(b"before")
    left.send(memoryview(data))
    data[:] = b"after!!"
    assert right.recv(100) == b"before"


@pytest.mark.parametrize(
    ("capacity", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError), (True, TypeError)]
)
def test_refuses_a_wrong_capacity(capacity: Any, error: type[Exception]) -> None:
    """It is a whole number of at least 1."""
    with pytest.raises(error):
        memory_transports(capacity)
