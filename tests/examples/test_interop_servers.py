"""Other libraries on sockets of ours: trio-websocket and hypercorn, and Unix sockets.

The peer is a standard library socket that writes the bytes of the protocol itself.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import socket
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
import trio_websocket as ws
from hypercorn.config import Config

from tests.support.peers import RawPeer, accept, raw_listener
from tests.support.tls import credentials
from trio_xsock import Connected, ServerSocket, SSLSocket, TCPSocket

sys.path.append(str(Path(__file__).resolve().parents[2] / "examples"))

chats: Any = import_module("websocket_chat")
workers: Any = import_module("hypercorn_worker")

UPGRADE = (
    "GET /{} HTTP/1.1\r\nHost: example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
ACCEPTED = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
"""The answer to this key, as RFC 6455 prints it."""
ENDED = b"\x03\xe8"
"""The code of a normal closure: 1000."""
GET = b"GET /%s HTTP/1.1\r\nHost: example\r\n\r\n"

both_servers = pytest.mark.parametrize("serve", [chats.serve_by_handler, chats.serve_by_listener])


@asynccontextmanager
async def chatting(serve: Any, **options: Any) -> AsyncGenerator[int, None]:
    """The port of a chat, which is open for the length of the block."""
    async with ServerSocket(address="127.0.0.1", **options) as server:
        async with trio.open_nursery() as nursery:
            await server.listen()
            nursery.start_soon(serve, server, chats.Chat())
            yield server.port
            nursery.cancel_scope.cancel()


async def head_of(peer: RawPeer) -> bytes:
    """The head of an HTTP message, and no byte more."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += await peer.recv_exactly(1)
    return head


async def frame_of(peer: RawPeer) -> tuple[int, bytes]:
    """Opcode and content of a frame that is short, whole, and not masked."""
    first, size = await peer.recv_exactly(2)
    assert first & 0x80
    assert size < 126
    return first & 0x0F, await peer.recv_exactly(size)


def masked(opcode: int, content: bytes) -> bytes:
    """A frame of a client, for less than 126 bytes."""
    return bytes([0x80 | opcode, 0x80 | len(content)]) + b"mask" + xor(content, b"mask")


def xor(content: bytes, mask: bytes) -> bytes:
    """What masking does, and what undoes it."""
    return bytes(byte ^ mask[i % 4] for i, byte in enumerate(content))


async def join(port: int, name: str, **options: Any) -> RawPeer:
    """A raw client of the chat, which has heard that it is there."""
    peer = await RawPeer.connect(port, **options)
    await peer.send(UPGRADE.format(name).encode())
    head = await head_of(peer)
    assert head.startswith(b"HTTP/1.1 101 ")
    assert ACCEPTED in head
    assert await frame_of(peer) == (1, f"* {name} is here".encode())
    return peer


# trio-websocket


@both_servers
async def test_raw_clients_of_a_websocket_server(serve: Any) -> None:
    """Messages both ways, a ping, and the closing handshake, which ends the connection."""
    async with chatting(serve) as port:
        with await join(port, "ada") as ada, await join(port, "ben") as ben:
            assert await frame_of(ada) == (1, b"* ben is here")
            await ada.send(masked(1, b"hello") + masked(9, b"?"))
            assert await frame_of(ben) == (1, b"ada: hello")
            assert await frame_of(ada) == (10, b"?")
            await ada.send(masked(8, ENDED))
            assert await frame_of(ada) == (8, ENDED)
            assert await ada.recv_all_to_eof() == b""
            assert await frame_of(ben) == (1, b"* ada has left")


@both_servers
async def test_a_name_that_is_taken_is_rejected(serve: Any) -> None:
    """An answer of plain HTTP, and the server goes on."""
    async with chatting(serve) as port:
        with await join(port, "ada") as ada, await RawPeer.connect(port) as other:
            await other.send(UPGRADE.format("ada").encode())
            assert (await head_of(other)).startswith(b"HTTP/1.1 409 ")
            async with chats.connected(port, "ben"):
                assert await frame_of(ada) == (1, b"* ben is here")


