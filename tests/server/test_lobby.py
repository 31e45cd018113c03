"""New connections in their handshake: how many, for how long, and who is refused."""

from __future__ import annotations

import logging
import math
import ssl
from typing import Any

import pytest
import trio
import trio.testing

from tests.support import RawPeer, until
from tests.support.guarded import Guarded, guarded
from tests.support.serving import connect, echo, listening, serving, waiting_for_a_place
from tests.support.tls import TLSPeer, credentials
from trio_xsock import (
    ServerSocket,
    SocketClosedError,
    SSLSocket,
    TCPSocket,
)
from trio_xsock._engine.connection import Connection
from trio_xsock._engine.upgrade import Over
from trio_xsock._platform.system import is_linux
from trio_xsock._server.lobby import Lobby


async def test_silent_and_failing_handshakes_hold_nobody_up() -> None:
    """At a ceiling of one, ten silent ones and ten that fail, and the rest are served."""
    async with serving(echo, add_socket=Guarded, maximum_sockets_connected=1) as server:
        silent = [await connect(server) for _ in range(10)]
        for _ in range(10):
            with await connect(server) as failing, await connect(server) as peer:
                failing.send_nowait(b"n")
                peer.send_nowait(b"yx")
                assert await peer.recv_exactly(1) == b"x"
                assert await failing.recv_some() == b""
        statistics = server.statistics()
        assert (statistics.accepted, statistics.refused, statistics.failed) == (10, 10, 0)
        assert statistics.handshaking == 10
        for peer in silent:
            peer.close()
        await until(lambda: server.statistics().refused == 20)


async def test_so_many_handshakes_at_a_time() -> None:
    """The others wait in the backlog; the limit may change."""
    async with guarded(maximum_handshakes=2) as server:
        peers = [await connect(server) for _ in range(5)]
        await until(lambda: server.statistics().handshaking == 2)
        await trio.testing.wait_all_tasks_blocked()
        assert server.statistics().handshaking == 2
        server.maximum_handshakes = 3
        await until(lambda: server.statistics().handshaking == 3)
        peers[0].send_nowait(b"n")
        await until(lambda: server.statistics().refused == 1)
        await until(lambda: server.statistics().handshaking == 3)
        for peer in peers[1:]:
            peer.send_nowait(b"y")
        for _ in range(4):
            assert (await server.accept()).is_connected
        for peer in peers:
            peer.close()


async def test_a_handshake_may_take_so_long(mock_clock: trio.testing.MockClock) -> None:
    """Counted from accept; who is too slow is refused."""
    async with guarded(handshake_timeout=3) as server:
        with await connect(server) as peer:
            await until(lambda: server.statistics().handshaking)
            server.handshake_timeout = 1
            await trio.testing.wait_all_tasks_blocked()
            mock_clock.jump(2.9)
            await trio.testing.wait_all_tasks_blocked()
            assert server.statistics().handshaking == 1
            mock_clock.jump(0.2)
            assert await peer.recv_some() == b""
            assert server.statistics().refused == 1


async def test_who_is_done_waits_for_a_place() -> None:
    """Unannounced, in order, and not counted; a place that is free lets the next one in."""
    async with guarded(maximum_sockets_connected=1) as server:
        peers = [await connect(server) for _ in range(3)]
        await until(lambda: server.statistics().handshaking == 3)
        for peer in peers:
            peer.send_nowait(b"y")
        first = await server.accept()
        await trio.testing.wait_all_tasks_blocked()
        assert server.active_connections() == [first]
        assert server.statistics().handshaking == 2
        first.close()
        second = await server.accept()
        assert server.active_connections() == [second]
        server.maximum_sockets_connected = 2
        third = await server.accept()
        assert {second.remote_port, third.remote_port} < {peer.port for peer in peers}
        for peer in peers:
            peer.close()


async def test_stopping_refuses_newcomers() -> None:
    """Those in a handshake, and those who wait for a place; connections live on."""
    async with guarded(maximum_sockets_connected=1) as server:
        peers = [await connect(server) for _ in range(3)]
        await until(lambda: server.statistics().handshaking == 3)
        peers[0].send_nowait(b"y")
        sock = await server.accept()
        peers[1].send_nowait(b"y")
        await until(lambda: waiting_for_a_place(server))
        server.stop_listening()
        for peer in peers[1:]:
            assert await peer.recv_some() == b""
        assert sock.is_connected
        assert server.statistics().refused == 2
        await server.aclose()
        for peer in peers:
            peer.close()


