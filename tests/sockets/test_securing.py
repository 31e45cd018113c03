"""How connections come to be secured: of sockets that listen, were given, or were accepted."""

from __future__ import annotations

import gc
import socket
import ssl
import weakref
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.support import EventRecorder, RawPeer, raw_pair, until
from tests.support.serving import open_connections
from tests.support.tls import TLSPeer, credentials
from trio_xsock import (
    Connected,
    DataAvailable,
    ErrorOccurred,
    InvalidStateError,
    ServerSocket,
    SocketClosedError,
    SocketHandler,
    SocketState,
    SSLSocket,
    TLSError,
)
from trio_xsock._sockets.secured import encryption_of
from trio_xsock.testing import ssl_socket_pair

# Listening


async def test_bad_files_fail_before_anything_is_opened() -> None:
    """And nothing is posted: nobody was promised a connection."""
    recorder = EventRecorder()
    async with SSLSocket(certificate_file="/nowhere.pem", handler=recorder) as sock:
        with pytest.raises(TLSError, match=r"'/nowhere\.pem'"):
            await sock.listen()
        assert sock.state is SocketState.CLOSED
        sock.certificate_file = credentials().server
        await sock.listen()
        with pytest.raises(InvalidStateError):
            await sock.listen()
    assert recorder.events == []


async def test_listening_needs_the_block_first() -> None:
    with pytest.raises(InvalidStateError, match="async with"):
        await SSLSocket(certificate_file="/nowhere.pem").listen()


async def test_bad_files_of_a_client() -> None:
    """Nothing was dialled; it is a failed connect like any other."""
    recorder = EventRecorder()
    async with SSLSocket("localhost", 1, ca_file="/nowhere.pem", handler=recorder) as sock:
        with pytest.raises(TLSError, match=r"ca_file '/nowhere\.pem'") as caught:
            await sock.connect()
        assert recorder.events == [ErrorOccurred(sock, caught.value)]


async def test_files_that_go_bad_while_it_listens(tmp_path: Path) -> None:
    """The rejection file has no former self that could be used on: safe is safe."""
    path = tmp_path / "rejected.pem"
    path.write_bytes(credentials().client.read_bytes())
    recorder = EventRecorder()
    async with SSLSocket(
        certificate_file=credentials().server, certificate_rejection_file=path, handler=recorder
    ) as sock:
        await sock.listen()
        path.unlink()
        with await RawPeer.connect(sock.port) as peer:
            await recorder.wait_for(ErrorOccurred)
            assert await peer.recv_all_to_eof() == b""
        assert sock.state is SocketState.CLOSED
        assert "certificate_rejection_file" in str(sock.last_error)


# Given


async def given(**options: Any) -> tuple[str, SSLSocket]:
    """Which side a socket from outside takes, as its first message tells."""
    ours, peer = raw_pair()
    with ours, peer:
        async with SSLSocket.from_socket(ours, **options) as sock:
            if sock._connection.accepted:
                await TLSPeer(peer, credentials().client_context()).handshake()
                await until(lambda: sock.is_connected)
                return "server", sock
            assert (await peer.recv_some())[:1] == b"\x16"
            return "client", sock


async def test_the_side_of_a_socket_from_outside() -> None:
    """A server's if it has a certificate, and no name to verify."""
    issued = credentials()
    for side, options in (
        ("server", {"certificate_file": issued.server}),
        ("server", {"ssl_context": issued.server_context()}),
        ("client", {"ssl_context": issued.client_context(), "server_hostname": "localhost"}),
        ("client", {"certificate_file": issued.client, "server_hostname": "localhost"}),
        ("client", {"verify": False}),
    ):
        assert (await given(**options))[0] == side
    unverified = issued.client_context()
    unverified.check_hostname = False
    assert (await given(ssl_context=unverified))[0] == "client"


