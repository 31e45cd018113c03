"""``start_tls``: what was plain before, and nothing that was, comes after it."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.support import EventRecorder, RawPeer, check_grammar, raw_pair, until
from tests.support.pairs import clog, shrink_send_buffer
from tests.support.tls import TLSPeer, credentials
from trio_xsock import (
    Connected,
    ErrorOccurred,
    InvalidStateError,
    LostConnectionError,
    SendComplete,
    ServerSocket,
    SocketClosedError,
    SocketState,
    SSLSocket,
    TLSError,
)
from trio_xsock._network.handshake import Handshake


@asynccontextmanager
async def plain(*, small: bool = False, **options: Any) -> AsyncIterator[tuple[SSLSocket, RawPeer]]:
    """A client that has not begun TLS, and the raw peer at its other end."""
    ours, peer = raw_pair(small=small)
    options = {"ca_file": credentials().ca, "server_hostname": "localhost", **options}
    with ours, peer:
        async with SSLSocket.from_socket(ours, ssl_enabled=False, **options) as sock:
            yield sock, peer


async def answer(peer: RawPeer) -> TLSPeer:
    """The peer's part of the handshake."""
    tls = TLSPeer(peer, credentials().server_context())
    await tls.handshake()
    return tls


async def test_plain_then_encrypted() -> None:
    """One ``Connected``, and the books go on."""
    recorder = EventRecorder()
    async with plain(handler=recorder) as (sock, peer):
        await sock.send_all(b"STARTTLS\r\n")
        assert await peer.recv_exactly(10) == b"STARTTLS\r\n"
        assert not sock.ssl_connected
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sock.start_tls)
            tls = await answer(peer)
        assert sock.ssl_connected
        assert sock.tls_version == "TLSv1.3"
        await sock.send_all(b"secret")
        assert await tls.recv_exactly(6) == b"secret"
        await tls.send(b"answer")
        assert await sock.receive_exactly(6) == b"answer"
        assert sock.bytes_sent == 16
        with pytest.raises(InvalidStateError, match="TLS is up already"):
            await sock.start_tls()
        await sock.aclose()
        assert await tls.recv_some() == b""
    assert len(recorder.of(Connected)) == 1
    check_grammar(recorder.events)


async def test_an_announcement_goes_first() -> None:
    """After what is queued, in plaintext, and all of it before the first byte of TLS."""
    async with plain(small=True) as (sock, peer):
        shrink_send_buffer(sock)
        sock.write(bytes(50_000))

        async def serve() -> None:
            assert await peer.recv_exactly(50_000) == bytes(50_000)
            assert await peer.recv_exactly(4) == b"220 "
            assert sock.ssl_connecting
            await answer(peer)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            await sock.start_tls(announce=b"220 ")
        assert sock.ssl_connected


@pytest.mark.parametrize("turned", [False, True])
async def test_accepted_sockets_are_servers(turned: bool) -> None:
    """Unless they are told otherwise."""
    issued = credentials()

    async def serve(sock: SSLSocket) -> None:
        sock.certificate_file = issued.server
        await sock.start_tls(announce=b"go", server_side=False if turned else None)
        sock.write(await sock.receive_exactly(4))
        await sock.aclose()

    def add_socket() -> SSLSocket:
        return SSLSocket(ssl_enabled=False, ca_file=issued.ca, server_hostname="localhost")

    async with ServerSocket(add_socket=add_socket) as server:
        async with trio.open_nursery() as nursery:
            port = await nursery.start(server.serve, serve)
            with await RawPeer.connect(port) as peer:
                assert await peer.recv_exactly(2) == b"go"
                context = issued.server_context() if turned else issued.client_context()
                tls = TLSPeer(peer, context)
                await tls.handshake()
                await tls.send(b"echo")
                assert await tls.recv_all_to_eof() == b"echo"
            server.stop_listening()


