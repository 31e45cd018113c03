"""The transport that encrypts, at its edges: what the OS refuses, and peers who read no answers."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Iterator

import pytest
import trio

from tests.support import RawPeer, raw_pair, until
from tests.support.tls import TLSPeer, credentials, tls_linked
from trio_xsock import SSLSocket, TLSError
from trio_xsock._machines.tls import TLSEngine
from trio_xsock._network import tls_transport as _tls_transport
from trio_xsock._network.tls_transport import TLSTransport
from trio_xsock._network.transport import PlainTransport

Ends = tuple[TLSTransport, TLSEngine, socket.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    """A client's transport, and the server: its engine and its socket; their handshake is done."""
    ours, theirs = socket.socketpair()
    for sock in (ours, theirs):
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    client = TLSEngine(credentials().client_context(), server_hostname="localhost")
    server = TLSEngine(credentials().server_context(), server_side=True)
    done = False
    while not done:
        client.handshake()
        server.feed(client.output())
        done = server.handshake()
        client.feed(server.output())
    with ours, theirs:
        transport = PlainTransport.of(ours)
        with transport:
            yield TLSTransport(transport, client), server, theirs


def test_takes_a_slice_and_then_no_more(ends: Ends) -> None:
    """Until the OS has it all; and what it took is what arrives."""
    transport, server, peer = ends
    data = bytes(range(256)) * 1000
    assert transport.send(data) == 65536
    assert transport.unsent
    for _ in range(2):
        with pytest.raises(BlockingIOError):
            transport.send(data)
    held = transport.unacknowledged_bytes()
    assert held is not None
    assert 0 < held < 67000
    received = b""
    while len(received) < 65536:
        server.feed(peer.recv(100_000))
        received += server.decrypt(100_000)
        transport.flush()
    assert received == data[:65536]
    assert not transport.unsent


def test_input_and_none(ends: Ends) -> None:
    transport, server, peer = ends
    with pytest.raises(BlockingIOError):
        transport.recv(100)  # the tickets
    with pytest.raises(BlockingIOError):
        transport.recv(100)
    peer.send(server.encrypt(b"x" * 50)[:30])
    assert transport.recv(1, socket.MSG_PEEK)
    with pytest.raises(BlockingIOError):
        transport.recv(100)  # half a record


def test_calls_for_what_is_left(ends: Ends) -> None:
    """Who asked for little is told that there is more."""
    transport, server, peer = ends
    with pytest.raises(BlockingIOError):
        transport.recv(100)
    calls: list[int] = []
    transport.on_wake(lambda: calls.append(1))
    peer.send(server.encrypt(b"x" * 50))
    assert transport.recv(20) == b"x" * 20
    assert len(calls) == 1
    assert transport.recv(100) == b"x" * 30
    assert len(calls) == 1


class Asked:
    """Hands over what there is to read, and notes how much was asked for."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = list(pieces)
        self.counts: list[int] = []

    def recv(self, count: int) -> bytes:
        self.counts.append(count)
        piece, self.pieces[0] = self.pieces[0][:count], self.pieces[0][count:]
        if not self.pieces[0]:
            del self.pieces[0]
        return piece

    def send(self, data: bytes, _flags: int) -> int:
        return len(data)


def test_how_much_is_taken_in_at_once(ends: Ends) -> None:
    """As much as is asked for, or a record."""
    transport, server, _ = ends
    transport.inner = asked = Asked(b"".join(server.encrypt(bytes(65536)) for _ in range(4)))
    while asked.pieces:
        try:
            transport.recv(100 if asked.counts else 2**17)
        except BlockingIOError:
            pass
    assert asked.counts[0] == 2**17
    assert set(asked.counts[1:]) == {16384}


def test_a_peer_that_reads_no_answers(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is an end to what is kept for it."""
    transport, server, peer = ends
    transport.send(bytes(65536))
    monkeypatch.setattr(_tls_transport, "_MOST_ANSWERS", 10)
    transport.engine._outgoing.write(bytes(11))  # alerts, say
    peer.send(server.encrypt(b"x"))
    with pytest.raises(ssl.SSLError, match="reads no answers"):
        transport.recv(100)


def test_an_answer_to_the_dead(ends: Ends) -> None:
    """What came before is read; then it is what the answer met, not a stream cut off."""
    transport, server, peer = ends
    with pytest.raises(BlockingIOError):
        transport.recv(100)
    peer.send(server.encrypt(b"last"))
    peer.close()
    transport.engine._outgoing.write(b"an answer")
    assert transport.recv(100) == b"last"
    with pytest.raises(BrokenPipeError):
        transport.recv(100)


def test_sending_to_the_dead(ends: Ends) -> None:
    """Whatever is left to send is forgotten."""
    transport, _, peer = ends
    wanted: list[bool] = []

    class Watch:
        def update(self) -> None:
            wanted.append(transport.unsent)

    transport.send(bytes(65536))
    transport._watch = Watch()  # type: ignore[assignment]
    peer.close()
    with pytest.raises(OSError, match=r"Broken pipe|reset"):
        transport.flush()
    assert not transport.unsent
    assert wanted == [False]  # or it would be called for ever


async def test_alerts_count_as_what_is_not_in_order() -> None:
    async with tls_linked() as (sock, peer):
        peer.incoming.write(bytes(100))
        with pytest.raises(ssl.SSLError):
            peer.tls.read(1)
        await peer.flush()
        with pytest.raises(TLSError, match="alert"):
            await sock.receive_some()


# The handshake, where the OS takes little


async def test_a_first_flight_that_has_to_wait() -> None:
    """The OS is full of plaintext that was sent before."""
    ours, peer = raw_pair(small=True)
    with ours, peer:
        stuffed = RawPeer(ours).stuff()
        async with SSLSocket.from_socket(ours, ssl_enabled=False, verify=False) as sock:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(sock.start_tls)
                await until(lambda: sock.ssl_connecting)
                await peer.recv_exactly(stuffed)
                await TLSPeer(peer, credentials().server_context()).handshake()
            assert sock.ssl_connected


async def test_a_last_flight_that_meets_a_dead_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The handshake is done; that there is nobody any more the first read tells."""
    flush, flights = TLSTransport.flush, []

    def failing(transport: TLSTransport) -> bool:
        flights.append(1)
        if len(flights) == 2:
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")
        return flush(transport)

    ours, peer = raw_pair()
    monkeypatch.setattr(TLSTransport, "flush", failing)
    with ours, peer:
        async with (
            SSLSocket.from_socket(ours, verify=False) as sock,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(TLSPeer(peer, credentials().server_context()).handshake)
            await until(lambda: sock.is_connected)
            nursery.cancel_scope.cancel()
            peer.reset()
            await until(lambda: sock.last_error)