@both_servers
async def test_clients_that_are_lost(serve: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A reset, and an end without a closing handshake, are nobody else's trouble."""
    async with chatting(serve) as port:
        with await join(port, "ada") as ada:
            (await join(port, "ben")).reset()
            assert await frame_of(ada) == (1, b"* ben is here")
            assert await frame_of(ada) == (1, b"* ben has left")
            (await join(port, "cem")).close()
            assert await frame_of(ada) == (1, b"* cem is here")
            assert await frame_of(ada) == (1, b"* cem has left")
            with await RawPeer.connect(port) as early:
                early.reset()
            async with chats.connected(port, "dora"):
                assert await frame_of(ada) == (1, b"* dora is here")
    assert caplog.messages == []


@both_servers
async def test_a_client_that_does_not_read_must_leave(serve: Any) -> None:
    """The others are not held up by it."""
    async with chatting(serve) as port, chats.connected(port, "ada") as ada:
        with await join(port, "ben", small=True):
            heard = [await ada.get_message() for _ in range(2)]
            async with trio.open_nursery() as nursery:

                async def chatter() -> None:
                    while True:
                        await ada.send_message("x" * 100_000)

                nursery.start_soon(chatter)
                heard.append(await ada.get_message())
                nursery.cancel_scope.cancel()
            assert heard == ["* ada is here", "* ben is here", "* ben has left"]


async def test_a_websocket_client_of_a_raw_server() -> None:
    """Its opening handshake, a message each way, and its closing handshake."""
    with raw_listener() as listener:

        async def serve() -> None:
            with await accept(listener) as peer:
                lines = (await head_of(peer)).split(b"\r\n")
                fields = dict(line.lower().split(b": ") for line in lines[1:-2])
                keys = [line.split()[1] for line in lines if b"-websocket-key:" in line.lower()]
                assert lines[0] == b"GET /ada HTTP/1.1"
                assert fields[b"host"] == b"127.0.0.1:%d" % listener.getsockname()[1]
                guid = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
                proof = base64.b64encode(hashlib.sha1(keys[0] + guid).digest())
                await peer.send(
                    b"HTTP/1.1 101 ok\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                    b"Sec-WebSocket-Accept: " + proof + b"\r\n\r\n\x81\x05hello"
                )
                frame = await peer.recv_exactly(2 + 4 + 7)
                assert frame[:2] == b"\x81\x87"
                assert xor(frame[6:], frame[2:6]) == b"welcome"
                frame = await peer.recv_exactly(2 + 4 + 2)
                assert frame[0] == 0x88
                assert xor(frame[6:], frame[2:6]) == ENDED
                await peer.send(b"\x88\x02" + ENDED)
                peer.fin()
                assert await peer.recv_all_to_eof() == b""

        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            async with chats.connected(listener.getsockname()[1], "ada") as client:
                assert await client.get_message() == "hello"
                await client.send_message("welcome")


@both_servers
async def test_websockets_over_tls(serve: Any) -> None:
    """``SSLSocket`` at both ends."""
    issued = credentials()
    options = {"add_socket": lambda: SSLSocket(certificate_file=issued.server)}
    async with chatting(serve, **options) as port:
        async with SSLSocket("127.0.0.1", port, ca_file=issued.ca) as sock:
            await sock.connect()
            stream: Any = sock
            async with trio.open_nursery() as nursery:
                client = await ws.wrap_client_stream(nursery, stream, "localhost", "/ada")
                async with client:
                    assert await client.get_message() == "* ada is here"


# hypercorn


@asynccontextmanager
async def working(server: ServerSocket[Any]) -> AsyncGenerator[Any, None]:
    """The app of the example, served for the length of the block."""
    worker = workers.Worker(workers.app, Config())
    async with server, trio.open_nursery() as nursery:
        await nursery.start(worker.serve, server)
        yield worker
        await worker.stop(server)


async def answer_of(peer: RawPeer) -> bytes:
    """The body of the next answer."""
    head = await head_of(peer)
    assert head.startswith(b"HTTP/1.1 200 ")
    fields = dict(line.lower().split(b": ") for line in head.split(b"\r\n")[1:-2])
    return await peer.recv_exactly(int(fields[b"content-length"]))


async def test_raw_clients_of_hypercorn() -> None:
    """Requests one after the other and at once; the app is told the client's address."""
    server = ServerSocket(address="127.0.0.1")
    async with working(server):
        with await RawPeer.connect(server.port) as peer, await RawPeer.connect(server.port) as two:
            await peer.send(GET % b"a")
            assert await answer_of(peer) == b"GET /a from 127.0.0.1"
            await two.send(GET % b"b")
            assert await answer_of(two) == b"GET /b from 127.0.0.1"
            await peer.send(GET % b"c" + GET % b"d")
            assert await answer_of(peer) == b"GET /c from 127.0.0.1"
            assert await answer_of(peer) == b"GET /d from 127.0.0.1"
            peer.fin()
            assert await peer.recv_all_to_eof() == b""
            assert server.statistics().accepted == 2


async def test_hypercorn_stops_gracefully(capsys: pytest.CaptureFixture[str]) -> None:
    """A connection that is idle ends at once, with its end and no reset; so does the app."""
    server = ServerSocket(address="127.0.0.1")
    with trio.fail_after(2):  # seconds; hypercorn keeps an idle connection for five
        async with working(server) as worker:
            with await RawPeer.connect(server.port) as peer:
                await peer.send(GET % b"")
                await answer_of(peer)
                await worker.stop(server)
                assert await peer.recv_all_to_eof() == b""
    assert capsys.readouterr().out == "the app starts\nthe app ends\n"


async def test_hypercorn_and_clients_that_are_lost(caplog: pytest.LogCaptureFixture) -> None:
    """Neither a reset before the handler starts nor one within a request fails."""
    caplog.set_level(logging.INFO)
    server = ServerSocket(address="127.0.0.1")
    async with server:
        await server.listen()
        with await RawPeer.connect(server.port) as early:
            await early.send(b"GET")
            await trio.testing.wait_all_tasks_blocked()
            early.reset()
            await trio.testing.wait_all_tasks_blocked()
        async with working(server):
            with await RawPeer.connect(server.port) as peer:
                await peer.send(b"GET / HTTP")
                peer.reset()
            with await RawPeer.connect(server.port) as peer:
                await peer.send(b"nothing of HTTP\r\n\r\n")
                assert (await peer.recv_all_to_eof()).startswith(b"HTTP/1.1 400 ")
        assert server.statistics().failed == 0
    assert caplog.messages == []


# Unix sockets


@pytest.fixture
def unix_listener(tmp_path: Path) -> Any:
    """A listening socket with a path."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        listener.listen()
        yield listener


def unix_client(listener: socket.socket) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.connect(listener.getsockname())
    return client


async def test_a_client_by_way_of_a_unix_socket(unix_listener: socket.socket) -> None:
    """``from_socket`` takes one that is connected; what asks the OS gets what it says."""
    client = unix_client(unix_listener)
    with RawPeer(unix_listener.accept()[0]) as peer:
        async with TCPSocket.from_socket(client) as sock:
            assert (sock.remote_address, sock.remote_port, sock.local_port) == ("", 0, 0)
            assert sock.socket.family == socket.AF_UNIX
            assert sock.socket.getpeername() == unix_listener.getsockname()
            await sock.send_all(b"question")
            assert await peer.recv_exactly(8) == b"question"
            await peer.send(b"answer\n")
            assert await sock.receive_until(b"\n") == b"answer"
            await sock.send_eof()
            assert await peer.recv_all_to_eof() == b""
            peer.close()
            assert await sock.receive_some() == b""


async def test_a_unix_socket_that_listens_for_one_peer(unix_listener: socket.socket) -> None:
    """``from_socket`` takes that, too."""
    async with TCPSocket.from_socket(unix_listener.dup()) as sock:
        with RawPeer(unix_client(unix_listener)) as peer:
            assert isinstance(await anext(sock.events), Connected)
            await peer.send(b"hello")
            assert await sock.receive_exactly(5) == b"hello"
            await sock.send_all(b"welcome")
            assert await peer.recv_exactly(7) == b"welcome"


async def test_hypercorn_on_a_unix_socket(unix_listener: socket.socket) -> None:
    """As behind a proxy on the same machine."""
    async with working(ServerSocket.from_socket(unix_listener)):
        with RawPeer(unix_client(unix_listener)) as peer:
            await peer.send(GET % b"a")
            assert await answer_of(peer) == b"GET /a from a Unix socket"
