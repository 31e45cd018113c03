"""``MemoryNetwork`` and ``serving``: servers and clients without the OS."""

from __future__ import annotations

import errno
from typing import Any

import pytest
import trio
import trio.testing

from tests.support.tls import credentials
from trio_xsock import (
    AddressInUseError,
    ConnectError,
    EasyTCPSocket,
    InvalidStateError,
    LossReason,
    LostConnectionError,
    Message,
    NameResolutionError,
    ServerSocket,
    SSLSocket,
    TCPSocket,
    UDPSocket,
)
from trio_xsock.testing import MemoryNetwork, serving


async def echo(sock: TCPSocket) -> None:
    """What handlers are like."""
    async for chunk in sock:
        await sock.send_all(chunk)


# A network


async def test_a_server_and_clients_that_reach_it_by_name() -> None:
    """Addresses are made up and the same each time; no descriptor is used."""
    network = MemoryNetwork()
    async with network.attach(ServerSocket(4711), "server.test") as server:
        async with trio.open_nursery() as nursery:
            assert await nursery.start(server.serve, echo) == 4711
            assert (server.local_address, server.port, server.handle) == ("10.0.0.1", 4711, -1)
            for number, name in enumerate(["server.test", "SERVER.TEST", "10.0.0.1"]):
                client = network.attach(TCPSocket(name, 4711), f"client{number}.test")
                async with client:
                    await client.connect()
                    assert (client.remote_address, client.remote_port) == ("10.0.0.1", 4711)
                    assert client.local_address == f"10.0.0.{2 + number}"
                    await trio.testing.wait_all_tasks_blocked()
                    (accepted,) = [s for s in server.active_connections() if s.is_connected]
                    assert accepted.remote_address == client.local_address
                    assert accepted.remote_port == client.local_port
                    await client.send_all(b"x" * 1_000_000)
                    assert await client.receive_exactly(1_000_000) == b"x" * 1_000_000
                    await client.send_eof()
                    assert await client.receive_some() == b""
            server.stop_listening()


async def test_time_is_the_clock_s(autojump_clock: trio.testing.MockClock) -> None:
    """A minute of idleness costs nothing."""
    network = MemoryNetwork()
    server = network.attach(ServerSocket(7, idle_timeout=60), "a")
    async with server, network.attach(TCPSocket("a", 7), "b") as client:
        await server.listen()
        await client.connect()
        began = trio.current_time()
        async with await server.accept() as sock:
            with pytest.raises(LostConnectionError, match="for 60 seconds"):
                await sock.receive_some()
        assert trio.current_time() - began == pytest.approx(60)


async def test_one_peer_and_the_host_itself() -> None:
    """``TCPSocket.listen()``; ``localhost``; a free port; the port is free again after it."""
    network = MemoryNetwork()
    async with network.attach(TCPSocket(), "one") as one:
        for _ in range(2):
            await one.listen()
            assert one.port >= 49152
            assert one.socket.getsockname() == ("10.0.0.1", one.port)
            other = network.attach(TCPSocket("localhost", one.port), "one")
            async with other:
                await other.connect()
                await other.send_all(b"hello")
                await trio.testing.wait_all_tasks_blocked()
                assert await one.receive_exactly(5) == b"hello"
                one.close()
                assert await other.receive_some() == b""


async def test_who_is_not_there() -> None:
    """Unknown names, closed ports, ports that are taken: the errors of a real network."""
    network = MemoryNetwork()
    client = network.attach(TCPSocket("nowhere", 1), "client")
    server = network.attach(ServerSocket(1), "server")
    second = network.attach(ServerSocket(1), "server")
    async with client, server, second:
        with pytest.raises(NameResolutionError, match="client, server"):
            await client.connect()
        client.address = "server"
        with pytest.raises(ConnectError, match="refused") as caught:
            await client.connect()
        assert [each.errno for each in caught.value.errors] == [errno.ECONNREFUSED]
        await server.listen()
        with pytest.raises(AddressInUseError):
            await second.listen()
        await client.connect()
        client.close()
        client.bind_address = "10.9.9.9"
        with pytest.raises(ConnectError):
            await client.connect()
        client.bind_address, client.bind_port = client.local_address, 5
        client.bind_address = ""
        await client.connect()
        assert client.local_port == 5
        client.close()
        server.stop_listening()
        with pytest.raises(ConnectError):
            await client.connect()


async def test_who_waits_is_refused_when_listening_stops() -> None:
    """As the OS resets those in the backlog."""
    network = MemoryNetwork()
    server = network.attach(ServerSocket(1, minimum_sockets_available=0), "server")
    async with server:
        await server.listen()
        clients = [network.attach(TCPSocket("server", 1), "client") for _ in range(3)]
        async with clients[0], clients[1], clients[2]:
            for client in clients:
                await client.connect()
            await trio.testing.wait_all_tasks_blocked()
            server.close()
            ends: list[object] = []
            for client in clients:
                try:
                    ends.append(await client.receive_some())
                except LostConnectionError as error:
                    ends.append(error.reason)
            assert ends == [b"", LossReason.RESET, LossReason.RESET]


