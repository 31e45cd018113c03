"""``EasyTCPSocket`` as a whole: a channel, beside the server and the other sockets."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from tests.support import EventRecorder, RawPeer, raw_pair, until
from tests.support.pairs import linked
from tests.support.serving import serving
from tests.support.tls import credentials
from trio_xsock import (
    EasyTCPSocket,
    EventChannel,
    InvalidStateError,
    Message,
    ReceivedMessage,
    ServerSocket,
    SocketState,
    TCPSocket,
    TLSError,
    encode_message,
)
from trio_xsock._sockets.connected import ConnectedSocket

LOOPBACK = "127.0.0.1"


def test_it_is_a_channel_and_no_stream() -> None:
    """It shares the connection with ``TCPSocket``, and nothing that moves bytes."""
    assert issubclass(EasyTCPSocket, (trio.abc.Channel, ConnectedSocket))
    assert not issubclass(EasyTCPSocket, (TCPSocket, trio.abc.Stream))
    assert not hasattr(EasyTCPSocket, "receive_some")
    assert not hasattr(EasyTCPSocket, "send_all")


@pytest.mark.parametrize(
    ("call", "arguments"),
    [("read", (5,)), ("read_all", ()), ("lookahead", ("utf-8",)), ("write", (b"x",))],
)
async def test_calls_for_bytes_are_refused(call: str, arguments: tuple[Any, ...]) -> None:
    """They are there, and say what to use; the stream is not touched."""
    async with linked(socket_class=EasyTCPSocket) as (sock, peer):
        with pytest.raises(
            InvalidStateError, match=r"is for sockets that move bytes; use \w+"
        ) as e:
            getattr(sock, call)(*arguments)
        assert e.value.error_number == 106
        await peer.send(encode_message(1))
        assert await sock.receive() == (1, b"")
    with pytest.raises(InvalidStateError):
        getattr(EasyTCPSocket(), call)(*arguments)


def test_options_are_attributes() -> None:
    """Those of ``TCPSocket``, and its own; wrong ones are refused by name."""
    sock = EasyTCPSocket(
        "host",
        80,
        receive_buffer_limit=5,
        send_buffer_limit=6,
        progress_interval=7,
        allow_half_close=True,
        keepalive=(1, 2, 3),
        unacknowledged_timeout=4,
        idle_timeout=5,
        max_message_size=0,
    )
    assert (sock.address, sock.port, sock.max_message_size) == ("host", 80, 0)
    assert (sock.receive_buffer_limit, sock.send_buffer_limit, sock.progress_interval) == (5, 6, 7)
    assert (sock.keepalive, sock.unacknowledged_timeout, sock.idle_timeout) == ((1, 2, 3), 4, 5)
    assert sock.allow_half_close is True
    sock.max_message_size = 9
    assert sock.max_message_size == 9
    with pytest.raises(ValueError, match="max_message_size"):
        sock.max_message_size = -1
    with pytest.raises(TypeError, match="max_message_size"):
        EasyTCPSocket(max_message_size="1")  # type: ignore[arg-type]


def test_async_handlers_are_refused() -> None:
    """As of every socket."""

    class Wrong:
        async def on_received_message(self, *_: object) -> None: ...

    with pytest.raises(TypeError, match="on_received_message is an async function"):
        EasyTCPSocket(handler=Wrong())


async def test_a_server_of_messages() -> None:
    """Each connection is a channel in a task of its own."""

    async def serve(sock: EasyTCPSocket) -> None:
        async for command, data in sock:
            sock.send_message(command + 1, data.upper())

    async with serving(serve, add_socket=EasyTCPSocket) as server, trio.open_nursery() as nursery:

        async def use(number: int) -> None:
            async with EasyTCPSocket(LOOPBACK, server.port) as sock:
                await sock.connect()
                sock.send_message(number, b"hello")
                assert await sock.wait_for_message(number + 1) == b"HELLO"

        for number in range(5):
            nursery.start_soon(use, number)


async def test_a_server_with_handlers_and_a_shared_channel() -> None:
    """Live at once: such sockets never come out of ``accept``."""
    channel = EventChannel()
    recorder = EventRecorder()
    recorder.on_received_message = lambda sock, command, data: sock.send_message(command, data)  # type: ignore[attr-defined]
    for options in ({"events": channel}, {"handler": recorder}):
        async with ServerSocket(
            address=LOOPBACK, add_socket=lambda options=options: EasyTCPSocket(**options)
        ) as server:
            await server.listen()
            with await RawPeer.connect(server.port) as peer:
                await peer.send(encode_message(4, b"x"))
                if "events" in options:
                    kinds = [type(await channel.receive()) for _ in range(2)]
                    assert kinds[1] is ReceivedMessage
                else:
                    assert await peer.recv_exactly(13) == encode_message(4, b"x")


async def test_from_socket() -> None:
    """A connected descriptor becomes a channel."""
    ours, peer = raw_pair()
    with peer:
        async with EasyTCPSocket.from_socket(ours, max_message_size=10) as sock:
            sock.send_message(1, b"x")
            assert await peer.recv_exactly(13) == encode_message(1, b"x")
            assert sock.max_message_size == 10


async def test_run_in_a_task_of_its_own() -> None:
    """It ends when the peer closes; the messages stay to be read."""
    async with trio.open_nursery() as nursery:
        ours, peer = raw_pair()
        with peer:
            sock = await nursery.start(EasyTCPSocket.from_socket(ours, allow_half_close=False).run)
            await peer.send(encode_message(1, b"x") * 3)
            peer.fin()
            await until(lambda: sock.state is SocketState.CLOSED)
            assert await sock.receive() == (1, b"x")
            assert sock.messages_available == 2


async def test_leaving_the_block_sends_what_is_queued() -> None:
    """To the end, and gracefully, as of every socket."""
    ours, peer = raw_pair()
    with peer:
        async with trio.open_nursery() as nursery:
            async with EasyTCPSocket.from_socket(ours) as sock:
                sock.send_message(1, bytes(3_000_000))
                nursery.start_soon(peer.recv_exactly, 3_000_012)
        assert await peer.recv_some() == b""


async def test_its_name_and_its_books() -> None:
    """``repr`` and statistics are those of every connection."""
    async with linked(socket_class=EasyTCPSocket) as (sock, peer):
        await peer.send(encode_message(1, b"abc"))
        await until(lambda: sock.messages_available)
        assert repr(sock) == (
            f"<EasyTCPSocket connected to {LOOPBACK}:{sock.remote_port}, 15 bytes buffered, "
            "0 bytes queued>"
        )
        await sock.send(Message(2, b""))
        books = sock.statistics()
        assert (books.bytes_in, books.bytes_available, books.bytes_out) == (15, 15, 12)


# Over TLS


def secured(**options: Any) -> EasyTCPSocket:
    """A client of the server below."""
    return EasyTCPSocket(ssl_context=credentials().client_context(), **options)


async def test_messages_over_tls() -> None:
    """The same, whatever their size; a storm and its end, too."""
    seen: list[Message] = []

    async def serve(sock: EasyTCPSocket) -> None:
        assert sock.ssl_connected
        async for command, data in sock:
            seen.append(Message(command, data))
            await sock.send(Message(command + 1, data))

    def add_socket() -> EasyTCPSocket:
        return EasyTCPSocket(ssl_context=credentials().server_context())

    async with serving(serve, add_socket=add_socket) as server:
        async with secured(address=LOOPBACK, port=server.port) as sock:
            await sock.connect()
            assert sock.ssl_connected
            assert sock.tls
            assert sock.ssl_context is not None
            sizes = [0, 1, 100, 70_000, 2_000_000]
            for number, size in enumerate(sizes):
                sock.send_message(10 * number, bytes(size))
                assert await sock.wait_for_message(10 * number + 1) == bytes(size)
            for _ in range(500):
                sock.send_message(100)
            for _ in range(500):
                assert await sock.receive() == (101, b"")
        await until(lambda: not server.active_connections())
    assert len(seen) == len(sizes) + 500


async def test_a_server_that_is_not_trusted() -> None:
    """``tls=True`` alone verifies against the system's authorities, of whom ours is none."""

    def add_socket() -> EasyTCPSocket:
        return EasyTCPSocket(ssl_context=credentials().server_context())

    async with ServerSocket(address=LOOPBACK, add_socket=add_socket) as server:
        await server.listen()
        async with EasyTCPSocket(LOOPBACK, server.port, tls=True) as sock:
            assert sock.ssl_context is None
            with pytest.raises(TLSError) as caught:
                await sock.connect()
            assert "CERTIFICATE_VERIFY_FAILED" in caught.value.reason
            assert not sock.is_connected


async def test_a_cancelled_message_over_tls_is_finished() -> None:
    """Its records and its frame both; the connection stays usable."""
    received: list[int] = []

    async def serve(sock: EasyTCPSocket) -> None:
        await started.wait()
        async for command, _ in sock:
            received.append(command)

    started = trio.Event()
    async with serving(
        serve, add_socket=lambda: EasyTCPSocket(ssl_context=credentials().server_context())
    ) as server:
        async with secured(address=LOOPBACK, port=server.port) as sock:
            await sock.connect()
            scope = trio.CancelScope()

            async def send() -> None:
                with scope:
                    await sock.send(Message(1, bytes(12_000_000)))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(send)
                await until(lambda: sock.bytes_sent)
                scope.cancel()
            assert scope.cancelled_caught
            sock.send_message(2)
            started.set()
            await sock.flush()
        await until(lambda: received == [1, 2])


def test_wrong_contexts_are_refused() -> None:
    """By type."""
    with pytest.raises(TypeError, match="ssl_context"):
        EasyTCPSocket(ssl_context=5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="tls"):
        EasyTCPSocket(tls=1)  # type: ignore[arg-type]