async def test_nobody_to_verify() -> None:
    """A client that does not know whom it talks to does not talk."""
    ours, peer = raw_pair()
    with ours, peer:
        async with SSLSocket.from_socket(ours) as sock:
            await until(lambda: sock.last_error)
            assert isinstance(sock.last_error, TLSError)
            assert sock.last_error.reason == "NO_SERVER_HOSTNAME"
            assert "server_hostname" in str(sock.last_error)
            assert await peer.recv_all_to_eof() == b""


@pytest.mark.parametrize("server_side", [False, True])
async def test_contexts_of_the_wrong_side(server_side: bool) -> None:
    issued = credentials()
    context = issued.client_context() if server_side else issued.server_context()
    ours, peer = raw_pair()
    with ours, peer:
        async with SSLSocket.from_socket(ours, ssl_context=context, ssl_enabled=False) as sock:
            with pytest.raises(
                TLSError, match="is for clients" if server_side else "cannot begin TLS"
            ):
                await sock.start_tls(server_side=server_side)
            assert sock.state is SocketState.CLOSED


async def test_a_listening_socket_from_outside() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        async with SSLSocket.from_socket(listener, certificate_file=credentials().server) as sock:
            with await RawPeer.connect(port) as peer:
                await TLSPeer(peer, credentials().client_context()).handshake()
                await until(lambda: sock.is_connected)


async def test_without_tls_it_is_a_tcp_socket() -> None:
    ours, peer = raw_pair()
    with ours, peer:
        async with SSLSocket.from_socket(ours, ssl_enabled=False) as sock:
            await sock.send_all(b"plain")
            assert await peer.recv_exactly(5) == b"plain"
            await peer.send(b"plain")
            assert await sock.receive_exactly(5) == b"plain"
            assert not sock.ssl_connected
            await sock.send_eof()
            assert await peer.recv_all_to_eof() == b""
            peer.fin()
            assert await sock.receive_some() == b""


async def test_and_dials_as_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with SSLSocket(*listener.getsockname(), ssl_enabled=False) as sock:
            await sock.connect()
            peer, _ = listener.accept()
            with peer:
                sock.write(b"plain")
                assert peer.recv(5) == b"plain"


# Of a server


def add_socket(**options: Any) -> SSLSocket:
    return SSLSocket(**{"certificate_file": credentials().server, **options})


async def test_servers_hand_out_secured_sockets() -> None:
    issued = credentials()
    async with ServerSocket(add_socket=add_socket) as server:
        await server.listen()
        with await RawPeer.connect(server.port) as raw:
            peer = TLSPeer(raw, issued.client_context())
            await peer.handshake()
            sock = await server.accept()
            assert sock.ssl_connected
            await peer.send(b"x")
            assert await sock.receive_some() == b"x"
            assert server.statistics().accepted == 1


async def test_silent_and_failing_clients_keep_nobody_out() -> None:
    """They never become connections, and are gone when their time is up."""
    issued = credentials()
    errors = EventRecorder()
    async with ServerSocket(
        add_socket=add_socket, handshake_timeout=0.2, maximum_sockets_connected=1, handler=errors
    ) as server:
        await server.listen()
        with (
            await RawPeer.connect(server.port) as silent,
            await RawPeer.connect(server.port) as plain,
            await RawPeer.connect(server.port) as raw,
        ):
            await plain.send(b"GET / HTTP/1.0\r\n\r\n")
            peer = TLSPeer(raw, issued.client_context())
            await peer.handshake()
            sock = await server.accept()
            assert server.active_connections() == [sock]
            alert = await plain.recv_all_to_eof()  # fatal, protocol_version
            assert alert == b"\x15\x03\x01\x00\x02\x02\x46"
            assert await silent.recv_all_to_eof() == b""
            await until(lambda: server.statistics().handshaking == 0)
            statistics = server.statistics()
            assert (statistics.accepted, statistics.refused) == (1, 2)
    assert errors.events == []