async def test_a_socket_that_listened_is_a_server() -> None:
    async with SSLSocket(ssl_enabled=False, certificate_file=credentials().server) as sock:
        await sock.listen()
        with await RawPeer.connect(sock.port) as peer:
            await until(lambda: sock.is_connected)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(sock.start_tls)
                await until(lambda: sock.ssl_connecting)
                await TLSPeer(peer, credentials().client_context()).handshake()
            assert sock.ssl_connected


# What somebody slipped in


async def test_buffered_input_refuses_it() -> None:
    """What came before TLS must not be read as if it came after it (RFC 3207, 6)."""
    async with plain() as (sock, peer):
        await peer.send(b"injected")
        await until(lambda: sock.bytes_available)
        with pytest.raises(InvalidStateError, match="8 bytes came before TLS"):
            await sock.start_tls()
        assert sock.is_connected
        assert sock.read_all() == b"injected"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sock.start_tls)
            await answer(peer)


async def test_what_is_on_its_way_is_taken_for_tls() -> None:
    """From the moment of the call; it fails, and not a byte is delivered."""
    recorder = EventRecorder()
    async with plain(handler=recorder) as (sock, peer):
        peer.send_nowait(b"injected\r\n")  # in the OS, and nobody has looked yet
        with pytest.raises(TLSError, match="does not speak TLS") as caught:
            await sock.start_tls(announce=b"go")
        assert sock.bytes_available == 0
        assert sock.state is SocketState.CLOSED
        assert sock.last_error is caught.value
        with pytest.raises(TLSError):
            sock.write(b"in the clear")
        with pytest.raises(TLSError):
            await sock.receive_some()
        assert await peer.recv_exactly(2) == b"go"
    assert [event.error for event in recorder.of(ErrorOccurred)] == [caught.value]
    check_grammar(recorder.events)


async def test_ahead_of_the_handshake_on_a_server() -> None:
    """Pipelined after STARTTLS, the classical way."""
    async with SSLSocket(ssl_enabled=False, certificate_file=credentials().server) as sock:
        await sock.listen()
        with await RawPeer.connect(sock.port) as peer:
            await until(lambda: sock.is_connected)
            await peer.send(b"STARTTLS\r\nMAIL FROM:<mallory@example.org>\r\n")
            assert await sock.receive_until(b"\r\n") == b"STARTTLS"
            with pytest.raises(InvalidStateError):
                await sock.start_tls(announce=b"220\r\n")
            sock.close()
            with pytest.raises(InvalidStateError):
                await sock.start_tls()


# Ends on the way


async def test_meanwhile_nobody_else_reads_or_writes() -> None:
    """A reader that waits goes on waiting, and gets what comes encrypted."""
    async with plain() as (sock, peer):
        received: list[bytes] = []

        async def read() -> None:
            received.append(await sock.receive_some())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await wait_all_tasks_blocked()
            nursery.start_soon(sock.start_tls)
            await wait_all_tasks_blocked()
            assert sock.ssl_connecting
            assert not sock.is_connected
            with pytest.raises(InvalidStateError, match="TLS is about to begin"):
                sock.write(b"in the clear")
            with pytest.raises(trio.BusyResourceError):
                await sock.send_all(b"x")
            with pytest.raises(trio.BusyResourceError):
                await sock.send_eof()
            with pytest.raises(trio.BusyResourceError):
                await sock.start_tls()
            assert not await sock.poll()
            tls = await answer(peer)
            await tls.send(b"secret")
        assert received == [b"secret"]


@pytest.mark.parametrize("end", ["close", "aclose", "cancel"])
async def test_called_off(end: str) -> None:
    """The connection is closed: half of a handshake is good for nothing."""
    recorder = EventRecorder()
    async with plain(handler=recorder) as (sock, peer):
        outcome: list[BaseException] = []

        async def upgrade() -> None:
            with scope:
                try:
                    await sock.start_tls()
                except SocketClosedError as error:
                    outcome.append(error)

        scope = trio.CancelScope()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(upgrade)
            await peer.recv_some()
            if end == "cancel":
                scope.cancel()
            else:
                if end == "aclose":
                    await sock.aclose()
                sock.close()
            await wait_all_tasks_blocked()
            assert sock.state is SocketState.CLOSED
            assert await peer.recv_all_to_eof() == b""
        assert len(outcome) == (end != "cancel")
        with pytest.raises(SocketClosedError):
            sock.write(b"x")
    assert [type(event) for event in recorder.events] == [Connected]


