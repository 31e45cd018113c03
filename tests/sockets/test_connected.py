"""Connecting: every way it ends, in every state, cancelled and closed at every point."""

from __future__ import annotations

import errno
import os
import re
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
import trio.testing

from tests.support import EventRecorder, RawPeer, accept, check_grammar, raw_listener, until
from tests.support.pairs import GatedResolver, clog, linked
from trio_xsock import (
    Connected,
    ConnectError,
    DataAvailable,
    ErrorCode,
    ErrorOccurred,
    InvalidPortError,
    InvalidStateError,
    LossReason,
    LostConnectionError,
    NameResolutionError,
    OpenDriverError,
    OutOfMemoryError,
    SendComplete,
    SendProgress,
    ServerSocket,
    SocketClosedError,
    SocketError,
    SocketState,
    TCPSocket,
)
from trio_xsock._network import one_route
from trio_xsock._network.transport import PlainTransport

REAL_SOCKET = socket.socket


def closed_port(host: str = "127.0.0.1") -> int:
    """A port that refuses connections."""
    with raw_listener(host=host) as listener:
        return int(listener.getsockname()[1])


class Resolver(GatedResolver):
    """Answers at once, with these addresses, or this error."""

    def __init__(self, *hosts: str, error: Exception | None = None) -> None:
        super().__init__()
        self.hosts = hosts
        self.error = error
        self.calls = 0

    async def getaddrinfo(self, host: Any, port: Any, *_: Any) -> list[Any]:
        self.calls += 1
        await trio.lowlevel.checkpoint()
        if self.error is not None:
            raise self.error
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 0, "", (each, port, 0, 0))
            if ":" in each
            else (socket.AF_INET, socket.SOCK_STREAM, 0, "", (each, port))
            for each in self.hosts
        ]


# It works