async def test_refused_clients_get_the_alert() -> None:
    """From a server, too; also the one who wants no certificate of its own."""
    issued = credentials()

    def strict() -> SSLSocket:
        return add_socket(ca_file=issued.ca, require_client_certificate=True)

    async with ServerSocket(add_socket=strict) as server:
        await server.listen()
        with await RawPeer.connect(server.port) as raw:
            peer = TLSPeer(raw, issued.client_context())
            await peer.handshake()
            await peer.send(b"early" * 1000)
            with pytest.raises(ssl.SSLError, match="ALERT_CERTIFICATE_REQUIRED"):
                await peer.recv_some()
        with await RawPeer.connect(server.port) as raw:
            await TLSPeer(raw, issued.client_context(issued.client)).handshake()
            sock = await server.accept()
            assert sock.peer_certificate


async def test_live_sockets_of_a_server() -> None:
    """Those with a handler hear of it when the handshake is done."""
    recorder = EventRecorder()
    async with ServerSocket(add_socket=lambda: add_socket(handler=recorder)) as server:
        await server.listen()
        with await RawPeer.connect(server.port) as raw:
            await until(lambda: server.statistics().handshaking)
            assert recorder.events == []
            await TLSPeer(raw, credentials().client_context()).handshake()
            await recorder.wait_for(Connected)
            assert recorder.events[0].socket.ssl_connected


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_who_goes_on_with_the_last_flight_is_heard(version: ssl.TLSVersion) -> None:
    """In order, and without a task: the connection first, then what came with it."""
    recorder = EventRecorder(read=True)
    context = credentials().client_context()
    context.maximum_version = version
    async with ServerSocket(add_socket=lambda: add_socket(handler=recorder)) as server:
        await server.listen()
        with await RawPeer.connect(server.port) as raw:
            peer = TLSPeer(raw, context)
            with pytest.raises(ssl.SSLWantReadError):
                peer.tls.do_handshake()
            await peer.flush()
            while True:
                peer.incoming.write(await raw.recv_some())
                try:
                    peer.tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    await peer.flush()
            peer.tls.write(b"at once")
            await peer.flush()
            await recorder.wait_for(DataAvailable)
            assert recorder.received == b"at once"
            assert recorder.names == ["on_connected", "on_data_available"]
            (sock,) = server.active_connections()
            assert not sock.ssl_connecting
            assert sock._keeper is not None
            assert sock._keeper._sleep is None


async def test_the_sockets_own_limit_counts_too(mock_clock: MockClock) -> None:
    """Whichever is shorter; the next one is looked for when the time of the first is up."""
    limits = [20.0, 7.0, 12.0]
    async with ServerSocket(
        add_socket=lambda: add_socket(handshake_timeout=limits.pop(0) if limits else 30.0),
        minimum_sockets_available=1,
        handshake_timeout=15,
    ) as server:
        await server.listen()
        peers: list[RawPeer] = []
        for count in (1, 2, 3):
            peers.append(await RawPeer.connect(server.port))
            await until(lambda count=count: server.statistics().handshaking == count)
        for jump, number in ((7.1, 1), (5.0, 2), (3.0, 0)):
            mock_clock.jump(jump)
            assert await peers[number].recv_all_to_eof() == b""
        assert server.statistics().refused == 3
        for peer in peers:
            peer.close()


async def test_the_limit_holds_after_listening_anew(mock_clock: MockClock) -> None:
    """Also when the time of those before is over by then."""
    async with ServerSocket(add_socket=add_socket, handshake_timeout=10) as server:
        for _ in range(2):
            await server.listen()
            with await RawPeer.connect(server.port) as early:
                await until(lambda: server.statistics().handshaking)
                server.stop_listening()
                assert await early.recv_all_to_eof() == b""
            mock_clock.jump(30)
            await wait_all_tasks_blocked()
        await server.listen()
        with await RawPeer.connect(server.port) as silent:
            await until(lambda: server.statistics().handshaking)
            await wait_all_tasks_blocked()
            mock_clock.jump(10.1)
            assert await silent.recv_all_to_eof() == b""
        assert server.statistics().refused == 3