async def test_messages_and_tls() -> None:
    """The other kinds of sockets."""
    network = MemoryNetwork(capacity=1000)
    server = network.attach(
        ServerSocket(
            1,
            add_socket=lambda: EasyTCPSocket(tls=True, certificate_file=credentials().server),
        ),
        "server",
    )
    client = network.attach(
        EasyTCPSocket("server", 1, tls=True, ca_file=credentials().ca, server_hostname="localhost"),
        "client",
    )
    async with server, client:
        await server.listen()
        await client.connect()
        assert client.ssl_connected
        client.send_message(1, b"x" * 10_000)
        async with await server.accept() as sock:
            assert await sock.receive() == Message(1, b"x" * 10_000)
            assert sock.ssl_connected


async def test_what_cannot_be_attached() -> None:
    """Wrong kinds, and what is open already."""
    network = MemoryNetwork()
    wrong: Any = UDPSocket()
    with pytest.raises(TypeError, match="UDPSocket"):
        network.attach(wrong, "host")
    with pytest.raises(TypeError, match="host"):
        network.attach(TCPSocket(), 5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="host"):
        network.attach(TCPSocket(), "")
    for sock in (TCPSocket(), SSLSocket(certificate_file=credentials().server)):
        async with sock:
            await sock.listen()
            with pytest.raises(InvalidStateError, match="open already"):
                network.attach(sock, "host")
    async with ServerSocket() as server:
        await server.listen()
        with pytest.raises(InvalidStateError, match="open already"):
            network.attach(server, "host")
    for capacity in (0, -1):
        with pytest.raises(ValueError, match="capacity"):
            MemoryNetwork(capacity=capacity)


# A handler over a pair


async def test_a_handler_and_its_client() -> None:
    """The handler sees the end and is waited for."""
    ended = False

    async def handler(sock: TCPSocket) -> None:
        nonlocal ended
        await echo(sock)
        ended = True

    async with serving(handler) as client:
        await client.send_all(b"hello")
        assert await client.receive_exactly(5) == b"hello"
    assert ended


async def test_a_handler_that_returns() -> None:
    """Its socket is closed, as by a server."""

    async def greet(sock: TCPSocket) -> None:
        await sock.send_all(b"hello")

    async with serving(greet, receive_buffer_limit=3) as client:
        assert client.receive_buffer_limit == 3
        assert [chunk async for chunk in client] == [b"hel", b"lo"]


async def test_a_handler_that_fails() -> None:
    """Its exception leaves as itself, and the block is cancelled."""
    error = ValueError("mine")

    async def fail(_: TCPSocket) -> None:
        raise error

    with pytest.raises(ValueError, match="mine") as caught:
        async with serving(fail):
            await trio.sleep_forever()
    assert caught.value is error


async def test_a_block_that_fails() -> None:
    """Its exception leaves as itself, and the handler is cancelled."""
    error = ValueError("mine")
    with pytest.raises(ValueError, match="mine") as caught:
        async with serving(echo):
            raise error
    assert caught.value is error


async def test_a_handler_that_is_in_the_middle(autojump_clock: trio.testing.MockClock) -> None:
    """One that sends to who has gone is no failure; one that never ends is cancelled."""

    async def talk(sock: TCPSocket) -> None:
        while True:
            await sock.send_all(b"x" * 10_000)

    async with serving(talk) as client:
        await client.receive_some()

    async def sleep(_: TCPSocket) -> None:
        await trio.sleep_forever()

    began = trio.current_time()
    async with serving(sleep, grace=2):
        pass
    assert trio.current_time() - began == pytest.approx(2)
    with pytest.raises(ValueError, match="grace"):
        async with serving(sleep, grace=-1):
            pass


# As fixtures


@pytest.fixture
async def client() -> Any:
    """The natural one: a block with a ``yield`` in it."""
    async with serving(echo) as sock:
        yield sock


@pytest.fixture
async def address(nursery: trio.Nursery) -> Any:
    """A server in the test's nursery."""
    async with ServerSocket(address="127.0.0.1") as server:
        yield "127.0.0.1", await nursery.start(server.serve, echo)


async def test_the_natural_fixture(client: TCPSocket) -> None:
    """It ends without an error."""
    await client.send_all(b"hello")
    assert await client.receive_exactly(5) == b"hello"


async def test_the_natural_fixture_of_a_server(address: tuple[str, int]) -> None:
    """It ends without an error, also while a client is connected."""
    async with TCPSocket(*address) as sock:
        await sock.connect()
        await sock.send_all(b"hello")
        assert await sock.receive_exactly(5) == b"hello"