@pytest.mark.parametrize(("host", "address"), [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]")])
async def test_connect(host: str, address: str) -> None:
    """IPv4 and IPv6; ``Connected`` has been delivered when it returns."""
    recorder = EventRecorder()
    with raw_listener(host=host) as listener:
        port = listener.getsockname()[1]
        async with TCPSocket(host, port, handler=recorder) as sock:
            channel = sock.events
            with trio.testing.assert_checkpoints():
                await sock.connect()
            assert recorder.names == ["on_connected"]
            assert channel.receive_nowait() == Connected(sock)
            assert sock.remote_address == sock.local_address == host
            assert f"connected to {address}:{port}," in repr(sock)
            with await accept(listener) as peer:
                assert peer.sock.getpeername()[1] == sock.port
    check_grammar(recorder.events)


async def test_connect_to_a_name() -> None:
    """All its addresses are tried, the working one wins."""
    resolver = Resolver("127.0.0.2", "::1", "127.0.0.1")
    with raw_listener() as listener:
        async with TCPSocket("some.host", listener.getsockname()[1]) as sock:
            await sock.connect()
            assert (sock.address, sock.remote_address) == ("some.host", "127.0.0.1")
    assert resolver.calls == 1


async def test_properties_are_up_to_date_in_the_handler() -> None:
    """Everything is as it will be when ``connect`` returns."""
    seen: list[Any] = []

    def look(sock: TCPSocket) -> None:
        seen.append((sock.state, sock.is_connected, sock.handle >= 0, sock.remote_port))

    recorder = EventRecorder(reactions={"on_connected": look})
    async with linked(handler=recorder) as (sock, _):
        assert seen == [(SocketState.CONNECTED, True, True, sock.remote_port)]


async def test_data_that_comes_at_once_is_announced_after_connected() -> None:
    """Even if it was there before anybody looked."""
    recorder = EventRecorder(read=True)
    with raw_listener() as listener:
        async with TCPSocket("127.0.0.1", listener.getsockname()[1], handler=recorder) as sock:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(sock.connect)
                with await accept(listener) as peer:
                    peer.send_nowait(b"hello")
                    peer.fin()
                    await recorder.wait_for(ErrorOccurred)
    kinds = [type(event) for event in recorder.events]
    assert kinds == [Connected, DataAvailable, ErrorOccurred]
    assert recorder.received == b"hello"


# It fails


async def test_refused() -> None:
    """The text names the endpoint and the cure; one event; ``last_error`` is the same object."""
    port = closed_port()
    recorder = EventRecorder()
    async with TCPSocket("127.0.0.1", port, handler=recorder) as sock:
        channel = sock.events
        with trio.testing.assert_checkpoints():
            with pytest.raises(
                ConnectError, match=rf"127\.0\.0\.1:{port} .*check that a server lis"
            ) as caught:
                await sock.connect()
        error = caught.value
        assert isinstance(error, OSError)
        assert (error.errno, error.error_number) == (errno.ECONNREFUSED, None)
        assert [each.errno for each in error.errors] == [errno.ECONNREFUSED]
        assert recorder.errors == [error]
        assert sock.last_error is error
        assert [event async for event in channel] == [ErrorOccurred(sock, error)]
        assert (sock.state, sock.handle) == (SocketState.CLOSED, -1)
        with pytest.raises(InvalidStateError, match="not connected"):
            sock.write(b"x")
        with pytest.raises(InvalidStateError, match="not connected"):
            await sock.receive_some()


async def test_fifty_dead_addresses() -> None:
    """F39: each attempt's error is there."""
    Resolver(*(f"127.0.0.{number}" for number in range(1, 51)))
    async with TCPSocket("some.host", closed_port()) as sock:
        with pytest.raises(ConnectError, match=r"some\.host") as caught:
            await sock.connect()
    assert len(caught.value.errors) == 50
    assert "127.0.0.50" in str(caught.value)


@pytest.mark.parametrize(
    ("host", "text"),
    [
        ("", "host name is empty"),
        ("with blank", "malformed host name 'with blank'"),
        ("x" * 64 + ".org", "malformed host name"),
        ("a..b", "malformed host name 'a..b'"),
        ("127.0.0.1\0", "malformed"),
        ("[::1]", "without brackets"),
        ("example.org:80", "port apart"),
        ("fe80::1%nonesuch", "names no interface"),
    ],
)
async def test_malformed_hosts_are_refused_without_a_look_up(host: str, text: str) -> None:
    """It is a failed connect like any other, posted as such."""
    resolver = Resolver()
    recorder = EventRecorder()
    async with TCPSocket(host, 80, handler=recorder) as sock:
        with pytest.raises(NameResolutionError, match=re.escape(text)) as caught:
            await sock.connect()
    assert caught.value.error_number == ErrorCode.NAME_RESOLUTION_ERROR
    assert isinstance(caught.value, OSError)
    assert recorder.errors == [caught.value]
    assert resolver.calls == 0


async def test_unknown_hosts() -> None:
    """103, with the resolver's error as the cause."""
    cause = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    Resolver(error=cause)
    async with TCPSocket("some.host", 80) as sock:
        with pytest.raises(NameResolutionError, match=r"some\.host.*check its spelling") as caught:
            await sock.connect()
        assert caught.value.__cause__ is cause
        assert sock.last_error is caught.value


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.EMFILE, OpenDriverError), (errno.ENOBUFS, OutOfMemoryError)]
)
async def test_no_socket_to_be_had(
    number: int, kind: type[SocketError], monkeypatch: pytest.MonkeyPatch
) -> None:
    """100 and 108; when the OS has one again, it works."""

    class NoSocket(REAL_SOCKET):
        def __init__(self, *_: Any) -> None:
            raise OSError(number, os.strerror(number))

    with raw_listener() as listener:
        async with TCPSocket("127.0.0.1", listener.getsockname()[1]) as sock:
            with monkeypatch.context() as patch:
                patch.setattr(socket, "socket", NoSocket)
                with pytest.raises(kind, match=r"127\.0\.0\.1") as caught:
                    await sock.connect()
            assert caught.value.errno == number
            assert sock.last_error is caught.value
            await sock.connect()