async def test_aclose_and_close_end_handshakes() -> None:
    """Nothing of them is left when aclose() returns, or when the block is left."""
    for close in (ServerSocket.aclose, None):
        async with guarded() as server:
            with await connect(server) as peer:
                await until(lambda server=server: server.statistics().handshaking)
                if close is not None:
                    await close(server)
                    assert server.statistics().handshaking == 0
                    assert await peer.recv_some() == b""


async def test_accept_after_a_stop_says_so() -> None:
    """Whoever waited for a newcomer's handshake learns that none will come."""
    async with guarded() as server, trio.open_nursery() as nursery:

        async def accept() -> None:
            with pytest.raises(SocketClosedError):
                await server.accept()

        nursery.start_soon(accept)
        with await RawPeer.connect(server.port):
            await until(lambda: server.statistics().handshaking)
            server.stop_listening()


# Refusals


async def test_refusals_are_logged_for_those_who_look(caplog: pytest.LogCaptureFixture) -> None:
    """On the level that says nothing unless asked."""
    with caplog.at_level(logging.DEBUG, "trio_xsock"):
        async with guarded() as server:
            with await connect(server) as peer:
                peer.send_nowait(b"n")
                assert await peer.recv_some() == b""
        assert "wrong answer b'n'" in caplog.text


@pytest.mark.parametrize(
    ("sent", "text"),
    [
        (b"hello, this is no TLS\n", "the peer does not speak TLS"),
        (b"GET / HTTP/1.0\r\n\r\n", "the peer does not speak TLS but plain HTTP"),
    ],
)
async def test_a_plain_peer_of_a_tls_server_is_named(
    caplog: pytest.LogCaptureFixture, sent: bytes, text: str
) -> None:
    """In one line, without a traceback."""
    context = credentials().server_context()
    with caplog.at_level(logging.DEBUG, "trio_xsock"):
        async with listening(add_socket=lambda: SSLSocket(ssl_context=context)) as server:
            with await connect(server) as peer:
                peer.send_nowait(sent)
                await until(lambda: server.statistics().refused)
    [line] = [each for each in caplog.records if "refused" in each.message]
    assert text in line.message
    assert line.exc_info is None


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("certificate", "the client sent no certificate"),
        ("trust", "the peer does not trust the authority of our certificate"),
    ],
)
async def test_a_client_without_certificate_or_trust_is_named(
    caplog: pytest.LogCaptureFixture, kind: str, text: str
) -> None:
    """In one line, too."""
    issued = credentials()
    context = issued.server_context()
    client = issued.client_context()
    if kind == "certificate":
        context.load_verify_locations(issued.ca)
        context.verify_mode = ssl.CERT_REQUIRED
    else:
        client = ssl.create_default_context(cafile=issued.elsewhere)
    with caplog.at_level(logging.DEBUG, "trio_xsock"):
        async with listening(add_socket=lambda: SSLSocket(ssl_context=context)) as server:
            with await connect(server) as raw:
                peer = TLSPeer(raw, client)
                with pytest.raises((OSError, EOFError)):
                    try:
                        await peer.handshake()
                        await peer.recv_some()
                    finally:
                        await peer.flush()
                await until(lambda: server.statistics().refused)
    [line] = [each for each in caplog.records if "refused" in each.message]
    assert text in line.message


@pytest.mark.skipif(not is_linux(), reason="a refused peer is waited for: acks are unknown")
@pytest.mark.parametrize("one_comes_in", [False, True])
async def test_a_server_that_refuses_everybody_says_so_once(
    caplog: pytest.LogCaptureFixture, one_comes_in: bool
) -> None:
    """The fault may be its own, such as a wrong certificate; after a success it is theirs."""
    issued = credentials()
    with caplog.at_level(logging.WARNING, "trio_xsock"):
        async with listening(
            add_socket=lambda: SSLSocket(certificate_file=issued.server)
        ) as server:
            if one_comes_in:
                with await connect(server) as raw:
                    await TLSPeer(raw, issued.client_context()).handshake()
                    (await server.accept()).close()
            for count in range(1, 21):
                with await connect(server) as peer:
                    peer.send_nowait(b"hello, this is no TLS\n")
                    await until(lambda count=count: server.statistics().refused == count)
                assert len(caplog.records) == (count >= 10 and not one_comes_in)
    for record in caplog.records:
        assert "all of the first 10 connections were refused; the last: " in record.message
        assert "does not speak TLS" in record.message


