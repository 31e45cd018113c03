"""Deadlines are believed after a look at the socket, when the event loop has stood still."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator

import pytest
import trio
import trio.testing

from tests.support import raw_listener, raw_pair, until
from tests.support.pairs import linked
from tests.support.tls import TLSPeer, credentials, tls_linked
from trio_xsock import (
    EasyTCPSocket,
    EasyUDPSocket,
    LossReason,
    LostConnectionError,
    ServerSocket,
    SSLSocket,
    encode_message,
)
from trio_xsock._network import kernel


def stand_still(seconds: float) -> None:
    """As a slow callback does, or a long collection."""
    time.sleep(seconds)


@contextlib.asynccontextmanager
async def easy() -> AsyncIterator[tuple[EasyTCPSocket, socket.socket]]:
    """A message socket and its peer's plain socket."""
    with raw_listener() as listener:
        port = listener.getsockname()[1]
        async with EasyTCPSocket("127.0.0.1", port) as sock:
            await sock.connect()
            peer, _ = listener.accept()
            with peer:
                yield sock, peer


# idle_timeout


async def test_what_has_arrived_is_looked_at_before_idle_timeout() -> None:
    """The bytes lie ready when the loop goes on, and so does the connection."""
    async with linked(idle_timeout=0.2) as (sock, peer):
        await peer.send(b"x")
        assert await sock.receive_some() == b"x"
        peer.sock.send(b"y")
        stand_still(0.6)
        assert await sock.receive_some() == b"y"
        assert sock.is_connected


async def test_a_silence_in_which_we_stood_still_is_given_as_much_time_again() -> None:
    """The peer may have waited for us; but once only, and then it has to speak."""
    async with linked(idle_timeout=0.3) as (sock, _peer):
        await trio.testing.wait_all_tasks_blocked()
        stand_still(0.6)
        began = trio.current_time()
        await trio.sleep(0.1)
        assert sock.is_connected
        with pytest.raises(LostConnectionError) as caught:
            await sock.receive_some()
        assert caught.value.reason is LossReason.TIMED_OUT
        assert 0.2 < trio.current_time() - began < 2


async def test_unread_input_is_no_silence(mock_clock: trio.testing.MockClock) -> None:
    """While the receive buffer is full it is the program that is slow, not the peer."""
    async with linked(idle_timeout=10, receive_buffer_limit=1000) as (sock, peer):
        await peer.send(bytes(5000))
        await until(lambda: sock.bytes_available == 1000)
        for _ in range(5):
            mock_clock.jump(9)
            await trio.testing.wait_all_tasks_blocked()
        assert sock.is_connected
        assert await sock.receive_exactly(5000) == bytes(5000)
        for _ in range(3):
            mock_clock.jump(9)
            await trio.testing.wait_all_tasks_blocked()
        assert not sock.is_connected


