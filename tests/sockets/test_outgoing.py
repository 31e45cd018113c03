"""How a connection that is dialled begins, where it can be told only from within."""

from __future__ import annotations

import socket
from typing import Any

import pytest
import trio

from tests.support import EventRecorder, RawPeer, accept, raw_listener
from trio_xsock import (
    Connected,
    ErrorOccurred,
    SocketClosedError,
    SocketState,
    SSLSocket,
    TCPSocket,
    TLSError,
)
from trio_xsock._network.one_route import Begun, begin


async def test_the_handler_runs_before_connect_returns() -> None:
    """It is not called by a task that happens to be faster."""
    recorder = EventRecorder()
    with raw_listener() as listener:
        port = listener.getsockname()[1]
        async with TCPSocket("127.0.0.1", port, handler=recorder) as sock:
            await sock.connect()
            assert recorder.events == [Connected(sock)]


async def test_close_in_the_moment_of_success(monkeypatch: pytest.MonkeyPatch) -> None:
    """The descriptor came, and is not wanted any more."""
    made: list[socket.socket] = []

    async def dial(host: str, port: int, *, reached: Any, **_: Any) -> socket.socket:
        await trio.lowlevel.checkpoint()
        made.append(socket.create_connection((host, port)))
        reached((host, port))
        sock.close()
        return made[0]

    monkeypatch.setattr("trio_xsock._sockets.outgoing.begin", lambda *_: None)
    monkeypatch.setattr("trio_xsock._sockets.outgoing.dial", dial)
    with raw_listener() as listener:
        async with TCPSocket("127.0.0.1", listener.getsockname()[1]) as sock:
            with pytest.raises(SocketClosedError, match="closed while it was connecting"):
                await sock.connect()
            assert sock.state is SocketState.CLOSED
            assert made[0].fileno() == -1


@pytest.mark.parametrize("how", ["close", "cancel"])
async def test_the_end_comes_while_other_tasks_run(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The peer is of this machine: it is connected before anything was waited for."""
    scope = trio.CancelScope()

    def end_it(*arguments: Any) -> Begun | None:
        begun = begin(*arguments)
        if how == "close":
            sock.close()
        else:
            scope.cancel()
        return begun

    monkeypatch.setattr("trio_xsock._sockets.outgoing.begin", end_it)
    with raw_listener() as listener:
        async with TCPSocket("127.0.0.1", listener.getsockname()[1]) as sock:
            if how == "close":
                with pytest.raises(SocketClosedError, match="closed while it was connecting"):
                    await sock.connect()
            else:
                with scope:
                    await sock.connect()
                assert scope.cancelled_caught
            assert sock.state is SocketState.CLOSED
            peer = RawPeer(listener.accept()[0])
            assert await peer.recv_some() == b""
            peer.close()


async def test_nothing_is_dialled_if_the_files_are_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    """The attempt fails with that error, which is posted; the next one may succeed."""
    dialled: list[Any] = []

    async def dial(*arguments: Any, **_: Any) -> socket.socket:
        dialled.append(arguments)
        raise AssertionError

    monkeypatch.setattr("trio_xsock._sockets.outgoing.dial", dial)
    recorder = EventRecorder()
    async with SSLSocket("localhost", 443, ca_file="/nowhere.pem", handler=recorder) as sock:
        with pytest.raises(TLSError) as caught:
            await sock.connect()
        assert recorder.events == [ErrorOccurred(sock, caught.value)]
        assert sock.state is SocketState.CLOSED
    assert dialled == []


async def test_a_handshake_that_is_cancelled_leaves_nothing() -> None:
    """The peer sees the end; the socket may connect again."""
    with raw_listener() as listener:
        async with SSLSocket("127.0.0.1", listener.getsockname()[1]) as sock:
            peers: list[RawPeer] = []
            async with trio.open_nursery() as nursery:
                nursery.start_soon(sock.connect)
                peers.append(await accept(listener))
                assert (await peers[0].recv_some())[:1] == b"\x16"  # it has begun
                assert not sock.is_connected
                nursery.cancel_scope.cancel()
            with peers[0]:
                assert await peers[0].recv_all_to_eof() == b""
            assert (sock.state, sock.handle) == (SocketState.CLOSED, -1)
            assert not sock._connection.link.securing
            sock.ssl_enabled = False
            await sock.connect()
            assert sock.is_connected
