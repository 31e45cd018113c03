"""What listens, its outages, and the sockets that are made ahead by ``add_socket``."""

from __future__ import annotations

import errno
import socket
from typing import Any

import pytest
import trio
import trio.testing

from tests.support import EventRecorder, RawPeer, raw_listener, until
from tests.support.flaky import FlakyListener
from tests.support.serving import close_all, connect, connect_many, listening, outage
from trio_xsock import (
    ErrorOccurred,
    InvalidStateError,
    OpenDriverError,
    ServerSocket,
    TCPSocket,
)
from trio_xsock._server import binding as _binding


async def test_sockets_are_made_ahead_and_on_demand() -> None:
    """As many as minimum_sockets_available say, and more as it grows; never too few."""
    made: list[TCPSocket] = []

    def add_socket() -> TCPSocket:
        made.append(TCPSocket())
        return made[-1]

    async with listening(add_socket=add_socket, minimum_sockets_available=3) as server:
        assert len(made) == 3
        peers = await connect_many(server, 1)
        assert await server.accept() is made[0]
        assert len(made) == 4
        server.minimum_sockets_available = 6
        assert len(made) == 9 - 2
        server.minimum_sockets_available = 0
        for number in range(1, 8):
            peers += await connect_many(server, 1)
            assert await server.accept() is made[number]
        assert len(made) == 8
        server.stop_listening()
        server.minimum_sockets_available = 50
        assert len(made) == 8
        close_all(peers)


# A factory that fails


async def bad_add_socket_is_reported(add_socket: Any, match: str) -> None:
    """Have a server whose second socket is no good; it stops, and all of it says so."""
    made = 0

    def second_is_bad() -> Any:
        nonlocal made
        made += 1
        return TCPSocket() if made == 1 else add_socket()

    recorder = EventRecorder()
    async with ServerSocket(
        address="127.0.0.1",
        minimum_sockets_available=0,
        add_socket=second_is_bad,
        handler=recorder,
    ) as server:
        await server.listen()
        with await connect(server), await connect(server) as peer:
            first = await server.accept()
            with pytest.raises(InvalidStateError, match=match) as caught:
                await server.accept()
            assert await peer.recv_some() == b""
            assert not server.is_listening
            assert first.is_connected
            error = (await recorder.wait_for(ErrorOccurred)).error
            assert caught.value is error
            with pytest.raises(InvalidStateError) as again:
                await server.accept()
            assert again.value is error
            assert server.events.receive_nowait() == ErrorOccurred(server, error)
        assert recorder.names == ["on_error"]
        made = 0
        await server.listen()
        with await connect(server):
            assert (await server.accept()).is_connected


async def test_add_socket_that_returns_none_later() -> None:
    """It stops the server, which then may listen again; no descriptor is kept (F50)."""
    await bad_add_socket_is_reported(lambda: None, "must return a new TCPSocket")


async def test_add_socket_that_raises_later() -> None:
    """What it raised is the cause (F50)."""
    await bad_add_socket_is_reported(lambda: {}["x"], "add_socket raised KeyError")


async def test_add_socket_that_fails_at_once() -> None:
    """Then listen() raises it, and nothing listens (F50)."""
    one = TCPSocket()

    def raising() -> TCPSocket:
        raise ValueError("no more")

    def nothing() -> Any:
        return None

    for add_socket in (nothing, raising, lambda: one):
        async with ServerSocket(add_socket=add_socket) as server:
            with pytest.raises(InvalidStateError, match="add_socket"):
                await server.listen()
            assert not server.is_listening
            with pytest.raises(InvalidStateError):
                await server.accept()


async def test_add_socket_that_fails_when_the_minimum_grows() -> None:
    """Reported as any failure after listen(): nothing is raised where nobody expects it."""
    good = 2

    def add_socket() -> TCPSocket:
        nonlocal good
        good -= 1
        if good < 0:
            raise ValueError("no more")
        return TCPSocket()

    async with listening(add_socket=add_socket) as server:
        events = server.events
        server.minimum_sockets_available = 3
        assert not server.is_listening
        event = events.receive_nowait()
        assert isinstance(event, ErrorOccurred)
        assert isinstance(event.error.__cause__, ValueError)


