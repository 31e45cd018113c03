"""Transports: those of a third party are as good as those that come with the library."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
import trio.testing

from tests.support import EventRecorder, raw_pair, until
from tests.support.tls import credentials
from tests.support.tunnel import OURS, THEIRS, Tunnel, TunnelPeer, tunnel, tunnels
from trio_xsock import (
    Connected,
    DataAvailable,
    EasyTCPSocket,
    ErrorOccurred,
    LossReason,
    LostConnectionError,
    Message,
    SendComplete,
    ServerSocket,
    SocketState,
    SSLSocket,
    TCPSocket,
)
from trio_xsock._network.transport import Transport
from trio_xsock._platform import sockets
from trio_xsock.testing._seam import take_over


@pytest.fixture(params=["hub", "portable"], autouse=True)
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the readiness hub, where there is one, and without."""
    if request.param == "portable":
        monkeypatch.setenv("TRIO_XSOCK_READINESS", "portable")
    else:
        monkeypatch.delenv("TRIO_XSOCK_READINESS", raising=False)


@contextlib.asynccontextmanager
async def tunneled(
    *, small: bool = False, **options: Any
) -> AsyncIterator[tuple[TCPSocket, TunnelPeer, Tunnel]]:
    """A socket that is connected through a tunnel, the peer at its end, and the tunnel."""
    ours, peer = tunnel(small=small)
    transport: Transport = ours  # it is one, for the type checkers as well
    with peer.raw:
        async with TCPSocket(**options) as sock:
            take_over(sock, transport)
            yield sock, peer, ours


async def test_a_tunnel_carries_a_socket() -> None:
    """Bytes go both ways in its frames, and its addresses are the socket's."""
    async with tunneled() as (sock, peer, transport):
        assert sock.is_connected
        assert (sock.remote_address, sock.remote_port) == THEIRS
        assert (sock.local_address, sock.port) == OURS
        assert sock.handle == transport.fileno() >= 0
        await sock.send_all(b"to the peer")
        assert await peer.recv() == b"to the peer"
        await peer.send(b"from ", b"it")
        assert await sock.receive_exactly(7) == b"from it"
        assert sock.statistics().bytes_out == 11
        assert sock.statistics().bytes_in == 7


async def test_what_a_tunnel_holds_is_read_without_the_os() -> None:
    """A small limit leaves most of what came with one read in the tunnel, the end as well."""
    data = bytes(range(256)) * 16
    async with tunneled(receive_buffer_limit=100) as (sock, peer, _):
        await peer.send(data[:1000], data[1000:], b"")
        await until(lambda: sock.bytes_available == 100)
        received = b"".join([chunk async for chunk in sock])
    assert received == data


async def test_a_tunnel_that_takes_little_at_a_time() -> None:
    """What it holds counts as sent, and goes when the OS takes it; a flush waits for that."""
    data = bytes(range(256)) * 2000
    async with tunneled(small=True) as (sock, peer, transport), trio.open_nursery() as nursery:
        flushed = trio.Event()

        async def send() -> None:
            await sock.send_all(data)
            await sock.flush()
            flushed.set()

        nursery.start_soon(send)
        await trio.testing.wait_all_tasks_blocked()
        assert transport.unsent
        received = b""
        while len(received) < len(data):
            assert not flushed.is_set() or not transport.unsent
            received += await peer.recv()
        assert received == data
        with trio.fail_after(5):
            await flushed.wait()
        assert not transport.unsent


async def test_a_send_that_is_cancelled_leaves_whole_frames() -> None:
    """The peer gets exactly what was counted as sent."""
    async with tunneled(small=True) as (sock, peer, _):
        with trio.move_on_after(0.05):
            await sock.send_all(bytes(1_000_000))
        sent = sock.bytes_sent
        assert 0 < sent < 1_000_000
        received = 0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sock.send_eof)
            received = len(await peer.recv_to_end())
        assert received == sent


async def test_each_direction_ends_by_itself() -> None:
    """The tunnel's own end goes before the socket's."""
    async with tunneled() as (sock, peer, _):
        await sock.send_eof()
        assert await peer.recv_to_end() == b""
        assert await peer.raw.recv_some() == b""
        await peer.send(b"answer", b"")
        assert await sock.receive_exactly(6) == b"answer"
        assert await sock.receive_some() == b""


@pytest.mark.parametrize("how", ["close", "aclose"])
async def test_closing_tells_the_peer(how: str) -> None:
    """As TLS's close_notify does."""
    async with tunneled() as (sock, peer, transport):
        sock.write(b"last words")
        await sock.flush()
        if how == "close":
            sock.close()
        else:
            await sock.aclose()
        assert sock.state is SocketState.CLOSED
        assert transport.fileno() == -1
        assert await peer.recv_to_end() == b"last words"
        assert await peer.raw.recv_some() == b""