async def test_what_is_acknowledged_is_no_silence(
    mock_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow link drains what the OS had taken long ago."""
    waiting = 5000
    monkeypatch.setattr(kernel, "unacknowledged_bytes", lambda _: waiting)
    async with linked(idle_timeout=10) as (sock, _peer):
        await sock.send_all(b"x")
        for _ in range(8):
            await trio.testing.wait_all_tasks_blocked()
            waiting -= 100
            mock_clock.jump(6)
        await trio.testing.wait_all_tasks_blocked()
        assert sock.is_connected
        for _ in range(4):
            mock_clock.jump(6)
            await trio.testing.wait_all_tasks_blocked()
        assert not sock.is_connected


# TLS: what is a sign of life is the same on all sockets


async def test_a_part_of_a_tls_record_is_a_sign_of_life(
    mock_clock: trio.testing.MockClock,
) -> None:
    """Bytes that complete no record are bytes."""
    async with tls_linked(idle_timeout=10) as (sock, peer):
        peer.raw.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer.tls.write(b"x" * 100)
        record = peer.outgoing.read()
        for byte in record[:6]:
            mock_clock.jump(6)
            await trio.testing.wait_all_tasks_blocked()
            await peer.raw.send(bytes([byte]))
            await trio.testing.wait_all_tasks_blocked()
        assert sock.is_connected
        await peer.raw.send(record[6:])
        assert await sock.receive_some() == b"x" * 100


async def test_the_handshake_of_start_tls_is_a_sign_of_life(
    mock_clock: trio.testing.MockClock,
) -> None:
    """The peer's flight comes in pieces, of which none is a record; ours answers it."""
    ours, peer = raw_pair()
    options = {"ca_file": credentials().ca, "server_hostname": "localhost"}
    with ours, peer:
        peer.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        async with SSLSocket.from_socket(
            ours, ssl_enabled=False, idle_timeout=10, handshake_timeout=100, **options
        ) as sock:
            mock_clock.jump(6)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(sock.start_tls)
                tls = TLSPeer(peer, credentials().server_context())
                tls.incoming.write(await peer.recv_some())
                with pytest.raises(ssl.SSLWantReadError):
                    tls.tls.do_handshake()
                flight = tls.outgoing.read()
                for begin in range(0, 400, 100):
                    await peer.send(flight[begin : begin + 100])
                    await trio.testing.wait_all_tasks_blocked()
                    mock_clock.jump(6)
                    await trio.testing.wait_all_tasks_blocked()
                await peer.send(flight[400:])
                await tls.handshake()
            mock_clock.jump(6)
            await trio.testing.wait_all_tasks_blocked()
            assert sock.is_connected


# wait_for_message, wait_for_connection


async def test_a_message_that_came_in_time_is_found() -> None:
    """The time is up when the loop goes on; the message lies ready."""
    async with easy() as (sock, peer):
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def block() -> None:
                await trio.testing.wait_all_tasks_blocked()
                peer.sendall(encode_message(7, b"in time"))
                stand_still(0.5)

            assert await sock.wait_for_message(7, timeout=0.2) == b"in time"


async def test_a_message_is_looked_for_before_the_time_is_up(
    mock_clock: trio.testing.MockClock,
) -> None:
    """Here no lateness is made up for: both are found in the same turn of the loop."""
    async with easy() as (sock, peer):
        for _ in range(20):  # which of them is first is up to Trio
            async with trio.open_nursery() as nursery:

                @nursery.start_soon
                async def jump() -> None:
                    await trio.testing.wait_all_tasks_blocked()
                    peer.sendall(encode_message(7, b"in time"))
                    mock_clock.jump(0.3)

                assert await sock.wait_for_message(7, timeout=0.2) == b"in time"


async def test_a_message_behind_many_others_is_found() -> None:
    """They have arrived, though they have not been decoded yet."""
    async with easy() as (sock, peer):
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def block() -> None:
                await trio.testing.wait_all_tasks_blocked()
                peer.sendall(encode_message(1, b"") * 1000 + encode_message(7, b"in time"))
                stand_still(0.5)

            assert await sock.wait_for_message(7, timeout=0.2) == b"in time"


async def test_a_message_that_does_not_come() -> None:
    """``None``, and the socket goes on; 0 seconds are for what is there."""
    async with easy() as (sock, peer):
        assert await sock.wait_for_message(7, timeout=0.01) is None
        assert await sock.wait_for_message(7, timeout=0) is None
        peer.sendall(encode_message(7, b"late"))
        assert await sock.wait_for_message(7, timeout=5) == b"late"


async def test_a_cancelled_wait_with_a_time_out_loses_nothing() -> None:
    """It withdraws, and the next one gets the message."""
    async with easy() as (sock, peer):
        with trio.move_on_after(0.01) as scope:
            await sock.wait_for_message(7, timeout=5)
        assert scope.cancelled_caught
        peer.sendall(encode_message(7, b"x"))
        assert await sock.wait_for_message(7, timeout=5) == b"x"


async def test_a_peer_that_came_in_time_is_found() -> None:
    """``wait_for_connection`` beside a loop that stands still."""
    async with EasyTCPSocket() as sock:
        await sock.listen()
        async with trio.open_nursery() as nursery:
            peer = socket.socket()

            @nursery.start_soon
            async def block() -> None:
                await trio.testing.wait_all_tasks_blocked()
                peer.connect(("127.0.0.1", sock.port))
                stand_still(0.5)

            with peer:
                assert await sock.wait_for_connection(timeout=0.2) is True


async def test_a_datagram_that_came_in_time_is_found() -> None:
    """``EasyUDPSocket.wait_for_message`` likewise."""
    async with EasyUDPSocket(address="127.0.0.1") as one, EasyUDPSocket(address="127.0.0.1") as two:
        await one.bind(0)
        await two.bind(0)
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def block() -> None:
                await trio.testing.wait_all_tasks_blocked()
                two.send_message_to_individual("127.0.0.1", 7, b"in time", one.local_port)
                stand_still(0.5)

            assert await one.wait_for_message(7, timeout=0.2) == b"in time"


# aclose


async def test_aclose_sends_what_the_peer_would_have_taken_meanwhile() -> None:
    """The grace is over when the loop goes on, and the peer has been ready for long."""
    async with linked() as (sock, peer):
        size = 30_000_000
        sock.write(bytes(size))
        reader = trio.to_thread.run_sync
        got: list[int] = []

        def read_all() -> int:
            peer.sock.setblocking(True)
            count = 0
            while piece := peer.sock.recv(1 << 20):
                count += len(piece)
            return count

        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def read() -> None:
                got.append(await reader(read_all))

            @nursery.start_soon
            async def block() -> None:
                await trio.testing.wait_all_tasks_blocked(0.001)
                stand_still(1.0)

            await sock.aclose(grace=0.7)
        assert got == [size]


# Handshakes


async def test_a_handshake_that_can_go_on_is_not_too_late() -> None:
    """A server that stood still answers first, and gives the peer the time that it took."""
    issued = credentials()

    def shake_hands(port: int) -> bytes:
        with (
            socket.create_connection(("127.0.0.1", port)) as raw,
            issued.client_context().wrap_socket(raw, server_hostname="localhost") as tls,
        ):
            return tls.recv(10)

    def server_socket() -> SSLSocket:
        return SSLSocket(certificate_file=issued.server)

    server = ServerSocket(add_socket=server_socket, address="127.0.0.1", handshake_timeout=0.3)
    async with server:
        await server.listen()
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def peer() -> None:
                assert await trio.to_thread.run_sync(shake_hands, server.port) == b"welcome"

            # A quick peer may have finished it before we run.
            await until(lambda: server.statistics().handshaking or server.statistics().accepted)
            stand_still(0.8)
            with trio.fail_after(5):
                sock = await server.accept()
            await sock.send_all(b"welcome")


async def test_a_clients_handshake_that_can_go_on_is_not_too_late() -> None:
    """The server's answer lies ready when the loop goes on, long after the deadline."""
    issued = credentials()
    with raw_listener() as listener:
        listener.setblocking(True)
        greeted = threading.Event()

        def serve() -> None:
            raw, _ = listener.accept()
            raw.setblocking(True)
            tls = issued.server_context().wrap_socket(
                raw, server_side=True, do_handshake_on_connect=False
            )
            with tls:
                greeted.wait(5)
                tls.do_handshake()
                tls.sendall(b"welcome")
                tls.recv(1)

        options = {"ca_file": issued.ca, "server_hostname": "localhost", "handshake_timeout": 0.3}
        port = listener.getsockname()[1]
        async with SSLSocket("127.0.0.1", port, **options) as sock, trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, serve)
            nursery.start_soon(sock.connect)
            await until(lambda: sock.ssl_connecting)
            greeted.set()
            stand_still(0.8)
            await until(lambda: sock.is_connected)
            assert await sock.receive_exactly(7) == b"welcome"
            sock.close()