@pytest.mark.parametrize("looked_at_once", [False, True])
async def test_data_and_a_reset_before_connect_returns(
    monkeypatch: pytest.MonkeyPatch, looked_at_once: bool
) -> None:
    """Connected is connected: what came can be read, then comes the reset, once for all."""
    recorder = EventRecorder(read=False)
    is_up = one_route._is_up

    def reset_it(sock: socket.socket) -> bool:
        peer = listener.accept()[0]
        peer.send(bytes(1000))
        RawPeer(peer).reset()
        return is_up(sock) or looked_at_once

    monkeypatch.setattr(one_route, "_is_up", reset_it)
    with raw_listener() as listener:
        async with TCPSocket(
            "127.0.0.1", listener.getsockname()[1], handler=recorder, allow_half_close=True
        ) as sock:
            await sock.connect()
            assert sock.remote_address == "127.0.0.1"
            assert await sock.receive_exactly(1000) == bytes(1000)
            with pytest.raises(LostConnectionError) as caught:
                await sock.receive_some()
            assert caught.value.reason is LossReason.RESET
            assert sock.last_error is caught.value
            assert recorder.errors == [caught.value]


async def test_reset_before_anybody_looked() -> None:
    """Accepted, sent to, and reset while our task was not running: connect may fail or not."""
    for _ in range(20):
        with raw_listener() as listener:
            async with TCPSocket("127.0.0.1", listener.getsockname()[1]) as sock:
                async with trio.open_nursery() as nursery:

                    async def meet(sock: TCPSocket = sock) -> None:
                        try:
                            await sock.connect()
                            await sock.receive_some()
                        except (ConnectError, LostConnectionError):
                            pass

                    nursery.start_soon(meet)
                    (await accept(listener)).reset()
                assert sock.state is SocketState.CLOSED


async def test_a_resolver_that_fails_in_its_own_way() -> None:
    """That is its author's bug: it comes out as it is, and the socket is closed."""
    Resolver(error=ZeroDivisionError())
    async with TCPSocket("some.host", 80) as sock:
        with pytest.raises(ZeroDivisionError):
            await sock.connect()
        assert sock.state is SocketState.CLOSED
        assert sock.last_error is None


# Bad input: refused at the call, before any I/O, without an event, changing nothing


@pytest.fixture
def no_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let whoever opens a socket, or looks a name up, fail the test."""

    def refuse(*_: Any) -> None:
        raise AssertionError("there was I/O")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse)


@pytest.mark.usefixtures("no_sockets")
async def test_port_0_cannot_be_connected_to() -> None:
    """107, naming the host; never posted."""
    recorder = EventRecorder()
    async with TCPSocket("some.host", handler=recorder) as sock:
        with pytest.raises(
            InvalidPortError, match=r"1\.\.65535, not 0 \(of 'some\.host'\)"
        ) as caught:
            await sock.connect()
        assert caught.value.error_number == ErrorCode.INVALID_PORT_ERROR
        assert sock.state is SocketState.CLOSED
        assert sock.last_error is None
    assert recorder.events == []


@pytest.mark.usefixtures("no_sockets")
async def test_connect_needs_the_block() -> None:
    """106: the text says what to use."""
    sock = TCPSocket("some.host", 80)
    with pytest.raises(InvalidStateError, match=r"some\.host:80.*connect\(\).*`async with TCPSo"):
        await sock.connect()
    assert not isinstance(sock.last_error, InvalidStateError)
    assert sock.state is SocketState.CLOSED


async def test_connect_in_each_state() -> None:
    """Connecting, connected and closing refuse; the connection is unimpressed."""
    resolver = GatedResolver()
    with raw_listener(small=True) as listener:
        port = listener.getsockname()[1]
        async with TCPSocket("some.host", port) as sock, trio.open_nursery() as nursery:
            nursery.start_soon(sock.connect)
            await resolver.called.wait()
            with pytest.raises(
                InvalidStateError, match=rf"some\.host:{port}.*while the socket is connecting.*wait"
            ):
                await sock.connect()
            resolver.answer.set()
            with await accept(listener) as peer:
                await trio.testing.wait_all_tasks_blocked()
                with pytest.raises(
                    InvalidStateError, match=rf"127\.0\.0\.1:{port}.*is connected; close\(\) it fi"
                ) as caught:
                    await sock.connect()
                assert caught.value.error_number == ErrorCode.INVALID_STATE_ERROR
                sock.write(bytes(10_000_000))
                nursery.start_soon(sock.aclose)
                await trio.testing.wait_all_tasks_blocked()
                assert sock.state is SocketState.CLOSING
                with pytest.raises(InvalidStateError, match=r"closing.*wait for aclose\(\)"):
                    await sock.connect()
                assert await peer.count_to_eof() == 10_000_000
        assert sock.last_error is None


@pytest.mark.usefixtures("no_sockets")
async def test_a_closed_socket_says_so() -> None:
    """106 that is Trio's ClosedResourceError, too, with the endpoint and the cure."""
    async with TCPSocket("some.host", 80) as sock:
        sock.close()
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: sock.send_all(b"x"),
            lambda: sock.receive_some(),
            sock.flush,
            sock.send_eof,
            sock.wait_send_all_might_not_block,
        ]
        for call in calls:
            with pytest.raises(
                trio.ClosedResourceError, match=r"some\.host:80.*connect\(\) opens it again"
            ) as caught:
                await call()
            assert isinstance(caught.value, SocketClosedError)