async def test_a_tunnel_that_breaks() -> None:
    """Without the end of its direction the connection is lost; what came before can be read."""
    async with tunneled() as (sock, peer, _):
        await peer.send(b"before")
        peer.raw.close()
        assert await sock.receive_exactly(6) == b"before"
        with pytest.raises(LostConnectionError) as caught:
            await sock.receive_some()
        assert caught.value.reason is LossReason.RESET


async def test_a_handler_is_told_of_all() -> None:
    """The events of any connection, in their order."""
    recorder = EventRecorder(read=True)
    async with tunneled(handler=recorder) as (sock, peer, _):
        await recorder.wait_for(Connected)
        sock.write(b"question")
        assert await peer.recv() == b"question"
        await recorder.wait_for(SendComplete)
        await peer.send(b"answer", b"")
        await recorder.wait_for(ErrorOccurred)
    kinds = [type(event) for event in recorder.events]
    assert [kinds[0], kinds[-1]] == [Connected, ErrorOccurred]
    assert kinds.index(SendComplete) < kinds.index(DataAvailable)
    error = recorder.events[-1].error
    assert error.reason is LossReason.REMOTE_CLOSED


async def test_idleness_through_a_tunnel() -> None:
    """The time-outs ask the transport, not the OS."""
    async with tunneled(idle_timeout=0.05, unacknowledged_timeout=60) as (sock, _, _):
        with pytest.raises(LostConnectionError) as caught:
            await sock.receive_some()
        assert caught.value.reason is LossReason.TIMED_OUT


async def test_tls_goes_over_a_tunnel() -> None:
    """One transport is put over another; the tunnel's ends are below those of TLS."""
    left, right = tunnels()
    client = SSLSocket(ca_file=credentials().ca, server_hostname="localhost", ssl_enabled=False)
    server = SSLSocket(certificate_file=credentials().server, ssl_enabled=False)
    data = bytes(300_000)
    async with client, server:
        take_over(client, left)
        take_over(server, right)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.start_tls)
            nursery.start_soon(lambda: server.start_tls(server_side=True))
        assert client.ssl_connected
        assert server.ssl_connected
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.send_all, data)
            assert await server.receive_exactly(len(data)) == data
        await server.send_all(b"done")
        await server.send_eof()
        assert await client.receive_exactly(4) == b"done"
        assert await client.receive_some() == b""


async def test_messages_go_through_a_tunnel() -> None:
    """Whatever the socket makes of the bytes."""
    left, right = tunnels()
    async with EasyTCPSocket() as ours, EasyTCPSocket() as theirs:
        for sock, transport in ((ours, left), (theirs, right)):
            sock._take_over(transport, transport.getpeername())
        await ours.send(Message(7, b"x" * 100_000))
        assert await theirs.receive() == Message(7, b"x" * 100_000)
        await ours.aclose()
        with pytest.raises(trio.EndOfChannel):
            await theirs.receive()


# Little unsent data in the kernel


NOTSENT_LOWAT = getattr(socket, "TCP_NOTSENT_LOWAT", 25)
"""Python has the name on Linux from 3.12 on."""


@pytest.mark.skipif(not sockets.NOTSENT_LOWAT, reason="no TCP_NOTSENT_LOWAT")
@pytest.mark.parametrize("inherit", [sockets.ACCEPTED_INHERIT, False])
async def test_every_connection_keeps_little_unsent_data_in_the_kernel(
    monkeypatch: pytest.MonkeyPatch, inherit: bool
) -> None:
    """A client's, an accepted one, whether or not it inherits options, one from outside."""
    monkeypatch.setattr(sockets, "ACCEPTED_INHERIT", inherit)

    def option_of(sock: TCPSocket) -> int:
        transport = sock._connection.transport
        assert transport is not None
        return int(transport.getsockopt(socket.IPPROTO_TCP, NOTSENT_LOWAT))

    async with ServerSocket(address="127.0.0.1") as server:
        await server.listen()
        async with TCPSocket("127.0.0.1", server.port) as client:
            await client.connect()
            accepted = await server.accept()
            assert option_of(client) == option_of(accepted) == 16384
    ours, theirs = raw_pair()
    with theirs:
        async with TCPSocket.from_socket(ours) as sock:
            assert option_of(sock) == 16384


async def test_a_unix_socket_has_no_such_option() -> None:
    """It is carried all the same."""
    ours, theirs = socket.socketpair()
    with theirs:
        async with TCPSocket.from_socket(ours) as sock:
            await sock.send_all(b"x")
            assert theirs.recv(1) == b"x"
