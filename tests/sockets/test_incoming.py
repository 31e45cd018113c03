"""``listen()`` for one peer, and sockets that were opened by somebody else."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from collections.abc import Sequence
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.support import EventRecorder, RawPeer, check_grammar, raw_listener, raw_pair, until
from tests.support.peers import LOOPBACK
from trio_xsock import (
    AddressInUseError,
    Connected,
    DataAvailable,
    ErrorOccurred,
    InvalidStateError,
    NetworkInterface,
    OpenDriverError,
    SocketClosedError,
    SocketError,
    SocketState,
    TCPSocket,
    network_interfaces,
)
from trio_xsock._sockets import incoming as _incoming


def refused(port: int, host: str = LOOPBACK) -> bool:
    """Whether nobody listens there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as sock:
        sock.setblocking(False)
        try:
            sock.connect((host, port))
        except ConnectionRefusedError:
            return True
        except BlockingIOError:
            return sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED
    return False


# Listening for one peer


async def test_listen_returns_as_soon_as_it_listens() -> None:
    """The port is known then; the connection comes with the peer, and is a connection as any."""
    recorder = EventRecorder()
    async with TCPSocket(handler=recorder) as sock:
        assert sock.port == 0
        await sock.listen()
        assert sock.state is SocketState.LISTENING
        assert not sock.is_connected
        assert sock.handle >= 0
        port = sock.port
        assert port == sock.local_port > 0
        assert (sock.remote_address, sock.remote_port) == ("", 0)
        with await RawPeer.connect(port) as peer:
            await recorder.wait_for(Connected)
            assert sock.state is SocketState.CONNECTED
            assert (sock.port, sock.remote_address, sock.remote_port) == (
                port,
                LOOPBACK,
                peer.port,
            )
            await peer.send(b"ping")
            assert await sock.receive_exactly(4) == b"ping"
            await sock.send_all(b"pong")
            assert await peer.recv_exactly(4) == b"pong"
            await sock.aclose()
            assert await peer.recv_all_to_eof() == b""
        check_grammar(recorder.events)
        assert sock.port == 0  # what was set


async def test_nobody_listens_once_the_peer_is_there() -> None:
    """On no address; who comes at the same time is turned away."""
    async with TCPSocket() as sock:
        await sock.listen()
        port = sock.port
        first = RawPeer(socket.create_connection((LOOPBACK, port)))
        second = RawPeer(socket.create_connection((LOOPBACK, port)))
        with first, second:
            await until(lambda: sock.is_connected)
            assert sock.remote_port == first.port
            with pytest.raises(ConnectionResetError):
                await second.recv_some()
            assert refused(port)
            assert not socket.has_ipv6 or refused(port, "::1")


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6")
async def test_the_peer_may_come_by_ipv6() -> None:
    """All addresses of the machine are listened on, on one port."""
    async with TCPSocket() as sock:
        await sock.listen()
        with await RawPeer.connect(sock.port, "::1"):
            await until(lambda: sock.is_connected)
            assert sock.remote_address == "::1"
            assert sock.local_address == "::1"


async def test_a_given_interface_is_the_only_one() -> None:
    """Its addresses are listened on, and no others."""
    others = [each for each in network_interfaces() if not each.is_loopback and each.is_up]
    async with TCPSocket(network_interface=NetworkInterface.loopback()) as sock:
        await sock.listen()
        assert sock.local_address == LOOPBACK
        for other in others:
            assert not other.ip_address or refused(sock.port, other.ip_address)
        with await RawPeer.connect(sock.port):
            await until(lambda: sock.is_connected)


async def test_a_wanted_port() -> None:
    """It may be given, and is kept for the next time."""
    with raw_listener() as listener:
        port = listener.getsockname()[1]
    async with TCPSocket(port=port) as sock:
        for _ in range(2):
            await sock.listen()
            assert sock.port == port
            with await RawPeer.connect(port) as peer:
                await until(lambda: sock.is_connected)
                peer.reset()  # no TIME_WAIT
                await until(lambda: sock.state is SocketState.CLOSED)