# Cancelled, and closed, at every point


async def passes(count: int) -> None:
    for _ in range(count):
        await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("count", range(12))
async def test_connect_cancelled_at_every_point(count: int) -> None:
    """It connects or leaves nothing: no event, no descriptor, and it may connect again."""
    recorder = EventRecorder()
    Resolver("::1", "127.0.0.1")
    with raw_listener() as listener:
        port = listener.getsockname()[1]
        async with TCPSocket("some.host", port, handler=recorder) as sock:
            async with trio.open_nursery() as nursery:
                scope = trio.CancelScope()
                nursery.start_soon(cancel_later, scope, count)
                with scope:
                    await sock.connect()
                if scope.cancelled_caught:
                    assert (sock.state, sock.handle) == (SocketState.CLOSED, -1)
                    assert recorder.events == []
                    assert sock.last_error is None
                else:
                    assert sock.is_connected
                    assert recorder.names == ["on_connected"]
            sock.close()
            await sock.connect()
            assert sock.is_connected


async def cancel_later(scope: trio.CancelScope, count: int) -> None:
    await passes(count)
    scope.cancel()


async def test_connect_in_a_cancelled_scope() -> None:
    """Nothing is opened."""
    with raw_listener() as listener:
        async with TCPSocket("127.0.0.1", listener.getsockname()[1]) as sock:
            with trio.CancelScope() as scope:
                scope.cancel()
                await sock.connect()
            assert scope.cancelled_caught
            with pytest.raises(BlockingIOError):
                listener.accept()


@pytest.mark.parametrize("call", ["close", "aclose", "disconnect"])
@pytest.mark.parametrize("count", range(10))
async def test_connect_closed_at_every_point(count: int, call: str) -> None:
    """It raises ``SocketClosedError``, unless it had connected before; no error is posted."""
    recorder = EventRecorder()
    Resolver("::1", "127.0.0.1")
    outcome: list[object] = []
    with raw_listener() as listener:
        port = listener.getsockname()[1]
        async with TCPSocket("some.host", port, handler=recorder) as sock:
            async with trio.open_nursery() as nursery:

                async def connect() -> None:
                    try:
                        outcome.append(await sock.connect())
                    except SocketError as error:
                        outcome.append(error)

                nursery.start_soon(connect)
                await until(lambda: sock.state is not SocketState.CLOSED)
                await passes(count)
                if call == "close":
                    sock.close()
                else:
                    await getattr(sock, call)()
                assert (sock.state, sock.handle) == (SocketState.CLOSED, -1)
            if isinstance(outcome[0], SocketClosedError):
                assert "some.host" in str(outcome[0])
                assert recorder.events == []
            else:
                assert outcome == [None]
                assert recorder.names[0] == "on_connected"
                assert recorder.names[1:] == (["on_error"] if call == "disconnect" else [])
            await sock.connect()
            assert sock.is_connected


