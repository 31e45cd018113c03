"""``socket``, ``getsockopt``, ``setsockopt``, ``bytes_received``: what other libraries ask."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable
from typing import Any

import pytest
import trio

from tests.support import accept, raw_listener
from tests.support.pairs import linked
from tests.support.peers import LOOPBACK
from tests.support.tls import tls_linked
from trio_xsock import (
    AutoDiscovery,
    EasyTCPSocket,
    EasyUDPSocket,
    InvalidStateError,
    LostConnectionError,
    SSLSocket,
    TCPSocket,
    UDPSocket,
)
from trio_xsock.testing import memory_socket_pair

NODELAY = (socket.IPPROTO_TCP, socket.TCP_NODELAY)
BUFFER = (socket.SOL_SOCKET, socket.SO_RCVBUF)
LINGER = (socket.SOL_SOCKET, socket.SO_LINGER)


@pytest.mark.trio
@pytest.mark.parametrize("make", [TCPSocket, EasyTCPSocket])
async def test_of_a_client(make: Callable[..., TCPSocket]) -> None:
    """The view shows what the OS says."""
    with raw_listener() as listener:
        async with make(LOOPBACK, listener.getsockname()[1]) as sock:
            await sock.connect()
            view = sock.socket
            assert view.getsockname() == (LOOPBACK, sock.local_port)
            assert view.getpeername() == listener.getsockname()
            assert view.fileno() == sock.handle > 0
            assert view.family == socket.AF_INET
            assert view.getsockopt(*NODELAY) == sock.getsockopt(*NODELAY) == 1
            sock.setsockopt(*NODELAY, 0)
            assert not view.getsockopt(*NODELAY)
            view.setsockopt(*NODELAY, 1)
            assert sock.getsockopt(*NODELAY)
            sock.setsockopt(*LINGER, struct.pack("ii", 1, 7))
            assert struct.unpack("ii", sock.getsockopt(*LINGER, 8)) == (1, 7)
            sock.setsockopt(*LINGER, struct.pack("ii", 0, 0))
            with pytest.raises(OSError):
                sock.setsockopt(socket.SOL_SOCKET, 9999, 1)
            sock.close()
            check_there_is_none(sock)
            for call in (view.getsockname, view.getpeername, view.fileno):
                with pytest.raises(InvalidStateError, match="no descriptor"):
                    call()
            await sock.connect()
            assert view.fileno() == sock.handle


def check_there_is_none(sock: Any) -> None:
    """Each call says so."""
    for call in (
        lambda: sock.socket,
        lambda: sock.getsockopt(*BUFFER),
        lambda: sock.setsockopt(*BUFFER, 4096),
    ):
        with pytest.raises(InvalidStateError, match="there is no descriptor"):
            call()


@pytest.mark.trio
async def test_of_a_connection_that_was_lost() -> None:
    """Other libraries ask for addresses without knowing that, and expect an OSError."""
    async with linked() as (sock, peer):
        before = sock.socket
        peer.reset()
        with pytest.raises(LostConnectionError):
            await sock.receive_some()
        for view in before, sock.socket:
            for call in (
                view.getsockname,
                view.getpeername,
                view.fileno,
                lambda view=view: view.family,
                lambda view=view: view.getsockopt(*BUFFER),
                lambda view=view: view.setsockopt(*BUFFER, 4096),
            ):
                with pytest.raises(OSError, match="there is no descriptor") as caught:
                    call()
                assert isinstance(caught.value, InvalidStateError)
                assert caught.value.errno == errno.EBADF
                assert caught.value.error_number == 106
        with pytest.raises(OSError, match="there is no descriptor"):
            sock.getsockopt(*BUFFER)


@pytest.mark.parametrize(
    "make", [TCPSocket, SSLSocket, UDPSocket, EasyTCPSocket, EasyUDPSocket, AutoDiscovery]
)
def test_of_a_socket_that_is_not_open(make: Callable[[], Any]) -> None:
    """106."""
    check_there_is_none(make())


@pytest.mark.trio
async def test_wrong_values() -> None:
    """A value or a length, as ``trio.SocketStream`` has it."""
    async with linked() as (sock, _):
        wrong: Any = sock
        for target in (wrong, wrong.socket):
            with pytest.raises(TypeError, match="a value, or None and a length"):
                target.setsockopt(*NODELAY, None)
            with pytest.raises(TypeError, match="a value, or None and a length"):
                target.setsockopt(*NODELAY, 1, 4)


@pytest.mark.trio
async def test_of_one_that_listens() -> None:
    """It is the listening descriptor's."""
    async with TCPSocket() as sock:
        await sock.listen()
        assert sock.socket.getsockname()[1] == sock.port
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
        with pytest.raises(OSError):
            sock.socket.getpeername()


@pytest.mark.trio
async def test_of_an_encrypted_one() -> None:
    """TLS is above the descriptor."""
    async with tls_linked() as (sock, _):
        sock.setsockopt(*NODELAY, 0)
        assert sock.socket.getsockopt(*NODELAY) == 0
        assert sock.socket.family == socket.AF_INET
        sock.setsockopt(*LINGER, struct.pack("ii", 0, 3))
        assert len(sock.getsockopt(*LINGER, 8)) == 8


@pytest.mark.trio
async def test_of_a_datagram_socket() -> None:
    """A bound one has a descriptor, and no peer."""
    async with UDPSocket(address=LOOPBACK) as sock:
        await sock.bind()
        assert sock.socket.getsockname() == (LOOPBACK, sock.port)
        sock.setsockopt(*BUFFER, 2**16)
        assert sock.getsockopt(*BUFFER) >= 2**16
        assert sock.socket.fileno() == sock.handle
        with pytest.raises(OSError):
            sock.socket.getpeername()
        sock.close()
        check_there_is_none(sock)


@pytest.mark.trio
async def test_of_a_connection_in_memory() -> None:
    """It has names, and options that do nothing."""
    async with memory_socket_pair() as (a, b):
        assert a.socket.getpeername() == b.socket.getsockname()
        assert a.socket.fileno() == -1
        a.setsockopt(*NODELAY, 1)
        a.setsockopt(*NODELAY, b"\0\0\0\0")
        assert a.getsockopt(*NODELAY) == 0


@pytest.mark.trio
async def test_bytes_received() -> None:
    """What was taken from the OS on this connection, read or not."""
    with raw_listener() as listener:
        async with TCPSocket(LOOPBACK, listener.getsockname()[1]) as sock:
            assert sock.bytes_received == 0
            for _ in range(2):
                await sock.connect()
                with await accept(listener) as peer:
                    assert sock.bytes_received == 0
                    await peer.send(b"x" * 100_000)
                    peer.fin()
                    await sock.receive_exactly(10)
                    rest = len(await sock.receive_exactly(99_990))
                    assert rest + 10 == sock.bytes_received == 100_000
                    await sock.aclose()
                    assert sock.bytes_received == 100_000
            assert sock.statistics().bytes_in == 200_000


@pytest.mark.trio
async def test_bytes_received_while_lines_are_read() -> None:
    """An iterator that has looked ahead changes nothing."""
    async with linked() as (sock, peer):
        await peer.send(b"a\nb\nc\n")
        async for line in sock.lines():
            assert sock.bytes_received == 6
            if line == "c":
                break


@pytest.mark.trio
async def test_bytes_received_encrypted() -> None:
    """Decrypted ones count."""
    async with tls_linked() as (sock, peer):
        await peer.send(b"hello")
        await sock.receive_exactly(5)
        assert sock.bytes_received == 5
        await trio.lowlevel.checkpoint()
