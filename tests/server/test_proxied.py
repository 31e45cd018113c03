"""Connections that begin with a header of the PROXY protocol."""

from __future__ import annotations

import time

import pytest
import trio
import trio.testing

from tests.machines.test_proxy_protocol import TCP4, block
from tests.support import until
from tests.support.guarded import guarded
from tests.support.serving import connect, echo, listening, serving
from tests.support.tls import TLSPeer, credentials
from trio_xsock import (
    InvalidStateError,
    SSLSocket,
)

LINE = b"PROXY TCP4 192.0.2.1 192.0.2.2 1025 443\r\n"


async def test_the_client_of_a_proxy_is_the_peer() -> None:
    """In both versions; what follows the header is the connection's."""
    for header in (LINE, block(0x21, 0x11, TCP4 + bytes(100))):
        async with serving(echo, proxy_protocol=True) as server:
            with await connect(server) as peer:
                peer.send_nowait(header + b"hello")
                assert await peer.recv_exactly(5) == b"hello"
                (sock,) = server.active_connections()
                assert (sock.remote_address, sock.remote_port) == ("192.0.2.1", 1025)


async def test_a_header_in_pieces_counts_as_a_handshake() -> None:
    """It delays nobody, and is bounded as handshakes are."""
    async with serving(echo, proxy_protocol=True) as server:
        with await connect(server) as slow:
            slow.send_nowait(LINE[:7])
            await until(lambda: server.statistics().handshaking)
            with await connect(server) as fast:
                fast.send_nowait(LINE + b"fast")
                assert await fast.recv_exactly(4) == b"fast"
            slow.send_nowait(LINE[7:] + b"slow")
            assert await slow.recv_exactly(4) == b"slow"
            assert server.active_connections()[-1].remote_address == "192.0.2.1"


async def test_a_header_comes_before_the_sockets_own_handshake() -> None:
    """One after the other, in one time, whether or not the header was there at once."""
    async with guarded(proxy_protocol=True) as server:
        for cut in (0, 5):
            with await connect(server) as peer:
                peer.send_nowait(LINE[:cut])
                await until(lambda cut=cut: not cut or server.statistics().handshaking)
                peer.send_nowait(LINE[cut:] + b"y")
                sock = await server.accept()
                assert sock.remote_address == "192.0.2.1"
                sock.close()


async def test_tls_begins_after_the_proxys_header() -> None:
    """The header is in plain text, at whatever moment it comes."""
    issued = credentials()

    def add_socket() -> SSLSocket:
        return SSLSocket(certificate_file=issued.server)

    async with listening(add_socket=add_socket, proxy_protocol=True) as server:
        for early in (LINE, b""):
            with await connect(server) as raw:
                raw.send_nowait(early)
                await until(lambda: server.statistics().handshaking)
                raw.send_nowait(LINE[len(early) :])
                peer = TLSPeer(raw, issued.client_context())
                await peer.handshake()
                sock = await server.accept()
                assert sock.remote_address == "192.0.2.1"
                await peer.send(b"x")
                assert await sock.receive_some() == b"x"


async def test_stopping_refuses_those_whose_header_is_missing() -> None:
    """Before it came, and while it is there in part."""
    async with listening(proxy_protocol=True) as server:
        with await connect(server) as silent, await connect(server) as slow:
            slow.send_nowait(LINE[:7])
            await until(lambda: server.statistics().handshaking == 2)
            await trio.testing.wait_all_tasks_blocked()
            server.stop_listening()
            assert await silent.recv_some() == b""
            assert await slow.recv_some() == b""
            await until(lambda: server.statistics().refused == 2)
            assert server.statistics().handshaking == 0


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\r\n\r\n", b"P", b"PROXY TCP4 1.2.3.4\r\n", b""], ids=repr
)
async def test_who_sends_no_header_is_refused(data: bytes) -> None:
    """At once, or when it cannot become one any more."""
    async with serving(echo, proxy_protocol=True) as server:
        with await connect(server) as peer:
            await until(lambda: server.statistics().handshaking)
            peer.send_nowait(data)
            peer.fin()
            with pytest.raises((EOFError, ConnectionResetError)):
                await peer.recv_exactly(1)
        peers = [await connect(server) for _ in range(3)]
        for peer in peers:
            peer.send_nowait(b"no header, and not even slow")
        await until(lambda: server.statistics().refused == 4)
        assert server.statistics().accepted == 0
        for peer in peers:
            peer.close()


async def test_only_trusted_proxies_are_believed() -> None:
    """Whoever else comes is refused, header or not."""
    async with serving(echo, proxy_protocol=True, trusted_proxies=["10.0.0.0/8"]) as server:
        assert server.proxy_protocol
        assert server.trusted_proxies == ("10.0.0.0/8",)
        with await connect(server) as peer:
            peer.sock.send(LINE + b"hello")
            with pytest.raises((EOFError, ConnectionResetError)):
                await peer.recv_exactly(1)
        assert server.statistics().refused == 1


async def test_without_proxies_a_header_is_data() -> None:
    """Nobody is believed unasked."""
    async with serving(echo) as server:
        with await connect(server) as peer:
            peer.send_nowait(LINE)
            assert await peer.recv_exactly(len(LINE)) == LINE
            assert server.active_connections()[0].remote_address == "127.0.0.1"


async def test_a_factory_that_fails_behind_a_proxy_stops_the_server() -> None:
    """As without one; no descriptor is left."""
    async with listening(
        proxy_protocol=True, minimum_sockets_available=0, add_socket=lambda: None
    ) as server:
        with await connect(server) as peer:
            await until(lambda: server.statistics().handshaking)
            peer.send_nowait(LINE)
            with pytest.raises(InvalidStateError, match="add_socket"):
                await server.accept()


async def test_a_proxys_header_that_lies_ready_is_not_too_late() -> None:
    """A server that stood still looks before it refuses; who is silent is refused all the same."""
    async with serving(echo, proxy_protocol=True, handshake_timeout=0.3) as server:
        with await connect(server) as peer, await connect(server) as silent:
            peer.send_nowait(LINE[:7])
            await until(lambda: server.statistics().handshaking == 2)
            await trio.testing.wait_all_tasks_blocked()
            peer.send_nowait(LINE[7:] + b"hello")
            time.sleep(0.6)  # noqa: ASYNC251 - as a slow callback does
            assert await peer.recv_exactly(5) == b"hello"
            with pytest.raises((EOFError, ConnectionResetError)):
                await silent.recv_exactly(1)
            assert server.statistics().refused == 1