# The lobby alone


class Shaken:
    """A socket, as far as the lobby needs it: its handshake goes on until it is told to end."""

    def __init__(self, seconds: float = math.inf, *, at_once: bool = False) -> None:
        self.seconds = seconds
        self.at_once = at_once

    def _begin_handshake(self, over: Over) -> float:
        if self.at_once:
            over(None)
        return self.seconds


def begin(lobby: Lobby, connection: Any, seconds: float = math.inf, **options: Any) -> bool:
    def over(error: BaseException | None) -> None:
        assert error is None
        lobby.pass_on(connection)

    shaken: Any = Shaken(seconds, **options)
    return lobby.begin(shaken, connection, trio.current_time() + 100, over)


async def test_a_new_connection_is_counted_until_it_has_a_place(autojump_clock: object) -> None:
    """In its handshake and behind it; the first to be done is the first in line."""
    lobby = Lobby(2, 30)
    first, second = make_connections(2)
    assert (lobby.count, lobby.full, list(lobby.waiting)) == (0, False, [])
    begin(lobby, first)
    assert not lobby.full
    begin(lobby, second)
    assert lobby.full
    assert lobby.is_shaking(first)
    assert lobby.has(first)
    lobby.pass_on(second)
    lobby.pass_on(first)
    assert list(lobby.waiting) == [second, first]
    assert lobby.full
    assert not lobby.is_shaking(first)
    assert lobby.has(first)
    assert lobby.remove(first) == "it ended before there was a place for it"
    assert lobby.remove(first) == ""
    assert not lobby.full
    assert not lobby.has(first)


async def test_the_shortest_of_three_limits_counts(autojump_clock: object) -> None:
    """That of the server, that of the socket, and what a proxy's header has left."""
    lobby = Lobby(9, 30)
    one, two, three = make_connections(3)
    now = trio.current_time()
    assert begin(lobby, one)  # looked for sooner than never
    assert lobby.next_look() == now + 30
    assert not begin(lobby, two, 40)
    assert begin(lobby, three, 5)
    assert lobby.next_look() == now + 5
    await trio.sleep(5)
    assert lobby.due() == [three]
    assert lobby.is_late(three)
    assert lobby.remove(three) == "it was closed in its handshake"
    assert not lobby.is_late(three)
    await trio.sleep(25)
    assert lobby.due() == [one, two]
    assert sorted(map(id, lobby.stop())) == sorted(map(id, [one, two]))


async def test_a_handshake_that_is_over_in_the_call_has_no_limit(autojump_clock: object) -> None:
    """The connection waits already when the call returns."""
    lobby = Lobby(9, 30)
    (one,) = make_connections(1)
    assert not begin(lobby, one, at_once=True)
    assert list(lobby.waiting) == [one]
    assert lobby.next_look() == math.inf


def make_connections(count: int) -> list[Connection]:
    return [TCPSocket()._connection for _ in range(count)]


async def test_refusals_in_vain_are_counted_from_when_it_listens(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Ten, none of which was preceded by a connection that was announced."""
    with caplog.at_level(logging.WARNING, "trio_xsock"):
        lobby = Lobby(9, 30)
        for _ in range(9):
            lobby.note_refusal("no", accepted=0)
        lobby.open(accepted=0)
        for _ in range(9):
            lobby.note_refusal("no", accepted=0)
        assert not caplog.records
        lobby.note_refusal("the last", accepted=0)
        [record] = caplog.records
        assert record.message.endswith("10 connections were refused; the last: the last")
        lobby.open(accepted=3)
        for _ in range(20):
            lobby.note_refusal("no", accepted=4)
        assert len(caplog.records) == 1
        assert lobby.refused == 39