@pytest.mark.parametrize("done", [True, False])
async def test_closed_right_after_the_last_step(
    done: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a handler of another socket, in the same batch: it was us who ended it."""
    step = Handshake._on_ready

    def step_and_close(handshake: Handshake) -> None:
        step(handshake)
        if not done or handshake.transport.engine.peer_certificate is not None:
            sock.close()

    async with plain() as (sock, peer), trio.open_nursery() as nursery:
        monkeypatch.setattr(Handshake, "_on_ready", step_and_close)

        async def upgrade() -> None:
            with pytest.raises(SocketClosedError):
                await sock.start_tls()

        nursery.start_soon(upgrade)
        if done:
            with contextlib.suppress(OSError):
                await answer(peer)
        else:
            await peer.recv_some()  # its first flight
            await peer.send(b"no TLS at all")
        await peer.recv_all_to_eof()


async def test_called_off_before_it_began() -> None:
    """Then nothing was changed."""
    async with plain() as (sock, peer):
        with trio.CancelScope() as scope:
            scope.cancel()
            await sock.start_tls()
        await sock.send_all(b"plain")
        assert await peer.recv_exactly(5) == b"plain"


async def test_cancelled_while_the_queue_is_sent() -> None:
    """That, too, closes the connection: the peer may have half of the announcement."""
    recorder = EventRecorder()
    async with plain(small=True, handler=recorder) as (sock, _):
        shrink_send_buffer(sock)
        await clog(sock)
        with trio.move_on_after(0.02):
            await sock.start_tls(announce=b"never")
        assert sock.state is SocketState.CLOSED
    assert recorder.of(SendComplete)[-1].user_aborted


@pytest.mark.parametrize("when", ["queue", "handshake"])
async def test_lost_on_the_way(when: str) -> None:
    """By a reset: what it was, and once."""
    recorder = EventRecorder()
    async with plain(small=True, handler=recorder) as (sock, peer):
        if when == "queue":
            shrink_send_buffer(sock)
            await clog(sock)

        async def upgrade() -> None:
            with pytest.raises((TLSError, LostConnectionError)) as caught:
                await sock.start_tls(announce=b"x")
            assert sock.last_error is caught.value

        async with trio.open_nursery() as nursery:
            nursery.start_soon(upgrade)
            await wait_all_tasks_blocked()
            peer.reset()
    assert len(recorder.of(ErrorOccurred)) == 1
    check_grammar(recorder.events)


async def test_an_idle_time_out_ends_it() -> None:
    """It is not to wait for the handshake's own."""
    async with plain(idle_timeout=0.02) as (sock, _):
        with pytest.raises(LostConnectionError, match="no byte went"):
            await sock.start_tls()


async def test_options_that_do_not_do() -> None:
    """They end the connection, too: nobody shall go on in the clear by mistake."""
    async with plain(ca_file="/nowhere.pem") as (sock, peer):
        with pytest.raises(TLSError, match="/nowhere"):
            await sock.start_tls()
        assert sock.state is SocketState.CLOSED
        assert await peer.recv_all_to_eof() == b""


async def test_it_has_to_be_connected() -> None:
    async with SSLSocket() as sock:
        with pytest.raises(InvalidStateError, match="not connected"):
            await sock.start_tls()


async def test_a_server_without_a_certificate_verifies_nobody() -> None:
    """The sides have to be different."""
    async with plain() as (sock, peer):

        async def serve() -> None:
            tls = TLSPeer(peer, credentials().client_context())
            with pytest.raises(ssl.SSLError):
                await tls.handshake()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            with pytest.raises(TLSError):
                await sock.start_tls()