async def test_a_server_s_bad_files_fail_at_listen() -> None:
    """Naming the file; not at the first client's expense."""
    async with ServerSocket(add_socket=lambda: SSLSocket(certificate_file="/x.pem")) as server:
        with pytest.raises(TLSError, match=r"'/x\.pem'"):
            await server.listen()
        assert not server.is_listening


async def test_renewed_certificates_are_served(tmp_path: Path) -> None:
    """To the next client, without a restart."""
    issued = credentials()
    path = tmp_path / "server.pem"
    path.write_bytes(issued.server.read_bytes())
    async with ServerSocket(add_socket=lambda: SSLSocket(certificate_file=path)) as server:
        await server.listen()
        seen = []
        for name in ("first", "second"):
            issued.issue(name, "localhost", name).rename(path)
            with await RawPeer.connect(server.port) as raw:
                peer = TLSPeer(raw, issued.client_context())
                await peer.handshake()
                seen.append((peer.tls.getpeercert() or {})["subjectAltName"][-1][-1])
        assert seen == ["first", "second"]


async def test_stopping_calls_handshakes_off() -> None:
    async with ServerSocket(add_socket=add_socket) as server:
        await server.listen()
        with await RawPeer.connect(server.port) as silent:
            await until(lambda: server.statistics().handshaking)
            server.stop_listening()
            assert await silent.recv_all_to_eof() == b""


# Life


async def test_nothing_is_left_of_it() -> None:
    """Not the socket, without the garbage collector's help, nor what it encrypted with."""
    async with ssl_socket_pair() as (client, server):
        await client.send_all(b"x")
        assert await server.receive_some() == b"x"
        engine = encryption_of(client._connection)
        reference = weakref.ref(client)
    assert encryption_of(client._connection) is None
    del client, server, engine
    gc.disable()
    try:
        await wait_all_tasks_blocked()
        assert reference() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("how", ["served", "refused", "silent"])
async def test_nothing_is_left_of_an_accepted_one(how: str) -> None:
    """Whether its handshake went well, failed, or was called off."""
    made: list[weakref.ref[SSLSocket]] = []

    class Echo(SocketHandler):
        def on_connected(self, socket: SSLSocket) -> None:
            socket.write(b"hello")

        def on_data_available(self, socket: SSLSocket) -> None:
            socket.write(socket.read_all())

    def make() -> SSLSocket:
        sock = add_socket(handler=Echo())
        made.append(weakref.ref(sock))
        return sock

    gc.disable()
    try:
        async with ServerSocket(add_socket=make, minimum_sockets_available=0) as server:
            await server.listen()
            with await RawPeer.connect(server.port) as raw:
                if how == "served":
                    peer = TLSPeer(raw, credentials().client_context())
                    await peer.handshake()
                    await peer.send(b"x")
                    assert await peer.recv_exactly(6) == b"hellox"
                elif how == "refused":
                    await raw.send(b"GET / HTTP/1.0\r\n\r\n")
                    await raw.recv_all_to_eof()
                else:
                    await until(lambda: server.statistics().handshaking)
                    server.stop_listening()
            await until(lambda: not open_connections(server))
            await wait_all_tasks_blocked()
            assert [reference() for reference in made] == [None]
    finally:
        gc.enable()


async def test_a_pair_that_does_not_come_to_terms() -> None:
    with pytest.raises(TLSError, match="self-signed certificate"):
        async with ssl_socket_pair(left={"ca_file": credentials().elsewhere}):
            pass


async def test_time_outs_under_a_clock_of_one_s_own(mock_clock: MockClock) -> None:
    """The handshake's is on Trio's clock."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with SSLSocket(*listener.getsockname(), verify=False) as sock:

            async def connect() -> None:
                with pytest.raises(TLSError, match="more than 30 seconds"):
                    await sock.connect()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(connect)
                await until(lambda: sock.ssl_connecting)
                await wait_all_tasks_blocked()
                mock_clock.jump(30.1)


async def test_a_closed_socket_says_so() -> None:
    async with ssl_socket_pair() as (client, _):
        client.close()
        with pytest.raises(SocketClosedError):
            await client.send_all(b"x")