@pytest.mark.parametrize("count", range(8))
async def test_close_and_connect_again_while_connecting(count: int) -> None:
    """The first ``connect`` fails, and does not get in the way of the second."""
    Resolver("127.0.0.1")
    with raw_listener() as listener:
        async with TCPSocket("some.host", listener.getsockname()[1]) as sock:
            async with trio.open_nursery() as nursery:

                async def first() -> None:
                    try:
                        await sock.connect()
                    except SocketClosedError:
                        assert sock.state is not SocketState.CLOSED

                nursery.start_soon(first)
                await until(lambda: sock.state is not SocketState.CLOSED)
                await passes(count)
                sock.close()
                await sock.connect()
            assert sock.is_connected
            with await accept(listener) as peer:
                await sock.send_all(b"x")
                while await peer.recv_some() != b"x":  # it was the first one's
                    peer.close()
                    peer = await accept(listener)
                peer.close()


async def test_an_attempt_that_fails_after_close() -> None:
    """Its error is nobody's business any more."""
    resolver = Resolver(error=socket.gaierror(socket.EAI_NONAME, "no"))
    recorder = EventRecorder()

    class Closing(Resolver):
        async def getaddrinfo(self, *_: Any) -> list[Any]:
            sock.close()
            assert resolver.error is not None
            raise resolver.error

    Closing()
    async with TCPSocket("some.host", 80, handler=recorder) as sock:
        with pytest.raises(SocketClosedError, match="closed while it was connecting"):
            await sock.connect()
        assert sock.last_error is None
    assert recorder.events == []


async def test_leaving_the_block_ends_the_attempt() -> None:
    """Whoever waits in ``connect`` is told."""
    resolver = GatedResolver()
    async with trio.open_nursery() as nursery:
        async with TCPSocket("some.host", 80) as sock:

            async def connect() -> None:
                with pytest.raises(SocketClosedError, match="closed while"):
                    await sock.connect()

            nursery.start_soon(connect)
            await resolver.called.wait()
    assert sock.state is SocketState.CLOSED


async def test_a_handler_closes_in_on_connected() -> None:
    """``connect`` did connect; what follows finds the socket closed."""
    recorder = EventRecorder(reactions={"on_connected": lambda sock: sock.close()})
    async with linked(handler=recorder) as (sock, peer):
        assert sock.state is SocketState.CLOSED
        assert await peer.recv_some() == b""
        with pytest.raises(SocketClosedError):
            sock.write(b"x")


# Again in the same block


@pytest.mark.parametrize("end", ["close", "aclose", "disconnect", "reset", "fin"])
async def test_connect_again_after_each_end(end: str) -> None:
    """The new connection begins fresh; options, address and counters stay."""
    recorder = EventRecorder()
    with raw_listener() as listener:
        options: dict[str, Any] = {"receive_buffer_limit": 5000, "progress_interval": 100}
        port = listener.getsockname()[1]
        async with TCPSocket("127.0.0.1", port, handler=recorder, **options) as sock:
            for _ in range(2):
                del recorder.events[:]
                channel = sock.subscribe()
                await sock.connect()
                assert (sock.last_error, sock.bytes_sent, sock.bytes_available) == (None, 0, 0)
                with await accept(listener) as peer:
                    await peer.send(b"unread")
                    await recorder.wait_for(DataAvailable)
                    await sock.send_all(b"x")
                    await end_by(end, sock, peer, recorder)
                assert sock.state is SocketState.CLOSED
                assert sock.lookahead() == b"unread"
                assert sock.port == port
                check_grammar(recorder.events)
                kinds = [type(event) async for event in channel]
                del kinds[: kinds.index(Connected)]  # the end of the connection before
                assert kinds[:4] == [Connected, DataAvailable, SendProgress, SendComplete]
                assert sock.receive_buffer_limit == 5000
                assert sock.progress_interval == 100