async def test_a_port_that_is_taken() -> None:
    """The call raises, nothing is posted, and another port will do."""
    recorder = EventRecorder()
    with raw_listener() as listener:
        async with TCPSocket(port=listener.getsockname()[1], handler=recorder) as sock:
            events = sock.events
            with pytest.raises(AddressInUseError) as caught:
                await sock.listen()
            assert caught.value.errno == errno.EADDRINUSE
            assert sock.state is SocketState.CLOSED
            assert sock.last_error is None
            assert [event async for event in events] == []  # it has ended
            sock.port = 0
            await sock.listen()
            assert sock.state is SocketState.LISTENING
    assert recorder.events == []


async def test_listen_needs_the_block_and_a_closed_socket() -> None:
    """Any other time is an ``InvalidStateError``, which changes nothing."""
    outside = TCPSocket()
    with pytest.raises(InvalidStateError, match="use `async with"):
        await outside.listen()
    async with TCPSocket() as sock:
        await sock.listen()
        handle = sock.handle
        for call in (sock.listen, sock.connect):
            with pytest.raises(InvalidStateError):
                await call()
        with pytest.raises(InvalidStateError):
            sock.port = 1
        with pytest.raises(InvalidStateError, match="not connected"):
            sock.write(b"x")
        with pytest.raises(InvalidStateError, match="not connected"):
            await sock.receive_some()
        assert (sock.state, sock.handle) == (SocketState.LISTENING, handle)
        with await RawPeer.connect(sock.port):
            await until(lambda: sock.is_connected)
            with pytest.raises(InvalidStateError):
                await sock.listen()
            assert sock.is_connected


@pytest.mark.parametrize("end", ["close", "aclose", "disconnect", "block", "cancel"])
async def test_the_end_of_listening(end: str) -> None:
    """Nothing listens any more, nothing is posted, and the socket may listen again."""
    recorder = EventRecorder()
    with trio.CancelScope() as scope:
        async with TCPSocket(handler=recorder) as sock:
            await sock.listen()
            port = sock.port
            if end == "cancel":
                scope.cancel()
                await trio.lowlevel.checkpoint()
            if end != "block":
                result = getattr(sock, end)()
                if result is not None:
                    await result
                assert refused(port)
                assert (sock.state, sock.handle) == (SocketState.CLOSED, -1)
                await sock.listen()
                assert sock.port
    assert refused(port)
    assert recorder.events == []


async def test_events_of_listening() -> None:
    """A channel that is asked for early waits for the peer; iteration ends with the connection."""
    async with TCPSocket() as sock:
        await sock.listen()
        seen: list[Any] = []

        async def consume() -> None:
            seen.extend([type(event) async for event in sock.events])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(consume)
            await wait_all_tasks_blocked()
            with await RawPeer.connect(sock.port) as peer:
                await peer.send(b"x")
        assert seen == [Connected, DataAvailable, ErrorOccurred]


async def test_cancelled_while_it_begins() -> None:
    """Nothing is left over."""
    async with TCPSocket() as sock:
        with trio.CancelScope() as scope:
            scope.cancel()
            await sock.listen()
        assert scope.cancelled_caught
        assert (sock.state, sock.handle) == (SocketState.CLOSED, -1)
        await sock.listen()


async def test_closed_while_it_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """The call raises; what was begun anew meanwhile is not disturbed."""
    async with TCPSocket() as sock:

        async def wait_meanwhile(*_: object, **__: object) -> list[Any]:
            await trio.sleep_forever()
            raise AssertionError

        async def close_meanwhile(*_: object, **__: object) -> list[Any]:
            sock.close()
            return []

        async def listen() -> None:
            with pytest.raises(SocketClosedError, match="closed while it began to listen"):
                await sock.listen()

        with monkeypatch.context() as patch:
            patch.setattr(_incoming, "listen_addresses", wait_meanwhile)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(listen)
                await wait_all_tasks_blocked()
                assert sock.state is SocketState.LISTENING
                sock.close()
            patch.setattr(_incoming, "listen_addresses", close_meanwhile)
            await listen()
        assert sock.state is SocketState.CLOSED
        await sock.listen()


