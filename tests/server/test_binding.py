"""Where a server listens: ports, addresses, interfaces, and sockets that listen already."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from tests.support import RawPeer, raw_listener, until
from tests.support.serving import connect, listeners, listening
from trio_xsock import (
    AddressInUseError,
    InvalidStateError,
    NameResolutionError,
    NetworkInterface,
    ServerSocket,
    SocketClosedError,
)
from trio_xsock._platform import sockets

HAS_IPV6 = socket.has_ipv6 and os.path.exists("/proc/net/if_inet6")


async def test_listening_needs_the_block() -> None:
    """Outside of it, the error says what to do."""
    server = ServerSocket()
    with pytest.raises(InvalidStateError, match="async with"):
        await server.listen()
    async with server:
        await server.listen()
    with pytest.raises(InvalidStateError, match="has been left"):
        await server.listen()
    with pytest.raises(InvalidStateError):
        async with server:
            pass


async def test_port_0_is_one_port_for_both_families() -> None:
    """A wildcard server takes IPv4 and IPv6 on the same port, and shows it."""
    async with ServerSocket() as server:
        await server.listen()
        ports = {listener.getsockname()[1] for listener in listeners(server)}
        assert ports == {server.port}
        assert server.port > 0
        assert server.handle == listeners(server)[0].fileno()
        assert server.is_listening
        assert repr(server) == f"<ServerSocket listening on *:{server.port}, 0 connections>"
        hosts = ["127.0.0.1"] + (["::1"] if HAS_IPV6 else [])
        for host in hosts:
            with await RawPeer.connect(server.port, host):
                sock = await server.accept()
                assert sock.remote_address == host
                assert sock.local_address == host


async def test_a_listener_is_ours_alone() -> None:
    """No child process inherits it, and nobody else can bind its port (F52)."""
    async with listening() as server:
        assert not os.get_inheritable(server.handle)
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with pytest.raises(OSError, match="in use"):
                other.bind(("127.0.0.1", server.port))
                other.listen()
        async with ServerSocket(server.port, address="127.0.0.1") as second:
            with pytest.raises(AddressInUseError) as caught:
                await second.listen()
            assert caught.value.errno == errno.EADDRINUSE
            assert not second.is_listening


async def test_an_accepted_socket_is_not_inherited_and_does_not_delay() -> None:
    """As what connect() makes: closed on exec, TCP_NODELAY."""
    async with listening() as server:
        with await connect(server):
            sock = await server.accept()
            assert not os.get_inheritable(sock.handle)
            with socket.socket(fileno=os.dup(sock.handle)) as raw:
                assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                assert not os.get_blocking(raw.fileno())


async def test_a_server_may_restart_at_once_on_its_port() -> None:
    """Connections that linger in TIME_WAIT do not hinder it (F52)."""
    port = 0
    for _ in range(2):
        async with ServerSocket(port, address="127.0.0.1") as server:
            await server.listen()
            port = server.port
            with await connect(server) as peer:
                sock = await server.accept()
                await sock.aclose()
                assert await peer.recv_some() == b""


@pytest.mark.skipif(not sockets.REUSE_PORT, reason="no SO_REUSEPORT")
async def test_reuse_port_lets_workers_share_a_port() -> None:
    """Each gets connections of its own; without it, none may join."""
    async with listening(reuse_port=True) as first:
        async with ServerSocket(first.port, address="127.0.0.1", reuse_port=True) as second:
            await second.listen()
            assert first.port == second.port
        async with ServerSocket(first.port, address="127.0.0.1") as third:
            with pytest.raises(AddressInUseError):
                await third.listen()


async def test_an_interface_narrows_it_down() -> None:
    """Listening on loopback only is what local_address then shows."""
    async with ServerSocket(network_interface=NetworkInterface.loopback()) as server:
        await server.listen()
        assert server.local_address in ("127.0.0.1", "::1")
        assert server.network_interface == NetworkInterface.loopback()
        server.network_interface = None
        assert server.is_listening
        with pytest.raises(TypeError, match="network_interface"):
            server.network_interface = "lo"  # type: ignore[assignment]


async def test_an_address_that_is_not_ours_is_refused() -> None:
    """A name that does not resolve, or an address of somebody else."""
    async with ServerSocket(address="no such host") as server:
        with pytest.raises(NameResolutionError):
            await server.listen()
    async with ServerSocket(address="192.0.2.1") as server:
        with pytest.raises(Exception, match="no interface of this machine") as caught:
            await server.listen()
        assert caught.value.errno == errno.EADDRNOTAVAIL  # type: ignore[attr-defined]
        assert not server.is_listening


async def test_listening_twice_is_refused() -> None:
    """Also when two tasks try at the same time: one of them listens."""
    async with listening() as server:
        port = server.port
        with pytest.raises(InvalidStateError, match="listening already"):
            await server.listen()
        assert server.port == port
        server.stop_listening()
        outcomes = []

        async def listen() -> None:
            try:
                await server.listen()
            except InvalidStateError:
                outcomes.append("refused")
            else:
                outcomes.append("listens")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen)
            nursery.start_soon(listen)
        assert sorted(outcomes) == ["listens", "refused"]


class Gate(trio.abc.HostnameResolver):
    """A resolver that knows one address, and tells when it is allowed to."""

    def __init__(self) -> None:
        self.open = trio.Event()
        trio.socket.set_custom_hostname_resolver(self)

    async def getaddrinfo(self, *args: Any) -> Any:
        await self.open.wait()
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]

    async def getnameinfo(self, *args: Any) -> Any:
        raise NotImplementedError


@pytest.mark.parametrize("how", ["stop_listening", "close", "leave"])
async def test_listening_may_be_stopped_before_it_has_begun(how: str) -> None:
    """Then nothing listens, and listen() says why; also after the block was left."""
    gate = Gate()
    async with trio.open_nursery() as nursery:
        async with ServerSocket(address="a.name.to.look.up") as server:

            async def listen() -> None:
                with pytest.raises(SocketClosedError, match="about to listen"):
                    await server.listen()

            nursery.start_soon(listen)
            await trio.testing.wait_all_tasks_blocked()
            if how != "leave":
                getattr(server, how)()
                gate.open.set()
                await trio.testing.wait_all_tasks_blocked()
        gate.open.set()
    assert not server.is_listening
    assert server.handle == -1


async def test_a_cancelled_listen_leaves_nothing() -> None:
    """It may be called again."""
    async with ServerSocket(address="127.0.0.1") as server:
        with trio.CancelScope() as scope:
            scope.cancel()
            await server.listen()
        assert scope.cancelled_caught
        assert not server.is_listening
        await server.listen()
        assert server.is_listening


async def test_listen_and_stop_again_and_again() -> None:
    """Connections live on meanwhile, and what waits ready is accepted later."""
    async with ServerSocket(address="127.0.0.1") as server:
        peers, sockets = [], []
        for _ in range(3):
            await server.listen()
            peers.append(await connect(server))
            await until(lambda: server.statistics().ready == 1)
            server.stop_listening()
            server.stop_listening()
            assert not server.is_listening
            with pytest.raises(SocketClosedError):
                await server.accept()
            await server.listen()
            sockets.append(await server.accept())
            server.stop_listening()
        for peer, sock in zip(peers, sockets, strict=True):
            peer.send_nowait(b"x")
            assert await sock.receive_some() == b"x"
            peer.close()
        assert server.active_connections() == sockets


async def test_a_backlog_is_the_oss() -> None:
    """Connections beyond the ceiling are connected, as far as their peers can tell."""
    async with listening(maximum_sockets_connected=1, backlog=5) as server:
        peers = [await connect(server) for _ in range(4)]
        for peer in peers:
            peer.send_nowait(b"x")
        for peer in peers:
            sock = await server.accept()
            assert sock.remote_port == peer.port
            assert await sock.receive_some() == b"x"
            await sock.aclose()
            peer.close()


# Sockets that listen already


async def test_a_server_of_sockets_that_listen_already() -> None:
    """They are ours from listen() on; connections that came before are there."""
    with raw_listener() as first, raw_listener(host="::1") as second:
        ports = [sock.getsockname()[1] for sock in (first, second)]
        with await RawPeer.connect(ports[0]) as early:
            server = ServerSocket.from_socket(first, second, minimum_sockets_available=0)
            assert not server.is_listening
            assert server.port == ports[0]
            assert first.fileno() >= 0
            async with server:
                await server.listen()
                assert server.is_listening
                assert (server.handle, server.port) == (first.fileno(), ports[0])
                assert server.local_address == "127.0.0.1"
                assert (await server.accept()).remote_port == early.port
                with await RawPeer.connect(ports[1], "::1") as peer:
                    sock = await server.accept()
                    assert (sock.remote_address, sock.remote_port) == ("::1", peer.port)
                server.stop_listening()
                assert first.fileno() == second.fileno() == -1
                await server.listen()  # the same address anew
                assert server.port == ports[0]
                assert server.local_address == "127.0.0.1"


async def test_a_server_may_hand_its_sockets_on() -> None:
    """Whoever has the same socket takes those that wait in the backlog: nobody is refused."""
    with raw_listener() as listener:
        copy = listener.dup()
        port = listener.getsockname()[1]
        async with ServerSocket.from_socket(listener) as old:
            await old.listen()
            old.stop_listening()
            with await RawPeer.connect(port) as peer:
                async with ServerSocket.from_socket(copy) as new:
                    await new.listen()
                    assert (await new.accept()).remote_port == peer.port


async def test_a_unix_socket_has_no_port(tmp_path: Path) -> None:
    """It is served all the same."""
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
        listener.bind(path)
        listener.listen()
        async with ServerSocket.from_socket(listener) as server:
            await server.listen()
            assert server.port == 0
            assert server.local_address
            client.connect(path)
            sock = await server.accept()
            assert sock.remote_address == ""
            await sock.send_all(b"hello")
            assert client.recv(5) == b"hello"


async def test_what_does_not_listen_is_refused() -> None:
    """At once; and what was closed meanwhile, at listen()."""
    with pytest.raises(TypeError, match="at least one"):
        ServerSocket.from_socket()
    with pytest.raises(TypeError, match="must be a socket"):
        ServerSocket.from_socket(3)  # type: ignore[arg-type]
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(type=kind) as sock, pytest.raises(ValueError, match="listening stream"):
            ServerSocket.from_socket(sock)
    with raw_listener() as listener:
        server = ServerSocket.from_socket(listener)
    async with server:
        with pytest.raises(InvalidStateError, match="was closed"):
            await server.listen()
        assert not server.is_listening
