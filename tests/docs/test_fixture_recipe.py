"""The recipe of ``docs/howto/testing.md``: a connection as a fixture."""

from collections.abc import AsyncIterator

import pytest

from trio_xsock import TCPSocket
from trio_xsock.testing import memory_socket_pair

Pair = tuple[TCPSocket, TCPSocket]


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    """Two sockets that are connected to each other."""
    async with memory_socket_pair() as both:
        yield both


async def test_a_line_arrives(pair: Pair) -> None:
    """What one end writes the other end reads."""
    here, there = pair
    here.write("hello\n")
    assert await there.receive_until(b"\n") == b"hello"