class Refusing(socket.socket):
    """A listening socket whose ``accept`` fails with the errors that a test wants."""

    errors: Sequence[int] = ()

    def accept(self) -> Any:
        if self.errors:
            number, *self.errors = self.errors
            raise OSError(number, os.strerror(number))
        return super().accept()


def refusing_listener(*errors: int) -> Refusing:
    sock = Refusing()
    sock.bind((LOOPBACK, 0))
    sock.listen()
    sock.errors = errors
    return sock


async def test_out_of_descriptors(mock_clock: MockClock) -> None:
    """One error is posted, it is tried again by itself, and the peer gets in at last."""
    recorder = EventRecorder()
    listener = refusing_listener(errno.EMFILE, errno.EMFILE)
    async with TCPSocket.from_socket(listener, handler=recorder) as sock:
        with await RawPeer.connect(sock.port):
            await recorder.wait_for(ErrorOccurred)
            (error,) = recorder.errors
            assert isinstance(error, OpenDriverError)
            assert sock.last_error is error
            assert sock.state is SocketState.LISTENING
            for _ in range(10):
                await wait_all_tasks_blocked()
                mock_clock.jump(1.0)
            await recorder.wait_for(Connected)
            assert len(recorder.errors) == 1
            assert sock.is_connected


async def test_a_listener_that_can_accept_no_more() -> None:
    """The error is posted, and listening is over."""
    recorder = EventRecorder()
    listener = refusing_listener(errno.EINVAL)
    async with TCPSocket.from_socket(listener, handler=recorder) as sock:
        events = sock.events
        with await RawPeer.connect(sock.port):
            await recorder.wait_for(ErrorOccurred)
            assert (sock.state, sock.handle) == (SocketState.CLOSED, -1)
            (error,) = recorder.errors
            assert type(error) is SocketError
            assert (error.errno, sock.last_error) == (errno.EINVAL, error)
            assert [event async for event in events] == [ErrorOccurred(sock, error)]
            assert sock.subscribe().receive_nowait() == ErrorOccurred(sock, error)
        await sock.listen()
        assert sock.last_error is None


# From outside


async def test_a_connected_socket_from_outside() -> None:
    """Entering the block makes it ours, connected, with all options."""
    recorder = EventRecorder()
    ours, peer = raw_pair()
    ours.setblocking(True)
    with peer:
        sock = TCPSocket.from_socket(ours, handler=recorder, receive_buffer_limit=10)
        assert (sock.state, sock.handle) == (SocketState.CLOSED, -1)
        assert sock.receive_buffer_limit == 10
        peer.send_nowait(b"early")
        descriptor = ours.fileno()
        async with sock:
            assert sock.is_connected
            assert sock.handle == descriptor
            assert ours.fileno() == -1
            assert not os.get_blocking(descriptor)
            assert (sock.remote_address, sock.remote_port) == (LOOPBACK, peer.port)
            await recorder.wait_for(DataAvailable)
            assert sock.read_all() == b"early"
            await sock.send_all(b"hello")
        assert ours.fileno() == -1
        assert await peer.recv_all_to_eof() == b"hello"
    check_grammar(recorder.events)


async def test_a_listening_socket_from_outside() -> None:
    """As a service manager passes it: one peer is waited for."""
    listener = raw_listener()
    async with TCPSocket.from_socket(listener) as sock:
        assert sock.state is SocketState.LISTENING
        assert (sock.handle, sock.port) == (listener.fileno(), listener.getsockname()[1])
        with await RawPeer.connect(sock.port) as peer:
            await until(lambda: sock.is_connected)
            await peer.send(b"hello")
            assert await sock.receive_exactly(5) == b"hello"
        assert listener.fileno() == -1