async def test_ctrl_c_in_add_socket_leaves_the_block() -> None:
    """KeyboardInterrupt is nobody's failure; the server closes, and it comes out as itself."""
    error = KeyboardInterrupt()
    made = 0

    def add_socket() -> TCPSocket:
        nonlocal made
        made += 1
        if made > 2:
            raise error
        return TCPSocket()

    with pytest.raises(KeyboardInterrupt) as caught:
        async with listening(add_socket=add_socket) as server:
            with await connect(server):
                await trio.sleep_forever()
    assert caught.value is error
    assert not server.is_listening
    made = 2
    with pytest.raises(KeyboardInterrupt):
        async with ServerSocket(add_socket=add_socket) as server:
            await server.listen()
    assert made == 3


async def test_ctrl_c_in_add_socket_on_demand_loses_no_descriptor() -> None:
    """The connection that it was called for is closed."""

    def add_socket() -> TCPSocket:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        async with listening(add_socket=add_socket, minimum_sockets_available=0) as server:
            with await connect(server):
                await trio.sleep_forever()


# Listeners that fail


async def test_an_outage_is_posted_and_stops_nothing() -> None:
    """The acceptor tells of it; whoever listens to the server learns of it."""
    async with listening() as server:
        error = OpenDriverError("no descriptor", errno=24)
        outage(server, error)
        assert server.statistics().events_posted == 0  # nobody listens
        events = server.events
        outage(server, error)
        assert events.receive_nowait() == ErrorOccurred(server, error)
        assert server.is_listening


async def test_a_server_goes_on_after_an_outage(
    monkeypatch: pytest.MonkeyPatch, mock_clock: trio.testing.MockClock
) -> None:
    """The same with a server around it: pauses, reports to its handler, serves again."""
    listeners: list[FlakyListener] = []

    def open_listeners(*args: Any, **options: Any) -> list[Any]:
        listeners.extend(FlakyListener(sock) for sock in original(*args, **options))
        return list(listeners)

    original = _binding.open_listeners
    monkeypatch.setattr(_binding, "open_listeners", open_listeners)
    recorder = EventRecorder()
    async with ServerSocket(address="127.0.0.1", handler=recorder) as server:
        await server.listen()
        listeners[0].script = [OSError(errno.EMFILE, "too many")] * 3
        with await RawPeer.connect(server.port) as peer:
            for tries, pause in enumerate([0.1, 0.2, 0.4], 1):
                await until(lambda tries=tries: listeners[0].calls == tries)
                mock_clock.jump(pause)
            sock = await server.accept()
            assert sock.remote_port == peer.port
        assert [error.errno for error in recorder.errors] == [errno.EMFILE]
        assert server.is_listening


async def test_a_listener_that_fails_stops_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Something is wrong with it for good: posted, and raised by whoever accepts."""
    listeners: list[socket.socket] = []

    def open_listeners(*args: Any, **options: Any) -> list[socket.socket]:
        listeners.append(raw_listener())
        return listeners

    monkeypatch.setattr(_binding, "open_listeners", open_listeners)
    recorder = EventRecorder()
    async with ServerSocket(handler=recorder) as server:
        await server.listen()
        raised: list[BaseException] = []
        async with trio.open_nursery() as nursery:

            async def accept() -> None:
                with pytest.raises(Exception, match="cannot accept connections") as caught:
                    await server.accept()
                raised.append(caught.value)

            nursery.start_soon(accept)
            await trio.testing.wait_all_tasks_blocked()
            listeners[0].shutdown(socket.SHUT_RD)  # accept() says EINVAL from now on
            await recorder.wait_for(ErrorOccurred)
        assert raised == recorder.errors
        assert recorder.errors[0].errno == errno.EINVAL
        assert not server.is_listening