async def end_by(end: str, sock: TCPSocket, peer: RawPeer, recorder: EventRecorder) -> None:
    if end == "close":
        sock.close()
    elif end == "reset":
        peer.reset()
        await recorder.wait_for(ErrorOccurred)
    elif end == "fin":
        peer.fin()
        await recorder.wait_for(ErrorOccurred)
    else:
        await getattr(sock, end)()


async def test_what_is_buffered_stays_until_the_next_connection_is_up() -> None:
    """A failed attempt costs nothing."""
    async with linked() as (sock, peer):
        await peer.send(b"unread")
        await trio.testing.wait_all_tasks_blocked()
        await sock.aclose()
        wanted, sock.port = sock.port, closed_port()
        with pytest.raises(ConnectError):
            await sock.connect()
        assert sock.lookahead() == b"unread"
        assert await sock.receive_some(2) == b"un"
        sock.port = wanted
        assert sock.read_all() == b"read"


# Steps by hand


async def test_poll_does_one_step() -> None:
    """It takes in, sends, delivers, and tells whether there was anything to do."""
    recorder = EventRecorder()
    async with linked(handler=recorder) as (sock, peer):
        with trio.testing.assert_checkpoints():
            assert await sock.poll() is False
        peer.send_nowait(b"x")
        assert await sock.poll() is True
        assert recorder.names == ["on_connected", "on_data_available"]
        assert sock.read_all() == b"x"
        sock.write(b"y")
        assert await sock.poll() is True
        assert recorder.names[2:] == ["on_send_progress", "on_send_complete"]
        assert await sock.poll() is False


async def test_poll_sends_what_is_queued() -> None:
    """As much as the OS takes."""
    async with linked(small=True) as (sock, peer):
        sock.write(bytes(1_000_000))
        while sock.bytes_left_to_send:
            before = sock.bytes_sent
            while await sock.poll():
                pass
            assert sock.bytes_sent >= before
            peer.received += len(await peer.recv_some())
    assert sock.bytes_sent == 1_000_000


async def test_poll_under_cancellation_does_nothing() -> None:
    """It is seen before anything is done."""
    async with linked() as (sock, _):
        with trio.CancelScope() as scope:
            scope.cancel()
            await sock.poll()
        assert scope.cancelled_caught


async def test_poll_of_a_closed_socket_finds_nothing() -> None:
    """It is legal in any state."""
    assert await TCPSocket().poll() is False


# From a server


async def test_a_socket_from_a_server() -> None:
    """It is connected when it comes, and serves for one connection only."""
    async with ServerSocket(address="127.0.0.1") as server:
        events = server.events
        await server.listen()
        with await RawPeer.connect(server.port) as peer:
            sock = await server.accept()
            assert (sock.state, sock.remote_port) == (SocketState.CONNECTED, peer.port)
            await peer.send(b"x")
            assert await sock.receive_some() == b"x"
            await sock.aclose()
            with pytest.raises(InvalidStateError, match=r"made by a server.*make a new one"):
                await sock.connect()
        with await RawPeer.connect(server.port) as peer:
            sock = await server.accept()
            sock.start_soon(fail)
            assert await peer.recv_some() == b""
            assert isinstance(await events.receive(), ErrorOccurred)
        with await RawPeer.connect(server.port):
            with pytest.raises(ZeroDivisionError):
                async with await server.accept() as sock:
                    sock.start_soon(fail)
                    await trio.sleep_forever()


async def fail() -> None:
    await trio.lowlevel.checkpoint()
    raise ZeroDivisionError


async def test_another_transport_for_the_same_connection() -> None:
    """What is wanted of the one is wanted of the other."""
    recorder = EventRecorder(read=True)
    async with linked(small=True, handler=recorder) as (sock, peer):
        before = await clog(sock, for_good=True)
        sock.write(b"queued")
        connection = sock._connection
        old = connection.transport
        assert isinstance(old, PlainTransport)
        connection.swap(PlainTransport.of(old.dup()))
        old.close()
        assert (await peer.recv_exactly(before + 6))[before:] == b"queued"
        await peer.send(b"x")
        await recorder.wait_for(DataAvailable)
        assert recorder.received == b"x"
        await sock.send_all(b"y")
        assert await peer.recv_some() == b"y"