async def test_never_entered_it_stays_the_callers() -> None:
    """Nothing was done to it."""
    ours, peer = raw_pair()
    with ours, peer:
        sock = TCPSocket.from_socket(ours)
        del sock
        ours.send(b"still mine")
        assert await peer.recv_some() == b"still mine"
        with trio.CancelScope() as scope:
            scope.cancel()
            async with TCPSocket.from_socket(ours):
                raise AssertionError("never entered")
        ours.send(b"still mine")
        assert await peer.recv_some() == b"still mine"


async def test_a_unix_socket_from_outside() -> None:
    """It has no address of our kind, and works."""
    ours, theirs = socket.socketpair()
    with RawPeer(theirs) as peer:
        async with TCPSocket.from_socket(ours) as sock:
            assert sock.is_connected
            assert (sock.remote_address, sock.remote_port, sock.port) == ("", 0, 0)
            await peer.send(b"hello")
            assert await sock.receive_exactly(5) == b"hello"
            await sock.send_all(bytes(1000))
            await sock.aclose()
        assert len(await peer.recv_all_to_eof()) == 1000


async def test_after_the_connection_from_outside_it_is_a_socket_as_any() -> None:
    """It may connect elsewhere."""
    ours, first = raw_pair()
    with first, raw_listener() as listener:
        async with TCPSocket.from_socket(ours) as sock:
            sock.close()
            sock.address, sock.port = LOOPBACK, listener.getsockname()[1]
            await sock.connect()
            assert sock.is_connected
            assert sock.remote_port == listener.getsockname()[1]


async def test_a_connection_that_is_dead_already() -> None:
    """What comes of it is what comes of any lost connection."""
    ours, peer = raw_pair()
    sock = TCPSocket.from_socket(ours)
    peer.reset()
    async with sock:
        with pytest.raises(SocketError) as caught:
            await sock.receive_some()
        assert caught.value.errno == errno.ECONNRESET
        assert sock.remote_address == ""


async def test_closed_before_the_block_was_entered() -> None:
    """The block raises; nothing of it is left."""
    ours, peer = raw_pair()
    with peer:
        sock = TCPSocket.from_socket(ours)
        ours.close()
        with pytest.raises(InvalidStateError, match="given to from_socket"):
            async with sock:
                raise AssertionError("never entered")
        assert sock.state is SocketState.CLOSED


async def test_run_with_a_socket_from_outside() -> None:
    """``nursery.start`` gives a socket that is connected already."""
    ours, peer = raw_pair()
    async with trio.open_nursery() as nursery:
        sock = await nursery.start(TCPSocket.from_socket(ours).run)
        assert sock.is_connected
        peer.close()
        assert await sock.receive_some() == b""
        sock.close()


def test_what_is_no_socket() -> None:
    """A ``TypeError``, and what speaks TLS by itself is none either."""
    wrong: Any
    for wrong in (None, 7, object(), trio.socket):
        with pytest.raises(TypeError, match=r"must be a socket\.socket, not"):
            TCPSocket.from_socket(wrong)
    left, right = socket.socketpair()
    with right, left:
        context = ssl.create_default_context()
        wrapped = context.wrap_socket(left, server_hostname="x", do_handshake_on_connect=False)
        with wrapped, pytest.raises(TypeError, match="what speaks TLS here is SSLSocket"):
            TCPSocket.from_socket(wrapped)
    with raw_listener() as listener, pytest.raises(TypeError):
        TCPSocket.from_socket(listener, no_such_option=1)


def test_what_is_no_stream_or_goes_nowhere() -> None:
    """A ``ValueError``: datagrams, and a socket that is neither connected nor listening."""
    with socket.socket(type=socket.SOCK_DGRAM) as datagrams:
        datagrams.bind((LOOPBACK, 0))
        datagrams.connect(datagrams.getsockname())
        with pytest.raises(ValueError, match="a stream socket"):
            TCPSocket.from_socket(datagrams)
    with socket.socket() as loose, pytest.raises(ValueError, match="connected or listening"):
        TCPSocket.from_socket(loose)
    with pytest.raises(ValueError, match="connected or listening"):
        TCPSocket.from_socket(loose)  # closed
